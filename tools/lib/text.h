//  SPDX-License-Identifier: MIT
//  text.h - text that is built in memory, for output that is written thousands of times a second
//
//      text_t line = {NULL, 0, 0};
//      text_put_literal (&line, "seq ");
//      text_put_uint (&line, seq);
//      fwrite (line.data, 1, line.size, stdout);
//      text_destroy (&line);
//
//  When memory is out the program ends, as with CZMQ's zmalloc.

#pragma once

#include <czmq.h>

typedef struct {
    char *data;  //  Not NUL-terminated; NULL until the first byte is put
    size_t size, room;
} text_t;

//  The most characters of a 64-bit number
#define TEXT_NUMBER_MAX 20

void text_destroy (text_t *self);

//  Returns the text as a string, which the caller frees. The text is empty afterwards.
char *text_take (text_t *self);

//  Makes room for so many bytes more
void text_grow (text_t *self, size_t more);

//  Returns where up to `more` bytes can be written. The caller then adds how many it wrote to
//  `size`.
static inline char *text_reserve (text_t *self, size_t more)
{
    if (self->room - self->size < more)
        text_grow (self, more);
    return self->data + self->size;
}

static inline void text_put (text_t *self, const char *bytes, size_t size)
{
    if (size > 0)  //  NULL is no address for memcpy, not even for nothing
        memcpy (text_reserve (self, size), bytes, size);
    self->size += size;
}

static inline void text_put_char (text_t *self, char c)
{
    *text_reserve (self, 1) = c;
    self->size++;
}

#define text_put_literal(self, text) text_put (self, "" text, sizeof (text) - 1)

static inline void text_put_string (text_t *self, const char *string)
{
    text_put (self, string, strlen (string));
}

//  Writes the digits of a number to `at`, where there is room for TEXT_NUMBER_MAX. Returns the end
//  of them.
char *text_digits (char *at, uint64_t number);

void text_put_uint (text_t *self, uint64_t number);
void text_put_int (text_t *self, int64_t number);

//  Bytes as lower-case hex
void text_put_hex (text_t *self, const void *bytes, size_t size);

//  A finite number as "%.15g" writes it, or with 16 or 17 digits if fewer do not read back as the
//  same number. A float always shows: "1.0", not "1".
void text_put_double (text_t *self, double value);
