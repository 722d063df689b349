//  SPDX-License-Identifier: MIT

#include "kv_events.h"
#include "mp_put.h"

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
static const char *const stored_fields[] = {NAMES (TEXT_OF), NULL};
static const size_t field_sizes[] = {NAMES (SIZE_OF)};
static const char *const removed_fields[] = {"block_hashes", "medium", "group_idx", "locality",
                                             NULL};
static const char *const no_fields[] = {NULL};

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
    const field_t *order;
    size_t count;
} kinds[] = {{"BlockStored", 11, stored_fields, stored_order, 12},
             {"BlockRemoved", 12, removed_fields, removed_order, 4},
             {"AllBlocksCleared", 16, no_fields, NULL, 0}};

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
    mp_put_str_body (at, slice.data, slice.size);
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
        mp_put_bin_body (at, hash->value.bytes.data, hash->value.bytes.size);
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
    mp_put_str_body (at, name, size);
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
//  In two passes over the message, and without a tree. The first notes where each field of an event
//  begins and ends, whatever order they come in; the second reads them, in the order of the struct.

//  A batch and what it owns
typedef struct {
    kv_batch_t batch;  //  First: the one is the other's address
    kv_event_t events[];
} s_owner_t;

void kv_batch_destroy (kv_batch_t **self_p)
{
    s_owner_t *owner = (s_owner_t *) *self_p;
    if (!owner)
        return;
    for (size_t i = 0; i < owner->batch.event_count; i++) {
        free ((kv_hash_t *) owner->events[i].block_hashes);
        free ((uint32_t *) owner->events[i].token_ids);
    }
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

//  The field of this name, or FIELD_COUNT. Nearly always it is `next`.
static field_t s_find_field (const msgpack_object *key, field_t next)
{
    field_t field = next;
    for (size_t i = 0; i < FIELD_COUNT; i++, field++) {
        if (field >= FIELD_COUNT)
            field = BLOCK_HASHES;
        if (key->via.str.size == field_sizes[field] &&
            memcmp (key->via.str.ptr, stored_fields[field], field_sizes[field]) == 0)
            return field;
    }
    return FIELD_COUNT;
}

//  Of equal keys the last counts, as in Python
static bool s_find_in_map (mp_reader_t *reader, uint32_t count, s_places_t *places)
{
    field_t next = BLOCK_HASHES;
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
        if (key.type != MSGPACK_OBJECT_STR)
            continue;
        if (key.via.str.size == 4 && memcmp (key.via.str.ptr, "type", 4) == 0) {
            places->tag = value;
            continue;
        }
        field_t field = s_find_field (&key, next);
        if (field != FIELD_COUNT) {
            places->fields[field] = value;
            next = field + 1;
        }
    }
    return true;
}

//  True and the object, for a value that is there
static bool s_open (mp_slice_t place, msgpack_object *object, mp_reader_t *reader)
{
    *reader = mp_reader (place.data, place.size);
    return place.data && mp_read (reader, object);
}

//  Sets the kind of an event by its tag
static bool s_get_kind (mp_slice_t place, kv_event_t *event, mp_error_t *error)
{
    msgpack_object tag;
    mp_reader_t reader;
    if (!mp_get_str (s_open (place, &tag, &reader) ? &tag : NULL, "event tag", &event->tag, error))
        return false;
    event->kind = KV_UNKNOWN;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (event->tag.size == kinds[i].tag_size &&
            memcmp (event->tag.data, kinds[i].tag, event->tag.size) == 0)
            event->kind = (kv_event_kind_t) i;
    return true;
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

static bool s_get_slice (const s_places_t *places, field_t field, const char *name,
                         mp_slice_t *value, mp_error_t *error)
{
    msgpack_object object;
    mp_reader_t reader;
    return !s_open (places->fields[field], &object, &reader) || mp_is_nil (&object) ||
           mp_get_str (&object, name, value, error);
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

static bool s_get_number_field (const s_places_t *places, field_t field, const char *name,
                                int64_t *value, mp_error_t *error)
{
    msgpack_object object;
    mp_reader_t reader;
    bool there = s_open (places->fields[field], &object, &reader);
    return s_get_number (there ? &object : NULL, name, value, error);
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

static bool s_get_hashes (const s_places_t *places, const char *name, kv_event_t *event,
                          mp_error_t *error)
{
    msgpack_object object;
    mp_reader_t reader;
    const msgpack_object_array *array;
    bool there = s_open (places->fields[BLOCK_HASHES], &object, &reader);
    if (!mp_get_array (there ? &object : NULL, name, 0, &array, error))
        return false;
    uint32_t count = array->size;
    kv_hash_t *hashes = malloc ((count + 1) * sizeof *hashes);
    if (!hashes)
        return mp_wrong (error, name, "out of memory");
    event->block_hashes = hashes;
    for (event->block_hash_count = 0; event->block_hash_count < count; event->block_hash_count++)
        if (!mp_read (&reader, &object) ||
            !s_get_hash (&object, name, &hashes[event->block_hash_count], error))
            return false;
    return true;
}

static bool s_get_stored (const s_places_t *places, kv_event_t *event, mp_error_t *error)
{
#define FIELD(name, text) places, name, "BlockStored." text
    uint64_t block_size = 0;
    uint32_t *token_ids = NULL;
    msgpack_object object;
    mp_reader_t reader;
    if (!s_get_hashes (places, "BlockStored.block_hashes", event, error))
        return false;
    if (s_open (places->fields[PARENT_BLOCK_HASH], &object, &reader) && !mp_is_nil (&object) &&
        !s_get_hash (&object, "BlockStored.parent_block_hash", &event->parent_block_hash, error))
        return false;
    if (!places->fields[TOKEN_IDS].data)
        return mp_wrong (error, "BlockStored.token_ids", "want an array, got nothing");
    reader = mp_reader (places->fields[TOKEN_IDS].data, places->fields[TOKEN_IDS].size);
    if (!mp_read_uint32s (&reader, "BlockStored.token_ids", &token_ids, &event->token_id_count,
                          error))
        return false;
    event->token_ids = token_ids;
    bool there = s_open (places->fields[BLOCK_SIZE], &object, &reader);
    if (!mp_get_uint (there ? &object : NULL, "BlockStored.block_size", UINT32_MAX, &block_size,
                      error))
        return false;
    event->block_size = (uint32_t) block_size;
    if (s_open (places->fields[EXTRA_KEYS], &object, &reader) && !mp_is_nil (&object))
        event->extra_keys = places->fields[EXTRA_KEYS];
    return s_get_number_field (FIELD (LORA_ID, "lora_id"), &event->lora_id, error) &&
           s_get_slice (FIELD (MEDIUM, "medium"), &event->medium, error) &&
           s_get_slice (FIELD (LORA_NAME, "lora_name"), &event->lora_name, error) &&
           s_get_number_field (FIELD (GROUP_IDX, "group_idx"), &event->group_idx, error) &&
           s_get_slice (FIELD (KV_CACHE_SPEC_KIND, "kv_cache_spec_kind"),
                        &event->kv_cache_spec_kind, error) &&
           s_get_number_field (FIELD (KV_CACHE_SPEC_SLIDING_WINDOW, "kv_cache_spec_sliding_window"),
                               &event->kv_cache_spec_sliding_window, error) &&
           s_get_slice (FIELD (LOCALITY, "locality"), &event->locality, error);
#undef FIELD
}

static bool s_get_removed (const s_places_t *places, kv_event_t *event, mp_error_t *error)
{
    return s_get_hashes (places, "BlockRemoved.block_hashes", event, error) &&
           s_get_slice (places, MEDIUM, "BlockRemoved.medium", &event->medium, error) &&
           s_get_number_field (places, GROUP_IDX, "BlockRemoved.group_idx", &event->group_idx,
                               error) &&
           s_get_slice (places, LOCALITY, "BlockRemoved.locality", &event->locality, error);
}

//  Fills *event, which is all zeroes. What it owns by then is the batch's, whatever happens.
static bool s_get_event (mp_reader_t *reader, kv_event_t *event, mp_error_t *error)
{
    s_places_t places = {.tag = {NULL, 0}};
    msgpack_object object;
    event->lora_id = event->group_idx = event->kv_cache_spec_sliding_window = KV_NONE;
    event->kind = KV_UNKNOWN;
    if (!mp_read (reader, &object))
        return false;
    if (object.type == MSGPACK_OBJECT_ARRAY) {
        if (!s_find_in_array (reader, object.via.array.size, &places, event, error))
            return false;
    } else if ((object.type == MSGPACK_OBJECT_MAP &&
                !s_find_in_map (reader, object.via.map.size, &places)) ||
               !s_get_kind (places.tag, event, error)) {
        return false;
    }
    if (event->kind == KV_BLOCK_STORED)
        return s_get_stored (&places, event, error);
    if (event->kind == KV_BLOCK_REMOVED)
        return s_get_removed (&places, event, error);
    return true;
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
        *event = (kv_event_t){.kind = KV_UNKNOWN};
        ok = s_get_event (reader, event, error);
    }
    if (ok && fields > 2) {
        mp_slice_t rank;
        mp_reader_t at;
        ok = s_pass (reader, &rank) && s_open (rank, &object, &at) &&
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

kv_batch_t *kv_batch_decode (zframe_t *frame, mp_error_t *error)
{
    mp_reader_t reader = mp_reader (zframe_data (frame), zframe_size (frame));
    s_owner_t *owner = s_get_batch (&reader, error);
    if (owner)
        return &owner->batch;
    //  When the whole of it is no good, that is what is wrong, and not some field
    mp_check (zframe_data (frame), zframe_size (frame), "batch", error);
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
static uint64_t s_get_seq (zframe_t *frame)
{
    uint64_t seq = 0;
    for (size_t i = 0; i < zframe_size (frame); i++) {
        if (seq >> 56)
            return UINT64_MAX;
        seq = seq << 8 | zframe_data (frame)[i];
    }
    return seq;
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

bool kv_message_read (zmsg_t *message, uint64_t *seq, zframe_t **payload, mp_error_t *error)
{
    if (zmsg_size (message) != 3)
        return mp_wrong (error, "message", "want topic, seq and batch, got %zu frames",
                         zmsg_size (message));
    (void) zmsg_first (message);  //  The topic
    zframe_t *number = zmsg_next (message);
    if (zframe_size (number) != KV_SEQ_SIZE)
        return mp_wrong (error, "message", "a seq has 8 bytes, this has %zu", zframe_size (number));
    *seq = s_get_seq (number);
    if (*seq == KV_SEQ_END)
        return mp_wrong (error, "message", "its seq is the one that ends a replay");
    *payload = zmsg_next (message);
    return true;
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
    *start = s_get_seq (zmsg_last (message));
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

bool kv_replay_reply_read (zmsg_t *message, uint64_t *seq, zframe_t **payload, mp_error_t *error)
{
    //  Counted from the end: ... [seq][batch]
    size_t size = zmsg_size (message);
    zframe_t *number = zmsg_first (message);
    for (size_t i = 2; i < size; i++)
        number = zmsg_next (message);
    if (size < 2 || size > 4 || zframe_size (number) != KV_SEQ_SIZE)
        return mp_wrong (error, "replay", "want a seq of 8 bytes and a batch, got %zu frames",
                         size);
    *payload = zmsg_last (message);
    *seq = zframe_size (*payload) > 0 ? s_get_seq (number) : KV_SEQ_END;  //  Every batch has bytes
    return true;
}

mp_slice_t kv_message_topic (zmsg_t *message, bool replayed)
{
    zframe_t *topic = zmsg_first (message);
    if (replayed)  //  Behind the delimiter
        topic = zmsg_size (message) == 4 ? zmsg_next (message) : NULL;
    mp_slice_t none = {NULL, 0};
    return topic ? (mp_slice_t){(const char *) zframe_data (topic), zframe_size (topic)} : none;
}
