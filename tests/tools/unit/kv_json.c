//  SPDX-License-Identifier: MIT

#include "unit.h"
#include "vectors.h"

#include "kv/kv_json.h"

static kv_numbered_t s_batch (zframe_t *payload)
{
    return (kv_numbered_t){
        .seq = 7,
        .topic = {"kv", 2},
        .payload = {(const char *) zframe_data (payload), zframe_size (payload)}};
}

//  Prints batch 7 of topic "kv", as it came live from the only publisher. Destroys the payload.
static void s_is (zframe_t *payload, const char *json)
{
    text_t line = {NULL, 0, 0};
    mp_error_t error = {""};
    kv_numbered_t batch = s_batch (payload);
    if (!kv_batch_print_json (&line, &batch, &(kv_json_t){.endpoint = NULL}, &error))
        fail_msg ("%s", error.text);
    unit_is (text_take (&line), json);
    zframe_destroy (&payload);
}

#define HEAD "{\"seq\":7,\"topic\":\"kv\",\"ts\":"

//  -- The generations of vLLM

static void test_generations (void **state)
{
    s_is (unit_vector_frame (VECTOR (KV_MIXED_V26)),
          HEAD "1789095808.83,\"dp_rank\":3,\"replayed\":false,\"events\":["
               "{\"type\":\"BlockStored\",\"block_hashes\":[2],\"parent_block_hash\":1,"
               "\"token_ids\":[1000,1001,1002,1003,1004,1005,1006,1007,1008,1009,1010,1011,1012,"
               "1013,1014,1015],\"block_size\":16,\"lora_id\":null,\"medium\":\"GPU\","
               "\"lora_name\":null,\"extra_keys\":[null],\"group_idx\":0,"
               "\"kv_cache_spec_kind\":\"full_attention\"},"
               "{\"type\":\"BlockRemoved\",\"block_hashes\":[15760518052499183552],"
               "\"medium\":\"GPU\",\"group_idx\":0},"
               "{\"type\":\"AllBlocksCleared\"}]}\n");
    s_is (unit_vector_frame (VECTOR (KV_MIXED_V9)), HEAD
          "1789095808.83,\"replayed\":false,\"events\":["
          "{\"type\":\"BlockStored\","
          "\"block_hashes\":[-9223372036854775808,9223372036854775807],"
          "\"parent_block_hash\":-2686225562210368064,"
          "\"token_ids\":[1000,1001,1002,1003,1004,1005,1006,1007,1008,1009,1010,1011,1012,1013,"
          "1014,1015,1016,1017,1018,1019,1020,1021,1022,1023,1024,1025,1026,1027,1028,1029,1030,"
          "1031],\"block_size\":16,\"lora_id\":5},"
          "{\"type\":\"BlockRemoved\",\"block_hashes\":[-2686225562210368064]},"
          "{\"type\":\"AllBlocksCleared\"}]}\n");
}

static void test_batches (void **state)
{
    static const char *const cases[][2] = {
        {"[1.5,[]]", "1.5,\"replayed\":false,\"events\":[]}\n"},
        {"[1.5,[],null]", "1.5,\"dp_rank\":null,\"replayed\":false,\"events\":[]}\n"},
        {"[5,[]]", "5,\"replayed\":false,\"events\":[]}\n"},
        {"[5.0,[]]", "5.0,\"replayed\":false,\"events\":[]}\n"},
        {"[x'cb7ff8000000000000',[]]", "null,\"replayed\":false,\"events\":[]}\n"},
        //  Further elements are called after their place
        {"[1.5,[],0,'new',[4]]", "1.5,\"dp_rank\":0,\"replayed\":false,\"events\":[],"
                                 "\"field_3\":\"new\",\"field_4\":[4]}\n"},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        char line[200];
        snprintf (line, sizeof line, HEAD "%s", cases[i][1]);
        s_is (unit_frame (cases[i][0]), line);
    }
}

//  The one event of a batch
static void test_events (void **state)
{
    static const char *const cases[][2] = {
        //  A map keeps its order, an array gets names
        {"{'medium':'GPU','block_hashes':[1],'type':'BlockRemoved'}",
         "{\"type\":\"BlockRemoved\",\"medium\":\"GPU\",\"block_hashes\":[1]}"},
        {"['BlockStored',[1],2,[3],4,5,'GPU','lora',[6],7,'kind',8,'LOCAL']",
         "{\"type\":\"BlockStored\",\"block_hashes\":[1],\"parent_block_hash\":2,"
         "\"token_ids\":[3],\"block_size\":4,\"lora_id\":5,\"medium\":\"GPU\","
         "\"lora_name\":\"lora\",\"extra_keys\":[6],\"group_idx\":7,"
         "\"kv_cache_spec_kind\":\"kind\",\"kv_cache_spec_sliding_window\":8,"
         "\"locality\":\"LOCAL\"}"},
        //  Nil is not the same as not there
        {"['BlockRemoved',[1],null]",
         "{\"type\":\"BlockRemoved\",\"block_hashes\":[1],\"medium\":null}"},
        {"['BlockRemoved',[1]]", "{\"type\":\"BlockRemoved\",\"block_hashes\":[1]}"},
        {"{'type':'BlockRemoved','block_hashes':[1],'medium':null}",
         "{\"type\":\"BlockRemoved\",\"block_hashes\":[1],\"medium\":null}"},
        //  Integers beyond what a double holds; hashes of bytes
        {"['BlockRemoved',[-9223372036854775808,18446744073709551615,9007199254740993]]",
         "{\"type\":\"BlockRemoved\",\"block_hashes\":"
         "[-9223372036854775808,18446744073709551615,9007199254740993]}"},
        {"['BlockRemoved',[h'',h'00ff0aB01b']]",
         "{\"type\":\"BlockRemoved\",\"block_hashes\":[\"\",\"00ff0ab01b\"]}"},
        //  What this reader does not know
        {"{'type':'BlockRemoved','new':{'a':[1]},'block_hashes':[1],5:6}",
         "{\"type\":\"BlockRemoved\",\"new\":{\"a\":[1]},\"block_hashes\":[1],\"5\":6}"},
        {"{'type':'BlockMoved','to':'CPU'}", "{\"type\":\"BlockMoved\",\"to\":\"CPU\"}"},
        {"['BlockMoved','CPU',2]", "{\"type\":\"BlockMoved\",\"field_1\":\"CPU\",\"field_2\":2}"},
        {"['BlockMoved']", "{\"type\":\"BlockMoved\"}"},
        //  Of equal keys the last one counts, as it does for readers of the JSON
        {"{'type':'BlockRemoved','a':1,'type':'BlockMoved'}", "{\"type\":\"BlockMoved\",\"a\":1}"},
        {"{'type':'Other','type':'BlockRemoved','block_hashes':[1]}",
         "{\"type\":\"BlockRemoved\",\"block_hashes\":[1]}"},
        //  Further elements are called after their place
        {"['BlockRemoved',[1],'GPU',2,'LOCAL',true,6]",
         "{\"type\":\"BlockRemoved\",\"block_hashes\":[1],\"medium\":\"GPU\","
         "\"group_idx\":2,\"locality\":\"LOCAL\",\"field_5\":true,\"field_6\":6}"},
        {"['AllBlocksCleared',null]", "{\"type\":\"AllBlocksCleared\",\"field_1\":null}"},
        //  What JSON lacks, deep in a field that may hold anything
        {"['BlockStored',[],null,[],16,null,null,null,"
         "[[h'00ff',x'd40301',{1:2,null:3,[4]:5,h'06':7,'a':x'a1ff'}],"
         "x'cb7ff8000000000000',x'cbfff0000000000000']]",
         "{\"type\":\"BlockStored\",\"block_hashes\":[],\"parent_block_hash\":null,"
         "\"token_ids\":[],\"block_size\":16,\"lora_id\":null,\"medium\":null,"
         "\"lora_name\":null,\"extra_keys\":[[\"00ff\",\"01\",{\"1\":2,\"null\":3,"
         "\"[4]\":5,\"06\":7,\"a\":\"\\ufffd\"}],null,null]}"},
        //  A batch is one line
        {"{'type':x'a3410a42',x'a10a':x'a20d0a'}", "{\"type\":\"A\\nB\",\"\\n\":\"\\r\\n\"}"},
        //  Of other publishers: what does not have vLLM's type is called by its place
        {"7", "{\"value\":7}"},
        {"[]", "{}"},
        {"[1,[2]]", "{\"field_0\":1,\"field_1\":[2]}"},
        {"{'event_type':'stored'}", "{\"event_type\":\"stored\"}"},
        {"['BlockRemoved',[1],7]",
         "{\"type\":\"BlockRemoved\",\"block_hashes\":[1],\"field_2\":7}"},
        {"['BlockStored',[1],'x',[[1,2]],null]",
         "{\"type\":\"BlockStored\",\"block_hashes\":[1],\"field_2\":\"x\","
         "\"token_ids\":[[1,2]],\"block_size\":null}"},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        char batch[300], line[600];
        snprintf (batch, sizeof batch, "[1.5,[%s],0]", cases[i][0]);
        snprintf (line, sizeof line, HEAD "1.5,\"dp_rank\":0,\"replayed\":false,\"events\":[%s]}\n",
                  cases[i][1]);
        s_is (unit_frame (batch), line);
    }
}

//  The keys of a large map are each read once. If each were compared with all others, this would
//  take more than a minute of CPU.
static void test_many_keys (void **state)
{
    mp_writer_t writer;
    msgpack_packer *packer = mp_begin (&writer);
    unit_pack (packer, "x'93'");
    unit_pack (packer, "1.5");
    msgpack_pack_array (packer, 1);
    msgpack_pack_map (packer, 500001);
    unit_pack (packer, "'type'");
    unit_pack (packer, "'New'");
    for (size_t i = 0; i < 500000; i++)
        unit_pack (packer, "x'a16bc0'");
    unit_pack (packer, "0");
    text_t line = {NULL, 0, 0};
    zframe_t *frame = mp_end (&writer);
    kv_numbered_t batch = s_batch (frame);
    clock_t begun = clock ();
    assert_true (kv_batch_print_json (&line, &batch, &(kv_json_t){.endpoint = NULL}, NULL));
    assert_true (clock () - begun < 20 * CLOCKS_PER_SEC);
    assert_true (line.size > 500000 * strlen (",\"k\":null"));
    text_destroy (&line);
    zframe_destroy (&frame);
}

//  -- What the payload does not say

static void test_origin (void **state)
{
    static const struct {
        mp_slice_t topic;
        kv_json_t how;
        bool replayed;
        const char *payload, *json;
    } cases[] = {
        {{"", 0},
         {.endpoint = "tcp://[::1]:5557"},
         true,
         "[1.5,[]]",
         "{\"seq\":7,\"topic\":\"\",\"endpoint\":\"tcp://[::1]:5557\","
         "\"ts\":1.5,\"replayed\":true,\"events\":[]}\n"},
        {{"a\"\n\xff\0\xc3\xa9", 7},
         {.endpoint = "ipc://a\"b"},
         false,
         "[1.5,[]]",
         "{\"seq\":7,\"topic\":\"a\\\"\\n\\ufffd\\u0000\xc3\xa9\",\"endpoint\":\"ipc://a\\\"b\","
         "\"ts\":1.5,\"replayed\":false,\"events\":[]}\n"},
        {{NULL, 0},
         {.string_hashes = true},
         false,
         "[1.5,[['BlockStored',[18446744073709551615,h'01'],-5,[1],2],"
         "{'type':'X','seq_hashes':[3],'n':4}],0]",
         "{\"seq\":7,\"ts\":1.5,\"dp_rank\":0,\"replayed\":false,\"events\":["
         "{\"type\":\"BlockStored\",\"block_hashes\":[\"18446744073709551615\",\"01\"],"
         "\"parent_block_hash\":\"-5\",\"token_ids\":[1],\"block_size\":2},"
         "{\"type\":\"X\",\"seq_hashes\":[\"3\"],\"n\":4}]}\n"},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        text_t line = {NULL, 0, 0};
        zframe_t *frame = unit_frame (cases[i].payload);
        kv_numbered_t batch = s_batch (frame);
        batch.topic = cases[i].topic;
        batch.replayed = cases[i].replayed;
        assert_true (kv_batch_print_json (&line, &batch, &cases[i].how, NULL));
        unit_is (text_take (&line), cases[i].json);
        zframe_destroy (&frame);
    }
}

static void test_described (void **state)
{
    zframe_t *frame = unit_frame ("[1.5,[['BlockStored',[1],null,[1,2],2],{'event_type':'x'},"
                                  "{'type':'BlockRemoved','block_hashes':[1,2]},7]]");
    kv_numbered_t batch = s_batch (frame);
    unit_is (kv_payload_describe (&batch, NULL),
             "BlockStored 1 block 2 tokens, x, BlockRemoved 2 blocks, an event without a type");
    zframe_destroy (&frame);
}

//  For unit.h. What is refused prints nothing.
static bool s_decode (zframe_t *frame, mp_error_t *error)
{
    text_t line = {NULL, 0, 0};
    kv_numbered_t batch = s_batch (frame);
    bool printed = kv_batch_print_json (&line, &batch, &(kv_json_t){.endpoint = NULL}, error);
    assert_int_equal (line.size > 0, printed);
    text_destroy (&line);
    return printed;
}

static void test_hostile (void **state)
{
    unit_refuses (s_decode, unit_frame ("x'93'"), "batch");
    unit_refuses (s_decode, unit_frame ("[1.5]"), "batch: want an array of 2 or more, got 1");
    unit_refuses (s_decode, unit_frame ("[1.5,{}]"), "batch.events: ");
    unit_refuses (s_decode, unit_frame ("[1.5,null,0]"), "batch.events: ");
    unit_hostile (s_decode, VECTOR (KV_MIXED_V26));
    unit_hostile (s_decode, VECTOR (KV_MIXED_V9));
}

//  A payload that is found sound while its rank is read is not checked again: so what would be
//  refused must not be found sound
static void test_sound (void **state)
{
//  32 arrays: what mp_skip takes at any place, but mp_check does not in an array
#define DEEP "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"
    static const struct {
        const char *payload;
        int64_t rank;
        bool sound, good;
    } cases[] = {
        {"[1.5,[['BlockRemoved',[1]]],7]", 7, true, true},
        {"[1.5,[]]", KV_RANK_NONE, true, true},
        {"[1.5,[],null]", KV_RANK_NONE, true, true},
        {"[1.5,[],-1]", KV_RANK_NONE, true, true},
        {"[1.5,[],9223372036854775807]", INT64_MAX, true, true},
        {"[1.5,[],9223372036854775808]", KV_RANK_NONE, true, true},
        {"[1.5,[],0,{'a':[1]}]", 0, true, true},
        {"[1.5,[[[[[[[[[[]]]]]]]]]],0]", 0, false, true},  //  Deeper than mp_pass looks
        {"[[[[[[[[[[[]]]]]]]]]],[]]", KV_RANK_NONE, false, true},
        {"[1.5,{},0]", 0, false, false},
        {"[1.5]", KV_RANK_UNREADABLE, false, false},
        {"[1.5,[],0,x'c1']", 0, false, false},
        {"[1.5,[],x'92']", KV_RANK_NONE, false, false},
        {"x'92cb'", KV_RANK_UNREADABLE, false, false},
        {"x'930190'", KV_RANK_UNREADABLE, false, false},
        {"x'9201900000'", KV_RANK_NONE, false, false},
        {"[" DEEP ",[],0]", 0, false, false},
        {"[1.5," DEEP ",0]", 0, false, false},
        {"[1.5,[]," DEEP "]", KV_RANK_NONE, false, false},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        zframe_t *frame = unit_frame (cases[i].payload);
        kv_numbered_t batch = s_batch (frame);
        if (kv_payload_rank (&batch) != cases[i].rank || batch.sound != cases[i].sound ||
            kv_payload_check (&batch, NULL) != cases[i].good)
            fail_msg ("%s", cases[i].payload);
        zframe_destroy (&frame);
    }
}

//  -- Notices

static void test_notices (void **state)
{
    static const struct {
        const char *endpoint;
        uint64_t first, last;
        const char *what, *json;
    } cases[] = {
        {NULL, 3, 5, "skipped",
         "{\"notice\":\"gap\",\"first\":3,\"last\":5,\"count\":3,\"what\":\"skipped\"}\n"},
        {NULL, 3, 3, "skipped",
         "{\"notice\":\"gap\",\"seq\":3,\"first\":3,\"last\":3,\"count\":1,"
         "\"what\":\"skipped\"}\n"},
        {NULL, 1, 0, "skipped", "{\"notice\":\"gap\",\"what\":\"skipped\"}\n"},
        {NULL, 0, UINT64_MAX - 1, "all",
         "{\"notice\":\"gap\",\"first\":0,\"last\":18446744073709551614,"
         "\"count\":18446744073709551615,\"what\":\"all\"}\n"},
        {"ipc://a\"b", 1, 0, "field \"x\\y\"\n\xff",
         "{\"notice\":\"gap\",\"endpoint\":\"ipc://a\\\"b\","
         "\"what\":\"field \\\"x\\\\y\\\"\\n\\ufffd\"}\n"},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        text_t line = {NULL, 0, 0};
        kv_origin_t origin = {.endpoint = cases[i].endpoint, .rank = KV_RANK_NONE};
        kv_notice_print_json (&line, "gap", &origin, cases[i].first, cases[i].last, cases[i].what);
        unit_is (text_take (&line), cases[i].json);
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_generations), cmocka_unit_test (test_batches),
        cmocka_unit_test (test_events),      cmocka_unit_test (test_many_keys),
        cmocka_unit_test (test_origin),      cmocka_unit_test (test_described),
        cmocka_unit_test (test_sound),       cmocka_unit_test (test_hostile),
        cmocka_unit_test (test_notices),
    };
    return cmocka_run_group_tests_name ("kv_json", tests, NULL, NULL);
}
