//  SPDX-License-Identifier: MIT
//  mp_put.h - pack into room that is already there, for messages that are sent by the thousand
//
//  msgpack-c's msgpack_pack_...() pass each piece to a callback through a pointer. These functions
//  write it themselves, into room that was reserved for all of it:
//
//      char *at = mp_reserve (&writer, bound);
//      mp_put_map (&at, 1);
//      mp_put_text (&at, "seq");
//      mp_put_uint64 (&at, seq);
//      mp_commit (&writer, at);
//
//  Each packs the same bytes as msgpack_pack_... of the same name. tests/tools/unit/mp.c compares
//  them.

#pragma once

#include "lib/mp.h"

//  What a number, nil or the head of anything takes up at the most
#define MP_PUT_MAX 9

//  Room for `bound` more bytes, and where they go
static inline char *mp_reserve (mp_writer_t *writer, size_t bound)
{
    return text_reserve (&writer->bytes, bound);
}

//  They are written up to `at`
static inline void mp_commit (mp_writer_t *writer, const char *at)
{
    writer->bytes.size = (size_t) (at - writer->bytes.data);
}

//  The bytes that come after mp_put_str, _bin or _ext, or packed ones
static inline void mp_put_bytes (char **at, const void *bytes, size_t size)
{
    if (size > 0)  //  NULL is no address for memcpy, not even for nothing
        memcpy (*at, bytes, size);
    *at += size;
}

static inline void mp_put_byte (char **at, unsigned value)
{
    *(*at)++ = (char) value;
}

//  A byte that says what follows, and a big-endian number; compilers know this for one store
static inline void mp_put_number1 (char **at, unsigned head, uint8_t number)
{
    char *to = *at;
    to[0] = (char) head;
    to[1] = (char) number;
    *at = to + 2;
}

static inline void mp_put_number2 (char **at, unsigned head, uint16_t number)
{
    char *to = *at;
    to[0] = (char) head;
    to[1] = (char) (number >> 8);
    to[2] = (char) (number & 0xff);
    *at = to + 3;
}

static inline void mp_put_number4 (char **at, unsigned head, uint32_t number)
{
    char *to = *at;
    to[0] = (char) head;
    to[1] = (char) (number >> 24);
    to[2] = (char) (number >> 16 & 0xff);
    to[3] = (char) (number >> 8 & 0xff);
    to[4] = (char) (number & 0xff);
    *at = to + 5;
}

static inline void mp_put_number8 (char **at, unsigned head, uint64_t number)
{
    char *to = *at;
    to[0] = (char) head;
    to[1] = (char) (number >> 56);
    to[2] = (char) (number >> 48 & 0xff);
    to[3] = (char) (number >> 40 & 0xff);
    to[4] = (char) (number >> 32 & 0xff);
    to[5] = (char) (number >> 24 & 0xff);
    to[6] = (char) (number >> 16 & 0xff);
    to[7] = (char) (number >> 8 & 0xff);
    to[8] = (char) (number & 0xff);
    *at = to + 9;
}

//  True for four values that take two bytes each
static inline bool mp_are_uint16s (const uint32_t values[4])
{
    uint32_t any = values[0] | values[1] | values[2] | values[3];
    return any <= UINT16_MAX && values[0] > UINT8_MAX && values[1] > UINT8_MAX &&
           values[2] > UINT8_MAX && values[3] > UINT8_MAX;
}

static inline void mp_put_uint32 (char **at, uint32_t value)
{
    //  Token ids are mostly large: ask about those first
    if (value > UINT16_MAX)
        mp_put_number4 (at, 0xce, value);
    else if (value > UINT8_MAX)
        mp_put_number2 (at, 0xcd, (uint16_t) value);
    else if (value >= 0x80)
        mp_put_number1 (at, 0xcc, (uint8_t) value);
    else
        mp_put_byte (at, value);
}

static inline void mp_put_uint64 (char **at, uint64_t value)
{
    if (value <= UINT32_MAX)
        mp_put_uint32 (at, (uint32_t) value);
    else
        mp_put_number8 (at, 0xcf, value);
}

static inline void mp_put_int64 (char **at, int64_t value)
{
    if (value >= 0)
        mp_put_uint64 (at, (uint64_t) value);
    else if (value >= -32)
        mp_put_byte (at, (uint8_t) value);
    else if (value >= INT8_MIN)
        mp_put_number1 (at, 0xd0, (uint8_t) value);
    else if (value >= INT16_MIN)
        mp_put_number2 (at, 0xd1, (uint16_t) value);
    else if (value >= INT32_MIN)
        mp_put_number4 (at, 0xd2, (uint32_t) value);
    else
        mp_put_number8 (at, 0xd3, (uint64_t) value);
}

static inline void mp_put_int (char **at, int value)
{
    mp_put_int64 (at, value);
}

static inline void mp_put_double (char **at, double value)
{
    uint64_t bits;
    memcpy (&bits, &value, sizeof bits);
    mp_put_number8 (at, 0xcb, bits);
}

static inline void mp_put_nil (char **at)
{
    mp_put_byte (at, 0xc0);
}

static inline void mp_put_false (char **at)
{
    mp_put_byte (at, 0xc2);
}

static inline void mp_put_true (char **at)
{
    mp_put_byte (at, 0xc3);
}

static inline void mp_put_nils (char **at, size_t count)
{
    while (count-- > 0)
        mp_put_nil (at);
}

//  The head of an array or a map: in one byte with its size, or with 2 or 4 more for the size
static inline void mp_put_head (char **at, unsigned small, unsigned large, size_t size)
{
    if (size < 16)
        mp_put_byte (at, small | (unsigned) size);
    else if (size <= UINT16_MAX)
        mp_put_number2 (at, large, (uint16_t) size);
    else
        mp_put_number4 (at, large + 1, (uint32_t) size);
}

static inline void mp_put_array (char **at, size_t size)
{
    mp_put_head (at, 0x90, 0xdc, size);
}

static inline void mp_put_map (char **at, size_t size)
{
    mp_put_head (at, 0x80, 0xde, size);
}

//  The head of bytes, with 1, 2 or 4 more for the size
static inline void mp_put_sized (char **at, unsigned head, size_t size)
{
    if (size <= UINT8_MAX)
        mp_put_number1 (at, head, (uint8_t) size);
    else if (size <= UINT16_MAX)
        mp_put_number2 (at, head + 1, (uint16_t) size);
    else
        mp_put_number4 (at, head + 2, (uint32_t) size);
}

static inline void mp_put_str (char **at, size_t size)
{
    if (size < 32)
        mp_put_byte (at, 0xa0 | (unsigned) size);
    else
        mp_put_sized (at, 0xd9, size);
}

static inline void mp_put_bin (char **at, size_t size)
{
    mp_put_sized (at, 0xc4, size);
}

//  Bytes of a type that the application defines
static inline void mp_put_ext (char **at, size_t size, int8_t type)
{
    if (size == 1 || size == 2 || size == 4 || size == 8 || size == 16)
        mp_put_byte (at, size == 16 ? 0xd8 : size == 8 ? 0xd7 : 0xd4 + (unsigned) size / 2);
    else
        mp_put_sized (at, 0xc7, size);
    mp_put_byte (at, (uint8_t) type);
}

//  A C string, or nil for NULL: 5 bytes more than mp_cstr_size are enough room
static inline size_t mp_cstr_size (const char *text)
{
    return text ? strlen (text) : 0;
}

static inline void mp_put_cstr (char **at, const char *text)
{
    if (text) {
        mp_put_str (at, strlen (text));
        mp_put_bytes (at, text, strlen (text));
    } else {
        mp_put_nil (at);
    }
}

//  A string that is known when this is compiled
#define mp_put_text(at, text)                                                                      \
    (mp_put_str (at, sizeof (text) - 1), mp_put_bytes (at, "" text, sizeof (text) - 1))

//  An array of token ids; 5 bytes each and 5 more are enough room
static inline void mp_put_uint32s (char **at_p, const uint32_t *values, size_t count)
{
    mp_put_array (at_p, count);
    char *at = *at_p;  //  A variable of its own stays in a register
    size_t i = 0;
    while (i < count) {
        //  Most take two bytes: four at once
        for (; count - i >= 4 && mp_are_uint16s (values + i); i += 4) {
            mp_put_number2 (&at, 0xcd, (uint16_t) values[i]);
            mp_put_number2 (&at, 0xcd, (uint16_t) values[i + 1]);
            mp_put_number2 (&at, 0xcd, (uint16_t) values[i + 2]);
            mp_put_number2 (&at, 0xcd, (uint16_t) values[i + 3]);
        }
        if (i < count)
            mp_put_uint32 (&at, values[i++]);
    }
    *at_p = at;
}
