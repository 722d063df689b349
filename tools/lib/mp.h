//  SPDX-License-Identifier: MIT
//  mp.h - msgpack with bounds: what msgpack-c (https://msgpack.org) leaves to its caller
//
//  msgpack-c packs and unpacks. This adds what every receiver of foreign bytes needs: exactly one
//  object and nothing after it, bounds that are checked before any memory is claimed, getters that
//  name the field that is wrong, a printer that loses nothing, and packed bytes as a zframe.

#pragma once

#include "lib/text.h"

#include <msgpack.h>

//  The nesting that msgpack-c itself can unpack (its MSGPACK_EMBED_STACK_SIZE): deeper is refused
#define MP_MAX_DEPTH 32

//  Array elements plus map keys and values in one message. A prompt of four million tokens fits;
//  the tree of such a message takes 24 bytes for each.
#define MP_MAX_ELEMENTS (4u << 20)

//  The largest frame that a socket takes: zsock_set_maxmsgsize, before it binds or connects. libzmq
//  has no limit of its own (its context's ZMQ_MAX_MSGSZ is none for what comes in) and reserves
//  memory for whatever size a peer announces; one that announces more than this is cut off. It is
//  three times that prompt of four million tokens.
#define MP_MAX_FRAME (64 << 20)

//  The same for the engine that serves a real vLLM: the tensors of images or a video come in frames
//  of their own, behind the request
#define MP_MAX_TENSOR_FRAME (1 << 30)

//  And where nobody says more than a name, a few numbers or a topic. A socket keeps up to 1000
//  messages (its mark) from each peer that it does not read: times this, not times the above.
#define MP_MAX_SMALL_FRAME (1 << 20)

//  Why decoding failed, in one line that names the field. A parameter `error` may be NULL.
typedef struct {
    char text[200];
} mp_error_t;

//  Bytes that belong to somebody else: a msgpack str or bin points into the frame it came in.
//  Not NUL-terminated.
typedef struct {
    const char *data;
    size_t size;
} mp_slice_t;

//  -- Encode: a packer that writes into a buffer

typedef struct {
    msgpack_packer packer;
    text_t bytes;
} mp_writer_t;

//  Starts a message; pack into the result with msgpack-c's msgpack_pack_...() calls. Their return
//  values need no check: when memory is out the program ends, as with CZMQ's zmalloc. The packer
//  points into `writer`: do not copy that.
msgpack_packer *mp_begin (mp_writer_t *writer);

//  Packs a NUL-terminated UTF-8 string, or nil for NULL
void mp_pack_str (msgpack_packer *packer, const char *text);

//  A key of a map and its value; NULL as above
void mp_pack_text (msgpack_packer *packer, const char *key, const char *value);
void mp_pack_counter (msgpack_packer *packer, const char *key, uint64_t value);
void mp_pack_flag (msgpack_packer *packer, const char *key, bool value);

//  Ends the message and frees the writer. Returns a frame, which is the caller's.
zframe_t *mp_end (mp_writer_t *writer);

//  -- Decode

//  Decodes the one object that data[0..size) must be. Returns 0: `doc` is the caller's to destroy
//  with msgpack_unpacked_destroy, and its strings point into `data`. Returns -1: `error` says why
//  (empty, truncated, not msgpack, bytes after the object, MP_MAX_DEPTH, MP_MAX_ELEMENTS), and
//  there is nothing to destroy. `what` names the object in the error text.
int mp_decode (msgpack_unpacked *doc, const void *data, size_t size, const char *what,
               mp_error_t *error);

//  Only the check: 0 when mp_decode would take it, or -1 and `error` says why
int mp_check (const void *data, size_t size, const char *what, mp_error_t *error);

//  -- Read in place: for the messages that come in thousands. Nothing is unpacked into a tree,
//  which would take 24 bytes and a visit for each element. The getters below are for what is read
//  here, too.

typedef struct {
    const byte *at;  //  The value that is next
    const byte *end;
    size_t room;  //  How many elements may still be claimed
} mp_reader_t;

mp_reader_t mp_reader (const void *data, size_t size);

//  Reads the next value, or, of an array or map, only its head: `ptr` is NULL then, and the
//  elements are what is next. A str, bin or ext points into the message. False when this is no
//  msgpack, or cut off, or claims more elements than there are bytes: mp_check says which.
static inline bool mp_read (mp_reader_t *self, msgpack_object *object);

//  Passes over the next value, whatever it is. False as above.
static inline bool mp_skip (mp_reader_t *self);

//  The same for a value that is nested at most 8 deep. False for any other value, which mp_skip may
//  still take; nothing has changed then.
bool mp_pass (mp_reader_t *self);

//  True when the next value is an array
static inline bool mp_is_array (const mp_reader_t *self);

//  Reads the next value if it is an unsigned integer that is packed as one. False: nothing has
//  changed.
static inline bool mp_read_uint (mp_reader_t *self, uint64_t *number);

//  Reads all of the next value. Of an array or map, `object` is the head only; `bytes` is all of
//  it, as it is in the message. False as above.
static inline bool mp_read_whole (mp_reader_t *self, msgpack_object *object, mp_slice_t *bytes);

//  Reads the head of what must be an array of at least `min` elements, which are what is next.
//  False with `error` set, as a typed getter.
bool mp_read_array (mp_reader_t *self, const char *field, uint32_t min, uint32_t *count,
                    mp_error_t *error);

//  The same for what must be an array of unsigned integers up to 2^32-1 (token ids), into `values`,
//  which has room for as many as the message has bytes left
bool mp_read_uint32s_into (mp_reader_t *self, const char *field, uint32_t *values, size_t *count,
                           mp_error_t *error);

//  The same into memory of its own: *values is the caller's to free, and NULL for an empty array
bool mp_read_uint32s (mp_reader_t *self, const char *field, uint32_t **values, size_t *count,
                      mp_error_t *error);

//  A key of a map, and what was found there
typedef struct {
    const char *key;
    size_t size;
    const msgpack_object *value;  //  NULL: the map does not have it. Else it points to
    msgpack_object object;        //  this; of an array or map, the head
    mp_slice_t bytes;             //  All of the value
} mp_entry_t;

// clang-format off
#define MP_ENTRY(key) {key, sizeof (key) - 1, NULL, {.type = MSGPACK_OBJECT_NIL}, {NULL, 0}}
// clang-format on

//  Reads the map that data[0..size) must be and finds the values of `count` keys; of equal keys the
//  last counts. Other keys are passed over. False with the errors of mp_decode and mp_get_map; but
//  each value may be MP_MAX_DEPTH deep.
bool mp_read_map (const void *data, size_t size, const char *what, mp_entry_t *entries,
                  size_t count, mp_error_t *error);

//  The getter for such a value, which the error calls "<what>.<key>"
bool mp_entry_uint32 (const mp_entry_t *entry, const char *what, uint32_t *value,
                      mp_error_t *error);

//  Writes "<what>: <formatted text>" into `error`, unless that is NULL
void mp_error_set (mp_error_t *error, const char *what, const char *format, ...) CHECK_PRINTF (3);

//  The same as an expression that is false: what a getter returns
#define mp_wrong(...) (mp_error_set (__VA_ARGS__), false)

//  Typed getters. Each returns true and sets *value; or false, and `error` says which field is
//  wrong and what it held. `field` is what the error calls it ("EngineCoreRequest.client_index").
//  A double may come as an integer. A str has to be UTF-8.
bool mp_get_uint (const msgpack_object *object, const char *field, uint64_t max, uint64_t *value,
                  mp_error_t *error);
bool mp_get_uint32 (const msgpack_object *object, const char *field, uint32_t *value,
                    mp_error_t *error);
bool mp_get_double (const msgpack_object *object, const char *field, double *value,
                    mp_error_t *error);
bool mp_get_str (const msgpack_object *object, const char *field, mp_slice_t *value,
                 mp_error_t *error);

//  A copy of a str as a C string, the caller's to free; a str with a NUL byte in it is refused
bool mp_get_cstr (const msgpack_object *object, const char *field, char **value, mp_error_t *error);

//  An array of at least `min` elements, or a map. The result points into the document.
bool mp_get_array (const msgpack_object *object, const char *field, uint32_t min,
                   const msgpack_object_array **value, mp_error_t *error);
bool mp_get_map (const msgpack_object *object, const char *field, const msgpack_object_map **value,
                 mp_error_t *error);

//  As mp_decode, for a frame that must hold an array of at least `min` elements
int mp_decode_array (msgpack_unpacked *doc, zframe_t *frame, const char *what, uint32_t min,
                     const msgpack_object_array **array, mp_error_t *error);

//  Element `index`, or NULL behind the end of the array
const msgpack_object *mp_item (const msgpack_object_array *array, uint32_t index);

//  The value of a str key, or NULL when the map does not have it. Of equal keys the last counts,
//  as in Python.
const msgpack_object *mp_find (const msgpack_object_map *map, const char *key);

//  True for nil, and for NULL: a field that is not there
bool mp_is_nil (const msgpack_object *object);

//  Length of the UTF-8 sequence that text[0..size) begins with, 1 to 4; 0 when that is none (RFC
//  3629: no overlong forms, no surrogates, nothing above U+10FFFF) or size is 0
size_t mp_utf8_size (const char *text, size_t size);

//  -- Print

//  Prints an object as JSON would, exactly: integers whole, doubles with all the digits that they
//  need, strings escaped. What JSON lacks is written as h'00ff' (bin), ext(3,h'00ff'), NaN,
//  Infinity; a byte that is not UTF-8 as \xNN.
void mp_print (text_t *out, const msgpack_object *object);

//  The same in strict JSON (RFC 8259), for other programs: bin and the bytes of an ext as a string
//  of lower-case hex, NaN and the infinities as null, a byte that is not UTF-8 as U+FFFD, a key
//  that is no string as the string of its JSON
void mp_print_json (text_t *out, const msgpack_object *object);

//  One key and its value in strict JSON, without braces
void mp_print_json_pair (text_t *out, const msgpack_object_kv *pair);

//  -- mp_read and mp_skip are here to be compiled into their callers

//  By the first byte of a value: its size, or 0 if the size depends on more than that byte
extern const uint8_t mp_sizes[256];

//  Any value
bool mp_read_more (mp_reader_t *self, msgpack_object *object);
bool mp_skip_more (mp_reader_t *self);

//  The heads that there are most of, in vLLM's messages
static inline bool mp_read (mp_reader_t *self, msgpack_object *object)
{
    const byte *at = self->at;
    size_t left = (size_t) (self->end - at);
    byte head = left > 0 ? *at : 0xc1;  //  c1: no msgpack
    if (head < 0x80) {
        object->type = MSGPACK_OBJECT_POSITIVE_INTEGER;
        object->via.u64 = head;
        self->at = at + 1;
    } else if (head == 0xc0) {
        object->type = MSGPACK_OBJECT_NIL;
        self->at = at + 1;
    } else if ((head & 0xe0) == 0xa0 && left > (head & 0x1fu)) {
        object->type = MSGPACK_OBJECT_STR;
        object->via.str.size = head & 0x1f;
        object->via.str.ptr = (const char *) at + 1;
        self->at = at + 1 + (head & 0x1f);
    } else {
        return mp_read_more (self, object);
    }
    return true;
}

static inline bool mp_is_array (const mp_reader_t *self)
{
    byte head = self->at < self->end ? *self->at : 0xc1;
    return (head & 0xf0) == 0x90 || head == 0xdc || head == 0xdd;
}

static inline bool mp_read_uint (mp_reader_t *self, uint64_t *number)
{
    const byte *at = self->at;
    size_t left = (size_t) (self->end - at);
    byte head = left > 0 ? *at : 0xc1;
    size_t size = head == 0xcd ? 2 : head == 0xce ? 4 : head == 0xcf ? 8 : head == 0xcc;
    if (head >= 0x80 && (size == 0 || left <= size))
        return false;
    *number = head < 0x80 ? head : 0;
    for (size_t i = 1; i <= size; i++)
        *number = *number << 8 | at[i];
    self->at = at + 1 + size;
    return true;
}

static inline bool mp_skip (mp_reader_t *self)
{
    size_t left = (size_t) (self->end - self->at), size = left > 0 ? mp_sizes[*self->at] : 0;
    if (size == 0 || size > left)
        return mp_skip_more (self);
    self->at += size;
    return true;
}

static inline bool mp_read_whole (mp_reader_t *self, msgpack_object *object, mp_slice_t *bytes)
{
    mp_reader_t start = *self;
    bool ok = mp_read (self, object);
    if (ok && (object->type == MSGPACK_OBJECT_ARRAY || object->type == MSGPACK_OBJECT_MAP)) {
        *self = start;
        ok = mp_skip (self);
    }
    *bytes = (mp_slice_t){(const char *) start.at, (size_t) (self->at - start.at)};
    return ok;
}
