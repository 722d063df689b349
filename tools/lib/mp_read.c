//  SPDX-License-Identifier: MIT

#include "lib/mp.h"

#include <inttypes.h>

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

//  The context's stack is 2 KB, of which little is used: it is not cleared
static void s_begin (struct s_scan_context *context, s_claims_t claims)
{
    s_scan_init (context);
    context->user = claims;
}

//  How many elements data[0..size) may claim
static size_t s_limit (size_t size)
{
    return size < MP_MAX_ELEMENTS ? size : MP_MAX_ELEMENTS;
}

int mp_check (const void *data, size_t size, const char *what, mp_error_t *error)
{
    mp_reader_t reader = mp_reader (data, size);
    if (mp_pass (&reader) && reader.at == reader.end)
        return 0;
    struct s_scan_context context;
    s_begin (&context, (s_claims_t){.limit = s_limit (size)});
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
    struct s_scan_context context;
    object->type = MSGPACK_OBJECT_NIL;
    s_begin (&context, (s_claims_t){.limit = self->room, .opened = object});
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

bool mp_skip_more (mp_reader_t *self)
{
    if (mp_pass (self))
        return true;
    struct s_scan_context context;
    s_begin (&context, (s_claims_t){.limit = self->room});
    size_t left = (size_t) (self->end - self->at), size = 0;
    if (left == 0 || s_scan_execute (&context, (const char *) self->at, left, &size) <= 0)
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
