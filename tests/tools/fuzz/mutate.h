//  SPDX-License-Identifier: MIT
//  mutate.h - how libFuzzer changes an input that is msgpack: at its values, not only at its bytes
//
//  Of bytes changed at random nearly all stop at the first check. So the input is unpacked, one
//  value in it is changed, and all is packed again. A quarter of the changes are libFuzzer's own.

#pragma once

#include "fuzz.h"

size_t LLVMFuzzerMutate (uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max, unsigned seed);

typedef enum {
    MUTATE_BYTES,  //  libFuzzer changes the bytes of this value
    MUTATE_COPY,   //  The value of another place
    MUTATE_NEST,   //  Arrays around it
    MUTATE_TWICE,  //  Of an array or map: an element once more,
    MUTATE_DROP,   //  one less,
    MUTATE_LIE,    //  another count than it has elements
    MUTATE_KINDS
} mutate_kind_t;

typedef struct {
    uint32_t random;
    mutate_kind_t kind;
    const msgpack_object *target, *donor;
} mutate_t;

static inline uint32_t mutate_random (mutate_t *self, uint32_t below)
{
    self->random = self->random * 1664525u + 1013904223u;
    return below ? (self->random >> 8) % below : 0;
}

//  The keys and values of a map, or the elements of an array
static inline uint32_t mutate_size (const msgpack_object *object)
{
    return object->type == MSGPACK_OBJECT_ARRAY ? object->via.array.size
           : object->type == MSGPACK_OBJECT_MAP ? 2 * object->via.map.size
                                                : 0;
}

static inline const msgpack_object *mutate_element (const msgpack_object *object, uint32_t i)
{
    if (object->type == MSGPACK_OBJECT_ARRAY)
        return &object->via.array.ptr[i];
    const msgpack_object_kv *pair = &object->via.map.ptr[i / 2];
    return i % 2 == 0 ? &pair->key : &pair->val;
}

//  Value number *at; behind the last one *at has only been counted down by their number
//  NOLINTNEXTLINE(misc-no-recursion): mp_decode has bounded the depth
static inline const msgpack_object *mutate_pick (const msgpack_object *object, size_t *at)
{
    if ((*at)-- == 0)
        return object;
    const msgpack_object *found = NULL;
    for (uint32_t i = 0; !found && i < mutate_size (object); i++)
        found = mutate_pick (mutate_element (object, i), at);
    return found;
}

static inline void mutate_bytes (msgpack_packer *packer, const msgpack_object *object)
{
    msgpack_sbuffer bytes;
    msgpack_packer own;
    msgpack_sbuffer_init (&bytes);
    msgpack_packer_init (&own, &bytes, msgpack_sbuffer_write);
    msgpack_pack_object (&own, *object);
    uint8_t changed[4096];
    size_t size = bytes.size < sizeof changed / 2 ? bytes.size : sizeof changed / 2;
    memcpy (changed, bytes.data, size);
    size = LLVMFuzzerMutate (changed, size, sizeof changed);
    packer->callback (packer->data, (char *) changed, size);
    msgpack_sbuffer_destroy (&bytes);
}

static inline void mutate_pack (mutate_t *self, msgpack_packer *packer,
                                const msgpack_object *object);

//  An array or a map, with one element more or less, or another count
//  NOLINTNEXTLINE(misc-no-recursion)
static inline void mutate_elements (mutate_t *self, msgpack_packer *packer,
                                    const msgpack_object *object, mutate_kind_t kind)
{
    bool map = object->type == MSGPACK_OBJECT_MAP;
    uint32_t parts = map ? 2 : 1, size = mutate_size (object) / parts;
    uint32_t which = mutate_random (self, size), told = size;
    if (kind == MUTATE_LIE)
        told = mutate_random (self, 2) ? size + 1 : mutate_random (self, UINT32_MAX);
    else if (size > 0)
        told += kind == MUTATE_TWICE ? 1u : kind == MUTATE_DROP ? -1u : 0u;
    (map ? msgpack_pack_map : msgpack_pack_array) (packer, told);
    for (uint32_t i = 0; i < size; i++) {
        int copies = i != which ? 1 : kind == MUTATE_TWICE ? 2 : kind == MUTATE_DROP ? 0 : 1;
        while (copies-- > 0)
            for (uint32_t part = 0; part < parts; part++)
                mutate_pack (self, packer, mutate_element (object, i * parts + part));
    }
}

//  NOLINTNEXTLINE(misc-no-recursion)
static inline void mutate_pack (mutate_t *self, msgpack_packer *packer,
                                const msgpack_object *object)
{
    mutate_kind_t kind = object == self->target ? self->kind : MUTATE_KINDS;
    if (kind == MUTATE_NEST)
        for (uint32_t i = mutate_random (self, mutate_random (self, 2) ? 3 : 40); i > 0; i--)
            msgpack_pack_array (packer, 1);
    if (kind == MUTATE_BYTES)
        mutate_bytes (packer, object);
    else if (kind == MUTATE_COPY)
        msgpack_pack_object (packer, *self->donor);
    else if (object->type == MSGPACK_OBJECT_ARRAY || object->type == MSGPACK_OBJECT_MAP)
        mutate_elements (self, packer, object, kind);
    else
        msgpack_pack_object (packer, *object);
}

//  Changes data[0..size), which may grow to `max`, and returns its new size
static inline size_t mutate_msgpack (uint8_t *data, size_t size, size_t max, unsigned seed)
{
    mutate_t self = {.random = seed};
    msgpack_unpacked doc;
    if (mutate_random (&self, 4) == 0 || mp_decode (&doc, data, size, "", NULL) == -1)
        return LLVMFuzzerMutate (data, size, max);
    size_t left = SIZE_MAX;
    mutate_pick (&doc.data, &left);
    uint32_t count = (uint32_t) (SIZE_MAX - left);
    size_t at = mutate_random (&self, count), from = mutate_random (&self, count);
    self.kind = (mutate_kind_t) mutate_random (&self, MUTATE_KINDS);
    self.target = mutate_pick (&doc.data, &at);
    self.donor = mutate_pick (&doc.data, &from);
    msgpack_sbuffer bytes;
    msgpack_packer packer;
    msgpack_sbuffer_init (&bytes);
    msgpack_packer_init (&packer, &bytes, msgpack_sbuffer_write);
    mutate_pack (&self, &packer, &doc.data);
    msgpack_unpacked_destroy (&doc);
    if (bytes.size > 0 && bytes.size <= max) {
        memcpy (data, bytes.data, bytes.size);
        size = bytes.size;
    } else {
        size = LLVMFuzzerMutate (data, size, max);
    }
    msgpack_sbuffer_destroy (&bytes);
    return size;
}
