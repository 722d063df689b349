//  SPDX-License-Identifier: MIT
//  kv_source.h - one endpoint, and all the streams behind it
//
//  Behind an endpoint there may be one publisher, several ranks of one, or many: llm-d's router
//  binds, and every pod connects with a topic of its own. Each (topic, rank) has a sequence; where
//  publishers connect to us, also two that use the same topic and rank.

#pragma once

#include "kv/kv_link.h"
#include "kv/kv_stream.h"

//  Streams behind one endpoint. Anyone who may connect can create some: when there are more, the
//  one that has been silent longest ends.
#define KV_STREAMS_MAX 1024

typedef struct kv_source kv_source_t;

//  NULL when the endpoint cannot be used, which stderr has been told. `setting` is copied; what it
//  points to must live as long.
kv_source_t *kv_source_new (const kv_setting_t *setting, bool bind, int64_t now);

//  Adds what its streams have counted to the report
void kv_source_destroy (kv_source_t **self_p);

//  Takes what has come by now, up to some thousands of messages
void kv_source_serve (kv_source_t *self, int64_t now);

//  When to serve it again at the latest, by the same clock; INT64_MAX: when a socket has something
int64_t kv_source_deadline (const kv_source_t *self);

//  For the end of a program: delivers what is held, and reports what is missing as lost
void kv_source_flush (kv_source_t *self, int64_t now);
