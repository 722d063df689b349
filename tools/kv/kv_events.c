//  SPDX-License-Identifier: MIT

#include "kv/kv_events.h"
#include "lib/mp_put.h"

//  The fields of BlockStored in the order of its struct: its places in an array. BlockRemoved has
//  some of the same.
typedef enum {
    BLOCK_HASHES,
    PARENT_BLOCK_HASH,
    TOKEN_IDS,
    BLOCK_SIZE,
    LORA_ID,
    MEDIUM,
    LORA_NAME,
    EXTRA_KEYS,
    GROUP_IDX,
    KV_CACHE_SPEC_KIND,
    KV_CACHE_SPEC_SLIDING_WINDOW,
    LOCALITY,
    FIELD_COUNT
} field_t;

//  By field_t: the names, which are the keys of a map, and their sizes
#define NAMES(NAME)                                                                                \
    NAME ("block_hashes"), NAME ("parent_block_hash"), NAME ("token_ids"), NAME ("block_size"),    \
        NAME ("lora_id"), NAME ("medium"), NAME ("lora_name"), NAME ("extra_keys"),                \
        NAME ("group_idx"), NAME ("kv_cache_spec_kind"), NAME ("kv_cache_spec_sliding_window"),    \
        NAME ("locality")
#define TEXT_OF(name) name
#define SIZE_OF(name) (sizeof (name) - 1)
#define IN_STORED(name) "BlockStored." name
#define IN_REMOVED(name) "BlockRemoved." name
static const char *const stored_fields[] = {NAMES (TEXT_OF), NULL};
static const size_t field_sizes[] = {NAMES (SIZE_OF)};
static const char *const removed_fields[] = {"block_hashes", "medium", "group_idx", "locality",
                                             NULL};
static const char *const no_fields[] = {NULL};

//  What errors call them
static const char *const stored_names[] = {NAMES (IN_STORED)};
static const char *const removed_names[] = {NAMES (IN_REMOVED)};

static const field_t stored_order[] = {BLOCK_HASHES,
                                       PARENT_BLOCK_HASH,
                                       TOKEN_IDS,
                                       BLOCK_SIZE,
                                       LORA_ID,
                                       MEDIUM,
                                       LORA_NAME,
                                       EXTRA_KEYS,
                                       GROUP_IDX,
                                       KV_CACHE_SPEC_KIND,
                                       KV_CACHE_SPEC_SLIDING_WINDOW,
                                       LOCALITY};
static const field_t removed_order[] = {BLOCK_HASHES, MEDIUM, GROUP_IDX, LOCALITY};

//  By kv_event_kind_t
static const struct {
    const char *tag;
    size_t tag_size;
    const char *const *fields;
    const char *const *names;  //  By field_t
    const field_t *order;
    size_t count;
    unsigned required;  //  Of field_t, a bit for each
} kinds[] = {
    {"BlockStored", 11, stored_fields, stored_names, stored_order, 12,
     1u << BLOCK_HASHES | 1u << TOKEN_IDS | 1u << BLOCK_SIZE},
    {"BlockRemoved", 12, removed_fields, removed_names, removed_order, 4, 1u << BLOCK_HASHES},
    {"AllBlocksCleared", 16, no_fields, NULL, stored_order, 0, 0}};

const char *const *kv_event_fields (kv_event_kind_t kind)
{
    return kind == KV_UNKNOWN ? no_fields : kinds[kind].fields;
}

kv_wire_t kv_wire_from_name (const char *name)
{
    return streq (name, "v0.9") ? KV_WIRE_V09 : streq (name, "v0.24") ? KV_WIRE_V024 : KV_WIRE_V026;
}

//  -- Encode

//  What an event takes up without its hashes, tokens and slices: the names of its fields above all
#define EVENT_BOUND 400

//  And a batch without its events
#define BATCH_BOUND 40

static void s_put_slice (char **at, mp_slice_t slice)
{
    if (!slice.data) {
        mp_put_nil (at);
        return;
    }
    mp_put_str (at, slice.size);
    mp_put_bytes (at, slice.data, slice.size);
}

static void s_put_number (char **at, int64_t number)
{
    if (number == KV_NONE)
        mp_put_nil (at);
    else
        mp_put_int64 (at, number);
}

static void s_put_hash (char **at, const kv_hash_t *hash)
{
    switch (hash->kind) {
    case KV_HASH_NONE:
        mp_put_nil (at);
        break;
    case KV_HASH_UINT:
        mp_put_uint64 (at, hash->value.u);
        break;
    case KV_HASH_INT:
        mp_put_int64 (at, hash->value.i);
        break;
    case KV_HASH_BYTES:
        mp_put_bin (at, hash->value.bytes.size);
        mp_put_bytes (at, hash->value.bytes.data, hash->value.bytes.size);
        break;
    }
}

static void s_put_hashes (char **at, const kv_event_t *event)
{
    mp_put_array (at, event->block_hash_count);
    for (size_t i = 0; i < event->block_hash_count; i++)
        s_put_hash (at, &event->block_hashes[i]);
}

//  The value of one field
static void s_put_field (char **at, const kv_event_t *event, field_t field)
{
    switch (field) {
    case BLOCK_HASHES:
        s_put_hashes (at, event);
        break;
    case PARENT_BLOCK_HASH:
        s_put_hash (at, &event->parent_block_hash);
        break;
    case TOKEN_IDS:
        mp_put_uint32s (at, event->token_ids, event->token_id_count);
        break;
    case BLOCK_SIZE:
        mp_put_uint32 (at, event->block_size);
        break;
    case LORA_ID:
        s_put_number (at, event->lora_id);
        break;
    case MEDIUM:
        s_put_slice (at, event->medium);
        break;
    case LORA_NAME:
        s_put_slice (at, event->lora_name);
        break;
    case EXTRA_KEYS:
        mp_put_bytes (at, event->extra_keys.data, event->extra_keys.size);
        break;
    case GROUP_IDX:
        s_put_number (at, event->group_idx);
        break;
    case KV_CACHE_SPEC_KIND:
        s_put_slice (at, event->kv_cache_spec_kind);
        break;
    case KV_CACHE_SPEC_SLIDING_WINDOW:
        s_put_number (at, event->kv_cache_spec_sliding_window);
        break;
    case LOCALITY:
        s_put_slice (at, event->locality);
        break;
    case FIELD_COUNT:
        break;
    }
}

//  True for a field that msgspec's omit_defaults leaves out of a map: its default is None, and that
//  is its value
static bool s_is_omitted (const kv_event_t *event, field_t field)
{
    switch (field) {
    case EXTRA_KEYS:
        return !event->extra_keys.data;
    case GROUP_IDX:
        return event->group_idx == KV_NONE;
    case KV_CACHE_SPEC_KIND:
        return !event->kv_cache_spec_kind.data;
    case KV_CACHE_SPEC_SLIDING_WINDOW:
        return event->kv_cache_spec_sliding_window == KV_NONE;
    case LOCALITY:
        return !event->locality.data;
    default:
        return false;
    }
}

static void s_put_name (char **at, const char *name, size_t size)
{
    mp_put_str (at, size);
    mp_put_bytes (at, name, size);
}

static void s_put_event_map (char **at, const kv_event_t *event, kv_wire_t wire)
{
    field_t kept[FIELD_COUNT];
    size_t count = 0;
    for (size_t i = 0; i < kinds[event->kind].count; i++) {
        field_t field = kinds[event->kind].order[i];
        if (!s_is_omitted (event, field) && !(wire == KV_WIRE_V024 && field == LOCALITY))
            kept[count++] = field;
    }
    mp_put_map (at, count + 1);
    mp_put_text (at, "type");
    s_put_name (at, kinds[event->kind].tag, kinds[event->kind].tag_size);
    for (size_t i = 0; i < count; i++) {
        s_put_name (at, stored_fields[kept[i]], field_sizes[kept[i]]);
        s_put_field (at, event, kept[i]);
    }
}

//  v0.9.0: BlockStored ended with lora_id, BlockRemoved with block_hashes
static void s_put_event_array (char **at, const kv_event_t *event)
{
    static const size_t field_counts[] = {5, 1, 0};
    size_t count = field_counts[event->kind];
    mp_put_array (at, count + 1);
    s_put_name (at, kinds[event->kind].tag, kinds[event->kind].tag_size);
    for (size_t i = 0; i < count; i++)
        s_put_field (at, event, kinds[event->kind].order[i]);
}

//  Room for one event
static size_t s_bound (const kv_event_t *event)
{
    size_t bound = EVENT_BOUND + (size_t) MP_PUT_MAX * event->block_hash_count +
                   5 * event->token_id_count + event->medium.size + event->lora_name.size +
                   event->extra_keys.size + event->kv_cache_spec_kind.size + event->locality.size;
    for (size_t i = 0; i < event->block_hash_count; i++)
        if (event->block_hashes[i].kind == KV_HASH_BYTES)
            bound += event->block_hashes[i].value.bytes.size;
    if (event->parent_block_hash.kind == KV_HASH_BYTES)
        bound += event->parent_block_hash.value.bytes.size;
    return bound;
}

zframe_t *kv_batch_encode (const kv_batch_t *batch, kv_wire_t wire)
{
    size_t known = 0, bound = BATCH_BOUND;
    for (size_t i = 0; i < batch->event_count; i++) {
        if (batch->events[i].kind == KV_UNKNOWN)
            continue;
        known++;
        bound += s_bound (&batch->events[i]);
    }
    mp_writer_t writer;
    mp_begin (&writer);
    char *at = mp_reserve (&writer, bound);
    mp_put_array (&at, wire == KV_WIRE_V09 ? 2 : 3);
    mp_put_double (&at, batch->ts);
    mp_put_array (&at, known);
    for (size_t i = 0; i < batch->event_count; i++) {
        if (batch->events[i].kind == KV_UNKNOWN)
            continue;
        if (wire == KV_WIRE_V09)
            s_put_event_array (&at, &batch->events[i]);
        else
            s_put_event_map (&at, &batch->events[i], wire);
    }
    if (wire != KV_WIRE_V09)
        s_put_number (&at, batch->data_parallel_rank);
    mp_commit (&writer, at);
    return mp_end (&writer);
}

//  -- Decode
//
//  Without a tree. An event whose fields come in the order of the struct, as msgspec writes them,
//  is read as it comes. Any other takes two passes: the first notes where each field begins and
//  ends, the second reads them in that order, and says what is wrong.

//  A batch and what it owns
typedef struct {
    kv_batch_t batch;  //  First: the one is the other's address
    kv_event_t events[];
} s_owner_t;

//  An event of which nothing is known
static void s_event_init (kv_event_t *self)
{
    *self = (kv_event_t){.kind = KV_UNKNOWN,
                         .lora_id = KV_NONE,
                         .group_idx = KV_NONE,
                         .kv_cache_spec_sliding_window = KV_NONE};
}

static void s_event_clear (kv_event_t *self)
{
    free ((kv_hash_t *) self->block_hashes);
    free ((uint32_t *) self->token_ids);
}

void kv_batch_destroy (kv_batch_t **self_p)
{
    s_owner_t *owner = (s_owner_t *) *self_p;
    if (!owner)
        return;
    for (size_t i = 0; i < owner->batch.event_count; i++)
        s_event_clear (&owner->events[i]);
    free (owner);
    *self_p = NULL;
}

//  Where the values of an event are. data is NULL for one that is not there.
typedef struct {
    mp_slice_t tag;
    mp_slice_t fields[FIELD_COUNT];
} s_places_t;

//  The next value, as bytes
static bool s_pass (mp_reader_t *reader, mp_slice_t *place)
{
    const char *start = (const char *) reader->at;
    if (!mp_skip (reader))
        return false;
    *place = (mp_slice_t){start, (size_t) ((const char *) reader->at - start)};
    return true;
}

static bool s_is_text (const msgpack_object *key, const char *text, size_t size)
{
    return key->type == MSGPACK_OBJECT_STR && key->via.str.size == size &&
           memcmp (key->via.str.ptr, text, size) == 0;
}

static bool s_is_field (const msgpack_object *key, field_t field)
{
    return s_is_text (key, stored_fields[field], field_sizes[field]);
}

//  Of equal keys the last counts, as in Python
static bool s_find_in_map (mp_reader_t *reader, uint32_t count, s_places_t *places)
{
    for (uint32_t i = 0; i < count; i++) {
        msgpack_object key;
        mp_slice_t value;
        mp_reader_t start = *reader;
        if (!mp_read (reader, &key))
            return false;
        if (key.type == MSGPACK_OBJECT_ARRAY || key.type == MSGPACK_OBJECT_MAP) {
            *reader = start;
            if (!mp_skip (reader))
                return false;
        }
        if (!s_pass (reader, &value))
            return false;
        if (s_is_text (&key, "type", 4))
            places->tag = value;
        for (field_t field = BLOCK_HASHES; field < FIELD_COUNT; field++)
            if (s_is_field (&key, field))
                places->fields[field] = value;
    }
    return true;
}

//  Sets the kind of an event by its tag, the value that is next. NULL: there is none.
static bool s_read_kind (mp_reader_t *reader, kv_event_t *event, mp_error_t *error)
{
    msgpack_object tag;
    bool there = reader && mp_read (reader, &tag);
    if (!mp_get_str (there ? &tag : NULL, "event tag", &event->tag, error))
        return false;
    event->kind = KV_UNKNOWN;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (s_is_text (&tag, kinds[i].tag, kinds[i].tag_size))
            event->kind = (kv_event_kind_t) i;
    return true;
}

static bool s_get_kind (mp_slice_t place, kv_event_t *event, mp_error_t *error)
{
    mp_reader_t reader = mp_reader (place.data, place.size);
    return s_read_kind (place.data ? &reader : NULL, event, error);
}

//  The places of an array are those of the kind that its tag says
static bool s_find_in_array (mp_reader_t *reader, uint32_t count, s_places_t *places,
                             kv_event_t *event, mp_error_t *error)
{
    if (count > 0 && !s_pass (reader, &places->tag))
        return false;
    if (!s_get_kind (places->tag, event, error))
        return false;
    for (uint32_t i = 1; i < count; i++) {
        mp_slice_t value;
        if (!s_pass (reader, &value))
            return false;
        if (event->kind != KV_UNKNOWN && i <= kinds[event->kind].count)
            places->fields[kinds[event->kind].order[i - 1]] = value;
    }
    return true;
}

static bool s_get_number (const msgpack_object *object, const char *name, int64_t *value,
                          mp_error_t *error)
{
    uint64_t number = 0;
    *value = KV_NONE;
    if (mp_is_nil (object))
        return true;
    if (!mp_get_uint (object, name, INT64_MAX, &number, error))
        return false;
    *value = (int64_t) number;
    return true;
}

static bool s_get_hash (const msgpack_object *object, const char *name, kv_hash_t *hash,
                        mp_error_t *error)
{
    if (object->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
        *hash = (kv_hash_t){.kind = KV_HASH_UINT, .value.u = object->via.u64};
    else if (object->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        *hash = (kv_hash_t){.kind = KV_HASH_INT, .value.i = object->via.i64};
    else if (object->type == MSGPACK_OBJECT_BIN)
        *hash = (kv_hash_t){.kind = KV_HASH_BYTES,
                            .value.bytes = {object->via.bin.ptr, object->via.bin.size}};
    else
        return mp_wrong (error, name, "want an integer or bin");
    return true;
}

static bool s_read_hashes (mp_reader_t *reader, const char *name, kv_event_t *event,
                           mp_error_t *error)
{
    msgpack_object object;
    const msgpack_object_array *array;
    if (!mp_read (reader, &object) || !mp_get_array (&object, name, 0, &array, error))
        return false;
    uint32_t count = array->size;
    kv_hash_t *hashes = malloc ((count + 1) * sizeof *hashes);
    if (!hashes)
        return mp_wrong (error, name, "out of memory");
    event->block_hashes = hashes;
    for (event->block_hash_count = 0; event->block_hash_count < count; event->block_hash_count++)
        if (!mp_read (reader, &object) ||
            !s_get_hash (&object, name, &hashes[event->block_hash_count], error))
            return false;
    return true;
}

static bool s_read_tokens (mp_reader_t *reader, const char *name, kv_event_t *event,
                           mp_error_t *error)
{
    uint32_t *token_ids = NULL;
    if (!mp_read_uint32s (reader, name, &token_ids, &event->token_id_count, error))
        return false;
    event->token_ids = token_ids;
    return true;
}

//  Reads the value that is next as that of a field. What the event owns by then is the batch's,
//  whatever happens.
static bool s_read_field (mp_reader_t *reader, field_t field, kv_event_t *event, mp_error_t *error)
{
    const char *name = kinds[event->kind].names[field];
    if (field == BLOCK_HASHES)
        return s_read_hashes (reader, name, event, error);
    if (field == TOKEN_IDS)
        return s_read_tokens (reader, name, event, error);
    const char *start = (const char *) reader->at;
    if (field == EXTRA_KEYS) {
        if (!mp_skip (reader))
            return false;
        if ((byte) *start != 0xc0)  //  Nil
            event->extra_keys = (mp_slice_t){start, (size_t) ((const char *) reader->at - start)};
        return true;
    }
    msgpack_object object;
    if (!mp_read (reader, &object))
        return false;
    switch (field) {
    case PARENT_BLOCK_HASH:
        return mp_is_nil (&object) || s_get_hash (&object, name, &event->parent_block_hash, error);
    case BLOCK_SIZE:
        return mp_get_uint32 (&object, name, &event->block_size, error);
    case LORA_ID:
        return s_get_number (&object, name, &event->lora_id, error);
    case MEDIUM:
        return mp_is_nil (&object) || mp_get_str (&object, name, &event->medium, error);
    case LORA_NAME:
        return mp_is_nil (&object) || mp_get_str (&object, name, &event->lora_name, error);
    case GROUP_IDX:
        return s_get_number (&object, name, &event->group_idx, error);
    case KV_CACHE_SPEC_KIND:
        return mp_is_nil (&object) || mp_get_str (&object, name, &event->kv_cache_spec_kind, error);
    case KV_CACHE_SPEC_SLIDING_WINDOW:
        return s_get_number (&object, name, &event->kv_cache_spec_sliding_window, error);
    case LOCALITY:
        return mp_is_nil (&object) || mp_get_str (&object, name, &event->locality, error);
    default:
        return false;
    }
}

//  The fields of an event that are there
static bool s_get_fields (const s_places_t *places, kv_event_t *event, mp_error_t *error)
{
    for (size_t i = 0; event->kind != KV_UNKNOWN && i < kinds[event->kind].count; i++) {
        field_t field = kinds[event->kind].order[i];
        mp_slice_t place = places->fields[field];
        mp_reader_t reader = mp_reader (place.data, place.size);
        if (!place.data && kinds[event->kind].required & 1u << field)
            return mp_wrong (error, kinds[event->kind].names[field], "want an %s, got nothing",
                             field == BLOCK_SIZE ? "unsigned integer" : "array");
        if (place.data && !s_read_field (&reader, field, event, error))
            return false;
    }
    return true;
}

//  The long way, for any event
static bool s_get_event (mp_reader_t *reader, kv_event_t *event, mp_error_t *error)
{
    s_places_t places = {.tag = {NULL, 0}};
    msgpack_object object;
    if (!mp_read (reader, &object))
        return false;
    if (object.type == MSGPACK_OBJECT_ARRAY)
        return s_find_in_array (reader, object.via.array.size, &places, event, error) &&
               s_get_fields (&places, event, error);
    if (object.type == MSGPACK_OBJECT_MAP && !s_find_in_map (reader, object.via.map.size, &places))
        return false;
    return s_get_kind (places.tag, event, error) && s_get_fields (&places, event, error);
}

//  The short way, for an event whose tag comes first, and then fields that we know, in the order of
//  the struct. False: it is not like that, or there is something wrong with it.
static bool s_read_event (mp_reader_t *reader, kv_event_t *event)
{
    msgpack_object object;
    if (!mp_read (reader, &object))
        return false;
    bool is_map = object.type == MSGPACK_OBJECT_MAP;
    if (!is_map && object.type != MSGPACK_OBJECT_ARRAY)
        return false;
    uint32_t count = is_map ? object.via.map.size : object.via.array.size;
    if (is_map && (!mp_read (reader, &object) || !s_is_text (&object, "type", 4)))
        return false;
    if (count == 0 || !s_read_kind (reader, event, NULL) || event->kind == KV_UNKNOWN)
        return false;
    unsigned missing = kinds[event->kind].required;
    const field_t *next = kinds[event->kind].order, *end = next + kinds[event->kind].count;
    for (uint32_t i = 1; i < count; i++, next++) {
        if (is_map && !mp_read (reader, &object))
            return false;
        while (is_map && next < end && !s_is_field (&object, *next))
            next++;
        if (next == end || !s_read_field (reader, *next, event, NULL))
            return false;
        missing &= ~(1u << *next);
    }
    return missing == 0;
}

//  Returns the batch, or NULL. Memory by malloc: calloc is slower by more than clearing takes.
static s_owner_t *s_get_batch (mp_reader_t *reader, mp_error_t *error)
{
    msgpack_object object;
    const msgpack_object_array *batch, *events;
    double ts;
    if (!mp_read (reader, &object) || !mp_get_array (&object, "batch", 2, &batch, error))
        return NULL;
    uint32_t fields = batch->size;
    if (!mp_read (reader, &object) || !mp_get_double (&object, "batch.ts", &ts, error) ||
        !mp_read (reader, &object) || !mp_get_array (&object, "batch.events", 0, &events, error))
        return NULL;
    uint32_t count = events->size;
    if (count > KV_MAX_EVENTS) {
        mp_error_set (error, "batch.events", "%u are more than %u", count, KV_MAX_EVENTS);
        return NULL;
    }
    s_owner_t *owner = malloc (sizeof *owner + count * sizeof owner->events[0]);
    if (!owner) {
        mp_error_set (error, "batch", "out of memory");
        return NULL;
    }
    owner->batch = (kv_batch_t){
        .ts = ts, .events = owner->events, .event_count = 0, .data_parallel_rank = KV_NONE};
    bool ok = true;
    while (ok && owner->batch.event_count < count) {
        kv_event_t *event = &owner->events[owner->batch.event_count++];
        s_event_init (event);
        mp_reader_t start = *reader;
        ok = s_read_event (reader, event);
        if (!ok) {
            *reader = start;
            s_event_clear (event);
            s_event_init (event);
            ok = s_get_event (reader, event, error);
        }
    }
    if (ok && fields > 2) {
        mp_slice_t rank = {NULL, 0};
        ok = s_pass (reader, &rank);
        mp_reader_t at = mp_reader (rank.data, rank.size);
        ok = ok && mp_read (&at, &object) &&
             s_get_number (&object, "batch.data_parallel_rank", &owner->batch.data_parallel_rank,
                           error);
    }
    for (uint32_t i = 3; ok && i < fields; i++)
        ok = mp_skip (reader);
    kv_batch_t *self = &owner->batch;
    if (!ok || reader->at != reader->end)
        kv_batch_destroy (&self);
    return (s_owner_t *) self;
}

kv_batch_t *kv_batch_decode (mp_slice_t payload, mp_error_t *error)
{
    mp_reader_t reader = mp_reader (payload.data, payload.size);
    s_owner_t *owner = s_get_batch (&reader, error);
    if (owner)
        return &owner->batch;
    //  When the whole of it is no good, that is what is wrong, and not some field
    mp_check (payload.data, payload.size, "batch", error);
    return NULL;
}

static void s_print_count (FILE *out, size_t count, const char *what)
{
    fprintf (out, " %zu %s%s", count, what, count == 1 ? "" : "s");
}

char *kv_batch_describe (const kv_batch_t *batch)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream (&text, &size);
    if (!out)
        return NULL;
    for (size_t i = 0; i < batch->event_count; i++) {
        const kv_event_t *event = &batch->events[i];
        fprintf (out, "%s%.*s", i > 0 ? ", " : "", (int) event->tag.size, event->tag.data);
        if (event->kind == KV_BLOCK_STORED || event->kind == KV_BLOCK_REMOVED)
            s_print_count (out, event->block_hash_count, "block");
        if (event->kind == KV_BLOCK_STORED)
            s_print_count (out, event->token_id_count, "token");
    }
    fclose (out);
    return text;
}

//  -- Messages

static void s_put_seq (uint64_t seq, byte bytes[KV_SEQ_SIZE])
{
    for (int i = KV_SEQ_SIZE - 1; i >= 0; i--, seq >>= 8)
        bytes[i] = (byte) (seq & 0xff);
}

static void s_add_seq (zmsg_t *message, uint64_t seq)
{
    byte bytes[KV_SEQ_SIZE];
    s_put_seq (seq, bytes);
    zmsg_addmem (message, bytes, sizeof bytes);
}

//  A big-endian number of any length; one above 64 bits comes out as UINT64_MAX
static uint64_t s_get_seq (mp_slice_t bytes)
{
    uint64_t seq = 0;
    for (size_t i = 0; i < bytes.size; i++) {
        if (seq >> 56)
            return UINT64_MAX;
        seq = seq << 8 | (byte) bytes.data[i];
    }
    return seq;
}

static mp_slice_t s_bytes (zframe_t *frame)
{
    return (mp_slice_t){(const char *) zframe_data (frame), zframe_size (frame)};
}

static void s_add_copy (zmsg_t *message, zframe_t *frame)
{
    zmsg_addmem (message, frame ? zframe_data (frame) : NULL, frame ? zframe_size (frame) : 0);
}

zmsg_t *kv_message (const char *topic, uint64_t seq, zframe_t *payload)
{
    zmsg_t *message = zmsg_new ();
    zmsg_addstr (message, topic);
    s_add_seq (message, seq);
    s_add_copy (message, payload);
    return message;
}

int kv_publish (zsock_t *pub, const char *topic, uint64_t seq, zframe_t *payload)
{
    void *socket = zsock_resolve (pub);
    byte bytes[KV_SEQ_SIZE];
    s_put_seq (seq, bytes);
    if (zmq_send (socket, topic, strlen (topic), ZMQ_SNDMORE) == -1 ||
        zmq_send (socket, bytes, sizeof bytes, ZMQ_SNDMORE) == -1)
        return -1;
    return zframe_send (&payload, pub, ZFRAME_REUSE);  //  Shares the bytes
}

//  Reads a live message, or a reply, of which these are the first frames
static bool s_read_live (const mp_slice_t *frames, size_t count, kv_numbered_t *batch,
                         mp_error_t *error)
{
    if (count != 3)
        return mp_wrong (error, "message", "want topic, seq and batch, got %zu frames", count);
    if (frames[1].size != KV_SEQ_SIZE)
        return mp_wrong (error, "message", "a seq has 8 bytes, this has %zu", frames[1].size);
    *batch = (kv_numbered_t){s_get_seq (frames[1]), frames[0], frames[2], false};
    if (batch->seq == KV_SEQ_END)
        return mp_wrong (error, "message", "its seq is the one that ends a replay");
    return true;
}

static bool s_read_reply (const mp_slice_t *frames, size_t count, kv_numbered_t *batch,
                          mp_error_t *error)
{
    //  Counted from the end: ... [seq][batch]. Four have the delimiter and the topic in front.
    if (count < 2 || count > KV_FRAMES_MAX || frames[count - 2].size != KV_SEQ_SIZE)
        return mp_wrong (error, "replay", "want a seq of 8 bytes and a batch, got %zu frames",
                         count);
    *batch = (kv_numbered_t){.seq = KV_SEQ_END, .payload = frames[count - 1], .replayed = true};
    if (batch->payload.size > 0)  //  Every batch has bytes
        batch->seq = s_get_seq (frames[count - 2]);
    if (count == KV_FRAMES_MAX)
        batch->topic = frames[1];
    return true;
}

//  Where the first frames of a message are. Returns how many it has.
static size_t s_frames (zmsg_t *message, mp_slice_t frames[KV_FRAMES_MAX])
{
    zframe_t *frame = zmsg_first (message);
    for (size_t i = 0; i < KV_FRAMES_MAX && frame; i++, frame = zmsg_next (message))
        frames[i] = s_bytes (frame);
    return zmsg_size (message);
}

bool kv_message_read (zmsg_t *message, kv_numbered_t *batch, mp_error_t *error)
{
    mp_slice_t frames[KV_FRAMES_MAX];
    size_t count = s_frames (message, frames);
    return s_read_live (frames, count, batch, error);
}

zmsg_t *kv_replay_request (uint64_t start)
{
    zmsg_t *message = zmsg_new ();
    s_add_seq (message, start);
    return message;
}

bool kv_replay_request_read (zmsg_t *message, zframe_t **client, uint64_t *start)
{
    if (zmsg_size (message) != 3)
        return false;
    *client = zmsg_first (message);
    *start = s_get_seq (s_bytes (zmsg_last (message)));
    return true;
}

zmsg_t *kv_replay_reply (zframe_t *client, const char *topic, uint64_t seq, zframe_t *payload,
                         kv_wire_t wire)
{
    zmsg_t *message = zmsg_new ();
    s_add_copy (message, client);
    zmsg_addmem (message, NULL, 0);  //  The delimiter, which a REQ at the other end wants
    if (wire == KV_WIRE_V026)
        zmsg_addstr (message, payload ? topic : "");
    s_add_seq (message, payload ? seq : KV_SEQ_END);
    s_add_copy (message, payload);
    return message;
}

int kv_replay_send (zsock_t *router, zframe_t *client, const char *topic, uint64_t seq,
                    zframe_t *payload, kv_wire_t wire)
{
    void *socket = zsock_resolve (router);
    byte bytes[KV_SEQ_SIZE];
    s_put_seq (payload ? seq : KV_SEQ_END, bytes);
    size_t topic_size = payload ? strlen (topic) : 0;
    if (zframe_send (&client, router, ZFRAME_MORE + ZFRAME_REUSE) == -1 ||
        zmq_send (socket, NULL, 0, ZMQ_SNDMORE) == -1 ||
        (wire == KV_WIRE_V026 && zmq_send (socket, topic, topic_size, ZMQ_SNDMORE) == -1) ||
        zmq_send (socket, bytes, sizeof bytes, ZMQ_SNDMORE) == -1)
        return -1;
    return payload ? zframe_send (&payload, router, ZFRAME_REUSE)  //  Shares the bytes
                   : zmq_send (socket, NULL, 0, 0);
}

bool kv_replay_reply_read (zmsg_t *message, kv_numbered_t *batch, mp_error_t *error)
{
    mp_slice_t frames[KV_FRAMES_MAX];
    size_t count = s_frames (message, frames);
    return s_read_reply (frames, count, batch, error);
}

//  -- Without a zmsg_t

kv_frames_t *kv_frames_new (void)
{
    kv_frames_t *self = zmalloc (sizeof *self);
    for (size_t i = 0; i < KV_FRAMES_MAX; i++)
        zmq_msg_init (&self->frames[i]);
    return self;
}

void kv_frames_destroy (kv_frames_t **self_p)
{
    if (*self_p)
        kv_frames_clear (*self_p);
    free (*self_p);
    *self_p = NULL;
}

void kv_frames_clear (kv_frames_t *self)
{
    for (size_t i = 0; i < KV_FRAMES_MAX && i < self->count; i++) {
        zmq_msg_close (&self->frames[i]);
        zmq_msg_init (&self->frames[i]);
    }
    self->count = 0;
}

bool kv_frames_recv (kv_frames_t *self, zsock_t *socket, zmsg_t *copy)
{
    void *handle = zsock_resolve (socket);
    kv_frames_clear (self);
    bool more = true;
    while (more) {
        //  What is too many goes where the last one was: the message is no good anyhow
        zmq_msg_t *frame =
            &self->frames[self->count < KV_FRAMES_MAX ? self->count : KV_FRAMES_MAX - 1];
        if (zmq_msg_recv (frame, handle, 0) == -1)
            return false;  //  The first: the others of a message are there with it
        if (copy)
            zmsg_addmem (copy, zmq_msg_data (frame), zmq_msg_size (frame));
        self->count++;
        more = zmq_msg_more (frame);
    }
    return true;
}

bool kv_frames_read (kv_frames_t *self, bool replayed, kv_numbered_t *batch, mp_error_t *error)
{
    mp_slice_t frames[KV_FRAMES_MAX];
    for (size_t i = 0; i < KV_FRAMES_MAX && i < self->count; i++)
        frames[i] = (mp_slice_t){zmq_msg_data (&self->frames[i]), zmq_msg_size (&self->frames[i])};
    return replayed ? s_read_reply (frames, self->count, batch, error)
                    : s_read_live (frames, self->count, batch, error);
}
