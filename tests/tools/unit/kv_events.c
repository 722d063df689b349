//  SPDX-License-Identifier: MIT

#include "unit.h"
#include "vectors.h"

#include "kv/kv_events.h"
#include "kv/toy_cache.h"

static void s_same_slice (mp_slice_t slice, mp_slice_t want)
{
    assert_int_equal (!slice.data, !want.data);
    assert_int_equal (slice.size, want.size);
    if (want.size > 0)
        assert_memory_equal (slice.data, want.data, want.size);
}

static void test_wire_names (void **state)
{
    assert_int_equal (kv_wire_from_name ("v0.9"), KV_WIRE_V09);
    assert_int_equal (kv_wire_from_name ("v0.24"), KV_WIRE_V024);
    assert_int_equal (kv_wire_from_name ("v0.26"), KV_WIRE_V026);
    assert_int_equal (kv_wire_from_name ("v0.33"), KV_WIRE_V033);
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
        char *text = toy_cache_describe (&cases[i].cache, cases[i].n);
        assert_string_equal (text, cases[i].described);
        zstr_free (&text);
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
        cmocka_unit_test (test_wire_names),
        cmocka_unit_test (test_message),
        cmocka_unit_test (test_message_wrong),
        cmocka_unit_test (test_replay_request),
        cmocka_unit_test (test_replay_request_lengths),
        cmocka_unit_test (test_replay_reply),
        cmocka_unit_test (test_replay_reply_wrong),
        cmocka_unit_test (test_reply_without_a_payload_is_an_end),
        cmocka_unit_test (test_toy_cache_wires),
        cmocka_unit_test (test_toy_cache_chain),
        cmocka_unit_test (test_toy_cache_blocks),
    };
    return cmocka_run_group_tests_name ("kv_events", tests, s_open, s_close);
}
