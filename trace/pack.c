//  SPDX-License-Identifier: MIT

#include "pack.h"

#include <string.h>

//  Values in values in values: deeper than this is taken for no msgpack
#define DEPTH_MAX 64

pack_t pack_on (const void *data, size_t size, bool more)
{
    return (pack_t){.at = data, .end = (const unsigned char *) data + size, .more = more};
}

//  A big-endian number of `size` bytes
static uint64_t s_number (const unsigned char *data, size_t size)
{
    uint64_t number = 0;
    for (size_t i = 0; i < size; i++)
        number = number << 8 | data[i];
    return number;
}

static double s_double (uint64_t number, size_t size)
{
    if (size == 8) {
        double real;
        memcpy (&real, &number, sizeof real);
        return real;
    }
    uint32_t bits = (uint32_t) number;
    float real;
    memcpy (&real, &bits, sizeof real);
    return (double) real;
}

//  What a first byte announces: the type, and how many bytes of number or length follow
typedef struct {
    pack_type_t type;
    size_t size;
} head_t;

static bool s_head (unsigned char first, head_t *head)
{
    static const head_t heads[32] = {
        [0x00] = {PACK_NIL, 0},    [0x02] = {PACK_BOOL, 0},   [0x03] = {PACK_BOOL, 0},
        [0x04] = {PACK_BIN, 1},    [0x05] = {PACK_BIN, 2},    [0x06] = {PACK_BIN, 4},
        [0x07] = {PACK_EXT, 1},    [0x08] = {PACK_EXT, 2},    [0x09] = {PACK_EXT, 4},
        [0x0a] = {PACK_DOUBLE, 4}, [0x0b] = {PACK_DOUBLE, 8}, [0x0c] = {PACK_UINT, 1},
        [0x0d] = {PACK_UINT, 2},   [0x0e] = {PACK_UINT, 4},   [0x0f] = {PACK_UINT, 8},
        [0x10] = {PACK_INT, 1},    [0x11] = {PACK_INT, 2},    [0x12] = {PACK_INT, 4},
        [0x13] = {PACK_INT, 8},    [0x14] = {PACK_EXT, 0},    [0x15] = {PACK_EXT, 0},
        [0x16] = {PACK_EXT, 0},    [0x17] = {PACK_EXT, 0},    [0x18] = {PACK_EXT, 0},
        [0x19] = {PACK_STR, 1},    [0x1a] = {PACK_STR, 2},    [0x1b] = {PACK_STR, 4},
        [0x1c] = {PACK_ARRAY, 2},  [0x1d] = {PACK_ARRAY, 4},  [0x1e] = {PACK_MAP, 2},
        [0x1f] = {PACK_MAP, 4},
    };
    if (first < 0x80 || first >= 0xe0)
        *head = (head_t){first < 0x80 ? PACK_UINT : PACK_INT, 0};
    else if (first < 0xc0)
        *head = (head_t){first < 0x90 ? PACK_MAP : first < 0xa0 ? PACK_ARRAY : PACK_STR, 0};
    else
        *head = heads[first - 0xc0];
    return first != 0xc1;  //  The one byte that msgpack never uses
}

//  The number or length that is in the first byte itself
static uint64_t s_short_number (unsigned char first)
{
    if (first >= 0xd4 && first <= 0xd8)  //  fixext 1, 2, 4, 8, 16
        return (uint64_t) 1 << (first - 0xd4);
    if (first == 0xc2 || first == 0xc3)
        return first == 0xc3;
    return first < 0x80 || first >= 0xe0 ? first : first < 0xa0 ? first & 15 : first & 31;
}

static pack_result_t s_short_of_bytes (pack_t *self)
{
    self->at = self->end;
    return self->more ? PACK_ENDED : PACK_WRONG;
}

//  The bytes of a string, a bin or an ext
static pack_result_t s_read_data (pack_t *self, pack_item_t *item, uint64_t size)
{
    if (item->type == PACK_EXT) {
        if (self->at == self->end)
            return s_short_of_bytes (self);
        item->ext = (int8_t) *self->at++;
    }
    size_t there = (size_t) (self->end - self->at);
    if (size > there && !self->more)
        return s_short_of_bytes (self);
    item->data = self->at;
    item->size = size < there ? (size_t) size : there;
    item->missing = (size_t) size - item->size;
    self->at += item->size;
    return PACK_OK;
}

pack_result_t pack_read (pack_t *self, pack_item_t *item)
{
    *item = (pack_item_t){.type = PACK_NIL};
    if (self->at == self->end)
        return s_short_of_bytes (self);
    unsigned char first = *self->at++;
    head_t head;
    if (!s_head (first, &head))
        return PACK_WRONG;
    if ((size_t) (self->end - self->at) < head.size)
        return s_short_of_bytes (self);
    uint64_t number = head.size ? s_number (self->at, head.size) : s_short_number (first);
    self->at += head.size;
    item->type = head.type;
    item->number = number;
    switch (head.type) {
    case PACK_INT: {
        size_t unused = 64 - 8 * (head.size ? head.size : 1);
        int64_t value = (int64_t) (number << unused) >> unused;
        item->type = value < 0 ? PACK_INT : PACK_UINT;
        item->negative = value;
        return PACK_OK;
    }
    case PACK_DOUBLE:
        item->real = s_double (number, head.size);
        return PACK_OK;
    case PACK_STR:
    case PACK_BIN:
    case PACK_EXT:
        return s_read_data (self, item, number);
    default:
        return PACK_OK;
    }
}

//  How many values are in this one
static uint64_t s_entries (const pack_item_t *item)
{
    return item->type == PACK_ARRAY ? item->number : item->type == PACK_MAP ? item->number * 2 : 0;
}

pack_result_t pack_skip (pack_t *self)
{
    //  Each value that is left takes a byte at least, so this ends with the bytes
    uint64_t left = 1;
    while (left > 0) {
        pack_item_t item;
        pack_result_t result = pack_read (self, &item);
        if (result != PACK_OK)
            return result;
        if (item.missing > 0)
            return PACK_ENDED;
        left += s_entries (&item) - 1;
    }
    return PACK_OK;
}

static void s_print_bytes (text_t *out, const pack_item_t *item)
{
    text_add (out, "h'");
    size_t room = (out->max - out->size) / 2;
    text_hex (out, item->data, item->size < room ? item->size : room);
    if (item->size > room)
        out->cut = true;
    text_char (out, '\'');
}

static void s_print_item (text_t *out, const pack_item_t *item)
{
    switch (item->type) {
    case PACK_NIL:
        text_add (out, "null");
        break;
    case PACK_BOOL:
        text_add (out, item->number ? "true" : "false");
        break;
    case PACK_UINT:
        text_number (out, item->number);
        break;
    case PACK_INT:
        text_signed (out, item->negative);
        break;
    case PACK_DOUBLE:
        text_double (out, item->real);
        break;
    case PACK_STR:
        text_char (out, '"');
        text_escaped (out, item->data, item->size, false);
        text_char (out, '"');
        break;
    case PACK_EXT:
        text_add (out, "ext(");
        text_signed (out, item->ext);
        text_char (out, ',');
        s_print_bytes (out, item);
        text_char (out, ')');
        break;
    case PACK_BIN:
        s_print_bytes (out, item);
        break;
    case PACK_ARRAY:
        text_char (out, '[');
        break;
    case PACK_MAP:
        text_char (out, '{');
        break;
    }
}

//  An array or a map that is being printed
typedef struct {
    uint64_t printed, entries;
    bool is_map;
} level_t;

//  What stands between two entries, and the ends of what is complete. Returns the new depth.
static size_t s_print_between (text_t *out, level_t *levels, size_t depth)
{
    while (depth > 0 && levels[depth - 1].printed == levels[depth - 1].entries)
        text_char (out, levels[--depth].is_map ? '}' : ']');
    if (depth > 0) {
        level_t *level = &levels[depth - 1];
        if (level->printed > 0)
            text_char (out, level->is_map && level->printed % 2 ? ':' : ',');
        level->printed++;
    }
    return depth;
}

pack_result_t pack_print (pack_t *self, text_t *out)
{
    level_t levels[DEPTH_MAX];
    size_t depth = 0;
    do {
        pack_item_t item;
        pack_result_t result = pack_read (self, &item);
        if (result != PACK_OK)
            return result;
        s_print_item (out, &item);
        if (item.missing > 0)
            return PACK_ENDED;
        if (item.type == PACK_ARRAY || item.type == PACK_MAP) {
            if (depth == DEPTH_MAX)
                return PACK_WRONG;
            levels[depth++] = (level_t){0, s_entries (&item), item.type == PACK_MAP};
        }
        depth = s_print_between (out, levels, depth);
    } while (depth > 0 && !out->cut);
    return PACK_OK;
}

bool pack_entries (pack_t *self, pack_type_t type, uint64_t *count)
{
    pack_item_t item;
    bool is_one = pack_read (self, &item) == PACK_OK && item.type == type;
    *count = is_one ? item.number : 0;
    return is_one;
}

bool pack_is (const pack_item_t *item, const char *string)
{
    size_t size = strlen (string);
    return item->type == PACK_STR && item->missing == 0 && item->size == size &&
           memcmp (item->data, string, size) == 0;
}
