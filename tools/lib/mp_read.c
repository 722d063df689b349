//  SPDX-License-Identifier: MIT
//  mp_read.c - reads, skips and checks msgpack in place, with bounds
//
//  msgpack-c's unpacker takes the count of an array at its word and reserves memory for it: five
//  bytes can claim 100 GB. So mp_check compares each claim with the bytes that are there, before
//  mp_decode lets msgpack-c unpack anything.

#include "lib/mp.h"

#include <inttypes.h>

#define TIMES4(n) n, n, n, n
#define TIMES16(n) TIMES4 (n), TIMES4 (n), TIMES4 (n), TIMES4 (n)
#define TIMES64(n) TIMES16 (n), TIMES16 (n), TIMES16 (n), TIMES16 (n)

//  In this order: numbers from 0; maps and arrays; short strings; nil, -, false, true, bin, ext,
//  float, double; other integers, short ext, and str, array and map with a size; numbers below 0
// clang-format off
const uint8_t mp_sizes[256] = {
    TIMES64 (1), TIMES64 (1), TIMES16 (0), TIMES16 (0),               //  00 to 9f
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,            //  a0 to af
    17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32,   //  b0 to bf
    1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 5, 9, 2, 3, 5, 9,                   //  c0 to cf
    2, 3, 5, 9, 3, 4, 6, 10, 18, 0, 0, 0, 0, 0, 0, 0,                 //  d0 to df
    TIMES16 (1), TIMES16 (1)};                                        //  e0 to ff
// clang-format on

//  The largest size in the table
#define SIZED_MAX 32

mp_reader_t mp_reader (const void *data, size_t size)
{
    //  An empty frame may have no address, of which C lets us take none that is 0 bytes on
    return (mp_reader_t){.at = data,
                         .end = size ? (const byte *) data + size : data,
                         .room = size < MP_MAX_ELEMENTS ? size : MP_MAX_ELEMENTS};
}

//  A big-endian number of 8 bytes; compilers know this for one load
static inline uint64_t s_number8 (const byte *at)
{
    return (uint64_t) at[0] << 56 | (uint64_t) at[1] << 48 | (uint64_t) at[2] << 40 |
           (uint64_t) at[3] << 32 | (uint64_t) at[4] << 24 | (uint64_t) at[5] << 16 |
           (uint64_t) at[6] << 8 | at[7];
}

//  And of so many
static uint64_t s_number (const byte *at, size_t size)
{
    uint64_t number = 0;
    for (size_t i = 0; i < size; i++)
        number = number << 8 | at[i];
    return number;
}

//  -- Heads

typedef enum {
    GOOD,
    CUT_OFF,
    REFUSED,  //  It claims more elements than there is room for
    WRONG     //  No msgpack, or nested too deep
} s_result_t;

typedef struct {
    size_t size;      //  All bytes, with the contents of a str, bin or ext
    size_t elements;  //  Elements of an array; keys and values of a map
    size_t contents;  //  Bytes of those contents, the last of all
} s_head_t;

static inline bool s_is_container (byte first)
{
    return (first & 0xe0) == 0x80 || (first >= 0xdc && first <= 0xdf);
}

static s_result_t s_read_other_head (const byte *at, size_t left, size_t room, s_head_t *head)
{
    //  How many bytes its size has, from c0 on: of bin from c4, ext from c7, str from d9, array
    //  from dc, map from de
    static const uint8_t sizes[32] = {0, 0, 0, 0, 1, 2, 4, 1, 2, 4, [25] = 1, 2, 4, 2, 4, 2, 4};
    if (left == 0)
        return CUT_OFF;
    byte first = *at;
    *head = (s_head_t){.size = mp_sizes[first]};
    if (head->size > 0) {
        head->contents = head->size - (first >= 0xd4 && first <= 0xd8 ? 2 : 1);
    } else {
        size_t bytes = sizes[first - 0xc0];
        if (bytes == 0)
            return WRONG;
        if (left <= bytes)
            return CUT_OFF;
        size_t number = s_number (at + 1, bytes);
        bool container = first >= 0xdc, ext = first >= 0xc7 && first <= 0xc9;  //  An ext has a type
        head->elements = container ? number << (first >= 0xde) : 0;
        head->contents = container ? 0 : number;
        head->size = 1 + bytes + ext + head->contents;
    }
    return head->elements > room ? REFUSED : head->size > left ? CUT_OFF : GOOD;
}

//  Most are those of arrays and maps of less than 65536 elements
static inline s_result_t s_read_head (const byte *at, size_t left, size_t room, s_head_t *head)
{
    if (left > 0 && (*at & 0xe0) == 0x80)
        *head = (s_head_t){1, (size_t) (*at & 0x0f) << (*at < 0x90), 0};
    else if (left >= 3 && (*at & 0xfd) == 0xdc)
        *head = (s_head_t){3, (size_t) (at[1] << 8 | at[2]) << (*at == 0xde), 0};
    else
        return s_read_other_head (at, left, room, head);
    return head->elements > room ? REFUSED : GOOD;
}

//  -- Skip

//  Skips the leading values that have the same first byte, eight or four at a time, out of `count`.
//  Returns how many are left.
static size_t s_pass_alike (const byte **at_p, const byte *end, size_t count)
{
    //  Most token ids have two bytes. Where the first bytes of eight of them are:
    static const byte heads[24] = {0xff, 0, 0, 0xff, 0, 0, 0xff, 0, 0, 0xff, 0, 0,
                                   0xff, 0, 0, 0xff, 0, 0, 0xff, 0, 0, 0xff, 0, 0};
    const byte *at = *at_p, first = *at;
    size_t size = mp_sizes[first];
    uint64_t mask[3], a, b, c, firsts = 0x0101010101010101u * first;
    memcpy (mask, heads, sizeof mask);
    while (size == 3 && count >= 8 && end - at >= 24) {
        memcpy (&a, at, sizeof a);
        memcpy (&b, at + 8, sizeof b);
        memcpy (&c, at + 16, sizeof c);
        if (((a ^ firsts) & mask[0]) | ((b ^ firsts) & mask[1]) | ((c ^ firsts) & mask[2]))
            break;
        at += 24;
        count -= 8;
    }
    while (size > 0 && count >= 4 && (size_t) (end - at) >= 4 * size && *at == first &&
           at[size] == first && at[2 * size] == first && at[3 * size] == first) {
        at += 4 * size;
        count -= 4;
    }
    *at_p = at;
    return count;
}

//  Skips the leading values whose size is in the table and that are complete, out of `count`.
//  Returns how many are left.
static size_t s_pass_sized (const byte **at_p, const byte *end, size_t count)
{
    const byte *at = *at_p;
    size_t size;
    //  With this many bytes left, any size fits
    while (count > 0 && end - at >= SIZED_MAX && (size = mp_sizes[*at]) > 0) {
        at += size;
        count--;
    }
    while (count > 0 && at < end && (size = mp_sizes[*at]) > 0 && size <= (size_t) (end - at)) {
        at += size;
        count--;
    }
    *at_p = at;
    return count;
}

//  How many values to skip one by one before trying the fast way again
#define SINGLES 4

//  The same, for the elements of a long array
static size_t s_pass_array (const byte **at_p, const byte *end, size_t count)
{
    size_t singles = 0;
    while (singles == 0 && count >= SINGLES && *at_p < end) {
        count = s_pass_alike (at_p, end, count);
        singles = count < SINGLES ? count : SINGLES;
        count -= singles;
        singles = s_pass_sized (at_p, end, singles);
    }
    return count + singles;
}

//  Skips a value that is nested up to `max` deep. Unless it is GOOD, nothing has changed.
static inline s_result_t s_skip (mp_reader_t *self, size_t max)
{
    const byte *at = self->at;
    size_t room = self->room, depth = 0, due[MP_MAX_DEPTH + 1];
    due[0] = 1;
    while ((due[depth] = s_pass_sized (&at, self->end, due[depth])) > 0 || depth > 0) {
        if (due[depth] == 0) {
            depth--;
            continue;
        }
        s_head_t head;
        s_result_t result = s_read_head (at, (size_t) (self->end - at), room, &head);
        if (depth == max && result != CUT_OFF && s_is_container (*at))
            return WRONG;
        if (result != GOOD)
            return result;
        bool is_long = *at == 0xdc || *at == 0xdd;  //  An array of 16 elements or more
        due[depth]--;
        at += head.size;
        room -= head.elements;
        if (head.elements > 0)
            due[++depth] = is_long ? s_pass_array (&at, self->end, head.elements) : head.elements;
    }
    self->at = at;
    self->room = room;
    return GOOD;
}

bool mp_pass (mp_reader_t *self)
{
    return s_skip (self, 8) == GOOD;
}

bool mp_skip_more (mp_reader_t *self)
{
    return s_skip (self, MP_MAX_DEPTH) == GOOD;
}

int mp_check (const void *data, size_t size, const char *what, mp_error_t *error)
{
    mp_reader_t reader = mp_reader (data, size);
    s_result_t result = s_skip (&reader, MP_MAX_DEPTH);
    if (result == GOOD && reader.at == reader.end)
        return 0;
    mp_error_set (error, what, "%s",
                  size == 0                ? "empty"
                  : result == GOOD         ? "has bytes after its end"
                  : result == CUT_OFF      ? "truncated"
                  : result == WRONG        ? "not msgpack, or nested more than 32 deep"
                  : size > MP_MAX_ELEMENTS ? "has more than 4194304 elements, or claims to"
                                           : "claims more elements than it has bytes for");
    return -1;
}

//  -- Read

static bool s_take (mp_reader_t *self, msgpack_object *object, uint64_t number, size_t size)
{
    object->type = MSGPACK_OBJECT_POSITIVE_INTEGER;
    object->via.u64 = number;
    self->at += size;
    return true;
}

static bool s_take_array (mp_reader_t *self, msgpack_object *object, size_t count, size_t size)
{
    object->type = MSGPACK_OBJECT_ARRAY;
    object->via.array.size = (uint32_t) count;
    object->via.array.ptr = NULL;
    self->room -= count;
    self->at += size;
    return true;
}

//  An integer or a float, of `size` bytes with the first
static bool s_take_number (mp_reader_t *self, msgpack_object *object, size_t size)
{
    const byte *at = self->at;
    uint64_t bits = size == 9 ? s_number8 (at + 1) : s_number (at + 1, size - 1);
    uint64_t sign = (uint64_t) 1 << (8 * (size - 1) - 1);
    self->at += size;
    object->type = MSGPACK_OBJECT_POSITIVE_INTEGER;
    object->via.u64 = bits;
    if (*at == 0xcb) {
        object->type = MSGPACK_OBJECT_FLOAT64;
        memcpy (&object->via.f64, &bits, sizeof bits);
    } else if (*at == 0xca) {
        uint32_t bits32 = (uint32_t) bits;
        float value;
        memcpy (&value, &bits32, sizeof value);
        object->type = MSGPACK_OBJECT_FLOAT32;
        object->via.f64 = value;
    } else if (*at >= 0xd0 && (bits & sign)) {
        object->type = MSGPACK_OBJECT_NEGATIVE_INTEGER;
        object->via.u64 = (bits ^ sign) - sign;  //  The bits of i64
    }
    return true;
}

//  The commonest of the other heads at once
bool mp_read_more (mp_reader_t *self, msgpack_object *object)
{
    const byte *at = self->at;
    size_t left = (size_t) (self->end - at);
    byte first = left > 0 ? *at : 0xc1;
    if (first == 0xcd && left >= 3)
        return s_take (self, object, s_number (at + 1, 2), 3);
    if (first == 0xcf && left >= 9)
        return s_take (self, object, s_number8 (at + 1), 9);
    if ((first & 0xf0) == 0x90 && self->room >= (first & 0x0fu))
        return s_take_array (self, object, first & 0x0f, 1);
    if (first >= 0xca && first <= 0xd3 && left >= mp_sizes[first])
        return s_take_number (self, object, mp_sizes[first]);
    s_head_t head;
    if (s_read_head (at, left, self->room, &head) != GOOD)
        return false;
    if ((first & 0xf0) == 0x90 || first == 0xdc || first == 0xdd)
        return s_take_array (self, object, head.elements, head.size);
    self->at += head.size;
    self->room -= head.elements;
    const char *contents = (const char *) self->at - head.contents;
    uint32_t size = (uint32_t) head.contents;
    if (s_is_container (first)) {
        object->type = MSGPACK_OBJECT_MAP;
        object->via.map.size = (uint32_t) (head.elements / 2);
        object->via.map.ptr = NULL;
    } else if (first < 0x80 || first >= 0xe0) {
        object->type =
            first < 0x80 ? MSGPACK_OBJECT_POSITIVE_INTEGER : MSGPACK_OBJECT_NEGATIVE_INTEGER;
        object->via.i64 = first < 0x80 ? first : first - 256;
    } else if (first < 0xc0 || (first >= 0xd9 && first <= 0xdb)) {
        object->type = MSGPACK_OBJECT_STR;
        object->via.str.size = size;
        object->via.str.ptr = contents;
    } else if (first >= 0xc4 && first <= 0xc6) {
        object->type = MSGPACK_OBJECT_BIN;
        object->via.bin.size = size;
        object->via.bin.ptr = contents;
    } else if (first >= 0xc7) {
        object->type = MSGPACK_OBJECT_EXT;
        object->via.ext.type = (int8_t) contents[-1];
        object->via.ext.size = size;
        object->via.ext.ptr = contents;
    } else {
        object->type = first == 0xc0 ? MSGPACK_OBJECT_NIL : MSGPACK_OBJECT_BOOLEAN;
        object->via.boolean = first == 0xc3;
    }
    return true;
}

//  Of the next `count` values, reads those at the beginning that are unsigned, of 32 bits and
//  written as such. Returns how many.
static size_t s_read_run (mp_reader_t *self, uint32_t *values, size_t count)
{
    const byte *at = self->at, *end = self->end;
    size_t i = 0;
    while (i < count) {
        size_t left = (size_t) (end - at);
        //  Most token ids have two bytes: four of them are cd a a cd  b b cd c  c cd d d
        if (left >= 12 && count - i >= 4) {
            uint64_t low = s_number8 (at), high = s_number8 (at + 4);
            if ((low & 0xff0000ff0000ff00u) == 0xcd0000cd0000cd00u &&
                (high & 0xff0000u) == 0xcd0000u) {
                values[i] = (uint16_t) (low >> 40);
                values[i + 1] = (uint16_t) (low >> 16);
                values[i + 2] = (uint16_t) (high >> 24);
                values[i + 3] = (uint16_t) high;
                i += 4;
                at += 12;
                continue;
            }
        }
        if (left >= 5 && (at[0] == 0xcd || at[0] == 0xce)) {
            //  Two bytes or four, as it comes, without a branch that would be hard to foretell
            uint32_t wide = at[0] - 0xcdu;
            uint32_t bits = (uint32_t) at[1] << 24 | (uint32_t) at[2] << 16 |
                            (uint32_t) at[3] << 8 | (uint32_t) at[4];
            values[i++] = bits >> (16 - 16 * wide);
            at += 3 + 2 * wide;
        } else if (left >= 1 && at[0] < 0x80) {
            values[i++] = *at++;
        } else if (left >= 2 && at[0] == 0xcc) {
            values[i++] = at[1];
            at += 2;
        } else if (left >= 3 && at[0] == 0xcd) {
            values[i++] = (uint32_t) at[1] << 8 | at[2];
            at += 3;
        } else {
            break;
        }
    }
    self->at = at;
    return i;
}

static bool s_read_items (mp_reader_t *self, const char *field, uint32_t *values, uint32_t count,
                          mp_error_t *error)
{
    uint32_t i = (uint32_t) s_read_run (self, values, count);
    while (i < count) {
        //  Another way of writing it, or no token id at all
        mp_error_t why;
        msgpack_object item;
        if (!mp_read (self, &item))
            return mp_wrong (error, field, "[%" PRIu32 "]: cannot be read", i);
        if (!mp_get_uint32 (&item, "", &values[i], &why))
            return mp_wrong (error, field, "[%" PRIu32 "]%s", i, why.text);
        i++;
        i += (uint32_t) s_read_run (self, values + i, count - i);
    }
    return true;
}

bool mp_read_array (mp_reader_t *self, const char *field, uint32_t min, uint32_t *count,
                    mp_error_t *error)
{
    s_head_t head;
    if (mp_is_array (self) &&
        s_read_head (self->at, (size_t) (self->end - self->at), self->room, &head) == GOOD &&
        head.elements >= min) {
        *count = (uint32_t) head.elements;
        self->room -= head.elements;
        self->at += head.size;
        return true;
    }
    msgpack_object object;
    const msgpack_object_array *array;
    if (!mp_read (self, &object))
        return mp_wrong (error, field, "cannot be read");
    if (!mp_get_array (&object, field, min, &array, error))
        return false;
    *count = array->size;
    return true;
}

bool mp_read_uint32s_into (mp_reader_t *self, const char *field, uint32_t *values, size_t *count,
                           mp_error_t *error)
{
    uint32_t size;
    if (!mp_read_array (self, field, 0, &size, error))
        return false;
    if (size > (size_t) (self->end - self->at))
        return mp_wrong (error, field, "claims more elements than it has bytes for");
    *count = size;
    return s_read_items (self, field, values, size, error);
}

bool mp_read_uint32s (mp_reader_t *self, const char *field, uint32_t **values, size_t *count,
                      mp_error_t *error)
{
    uint32_t size, *copy = NULL;
    if (!mp_read_array (self, field, 0, &size, error))
        return false;
    if (size > 0 && !(copy = malloc (size * sizeof *copy)))
        return mp_wrong (error, field, "out of memory");
    if (!s_read_items (self, field, copy, size, error)) {
        free (copy);
        return false;
    }
    *values = copy;
    *count = size;
    return true;
}
