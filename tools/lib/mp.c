//  SPDX-License-Identifier: MIT

#include "lib/mp.h"

#include <inttypes.h>
#include <stdarg.h>

//  -- Encode

//  msgpack-c's packer calls this for each piece
static int s_write (void *data, const char *bytes, size_t size)
{
    text_put (&((mp_writer_t *) data)->bytes, bytes, size);
    return 0;
}

msgpack_packer *mp_begin (mp_writer_t *writer)
{
    writer->bytes = (text_t){NULL, 0, 0};
    msgpack_packer_init (&writer->packer, writer, s_write);
    return &writer->packer;
}

void mp_pack_str (msgpack_packer *packer, const char *text)
{
    if (text)
        msgpack_pack_str_with_body (packer, text, strlen (text));
    else
        msgpack_pack_nil (packer);
}

void mp_pack_text (msgpack_packer *packer, const char *key, const char *value)
{
    mp_pack_str (packer, key);
    mp_pack_str (packer, value);
}

void mp_pack_counter (msgpack_packer *packer, const char *key, uint64_t value)
{
    mp_pack_str (packer, key);
    msgpack_pack_uint64 (packer, value);
}

void mp_pack_flag (msgpack_packer *packer, const char *key, bool value)
{
    mp_pack_str (packer, key);
    if (value)
        msgpack_pack_true (packer);
    else
        msgpack_pack_false (packer);
}

zframe_t *mp_end (mp_writer_t *writer)
{
    zframe_t *frame = zframe_new (writer->bytes.data, writer->bytes.size);
    text_destroy (&writer->bytes);
    return frame;
}

//  -- Decode

//  Of a map of so many pairs. False when it is cut off, or no msgpack.
static bool s_read_pairs (mp_reader_t *reader, uint32_t pairs, mp_entry_t *entries, size_t count)
{
    size_t next = 0;  //  Nearly always the keys come in the order in which they are asked for
    for (uint32_t i = 0; i < pairs; i++) {
        msgpack_object key, object;
        mp_slice_t name, bytes;
        if (!mp_read_whole (reader, &key, &name) || !mp_read_whole (reader, &object, &bytes))
            return false;
        if (key.type != MSGPACK_OBJECT_STR)
            continue;
        for (size_t tried = 0; tried < count; tried++) {
            mp_entry_t *entry = &entries[next];
            next = next + 1 < count ? next + 1 : 0;
            if (entry->size != key.via.str.size ||
                memcmp (entry->key, key.via.str.ptr, entry->size) != 0)
                continue;
            entry->value = &entry->object;
            entry->bytes = bytes;
            entry->object = object;
            break;
        }
    }
    return reader->at == reader->end;
}

bool mp_read_map (const void *data, size_t size, const char *what, mp_entry_t *entries,
                  size_t count, mp_error_t *error)
{
    mp_reader_t reader = mp_reader (data, size);
    msgpack_object head;
    const msgpack_object_map *map;
    if (mp_read (&reader, &head) && head.type == MSGPACK_OBJECT_MAP &&
        s_read_pairs (&reader, head.via.map.size, entries, count))
        return true;
    return mp_check (data, size, what, error) == 0 && mp_get_map (&head, what, &map, error);
}

int mp_decode (msgpack_unpacked *doc, const void *data, size_t size, const char *what,
               mp_error_t *error)
{
    if (mp_check (data, size, what, error) == -1)
        return -1;
    msgpack_unpacked_init (doc);
    size_t end = 0;
    if (msgpack_unpack_next (doc, data, size, &end) != MSGPACK_UNPACK_SUCCESS) {
        mp_error_set (error, what, "msgpack-c could not unpack it");
        msgpack_unpacked_destroy (doc);
        return -1;
    }
    return 0;
}

//  -- Getters

void mp_error_set (mp_error_t *error, const char *what, const char *format, ...)
{
    if (!error)
        return;
    int size = snprintf (error->text, sizeof error->text, "%s: ", what);
    if (size > 0 && (size_t) size < sizeof error->text) {
        va_list args;
        va_start (args, format);
        vsnprintf (error->text + size, sizeof error->text - (size_t) size, format, args);
        va_end (args);
    }
    //  A character that was cut in two is no UTF-8, and the text may go into a reply
    for (size_t at = 0, step; error->text[at]; at += step) {
        step = mp_utf8_size (error->text + at, strlen (error->text + at));
        if (step == 0) {
            error->text[at] = '?';
            step = 1;
        }
    }
}

static const char *s_type_name (const msgpack_object *object)
{
    static const char *const names[] = {[MSGPACK_OBJECT_NIL] = "nil",
                                        [MSGPACK_OBJECT_BOOLEAN] = "bool",
                                        [MSGPACK_OBJECT_POSITIVE_INTEGER] = "integer",
                                        [MSGPACK_OBJECT_NEGATIVE_INTEGER] = "negative integer",
                                        [MSGPACK_OBJECT_FLOAT32] = "float",
                                        [MSGPACK_OBJECT_FLOAT64] = "float",
                                        [MSGPACK_OBJECT_STR] = "str",
                                        [MSGPACK_OBJECT_ARRAY] = "array",
                                        [MSGPACK_OBJECT_MAP] = "map",
                                        [MSGPACK_OBJECT_BIN] = "bin",
                                        [MSGPACK_OBJECT_EXT] = "ext"};
    return object ? names[object->type] : "nothing";
}

bool mp_get_uint (const msgpack_object *object, const char *field, uint64_t max, uint64_t *value,
                  mp_error_t *error)
{
    if (!object || object->type != MSGPACK_OBJECT_POSITIVE_INTEGER)
        return mp_wrong (error, field, "want an unsigned integer, got %s", s_type_name (object));
    if (object->via.u64 > max)
        return mp_wrong (error, field, "%" PRIu64 " is more than %" PRIu64, object->via.u64, max);
    *value = object->via.u64;
    return true;
}

bool mp_get_uint32 (const msgpack_object *object, const char *field, uint32_t *value,
                    mp_error_t *error)
{
    uint64_t number = 0;
    if (!mp_get_uint (object, field, UINT32_MAX, &number, error))
        return false;
    *value = (uint32_t) number;
    return true;
}

bool mp_entry_uint32 (const mp_entry_t *entry, const char *what, uint32_t *value, mp_error_t *error)
{
    if (mp_get_uint32 (entry->value, what, value, NULL))
        return true;
    char field[100];
    snprintf (field, sizeof field, "%s.%s", what, entry->key);
    return mp_get_uint32 (entry->value, field, value, error);
}

bool mp_get_double (const msgpack_object *object, const char *field, double *value,
                    mp_error_t *error)
{
    if (object &&
        (object->type == MSGPACK_OBJECT_FLOAT32 || object->type == MSGPACK_OBJECT_FLOAT64))
        *value = object->via.f64;
    else if (object && object->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
        *value = (double) object->via.u64;
    else if (object && object->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        *value = (double) object->via.i64;
    else
        return mp_wrong (error, field, "want a number, got %s", s_type_name (object));
    return true;
}

//  How many bytes at the beginning are surely ASCII, found eight at a time
static size_t s_ascii_size (const char *text, size_t size)
{
    size_t at = 0;
    uint64_t word = 0;
    for (; size - at >= sizeof word; at += sizeof word) {
        memcpy (&word, text + at, sizeof word);
        if (word & 0x8080808080808080u)
            return at;
    }
    while (at < size && !(text[at] & 0x80))
        at++;
    return at;
}

bool mp_get_str (const msgpack_object *object, const char *field, mp_slice_t *value,
                 mp_error_t *error)
{
    if (!object || object->type != MSGPACK_OBJECT_STR)
        return mp_wrong (error, field, "want a str, got %s", s_type_name (object));
    const char *text = object->via.str.ptr;
    for (size_t at = s_ascii_size (text, object->via.str.size), step; at < object->via.str.size;
         at += step)
        if (!(step = mp_utf8_size (text + at, object->via.str.size - at)))
            return mp_wrong (error, field, "is not UTF-8");
    *value = (mp_slice_t){object->via.str.ptr, object->via.str.size};
    return true;
}

bool mp_get_cstr (const msgpack_object *object, const char *field, char **value, mp_error_t *error)
{
    mp_slice_t slice = {0};
    if (!mp_get_str (object, field, &slice, error))
        return false;
    if (slice.size > 0 && memchr (slice.data, 0, slice.size))
        return mp_wrong (error, field, "has a NUL byte in it");
    char *copy = malloc (slice.size + 1);
    if (!copy)
        return mp_wrong (error, field, "out of memory");
    if (slice.size > 0)
        memcpy (copy, slice.data, slice.size);
    copy[slice.size] = 0;
    *value = copy;
    return true;
}

bool mp_get_array (const msgpack_object *object, const char *field, uint32_t min,
                   const msgpack_object_array **value, mp_error_t *error)
{
    if (!object || object->type != MSGPACK_OBJECT_ARRAY)
        return mp_wrong (error, field, "want an array, got %s", s_type_name (object));
    if (object->via.array.size < min)
        return mp_wrong (error, field, "want an array of %" PRIu32 " or more, got %" PRIu32, min,
                         object->via.array.size);
    *value = &object->via.array;
    return true;
}

bool mp_get_map (const msgpack_object *object, const char *field, const msgpack_object_map **value,
                 mp_error_t *error)
{
    if (!object || object->type != MSGPACK_OBJECT_MAP)
        return mp_wrong (error, field, "want a map, got %s", s_type_name (object));
    *value = &object->via.map;
    return true;
}

int mp_decode_array (msgpack_unpacked *doc, zframe_t *frame, const char *what, uint32_t min,
                     const msgpack_object_array **array, mp_error_t *error)
{
    if (mp_decode (doc, zframe_data (frame), zframe_size (frame), what, error) == -1)
        return -1;
    if (!mp_get_array (&doc->data, what, min, array, error)) {
        msgpack_unpacked_destroy (doc);
        return -1;
    }
    return 0;
}

const msgpack_object *mp_item (const msgpack_object_array *array, uint32_t index)
{
    return index < array->size ? &array->ptr[index] : NULL;
}

const msgpack_object *mp_find (const msgpack_object_map *map, const char *key)
{
    size_t size = strlen (key);
    const msgpack_object *found = NULL;
    for (uint32_t i = 0; i < map->size; i++) {
        const msgpack_object *name = &map->ptr[i].key;
        if (name->type == MSGPACK_OBJECT_STR && name->via.str.size == size &&
            memcmp (name->via.str.ptr, key, size) == 0)
            found = &map->ptr[i].val;
    }
    return found;
}

bool mp_is_nil (const msgpack_object *object)
{
    return !object || object->type == MSGPACK_OBJECT_NIL;
}
