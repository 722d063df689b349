//  SPDX-License-Identifier: MIT

#include "kv_events.h"

//  The fields of each event in the order of its struct: places in an array, keys of a map
static const char *const stored_fields[] = {"block_hashes",
                                            "parent_block_hash",
                                            "token_ids",
                                            "block_size",
                                            "lora_id",
                                            "medium",
                                            "lora_name",
                                            "extra_keys",
                                            "group_idx",
                                            "kv_cache_spec_kind",
                                            "kv_cache_spec_sliding_window",
                                            "locality",
                                            NULL};
static const char *const removed_fields[] = {"block_hashes", "medium", "group_idx", "locality",
                                             NULL};
static const char *const no_fields[] = {NULL};

//  By kv_event_kind_t
static const struct {
    const char *tag;
    const char *const *fields;
} kinds[] = {{"BlockStored", stored_fields},
             {"BlockRemoved", removed_fields},
             {"AllBlocksCleared", no_fields}};

const char *const *kv_event_fields (kv_event_kind_t kind)
{
    return kind == KV_UNKNOWN ? no_fields : kinds[kind].fields;
}

kv_wire_t kv_wire_from_name (const char *name)
{
    return streq (name, "v0.9") ? KV_WIRE_V09 : streq (name, "v0.24") ? KV_WIRE_V024 : KV_WIRE_V026;
}

//  -- Encode

static void s_pack_slice (msgpack_packer *packer, mp_slice_t slice)
{
    if (slice.data)
        msgpack_pack_str_with_body (packer, slice.data, slice.size);
    else
        msgpack_pack_nil (packer);
}

static void s_pack_number (msgpack_packer *packer, int64_t number)
{
    if (number == KV_NONE)
        msgpack_pack_nil (packer);
    else
        msgpack_pack_int64 (packer, number);
}

static void s_pack_hash (msgpack_packer *packer, const kv_hash_t *hash)
{
    switch (hash->kind) {
    case KV_HASH_NONE:
        msgpack_pack_nil (packer);
        break;
    case KV_HASH_UINT:
        msgpack_pack_uint64 (packer, hash->value.u);
        break;
    case KV_HASH_INT:
        msgpack_pack_int64 (packer, hash->value.i);
        break;
    case KV_HASH_BYTES:
        msgpack_pack_bin_with_body (packer, hash->value.bytes.data, hash->value.bytes.size);
        break;
    }
}

static void s_pack_hashes (msgpack_packer *packer, const kv_event_t *event)
{
    msgpack_pack_array (packer, event->block_hash_count);
    for (size_t i = 0; i < event->block_hash_count; i++)
        s_pack_hash (packer, &event->block_hashes[i]);
}

//  The value of one field, by its name
static void s_pack_field (msgpack_packer *packer, const kv_event_t *event, const char *name)
{
    if (streq (name, "block_hashes")) {
        s_pack_hashes (packer, event);
    } else if (streq (name, "parent_block_hash")) {
        s_pack_hash (packer, &event->parent_block_hash);
    } else if (streq (name, "token_ids")) {
        msgpack_pack_array (packer, event->token_id_count);
        for (size_t i = 0; i < event->token_id_count; i++)
            msgpack_pack_uint32 (packer, event->token_ids[i]);
    } else if (streq (name, "block_size")) {
        msgpack_pack_uint32 (packer, event->block_size);
    } else if (streq (name, "lora_id")) {
        s_pack_number (packer, event->lora_id);
    } else if (streq (name, "medium")) {
        s_pack_slice (packer, event->medium);
    } else if (streq (name, "lora_name")) {
        s_pack_slice (packer, event->lora_name);
    } else if (streq (name, "extra_keys")) {
        packer->callback (packer->data, event->extra_keys.data, event->extra_keys.size);
    } else if (streq (name, "group_idx")) {
        s_pack_number (packer, event->group_idx);
    } else if (streq (name, "kv_cache_spec_kind")) {
        s_pack_slice (packer, event->kv_cache_spec_kind);
    } else if (streq (name, "kv_cache_spec_sliding_window")) {
        s_pack_number (packer, event->kv_cache_spec_sliding_window);
    } else {
        s_pack_slice (packer, event->locality);
    }
}

//  True for a field that msgspec's omit_defaults leaves out of a map: its default is None, and that
//  is its value
static bool s_is_omitted (const kv_event_t *event, const char *name)
{
    if (streq (name, "extra_keys"))
        return !event->extra_keys.data;
    if (streq (name, "group_idx"))
        return event->group_idx == KV_NONE;
    if (streq (name, "kv_cache_spec_kind"))
        return !event->kv_cache_spec_kind.data;
    if (streq (name, "kv_cache_spec_sliding_window"))
        return event->kv_cache_spec_sliding_window == KV_NONE;
    if (streq (name, "locality"))
        return !event->locality.data;
    return false;
}

static void s_pack_event_map (msgpack_packer *packer, const kv_event_t *event, kv_wire_t wire)
{
    const char *const *fields = kinds[event->kind].fields;
    const char *kept[sizeof stored_fields / sizeof stored_fields[0]];
    size_t count = 0;
    for (; *fields; fields++)
        if (!s_is_omitted (event, *fields) &&
            !(wire == KV_WIRE_V024 && streq (*fields, "locality")))
            kept[count++] = *fields;
    msgpack_pack_map (packer, count + 1);
    mp_pack_str (packer, "type");
    mp_pack_str (packer, kinds[event->kind].tag);
    for (size_t i = 0; i < count; i++) {
        mp_pack_str (packer, kept[i]);
        s_pack_field (packer, event, kept[i]);
    }
}

//  v0.9.0: BlockStored ended with lora_id, BlockRemoved with block_hashes
static void s_pack_event_array (msgpack_packer *packer, const kv_event_t *event)
{
    static const size_t field_counts[] = {5, 1, 0};
    size_t count = field_counts[event->kind];
    msgpack_pack_array (packer, count + 1);
    mp_pack_str (packer, kinds[event->kind].tag);
    for (size_t i = 0; i < count; i++)
        s_pack_field (packer, event, kinds[event->kind].fields[i]);
}

zframe_t *kv_batch_encode (const kv_batch_t *batch, kv_wire_t wire)
{
    size_t known = 0;
    for (size_t i = 0; i < batch->event_count; i++)
        known += batch->events[i].kind != KV_UNKNOWN;

    mp_writer_t writer;
    msgpack_packer *packer = mp_begin (&writer);
    msgpack_pack_array (packer, wire == KV_WIRE_V09 ? 2 : 3);
    msgpack_pack_double (packer, batch->ts);
    msgpack_pack_array (packer, known);
    for (size_t i = 0; i < batch->event_count; i++) {
        if (batch->events[i].kind == KV_UNKNOWN)
            continue;
        if (wire == KV_WIRE_V09)
            s_pack_event_array (packer, &batch->events[i]);
        else
            s_pack_event_map (packer, &batch->events[i], wire);
    }
    if (wire != KV_WIRE_V09)
        s_pack_number (packer, batch->data_parallel_rank);
    return mp_end (&writer);
}

//  -- Decode

//  A batch and what it owns
typedef struct {
    kv_batch_t batch;  //  First: the one is the other's address
    kv_event_t *events;
} s_owner_t;

void kv_batch_destroy (kv_batch_t **self_p)
{
    s_owner_t *owner = (s_owner_t *) *self_p;
    if (!owner)
        return;
    for (size_t i = 0; i < owner->batch.event_count; i++) {
        free ((kv_hash_t *) owner->events[i].block_hashes);
        free ((uint32_t *) owner->events[i].token_ids);
        free ((char *) owner->events[i].extra_keys.data);
    }
    free (owner->events);
    free (owner);
    *self_p = NULL;
}

//  Field `name` of an event of either shape; NULL when it is not there
static const msgpack_object *s_field (const msgpack_object *event, const char *const *fields,
                                      const char *name)
{
    if (event->type == MSGPACK_OBJECT_MAP)
        return mp_find (&event->via.map, name);
    for (uint32_t i = 0; fields[i]; i++)
        if (streq (fields[i], name))
            return i + 1 < event->via.array.size ? &event->via.array.ptr[i + 1] : NULL;
    return NULL;
}

static bool s_get_slice (const msgpack_object *object, const char *field, mp_slice_t *value,
                         mp_error_t *error)
{
    return mp_is_nil (object) || mp_get_str (object, field, value, error);
}

static bool s_get_number (const msgpack_object *object, const char *field, int64_t *value,
                          mp_error_t *error)
{
    uint64_t number = 0;
    *value = KV_NONE;
    if (mp_is_nil (object))
        return true;
    if (!mp_get_uint (object, field, INT64_MAX, &number, error))
        return false;
    *value = (int64_t) number;
    return true;
}

static bool s_get_hash (const msgpack_object *object, const char *field, kv_hash_t *hash,
                        mp_error_t *error)
{
    if (object && object->type == MSGPACK_OBJECT_POSITIVE_INTEGER)
        *hash = (kv_hash_t){.kind = KV_HASH_UINT, .value.u = object->via.u64};
    else if (object && object->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)
        *hash = (kv_hash_t){.kind = KV_HASH_INT, .value.i = object->via.i64};
    else if (object && object->type == MSGPACK_OBJECT_BIN)
        *hash = (kv_hash_t){.kind = KV_HASH_BYTES,
                            .value.bytes = {object->via.bin.ptr, object->via.bin.size}};
    else
        return mp_wrong (error, field, "want an integer or bin");
    return true;
}

static bool s_get_hashes (const msgpack_object *object, const char *field, kv_event_t *event,
                          mp_error_t *error)
{
    const msgpack_object_array *array;
    if (!mp_get_array (object, field, 0, &array, error))
        return false;
    kv_hash_t *hashes = zmalloc ((array->size + 1) * sizeof *hashes);
    event->block_hashes = hashes;
    event->block_hash_count = array->size;
    for (uint32_t i = 0; i < array->size; i++)
        if (!s_get_hash (&array->ptr[i], field, &hashes[i], error))
            return false;
    return true;
}

//  Whatever the field holds, as msgpack
static bool s_get_raw (const msgpack_object *object, mp_slice_t *value)
{
    if (mp_is_nil (object))
        return true;
    msgpack_sbuffer bytes;
    msgpack_packer packer;
    msgpack_sbuffer_init (&bytes);
    msgpack_packer_init (&packer, &bytes, msgpack_sbuffer_write);
    if (msgpack_pack_object (&packer, *object) != 0) {
        msgpack_sbuffer_destroy (&bytes);
        return false;
    }
    value->size = bytes.size;
    value->data = msgpack_sbuffer_release (&bytes);
    return true;
}

static bool s_get_stored (const msgpack_object *object, kv_event_t *event, mp_error_t *error)
{
#define FIELD(name) s_field (object, stored_fields, name), "BlockStored." name
    const msgpack_object *parent = s_field (object, stored_fields, "parent_block_hash");
    uint64_t block_size = 0;
    uint32_t *token_ids = NULL;
    bool ok = s_get_hashes (FIELD ("block_hashes"), event, error) &&
              (mp_is_nil (parent) || s_get_hash (parent, "BlockStored.parent_block_hash",
                                                 &event->parent_block_hash, error)) &&
              mp_get_uint32s (FIELD ("token_ids"), &token_ids, &event->token_id_count, error) &&
              mp_get_uint (FIELD ("block_size"), UINT32_MAX, &block_size, error);
    event->token_ids = token_ids;
    event->block_size = (uint32_t) block_size;
    return ok && s_get_number (FIELD ("lora_id"), &event->lora_id, error) &&
           s_get_slice (FIELD ("medium"), &event->medium, error) &&
           s_get_slice (FIELD ("lora_name"), &event->lora_name, error) &&
           s_get_raw (s_field (object, stored_fields, "extra_keys"), &event->extra_keys) &&
           s_get_number (FIELD ("group_idx"), &event->group_idx, error) &&
           s_get_slice (FIELD ("kv_cache_spec_kind"), &event->kv_cache_spec_kind, error) &&
           s_get_number (FIELD ("kv_cache_spec_sliding_window"),
                         &event->kv_cache_spec_sliding_window, error) &&
           s_get_slice (FIELD ("locality"), &event->locality, error);
#undef FIELD
}

static bool s_get_removed (const msgpack_object *object, kv_event_t *event, mp_error_t *error)
{
#define FIELD(name) s_field (object, removed_fields, name), "BlockRemoved." name
    return s_get_hashes (FIELD ("block_hashes"), event, error) &&
           s_get_slice (FIELD ("medium"), &event->medium, error) &&
           s_get_number (FIELD ("group_idx"), &event->group_idx, error) &&
           s_get_slice (FIELD ("locality"), &event->locality, error);
#undef FIELD
}

//  Fills *event, which is all zeroes. What it owns by then is the batch's, whatever happens.
static bool s_get_event (const msgpack_object *object, kv_event_t *event, mp_error_t *error)
{
    const msgpack_object *tag = NULL;
    if (object->type == MSGPACK_OBJECT_MAP)
        tag = mp_find (&object->via.map, "type");
    else if (object->type == MSGPACK_OBJECT_ARRAY && object->via.array.size > 0)
        tag = &object->via.array.ptr[0];
    if (!mp_get_str (tag, "event tag", &event->tag, error))
        return false;
    event->lora_id = event->group_idx = event->kv_cache_spec_sliding_window = KV_NONE;
    event->kind = KV_UNKNOWN;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (event->tag.size == strlen (kinds[i].tag) &&
            memcmp (event->tag.data, kinds[i].tag, event->tag.size) == 0)
            event->kind = (kv_event_kind_t) i;
    if (event->kind == KV_BLOCK_STORED)
        return s_get_stored (object, event, error);
    if (event->kind == KV_BLOCK_REMOVED)
        return s_get_removed (object, event, error);
    return true;
}

static bool s_get_batch (const msgpack_object *object, s_owner_t *owner, mp_error_t *error)
{
    const msgpack_object_array *batch, *events;
    if (!mp_get_array (object, "batch", 2, &batch, error) ||
        !mp_get_double (&batch->ptr[0], "batch.ts", &owner->batch.ts, error) ||
        !mp_get_array (&batch->ptr[1], "batch.events", 0, &events, error) ||
        !s_get_number (batch->size > 2 ? &batch->ptr[2] : NULL, "batch.data_parallel_rank",
                       &owner->batch.data_parallel_rank, error))
        return false;
    if (events->size > KV_MAX_EVENTS)
        return mp_wrong (error, "batch.events", "%u are more than %u", events->size, KV_MAX_EVENTS);
    owner->events = zmalloc ((events->size + 1) * sizeof *owner->events);
    owner->batch.events = owner->events;
    owner->batch.event_count = events->size;
    for (uint32_t i = 0; i < events->size; i++)
        if (!s_get_event (&events->ptr[i], &owner->events[i], error))
            return false;
    return true;
}

kv_batch_t *kv_batch_decode (zframe_t *frame, mp_error_t *error)
{
    msgpack_unpacked doc;
    if (mp_decode (&doc, zframe_data (frame), zframe_size (frame), "batch", error) == -1)
        return NULL;
    s_owner_t *owner = zmalloc (sizeof *owner);
    kv_batch_t *self = &owner->batch;
    if (!s_get_batch (&doc.data, owner, error))
        kv_batch_destroy (&self);
    msgpack_unpacked_destroy (&doc);
    return self;
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

static void s_add_seq (zmsg_t *message, uint64_t seq)
{
    byte bytes[KV_SEQ_SIZE];
    for (int i = KV_SEQ_SIZE - 1; i >= 0; i--, seq >>= 8)
        bytes[i] = (byte) (seq & 0xff);
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
