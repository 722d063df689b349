//  SPDX-License-Identifier: MIT
//  kv_sequence.c - fuzzes tools/kv/kv_sequence: anything that can happen to it, in any order
//
//  The publisher is a liar: numbers jump, come twice, with other bytes, from runs that never were.
//  Whatever comes: batches go out once, in order, and those that do not are reported lost.
//  tests/tools/unit/kv_sequence.c has an honest publisher, of whom more can be demanded.

#include "fuzz.h"
#include "kv/kv_sequence.h"

#define RUNS 3

typedef struct {
    kv_sequence_t *sequence;
    bool begun;      //  `next` is known
    uint64_t next;   //  Number that is due
    uint64_t since;  //  One above the highest live number of this run; 0: none
    bool owed;       //  Lost ones were told that were not due: a restart must follow at once
    bool full;       //  Some were dropped for want of room, and may be asked for
    kv_sequence_counts_t counts;
} model_t;

//  ALOUD=1 build-fuzz/tests/tools/fuzz/kv_sequence FILE tells what happens with an input
static bool aloud;

static void s_told (const char *what, uint64_t seq)
{
    if (aloud)
        fprintf (stderr, "%s %" PRIu64 "\n", what, seq);
}

static void s_deliver (void *owner, const kv_numbered_t *batch)
{
    model_t *self = owner;
    uint64_t seq = batch->seq;
    if (aloud)
        fprintf (stderr, "    deliver %" PRIu64 "\n", seq);
    if (!self->begun)
        self->next = seq;
    self->begun = true;
    DEMAND (seq == self->next);
    self->next = seq + 1;
    DEMAND (batch->payload.size > 0 && (uint8_t) *batch->payload.data < RUNS);
    self->counts.delivered++;
    self->counts.replayed += batch->replayed;
}

static void s_notice (void *owner, kv_notice_t notice, uint64_t first, uint64_t last)
{
    model_t *self = owner;
    if (aloud)
        fprintf (stderr, "    %s %" PRIu64 "-%" PRIu64 "\n", kv_notice_name (notice), first, last);
    DEMAND (first <= last);
    DEMAND (*kv_notice_name (notice) && *kv_notice_meaning (notice));
    if (notice == KV_LOST || notice == KV_HISTORY_LOST) {
        self->counts.lost += last - first + 1;
        if (first == self->next || !self->begun)
            self->next = last + 1;
        else
            self->owed = true;
        self->begun = true;
    } else if (notice == KV_RESTART) {
        self->counts.restarts++;
        self->next = self->since = 0;
        self->begun = true;
        self->owed = false;
    } else if (notice == KV_GAP) {
        self->counts.gaps++;
    } else if (notice == KV_HELD_FULL) {
        self->full = true;
    }
}

typedef struct {
    const uint8_t *at, *end;
} s_bytes_t;

static uint8_t s_byte (s_bytes_t *bytes)
{
    return bytes->at < bytes->end ? *bytes->at++ : 0;
}

//  Mostly small, or near what is due; now and then at the top
static uint64_t s_seq (s_bytes_t *bytes, const model_t *model)
{
    uint8_t how = s_byte (bytes);
    uint64_t seq = how < 128   ? how % 16
                   : how < 224 ? model->next + how % 8 - 2
                   : how < 240 ? (uint64_t) s_byte (bytes) << 8
                               : UINT64_MAX - how % 16;
    return seq < UINT64_MAX ? seq : 0;  //  The readers let no KV_SEQ_END pass
}

//  The payload is of one byte or of many, and its first one says of which run. It is ours again,
//  and another, after the call.
static void s_live (kv_sequence_t *sequence, uint64_t seq, s_bytes_t *bytes)
{
    uint8_t how = s_byte (bytes);
    char payload[64] = {(char) (how % RUNS)};
    kv_sequence_live (sequence,
                      &(kv_numbered_t){.seq = seq, .payload = {payload, how & 0x80 ? 64 : 1}});
    payload[0] = RUNS;
}

static void s_reply (kv_sequence_t *sequence, uint64_t seq, s_bytes_t *bytes)
{
    uint8_t how = s_byte (bytes);
    char payload[64] = {(char) (how % RUNS)};
    kv_sequence_reply (
        sequence,
        &(kv_numbered_t){.seq = seq, .payload = {payload, how & 0x80 ? 64 : 1}, .replayed = true});
    payload[0] = RUNS;
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    s_bytes_t bytes = {data, data + size};
    uint8_t how = s_byte (&bytes);
    aloud = getenv ("ALOUD");
    model_t model = {.begun = false};
    kv_sequence_limits_t limits = {.from_seq = how % 4 ? KV_FROM_LIVE : how / 4 % 8,
                                   .can_replay = how & 0x80,
                                   .max_held = how & 0x40 ? 3 : 1000,
                                   .max_bytes = 1000};
    model.begun = limits.from_seq != KV_FROM_LIVE;
    model.next = model.begun ? limits.from_seq : 0;
    kv_sequence_handler_t handler = {.deliver = s_deliver, .notice = s_notice, .owner = &model};
    kv_sequence_t *sequence = model.sequence = kv_sequence_new (&limits, &handler);
    const kv_sequence_counts_t *counts = kv_sequence_counts (sequence);

    while (bytes.at < bytes.end) {
        uint8_t what = s_byte (&bytes);
        uint64_t seq, start = 0;
        if (what < 128) {
            seq = s_seq (&bytes, &model);
            s_told ("live", seq);
            uint64_t restarts = model.counts.restarts;
            s_live (sequence, seq, &bytes);
            model.counts.received++;
            if (seq + 1 > model.since && model.counts.restarts == restarts)
                model.since = seq + 1;
        } else if (what < 208) {
            seq = s_seq (&bytes, &model);
            s_told ("reply", seq);
            s_reply (sequence, seq, &bytes);
        } else if (what < 216) {
            s_told ("end", 0);
            kv_sequence_end (sequence);
        } else if (what < 224) {
            s_told ("timeout", 0);
            kv_sequence_timeout (sequence);
        } else if (what < 232) {
            s_told ("connected", 0);
            kv_sequence_connected (sequence);
            model.since = 0;  //  Likewise
        } else if (what < 240) {
            s_told ("disconnected", 0);
            kv_sequence_disconnected (sequence);
            model.since = 0;  //  What came between two cuts may be of either run, and be dropped
        } else if (what < 248) {
            s_told ("drained", 0);
            kv_sequence_drained (sequence);
        } else if (what == 255) {
            s_told ("flush", 0);
            kv_sequence_flush (sequence);
        }
        DEMAND (!model.owed);
        DEMAND (counts->delivered == model.counts.delivered && counts->lost == model.counts.lost);
        DEMAND (counts->replayed == model.counts.replayed && counts->gaps == model.counts.gaps);
        DEMAND (counts->restarts == model.counts.restarts);
        DEMAND (counts->delivered + counts->duplicates <= counts->received);
        kv_replay_t replay = kv_sequence_replay (sequence, &start);
        if (replay == KV_REPLAY_ASK)
            s_told ("  ask", start);
        DEMAND (replay == KV_REPLAY_NONE || limits.can_replay);
        DEMAND (kv_sequence_replay (sequence, &start) != KV_REPLAY_ASK);  //  Once a request
    }

    //  In the end nothing that came is left over
    kv_sequence_flush (sequence);
    DEMAND (kv_sequence_replay (sequence, &(uint64_t){0}) == KV_REPLAY_NONE);
    DEMAND (model.next >= model.since || !model.begun);
    kv_sequence_destroy (&sequence);
    DEMAND (!sequence);
    return 0;
}
