//  SPDX-License-Identifier: MIT
//  kv_held.h - batches that wait for their turn, and the memory of those that came before
//
//  Used by kv_sequence.c only. No socket, no clock.

#pragma once

#include "kv/kv_events.h"

//  A batch that has come. `print` stands for its payload: see kv_fingerprint.
typedef struct {
    kv_numbered_t batch;
    uint64_t print;
    int64_t since;   //  When it came, ms
    uint64_t order;  //  And as which one
} kv_held_t;

//  A number by which a payload is recognised. Two batches with the same number from different runs
//  differ at least in their timestamp, which is in the first 10 bytes; so the middle of a large
//  payload is left out.
uint64_t kv_fingerprint (mp_slice_t payload);

//  A copy with its own bytes; free it with free ()
kv_held_t *kv_held_copy (const kv_held_t *held);

//  -- Batches in the order of their numbers, or in the order in which they came

typedef struct {
    zlistx_t *list;
    size_t bytes;
} kv_store_t;

void kv_store_init (kv_store_t *self);
void kv_store_clear (kv_store_t *self);
size_t kv_store_size (const kv_store_t *self);

//  Puts a copy in its place by number, or at the end
void kv_store_insert (kv_store_t *self, const kv_held_t *held);
void kv_store_append (kv_store_t *self, const kv_held_t *held);

//  The first one; NULL when there is none. It stays the store's.
const kv_held_t *kv_store_first (const kv_store_t *self);

//  Takes out the first one, which is the caller's to free. NULL when there is none.
kv_held_t *kv_store_take (kv_store_t *self);

//  The one with this number; NULL when there is none. It stays the store's.
const kv_held_t *kv_store_find (const kv_store_t *self, uint64_t seq);

//  Gives the one with this number other bytes. False: there is none.
bool kv_store_replace (kv_store_t *self, const kv_held_t *held);

//  -- The last 256 numbers whose bytes are known

#define KV_MEMORY 256

typedef struct {
    struct {
        bool set;
        uint64_t seq, print;
    } of[KV_MEMORY];  //  That of seq is at [seq % KV_MEMORY]
} kv_memory_t;

void kv_memory_add (kv_memory_t *self, uint64_t seq, uint64_t print);

//  True: it is remembered, and *print is set
bool kv_memory_find (const kv_memory_t *self, uint64_t seq, uint64_t *print);

//  -- Numbers that do not follow, and wait for a second message that agrees
//
//  At most two: a publisher counts up, so among the last three messages of one source two are in
//  order, unless more than one of them is wrong.

#define KV_DOUBTS 2

typedef struct {
    kv_held_t *of[KV_DOUBTS];  //  In the order in which they came: each is below the one before
    size_t count;
} kv_doubts_t;

void kv_doubts_clear (kv_doubts_t *self);

//  Adds a copy at the end. There must be room.
void kv_doubts_add (kv_doubts_t *self, const kv_held_t *held);

//  Takes out number `place`, which is the caller's to free
kv_held_t *kv_doubts_take (kv_doubts_t *self, size_t place);
