//  SPDX-License-Identifier: MIT
//  kv_sequence.c - fuzzes tools/kv/kv_sequence: anything that can happen to it, in any order
//
//  The publisher is a liar: numbers jump, come twice, with other bytes, from runs that never were.
//  Whatever comes: between two notices of a restart the numbers that go out rise, each is the next
//  one or those before it were reported lost, and all waits end.
//  tests/tools/explore/kv_sequence.c has a correct publisher, and so checks more.

#include "fuzz.h"
#include "kv/kv_sequence.h"

typedef struct {
    kv_sequence_t *sequence;
    bool begun;     //  `next` is known
    uint64_t next;  //  Number that is due
    kv_sequence_counts_t counts;
    int64_t now;
} model_t;

static void s_deliver (void *owner, const kv_numbered_t *batch)
{
    model_t *self = owner;
    DEMAND (!self->begun || batch->seq == self->next);
    DEMAND (batch->payload.size == 2 && batch->topic.size == 2);
    self->begun = true;
    self->next = batch->seq + 1;
    self->counts.delivered++;
    self->counts.replayed += batch->replayed;
}

static void s_notice (void *owner, kv_notice_t notice, uint64_t first, uint64_t last)
{
    model_t *self = owner;
    DEMAND (first <= last);
    DEMAND (*kv_notice_name (notice) && *kv_notice_meaning (notice));
    if (notice == KV_LOST || notice == KV_HISTORY_LOST) {
        DEMAND (!self->begun || first == self->next);
        DEMAND (last - first <= KV_MAX_JUMP || self->counts.received > 1);
        self->begun = true;
        self->next = last + 1;
        self->counts.lost += last - first + 1;
    } else if (notice == KV_RESTART) {
        self->begun = true;
        self->next = 0;
        self->counts.restarts++;
    } else if (notice == KV_STRAY) {
        self->counts.strays++;
    } else if (notice == KV_GAP) {
        self->counts.gaps++;
    }
}

//  A batch of a few numbers, rarely of a far one; its bytes differ by run
static void s_feed (model_t *self, uint8_t what, uint8_t number)
{
    uint64_t seq = number % 32;
    if (number >= 250)
        seq = UINT64_MAX - number;
    char payload[2] = {(char) (what >> 6), (char) number};
    kv_numbered_t batch = {
        .seq = seq, .topic = {"kv", 2}, .payload = {payload, sizeof payload}, .replayed = what & 1};
    self->counts.received++;
    if (what & 1)
        kv_sequence_reply (self->sequence, &batch, self->now);
    else
        kv_sequence_live (self->sequence, &batch, self->now);
}

static void s_step (model_t *self, uint8_t what, uint8_t number)
{
    uint64_t start;
    switch (what % 16) {
    case 10:
        kv_sequence_connected (self->sequence, self->now);
        break;
    case 11:
        kv_sequence_disconnected (self->sequence, self->now);
        break;
    case 12:
        kv_sequence_drained (self->sequence, self->now);
        break;
    case 13:
        kv_sequence_end (self->sequence, self->now);
        break;
    case 14:
        self->now += number;
        kv_sequence_tick (self->sequence, self->now);
        break;
    case 15:
        if (kv_sequence_deadline (self->sequence) != INT64_MAX &&
            kv_sequence_deadline (self->sequence) > self->now)
            self->now = kv_sequence_deadline (self->sequence);
        kv_sequence_tick (self->sequence, self->now);
        break;
    default:
        s_feed (self, what, number);
        break;
    }
    kv_sequence_replay (self->sequence, &start);
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    model_t model = {.now = 1000};
    kv_sequence_limits_t limits = {.from_seq = data[0] & 1 ? 3 : KV_FROM_LIVE,
                                   .can_replay = data[0] & 2,
                                   .max_held = data[0] & 4 ? 2 : 100,
                                   .max_bytes = data[0] & 8 ? 10 : 10000,
                                   .replay_ms = 300};
    kv_sequence_handler_t handler = {s_deliver, s_notice, &model};
    if (data[0] & 1) {
        model.begun = true;
        model.next = 3;
    }
    model.sequence = kv_sequence_new (&limits, &handler);
    for (size_t i = 1; i + 1 < size; i += 2)
        s_step (&model, data[i], data[i + 1]);
    //  Left alone, it comes to rest
    for (int i = 0; kv_sequence_deadline (model.sequence) != INT64_MAX; i++) {
        DEMAND (i < 100);
        kv_sequence_drained (model.sequence, model.now);
        s_step (&model, 15, 0);
    }
    kv_sequence_flush (model.sequence, model.now);
    const kv_sequence_counts_t *counts = kv_sequence_counts (model.sequence);
    DEMAND (counts->received <= model.counts.received);
    model.counts.received = counts->received;
    model.counts.duplicates = counts->duplicates;
    DEMAND (memcmp (counts, &model.counts, sizeof model.counts) == 0);
    kv_sequence_destroy (&model.sequence);
    return 0;
}
