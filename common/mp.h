//  SPDX-License-Identifier: MIT
//  mp.h - msgpack values in ZeroMQ frames
//
//  Write:  mp_put appends values by a picture, as zsock_send does; mp_frame makes the frame.
//  Read:   mp_open returns the value in a frame, a tree of msgpack-c's objects. mp_at and mp_get
//          walk it. They take NULL and return NULL, so a chain of them needs one check, at its end.

#pragma once

#include <czmq.h>
#include <msgpack.h>

//  Appends one value to `out` for each letter of the picture:
//      i int   u uint64_t   d double   s str, from a C string   n nil, f false, t true
//      [ array of (int) elements   { map of (int) pairs; their values come next
//  Begin with `msgpack_sbuffer out = {0}`.
static inline void mp_put (msgpack_sbuffer *out, const char *picture, ...)
{
    msgpack_packer to;
    msgpack_packer_init (&to, out, msgpack_sbuffer_write);
    va_list args;
    va_start (args, picture);
    for (; *picture; picture++)
        if (*picture == 'i')
            msgpack_pack_int (&to, va_arg (args, int));
        else if (*picture == 'u')
            msgpack_pack_uint64 (&to, va_arg (args, uint64_t));
        else if (*picture == 'd')
            msgpack_pack_double (&to, va_arg (args, double));
        else if (*picture == 's') {
            const char *text = va_arg (args, const char *);
            msgpack_pack_str_with_body (&to, text, strlen (text));
        } else if (*picture == '[')
            msgpack_pack_array (&to, (size_t) va_arg (args, int));
        else if (*picture == '{')
            msgpack_pack_map (&to, (size_t) va_arg (args, int));
        else if (*picture == 'f' || *picture == 't')
            *picture == 'f' ? msgpack_pack_false (&to) : msgpack_pack_true (&to);
        else
            msgpack_pack_nil (&to);
    va_end (args);
}

//  Makes a frame, which the caller owns, of what was put into `out`, and empties `out`
static inline zframe_t *mp_frame (msgpack_sbuffer *out)
{
    zframe_t *frame = zframe_new (out->data, out->size);
    msgpack_sbuffer_destroy (out);
    *out = (msgpack_sbuffer){0};
    return frame;
}

//  True if the bytes are one msgpack value and nothing else. Each element of an array or map takes
//  at least one byte, so none can announce more elements than bytes are left. msgpack-c reserves
//  memory for what is announced before it looks: 100 bytes can cost 160 GB. So look here first.
static inline bool mp_is_one_value (const byte *at, size_t left)
{
    //  For the tags c0 to df: bytes that follow, and kind (s str or bin, x ext, a array, m map)
    static const byte width[] = {0, 0, 0, 0, 1, 2, 4, 1, 2,  4, 4, 8, 1, 2, 4, 8,
                                 1, 2, 4, 8, 2, 3, 5, 9, 17, 1, 2, 4, 2, 4, 2, 4};
    static const char kinds[] = "....sssxxx...............sssaamm";
    uint64_t expected = 1;
    for (; expected > 0 && expected <= left; expected--) {
        byte tag = *at++;
        bool wide = tag >= 0xc0 && tag < 0xe0;  //  If not, the length is in the tag itself
        int kind = wide ? kinds[tag & 31] : "........mass...."[tag >> 4];
        uint64_t n = wide ? 0 : kind == 's' ? tag & 31 : tag & 15;
        size_t bytes = wide ? width[tag & 31] : 0;
        if (bytes > --left)
            return false;
        for (left -= bytes; bytes > 0; bytes--)
            n = n << 8 | *at++;
        expected += kind == 'a' ? n : kind == 'm' ? 2 * n : 0;
        uint64_t body = kind == 's' ? n : kind == 'x' ? n + 1 : 0;
        if (body > left)
            return false;
        at += body, left -= body;
    }
    return expected == 0 && left == 0;
}

//  The value in a frame; NULL if the frame is NULL or does not hold exactly one. It points into the
//  frame and into `doc`, which the caller destroys in any case, with msgpack_unpacked_destroy.
static inline const msgpack_object *mp_open (msgpack_unpacked *doc, zframe_t *frame)
{
    msgpack_unpacked_init (doc);
    if (!frame || !mp_is_one_value (zframe_data (frame), zframe_size (frame)))
        return NULL;
    const char *data = (char *) zframe_data (frame);
    int rc = msgpack_unpack_next (doc, data, zframe_size (frame), NULL);
    return rc == MSGPACK_UNPACK_SUCCESS ? &doc->data : NULL;
}

//  The number of elements of an array; 0 for anything else
static inline uint32_t mp_count (const msgpack_object *array)
{
    return array && array->type == MSGPACK_OBJECT_ARRAY ? array->via.array.size : 0;
}

//  Element i of an array; NULL if there is none
static inline const msgpack_object *mp_at (const msgpack_object *array, uint32_t i)
{
    return i < mp_count (array) ? &array->via.array.ptr[i] : NULL;
}

//  True if the value is a str, and this one
static inline bool mp_is (const msgpack_object *object, const char *text)
{
    if (!object || object->type != MSGPACK_OBJECT_STR || object->via.str.size != strlen (text))
        return false;
    return !*text || memcmp (object->via.str.ptr, text, object->via.str.size) == 0;
}

//  The value of a key of a map; NULL if there is none
static inline const msgpack_object *mp_get (const msgpack_object *map, const char *key)
{
    for (uint32_t i = 0; map && map->type == MSGPACK_OBJECT_MAP && i < map->via.map.size; i++)
        if (mp_is (&map->via.map.ptr[i].key, key))
            return &map->via.map.ptr[i].val;
    return NULL;
}

//  An integer that is not negative; `otherwise` for anything else
static inline uint64_t mp_uint (const msgpack_object *object, uint64_t otherwise)
{
    return object && object->type == MSGPACK_OBJECT_POSITIVE_INTEGER ? object->via.u64 : otherwise;
}

//  A copy of a str, which the caller frees with zstr_free; NULL for anything else, and for a str
//  with a zero byte, which no C string can hold
static inline char *mp_text (const msgpack_object *object)
{
    if (!object || object->type != MSGPACK_OBJECT_STR)
        return NULL;
    uint32_t size = object->via.str.size;  //  If it is 0, msgpack-c's pointer may be NULL
    char *text = size > 0 ? strndup (object->via.str.ptr, size) : strdup ("");
    if (strlen (text) < size)
        zstr_free (&text);
    return text;
}

//  Replaces the control bytes of a text by '?', and returns the text. Do this before printing what
//  a peer has sent: control bytes can move the cursor and rewrite what stands on a terminal.
static inline char *mp_printable (char *text)
{
    for (byte *at = (byte *) text; *at; at++)
        if (iscntrl (*at) || (*at == 0xc2 && at[1] >= 0x80 && at[1] < 0xa0))  //  U+0080 to U+009F
            *at = '?';
    return text;
}
