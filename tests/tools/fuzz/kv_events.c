//  SPDX-License-Identifier: MIT
//  kv_events.c - fuzzes tools/kv/kv_events and kv_json: batches as a publisher's payload

#include "mutate.h"
#include "kv/kv_json.h"

size_t LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max, unsigned seed)
{
    return mutate_msgpack (data, size, max, seed);
}

static bool s_slices_equal (mp_slice_t a, mp_slice_t b)
{
    return a.size == b.size && !a.data == !b.data &&
           (a.size == 0 || memcmp (a.data, b.data, a.size) == 0);
}

static bool s_hashes_equal (const kv_hash_t *a, const kv_hash_t *b)
{
    if (a->kind != b->kind)
        return false;
    if (a->kind == KV_HASH_BYTES)
        return s_slices_equal (a->value.bytes, b->value.bytes);
    return a->kind == KV_HASH_NONE || a->value.u == b->value.u;
}

static bool s_events_equal (const kv_event_t *a, const kv_event_t *b)
{
    bool same = a->kind == b->kind && a->block_hash_count == b->block_hash_count &&
                a->token_id_count == b->token_id_count && a->block_size == b->block_size &&
                a->lora_id == b->lora_id && a->group_idx == b->group_idx &&
                a->kv_cache_spec_sliding_window == b->kv_cache_spec_sliding_window &&
                s_hashes_equal (&a->parent_block_hash, &b->parent_block_hash) &&
                s_slices_equal (a->medium, b->medium) &&
                s_slices_equal (a->lora_name, b->lora_name) &&
                s_slices_equal (a->extra_keys, b->extra_keys) &&
                s_slices_equal (a->kv_cache_spec_kind, b->kv_cache_spec_kind) &&
                s_slices_equal (a->locality, b->locality);
    for (size_t i = 0; same && i < a->block_hash_count; i++)
        same = s_hashes_equal (&a->block_hashes[i], &b->block_hashes[i]);
    for (size_t i = 0; same && i < a->token_id_count; i++)
        same = a->token_ids[i] == b->token_ids[i];
    return same;
}

static mp_slice_t s_bytes (zframe_t *frame)
{
    return (mp_slice_t){(const char *) zframe_data (frame), zframe_size (frame)};
}

//  Written in today's shape and read again, the known events are the same
static void s_round_trip (const kv_batch_t *batch)
{
    mp_error_t error;
    zframe_t *frame = kv_batch_encode (batch, KV_WIRE_V026);
    kv_batch_t *again = kv_batch_decode (s_bytes (frame), &error);
    DEMAND (again);
    //  A float32 becomes a float64; a NaN is not equal to itself
    DEMAND (memcmp (&again->ts, &batch->ts, sizeof batch->ts) == 0 || isnan (batch->ts));
    DEMAND (again->data_parallel_rank == batch->data_parallel_rank);
    size_t known = 0;
    for (size_t i = 0; i < batch->event_count; i++)
        if (batch->events[i].kind != KV_UNKNOWN)
            DEMAND (known < again->event_count &&
                    s_events_equal (&batch->events[i], &again->events[known++]));
    DEMAND (known == again->event_count);
    kv_batch_destroy (&again);
    DEMAND (!again);
    zframe_destroy (&frame);
    //  The older shapes can say less, but what they say can be read
    for (int wire = KV_WIRE_V09; wire <= KV_WIRE_V024; wire++) {
        frame = kv_batch_encode (batch, (kv_wire_t) wire);
        again = kv_batch_decode (s_bytes (frame), &error);
        DEMAND (again && again->event_count == known);
        kv_batch_destroy (&again);
        zframe_destroy (&frame);
    }
}

//  Of each event in the JSON line there is one "type", and it is the tag
static void s_check_tags (const char *line, const kv_batch_t *batch)
{
    const char *at = strstr (line, "\"events\":[");
    DEMAND (at || batch->event_count == 0);
    for (size_t i = 0; i < batch->event_count && i < 1; i++) {
        text_t tag = {NULL, 0, 0};
        msgpack_object object = {.type = MSGPACK_OBJECT_STR,
                                 .via.str = {.ptr = batch->events[i].tag.data,
                                             .size = (uint32_t) batch->events[i].tag.size}};
        text_put_literal (&tag, "\"events\":[{\"type\":");
        mp_print_json (&tag, &object);
        DEMAND (strncmp (at, tag.data, tag.size) == 0);
        text_destroy (&tag);
    }
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    zframe_t *payload = zframe_new (data, size);
    kv_numbered_t numbered = {.seq = 7,
                              .topic = {"kv@\"\xff\n", 6},
                              .payload = s_bytes (payload),
                              .replayed = size % 3 == 0};
    mp_error_t error = {.text = ""};
    kv_batch_t *batch = kv_batch_decode (numbered.payload, &error);
    text_t line = {NULL, 0, 0}, again = {NULL, 0, 0};
    //  The endpoint is one that a shell would not like
    kv_json_t how = {.endpoint = size % 2 ? "ipc:///\"" : NULL, .string_hashes = size % 4 > 1};
    mp_error_t why = {.text = ""};
    bool printed = kv_batch_print_json (&line, &numbered, &how, &why);
    text_put_char (&line, 0);
    const char *text = line.data;
    line.size--;
    //  Printing takes all that decoding takes, but for values that are nested too deeply
    bool whole = mp_check (data, size, "", NULL) == 0;
    DEMAND (!batch || !whole || printed);
    //  What was found sound is not checked again, and prints the same
    kv_payload_rank (&numbered);
    DEMAND (!numbered.sound || printed);
    DEMAND (kv_payload_check (&numbered, NULL) == printed);
    DEMAND (kv_batch_print_json (&again, &numbered, &how, NULL) == printed);
    DEMAND (!printed || fuzz_same_text (&line, &again));
    text_destroy (&again);
    char *described = kv_payload_describe (&numbered, NULL);
    DEMAND ((described != NULL) == printed);
    zstr_free (&described);
    if (printed) {
        DEMAND (line.size > 0 && text[line.size - 1] == '\n');
        DEMAND (fuzz_is_clean (text, line.size - 1));
        DEMAND (fuzz_json_value (text, text + line.size) == text + line.size - 1);
    } else {
        DEMAND (line.size == 0);
        fuzz_is_told (&why);
    }
    if (batch && printed) {
        s_check_tags (text, batch);
        described = kv_batch_describe (batch);
        DEMAND (described);
        zstr_free (&described);
        s_round_trip (batch);
    }
    text_destroy (&line);
    kv_batch_destroy (&batch);
    zframe_destroy (&payload);
    return 0;
}
