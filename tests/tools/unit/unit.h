//  SPDX-License-Identifier: MIT
//  unit.h - what the unit tests share: vectors, values written as text, hostile bytes, children

#pragma once

#include "lib/mp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof (array) / sizeof (array)[0])

//  One of tests/tools/vectors/make_vectors.py, by its name there
typedef struct {
    const char *name;
    const unsigned char *data;
    size_t size;
} vector_t;

#define VECTOR(bytes) ((vector_t){#bytes, bytes, sizeof bytes})

static inline zframe_t *unit_vector_frame (vector_t vector)
{
    return zframe_new (vector.data, vector.size);
}

//  The next of the words in `list`, which are separated by '|' and may be empty. False behind the
//  last one.
static inline bool unit_word (const char **list, char word[200])
{
    if (!*list)
        return false;
    size_t size = strcspn (*list, "|");
    assert_true (size < 200);
    memcpy (word, *list, size);
    word[size] = 0;
    *list = (*list)[size] ? *list + size + 1 : NULL;
    return true;
}

//  -- Values written as text

static inline const char *unit_pack_hex (const char *text, char *bytes, size_t *size)
{
    unsigned byte;
    for (*size = 0; *text != '\''; text += 2) {
        assert_int_equal (sscanf (text, "%2x", &byte), 1);
        bytes[(*size)++] = (char) byte;
    }
    return text + 1;
}

//  memcpy wants no NULL, not even for no bytes
static inline void unit_pack_bytes (msgpack_packer *packer, const char *bytes, size_t size)
{
    if (size > 0)
        packer->callback (packer->data, bytes, size);
}

//  Packs one value, written as mp_print writes it but with 'strings' in single quotes and without
//  escapes; x'c1' stands for bytes that go out as they are. Returns what is behind it.
static inline const char *unit_pack (msgpack_packer *packer, const char *text)
{
    text += strspn (text, " ,:");
    size_t size = strspn (text, "+-0123456789.eE");
    if (*text == '[' || *text == '{') {
        msgpack_sbuffer items;
        msgpack_packer inner;
        msgpack_sbuffer_init (&items);
        msgpack_packer_init (&inner, &items, msgpack_sbuffer_write);
        char end = *text++ == '[' ? ']' : '}';
        size_t count = 0;
        for (; *(text += strspn (text, " ,:")) != end; count++)
            text = unit_pack (&inner, text);
        if (end == ']')
            msgpack_pack_array (packer, count);
        else
            msgpack_pack_map (packer, count / 2);
        unit_pack_bytes (packer, items.data, items.size);
        msgpack_sbuffer_destroy (&items);
        return text + 1;
    }
    if (*text == '\'') {
        size = strcspn (text + 1, "'");
        msgpack_pack_str_with_body (packer, text + 1, size);
        return text + size + 2;
    }
    if (text[0] && text[1] == '\'') {
        char bytes[256];
        const char *behind = unit_pack_hex (text + 2, bytes, &size);
        if (*text == 'h')
            msgpack_pack_bin_with_body (packer, bytes, size);
        else
            unit_pack_bytes (packer, bytes, size);
        return behind;
    }
    if (size == 0) {
        size = strspn (text, "abcdefghijklmnopqrstuvwxyz");
        assert_true (size > 0);
        if (*text == 'n')
            msgpack_pack_nil (packer);
        else if (*text == 't')
            msgpack_pack_true (packer);
        else
            msgpack_pack_false (packer);
    } else if (memchr (text, '.', size)) {
        msgpack_pack_double (packer, strtod (text, NULL));
    } else if (*text == '-') {
        msgpack_pack_int64 (packer, strtoll (text, NULL, 10));
    } else {
        msgpack_pack_uint64 (packer, strtoull (text, NULL, 10));
    }
    return text + size;
}

static inline zframe_t *unit_frame (const char *text)
{
    mp_writer_t writer;
    unit_pack (mp_begin (&writer), text);
    return mp_end (&writer);
}

static inline void unit_pack_edited (msgpack_packer *packer, const msgpack_object *object,
                                     const char *path, const char *text)
{
    if (!*path) {
        unit_pack (packer, text);
        return;
    }
    size_t size = strcspn (path, ".");
    const char *rest = path + size + (path[size] == '.');
    bool drop = !*rest && !text;
    bool found = false;
    if (object->type == MSGPACK_OBJECT_ARRAY) {
        uint32_t at = (uint32_t) strtoul (path, NULL, 10);
        msgpack_pack_array (packer, object->via.array.size - drop);
        for (uint32_t i = 0; i < object->via.array.size; i++) {
            found = found || i == at;
            if (i != at)
                msgpack_pack_object (packer, object->via.array.ptr[i]);
            else if (!drop)
                unit_pack_edited (packer, &object->via.array.ptr[i], rest, text);
        }
    } else {
        assert_int_equal (object->type, MSGPACK_OBJECT_MAP);
        msgpack_pack_map (packer, object->via.map.size - drop);
        for (uint32_t i = 0; i < object->via.map.size; i++) {
            const msgpack_object_kv *pair = &object->via.map.ptr[i];
            bool here =
                pair->key.via.str.size == size && memcmp (pair->key.via.str.ptr, path, size) == 0;
            found = found || here;
            if (here && drop)
                continue;
            msgpack_pack_object (packer, pair->key);
            if (here)
                unit_pack_edited (packer, &pair->val, rest, text);
            else
                msgpack_pack_object (packer, pair->val);
        }
    }
    assert_true (found);
}

//  The vector with the value at `path` ("1.0.block_hashes") replaced by another, or, for NULL,
//  taken out of its array or map
static inline zframe_t *unit_edit (vector_t vector, const char *path, const char *text)
{
    msgpack_unpacked doc;
    mp_error_t error;
    assert_int_equal (mp_decode (&doc, vector.data, vector.size, vector.name, &error), 0);
    mp_writer_t writer;
    unit_pack_edited (mp_begin (&writer), &doc.data, path, text);
    msgpack_unpacked_destroy (&doc);
    return mp_end (&writer);
}

//  What mp_print makes of it; to be freed
static inline char *unit_print (const msgpack_object *object)
{
    text_t text = {NULL, 0, 0};
    mp_print (&text, object);
    return text_take (&text);
}

//  -- Expectations. Each of them destroys the frame.

static inline void unit_is_vector (zframe_t *frame, vector_t vector)
{
    assert_non_null (frame);
    if (zframe_size (frame) != vector.size ||
        memcmp (zframe_data (frame), vector.data, vector.size) != 0)
        fail_msg ("the bytes are not those of %s", vector.name);
    zframe_destroy (&frame);
}

//  Compares and frees a text
static inline void unit_is (char *got, const char *want)
{
    assert_non_null (got);
    assert_string_equal (got, want);
    free (got);
}

static inline void unit_is_text (zframe_t *frame, const char *text)
{
    assert_non_null (frame);
    msgpack_unpacked doc;
    mp_error_t error;
    assert_int_equal (mp_decode (&doc, zframe_data (frame), zframe_size (frame), "frame", &error),
                      0);
    unit_is (unit_print (&doc.data), text);
    msgpack_unpacked_destroy (&doc);
    zframe_destroy (&frame);
}

//  Decodes a frame, looks at all that came out of it, and destroys that. False: `error` is set.
typedef bool unit_decode_fn (zframe_t *frame, mp_error_t *error);

static inline bool unit_try (unit_decode_fn *decode, zframe_t *frame, mp_error_t *error)
{
    assert_non_null (frame);
    memset (error, 0, sizeof *error);
    bool ok = decode (frame, error);
    if (!ok && (!error->text[0] || !memchr (error->text, 0, sizeof error->text)))
        fail_msg ("it failed and did not say why");
    zframe_destroy (&frame);
    return ok;
}

static inline void unit_takes (unit_decode_fn *decode, zframe_t *frame, const char *what)
{
    mp_error_t error;
    if (!unit_try (decode, frame, &error))
        fail_msg ("%s: %s", what, error.text);
}

//  The reason must begin with `why`. With `error` NULL it fails the same way.
static inline void unit_refuses (unit_decode_fn *decode, zframe_t *frame, const char *why)
{
    mp_error_t error;
    assert_non_null (frame);
    if (decode (frame, NULL))
        fail_msg ("taken, but this was expected: %s", why);
    if (unit_try (decode, frame, &error))
        fail_msg ("taken, but this was expected: %s", why);
    if (strncmp (error.text, why, strlen (why)) != 0)
        fail_msg ("\"%s\" does not begin with \"%s\"", error.text, why);
}

//  -- Wrong types

//  A field that a decoder reads: where it is, how the error calls it, and which types may be there,
//  each by its letter below
typedef struct {
    const char *path;
    const char *field;
    const char *types;
} field_t;

//  Puts a value of each type into the field in turn: those of the right types are taken, the others
//  refused under the name of the field
static inline void unit_types (unit_decode_fn *decode, vector_t vector, field_t field)
{
    static const struct {
        char letter;
        const char *text;
    } types[] = {
        {'n', "null"}, {'b', "true"},      {'u', "1"},
        {'i', "-1"},   {'f', "1.5"},       {'4', "x'ca3fc00000'"},  // float32
        {'s', "'s'"},  {'h', "h'01'"},     {'a', "[]"},
        {'m', "{}"},   {'x', "x'd40100'"},  // ext
    };
    for (size_t i = 0; i < COUNT (types); i++) {
        zframe_t *frame = unit_edit (vector, field.path, types[i].text);
        mp_error_t error;
        bool taken = unit_try (decode, frame, &error);
        bool right = strchr (field.types, types[i].letter);
        if (taken != right)
            fail_msg ("%s = %s in %s: %s", field.field, types[i].text, vector.name,
                      taken ? "taken" : error.text);
        size_t size = strlen (field.field);
        //  The whole of it may also be wrong in one of its own fields
        bool named = strncmp (error.text, field.field, size) == 0 &&
                     (error.text[size] == ':' || (!*field.path && error.text[size] == '.'));
        if (!taken && !named)
            fail_msg ("%s = %s in %s: \"%s\" does not name it", field.field, types[i].text,
                      vector.name, error.text);
    }
}

//  -- Hostile bytes

//  The vector cut short at each length, with a byte behind its end, and with each byte of it
//  changed to others. It must not crash, and if it fails it must say why.
static inline void unit_hostile (unit_decode_fn *decode, vector_t vector)
{
    static const unsigned char bytes[] = {
        0x00, 0x01, 0x7f, 0x80, 0x81, 0x8f, 0x90, 0x91, 0x9f, 0xa0, 0xa1, 0xbf,
        0xc0, 0xc1, 0xc2, 0xc4, 0xc6, 0xc7, 0xc9, 0xca, 0xcb, 0xcc, 0xcf, 0xd0,
        0xd3, 0xd4, 0xd8, 0xd9, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xe0, 0xff,
    };
    mp_error_t error;
    unit_takes (decode, unit_vector_frame (vector), vector.name);
    for (size_t size = 0; size < vector.size; size++)
        if (unit_try (decode, zframe_new (vector.data, size), &error))
            fail_msg ("%s: its first %zu bytes were taken for all of it", vector.name, size);

    unsigned char *copy = malloc (vector.size + 1);
    assert_non_null (copy);
    memcpy (copy, vector.data, vector.size);
    copy[vector.size] = 0xc0;
    if (unit_try (decode, zframe_new (copy, vector.size + 1), &error) ||
        !strstr (error.text, "has bytes after its end"))
        fail_msg ("%s: a byte behind its end", vector.name);
    for (size_t at = 0; at < vector.size; at++) {
        for (size_t i = 0; i < sizeof bytes; i++) {
            copy[at] = bytes[i];
            unit_try (decode, zframe_new (copy, vector.size), &error);
        }
        copy[at] = vector.data[at];
    }
    free (copy);
}

//  -- Children

//  Runs `body` in a child and returns its exit status, or -1 when it ended in another way
static inline int unit_in_child (void (*body) (void))
{
    fflush (NULL);
    pid_t child = fork ();
    assert_int_not_equal (child, -1);
    if (child == 0) {
        body ();
        exit (100);  //  Where a body is to exit itself, this says that it did not
    }
    int status = 0;
    assert_int_equal (waitpid (child, &status, 0), child);
    return WIFEXITED (status) ? WEXITSTATUS (status) : -1;
}
