//  SPDX-License-Identifier: MIT
//  demand.h - what every fuzzing harness has: a property that must hold, its entry point, and
//  msgpack's specification, read by hand: what the scanners under test are compared with

#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

//  Ends the process, so that libFuzzer keeps the input, when `right` is false
#define DEMAND(right)                                                                              \
    do {                                                                                           \
        if (!(right)) {                                                                            \
            fprintf (stderr, "%s:%d: demand failed: %s\n", __FILE__, __LINE__, #right);            \
            abort ();                                                                              \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

//  A big-endian count or length of `size` bytes; the reader's place is behind it then
static inline bool fuzz_count (const uint8_t **at, const uint8_t *end, size_t size, uint64_t *count)
{
    *count = 0;
    if ((size_t) (end - *at) < size)
        return false;
    while (size-- > 0)
        *count = *count << 8 | *(*at)++;
    return true;
}

//  The format as its specification has it, read by hand: true when there is a value at *at, no
//  deeper than `depth` containers
//  NOLINTNEXTLINE(misc-no-recursion)
static inline bool fuzz_is_value (const uint8_t **at, const uint8_t *end, int depth)
{
    if (*at == end)
        return false;
    uint8_t type = *(*at)++;
    uint64_t bytes = 0, elements = 0;
    bool ok = type != 0xc1, container = false;
    if (type < 0x80 || type >= 0xe0 || type == 0xc0 || type == 0xc2 || type == 0xc3) {
    } else if (type < 0xa0) {
        container = true;
        elements = (type & 0x0fu) * (type < 0x90 ? 2u : 1u);
    } else if (type < 0xc0) {
        bytes = type & 0x1f;
    } else if (type >= 0xdc) {
        container = true;
        ok = fuzz_count (at, end, type % 2 == 0 ? 2 : 4, &elements);
        elements *= type >= 0xde ? 2 : 1;
    } else if (type >= 0xd9) {  //  str
        ok = fuzz_count (at, end, (size_t) 1 << (type - 0xd9), &bytes);
    } else if (type >= 0xc4 && type <= 0xc6) {  //  bin
        ok = fuzz_count (at, end, (size_t) 1 << (type - 0xc4), &bytes);
    } else if (type >= 0xc7 && type <= 0xc9) {  //  ext: its type is a byte more
        ok = fuzz_count (at, end, (size_t) 1 << (type - 0xc7), &bytes);
        bytes++;
    } else if (type >= 0xd4) {  //  fixext 1 to 16
        bytes = ((uint64_t) 1 << (type - 0xd4)) + 1;
    } else if (type >= 0xcc) {  //  uint, int
        bytes = (uint64_t) 1 << (type & 3);
    } else {  //  float
        bytes = type == 0xca ? 4 : 8;
    }
    if (!ok || bytes > (uint64_t) (end - *at) || (container && depth == 0))
        return false;
    *at += bytes;
    for (; elements > 0; elements--)
        if (!fuzz_is_value (at, end, depth - 1))
            return false;
    return true;
}
