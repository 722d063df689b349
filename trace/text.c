//  SPDX-License-Identifier: MIT

#include "text.h"

#include <math.h>
#include <string.h>

text_t text_on (char *data, size_t max)
{
    return (text_t){.data = data, .max = max};
}

void text_bytes (text_t *self, const void *data, size_t size)
{
    if (self->cut || size > self->max - self->size) {
        self->cut = true;
        return;
    }
    if (size > 0)
        memcpy (self->data + self->size, data, size);
    self->size += size;
}

void text_add (text_t *self, const char *string)
{
    text_bytes (self, string, strlen (string));
}

void text_all (text_t *self, const char *const *strings)
{
    for (; *strings; strings++)
        text_add (self, *strings);
}

void text_char (text_t *self, char c)
{
    text_bytes (self, &c, 1);
}

void text_number (text_t *self, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char) ('0' + number % 10);
        number /= 10;
    } while (number > 0);
    text_bytes (self, digits + at, sizeof digits - at);
}

void text_signed (text_t *self, int64_t number)
{
    if (number < 0)
        text_char (self, '-');
    text_number (self, number < 0 ? 0 - (uint64_t) number : (uint64_t) number);
}

static long double s_power_of_10 (int exponent)
{
    long double power = 1, base = 10;
    for (int left = exponent < 0 ? -exponent : exponent; left > 0; left /= 2) {
        if (left % 2)
            power *= base;
        base *= base;
    }
    return power;
}

//  number * 10^exponent
static long double s_scale (long double number, int exponent)
{
    return exponent < 0 ? number / s_power_of_10 (exponent) : number * s_power_of_10 (exponent);
}

//  The fewest digits, 15 to 17 of them, that are read back as the same number. 10^(*exponent) is
//  what the first of them counts.
static uint64_t s_shortest (double number, int *exponent)
{
    *exponent = 0;
    while (s_scale (number, -*exponent) >= 10)
        ++*exponent;
    while (s_scale (number, -*exponent) < 1)
        --*exponent;
    uint64_t digits;
    int precision = 14, shift;
    do {
        shift = precision++ - *exponent;
        digits = (uint64_t) (s_scale (number, shift) + 0.5L);
    } while (precision < 17 && (double) s_scale ((long double) digits, -shift) != number);
    if ((long double) digits >= s_power_of_10 (precision))
        ++*exponent;  //  Nines were rounded up
    while (digits % 10 == 0)
        digits /= 10;
    return digits;
}

//  printf and strtod would look at the locale, which threads of the program do not have here
void text_double (text_t *self, double number)
{
    if (isnan (number)) {
        text_add (self, "NaN");
        return;
    }
    if (signbit (number))
        text_char (self, '-');
    if (isinf (number) || number == 0) {
        text_add (self, number == 0 ? "0.0" : "Infinity");
        return;
    }
    int exponent;
    char memory[24];
    text_t digits = text_on (memory, sizeof memory);
    text_number (&digits, s_shortest (fabs (number), &exponent));
    int point = exponent >= -5 && exponent < 17 ? exponent : 0;  //  Digits before it, but one
    for (int i = point < 0 ? point : 0; i <= point || i < (int) digits.size; i++) {
        if (i == point + 1)
            text_char (self, '.');
        bool is_digit = i >= 0 && i < (int) digits.size;
        text_bytes (self, is_digit ? memory + i : "0", 1);
    }
    if (point == exponent && (int) digits.size <= point + 1)
        text_add (self, ".0");
    if (point != exponent) {
        text_char (self, 'e');
        text_signed (self, exponent);
    }
}

void text_seconds (text_t *self, int64_t seconds, long nanoseconds)
{
    char point[8] = ".000000";
    long micro = nanoseconds / 1000;
    for (int at = 6; at > 0; at--, micro /= 10)
        point[at] = (char) ('0' + micro % 10);
    text_signed (self, seconds);
    text_add (self, point);
}

static const char hex_digits[] = "0123456789abcdef";

void text_hex (text_t *self, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    if (self->cut || size > (self->max - self->size) / 2) {
        self->cut = true;
        return;
    }
    for (size_t i = 0; i < size; i++) {
        self->data[self->size++] = hex_digits[bytes[i] >> 4];
        self->data[self->size++] = hex_digits[bytes[i] & 15];
    }
}

size_t text_utf8 (const unsigned char *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] < 0x80)
        return 1;
    size_t length = data[0] >= 0xf0 ? 4 : data[0] >= 0xe0 ? 3 : 2;
    if (data[0] < 0xc2 || data[0] > 0xf4 || length > size)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((data[i] & 0xc0) != 0x80)
            return 0;
    //  Longer than needed, UTF-16's surrogates, and beyond U+10FFFF
    bool wrong = (data[0] == 0xe0 && data[1] < 0xa0) || (data[0] == 0xed && data[1] > 0x9f) ||
                 (data[0] == 0xf0 && data[1] < 0x90) || (data[0] == 0xf4 && data[1] > 0x8f);
    return wrong ? 0 : length;
}

static void s_add_character (text_t *self, const unsigned char *c, size_t length, bool json)
{
    static const char short_forms[0x80] = {
        ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't', ['"'] = '"', ['\\'] = '\\'};
    bool is_c1 = length == 2 && c[0] == 0xc2 && c[1] < 0xa0;  //  Terminals obey them as well
    unsigned char last = c[is_c1];
    char digits[] = {hex_digits[last >> 4], hex_digits[last & 15], '\0'};
    char escape[16];  //  In one piece
    text_t piece = text_on (escape, sizeof escape);
    if (length == 0 && json)
        text_add (&piece, "\\ufffd");
    else if (length == 0)
        TEXT (&piece, "\\x", digits);
    else if (length == 1 && short_forms[c[0]])
        text_bytes (&piece, (char[]){'\\', short_forms[c[0]]}, 2);
    else if (c[0] < 0x20 || c[0] == 0x7f || is_c1)
        TEXT (&piece, "\\u00", digits);
    else
        text_bytes (&piece, c, length);
    text_bytes (self, escape, piece.size);
}

void text_escaped (text_t *self, const void *data, size_t size, bool json)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size && !self->cut;) {
        size_t length = text_utf8 (bytes + i, size - i);
        s_add_character (self, bytes + i, length, json);
        i += length ? length : 1;
    }
}

void text_json (text_t *self, const void *data, size_t size)
{
    text_char (self, '"');
    text_escaped (self, data, size, true);
    text_char (self, '"');
}

void text_plural (text_t *self, uint64_t number, const char *noun)
{
    text_number (self, number);
    text_char (self, ' ');
    text_add (self, noun);
    if (number != 1)
        text_char (self, 's');
}
