//  SPDX-License-Identifier: MIT

#include "kv/kv_events_own.h"
#include "lib/mp_put.h"

const char *const *kv_event_fields (kv_event_kind_t kind)
{
    return kind == KV_UNKNOWN ? no_fields : kinds[kind].fields;
}

kv_wire_t kv_wire_from_name (const char *name)
{
    static const char *const names[] = {"v0.9", "v0.24", "v0.26"};  //  In the order of kv_wire_t
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (streq (name, names[i]))
            return (kv_wire_t) i;
    return KV_WIRE_V033;
}

//  -- Encode

//  What an event takes up without its hashes, tokens and slices: the names of its fields above all
#define EVENT_BOUND 480

//  And a batch without its events
#define BATCH_BOUND 40

//  A batch of up to 64 blocks is packed on the stack, in this many bytes
#define SMALL 8192

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
    case OWNERSHIP:
        s_put_slice (at, event->ownership);
        break;
    case SESSION_ID:
        s_put_slice (at, event->session_id);
        break;
    case LOOKAHEAD_TOKEN_IDS:
        mp_put_bytes (at, event->lookahead_token_ids.data, event->lookahead_token_ids.size);
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
    case OWNERSHIP:
        return !event->ownership.data;
    case SESSION_ID:
        return !event->session_id.data;
    case LOOKAHEAD_TOKEN_IDS:
        return !event->lookahead_token_ids.data;
    default:
        return false;
    }
}

static void s_put_name (char **at, const char *name, size_t size)
{
    mp_put_str (at, size);
    mp_put_bytes (at, name, size);
}

//  False for a field that this generation did not have
static bool s_is_known (field_t field, kv_wire_t wire)
{
    return field < LOCALITY || wire == KV_WIRE_V033 || (field == LOCALITY && wire == KV_WIRE_V026);
}

//  The head of a map of `count` pairs. msgspec chooses its form by how many fields the struct has:
//  with the tag and 15 more, as BlockStored of v0.33, it is the 16-bit form even for few pairs.
static void s_put_map_head (char **at, size_t count, bool wide)
{
    const char head[] = {(char) 0xde, 0, (char) count};
    if (wide)
        mp_put_bytes (at, head, sizeof head);
    else
        mp_put_map (at, count);
}

static void s_put_event_map (char **at, const kv_event_t *event, kv_wire_t wire)
{
    field_t kept[FIELD_COUNT];
    size_t count = 0;
    for (size_t i = 0; i < kinds[event->kind].count; i++) {
        field_t field = kinds[event->kind].order[i];
        if (!s_is_omitted (event, field) && s_is_known (field, wire))
            kept[count++] = field;
    }
    s_put_map_head (at, count + 1, wire == KV_WIRE_V033 && event->kind == KV_BLOCK_STORED);
    mp_put_text (at, "type");
    s_put_name (at, kinds[event->kind].tag, kinds[event->kind].tag_size);
    for (size_t i = 0; i < count; i++) {
        s_put_name (at, field_names[kept[i]], field_sizes[kept[i]]);
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
                   event->extra_keys.size + event->kv_cache_spec_kind.size + event->locality.size +
                   event->ownership.size + event->session_id.size + event->lookahead_token_ids.size;
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
    char small[SMALL], *large = bound > sizeof small ? malloc (bound) : NULL;
    char *bytes = large ? large : small, *at = bytes;
    assert (large || bound <= sizeof small);
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
    zframe_t *payload = zframe_new (bytes, (size_t) (at - bytes));
    free (large);
    return payload;
}

//  -- For a reader

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
