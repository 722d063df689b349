//  SPDX-License-Identifier: MIT
//  mp_pass.c - skips a value and checks it, without reading what is in it

#include "lib/mp.h"

#define TIMES4(n) n, n, n, n
#define TIMES16(n) TIMES4 (n), TIMES4 (n), TIMES4 (n), TIMES4 (n)
#define TIMES64(n) TIMES16 (n), TIMES16 (n), TIMES16 (n), TIMES16 (n)

//  In this order: numbers from 0; maps and arrays; short strings; nil, -, false, true, bin, ext,
//  float, double; other integers, ext, and str, array and map with a size; numbers below 0
// clang-format off
const uint8_t mp_sizes[256] = {
    TIMES64 (1), TIMES64 (1), TIMES16 (0), TIMES16 (0),               //  00 to 9f
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,            //  a0 to af
    17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32,   //  b0 to bf
    1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 5, 9, 2, 3, 5, 9,                   //  c0 to cf
    2, 3, 5, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,                   //  d0 to df
    TIMES16 (1), TIMES16 (1)};                                        //  e0 to ff
// clang-format on

//  The largest size in the table
#define SIZED_MAX 32

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

//  The head of a str, bin, array or map
typedef struct {
    size_t size;      //  In bytes, with the contents of a str or bin
    size_t elements;  //  Elements of an array; keys and values of a map
} s_head_t;

//  False for another head, or one that is cut off or claims too much
static bool s_read_head (const byte *at, size_t left, size_t room, s_head_t *head)
{
    byte first = *at;
    *head = (s_head_t){1, first & 0x0f};
    if (first >= 0x80 && first < 0xa0) {
        head->elements <<= first < 0x90;
        return head->elements <= room;
    }
    //  c4 to c6: bin, d9 to db: str, with a size of 1, 2 or 4 bytes; dc and dd: array, de and df:
    //  map, with a size of 2 or 4
    if (first < 0xc4 || (first > 0xc6 && first < 0xd9) || first > 0xdf)
        return false;
    size_t bytes = first <= 0xc6   ? (size_t) 1 << (first - 0xc4)
                   : first <= 0xdb ? (size_t) 1 << (first - 0xd9)
                                   : (size_t) 2 << (first & 1);
    if (left <= bytes)
        return false;
    size_t number = 0;
    for (size_t i = 1; i <= bytes; i++)
        number = number << 8 | at[i];
    bool container = first >= 0xdc;
    head->size = 1 + bytes + (container ? 0 : number);
    head->elements = container ? number << (first >= 0xde) : 0;
    return head->size <= left && head->elements <= room;
}

//  The nesting that mp_pass accepts
#define PASS_DEPTH 8

bool mp_pass (mp_reader_t *self)
{
    const byte *at = self->at;
    size_t room = self->room, depth = 0, due[PASS_DEPTH + 1] = {1};
    while ((due[depth] = s_pass_sized (&at, self->end, due[depth])) > 0 || depth > 0) {
        if (due[depth] == 0) {
            depth--;
            continue;
        }
        s_head_t head;
        if (at == self->end || !s_read_head (at, (size_t) (self->end - at), room, &head))
            return false;
        bool is_long = *at == 0xdc || *at == 0xdd;  //  An array of 16 elements or more
        due[depth]--;
        at += head.size;
        room -= head.elements;
        if (head.elements == 0)
            continue;
        if (depth++ == PASS_DEPTH)
            return false;
        due[depth] = is_long ? s_pass_array (&at, self->end, head.elements) : head.elements;
    }
    self->at = at;
    self->room = room;
    return true;
}
