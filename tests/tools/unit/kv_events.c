//  SPDX-License-Identifier: MIT

#include "unit.h"

#include "kv/kv_events.h"
#include "kv/rank.h"
#include "kv/toy_cache.h"

//  -- Messages, as their frames in hex, separated by '|'

//  A pipe, and what is received of it without a zmsg_t
static zsock_t *here, *there;
static kv_frames_t *frames;

static int s_open (void **state)
{
    there = zsys_create_pipe (&here);
    frames = kv_frames_new ();
    return 0;
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

static zmsg_t *s_message (const char *list)
{
    char word[200], text[204];
    zmsg_t *message = zmsg_new ();
    while (unit_word (&list, word)) {
        snprintf (text, sizeof text, "x'%s'", word);
        zframe_t *frame = unit_frame (text);
        zmsg_append (message, &frame);
    }
    return message;
}

//  Destroys the message
static void s_is_message (zmsg_t *message, const char *want)
{
    text_t text = {NULL, 0, 0};
    bool first = true;
    for (zframe_t *frame = zmsg_first (message); frame; frame = zmsg_next (message)) {
        text_put_string (&text, first ? "" : "|");
        first = false;
        text_put_hex (&text, zframe_data (frame), zframe_size (frame));
    }
    unit_is (text_take (&text), want);
    zmsg_destroy (&message);
}

static const struct {
    uint64_t seq;
    const char *bytes;
} seqs[] = {
    {0, "0000000000000000"},
    {1, "0000000000000001"},
    {256, "0000000000000100"},
    {0x0102030405060708, "0102030405060708"},
    {0x8000000000000000, "8000000000000000"},
    {UINT64_MAX - 1, "fffffffffffffffe"},
};

//  What a PUB sends, and a REQ or DEALER that asks for a replay
static void test_send (void **state)
{
    zframe_t *payload = unit_frame ("x'93c0'");
    char want[60];
    for (size_t i = 0; i < COUNT (seqs); i++) {
        snprintf (want, sizeof want, "6b76|%s|93c0", seqs[i].bytes);
        assert_int_equal (kv_publish (there, "kv", seqs[i].seq, payload), 0);
        s_is_message (zmsg_recv (here), want);
        s_is_message (kv_replay_request (seqs[i].seq), seqs[i].bytes);
    }
    assert_int_equal (kv_publish (there, "", 1, payload), 0);
    s_is_message (zmsg_recv (here), "|0000000000000001|93c0");

    //  What a ROUTER sends of a replay, and its end
    static const struct {
        const char *name, *reply, *end;  //  In the order of kv_wire_t
    } wires[] = {
        {"v0.9", "63||0102030405060708|93c0", "63||ffffffffffffffff|"},
        {"v0.24", "63||0102030405060708|93c0", "63||ffffffffffffffff|"},
        {"v0.26", "63||6b76|0102030405060708|93c0", "63|||ffffffffffffffff|"},
        {"v0.33", "63||6b76|0102030405060708|93c0", "63|||ffffffffffffffff|"},
    };
    zframe_t *client = zframe_from ("c");
    for (size_t i = 0; i < COUNT (wires); i++) {
        kv_wire_t wire = kv_wire_from_name (wires[i].name);
        assert_int_equal (wire, i);
        kv_replay_send (there, client, "kv", 0x0102030405060708, payload, wire);
        s_is_message (zmsg_recv (here), wires[i].reply);
        kv_replay_send (there, client, "kv", 0x0102030405060708, NULL, wire);
        s_is_message (zmsg_recv (here), wires[i].end);
    }
    assert_int_equal (zframe_size (client), 1);
    assert_int_equal (zframe_size (payload), 2);
    zframe_destroy (&client);
    zframe_destroy (&payload);
}

//  What a subscriber reads of a live message and of a reply: "<seq> <topic> <payload>", or why not
static void test_read (void **state)
{
#define NO_BATCH "replay: want a seq of 8 bytes and a batch at the end, frames: "
    static const struct {
        bool replayed;
        const char *message, *read;
    } cases[] = {
        {false, "6b76|0000000000000000|c0", "0 kv c0"},
        {false, "6b76|0000000000000001|c0", "1 kv c0"},
        {false, "6b76|0000000000000100|c0", "256 kv c0"},
        {false, "6b76|0102030405060708|c0", "72623859790382856 kv c0"},
        {false, "6b76|8000000000000000|c0", "9223372036854775808 kv c0"},
        {false, "6b76|fffffffffffffffe|c0", "18446744073709551614 kv c0"},
        {false, "|0000000000000005|", "5  "},
        //  The number that ends a replay is none of a batch
        {false, "6b76|ffffffffffffffff|c0", "message: its seq is the one that ends a replay"},
        {false, NULL, "message: want 3 frames (topic, seq and batch), got 0"},
        {false, "6b76", "message: want 3 frames (topic, seq and batch), got 1"},
        {false, "0000000000000007|c0", "message: want 3 frames (topic, seq and batch), got 2"},
        {false, "6b76||0000000000000007|c0",
         "message: want 3 frames (topic, seq and batch), got 4"},
        {false, "||||0000000000000007|c0", "message: want 3 frames (topic, seq and batch), got 6"},
        {false, "6b76||c0", "message: a seq has 8 bytes, this has 0"},
        {false, "6b76|00|c0", "message: a seq has 8 bytes, this has 1"},
        {false, "6b76|00000000000007|c0", "message: a seq has 8 bytes, this has 7"},
        {false, "6b76|000000000000000007|c0", "message: a seq has 8 bytes, this has 9"},
        //  With the empty frame and without it, with a topic and without it; at a REQ a topic
        //  cannot be told from that
        {true, "0102030405060708|c0", "72623859790382856 (none) c0"},
        {true, "|0102030405060708|c0", "72623859790382856 (none) c0"},
        {true, "6b76|0102030405060708|c0", "72623859790382856 (none) c0"},
        {true, "|6b76|0102030405060708|c0", "72623859790382856 kv c0"},
        //  The end. Every batch has bytes: a reply without any is one, whatever its number says.
        {true, "ffffffffffffffff|", "18446744073709551615 (none) "},
        {true, "||ffffffffffffffff|", "18446744073709551615  "},
        {true, "|6b76|0000000000000005|", "18446744073709551615 kv "},
        {true, NULL, NO_BATCH "0"},
        {true, "c0", NO_BATCH "1"},
        {true, "|||0000000000000007|c0", NO_BATCH "5"},
        {true, "|||||0000000000000007|c0", NO_BATCH "7"},
        {true, "|c0", NO_BATCH "2"},
        {true, "00000000000007|c0", NO_BATCH "2"},
        {true, "|000000000000000007|c0", NO_BATCH "3"},
        {true, "|6b76|07|c0", NO_BATCH "4"},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        zmsg_t *message = s_message (cases[i].message);
        size_t count = zmsg_size (message);
        kv_frames_clear (frames);
        if (count == 0)  //  Without a frame it cannot be sent
            zmsg_destroy (&message);
        else
            zmsg_send (&message, there);
        assert_int_equal (count > 0 && kv_frames_recv (frames, here), count > 0);
        assert_int_equal (frames->count, count);
        kv_numbered_t batch;
        mp_error_t error;
        text_t text = {NULL, 0, 0};
        if (kv_frames_read (frames, cases[i].replayed, &batch, &error)) {
            assert_int_equal (batch.replayed, cases[i].replayed);
            text_put_uint (&text, batch.seq);
            text_put_char (&text, ' ');
            text_put_string (&text, batch.topic.data ? "" : "(none)");
            text_put (&text, batch.topic.data, batch.topic.size);
            text_put_char (&text, ' ');
            text_put_hex (&text, batch.payload.data, batch.payload.size);
        } else {
            text_put_string (&text, error.text);
        }
        unit_is (text_take (&text), cases[i].read);
    }
    kv_frames_clear (frames);
}

//  The number may have any length, as with vLLM's int.from_bytes
static void test_replay_request_read (void **state)
{
    static const struct {
        const char *message;
        bool good;
        uint64_t start;
    } cases[] = {
        {"63||", true, 0},
        {"63||00", true, 0},
        {"63||ff", true, 255},
        {"63||01020304050607", true, 0x01020304050607},
        {"63||0102030405060708", true, 0x0102030405060708},
        {"63||8000000000000000", true, 0x8000000000000000},
        {"63||000102030405060708", true, 0x0102030405060708},
        {"63||00ffffffffffffffff", true, UINT64_MAX},
        {"63||010000000000000000", true, UINT64_MAX},
        {"63||0000000000000000000000000000000000000100", true, 256},
        {"63||0000000000000000000000010000000000000000", true, UINT64_MAX},
        {"63||0100000000000000000000000000000000000000", true, UINT64_MAX},
        {NULL, false, 0},
        {"63", false, 0},
        {"63|0000000000000007", false, 0},
        {"63|||0000000000000007", false, 0},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        zmsg_t *message = s_message (cases[i].message);
        uint64_t start = 77;
        zframe_t *client = NULL;
        bool good = kv_replay_request_read (message, &client, &start);
        assert_int_equal (good, cases[i].good);
        assert_true (!good || start == cases[i].start);
        assert_ptr_equal (client, good ? zmsg_first (message) : NULL);
        zmsg_destroy (&message);
    }
}

//  -- The endpoints of data-parallel ranks

static void test_rank_endpoints (void **state)
{
    static const struct {
        const char *endpoint;
        int rank;
        const char *own;
    } cases[] = {
        {"tcp://127.0.0.1:5557", 0, "tcp://127.0.0.1:5557"},
        {"tcp://127.0.0.1:5557", 1, "tcp://127.0.0.1:5558"},
        {"tcp://*:5557", 999, "tcp://*:6556"},
        {"tcp://[::1]:5557", 2, "tcp://[::1]:5559"},
        {"tcp://127.0.0.1:65535", 0, "tcp://127.0.0.1:65535"},
        {"tcp://127.0.0.1:65534", 1, "tcp://127.0.0.1:65535"},
        {"tcp://127.0.0.1:65535", 1, NULL},
        {"tcp://127.0.0.1:*", 3, "tcp://127.0.0.1:*"},
        {"tcp://127.0.0.1:0", 3, "tcp://127.0.0.1:0"},
        {"ipc:///tmp/kv", 0, "ipc:///tmp/kv"},
        {"ipc:///tmp/kv", 1, "ipc:///tmp/kv_dp1"},
        {"inproc://kv", 12, "inproc://kv_dp12"},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        char *own = kv_rank_endpoint (cases[i].endpoint, cases[i].rank);
        if (cases[i].own)
            assert_string_equal (own, cases[i].own);
        else
            assert_null (own);
        zstr_free (&own);
    }
}

//  -- The toy cache

static void test_toy_cache_wires (void **state)
{
    static const struct {
        toy_cache_t cache;
        uint64_t n;
        const char *text, *described;
    } cases[] = {
        {{KV_WIRE_V033, 0, 1, false},
         0,
         "[1.5,[{\"type\":\"BlockStored\",\"block_hashes\":[16294208416658607535],"
         "\"parent_block_hash\":null,\"token_ids\":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15],"
         "\"block_size\":16,\"lora_id\":null,\"medium\":\"GPU\",\"lora_name\":null,"
         "\"extra_keys\":[null],\"group_idx\":0,\"kv_cache_spec_kind\":\"full_attention\"}],0]",
         "BlockStored 1 block 16 tokens"},
        {{KV_WIRE_V033, 3, 2, true},
         9,
         "[1.5,[{\"type\":\"BlockStored\","
         "\"block_hashes\":[5331421562144073404,10087129721720759413],"
         "\"parent_block_hash\":12691426197160672498,\"token_ids\":[3288,3289,3290,3291,3292,3293,"
         "3294,3295,3296,3297,3298,3299,3300,3301,3302,3303,3304,3305,3306,3307,3308,3309,3310,"
         "3311,3312,3313,3314,3315,3316,3317,3318,3319],\"block_size\":16,\"lora_id\":5,"
         "\"medium\":\"GPU\",\"lora_name\":\"sql\",\"extra_keys\":[[\"img-1\",3],null],"
         "\"group_idx\":0,\"kv_cache_spec_kind\":\"sliding_window\","
         "\"kv_cache_spec_sliding_window\":4096,\"locality\":\"LOCAL\",\"ownership\":\"tier-1\","
         "\"session_id\":\"session-7\",\"lookahead_token_ids\":[[0],[1]]},"
         "{\"type\":\"BlockRemoved\",\"block_hashes\":[13473491427612330179],"
         "\"medium\":\"GPU\",\"group_idx\":0,\"locality\":\"LOCAL\",\"ownership\":\"tier-1\"},"
         "{\"type\":\"AllBlocksCleared\"}],3]",
         "BlockStored 2 blocks 32 tokens, BlockRemoved 1 block, AllBlocksCleared"},
        {{KV_WIRE_V026, 0, 1, true},
         4,
         "[1.5,[{\"type\":\"BlockStored\",\"block_hashes\":[1961750202426094747],"
         "\"parent_block_hash\":17909611376780542444,\"token_ids\":[64,65,66,67,68,69,70,71,72,73,"
         "74,75,76,77,78,79],\"block_size\":16,\"lora_id\":5,\"medium\":\"GPU\","
         "\"lora_name\":\"sql\",\"extra_keys\":[[\"img-1\",3]],\"group_idx\":0,"
         "\"kv_cache_spec_kind\":\"sliding_window\",\"kv_cache_spec_sliding_window\":4096,"
         "\"locality\":\"LOCAL\"},{\"type\":\"BlockRemoved\","
         "\"block_hashes\":[16294208416658607535],\"medium\":\"GPU\",\"group_idx\":0,"
         "\"locality\":\"LOCAL\"}],0]",
         "BlockStored 1 block 16 tokens, BlockRemoved 1 block"},
        {{KV_WIRE_V024, 0, 1, true},
         9,
         "[1.5,[{\"type\":\"BlockStored\",\"block_hashes\":[17561866513979060390],"
         "\"parent_block_hash\":4532161160992623299,\"token_ids\":[144,145,146,147,148,149,150,"
         "151,152,153,154,155,156,157,158,159],\"block_size\":16,\"lora_id\":5,"
         "\"medium\":\"GPU\",\"lora_name\":\"sql\",\"extra_keys\":[[\"img-1\",3]],"
         "\"group_idx\":0,\"kv_cache_spec_kind\":\"sliding_window\","
         "\"kv_cache_spec_sliding_window\":4096},{\"type\":\"BlockRemoved\","
         "\"block_hashes\":[7960286522194355700],\"medium\":\"GPU\",\"group_idx\":0},"
         "{\"type\":\"AllBlocksCleared\"}],0]",
         "BlockStored 1 block 16 tokens, BlockRemoved 1 block, AllBlocksCleared"},
        {{KV_WIRE_V09, 0, 1, true},
         9,
         "[1.5,[[\"BlockStored\",[17561866513979060390],4532161160992623299,[144,145,146,147,148,"
         "149,150,151,152,153,154,155,156,157,158,159],16,5],"
         "[\"BlockRemoved\",[7960286522194355700]],[\"AllBlocksCleared\"]]]",
         "BlockStored 1 block 16 tokens, BlockRemoved 1 block, AllBlocksCleared"},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        unit_is_text (toy_cache_batch (&cases[i].cache, cases[i].n, 1.5), cases[i].text);
        unit_is (toy_cache_describe (&cases[i].cache, cases[i].n), cases[i].described);
    }
}

//  Decodes batch n, and returns its events: arrays with the tag first
static const msgpack_object *s_toy_events (uint32_t blocks, uint64_t n, msgpack_unpacked *doc)
{
    const toy_cache_t cache = {.wire = KV_WIRE_V09, .blocks = blocks};
    zframe_t *frame = toy_cache_batch (&cache, n, 1.5);
    assert_int_equal (mp_decode (doc, zframe_data (frame), zframe_size (frame), "", NULL), 0);
    zframe_destroy (&frame);  //  All but its strings was copied
    return doc->data.via.array.ptr[1].via.array.ptr;
}

//  Element `place` of field `field` of an event
static uint64_t s_toy_item (const msgpack_object *event, uint32_t field, uint32_t place)
{
    const msgpack_object *list = &event->via.array.ptr[field];
    assert_true (place < list->via.array.size);
    return list->via.array.ptr[place].via.u64;
}

//  The parent of a block is the one before, no hash comes twice, half of them are above INT64_MAX,
//  and what is removed is the oldest
static void test_toy_cache_chain (void **state)
{
    uint64_t stored[100];
    size_t big = 0;
    for (uint64_t n = 0; n < COUNT (stored); n++) {
        msgpack_unpacked doc;
        const msgpack_object *events = s_toy_events (1, n, &doc);
        stored[n] = s_toy_item (&events[0], 1, 0);
        for (uint64_t i = 0; i < n; i++)
            assert_true (stored[i] != stored[n]);
        if (n > 0)
            assert_true (events[0].via.array.ptr[2].via.u64 == stored[n - 1]);
        if (n % 5 == 4)
            assert_true (s_toy_item (&events[1], 1, 0) == stored[n / 5]);
        big += stored[n] > INT64_MAX;
        msgpack_unpacked_destroy (&doc);
    }
    assert_true (big > 30 && big < 70);
}

//  Many blocks a batch are as many batches of one block; batch 7 of 256 passes the end of the
//  vocabulary
static void test_toy_cache_blocks (void **state)
{
    static const uint64_t batches[] = {0, 3, 7};
    for (size_t b = 0; b < COUNT (batches); b++) {
        msgpack_unpacked many, one;
        const msgpack_object *event = s_toy_events (TOY_CACHE_MAX_BLOCKS, batches[b], &many);
        for (uint32_t i = 0; i < TOY_CACHE_MAX_BLOCKS; i++) {
            uint64_t n = batches[b] * TOY_CACHE_MAX_BLOCKS + i;
            const msgpack_object *single = s_toy_events (1, n, &one);
            assert_true (s_toy_item (event, 1, i) == s_toy_item (single, 1, 0));
            for (uint32_t k = 0; k < TOY_CACHE_BLOCK_SIZE; k++) {
                uint64_t token = s_toy_item (event, 3, i * TOY_CACHE_BLOCK_SIZE + k);
                assert_true (token == s_toy_item (single, 3, k) && token < 32000);
            }
            msgpack_unpacked_destroy (&one);
        }
        msgpack_unpacked_destroy (&many);
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_send),
        cmocka_unit_test (test_read),
        cmocka_unit_test (test_replay_request_read),
        cmocka_unit_test (test_rank_endpoints),
        cmocka_unit_test (test_toy_cache_wires),
        cmocka_unit_test (test_toy_cache_chain),
        cmocka_unit_test (test_toy_cache_blocks),
    };
    return cmocka_run_group_tests_name ("kv_events", tests, s_open, s_close);
}
