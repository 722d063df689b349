//  SPDX-License-Identifier: MIT
//  mutate.h - how libFuzzer changes an input that is msgpack: at its values, not only at its bytes
//
//  Of bytes changed at random nearly all stop at the first check. So the input is unpacked, one
//  value in it is changed, and all is packed again: another type, a number at a bound, a count that
//  lies, deeper nesting, an element more or less. A quarter of the changes are libFuzzer's own.

#pragma once

#include "fuzz.h"

size_t LLVMFuzzerMutate (uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max, unsigned seed);

typedef enum {
    MUTATE_VALUE,  //  Another value
    MUTATE_COPY,   //  That of another place
    MUTATE_BYTES,  //  The same type, changed
    MUTATE_WIDE,   //  The same value in more bytes
    MUTATE_LIE,    //  A count or length that is wrong
    MUTATE_NEST,   //  Containers around it
    MUTATE_TWICE,  //  Of an array or map: an element once more,
    MUTATE_DROP,   //  one less,
    MUTATE_SWAP,   //  two the other way round
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

//  Value number *at; behind the last one *at has only been counted down by their number
//  NOLINTNEXTLINE(misc-no-recursion): mp_decode has bounded the depth
static inline const msgpack_object *mutate_pick (const msgpack_object *object, size_t *at)
{
    if ((*at)-- == 0)
        return object;
    const msgpack_object *found = NULL;
    if (object->type == MSGPACK_OBJECT_ARRAY)
        for (uint32_t i = 0; !found && i < object->via.array.size; i++)
            found = mutate_pick (&object->via.array.ptr[i], at);
    else if (object->type == MSGPACK_OBJECT_MAP)
        for (uint32_t i = 0; !found && i < object->via.map.size; i++) {
            found = mutate_pick (&object->via.map.ptr[i].key, at);
            if (!found)
                found = mutate_pick (&object->via.map.ptr[i].val, at);
        }
    return found;
}

static inline void mutate_write (msgpack_packer *packer, const void *bytes, size_t size)
{
    if (size > 0)
        packer->callback (packer->data, bytes, size);
}

//  A head with 32 bits for the count: 0xdd of arrays, 0xdf of maps, 0xdb of str, 0xc6 of bin
static inline void mutate_head (msgpack_packer *packer, uint8_t type, uint32_t count)
{
    uint8_t head[] = {type, (uint8_t) (count >> 24), (uint8_t) (count >> 16),
                      (uint8_t) (count >> 8), (uint8_t) count};
    mutate_write (packer, head, sizeof head);
}

static inline void mutate_value (mutate_t *self, msgpack_packer *packer)
{
    //  Whole values; some are no msgpack at all, or claim what is not there
    static const char *const values[] = {
        "\xc0",
        "\xc2",
        "\xc3",
        "\xc1",
        "\xff",
        "\xe0",
        "\x7f",
        "\xcc\xff",
        "\xcd\xff\xff",
        "\xce\xff\xff\xff\xff",
        "\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
        "\xcf\x7f\xff\xff\xff\xff\xff\xff\xff",
        "\xd3\xff\xff\xff\xff\xff\xff\xff\xff",
        "\xd0\x80",
        "\xca\x7f\xc0\x01\x01",
        "\xcb\x7f\xf0\x01\x01\x01\x01\x01\x01",
        "\xcb\xff\xf1\x01\x01\x01\x01\x01\x01",
        "\xcb\x41\xda\xa8\xdb\xe0\x20\x01\x01",
        "\x90",
        "\x80",
        "\x91\xc0",
        "\x81\xc0\xc0",
        "\x81\xa4type\253BlockStored",
        "\xa0",
        "\xa1x",
        "\xa2r1",
        "\xa1\xff",
        "\xa3\xed\xa0\x80",
        "\xa2\x1b[",
        "\xa4type",
        "\253BlockStored",
        "\254BlockRemoved",
        "\260AllBlocksCleared",
        "\xaamax_tokens",
        "\xa5HELLO",
        "\xa5READY",
        "\245error",
        "\xc4\x01\x01",
        "\xd4\x01\x01",
        "\xc7\x01\x05\x01",
        "\xdd\xff\xff\xff\xff",
        "\xdf\xff\xff\xff\xff",
        "\xdb\xff\xff\xff\xff",
        "\xc9\xff\xff\xff\xff\x01",
    };
    if (mutate_random (self, 8) == 0) {
        msgpack_pack_int64 (packer, (int64_t) mutate_random (self, UINT32_MAX) - INT32_MAX);
    } else {
        const char *value = values[mutate_random (self, sizeof values / sizeof values[0])];
        mutate_write (packer, value, strlen (value));
    }
}

//  A str or bin with other bytes in it; a number that is near
static inline void mutate_bytes (mutate_t *self, msgpack_packer *packer,
                                 const msgpack_object *object)
{
    uint8_t bytes[256];
    bool text = object->type == MSGPACK_OBJECT_STR;
    if (!text && object->type != MSGPACK_OBJECT_BIN) {
        if (object->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
            msgpack_pack_uint64 (packer, object->via.u64 + mutate_random (self, 5) - 2);
        else
            mutate_value (self, packer);
        return;
    }
    size_t size = text ? object->via.str.size : object->via.bin.size;
    size = size < sizeof bytes / 2 ? size : sizeof bytes / 2;
    if (size > 0)
        memcpy (bytes, text ? object->via.str.ptr : object->via.bin.ptr, size);
    size = LLVMFuzzerMutate (bytes, size, sizeof bytes);
    if (text)
        msgpack_pack_str_with_body (packer, bytes, size);
    else
        msgpack_pack_bin_with_body (packer, bytes, size);
}

static inline void mutate_pack (mutate_t *self, msgpack_packer *packer,
                                const msgpack_object *object);

//  The elements of a container, one of them twice, or not, or in another's place
//  NOLINTNEXTLINE(misc-no-recursion)
static inline void mutate_elements (mutate_t *self, msgpack_packer *packer,
                                    const msgpack_object *object, mutate_kind_t kind)
{
    bool map = object->type == MSGPACK_OBJECT_MAP;
    uint32_t size = map ? object->via.map.size : object->via.array.size;
    uint32_t which = mutate_random (self, size), other = mutate_random (self, size);
    uint32_t told = size;
    if (size > 0)
        told += kind == MUTATE_TWICE ? 1u : kind == MUTATE_DROP ? -1u : 0u;
    if (kind == MUTATE_LIE)
        told = mutate_random (self, 2) ? size + 1 - 2 * mutate_random (self, 2)
                                       : mutate_random (self, UINT32_MAX);
    if (kind == MUTATE_WIDE || kind == MUTATE_LIE)
        mutate_head (packer, map ? 0xdf : 0xdd, told);
    else if (map)
        msgpack_pack_map (packer, told);
    else
        msgpack_pack_array (packer, told);
    for (uint32_t i = 0; i < size; i++) {
        uint32_t from = kind != MUTATE_SWAP ? i : i == which ? other : i == other ? which : i;
        int copies = i != which ? 1 : kind == MUTATE_TWICE ? 2 : kind == MUTATE_DROP ? 0 : 1;
        while (copies-- > 0) {
            if (map)
                mutate_pack (self, packer, &object->via.map.ptr[from].key);
            mutate_pack (self, packer,
                         map ? &object->via.map.ptr[from].val : &object->via.array.ptr[from]);
        }
    }
}

//  A scalar in the widest form that its type has, perhaps with a wrong length
static inline void mutate_widen (mutate_t *self, msgpack_packer *packer,
                                 const msgpack_object *object, bool lie)
{
    uint32_t off = lie ? 1 + mutate_random (self, 3) * 0x1000000u : 0;
    if (object->type == MSGPACK_OBJECT_STR || object->type == MSGPACK_OBJECT_BIN) {
        bool text = object->type == MSGPACK_OBJECT_STR;
        uint32_t size = text ? object->via.str.size : object->via.bin.size;
        mutate_head (packer, text ? 0xdb : 0xc6, size + off);
        mutate_write (packer, text ? object->via.str.ptr : object->via.bin.ptr, size);
    } else if (object->type == MSGPACK_OBJECT_POSITIVE_INTEGER) {
        uint8_t bytes[9] = {object->via.u64 <= INT64_MAX && mutate_random (self, 2) ? 0xd3 : 0xcf};
        for (int i = 0; i < 8; i++)
            bytes[8 - i] = (uint8_t) (object->via.u64 >> 8 * i);
        mutate_write (packer, bytes, lie ? 8 : 9);
    } else {
        mutate_value (self, packer);
    }
}

//  NOLINTNEXTLINE(misc-no-recursion)
static inline void mutate_pack (mutate_t *self, msgpack_packer *packer,
                                const msgpack_object *object)
{
    bool container = object->type == MSGPACK_OBJECT_ARRAY || object->type == MSGPACK_OBJECT_MAP;
    mutate_kind_t kind = MUTATE_KINDS;  //  None: as it is
    if (object == self->target) {
        kind = self->kind;
        self->target = NULL;  //  Once
    }
    if (kind == MUTATE_NEST) {
        for (uint32_t depth = 1 + mutate_random (self, mutate_random (self, 2) ? 3 : 40); depth > 0;
             depth--) {
            bool map = mutate_random (self, 4) == 0;
            mutate_write (packer, map ? "\x81\xa1n" : "\x91", map ? 3 : 1);
        }
        kind = MUTATE_KINDS;
    }
    if (kind == MUTATE_VALUE)
        mutate_value (self, packer);
    else if (kind == MUTATE_COPY)
        msgpack_pack_object (packer, *self->donor);
    else if (container)
        mutate_elements (self, packer, object, kind);
    else if (kind == MUTATE_WIDE || kind == MUTATE_LIE)
        mutate_widen (self, packer, object, kind == MUTATE_LIE);
    else if (kind != MUTATE_KINDS)
        mutate_bytes (self, packer, object);
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

    uint32_t after = mutate_random (&self, 16);
    if (after == 0)
        bytes.size = mutate_random (&self, (uint32_t) bytes.size);  //  Cut short
    else if (after == 1)
        mutate_value (&self, &packer);  //  Something behind the end
    if (bytes.size > 0 && bytes.size <= max) {
        memcpy (data, bytes.data, bytes.size);
        size = bytes.size;
    } else {
        size = LLVMFuzzerMutate (data, size, max);
    }
    msgpack_sbuffer_destroy (&bytes);
    return size;
}

//  For a harness whose input is `prefix` bytes that are not msgpack, then msgpack
static inline size_t mutate_behind (size_t prefix, uint8_t *data, size_t size, size_t max,
                                    unsigned seed)
{
    if (size <= prefix || max <= prefix || seed % 16 == 0)
        return LLVMFuzzerMutate (data, size, max);
    return prefix + mutate_msgpack (data + prefix, size - prefix, max - prefix, seed);
}

//  For one whose input is `prefix` bytes, then what fuzz_message reads: changes one frame, leaves
//  it out, or has it twice
static inline size_t mutate_frames (size_t prefix, uint8_t *data, size_t size, size_t max,
                                    unsigned seed)
{
    mutate_t self = {.random = seed};
    if (size <= prefix || mutate_random (&self, 8) == 0)
        return LLVMFuzzerMutate (data, size, max);
    zmsg_t *message = fuzz_message (data + prefix, size - prefix);
    uint32_t which = mutate_random (&self, (uint32_t) zmsg_size (message));
    uint32_t how = mutate_random (&self, 10), i = 0;
    uint8_t bytes[4096];
    size_t used = prefix;
    for (zframe_t *frame = zmsg_first (message); frame; frame = zmsg_next (message), i++) {
        int copies = i != which ? 1 : how == 0 ? 0 : how == 1 ? 2 : 1;
        while (copies-- > 0) {
            size_t length = zframe_size (frame);
            length = length < sizeof bytes ? length : sizeof bytes;
            memcpy (bytes, zframe_data (frame), length);
            if (i == which && how > 1)
                length = mutate_msgpack (bytes, length, sizeof bytes, self.random);
            bool last = zmsg_size (message) == i + 1 && copies == 0;
            length = last || length < 255 ? length : 254;
            if (used + 1 + length > max)
                break;
            data[used++] = last && length >= 255 ? 255 : (uint8_t) length;
            memcpy (data + used, bytes, length);
            used += length;
        }
    }
    zmsg_destroy (&message);
    return used > prefix ? used : LLVMFuzzerMutate (data, size, max);
}
