//  SPDX-License-Identifier: MIT

#include "lib/text.h"

#include <math.h>

//  What is added at the least, in bytes: most messages are smaller
#define GROW_MIN 256

void text_destroy (text_t *self)
{
    free (self->data);
    *self = (text_t){NULL, 0, 0};
}

char *text_take (text_t *self)
{
    text_put_char (self, 0);
    char *string = self->data;
    *self = (text_t){NULL, 0, 0};
    return string;
}

void text_grow (text_t *self, size_t more)
{
    if (more < GROW_MIN)
        more = GROW_MIN;
    self->room = self->size + more > 2 * self->room ? self->size + more : 2 * self->room;
    self->data = realloc (self->data, self->room);
    if (!self->data) {
        fprintf (stderr, "FATAL ERROR: out of memory\n");
        abort ();
    }
}

//  -- Integers

static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233"
                            "34353637383940414243444546474849505152535455565758596061626364656667"
                            "6869707172737475767778798081828384858687888990919293949596979899";

//  Four digits, with leading zeros
static char *s_put_four (char *at, uint64_t number)
{
    memcpy (at, &pairs[2 * (number / 100)], 2);
    memcpy (at + 2, &pairs[2 * (number % 100)], 2);
    return at + 4;
}

//  A number below 10^4
static char *s_put_first (char *at, uint64_t number)
{
    if (number >= 1000)
        return s_put_four (at, number);
    if (number >= 100)
        *at++ = (char) ('0' + number / 100);
    if (number >= 10) {
        memcpy (at, &pairs[2 * (number % 100)], 2);
        return at + 2;
    }
    *at++ = (char) ('0' + number);
    return at;
}

//  A number below 10^8, as most are
static char *s_put_short (char *at, uint64_t number)
{
    if (number < 10000)
        return s_put_first (at, number);
    return s_put_four (s_put_first (at, number / 10000), number % 10000);
}

static char *s_put_eight (char *at, uint64_t number)
{
    return s_put_four (s_put_four (at, number / 10000), number % 10000);
}

char *text_digits (char *at, uint64_t number)
{
    const uint64_t part = 100000000;
    if (number < part)
        return s_put_short (at, number);
    uint64_t high = number / part;
    at = high < part ? s_put_short (at, high)
                     : s_put_eight (s_put_first (at, high / part), high % part);
    return s_put_eight (at, number % part);
}

void text_put_uint (text_t *self, uint64_t number)
{
    char *at = text_reserve (self, TEXT_NUMBER_MAX);
    self->size += (size_t) (text_digits (at, number) - at);
}

void text_put_int (text_t *self, int64_t number)
{
    if (number < 0)
        text_put_char (self, '-');
    text_put_uint (self, number < 0 ? 0 - (uint64_t) number : (uint64_t) number);
}

void text_put_hex (text_t *self, const void *bytes, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *byte = bytes;
    char *at = text_reserve (self, 2 * size);
    for (size_t i = 0; i < size; i++) {
        *at++ = digits[byte[i] >> 4];
        *at++ = digits[byte[i] & 15];
    }
    self->size += 2 * size;
}

//  -- Doubles

//  Below 10^15 "%.15g" has no exponent
#define FIXED_MAX 1e15

//  With more bits behind the point, 17 digits do not fit in 64 bits
#define MAX_BITS 29

// clang-format off
static const uint64_t tens[] = {
    1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000, 10000000000,
    100000000000, 1000000000000, 10000000000000, 100000000000000, 1000000000000000,
    10000000000000000};
// clang-format on

//  A number from 1 to FIXED_MAX as whole + part / 2^bits
typedef struct {
    uint64_t whole, part;
    unsigned bits;
    bool exact;  //  `bits` leaves out trailing zeros: only its exact digits read back
} s_fixed_t;

static s_fixed_t s_fixed (double value)
{
    uint64_t bits, mantissa;
    memcpy (&bits, &value, sizeof bits);
    mantissa = (bits & (((uint64_t) 1 << 52) - 1)) | (uint64_t) 1 << 52;
    unsigned shift = 1075 - (unsigned) (bits >> 52 & 0x7ff);  //  3 to 52
    s_fixed_t self = {mantissa >> shift, mantissa & (((uint64_t) 1 << shift) - 1), shift, false};
    //  A small number such as 1.5 fits without its trailing zeros
    for (; shift > MAX_BITS && self.part != 0 && (self.part & 1) == 0; self.part >>= 1) {
        self.bits--;
        self.exact = true;
    }
    return self;
}

//  Rounds the part to `digits` decimals; 10^digits when it rounds up to 1. Returns false when the
//  result does not read back as the same number, or when 64 bits are too few to tell. Then they are
//  too few for more digits as well.
static bool s_round (const s_fixed_t *fixed, size_t digits, uint64_t *rounded)
{
    //  10^digits has at most 10/3 digits + 1 bits
    if (fixed->bits + digits * 10 / 3 + 1 > 63)
        return false;
    uint64_t scaled = fixed->part * tens[digits], half = (uint64_t) 1 << (fixed->bits - 1);
    uint64_t below = scaled >> fixed->bits, rest = scaled & (2 * half - 1);
    bool up = rest > half || (rest == half && (below & 1));
    uint64_t error = up ? 2 * half - rest : rest;
    *rounded = below + up;
    //  In units of 2^-bits 10^-digits, of which half of the mantissa's last bit is 10^digits / 2
    return error == 0 || (!fixed->exact && 2 * error < tens[digits]);
}

//  Uses integers only: ten times faster for a time.time(), which has 10 digits before the point and
//  22 bits behind it. Returns false when it cannot; nothing is put then.
static bool s_put_fixed (text_t *self, double value)
{
    double magnitude = fabs (value);
    if (!(magnitude >= 1 && magnitude < FIXED_MAX))
        return false;
    s_fixed_t fixed = s_fixed (magnitude);
    char *start = text_reserve (self, (size_t) 2 * TEXT_NUMBER_MAX), *at = start + (value < 0);
    *start = '-';
    at = text_digits (at, fixed.whole);
    size_t whole = (size_t) (at - start) - (value < 0), digits = fixed.part == 0 ? 1 : 15 - whole;
    uint64_t rounded = 0;
    while (fixed.part != 0 && !s_round (&fixed, digits, &rounded))
        if (fixed.exact || digits++ == 17 - whole)
            return false;
    if (rounded == tens[digits])
        return false;
    for (; digits > 1 && rounded % 10 == 0; digits--)
        rounded /= 10;
    *at++ = '.';
    for (size_t i = digits; i > 0; rounded /= 10)
        at[--i] = (char) ('0' + rounded % 10);
    self->size += (size_t) (at + digits - start);
    return true;
}

void text_put_double (text_t *self, double value)
{
    if (s_put_fixed (self, value))
        return;
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf (text, sizeof text, "%.*g", digits, value);
        if (strtod (text, NULL) == value)
            break;
    }
    text_put_string (self, text);
    if (!strpbrk (text, ".e"))
        text_put_literal (self, ".0");
}
