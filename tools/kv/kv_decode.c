//  SPDX-License-Identifier: MIT

#include "kv/kv_events_own.h"

//  Reads a batch without a tree. An event whose fields come in the order of the struct, as msgspec
//  writes them, is read as it comes. Any other takes two passes: the first notes where each field
//  begins and ends, the second reads them in that order, and says what is wrong.

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
    return s_is_text (key, field_names[field], field_sizes[field]);
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
        if (event->kind != KV_UNKNOWN && i <= kinds[event->kind].array_count)
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
    if (field == EXTRA_KEYS || field == LOOKAHEAD_TOKEN_IDS) {
        mp_slice_t *bytes = field == EXTRA_KEYS ? &event->extra_keys : &event->lookahead_token_ids;
        if (!mp_skip (reader))
            return false;
        if ((byte) *start != 0xc0)  //  Nil
            *bytes = (mp_slice_t){start, (size_t) ((const char *) reader->at - start)};
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
    case OWNERSHIP:
        return mp_is_nil (&object) || mp_get_str (&object, name, &event->ownership, error);
    case SESSION_ID:
        return mp_is_nil (&object) || mp_get_str (&object, name, &event->session_id, error);
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
    const field_t *next = kinds[event->kind].order,
                  *end =
                      next + (is_map ? kinds[event->kind].count : kinds[event->kind].array_count);
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
    //  If the whole is not valid msgpack, report that and not a field
    mp_check (payload.data, payload.size, "batch", error);
    return NULL;
}
