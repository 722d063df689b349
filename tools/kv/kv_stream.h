//  SPDX-License-Identifier: MIT
//  kv_stream.h - the batches of one publisher: one topic and one data-parallel rank
//
//  A sequence, and the DEALER that asks for replays. A DEALER gets a whole replay for one request,
//  which a REQ would not; each request has a new one, so what is left of an older replay dies with
//  its socket.

#pragma once

#include "kv/kv_report.h"

//  What all streams of an endpoint have in common
typedef struct {
    kv_report_t *report;
    zpoller_t *poller;
    const char *endpoint, *replay_endpoint;  //  The latter NULL: nobody to ask
    const char *const *topics;               //  Prefixes, or exact topics
    size_t topic_count;
    bool exact_topic;
    kv_sequence_limits_t limits;
} kv_setting_t;

//  True when a topic is one that we want. Without data (a replay before v0.26 has none) it is.
bool kv_setting_wants (const kv_setting_t *setting, mp_slice_t topic);

//  Fields are for kv_source.c to read
typedef struct kv_stream {
    const kv_setting_t *setting;
    kv_sequence_t *sequence;
    mp_slice_t topic;  //  No data: the first batch will tell
    int64_t rank;      //  KV_RANK_NONE: not known, or none
    int peer;          //  By which connection it comes, where several publishers connect to us
    bool up;           //  That connection is there
    bool alone;        //  The only one of its endpoint, so notices need not say which
    int64_t used;      //  When the last batch came, ms
    zsock_t *dealer;   //  NULL: no replay is under way
    kv_frames_t *reply;
    struct kv_stream *next;
} kv_stream_t;

//  `setting` must live as long
kv_stream_t *kv_stream_new (const kv_setting_t *setting);
void kv_stream_destroy (kv_stream_t **self_p);

void kv_stream_connected (kv_stream_t *self, int64_t now);
void kv_stream_disconnected (kv_stream_t *self, int64_t now);

//  True when a batch of this topic belongs to the stream, as far as the topic tells
bool kv_stream_has_topic (const kv_stream_t *self, mp_slice_t topic);

//  A live batch that belongs to the stream
void kv_stream_live (kv_stream_t *self, const kv_numbered_t *batch, int64_t rank, int64_t now);

//  Takes the replies that have come, up to a thousand, and does what the clock wants
void kv_stream_serve (kv_stream_t *self, int64_t now);
