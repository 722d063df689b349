//  SPDX-License-Identifier: MIT
//  engine_core_own.h - what the files of engine_core share, and nobody else needs

#pragma once

#include "engine/engine_core.h"
#include "lib/mp_put.h"

static inline void s_put_nils (char **at, size_t count)
{
    while (count-- > 0)
        mp_put_nil (at);
}

//  A string, or nil for NULL; 5 bytes more than its length are enough room
static inline void s_put_str (char **at, const char *text)
{
    size_t size = text ? strlen (text) : 0;
    if (text) {
        mp_put_str (at, size);
        mp_put_bytes (at, text, size);
    } else {
        mp_put_nil (at);
    }
}

static inline size_t s_size (const char *text)
{
    return text ? strlen (text) : 0;
}

//  Decodes a frame that must hold an array of at least `min` fields. Returns 0 with `doc` to be
//  destroyed by the caller, or -1.
static inline int s_decode_array (msgpack_unpacked *doc, zframe_t *frame, const char *what,
                                  uint32_t min, const msgpack_object_array **array,
                                  mp_error_t *error)
{
    if (mp_decode (doc, zframe_data (frame), zframe_size (frame), what, error) == -1)
        return -1;
    if (!mp_get_array (&doc->data, what, min, array, error)) {
        msgpack_unpacked_destroy (doc);
        return -1;
    }
    return 0;
}

//  Field `index`, or NULL behind the end of the array
static inline const msgpack_object *s_field (const msgpack_object_array *array, uint32_t index)
{
    return index < array->size ? &array->ptr[index] : NULL;
}

//  A key of a map and its value
static inline void s_pack_counter (msgpack_packer *packer, const char *name, uint64_t value)
{
    mp_pack_str (packer, name);
    msgpack_pack_uint64 (packer, value);
}

static inline void s_pack_text (msgpack_packer *packer, const char *name, const char *value)
{
    mp_pack_str (packer, name);
    mp_pack_str (packer, value);  //  nil for NULL
}

static inline void s_pack_flag (msgpack_packer *packer, const char *name, bool value)
{
    mp_pack_str (packer, name);
    if (value)
        msgpack_pack_true (packer);
    else
        msgpack_pack_false (packer);
}

static inline void s_pack_none (msgpack_packer *packer, const char *name)
{
    s_pack_text (packer, name, NULL);
}
