//  SPDX-License-Identifier: MIT

#include "kv/kv_held.h"

//  Of a payload so many bytes at either end are looked at
#define PRINTED 128

#define PRIME 0x100000001b3u

typedef struct {
    uint64_t a, b, c, d;
} s_lanes_t;

static s_lanes_t s_mix (s_lanes_t self, const char *at)
{
    s_lanes_t words;
    memcpy (&words, at, sizeof words);
    return (s_lanes_t){(self.a ^ words.a) * PRIME, (self.b ^ words.b) * PRIME,
                       (self.c ^ words.c) * PRIME, (self.d ^ words.d) * PRIME};
}

static uint64_t s_fold (uint64_t print, uint64_t lane)
{
    return (print ^ lane) * PRIME ^ print >> 32;
}

//  FNV-1a in four lanes, 8 bytes at a time, since each step waits for the one before
static uint64_t s_hash (uint64_t print, const char *at, size_t size)
{
    const char *end = at + size;
    s_lanes_t lanes = {print, 1, 2, 3};
    for (; end - at > (ptrdiff_t) sizeof lanes; at += sizeof lanes)
        lanes = s_mix (lanes, at);
    if (size >= sizeof lanes)
        lanes = s_mix (lanes, end - sizeof lanes);  //  The last ones; some of them again
    print = s_fold (s_fold (s_fold (lanes.a, lanes.b), lanes.c), lanes.d);
    for (; size < sizeof lanes && at < end; at++)
        print = (print ^ (byte) *at) * PRIME;
    return print;
}

uint64_t kv_fingerprint (mp_slice_t payload)
{
    uint64_t print = 0xcbf29ce484222325u ^ payload.size;
    if (payload.size <= (size_t) 2 * PRINTED)
        return s_hash (print, payload.data, payload.size);
    print = s_hash (print, payload.data, PRINTED);
    return s_hash (print, payload.data + payload.size - PRINTED, PRINTED);
}

//  Bytes that a batch takes: topic and payload
static size_t s_size (const kv_held_t *held)
{
    return held->batch.topic.size + held->batch.payload.size;
}

kv_held_t *kv_held_copy (const kv_held_t *held)
{
    kv_held_t *self = malloc (sizeof *self + s_size (held) + 1);
    assert (self);
    *self = *held;
    char *bytes = (char *) (self + 1);
    if (held->batch.topic.data)
        self->batch.topic.data = memcpy (bytes, held->batch.topic.data, held->batch.topic.size);
    self->batch.payload.data = bytes + held->batch.topic.size;
    if (held->batch.payload.size > 0)
        memcpy (bytes + held->batch.topic.size, held->batch.payload.data, held->batch.payload.size);
    return self;
}

//  -- Stores

static void s_destroy (void **item)
{
    free (*item);
    *item = NULL;
}

static int s_compare (const void *a, const void *b)
{
    uint64_t left = ((const kv_held_t *) a)->batch.seq, right = ((const kv_held_t *) b)->batch.seq;
    return left < right ? -1 : left > right;
}

void kv_store_init (kv_store_t *self)
{
    *self = (kv_store_t){.list = zlistx_new ()};
    zlistx_set_destructor (self->list, s_destroy);
    zlistx_set_comparator (self->list, s_compare);
}

void kv_store_clear (kv_store_t *self)
{
    zlistx_destroy (&self->list);
    self->bytes = 0;
}

size_t kv_store_size (const kv_store_t *self)
{
    return zlistx_size (self->list);
}

void kv_store_insert (kv_store_t *self, const kv_held_t *held)
{
    zlistx_insert (self->list, kv_held_copy (held), false);  //  Searches from the end
    self->bytes += s_size (held);
}

void kv_store_append (kv_store_t *self, const kv_held_t *held)
{
    zlistx_add_end (self->list, kv_held_copy (held));
    self->bytes += s_size (held);
}

const kv_held_t *kv_store_first (const kv_store_t *self)
{
    return zlistx_size (self->list) > 0 ? zlistx_head (self->list) : NULL;
}

kv_held_t *kv_store_take (kv_store_t *self)
{
    kv_held_t *held = zlistx_detach (self->list, NULL);
    if (held)
        self->bytes -= s_size (held);
    return held;
}

const kv_held_t *kv_store_find (const kv_store_t *self, uint64_t seq)
{
    const kv_held_t *held = zlistx_last (self->list);
    if (!held || held->batch.seq < seq)
        return NULL;
    held = zlistx_first (self->list);
    while (held && held->batch.seq < seq)
        held = zlistx_next (self->list);
    return held && held->batch.seq == seq ? held : NULL;
}

bool kv_store_replace (kv_store_t *self, const kv_held_t *held)
{
    const kv_held_t *old = kv_store_find (self, held->batch.seq);
    if (!old)
        return false;
    self->bytes -= s_size (old);
    zlistx_delete (self->list, zlistx_cursor (self->list));
    kv_store_insert (self, held);
    return true;
}

//  -- Memory

void kv_memory_add (kv_memory_t *self, uint64_t seq, uint64_t print)
{
    self->of[seq % KV_MEMORY].set = true;
    self->of[seq % KV_MEMORY].seq = seq;
    self->of[seq % KV_MEMORY].print = print;
}

bool kv_memory_find (const kv_memory_t *self, uint64_t seq, uint64_t *print)
{
    if (!self->of[seq % KV_MEMORY].set || self->of[seq % KV_MEMORY].seq != seq)
        return false;
    *print = self->of[seq % KV_MEMORY].print;
    return true;
}

//  -- Doubts

void kv_doubts_clear (kv_doubts_t *self)
{
    while (self->count > 0)
        free (self->of[--self->count]);
}

void kv_doubts_add (kv_doubts_t *self, const kv_held_t *held)
{
    assert (self->count < KV_DOUBTS);
    self->of[self->count++] = kv_held_copy (held);
}

kv_held_t *kv_doubts_take (kv_doubts_t *self, size_t place)
{
    kv_held_t *held = self->of[place];
    self->count--;
    for (size_t i = place; i < self->count; i++)
        self->of[i] = self->of[i + 1];
    return held;
}
