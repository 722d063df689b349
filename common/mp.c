//  SPDX-License-Identifier: MIT

#include "mp.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>

//  -- Encode

//  msgpack-c's packer calls this for each piece
static int s_write (void *data, const char *bytes, size_t size)
{
    mp_writer_t *writer = data;
    if (msgpack_sbuffer_write (&writer->bytes, bytes, size) != 0) {
        fprintf (stderr, "FATAL ERROR: out of memory\n");
        abort ();
    }
    return 0;
}

msgpack_packer *mp_begin (mp_writer_t *writer)
{
    msgpack_sbuffer_init (&writer->bytes);
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

zframe_t *mp_end (mp_writer_t *writer)
{
    zframe_t *frame = zframe_new (writer->bytes.data, writer->bytes.size);
    msgpack_sbuffer_destroy (&writer->bytes);
    return frame;
}

//  -- Check before unpacking
//
//  msgpack-c's unpacker takes the count of an array at its word and reserves memory for it: five
//  bytes can claim 100 GB. So a first pass reads the message with msgpack-c's own unpack template,
//  whose callbacks here build nothing and only compare each claim with the bytes that are there.

typedef struct {
    size_t elements;  //  Claimed so far by arrays and maps
    size_t limit;     //  Each element has one byte at least, and there is MP_MAX_ELEMENTS
    bool refused;     //  A claim went over the limit
} s_claims_t;

//  Nothing is built: the template wants a type for the values, and one byte is the smallest
typedef char s_nothing_t;

static bool s_claim (s_claims_t *claims, size_t elements)
{
    claims->refused = elements > claims->limit - claims->elements;
    if (!claims->refused)
        claims->elements += elements;
    return !claims->refused;
}

#define msgpack_unpack_struct(name) struct s_scan##name
#define msgpack_unpack_func(ret, name) static inline ret s_scan##name
#define msgpack_unpack_callback(name) s_on##name
#define msgpack_unpack_object s_nothing_t
#define msgpack_unpack_user s_claims_t

//  clang-format off
#define S_SCALAR(name, type)                                                                       \
    static inline int s_on_##name (s_claims_t *claims, type value, s_nothing_t *object)            \
    {                                                                                              \
        (void) claims;                                                                             \
        (void) value;                                                                              \
        *object = 0;                                                                               \
        return 0;                                                                                  \
    }
#define S_SIMPLE(name)                                                                             \
    static inline int s_on_##name (s_claims_t *claims, s_nothing_t *object)                        \
    {                                                                                              \
        (void) claims;                                                                             \
        *object = 0;                                                                               \
        return 0;                                                                                  \
    }
#define S_BYTES(name)                                                                              \
    static inline int s_on_##name (s_claims_t *claims, const char *base, const char *data,         \
                                   unsigned int size, s_nothing_t *object)                         \
    {                                                                                              \
        (void) claims;                                                                             \
        (void) base;                                                                               \
        (void) data;                                                                               \
        (void) size;                                                                               \
        *object = 0;                                                                               \
        return 0;                                                                                  \
    }
//  clang-format on

S_SCALAR (uint8, uint8_t)
S_SCALAR (uint16, uint16_t)
S_SCALAR (uint32, uint32_t)
S_SCALAR (uint64, uint64_t)
S_SCALAR (int8, int8_t)
S_SCALAR (int16, int16_t)
S_SCALAR (int32, int32_t)
S_SCALAR (int64, int64_t)
S_SCALAR (float, float)
S_SCALAR (double, double)
S_SIMPLE (nil)
S_SIMPLE (true)
S_SIMPLE (false)
S_BYTES (str)
S_BYTES (bin)
S_BYTES (ext)

static inline s_nothing_t s_on_root (s_claims_t *claims)
{
    (void) claims;
    return 0;
}

static inline int s_on_array (s_claims_t *claims, unsigned int count, s_nothing_t *object)
{
    *object = 0;
    return s_claim (claims, count) ? 0 : -1;
}

static inline int s_on_map (s_claims_t *claims, unsigned int count, s_nothing_t *object)
{
    *object = 0;
    return s_claim (claims, 2 * (size_t) count) ? 0 : -1;
}

static inline int s_on_array_item (s_claims_t *claims, const s_nothing_t *array, s_nothing_t item)
{
    (void) claims;
    (void) array;
    (void) item;
    return 0;
}

static inline int s_on_map_item (s_claims_t *claims, const s_nothing_t *map, s_nothing_t key,
                                 s_nothing_t value)
{
    (void) claims;
    (void) map;
    (void) key;
    (void) value;
    return 0;
}

#include <msgpack/unpack_define.h>
#include <msgpack/unpack_template.h>

//  NULL when data[0..size) is exactly one object within the bounds, else what is wrong
static const char *s_check (const void *data, size_t size)
{
    if (size == 0)
        return "empty";
    struct s_scan_context context = {.user = {.limit = size}};
    if (context.user.limit > MP_MAX_ELEMENTS)
        context.user.limit = MP_MAX_ELEMENTS;
    s_scan_init (&context);
    size_t end = 0;
    int rc = s_scan_execute (&context, data, size, &end);
    if (rc == 0)
        return "truncated";
    if (rc < 0)
        return !context.user.refused       ? "not msgpack, or nested more than 32 deep"
               : context.user.limit < size ? "has more than 4194304 elements, or claims to"
                                           : "claims more elements than it has bytes for";
    if (end != size)
        return "has bytes after its end";
    return NULL;
}

int mp_decode (msgpack_unpacked *doc, const void *data, size_t size, const char *what,
               mp_error_t *error)
{
    const char *why = s_check (data, size);
    if (why) {
        mp_error_set (error, what, "%s", why);
        return -1;
    }
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
    if (!object)
        return "nothing";
    switch (object->type) {
    case MSGPACK_OBJECT_NIL:
        return "nil";
    case MSGPACK_OBJECT_BOOLEAN:
        return "bool";
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        return "integer";
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        return "negative integer";
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        return "float";
    case MSGPACK_OBJECT_STR:
        return "str";
    case MSGPACK_OBJECT_ARRAY:
        return "array";
    case MSGPACK_OBJECT_MAP:
        return "map";
    case MSGPACK_OBJECT_BIN:
        return "bin";
    case MSGPACK_OBJECT_EXT:
        return "ext";
    }
    return "unknown type";
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

bool mp_get_str (const msgpack_object *object, const char *field, mp_slice_t *value,
                 mp_error_t *error)
{
    if (!object || object->type != MSGPACK_OBJECT_STR)
        return mp_wrong (error, field, "want a str, got %s", s_type_name (object));
    for (size_t at = 0, step; at < object->via.str.size; at += step)
        if (!(step = mp_utf8_size (object->via.str.ptr + at, object->via.str.size - at)))
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

bool mp_get_uint32s (const msgpack_object *object, const char *field, uint32_t **values,
                     size_t *count, mp_error_t *error)
{
    const msgpack_object_array *array;
    if (!mp_get_array (object, field, 0, &array, error))
        return false;
    uint32_t *copy = NULL;
    if (array->size > 0 && !(copy = malloc (array->size * sizeof *copy)))
        return mp_wrong (error, field, "out of memory");
    for (uint32_t i = 0; i < array->size; i++) {
        mp_error_t why = {.text = ""};
        if (!mp_get_uint32 (&array->ptr[i], "", &copy[i], &why)) {
            free (copy);
            return mp_wrong (error, field, "[%" PRIu32 "]%s", i, why.text);
        }
    }
    *values = copy;
    *count = array->size;
    return true;
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

//  -- UTF-8

size_t mp_utf8_size (const char *text, size_t size)
{
    static const struct {
        unsigned char mask, lead, low, high;  //  low..high: range of the second byte
        size_t size;
    } forms[] = {{0xff, 0xe0, 0xa0, 0xbf, 3}, {0xff, 0xed, 0x80, 0x9f, 3},
                 {0xff, 0xf0, 0x90, 0xbf, 4}, {0xff, 0xf4, 0x80, 0x8f, 4},
                 {0xe0, 0xc0, 0x80, 0xbf, 2}, {0xf0, 0xe0, 0x80, 0xbf, 3},
                 {0xfc, 0xf0, 0x80, 0xbf, 4}};
    const unsigned char *data = (const unsigned char *) text;
    if (size == 0)
        return 0;
    if (data[0] < 0x80)
        return 1;
    if (data[0] == 0xc0 || data[0] == 0xc1)
        return 0;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if ((data[0] & forms[i].mask) != forms[i].lead)
            continue;
        if (size < forms[i].size || data[1] < forms[i].low || data[1] > forms[i].high)
            return 0;
        for (size_t k = 2; k < forms[i].size; k++)
            if ((data[k] & 0xc0) != 0x80)
                return 0;
        return forms[i].size;
    }
    return 0;
}

//  -- Print

static void s_print_str (FILE *out, const char *text, size_t size, bool json)
{
    const unsigned char *data = (const unsigned char *) text;
    fputc ('"', out);
    for (size_t i = 0; i < size;) {
        size_t length = mp_utf8_size (text + i, size - i);
        if (data[i] == '"' || data[i] == '\\')
            fprintf (out, "\\%c", data[i]);
        else if (data[i] == '\n')
            fputs ("\\n", out);
        else if (data[i] == '\t')
            fputs ("\\t", out);
        else if (data[i] == '\r')
            fputs ("\\r", out);
        else if (data[i] < 0x20 || data[i] == 0x7f)
            fprintf (out, "\\u%04x", data[i]);
        else if (length == 2 && data[i] == 0xc2 && data[i + 1] < 0xa0)
            fprintf (out, "\\u%04x", data[i + 1]);  //  C1 controls, which command a terminal too
        else if (length == 0)
            fprintf (out, json ? "\\ufffd" : "\\x%02x", data[i]);
        else
            fwrite (data + i, 1, length, out);
        i += length ? length : 1;
    }
    fputc ('"', out);
}

static void s_print_hex (FILE *out, const char *data, size_t size, bool json)
{
    fputs (json ? "\"" : "h'", out);
    for (size_t i = 0; i < size; i++)
        fprintf (out, "%02x", (unsigned char) data[i]);
    fputc (json ? '"' : '\'', out);
}

//  With the fewest digits that read back as the same number, and always seen to be a float
static void s_print_double (FILE *out, double value, bool json)
{
    if (!isfinite (value)) {
        fputs (json ? "null" : isnan (value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity", out);
        return;
    }
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf (text, sizeof text, "%.*g", digits, value);
        if (strtod (text, NULL) == value)
            break;
    }
    fprintf (out, "%s%s", text, strpbrk (text, ".e") ? "" : ".0");
}

static void s_print (FILE *out, const msgpack_object *object, bool json);

//  NOLINTNEXTLINE(misc-no-recursion): see s_print
static void s_print_pair (FILE *out, const msgpack_object_kv *pair, bool json)
{
    char *text = NULL;
    size_t size = 0;
    //  JSON has only strings for keys
    bool wrap = json && pair->key.type != MSGPACK_OBJECT_STR &&
                pair->key.type != MSGPACK_OBJECT_BIN && pair->key.type != MSGPACK_OBJECT_EXT;
    FILE *memory = wrap ? open_memstream (&text, &size) : NULL;
    s_print (memory ? memory : out, &pair->key, json);
    if (memory) {
        fclose (memory);
        s_print_str (out, text, size, json);
        free (text);
    }
    fputc (':', out);
    s_print (out, &pair->val, json);
}

//  NOLINTNEXTLINE(misc-no-recursion): mp_decode lets nothing pass that is deeper than MP_MAX_DEPTH
static void s_print (FILE *out, const msgpack_object *object, bool json)
{
    switch (object->type) {
    case MSGPACK_OBJECT_NIL:
        fputs ("null", out);
        break;
    case MSGPACK_OBJECT_BOOLEAN:
        fputs (object->via.boolean ? "true" : "false", out);
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        fprintf (out, "%" PRIu64, object->via.u64);
        break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        fprintf (out, "%" PRId64, object->via.i64);
        break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        s_print_double (out, object->via.f64, json);
        break;
    case MSGPACK_OBJECT_STR:
        s_print_str (out, object->via.str.ptr, object->via.str.size, json);
        break;
    case MSGPACK_OBJECT_BIN:
        s_print_hex (out, object->via.bin.ptr, object->via.bin.size, json);
        break;
    case MSGPACK_OBJECT_EXT:
        if (!json)
            fprintf (out, "ext(%d,", object->via.ext.type);
        s_print_hex (out, object->via.ext.ptr, object->via.ext.size, json);
        if (!json)
            fputc (')', out);
        break;
    case MSGPACK_OBJECT_ARRAY:
        fputc ('[', out);
        for (uint32_t i = 0; i < object->via.array.size; i++) {
            if (i > 0)
                fputc (',', out);
            s_print (out, &object->via.array.ptr[i], json);
        }
        fputc (']', out);
        break;
    case MSGPACK_OBJECT_MAP:
        fputc ('{', out);
        for (uint32_t i = 0; i < object->via.map.size; i++) {
            if (i > 0)
                fputc (',', out);
            s_print_pair (out, &object->via.map.ptr[i], json);
        }
        fputc ('}', out);
        break;
    }
}

void mp_print (FILE *out, const msgpack_object *object)
{
    s_print (out, object, false);
}

void mp_print_json (FILE *out, const msgpack_object *object)
{
    s_print (out, object, true);
}

void mp_print_json_pair (FILE *out, const msgpack_object_kv *pair)
{
    s_print_pair (out, pair, true);
}
