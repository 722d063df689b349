//  SPDX-License-Identifier: MIT
//  mp_put.h - msgpack-c's packer without a call for each piece, for what goes out in thousands
//
//  msgpack-c's msgpack_pack_...() hand each piece to a callback, through a pointer. Its template is
//  compiled here once more, with a callback that is a plain copy to where there is room already:
//
//      char *at = mp_reserve (&writer, bound);
//      mp_put_map (&at, 1);
//      mp_put_text (&at, "seq");
//      mp_put_uint64 (&at, seq);
//      mp_commit (&writer, at);
//
//  mp_put_uint32, _uint64, _int64, _double, _nil, _true, _false, _array, _map, _str and _str_body,
//  _bin and _bin_body are what msgpack_pack_... of the same name is, and pack the same bytes.

#pragma once

#include "lib/mp.h"

//  What a number, nil or the head of anything takes up at the most
#define MP_PUT_MAX 9

//  Room for `bound` more bytes, and where they go
static inline char *mp_reserve (mp_writer_t *writer, size_t bound);

//  They are written up to `at`
static inline void mp_commit (mp_writer_t *writer, const char *at)
{
    writer->bytes.size = (size_t) (at - writer->bytes.data);
}

static inline int mp_put_bytes (char **at, const void *bytes, size_t size)
{
    if (size > 0)  //  NULL is no address for memcpy, not even for nothing
        memcpy (*at, bytes, size);
    *at += size;
    return 0;
}

#define msgpack_pack_inline_func(name) static inline int mp_put##name
#define msgpack_pack_inline_func_cint(name) static inline int mp_put##name
#define msgpack_pack_inline_func_fixint(name) static inline int mp_put_fix##name
#define msgpack_pack_user char **
#define msgpack_pack_append_buffer(user, buf, len) return mp_put_bytes (user, buf, len)
#include <msgpack/pack_template.h>

//  A string that is known when this is compiled
#define mp_put_text(at, text)                                                                      \
    (mp_put_str (at, sizeof (text) - 1), mp_put_str_body (at, "" text, sizeof (text) - 1))

//  An array of token ids; 5 bytes each and 5 more are enough room
static inline void mp_put_uint32s (char **at_p, const uint32_t *values, size_t count)
{
    mp_put_array (at_p, count);
    char *at = *at_p;  //  A variable of its own stays in a register
    for (size_t i = 0; i < count; i++)
        mp_put_uint32 (&at, values[i]);
    *at_p = at;
}

static inline char *mp_reserve (mp_writer_t *writer, size_t bound)
{
    if (writer->bytes.alloc - writer->bytes.size < bound)
        mp_grow (writer, bound);
    return writer->bytes.data + writer->bytes.size;
}
