//  SPDX-License-Identifier: MIT

#include "unit.h"
#include "vectors.h"

#include "kv/kv_events.h"
#include "kv/toy_cache.h"

#define TS 1789095808.83

//  -- The vectors, as our structs

#define UINT_HASH(n)                                                                               \
    {                                                                                              \
        .kind = KV_HASH_UINT, .value.u = (n)                                                       \
    }
#define INT_HASH(n)                                                                                \
    {                                                                                              \
        .kind = KV_HASH_INT, .value.i = (n)                                                        \
    }
#define BYTES_HASH(s)                                                                              \
    {                                                                                              \
        .kind = KV_HASH_BYTES, .value.bytes = {(s), 32 }                                           \
    }
#define SLICE(s)                                                                                   \
    {                                                                                              \
        (s), sizeof (s) - 1                                                                        \
    }

//  Of a real capture; above 2^63
#define REAL_HASH 15760518052499183552u

//  1000, 1001, ... 1031
static uint32_t tokens[32];

static const kv_hash_t real_hash = UINT_HASH (REAL_HASH);
static const kv_hash_t hash_2 = UINT_HASH (2);
static const kv_hash_t two_hashes[] = {UINT_HASH (REAL_HASH), UINT_HASH (1)};
static const kv_hash_t small_hashes[] = {UINT_HASH (1), UINT_HASH (2)};
static const kv_hash_t negative_hashes[] = {INT_HASH (INT64_MIN), UINT_HASH (INT64_MAX)};
static const kv_hash_t negative_hash = INT_HASH (-2686225562210368064);
static const kv_hash_t bytes_hash =
    BYTES_HASH ("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"
                "\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f");

//  A BlockStored of `hashes`, with what most of them have
#define STORED(hashes, count, ...)                                                                 \
    {                                                                                              \
        .kind = KV_BLOCK_STORED, .tag = SLICE ("BlockStored"), .block_hashes = (hashes),           \
        .block_hash_count = (count), .token_ids = tokens, .token_id_count = 16 * (count),          \
        .block_size = 16, __VA_ARGS__                                                              \
    }
#define REMOVED(hash, ...)                                                                         \
    {                                                                                              \
        .kind = KV_BLOCK_REMOVED, .tag = SLICE ("BlockRemoved"), .block_hashes = (hash),           \
        .block_hash_count = 1, __VA_ARGS__                                                         \
    }
#define CLEARED                                                                                    \
    {                                                                                              \
        .kind = KV_ALL_BLOCKS_CLEARED, .tag = SLICE ("AllBlocksCleared")                           \
    }
//  What came after v0.9.0
#define ON_GPU                                                                                     \
    .lora_id = KV_NONE, .medium = SLICE ("GPU"), .group_idx = 0,                                   \
    .kv_cache_spec_kind = SLICE ("full_attention"), .kv_cache_spec_sliding_window = KV_NONE
#define OF_V9 .group_idx = KV_NONE, .kv_cache_spec_sliding_window = KV_NONE

static const kv_event_t stored_two[] = {
    STORED (two_hashes, 2, ON_GPU, .extra_keys = SLICE ("\x92\xc0\xc0"))};
static const kv_event_t mixed[] = {
    STORED (&hash_2, 1, ON_GPU, .parent_block_hash = UINT_HASH (1),
            .extra_keys = SLICE ("\x91\xc0")),
    REMOVED (&real_hash, .medium = SLICE ("GPU"), .group_idx = 0),
    CLEARED,
};
static const kv_event_t bytes_hashes[] = {
    STORED (&bytes_hash, 1, ON_GPU,
            .parent_block_hash =
                BYTES_HASH ("\xe0\xe1\xe2\xe3\xe4\xe5\xe6\xe7\xe8\xe9\xea\xeb\xec\xed\xee\xef"
                            "\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9\xfa\xfb\xfc\xfd\xfe\xff"),
            .extra_keys = SLICE ("\x91\xc0")),
    REMOVED (&bytes_hash, .medium = SLICE ("GPU"), .group_idx = 0),
};
static const kv_event_t lora[] = {
    STORED (&real_hash, 1, .lora_id = 5, .medium = SLICE ("CPU"), .lora_name = SLICE ("sql"),
            .extra_keys = SLICE ("\x91\x91\x92\xa5img-1\x03"), .group_idx = 0,
            .kv_cache_spec_kind = SLICE ("sliding_window"), .kv_cache_spec_sliding_window = 4096,
            .locality = SLICE ("REMOTE")),
};
static const kv_event_t cleared[] = {CLEARED};
static const kv_event_t stored_v33[] = {STORED (two_hashes, 2, .lora_id = KV_NONE, .group_idx = 0,
                                                .medium = SLICE ("GPU"),
                                                .kv_cache_spec_sliding_window = KV_NONE)};
static const kv_event_t all_v33[] = {
    STORED (&real_hash, 1, .lora_id = 5, .medium = SLICE ("STORAGE"), .lora_name = SLICE ("sql"),
            .extra_keys = SLICE ("\x91\x91\x92\xa5img-1\x03"), .group_idx = 0,
            .kv_cache_spec_kind = SLICE ("sliding_window"), .kv_cache_spec_sliding_window = 4096,
            .locality = SLICE ("REMOTE"), .ownership = SLICE ("tier-1"),
            .session_id = SLICE ("session-7"),
            .lookahead_token_ids = SLICE ("\x91\x91\xcd\x03\xf8")),
    REMOVED (&real_hash, .medium = SLICE ("GPU"), .group_idx = 0, .locality = SLICE ("LOCAL"),
             .ownership = SLICE ("tier-1")),
    CLEARED,
};
static const kv_event_t sliding[] = {
    STORED (two_hashes, 2, .lora_id = KV_NONE, .medium = SLICE ("GPU"),
            .extra_keys = SLICE ("\x92\xc0\xc0"), .group_idx = 0,
            .kv_cache_spec_kind = SLICE ("sliding_window"), .kv_cache_spec_sliding_window = 4096),
};
static const kv_event_t stored_v9[] = {STORED (small_hashes, 2, .lora_id = KV_NONE, OF_V9)};
static const kv_event_t mixed_v9[] = {
    STORED (negative_hashes, 2, .lora_id = 5, .parent_block_hash = INT_HASH (-2686225562210368064),
            OF_V9),
    REMOVED (&negative_hash, .group_idx = KV_NONE),
    CLEARED,
};

//  A vector and what it holds. `wire` is KV_WIRE_NONE for one that our encoder does not make.
#define KV_WIRE_NONE ((kv_wire_t) 99)
typedef struct {
    vector_t vector;
    kv_wire_t wire;
    kv_batch_t batch;
} case_t;

#define CASES                                                                                      \
    {                                                                                              \
        {VECTOR (KV_STORED_V26), KV_WIRE_V026, {TS, stored_two, COUNT (stored_two), 0}},           \
            {VECTOR (KV_MIXED_V26), KV_WIRE_V026, {TS, mixed, COUNT (mixed), 3}},                  \
            {VECTOR (KV_BYTES_HASHES_V26),                                                         \
             KV_WIRE_V026,                                                                         \
             {TS, bytes_hashes, COUNT (bytes_hashes), 0}},                                         \
            {VECTOR (KV_LORA_V26), KV_WIRE_V026, {TS, lora, COUNT (lora), 0}},                     \
            {VECTOR (KV_NO_RANK), KV_WIRE_V026, {TS, cleared, COUNT (cleared), KV_NONE}},          \
            {VECTOR (KV_STORED_V24), KV_WIRE_V024, {TS, stored_two, COUNT (stored_two), 0}},       \
            {VECTOR (KV_STORED_V23), KV_WIRE_NONE, {TS, sliding, COUNT (sliding), 0}},             \
            {VECTOR (KV_STORED_V9), KV_WIRE_V09, {TS, stored_v9, COUNT (stored_v9), KV_NONE}},     \
            {VECTOR (KV_MIXED_V9), KV_WIRE_V09, {TS, mixed_v9, COUNT (mixed_v9), KV_NONE}},        \
            {VECTOR (KV_STORED_V33), KV_WIRE_V033, {TS, stored_v33, COUNT (stored_v33), 0}},       \
            {VECTOR (KV_ALL_V33), KV_WIRE_V033, {TS, all_v33, COUNT (all_v33), 0}},                \
    }

static int s_setup (void **state)
{
    for (uint32_t i = 0; i < COUNT (tokens); i++)
        tokens[i] = 1000 + i;
    return 0;
}

//  -- Comparison

static void s_same_slice (mp_slice_t slice, mp_slice_t want)
{
    assert_int_equal (!slice.data, !want.data);
    assert_int_equal (slice.size, want.size);
    if (want.size > 0)
        assert_memory_equal (slice.data, want.data, want.size);
}

static void s_same_hash (const kv_hash_t *hash, const kv_hash_t *want)
{
    assert_int_equal (hash->kind, want->kind);
    if (want->kind == KV_HASH_UINT)
        assert_true (hash->value.u == want->value.u);
    else if (want->kind == KV_HASH_INT)
        assert_true (hash->value.i == want->value.i);
    else if (want->kind == KV_HASH_BYTES)
        s_same_slice (hash->value.bytes, want->value.bytes);
}

//  What an event of its kind uses
static void s_same_event (const kv_event_t *event, const kv_event_t *want)
{
    assert_int_equal (event->kind, want->kind);
    s_same_slice (event->tag, want->tag);
    if (want->kind != KV_BLOCK_STORED && want->kind != KV_BLOCK_REMOVED)
        return;
    assert_int_equal (event->block_hash_count, want->block_hash_count);
    for (size_t i = 0; i < want->block_hash_count; i++)
        s_same_hash (&event->block_hashes[i], &want->block_hashes[i]);
    s_same_slice (event->medium, want->medium);
    assert_true (event->group_idx == want->group_idx);
    s_same_slice (event->locality, want->locality);
    s_same_slice (event->ownership, want->ownership);
    if (want->kind == KV_BLOCK_REMOVED)
        return;
    s_same_hash (&event->parent_block_hash, &want->parent_block_hash);
    assert_int_equal (event->token_id_count, want->token_id_count);
    if (want->token_id_count > 0)
        assert_memory_equal (event->token_ids, want->token_ids,
                             want->token_id_count * sizeof *want->token_ids);
    assert_int_equal (event->block_size, want->block_size);
    assert_true (event->lora_id == want->lora_id);
    s_same_slice (event->lora_name, want->lora_name);
    s_same_slice (event->extra_keys, want->extra_keys);
    s_same_slice (event->session_id, want->session_id);
    s_same_slice (event->lookahead_token_ids, want->lookahead_token_ids);
    s_same_slice (event->kv_cache_spec_kind, want->kv_cache_spec_kind);
    assert_true (event->kv_cache_spec_sliding_window == want->kv_cache_spec_sliding_window);
}

static mp_slice_t s_bytes (zframe_t *frame)
{
    return (mp_slice_t){(const char *) zframe_data (frame), zframe_size (frame)};
}

//  Destroys the frame
static void s_is_batch (zframe_t *frame, const kv_batch_t *want)
{
    mp_error_t error = {.text = ""};
    kv_batch_t *batch = kv_batch_decode (s_bytes (frame), &error);
    assert_string_equal (error.text, "");
    assert_non_null (batch);
    assert_true (batch->ts == want->ts);
    assert_true (batch->data_parallel_rank == want->data_parallel_rank);
    assert_int_equal (batch->event_count, want->event_count);
    for (size_t i = 0; i < want->event_count; i++)
        s_same_event (&batch->events[i], &want->events[i]);
    kv_batch_destroy (&batch);
    assert_null (batch);
    kv_batch_destroy (&batch);
    zframe_destroy (&frame);
}

//  For unit.h. What was decoded is described, and encoded in each way, so that all of it is read.
static bool s_decode (zframe_t *frame, mp_error_t *error)
{
    kv_batch_t *batch = kv_batch_decode (s_bytes (frame), error);
    if (!batch)
        return false;
    char *text = kv_batch_describe (batch);
    assert_non_null (text);
    zstr_free (&text);
    bool known = true;
    for (size_t i = 0; i < batch->event_count; i++)
        known = known && batch->events[i].kind != KV_UNKNOWN;
    static const kv_wire_t wires[] = {KV_WIRE_V09, KV_WIRE_V024, KV_WIRE_V026, KV_WIRE_V033};
    for (size_t i = 0; known && i < COUNT (wires); i++) {
        zframe_t *again = kv_batch_encode (batch, wires[i]);
        zframe_destroy (&again);
    }
    kv_batch_destroy (&batch);
    return true;
}

//  -- Batches

static void test_wire_names (void **state)
{
    assert_int_equal (kv_wire_from_name ("v0.9"), KV_WIRE_V09);
    assert_int_equal (kv_wire_from_name ("v0.24"), KV_WIRE_V024);
    assert_int_equal (kv_wire_from_name ("v0.26"), KV_WIRE_V026);
    assert_int_equal (kv_wire_from_name ("v0.33"), KV_WIRE_V033);
}

static void test_encode (void **state)
{
    const case_t cases[] = CASES;
    for (size_t i = 0; i < COUNT (cases); i++)
        if (cases[i].wire != KV_WIRE_NONE)
            unit_is_vector (kv_batch_encode (&cases[i].batch, cases[i].wire), cases[i].vector);
}

//  An older wire leaves out what it did not have
static void test_encode_older (void **state)
{
    const kv_batch_t of_lora = {TS, lora, COUNT (lora), 0};
    zframe_t *want = unit_edit (VECTOR (KV_LORA_V26), "1.0.locality", NULL);
    vector_t vector = {"KV_LORA_V26 without locality", zframe_data (want), zframe_size (want)};
    unit_is_vector (kv_batch_encode (&of_lora, KV_WIRE_V024), vector);
    zframe_destroy (&want);
    unit_is_text (kv_batch_encode (&of_lora, KV_WIRE_V09),
                  "[1789095808.83,[[\"BlockStored\",[15760518052499183552],null,"
                  "[1000,1001,1002,1003,1004,1005,1006,1007,1008,1009,1010,1011,1012,1013,1014,"
                  "1015],16,5]]]");

    static const kv_event_t removed =
        REMOVED (&real_hash, .group_idx = 7, .locality = SLICE ("LOCAL"));
    const kv_batch_t of_removed = {0, &removed, 1, 1};
    unit_is_text (kv_batch_encode (&of_removed, KV_WIRE_V026),
                  "[0.0,[{\"type\":\"BlockRemoved\",\"block_hashes\":[15760518052499183552],"
                  "\"medium\":null,\"group_idx\":7,\"locality\":\"LOCAL\"}],1]");
    unit_is_text (kv_batch_encode (&of_removed, KV_WIRE_V024),
                  "[0.0,[{\"type\":\"BlockRemoved\",\"block_hashes\":[15760518052499183552],"
                  "\"medium\":null,\"group_idx\":7}],1]");
    unit_is_text (kv_batch_encode (&of_removed, KV_WIRE_V09),
                  "[0.0,[[\"BlockRemoved\",[15760518052499183552]]]]");

    //  Nothing that can be left out is there
    static const kv_event_t bare = STORED (NULL, 0, .lora_id = KV_NONE, OF_V9);
    const kv_batch_t of_bare = {0.5, &bare, 1, KV_NONE};
    unit_is_text (kv_batch_encode (&of_bare, KV_WIRE_V026),
                  "[0.5,[{\"type\":\"BlockStored\",\"block_hashes\":[],\"parent_block_hash\":null,"
                  "\"token_ids\":[],\"block_size\":16,\"lora_id\":null,\"medium\":null,"
                  "\"lora_name\":null}],null]");
    const kv_batch_t none = {0.5, NULL, 0, 2};
    unit_is_text (kv_batch_encode (&none, KV_WIRE_V026), "[0.5,[],2]");
    unit_is_text (kv_batch_encode (&none, KV_WIRE_V09), "[0.5,[]]");
}

static void test_decode (void **state)
{
    const case_t cases[] = CASES;
    for (size_t i = 0; i < COUNT (cases); i++)
        s_is_batch (unit_vector_frame (cases[i].vector), &cases[i].batch);
}

#define SIXTEEN "[1000,1001,1002,1003,1004,1005,1006,1007,1008,1009,1010,1011,1012,1013,1014,1015]"

//  Other shapes of the same: fields left out, in another order, added, doubled
static void test_decode_shapes (void **state)
{
    static const kv_event_t bare = STORED (&hash_2, 1, .lora_id = KV_NONE, OF_V9);
    static const kv_event_t medium =
        STORED (&hash_2, 1, .lora_id = KV_NONE, OF_V9, .medium = SLICE ("GPU"));
    static const kv_event_t empty_medium =
        STORED (&hash_2, 1, .lora_id = KV_NONE, OF_V9, .medium = SLICE (""));
    static const kv_event_t last =
        STORED (&hash_2, 1, .lora_id = INT64_MAX, .group_idx = 3, .locality = SLICE ("LOCAL"),
                .kv_cache_spec_sliding_window = 9, .parent_block_hash = UINT_HASH (UINT64_MAX));
    static const kv_event_t removed = REMOVED (&hash_2, .group_idx = KV_NONE);
    static const kv_event_t removed_all =
        REMOVED (&hash_2, .group_idx = 1, .medium = SLICE ("CPU"), .locality = SLICE ("LOCAL"));
    static const kv_event_t none = CLEARED;
    static const struct {
        const char *text;
        const kv_event_t *event;
    } cases[] = {
        //  Arrays, shorter and longer
        {"['BlockStored',[2],null," SIXTEEN ",16]", &bare},
        {"['BlockStored',[2],null," SIXTEEN ",16,null]", &bare},
        {"['BlockStored',[2],null," SIXTEEN ",16,null,'GPU']", &medium},
        {"['BlockStored',[2],null," SIXTEEN ",16,null,'']", &empty_medium},
        {"['BlockStored',[2],18446744073709551615," SIXTEEN
         ",16,9223372036854775807,null,null,null,3,null,9,'LOCAL',[1],{'newer':2}]",
         &last},
        {"['BlockRemoved',[2]]", &removed},
        {"['BlockRemoved',[2],null,null,null]", &removed},
        {"['BlockRemoved',[2],'CPU',1,'LOCAL','newer']", &removed_all},
        {"['AllBlocksCleared']", &none},
        {"['AllBlocksCleared','newer']", &none},
        //  Maps
        {"{'type':'BlockStored','block_hashes':[2],'token_ids':" SIXTEEN ",'block_size':16}",
         &bare},
        {"{'block_size':16,'lora_name':null,'medium':null,'token_ids':" SIXTEEN
         ",'parent_block_hash':null,'extra_keys':null,'newer':[{}],'block_hashes':[2],1:2,"
         "'type':'BlockStored','group_idx':null}",
         &bare},
        {"{'type':'BlockStored','block_hashes':[1],'token_ids':" SIXTEEN
         ",'block_size':16,'block_hashes':[2],'medium':7,'medium':'GPU'}",
         &medium},
        {"{'type':'BlockRemoved','block_hashes':[2]}", &removed},
        {"{'newer':1,'locality':'LOCAL','group_idx':1,'medium':'CPU','block_hashes':[2],"
         "'type':'BlockRemoved'}",
         &removed_all},
        {"{'type':'AllBlocksCleared','newer':1}", &none},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        char text[600];
        kv_batch_t batch = {1.5, cases[i].event, 1, 2};
        snprintf (text, sizeof text, "[1.5,[%s],2]", cases[i].text);
        s_is_batch (unit_frame (text), &batch);
        //  The batch too may be shorter, or longer
        snprintf (text, sizeof text, "[1.5,[%s],2,'newer']", cases[i].text);
        s_is_batch (unit_frame (text), &batch);
        batch.data_parallel_rank = KV_NONE;
        snprintf (text, sizeof text, "[1.5,[%s]]", cases[i].text);
        s_is_batch (unit_frame (text), &batch);
    }
    const kv_batch_t empty = {-1, NULL, 0, 0};
    s_is_batch (unit_frame ("[-1,[],0]"), &empty);
}

//  An event that is not known is kept by its tag, and hides none beside it
static void test_decode_unknown (void **state)
{
    static const kv_event_t events[] = {
        {.kind = KV_UNKNOWN, .tag = SLICE ("BlockMoved")},
        CLEARED,
        {.kind = KV_UNKNOWN, .tag = SLICE ("BlockStore")},
        {.kind = KV_UNKNOWN, .tag = SLICE ("BlockStoredX")},
        {.kind = KV_UNKNOWN, .tag = SLICE ("")},
    };
    const kv_batch_t batch = {1.5, events, COUNT (events), 0};
    s_is_batch (unit_frame ("[1.5,[{'type':'BlockMoved','block_hashes':'x'},"
                            "{'type':'AllBlocksCleared'},['BlockStore'],['BlockStoredX',1],['']],"
                            "0]"),
                &batch);
}

static void test_decode_wrong (void **state)
{
    static const field_t batch_fields[] = {
        {"", "batch", ""},          {"0", "batch.ts", "uif4"},
        {"1", "batch.events", "a"}, {"2", "batch.data_parallel_rank", "nu"},
        {"1.0", "event tag", ""},
    };
    static const field_t map_fields[] = {
        {"1.0.type", "event tag", "s"},
        {"1.0.block_hashes", "BlockStored.block_hashes", "a"},
        {"1.0.block_hashes.0", "BlockStored.block_hashes", "uih"},
        {"1.0.parent_block_hash", "BlockStored.parent_block_hash", "nuih"},
        {"1.0.token_ids", "BlockStored.token_ids", "a"},
        {"1.0.token_ids.15", "BlockStored.token_ids", "u"},
        {"1.0.block_size", "BlockStored.block_size", "u"},
        {"1.0.lora_id", "BlockStored.lora_id", "nu"},
        {"1.0.medium", "BlockStored.medium", "ns"},
        {"1.0.lora_name", "BlockStored.lora_name", "ns"},
        {"1.0.extra_keys", "BlockStored.extra_keys", "nbuif4shamx"},
        {"1.0.group_idx", "BlockStored.group_idx", "nu"},
        {"1.0.kv_cache_spec_kind", "BlockStored.kv_cache_spec_kind", "ns"},
        {"1.0.kv_cache_spec_sliding_window", "BlockStored.kv_cache_spec_sliding_window", "nu"},
        {"1.0.locality", "BlockStored.locality", "ns"},
    };
    static const field_t array_fields[] = {
        {"1.0.0", "event tag", "s"},
        {"1.0.1", "BlockStored.block_hashes", "a"},
        {"1.0.1.1", "BlockStored.block_hashes", "uih"},
        {"1.0.2", "BlockStored.parent_block_hash", "nuih"},
        {"1.0.3", "BlockStored.token_ids", "a"},
        {"1.0.3.31", "BlockStored.token_ids", "u"},
        {"1.0.4", "BlockStored.block_size", "u"},
        {"1.0.5", "BlockStored.lora_id", "nu"},
        {"1.0.6", "BlockStored.medium", "ns"},
        {"1.0.7", "BlockStored.lora_name", "ns"},
        {"1.0.8", "BlockStored.extra_keys", "nbuif4shamx"},
        {"1.0.9", "BlockStored.group_idx", "nu"},
        {"1.0.10", "BlockStored.kv_cache_spec_kind", "ns"},
        {"1.0.11", "BlockStored.kv_cache_spec_sliding_window", "nu"},
    };
    static const field_t removed_fields[] = {
        {"1.1", "event tag", ""},
        {"1.1.type", "event tag", "s"},
        {"1.1.block_hashes", "BlockRemoved.block_hashes", "a"},
        {"1.1.block_hashes.0", "BlockRemoved.block_hashes", "uih"},
        {"1.1.medium", "BlockRemoved.medium", "ns"},
        {"1.1.group_idx", "BlockRemoved.group_idx", "nu"},
    };
    for (size_t i = 0; i < COUNT (batch_fields); i++)
        unit_types (s_decode, VECTOR (KV_LORA_V26), batch_fields[i]);
    for (size_t i = 0; i < COUNT (map_fields); i++)
        unit_types (s_decode, VECTOR (KV_LORA_V26), map_fields[i]);
    for (size_t i = 0; i < COUNT (array_fields); i++)
        unit_types (s_decode, VECTOR (KV_STORED_V23), array_fields[i]);
    for (size_t i = 0; i < COUNT (removed_fields); i++)
        unit_types (s_decode, VECTOR (KV_MIXED_V26), removed_fields[i]);

    //  Without a field that has no default
    static const char *const required[] = {"block_hashes", "token_ids", "block_size"};
    for (size_t i = 0; i < COUNT (required); i++) {
        char path[40], why[60];
        snprintf (path, sizeof path, "1.0.%s", required[i]);
        snprintf (why, sizeof why, "BlockStored.%s: want ", required[i]);
        unit_refuses (s_decode, unit_edit (VECTOR (KV_LORA_V26), path, NULL), why);
    }
    static const struct {
        const char *text;
        const char *why;
    } cases[] = {
        {"[]", "batch: want an array of 2 or more, got 0"},
        {"[1.5]", "batch: want an array of 2 or more, got 1"},
        {"{'ts':1.5,'events':[]}", "batch: want an array, got map"},
        {"[1.5,{}]", "batch.events: want an array, got map"},
        {"[1.5,[],9223372036854775808]",
         "batch.data_parallel_rank: 9223372036854775808 is more than 9223372036854775807"},
        {"[1.5,[[]]]", "event tag: want a str, got nothing"},
        {"[1.5,[{}]]", "event tag: want a str, got nothing"},
        {"[1.5,[{'Type':'BlockStored'}]]", "event tag: want a str, got nothing"},
        {"[1.5,[null]]", "event tag: want a str, got nothing"},
        {"[1.5,['BlockStored']]", "event tag: want a str, got nothing"},
        {"[1.5,[[x'a2c328']]]", "event tag: is not UTF-8"},
        {"[1.5,[['BlockRemoved',[1],x'a2c328']]]", "BlockRemoved.medium: is not UTF-8"},
        {"[1.5,[['BlockStored']]]", "BlockStored.block_hashes: want an array, got nothing"},
        {"[1.5,[['BlockRemoved']]]", "BlockRemoved.block_hashes: want an array, got nothing"},
        {"[1.5,[{'type':'BlockRemoved'}]]",
         "BlockRemoved.block_hashes: want an array, got nothing"},
        {"[1.5,[['BlockStored',[1],null]]]", "BlockStored.token_ids: want an array, got nothing"},
        {"[1.5,[['BlockStored',[1],null,[1]]]]",
         "BlockStored.block_size: want an unsigned integer, got nothing"},
        {"[1.5,[['BlockStored',[1],null,[1,4294967296],16]]]",
         "BlockStored.token_ids: [1]: 4294967296 is more than 4294967295"},
        {"[1.5,[['BlockStored',[1],null,[1],4294967296]]]",
         "BlockStored.block_size: 4294967296 is more than 4294967295"},
        {"[1.5,[['BlockStored',[1],null,[1],16,9223372036854775808]]]",
         "BlockStored.lora_id: 9223372036854775808 is more than 9223372036854775807"},
        //  The first event is good, and is not lost
        {"[1.5,[['BlockStored',[1],1,[1],16,1,'GPU','n',[1]],['BlockRemoved',[1,h'00',null]]]]",
         "BlockRemoved.block_hashes: want an integer or bin"},
    };
    for (size_t i = 0; i < COUNT (cases); i++)
        unit_refuses (s_decode, unit_frame (cases[i].text), cases[i].why);
}

static void test_hostile (void **state)
{
    const case_t cases[] = CASES;
    for (size_t i = 0; i < COUNT (cases); i++)
        unit_hostile (s_decode, cases[i].vector);
    static const char *const bytes[] = {
        "x''",           "x'c1'",         "x'dd01000000'", "x'ddffffffff'",
        "x'dfffffffff'", "x'dbffffffff'", "x'9300'",       "x'9391dd01000000'"};
    for (size_t i = 0; i < COUNT (bytes); i++)
        unit_refuses (s_decode, unit_frame (bytes[i]), "batch: ");
}

static void test_describe (void **state)
{
    const case_t cases[] = CASES;
    static const char *const texts[] = {
        "BlockStored 2 blocks 32 tokens",
        "BlockStored 1 block 16 tokens, BlockRemoved 1 block, AllBlocksCleared",
        "BlockStored 1 block 16 tokens, BlockRemoved 1 block",
        "BlockStored 1 block 16 tokens",
        "AllBlocksCleared",
    };
    for (size_t i = 0; i < COUNT (texts); i++) {
        char *text = kv_batch_describe (&cases[i].batch);
        assert_string_equal (text, texts[i]);
        zstr_free (&text);
    }
    const kv_event_t event = {.kind = KV_UNKNOWN, .tag = {"BlockMoved", 5}};
    const kv_batch_t unknown = {0, &event, 1, 0};
    char *text = kv_batch_describe (&unknown);
    assert_string_equal (text, "Block");
    zstr_free (&text);
    const kv_batch_t none = {0, NULL, 0, 0};
    text = kv_batch_describe (&none);
    assert_string_equal (text, "");
    zstr_free (&text);
}

//  -- Messages

//  Frame `number` of a message, which keeps it
static zframe_t *s_frame (zmsg_t *message, size_t number)
{
    zframe_t *frame = zmsg_first (message);
    while (number-- > 0)
        frame = zmsg_next (message);
    assert_non_null (frame);
    return frame;
}

static void s_is_frame (zmsg_t *message, size_t number, const void *data, size_t size)
{
    zframe_t *frame = s_frame (message, number);
    assert_int_equal (zframe_size (frame), size);
    if (size > 0)
        assert_memory_equal (zframe_data (frame), data, size);
}

static const struct {
    uint64_t seq;
    const char *bytes;
} seqs[] = {
    {0, "\x00\x00\x00\x00\x00\x00\x00\x00"},
    {1, "\x00\x00\x00\x00\x00\x00\x00\x01"},
    {256, "\x00\x00\x00\x00\x00\x00\x01\x00"},
    {0x0102030405060708, "\x01\x02\x03\x04\x05\x06\x07\x08"},
    {0x8000000000000000, "\x80\x00\x00\x00\x00\x00\x00\x00"},
    {UINT64_MAX - 1, "\xff\xff\xff\xff\xff\xff\xff\xfe"},
};

static void test_unknown_event_is_not_encoded (void **state)
{
    kv_event_t events[] = {{.kind = KV_UNKNOWN, .tag = {"New", 3}},
                           {.kind = KV_ALL_BLOCKS_CLEARED}};
    kv_batch_t batch = {
        .ts = 1.5, .events = events, .event_count = 2, .data_parallel_rank = KV_NONE};
    unit_is_text (kv_batch_encode (&batch, KV_WIRE_V026),
                  "[1.5,[{\"type\":\"AllBlocksCleared\"}],null]");
    unit_is_text (kv_batch_encode (&batch, KV_WIRE_V09), "[1.5,[[\"AllBlocksCleared\"]]]");
}

//  Each event takes memory out of all proportion to its bytes: so their number is bounded
static void test_too_many_events (void **state)
{
    for (uint32_t more = 0; more <= 1; more++) {
        mp_writer_t writer;
        msgpack_packer *packer = mp_begin (&writer);
        msgpack_pack_array (packer, 2);
        msgpack_pack_double (packer, 1.5);
        msgpack_pack_array (packer, KV_MAX_EVENTS + more);
        for (uint32_t i = 0; i < KV_MAX_EVENTS + more; i++) {
            msgpack_pack_array (packer, 1);
            mp_pack_str (packer, "x");
        }
        zframe_t *frame = mp_end (&writer);
        mp_error_t error = {.text = ""};
        kv_batch_t *batch = kv_batch_decode (s_bytes (frame), &error);
        assert_int_equal (batch == NULL, more);
        assert_string_equal (error.text, more ? "batch.events: 65537 are more than 65536" : "");
        kv_batch_destroy (&batch);
        zframe_destroy (&frame);
    }
}

//  A pipe, and what is received of it without a zmsg_t
static zsock_t *here, *there;
static kv_frames_t *frames;

static int s_open (void **state)
{
    there = zsys_create_pipe (&here);
    frames = kv_frames_new ();
    return s_setup (state);
}

static int s_close (void **state)
{
    zsock_set_rcvtimeo (here, 0);
    bool more = kv_frames_recv (frames, here) || frames->count > 0;
    kv_frames_destroy (&frames);
    kv_frames_destroy (&frames);
    zsock_destroy (&there);
    zsock_destroy (&here);
    return more || frames;
}

//  What a PUB sends, and what a ROUTER does
static zmsg_t *s_live (const char *topic, uint64_t seq, zframe_t *payload)
{
    assert_int_equal (kv_publish (there, topic, seq, payload), 0);
    return zmsg_recv (here);
}

static zmsg_t *s_reply (const char *topic, uint64_t seq, zframe_t *payload, kv_wire_t wire)
{
    zframe_t *client = zframe_new ("\x00\x6b\x8b\x45\x67", 5);
    assert_int_equal (kv_replay_send (there, client, topic, seq, payload, wire), 0);
    assert_int_equal (zframe_size (client), 5);
    zframe_destroy (&client);
    return zmsg_recv (here);
}

//  Reads a message as a subscriber does. What was read is valid until the next one is.
static bool s_read (zmsg_t *message, bool replayed, kv_numbered_t *batch, mp_error_t *error)
{
    kv_frames_clear (frames);
    if (zmsg_size (message) > 0) {  //  Without a frame it cannot be sent
        zmsg_t *sent = zmsg_dup (message);
        zmsg_send (&sent, there);
        assert_true (kv_frames_recv (frames, here));
    }
    assert_int_equal (frames->count, zmsg_size (message));
    return kv_frames_read (frames, replayed, batch, error);
}

//  NULL for a topic that is not there
static void s_is_text (mp_slice_t slice, const char *text)
{
    s_same_slice (slice, (mp_slice_t){text, text ? strlen (text) : 0});
}

static void s_is_payload (mp_slice_t slice, vector_t vector)
{
    s_same_slice (slice, (mp_slice_t){(const char *) vector.data, vector.size});
}

static void test_message (void **state)
{
    mp_error_t error;
    kv_numbered_t read;
    zframe_t *payload = unit_vector_frame (VECTOR (KV_NO_RANK));
    for (size_t i = 0; i < COUNT (seqs); i++) {
        zmsg_t *message = s_live ("kv-events", seqs[i].seq, payload);
        assert_int_equal (zmsg_size (message), 3);
        s_is_frame (message, 0, "kv-events", 9);
        s_is_frame (message, 1, seqs[i].bytes, 8);
        s_is_frame (message, 2, KV_NO_RANK, sizeof KV_NO_RANK);
        assert_true (s_read (message, false, &read, &error));
        assert_true (read.seq == seqs[i].seq);
        assert_false (read.replayed);
        s_is_text (read.topic, "kv-events");
        s_is_payload (read.payload, VECTOR (KV_NO_RANK));
        zmsg_destroy (&message);
    }
    //  The number that ends a replay is none of a batch
    zmsg_t *message = s_live ("kv-events", KV_SEQ_END, payload);
    assert_false (s_read (message, false, &read, &error));
    assert_string_equal (error.text, "message: its seq is the one that ends a replay");
    zmsg_destroy (&message);
    //  The topic may be empty
    message = s_live ("", 5, payload);
    s_is_frame (message, 0, "", 0);
    assert_true (s_read (message, false, &read, &error));
    assert_true (read.seq == 5);
    s_is_text (read.topic, "");
    zmsg_destroy (&message);
    unit_is_vector (payload, VECTOR (KV_NO_RANK));
}

//  A message of `count` frames, the one before the last of `seq_size` bytes
static zmsg_t *s_message (size_t count, size_t seq_size)
{
    zmsg_t *message = zmsg_new ();
    for (size_t i = 0; i < count; i++)
        zmsg_addmem (message, "\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\0\0\0\0\0\0",
                     i + 2 == count ? seq_size : 0);
    return message;
}

static void test_message_wrong (void **state)
{
    static const size_t sizes[] = {0, 1, 7, 9, 20};
    mp_error_t error;
    kv_numbered_t batch;
    for (size_t count = 0; count <= 6; count++) {
        char why[80];
        zmsg_t *message = s_message (count, KV_SEQ_SIZE);
        bool ok = s_read (message, false, &batch, &error);
        assert_int_equal (ok, count == 3);
        snprintf (why, sizeof why, "message: want topic, seq and batch, got %zu frames", count);
        if (!ok)
            assert_string_equal (error.text, why);
        zmsg_destroy (&message);
    }
    for (size_t i = 0; i < COUNT (sizes); i++) {
        char why[80];
        zmsg_t *message = s_message (3, sizes[i]);
        assert_false (s_read (message, false, &batch, &error));
        snprintf (why, sizeof why, "message: a seq has 8 bytes, this has %zu", sizes[i]);
        assert_string_equal (error.text, why);
        zmsg_destroy (&message);
    }
}

static void test_replay_request (void **state)
{
    for (size_t i = 0; i < COUNT (seqs); i++) {
        zmsg_t *message = kv_replay_request (seqs[i].seq);
        assert_int_equal (zmsg_size (message), 1);
        s_is_frame (message, 0, seqs[i].bytes, 8);

        //  As the ROUTER gets it from a REQ
        zmsg_pushmem (message, NULL, 0);
        zmsg_pushmem (message, "\x00\x6b\x8b\x45\x67", 5);
        uint64_t start = 77;
        zframe_t *client = NULL;
        assert_true (kv_replay_request_read (message, &client, &start));
        assert_true (start == seqs[i].seq);
        assert_ptr_equal (client, s_frame (message, 0));
        zmsg_destroy (&message);
    }
}

//  The number may have any length, as with vLLM's int.from_bytes
static void test_replay_request_lengths (void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        uint64_t start;
    } cases[] = {
        {"", 0, 0},
        {"\x00", 1, 0},
        {"\xff", 1, 255},
        {"\x01\x02\x03\x04\x05\x06\x07", 7, 0x01020304050607},
        {"\x00\x01\x02\x03\x04\x05\x06\x07\x08", 9, 0x0102030405060708},
        {"\x00\xff\xff\xff\xff\xff\xff\xff\xff", 9, UINT64_MAX},
        {"\x01\x00\x00\x00\x00\x00\x00\x00\x00", 9, UINT64_MAX},
        {"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00", 20, 256},
        {"\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0", 20, UINT64_MAX},
        {"\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20, UINT64_MAX},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        zmsg_t *message = zmsg_new ();
        zmsg_addstr (message, "client");
        zmsg_addmem (message, NULL, 0);
        zmsg_addmem (message, cases[i].bytes, cases[i].size);
        uint64_t start = 77;
        zframe_t *client;
        assert_true (kv_replay_request_read (message, &client, &start));
        assert_true (start == cases[i].start);
        zmsg_destroy (&message);
    }
    for (size_t count = 0; count <= 6; count++) {
        zmsg_t *message = s_message (count, KV_SEQ_SIZE);
        uint64_t start;
        zframe_t *client;
        assert_int_equal (kv_replay_request_read (message, &client, &start), count == 3);
        zmsg_destroy (&message);
    }
}

//  What the ROUTER sends, and what then comes out at a DEALER and at a REQ
static void test_replay_reply (void **state)
{
    static const struct {
        kv_wire_t wire;
        bool topic;
    } wires[] = {{KV_WIRE_V09, false}, {KV_WIRE_V024, false}, {KV_WIRE_V026, true}};
    mp_error_t error;
    zframe_t *payload = unit_vector_frame (VECTOR (KV_NO_RANK));
    for (size_t i = 0; i < COUNT (wires); i++) {
        for (int end = 0; end < 2; end++) {
            zmsg_t *message =
                s_reply ("kv-events", 0x0102030405060708, end ? NULL : payload, wires[i].wire);
            size_t at = 0;
            s_is_frame (message, at++, "\x00\x6b\x8b\x45\x67", 5);
            s_is_frame (message, at++, "", 0);
            if (wires[i].topic)
                s_is_frame (message, at++, "kv-events", end ? 0 : 9);
            s_is_frame (
                message, at++,
                end ? "\xff\xff\xff\xff\xff\xff\xff\xff" : "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
            s_is_frame (message, at++, KV_NO_RANK, end ? 0 : sizeof KV_NO_RANK);
            assert_int_equal (zmsg_size (message), at);

            //  The client's name goes on the way to a DEALER, the empty frame too on that to a REQ
            for (int taken = 0; taken < 2; taken++) {
                zframe_t *gone = zmsg_pop (message);
                zframe_destroy (&gone);
                kv_numbered_t read;
                assert_true (s_read (message, true, &read, &error));
                assert_true (read.seq == (end ? KV_SEQ_END : 0x0102030405060708));
                assert_true (read.replayed);
                if (end)
                    assert_int_equal (read.payload.size, 0);
                else
                    s_is_payload (read.payload, VECTOR (KV_NO_RANK));
                if (taken == 0)
                    s_is_text (read.topic, !wires[i].topic ? NULL : end ? "" : "kv-events");
            }
            zmsg_destroy (&message);
        }
    }
    unit_is_vector (payload, VECTOR (KV_NO_RANK));
}

static void test_replay_reply_wrong (void **state)
{
    static const size_t sizes[] = {0, 1, 7, 9, 20};
    mp_error_t error;
    kv_numbered_t batch;
    char why[80];
    for (size_t count = 0; count <= 7; count++) {
        zmsg_t *message = s_message (count, KV_SEQ_SIZE);
        bool ok = s_read (message, true, &batch, &error);
        assert_int_equal (ok, count >= 2 && count <= 4);
        snprintf (why, sizeof why, "replay: want a seq of 8 bytes and a batch, got %zu frames",
                  count);
        if (ok)
            assert_true (batch.seq == KV_SEQ_END);  //  Its payload is empty
        else
            assert_string_equal (error.text, why);
        zmsg_destroy (&message);
    }
    for (size_t count = 2; count <= 4; count++) {
        for (size_t i = 0; i < COUNT (sizes); i++) {
            zmsg_t *message = s_message (count, sizes[i]);
            assert_false (s_read (message, true, &batch, &error));
            assert_memory_equal (error.text, "replay: ", 8);
            zmsg_destroy (&message);
        }
    }
}

//  Every batch has bytes: a reply without any ends the replay, whatever its number says
static void test_reply_without_a_payload_is_an_end (void **state)
{
    zframe_t *empty = zframe_new (NULL, 0);
    zmsg_t *message = s_reply ("kv", 5, empty, KV_WIRE_V026);
    kv_numbered_t batch;
    mp_error_t error;
    zframe_t *gone = zmsg_pop (message);
    assert_true (s_read (message, true, &batch, &error));
    assert_true (batch.seq == KV_SEQ_END);
    assert_int_equal (batch.payload.size, 0);
    zframe_destroy (&gone);
    zframe_destroy (&empty);
    zmsg_destroy (&message);
}

static void test_fields (void **state)
{
    static const char *const stored[] = {"block_hashes",
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
                                         "locality"};
    static const char *const removed[] = {"block_hashes", "medium", "group_idx", "locality"};
    const char *const *fields = kv_event_fields (KV_BLOCK_STORED);
    for (size_t i = 0; i < COUNT (stored); i++)
        assert_string_equal (fields[i], stored[i]);
    assert_null (fields[COUNT (stored)]);
    fields = kv_event_fields (KV_BLOCK_REMOVED);
    for (size_t i = 0; i < COUNT (removed); i++)
        assert_string_equal (fields[i], removed[i]);
    assert_null (fields[COUNT (removed)]);
    assert_null (kv_event_fields (KV_ALL_BLOCKS_CLEARED)[0]);
    assert_null (kv_event_fields (KV_UNKNOWN)[0]);
}

//  -- The toy cache

static void test_toy_cache (void **state)
{
    toy_cache_t before = {.stored = {{.kind = KV_HASH_NONE}}};
    kv_hash_t stored[100];
    size_t big = 0;
    for (uint64_t n = 0; n < COUNT (stored); n++) {
        toy_cache_t cache, again;
        memset (&cache, 0xff, sizeof cache);
        toy_cache_fill (&cache, 0, n, 1, 1.5);
        const kv_batch_t *batch = &cache.batch;
        assert_true (batch->ts == 1.5);
        assert_true (batch->data_parallel_rank == 0);
        assert_int_equal (batch->event_count, n % 5 == 4 ? 2 : 1);
        const kv_event_t *event = &batch->events[0];
        assert_int_equal (event->kind, KV_BLOCK_STORED);
        assert_int_equal (event->block_hash_count, 1);
        assert_int_equal (event->block_hashes[0].kind, KV_HASH_UINT);
        assert_int_equal (event->block_size, TOY_CACHE_BLOCK_SIZE);
        assert_int_equal (event->token_id_count, TOY_CACHE_BLOCK_SIZE);
        for (size_t i = 0; i < TOY_CACHE_BLOCK_SIZE; i++)
            assert_true (event->token_ids[i] < 32000);

        //  Its parent is the block before, and no hash comes twice
        s_same_hash (&event->parent_block_hash, before.stored);
        stored[n] = event->block_hashes[0];
        for (uint64_t i = 0; i < n; i++)
            assert_true (stored[i].value.u != stored[n].value.u);
        big += stored[n].value.u > INT64_MAX;

        //  Every fifth removes the oldest that is left
        if (n % 5 == 4) {
            assert_int_equal (batch->events[1].kind, KV_BLOCK_REMOVED);
            assert_int_equal (batch->events[1].block_hash_count, 1);
            s_same_hash (batch->events[1].block_hashes, &stored[n / 5]);
        }
        //  The same n, the same batch; and what comes off the wire is what went onto it
        toy_cache_fill (&again, 0, n, 1, 1.5);
        s_is_batch (kv_batch_encode (&again.batch, KV_WIRE_V026), batch);
        before = cache;
    }
    assert_true (big > 30 && big < 70);

    //  In another run, and on another machine, too
    toy_cache_t fourth;
    toy_cache_fill (&fourth, 0, 4, 1, 1.5);
    unit_is_text (kv_batch_encode (&fourth.batch, KV_WIRE_V026),
                  "[1.5,[{\"type\":\"BlockStored\",\"block_hashes\":[1961750202426094747],"
                  "\"parent_block_hash\":17909611376780542444,\"token_ids\":[64,65,66,67,68,69,70,"
                  "71,72,73,74,75,76,77,78,79],\"block_size\":16,\"lora_id\":null,"
                  "\"medium\":\"GPU\",\"lora_name\":null,\"extra_keys\":[null],\"group_idx\":0,"
                  "\"kv_cache_spec_kind\":\"full_attention\"},{\"type\":\"BlockRemoved\","
                  "\"block_hashes\":[16294208416658607535],\"medium\":\"GPU\",\"group_idx\":0}],"
                  "0]");

    //  Many blocks a batch are as many batches of one block
    toy_cache_t many;
    toy_cache_fill (&many, 0, 3, TOY_CACHE_MAX_BLOCKS, 1.5);
    const kv_event_t *event = &many.batch.events[0];
    assert_int_equal (event->block_hash_count, TOY_CACHE_MAX_BLOCKS);
    assert_int_equal (event->token_id_count, TOY_CACHE_MAX_BLOCKS * TOY_CACHE_BLOCK_SIZE);
    for (uint64_t i = 0; i < TOY_CACHE_MAX_BLOCKS; i++) {
        toy_cache_t one;
        toy_cache_fill (&one, 0, 3 * TOY_CACHE_MAX_BLOCKS + i, 1, 1.5);
        s_same_hash (&event->block_hashes[i], one.stored);
        if (i == 0)
            s_same_hash (&event->parent_block_hash, &one.events[0].parent_block_hash);
        assert_memory_equal (&event->token_ids[i * TOY_CACHE_BLOCK_SIZE], one.events[0].token_ids,
                             TOY_CACHE_BLOCK_SIZE * sizeof event->token_ids[0]);
    }

    //  The last number that a replay can have
    toy_cache_t cache;
    toy_cache_fill (&cache, 0, KV_SEQ_END - 1, 1, 1.5);
    s_is_batch (kv_batch_encode (&cache.batch, KV_WIRE_V026), &cache.batch);
    unit_takes (s_decode, kv_batch_encode (&cache.batch, KV_WIRE_V09), "v0.9");
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_wire_names),
        cmocka_unit_test (test_encode),
        cmocka_unit_test (test_encode_older),
        cmocka_unit_test (test_decode),
        cmocka_unit_test (test_decode_shapes),
        cmocka_unit_test (test_decode_unknown),
        cmocka_unit_test (test_decode_wrong),
        cmocka_unit_test (test_hostile),
        cmocka_unit_test (test_describe),
        cmocka_unit_test (test_unknown_event_is_not_encoded),
        cmocka_unit_test (test_too_many_events),
        cmocka_unit_test (test_message),
        cmocka_unit_test (test_message_wrong),
        cmocka_unit_test (test_replay_request),
        cmocka_unit_test (test_replay_request_lengths),
        cmocka_unit_test (test_replay_reply),
        cmocka_unit_test (test_replay_reply_wrong),
        cmocka_unit_test (test_reply_without_a_payload_is_an_end),
        cmocka_unit_test (test_fields),
        cmocka_unit_test (test_toy_cache),
    };
    return cmocka_run_group_tests_name ("kv_events", tests, s_open, s_close);
}
