//  SPDX-License-Identifier: MIT
//  text.h - writes text into a buffer of fixed size
//
//  Nothing here allocates memory, takes a lock or calls stdio streams: the tracer runs inside other
//  people's programs, in any thread, also right after fork.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    char *data;
    size_t size;  //  Bytes written
    size_t max;   //  Room in `data`
    bool cut;     //  Something did not fit: it and everything after it was left out
} text_t;

text_t text_on (char *data, size_t max);

//  Each adds all of what it is given, or nothing and sets `cut`
void text_bytes (text_t *self, const void *data, size_t size);
void text_add (text_t *self, const char *string);
void text_all (text_t *self, const char *const *strings);  //  The last of them is NULL
#define TEXT(self, ...) text_all (self, (const char *const[]){__VA_ARGS__, NULL})
void text_char (text_t *self, char c);
void text_number (text_t *self, uint64_t number);
void text_signed (text_t *self, int64_t number);
void text_double (text_t *self, double number);
void text_seconds (text_t *self, int64_t seconds, long nanoseconds);  //  12.345678

//  Adds bytes as hexadecimal digits
void text_hex (text_t *self, const void *data, size_t size);

//  Adds any bytes so that a terminal shows them and obeys none of them. Control characters become
//  \n, \u001b and the like, and so do quotation marks and backslashes. A byte that is not of UTF-8
//  becomes \xff, or with `json` the replacement character, because JSON has no \x.
void text_escaped (text_t *self, const void *data, size_t size, bool json);

//  Adds a JSON string with its quotation marks
void text_json (text_t *self, const void *data, size_t size);

//  "1 frame", "2 frames"
void text_plural (text_t *self, uint64_t number, const char *noun);

//  The length of the UTF-8 character at data[0..size), 1 to 4; 0 when there is none
size_t text_utf8 (const unsigned char *data, size_t size);
