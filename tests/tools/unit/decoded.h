//  SPDX-License-Identifier: MIT
//  decoded.h - decoders of unit.h that print what they decode, and tables of what comes of frames
//
//  A decoder prints to `out` between decoded_begin and decoded_end. If there is an encoder too, it
//  encodes what it has decoded, and hands that to decoded_again.

#pragma once

#include "unit.h"

static FILE *out;
static char *printed;
static size_t printed_size;
static zframe_t *again;

static inline int decoded_setup (void **state)
{
    out = open_memstream (&printed, &printed_size);
    return out ? 0 : -1;
}

static inline int decoded_teardown (void **state)
{
    fclose (out);
    free (printed);
    zframe_destroy (&again);
    return 0;
}

static inline void decoded_begin (void)
{
    rewind (out);
}

static inline void decoded_end (void)
{
    fputc (0, out);
    fflush (out);
}

//  Takes the frame over
static inline void decoded_again (zframe_t *frame)
{
    zframe_destroy (&again);
    again = frame;
}

//  The decoder takes the vector, and its encoder writes it as it was
static inline void decoded_both (unit_decode_fn *decode, vector_t vector)
{
    unit_takes (decode, unit_vector_frame (vector), vector.name);
    unit_is_vector (again, vector);
    again = NULL;
}

//  A frame and what is printed of it, or why it cannot be decoded
typedef struct {
    zframe_t *frame;
    const char *text;
} decoded_t;

//  Destroys the frames
static inline void decoded_are (unit_decode_fn *decode, const decoded_t *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        mp_error_t error;
        assert_non_null (cases[i].frame);
        bool ok = decode (cases[i].frame, NULL);
        assert_int_equal (unit_try (decode, cases[i].frame, &error), ok);
        assert_string_equal (ok ? printed : error.text, cases[i].text);
    }
}

//  All types, of a field that is passed over
#define ANY "nbuif4shamx"

//  unit_types for each of the paths, between which there are blanks
static inline void decoded_types (unit_decode_fn *decode, vector_t vector, const char *paths,
                                  const char *field, const char *types)
{
    char *copy = strdup (paths), *rest;
    const char *path = *copy ? strtok_r (copy, " ", &rest) : "";
    for (; path; path = *path ? strtok_r (NULL, " ", &rest) : NULL)
        unit_types (decode, vector, (field_t){path, field, types});
    free (copy);
}
