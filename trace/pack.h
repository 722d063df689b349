//  SPDX-License-Identifier: MIT
//  pack.h - reads msgpack in place, also when only its beginning is there
//
//  msgpack-c's reader allocates memory and wants the whole value; the tracer has the first bytes of
//  a frame and may not allocate.

#pragma once

#include "text.h"

typedef struct {
    const unsigned char *at;
    const unsigned char *end;
    bool more;  //  The frame goes on behind `end`
} pack_t;

typedef enum {
    PACK_NIL,
    PACK_BOOL,
    PACK_UINT,
    PACK_INT,  //  A negative number
    PACK_DOUBLE,
    PACK_STR,
    PACK_BIN,
    PACK_EXT,
    PACK_ARRAY,
    PACK_MAP
} pack_type_t;

typedef struct {
    pack_type_t type;
    union {
        uint64_t number;  //  PACK_UINT, PACK_BOOL; of PACK_ARRAY and PACK_MAP the number of entries
        int64_t negative;
        double real;
    };
    const unsigned char *data;  //  PACK_STR, PACK_BIN, PACK_EXT
    size_t size;                //  Of data
    size_t missing;             //  How many bytes of it lie behind `end`
    int8_t ext;
} pack_item_t;

//  What a reader can tell
typedef enum {
    PACK_OK,
    PACK_ENDED,  //  All that is there was read, and the frame goes on
    PACK_WRONG   //  This is no msgpack
} pack_result_t;

pack_t pack_on (const void *data, size_t size, bool more);

//  Reads one item. Of an array or a map that is only its head: the entries are the next items.
pack_result_t pack_read (pack_t *self, pack_item_t *item);

//  Reads over one value with all that is in it
pack_result_t pack_skip (pack_t *self);

//  Reads one value and adds it as text: JSON, but for h'0102' (bin), ext(5,h'01') and keys that are
//  no strings. PACK_OK also when the text is cut: then the rest was not looked at.
pack_result_t pack_print (pack_t *self, text_t *out);

//  Reads the head of an array or a map. False: it is something else, or not there.
bool pack_entries (pack_t *self, pack_type_t type, uint64_t *count);

//  True when `item` is this string
bool pack_is (const pack_item_t *item, const char *string);
