//  SPDX-License-Identifier: MIT
//  fuzz.h - what the fuzzing harnesses share: a property that must hold, frames, strict JSON
//
//  A harness is one libFuzzer entry point, LLVMFuzzerTestOneInput. That nothing crashes is the
//  sanitizers' part; what the harness says with DEMAND is what must hold whatever the bytes are.

#pragma once

#include "demand.h"
#include "lib/mp.h"

//  -- UTF-8 and JSON, written apart from tools/lib/mp.c, which is what they are to check

//  Length of the character that text[0..size) begins with; 0: it is no UTF-8
static inline size_t fuzz_utf8 (const char *text, size_t size)
{
    const unsigned char *data = (const unsigned char *) text;
    size_t length = data[0] < 0x80   ? 1
                    : data[0] < 0xc2 ? 0
                    : data[0] < 0xe0 ? 2
                    : data[0] < 0xf0 ? 3
                    : data[0] < 0xf5 ? 4
                                     : 0;
    if (length < 2 || length > size)
        return length > size ? 0 : length;
    uint32_t point = data[0] & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if (data[i] >> 6 != 2)
            return 0;
        point = point << 6 | (data[i] & 0x3f);
    }
    bool shortest = point >= (length == 2 ? 0x80u : length == 3 ? 0x800u : 0x10000u);
    return shortest && point <= 0x10ffff && !(point >= 0xd800 && point <= 0xdfff) ? length : 0;
}

//  True for a line that may go to a terminal: UTF-8, no control characters
static inline bool fuzz_is_clean (const char *text, size_t size)
{
    for (size_t at = 0, step; at < size; at += step) {
        const unsigned char *data = (const unsigned char *) text + at;
        step = fuzz_utf8 (text + at, size - at);
        if (step == 0 || data[0] < 0x20 || data[0] == 0x7f || (data[0] == 0xc2 && data[1] < 0xa0))
            return false;
    }
    return true;
}

//  What is behind the string that `text` begins with; NULL: it is none
static inline const char *fuzz_json_string (const char *text, const char *end)
{
    if (text == end || *text++ != '"')
        return NULL;
    while (text < end && *text != '"') {
        size_t step = fuzz_utf8 (text, (size_t) (end - text));
        if (step == 0 || (unsigned char) *text < 0x20)
            return NULL;
        if (*text != '\\') {
            text += step;
        } else if (end - text >= 6 && text[1] == 'u') {
            for (int i = 2; i < 6; i++)
                if (!isxdigit ((unsigned char) text[i]))
                    return NULL;
            text += 6;
        } else if (end - text >= 2 && text[1] && strchr ("\"\\/bfnrt", text[1])) {
            text += 2;
        } else {
            return NULL;
        }
    }
    return text < end ? text + 1 : NULL;
}

static inline const char *fuzz_json_digits (const char *text, const char *end)
{
    const char *first = text;
    while (text < end && isdigit ((unsigned char) *text))
        text++;
    return text > first ? text : NULL;
}

static inline const char *fuzz_json_number (const char *text, const char *end)
{
    if (text < end && *text == '-')
        text++;
    bool zero = text < end && *text == '0';
    text = zero ? text + 1 : fuzz_json_digits (text, end);
    if (text && text < end && *text == '.')
        text = fuzz_json_digits (text + 1, end);
    if (text && text < end && (*text == 'e' || *text == 'E')) {
        text++;
        if (text < end && (*text == '+' || *text == '-'))
            text++;
        text = fuzz_json_digits (text, end);
    }
    return text;
}

//  What is behind the JSON value that `text` begins with; NULL: it is none. There may be no blanks:
//  ours has none.
static inline const char *fuzz_json_value (const char *text, const char *end)
{
    static const char *const words[] = {"null", "true", "false"};
    for (size_t i = 0; i < 3; i++)
        if ((size_t) (end - text) >= strlen (words[i]) &&
            memcmp (text, words[i], strlen (words[i])) == 0)
            return text + strlen (words[i]);
    if (text == end)
        return NULL;
    if (*text == '"')
        return fuzz_json_string (text, end);
    if (*text != '[' && *text != '{')
        return fuzz_json_number (text, end);
    char close = *text == '[' ? ']' : '}';
    text++;
    if (text < end && *text == close)
        return text + 1;
    while (text) {
        if (close == '}') {
            text = fuzz_json_string (text, end);
            if (!text || text == end || *text++ != ':')
                return NULL;
        }
        text = fuzz_json_value (text, end);
        if (!text || text == end || (*text != ',' && *text != close))
            return NULL;
        if (*text++ == close)
            return text;
    }
    return NULL;
}

//  -- What a decoder says

//  A failure must be told: in words, that end, that may go to a terminal or into a reply
static inline void fuzz_is_told (const mp_error_t *error)
{
    DEMAND (memchr (error->text, 0, sizeof error->text));
    DEMAND (error->text[0]);
    DEMAND (mp_utf8_size (error->text, strlen (error->text)));
    for (size_t at = 0, step; error->text[at]; at += step)
        DEMAND ((step = fuzz_utf8 (error->text + at, strlen (error->text + at))) > 0);
}

static inline bool fuzz_same_text (const text_t *one, const text_t *other)
{
    return one->size == other->size && memcmp (one->data, other->data, one->size) == 0;
}

//  -- Messages of several frames: a length byte before each, 255 for all that is left

static inline zmsg_t *fuzz_message (const uint8_t *data, size_t size)
{
    zmsg_t *message = zmsg_new ();
    for (size_t at = 0; at < size;) {
        size_t length = data[at++];
        if (length == 255 || length > size - at)
            length = size - at;
        zmsg_addmem (message, data + at, length);
        at += length;
    }
    return message;
}
