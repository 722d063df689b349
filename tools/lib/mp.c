//  SPDX-License-Identifier: MIT

#include "lib/mp.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>

//  -- Encode

//  msgpack-c's packer calls this for each piece
static int s_write (void *data, const char *bytes, size_t size)
{
    mp_writer_t *writer = data;
    if (writer->bytes.alloc - writer->bytes.size < size)
        mp_grow (writer, size < 256 ? 256 : size);
    if (size > 0)
        memcpy (writer->bytes.data + writer->bytes.size, bytes, size);
    writer->bytes.size += size;
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

void mp_grow (mp_writer_t *writer, size_t more)
{
    msgpack_sbuffer *bytes = &writer->bytes;
    size_t room = bytes->size + more > 2 * bytes->alloc ? bytes->size + more : 2 * bytes->alloc;
    char *data = realloc (bytes->data, room);
    if (!data) {
        fprintf (stderr, "FATAL ERROR: out of memory\n");
        abort ();
    }
    bytes->data = data;
    bytes->alloc = room;
}

zframe_t *mp_end (mp_writer_t *writer)
{
    zframe_t *frame = zframe_new (writer->bytes.data, writer->bytes.size);
    msgpack_sbuffer_destroy (&writer->bytes);
    return frame;
}

//  -- Reading in place, and the check before unpacking
//
//  Both go by msgpack-c's own unpack template, whose callbacks here build nothing. Reading stops at
//  the first head. The check goes on to the end: msgpack-c's unpacker takes the count of an array
//  at its word and reserves memory for it, five bytes can claim 100 GB; so a first pass compares
//  each claim with the bytes that are there.

typedef struct {
    size_t elements;         //  Claimed so far by arrays and maps
    size_t limit;            //  Each element has one byte at least, and there is MP_MAX_ELEMENTS
    bool refused;            //  A claim went over the limit
    msgpack_object *opened;  //  Reading: where the head of an array or map goes. NULL: checking
    bool stopped;            //  Reading: it has gone there
} s_claims_t;

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
#define msgpack_unpack_object msgpack_object
#define msgpack_unpack_user s_claims_t

//  clang-format off
#define S_VALUE(name, arg, object_type, field)                                                     \
    static inline int s_on_##name (s_claims_t *claims, arg value, msgpack_object *object)          \
    {                                                                                              \
        (void) claims;                                                                             \
        object->type = object_type;                                                                \
        object->via.field = value;                                                                 \
        return 0;                                                                                  \
    }
#define S_SIGNED(name, arg)                                                                        \
    static inline int s_on_##name (s_claims_t *claims, arg value, msgpack_object *object)          \
    {                                                                                              \
        (void) claims;                                                                             \
        object->type =                                                                             \
            value < 0 ? MSGPACK_OBJECT_NEGATIVE_INTEGER : MSGPACK_OBJECT_POSITIVE_INTEGER;         \
        object->via.i64 = value;                                                                   \
        return 0;                                                                                  \
    }
#define S_SIMPLE(name, object_type, truth)                                                         \
    static inline int s_on_##name (s_claims_t *claims, msgpack_object *object)                     \
    {                                                                                              \
        (void) claims;                                                                             \
        object->type = object_type;                                                                \
        object->via.boolean = truth;                                                               \
        return 0;                                                                                  \
    }
#define S_BYTES(name, object_type)                                                                 \
    static inline int s_on_##name (s_claims_t *claims, const char *base, const char *data,         \
                                   unsigned int size, msgpack_object *object)                      \
    {                                                                                              \
        (void) claims;                                                                             \
        (void) base;                                                                               \
        object->type = object_type;                                                                \
        object->via.name.ptr = data;                                                               \
        object->via.name.size = size;                                                              \
        return 0;                                                                                  \
    }
//  An array or a map of so many elements
#define S_CONTAINER(name, object_type, elements)                                                   \
    static inline int s_on_##name (s_claims_t *claims, unsigned int count, msgpack_object *object) \
    {                                                                                              \
        object->type = object_type;                                                                \
        object->via.name.size = count;                                                             \
        object->via.name.ptr = NULL;                                                               \
        if (!s_claim (claims, (elements) * (size_t) count))                                        \
            return -1;                                                                             \
        if (!claims->opened)                                                                       \
            return 0;                                                                              \
        *claims->opened = *object;                                                                 \
        claims->stopped = true;                                                                    \
        return -1; /* Far enough */                                                                \
    }
//  clang-format on

S_VALUE (uint8, uint8_t, MSGPACK_OBJECT_POSITIVE_INTEGER, u64)
S_VALUE (uint16, uint16_t, MSGPACK_OBJECT_POSITIVE_INTEGER, u64)
S_VALUE (uint32, uint32_t, MSGPACK_OBJECT_POSITIVE_INTEGER, u64)
S_VALUE (uint64, uint64_t, MSGPACK_OBJECT_POSITIVE_INTEGER, u64)
S_SIGNED (int8, int)
S_SIGNED (int16, int16_t)
S_SIGNED (int32, int32_t)
S_SIGNED (int64, int64_t)
S_VALUE (float, float, MSGPACK_OBJECT_FLOAT32, f64)
S_VALUE (double, double, MSGPACK_OBJECT_FLOAT64, f64)
S_SIMPLE (nil, MSGPACK_OBJECT_NIL, false)
S_SIMPLE (true, MSGPACK_OBJECT_BOOLEAN, true)
S_SIMPLE (false, MSGPACK_OBJECT_BOOLEAN, false)
S_BYTES (str, MSGPACK_OBJECT_STR)
S_BYTES (bin, MSGPACK_OBJECT_BIN)
S_CONTAINER (array, MSGPACK_OBJECT_ARRAY, 1)
S_CONTAINER (map, MSGPACK_OBJECT_MAP, 2)

//  Its first byte is the type. It has none when a size of 2^32-1 and one for that byte became 0.
static inline int s_on_ext (s_claims_t *claims, const char *base, const char *data,
                            unsigned int size, msgpack_object *object)
{
    (void) claims;
    (void) base;
    if (size == 0)
        return -1;
    object->type = MSGPACK_OBJECT_EXT;
    object->via.ext.type = (int8_t) *data;
    object->via.ext.ptr = data + 1;
    object->via.ext.size = size - 1;
    return 0;
}

static inline msgpack_object s_on_root (s_claims_t *claims)
{
    (void) claims;
    return (msgpack_object){.type = MSGPACK_OBJECT_NIL};
}

static inline int s_on_array_item (s_claims_t *claims, const msgpack_object *array,
                                   msgpack_object item)
{
    (void) claims;
    (void) array;
    (void) item;
    return 0;
}

static inline int s_on_map_item (s_claims_t *claims, const msgpack_object *map, msgpack_object key,
                                 msgpack_object value)
{
    (void) claims;
    (void) map;
    (void) key;
    (void) value;
    return 0;
}

#include <msgpack/unpack_define.h>
#include <msgpack/unpack_template.h>

//  How many elements data[0..size) may claim
static size_t s_limit (size_t size)
{
    return size < MP_MAX_ELEMENTS ? size : MP_MAX_ELEMENTS;
}

int mp_check (const void *data, size_t size, const char *what, mp_error_t *error)
{
    struct s_scan_context context = {.user = {.limit = s_limit (size)}};
    s_scan_init (&context);
    size_t end = 0;
    int rc = size > 0 ? s_scan_execute (&context, data, size, &end) : 0;
    const char *why = NULL;
    if (size == 0)
        why = "empty";
    else if (rc == 0)
        why = "truncated";
    else if (rc < 0)
        why = !context.user.refused       ? "not msgpack, or nested more than 32 deep"
              : context.user.limit < size ? "has more than 4194304 elements, or claims to"
                                          : "claims more elements than it has bytes for";
    else if (end != size)
        why = "has bytes after its end";
    if (why)
        mp_error_set (error, what, "%s", why);
    return why ? -1 : 0;
}

mp_reader_t mp_reader (const void *data, size_t size)
{
    //  An empty frame may have no address, of which C lets us take none that is 0 bytes on
    return (mp_reader_t){
        .at = data, .end = size ? (const byte *) data + size : data, .room = s_limit (size)};
}

//  By msgpack-c: any value, up to the end of it or to the end of its head
static bool s_read_any (mp_reader_t *self, msgpack_object *object)
{
    struct s_scan_context context = {.user = {.limit = self->room, .opened = object}};
    object->type = MSGPACK_OBJECT_NIL;
    s_scan_init (&context);
    size_t size = (size_t) (self->end - self->at), end = 0;
    int rc = size > 0 ? s_scan_execute (&context, (const char *) self->at, size, &end) : 0;
    if (rc > 0)
        *object = s_scan_data (&context);
    else if (context.user.stopped)
        end++;  //  At the last byte of the head
    else
        return false;
    self->at += end;
    self->room -= context.user.elements;
    return true;
}

//  A big-endian number of 8 bytes; compilers know this for one load
static inline uint64_t s_number8 (const byte *at)
{
    return (uint64_t) at[0] << 56 | (uint64_t) at[1] << 48 | (uint64_t) at[2] << 40 |
           (uint64_t) at[3] << 32 | (uint64_t) at[4] << 24 | (uint64_t) at[5] << 16 |
           (uint64_t) at[6] << 8 | at[7];
}

//  And of so many
static uint64_t s_number (const byte *at, size_t size)
{
    uint64_t number = 0;
    for (size_t i = 0; i < size; i++)
        number = number << 8 | at[i];
    return number;
}

static bool s_take_number (mp_reader_t *self, msgpack_object *object, uint64_t number, size_t size)
{
    object->type = MSGPACK_OBJECT_POSITIVE_INTEGER;
    object->via.u64 = number;
    self->at += size;
    return true;
}

static bool s_take_map (mp_reader_t *self, msgpack_object *object, size_t count, size_t size)
{
    object->type = MSGPACK_OBJECT_MAP;
    object->via.map.size = (uint32_t) count;
    object->via.map.ptr = NULL;
    self->room -= 2 * count;
    self->at += size;
    return true;
}

static bool s_take_array (mp_reader_t *self, msgpack_object *object, size_t count, size_t size)
{
    object->type = MSGPACK_OBJECT_ARRAY;
    object->via.array.size = (uint32_t) count;
    object->via.array.ptr = NULL;
    self->room -= count;
    self->at += size;
    return true;
}

//  The commoner of the other heads at once, and the rest of msgpack by msgpack-c
bool mp_read_more (mp_reader_t *self, msgpack_object *object)
{
    const byte *at = self->at;
    size_t left = (size_t) (self->end - at);
    byte head = left > 0 ? *at : 0xc1;
    if (head == 0xcd && left >= 3)
        return s_take_number (self, object, s_number (at + 1, 2), 3);
    if (head == 0xcf && left >= 9)
        return s_take_number (self, object, s_number8 (at + 1), 9);
    if ((head & 0xf0) == 0x90 && self->room >= (head & 0x0fu))
        return s_take_array (self, object, head & 0x0f, 1);
    if ((head & 0xf0) == 0x80 && self->room >= (size_t) 2 * (head & 0x0f))
        return s_take_map (self, object, head & 0x0f, 1);
    if (head == 0xce && left >= 5)
        return s_take_number (self, object, s_number (at + 1, 4), 5);
    if (head == 0xcc && left >= 2)
        return s_take_number (self, object, at[1], 2);
    if (head == 0xd3 && left >= 9) {
        uint64_t bits = s_number8 (at + 1);
        object->type =
            bits >> 63 ? MSGPACK_OBJECT_NEGATIVE_INTEGER : MSGPACK_OBJECT_POSITIVE_INTEGER;
        object->via.u64 = bits;  //  Those of i64
        self->at = at + 9;
        return true;
    }
    if (head == 0xcb && left >= 9) {
        uint64_t bits = s_number8 (at + 1);
        object->type = MSGPACK_OBJECT_FLOAT64;
        memcpy (&object->via.f64, &bits, sizeof bits);
        self->at = at + 9;
        return true;
    }
    if (head == 0xc2 || head == 0xc3) {
        object->type = MSGPACK_OBJECT_BOOLEAN;
        object->via.boolean = head == 0xc3;
        self->at = at + 1;
        return true;
    }
    if (head == 0xdc && left >= 3 && self->room >= s_number (at + 1, 2))
        return s_take_array (self, object, s_number (at + 1, 2), 3);
    if (head == 0xde && left >= 3 && self->room >= 2 * s_number (at + 1, 2))
        return s_take_map (self, object, s_number (at + 1, 2), 3);
    return s_read_any (self, object);
}

//  The size of a value that is in its first byte: of nil, false, true and numbers. 0 for others.
static size_t s_fixed_size (byte head)
{
    static const uint8_t sizes[] = {1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 5, 9, 2, 3, 5, 9, 2, 3, 5, 9};
    if (head < 0x80 || head >= 0xe0)
        return 1;
    return head >= 0xc0 && head < 0xc0 + sizeof sizes ? sizes[head - 0xc0] : 0;
}

//  Passes over `count` values of fixed size, which come in runs of one kind. False when there is
//  another among them.
static bool s_skip_fixed (mp_reader_t *self, size_t count)
{
    const byte *at = self->at, *end = self->end;
    while (count > 0 && at < end) {
        byte head = *at;
        size_t size = s_fixed_size (head);
        if (size == 0)
            return false;
        while (count > 4 && (size_t) (end - at) > 4 * size && at[size] == head &&
               at[2 * size] == head && at[3 * size] == head) {
            at += 4 * size;
            count -= 4;
            if (*at != head)
                break;
        }
        if (*at != head)
            continue;
        if ((size_t) (end - at) < size)
            return false;
        at += size;
        count--;
    }
    self->at = at;
    return count == 0;
}

bool mp_skip_more (mp_reader_t *self)
{
    mp_reader_t reader = *self;
    msgpack_object object;
    size_t left = (size_t) (self->end - self->at), fixed = left > 0 ? s_fixed_size (*self->at) : 0;
    if (fixed > 0 && fixed <= left) {
        self->at += fixed;
        return true;
    }
    if (!mp_read (&reader, &object))
        return false;
    bool open =
        object.type == MSGPACK_OBJECT_MAP ||
        (object.type == MSGPACK_OBJECT_ARRAY && !s_skip_fixed (&reader, object.via.array.size));
    if (!open) {
        *self = reader;
        return true;
    }
    struct s_scan_context context = {.user = {.limit = self->room}};
    s_scan_init (&context);
    size_t size = 0;
    if (s_scan_execute (&context, (const char *) self->at, (size_t) (self->end - self->at),
                        &size) <= 0)
        return false;
    self->at += size;
    self->room -= context.user.elements;
    return true;
}

//  Of the next `count` values, reads those at the beginning that are unsigned, of 32 bits and
//  written as such. Returns how many.
static size_t s_read_run (mp_reader_t *self, uint32_t *values, size_t count)
{
    const byte *at = self->at, *end = self->end;
    size_t i = 0;
    while (i < count) {
        size_t left = (size_t) (end - at);
        //  Most token ids have two bytes: four of them are cd a a cd  b b cd c  c cd d d
        if (left >= 12 && count - i >= 4) {
            uint64_t low = s_number8 (at), high = s_number8 (at + 4);
            if ((low & 0xff0000ff0000ff00u) == 0xcd0000cd0000cd00u &&
                (high & 0xff0000u) == 0xcd0000u) {
                values[i] = (uint16_t) (low >> 40);
                values[i + 1] = (uint16_t) (low >> 16);
                values[i + 2] = (uint16_t) (high >> 24);
                values[i + 3] = (uint16_t) high;
                i += 4;
                at += 12;
                continue;
            }
        }
        if (left >= 5 && (at[0] == 0xcd || at[0] == 0xce)) {
            //  Two bytes or four, as it comes, without a branch that would be hard to foretell
            uint32_t wide = at[0] - 0xcdu;
            uint32_t bits = (uint32_t) at[1] << 24 | (uint32_t) at[2] << 16 |
                            (uint32_t) at[3] << 8 | (uint32_t) at[4];
            values[i++] = bits >> (16 - 16 * wide);
            at += 3 + 2 * wide;
        } else if (left >= 1 && at[0] < 0x80) {
            values[i++] = *at++;
        } else if (left >= 2 && at[0] == 0xcc) {
            values[i++] = at[1];
            at += 2;
        } else if (left >= 3 && at[0] == 0xcd) {
            values[i++] = (uint32_t) at[1] << 8 | at[2];
            at += 3;
        } else {
            break;
        }
    }
    self->at = at;
    return i;
}

static bool s_read_items (mp_reader_t *self, const char *field, uint32_t *values, uint32_t count,
                          mp_error_t *error)
{
    uint32_t i = (uint32_t) s_read_run (self, values, count);
    while (i < count) {
        //  Another way of writing it, or no token id at all
        mp_error_t why;
        msgpack_object item;
        if (!mp_read (self, &item))
            return mp_wrong (error, field, "[%" PRIu32 "]: cannot be read", i);
        if (!mp_get_uint32 (&item, "", &values[i], &why))
            return mp_wrong (error, field, "[%" PRIu32 "]%s", i, why.text);
        i++;
        i += (uint32_t) s_read_run (self, values + i, count - i);
    }
    return true;
}

bool mp_read_array (mp_reader_t *self, const char *field, uint32_t min, uint32_t *count,
                    mp_error_t *error)
{
    byte head = self->at < self->end ? *self->at : 0xc1;
    if ((head & 0xf0) == 0x90 && (head & 0x0fu) >= min && (head & 0x0fu) <= self->room) {
        *count = head & 0x0f;
        self->room -= *count;
        self->at++;
        return true;
    }
    msgpack_object object;
    const msgpack_object_array *array;
    if (!mp_read (self, &object))
        return mp_wrong (error, field, "cannot be read");
    if (!mp_get_array (&object, field, min, &array, error))
        return false;
    *count = array->size;
    return true;
}

bool mp_read_uint32s_into (mp_reader_t *self, const char *field, uint32_t *values, size_t *count,
                           mp_error_t *error)
{
    uint32_t size;
    if (!mp_read_array (self, field, 0, &size, error))
        return false;
    if (size > (size_t) (self->end - self->at))
        return mp_wrong (error, field, "claims more elements than it has bytes for");
    *count = size;
    return s_read_items (self, field, values, size, error);
}

bool mp_read_uint32s (mp_reader_t *self, const char *field, uint32_t **values, size_t *count,
                      mp_error_t *error)
{
    uint32_t size, *copy = NULL;
    if (!mp_read_array (self, field, 0, &size, error))
        return false;
    if (size > 0 && !(copy = malloc (size * sizeof *copy)))
        return mp_wrong (error, field, "out of memory");
    if (!s_read_items (self, field, copy, size, error)) {
        free (copy);
        return false;
    }
    *values = copy;
    *count = size;
    return true;
}

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
    //  Within it not as JSON: keys in keys would be wrapped again and again, and each time the text
    //  of the innermost would double
    s_print (memory ? memory : out, &pair->key, json && !wrap);
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
