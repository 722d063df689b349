//  SPDX-License-Identifier: MIT

#include "unit.h"
#include "vectors.h"

#include "kv/kv_json.h"

//  What the last call of s_print or s_notice printed
static char *text;

static int s_teardown (void **state)
{
    free (text);
    text = NULL;
    return 0;
}

static mp_slice_t s_slice (const char *string)
{
    return (mp_slice_t){string, strlen (string)};
}

static kv_numbered_t s_batch (zframe_t *payload, mp_slice_t topic, bool replayed)
{
    return (kv_numbered_t){.seq = 7,
                           .topic = topic,
                           .payload = {(const char *) zframe_data (payload), zframe_size (payload)},
                           .replayed = replayed};
}

//  Batch 7 of topic "kv", as it came live from the only publisher. Takes the payload over.
static bool s_print_as (zframe_t *payload, mp_slice_t topic, const char *endpoint, bool replayed,
                        mp_error_t *error)
{
    text_t line = {NULL, 0, 0};
    kv_numbered_t batch = s_batch (payload, topic, replayed);
    bool printed = kv_batch_print_json (&line, &batch, &(kv_json_t){.endpoint = endpoint}, error);
    free (text);
    text = text_take (&line);
    zframe_destroy (&payload);
    return printed;
}

static void s_is (zframe_t *payload, const char *json)
{
    mp_error_t error = {""};
    if (!s_print_as (payload, s_slice ("kv"), NULL, false, &error))
        fail_msg ("%s", error.text);
    assert_string_equal (text, json);
}

#define HEAD "{\"seq\":7,\"topic\":\"kv\",\"ts\":"

//  The one event of a batch, written as unit_pack wants it
static void s_event_is (const char *event, const char *json)
{
    char batch[1000], line[1000];
    snprintf (batch, sizeof batch, "[1.5,[%s],0]", event);
    snprintf (line, sizeof line, HEAD "1.5,\"dp_rank\":0,\"replayed\":false,\"events\":[%s]}\n",
              json);
    s_is (unit_frame (batch), line);
}

//  -- The generations of vLLM

static void test_v26 (void **state)
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
}

static void test_v9 (void **state)
{
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

static void test_no_events (void **state)
{
    s_is (unit_frame ("[1.5,[]]"), HEAD "1.5,\"replayed\":false,\"events\":[]}\n");
}

//  -- Fields

static void test_map_keeps_its_order (void **state)
{
    s_event_is ("{'medium':'GPU','block_hashes':[1],'type':'BlockRemoved'}",
                "{\"type\":\"BlockRemoved\",\"medium\":\"GPU\",\"block_hashes\":[1]}");
}

static void test_array_gets_names (void **state)
{
    s_event_is ("['BlockStored',[1],2,[3],4,5,'GPU','lora',[6],7,'kind',8,'LOCAL']",
                "{\"type\":\"BlockStored\",\"block_hashes\":[1],\"parent_block_hash\":2,"
                "\"token_ids\":[3],\"block_size\":4,\"lora_id\":5,\"medium\":\"GPU\","
                "\"lora_name\":\"lora\",\"extra_keys\":[6],\"group_idx\":7,"
                "\"kv_cache_spec_kind\":\"kind\",\"kv_cache_spec_sliding_window\":8,"
                "\"locality\":\"LOCAL\"}");
}

static void test_nil_is_not_absent (void **state)
{
    s_event_is ("['BlockRemoved',[1],null]",
                "{\"type\":\"BlockRemoved\",\"block_hashes\":[1],\"medium\":null}");
    s_event_is ("['BlockRemoved',[1]]", "{\"type\":\"BlockRemoved\",\"block_hashes\":[1]}");
    s_event_is ("{'type':'BlockRemoved','block_hashes':[1],'medium':null}",
                "{\"type\":\"BlockRemoved\",\"block_hashes\":[1],\"medium\":null}");
    s_event_is ("{'type':'BlockRemoved','block_hashes':[1]}",
                "{\"type\":\"BlockRemoved\",\"block_hashes\":[1]}");
}

static void test_rank_nil_or_absent (void **state)
{
    s_is (unit_frame ("[1.5,[],null]"),
          HEAD "1.5,\"dp_rank\":null,\"replayed\":false,\"events\":[]}\n");
    s_is (unit_frame ("[1.5,[]]"), HEAD "1.5,\"replayed\":false,\"events\":[]}\n");
}

//  Beyond what a double holds
static void test_integers_are_exact (void **state)
{
    s_event_is ("['BlockRemoved',[-9223372036854775808,18446744073709551615,9007199254740993]]",
                "{\"type\":\"BlockRemoved\",\"block_hashes\":"
                "[-9223372036854775808,18446744073709551615,9007199254740993]}");
}

static void test_hashes_of_bytes (void **state)
{
    s_event_is ("['BlockRemoved',[h'',h'00ff0aB01b',"
                "h'000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff']]",
                "{\"type\":\"BlockRemoved\",\"block_hashes\":[\"\",\"00ff0ab01b\","
                "\"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1eff\"]}");
}

//  -- What this reader does not know

static void test_unknown_keys (void **state)
{
    s_event_is ("{'type':'BlockRemoved','new':{'a':[1]},'block_hashes':[1],5:6}",
                "{\"type\":\"BlockRemoved\",\"new\":{\"a\":[1]},\"block_hashes\":[1],\"5\":6}");
}

//  Of equal keys the last one counts, as it does for readers of the JSON
static void test_two_tags (void **state)
{
    s_event_is ("{'type':'Other','type':'BlockRemoved','block_hashes':[1]}",
                "{\"type\":\"BlockRemoved\",\"block_hashes\":[1]}");
    s_event_is ("{'type':'BlockRemoved','block_hashes':[1],'type':'Other'}",
                "{\"type\":\"Other\",\"block_hashes\":[1]}");
}

//  Of a map with very many keys each is looked at once: a minute and more otherwise
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
    mp_error_t error = {""};
    int64_t begun = zclock_mono ();
    assert_true (s_print_as (mp_end (&writer), s_slice ("kv"), NULL, false, &error));
    assert_true (zclock_mono () - begun < 20000);
    assert_true (strlen (text) > 500000 * strlen (",\"k\":null"));
}

static void test_unknown_tags (void **state)
{
    s_event_is ("{'type':'BlockRemoved','a':1,'type':'BlockMoved'}",
                "{\"type\":\"BlockMoved\",\"a\":1}");
    s_event_is ("{'type':'BlockMoved','to':'CPU'}", "{\"type\":\"BlockMoved\",\"to\":\"CPU\"}");
    s_event_is ("['BlockMoved','CPU',2]",
                "{\"type\":\"BlockMoved\",\"field_1\":\"CPU\",\"field_2\":2}");
    s_event_is ("['BlockMoved']", "{\"type\":\"BlockMoved\"}");
}

//  Further elements are called after their place
static void test_tails (void **state)
{
    s_event_is ("['BlockRemoved',[1],'GPU',2,'LOCAL',true,6]",
                "{\"type\":\"BlockRemoved\",\"block_hashes\":[1],\"medium\":\"GPU\","
                "\"group_idx\":2,\"locality\":\"LOCAL\",\"field_5\":true,\"field_6\":6}");
    s_event_is ("['AllBlocksCleared',null]", "{\"type\":\"AllBlocksCleared\",\"field_1\":null}");
    s_is (unit_frame ("[1.5,[],0,'new',[4]]"), HEAD "1.5,\"dp_rank\":0,\"replayed\":false,"
                                                    "\"events\":[],\"field_3\":\"new\","
                                                    "\"field_4\":[4]}\n");
}

//  What JSON lacks, deep in a field that may hold anything
static void test_what_json_lacks (void **state)
{
    s_event_is ("['BlockStored',[],null,[],16,null,null,null,"
                "[[h'00ff',x'd40301',{1:2,null:3,[4]:5,h'06':7,'a':x'a1ff'}],"
                "x'cb7ff8000000000000',x'cbfff0000000000000']]",
                "{\"type\":\"BlockStored\",\"block_hashes\":[],\"parent_block_hash\":null,"
                "\"token_ids\":[],\"block_size\":16,\"lora_id\":null,\"medium\":null,"
                "\"lora_name\":null,\"extra_keys\":[[\"00ff\",\"01\",{\"1\":2,\"null\":3,"
                "\"[4]\":5,\"06\":7,\"a\":\"\\ufffd\"}],null,null]}");
}

static void test_ts (void **state)
{
    s_is (unit_frame ("[5,[]]"), HEAD "5,\"replayed\":false,\"events\":[]}\n");
    s_is (unit_frame ("[5.0,[]]"), HEAD "5.0,\"replayed\":false,\"events\":[]}\n");
    s_is (unit_frame ("[x'cb7ff8000000000000',[]]"),
          HEAD "null,\"replayed\":false,\"events\":[]}\n");
}

//  -- What the payload does not say

static void test_topic_endpoint_replayed (void **state)
{
    mp_error_t error;
    assert_true (
        s_print_as (unit_frame ("[1.5,[]]"), s_slice (""), "tcp://[::1]:5557", true, &error));
    assert_string_equal (text, "{\"seq\":7,\"topic\":\"\",\"endpoint\":\"tcp://[::1]:5557\","
                               "\"ts\":1.5,\"replayed\":true,\"events\":[]}\n");
}

static void test_hostile_topic (void **state)
{
    mp_error_t error;
    assert_true (s_print_as (unit_frame ("[1.5,[]]"), (mp_slice_t){"a\"\n\xff\0\xc3\xa9", 7},
                             "ipc://a\"b", false, &error));
    assert_string_equal (text, "{\"seq\":7,\"topic\":\"a\\\"\\n\\ufffd\\u0000\xc3\xa9\","
                               "\"endpoint\":\"ipc://a\\\"b\","
                               "\"ts\":1.5,\"replayed\":false,\"events\":[]}\n");
}

//  Lines are what a reader splits by: a batch is one of them, whatever is in it
static void test_one_line (void **state)
{
    s_event_is ("{'type':x'a3410a42',x'a10a':x'a20d0a'}",
                "{\"type\":\"A\\nB\",\"\\n\":\"\\r\\n\"}");
}

//  Of other publishers: what does not have vLLM's type is called by its place
static void test_other_types (void **state)
{
    s_event_is ("7", "{\"value\":7}");
    s_event_is ("[]", "{}");
    s_event_is ("[1,[2]]", "{\"field_0\":1,\"field_1\":[2]}");
    s_event_is ("{'event_type':'stored'}", "{\"event_type\":\"stored\"}");
    s_event_is ("['BlockRemoved',[1],7]",
                "{\"type\":\"BlockRemoved\",\"block_hashes\":[1],\"field_2\":7}");
    s_event_is ("['BlockStored',[1],'x',[[1,2]],null]",
                "{\"type\":\"BlockStored\",\"block_hashes\":[1],\"field_2\":\"x\","
                "\"token_ids\":[[1,2]],\"block_size\":null}");
}

static void test_string_hashes (void **state)
{
    text_t out = {NULL, 0, 0};
    zframe_t *frame = unit_frame ("[1.5,[['BlockStored',[18446744073709551615,h'01'],-5,[1],2],"
                                  "{'type':'X','seq_hashes':[3],'n':4}],0]");
    kv_numbered_t batch = s_batch (frame, (mp_slice_t){NULL, 0}, false);
    assert_true (kv_batch_print_json (&out, &batch, &(kv_json_t){.string_hashes = true}, NULL));
    char *line = text_take (&out);
    assert_string_equal (
        line, "{\"seq\":7,\"ts\":1.5,\"dp_rank\":0,\"replayed\":false,\"events\":["
              "{\"type\":\"BlockStored\",\"block_hashes\":[\"18446744073709551615\",\"01\"],"
              "\"parent_block_hash\":\"-5\",\"token_ids\":[1],\"block_size\":2},"
              "{\"type\":\"X\",\"seq_hashes\":[\"3\"],\"n\":4}]}\n");
    free (line);
    zframe_destroy (&frame);
}

static void test_described (void **state)
{
    zframe_t *frame = unit_frame ("[1.5,[['BlockStored',[1],null,[1,2],2],{'event_type':'x'},"
                                  "{'type':'BlockRemoved','block_hashes':[1,2]},7]]");
    kv_numbered_t batch = s_batch (frame, s_slice ("kv"), false);
    char *line = kv_payload_describe (&batch, NULL);
    assert_string_equal (line, "BlockStored 1 block 2 tokens, x, BlockRemoved 2 blocks, "
                               "an event without a type");
    zstr_free (&line);
    zframe_destroy (&frame);
}

static void test_refused_prints_nothing (void **state)
{
    static const struct {
        const char *payload, *why;
    } cases[] = {
        {"x'93'", "batch"},
        {"[1.5]", "batch: want an array of 2 or more, got 1"},
        {"[1.5,{}]", "batch.events: "},
        {"[1.5,null,0]", "batch.events: "},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        mp_error_t error = {""};
        assert_false (
            s_print_as (unit_frame (cases[i].payload), s_slice ("kv"), NULL, false, &error));
        assert_string_equal (text, "");
        if (strncmp (error.text, cases[i].why, strlen (cases[i].why)) != 0)
            fail_msg ("\"%s\" does not begin with \"%s\"", error.text, cases[i].why);
    }
}

//  A payload that is found sound while its rank is read is not checked again: so what would be
//  refused must not be found sound
static void test_sound (void **state)
{
    static const struct {
        const char *payload;
        bool sound, good;
    } cases[] = {
        {"[1.5,[['BlockRemoved',[1]]],0]", true, true},
        {"[1.5,[]]", true, true},
        {"[1.5,[],0,{'a':[1]}]", true, true},
        {"[1.5,[[[[[[[[[[]]]]]]]]]],0]", false, true},  //  Deeper than mp_pass looks
        {"[[[[[[[[[[[]]]]]]]]]],[]]", false, true},
        {"[1.5,{},0]", false, false},
        {"[1.5]", false, false},
        {"[1.5,[],0,x'c1']", false, false},
        {"[1.5,[],x'92']", false, false},
        {"x'9201900000'", false, false},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        zframe_t *frame = unit_frame (cases[i].payload);
        kv_numbered_t batch = s_batch (frame, s_slice ("kv"), false);
        kv_payload_rank (&batch);
        assert_int_equal (batch.sound, cases[i].sound);
        assert_int_equal (kv_payload_check (&batch, NULL), cases[i].good);
        zframe_destroy (&frame);
    }
    //  What mp_skip takes at any place, but mp_check does not in an array
    for (int place = 0; place < 3; place++) {
        char deep[2 * MP_MAX_DEPTH + 1], payload[200];
        memset (deep, '[', MP_MAX_DEPTH);
        memset (deep + MP_MAX_DEPTH, ']', MP_MAX_DEPTH);
        deep[2 * MP_MAX_DEPTH] = 0;
        snprintf (payload, sizeof payload, "[%s,%s,%s]", place == 0 ? deep : "1.5",
                  place == 1 ? deep : "[]", place == 2 ? deep : "0");
        zframe_t *frame = unit_frame (payload);
        kv_numbered_t batch = s_batch (frame, s_slice ("kv"), false);
        assert_int_equal (kv_payload_rank (&batch), place == 2 ? KV_RANK_NONE : 0);
        assert_false (batch.sound);
        assert_false (kv_payload_check (&batch, NULL));
        zframe_destroy (&frame);
    }
}

static bool s_decode (zframe_t *frame, mp_error_t *error)
{
    return s_print_as (zframe_dup (frame), s_slice ("kv"), NULL, false, error);
}

static void test_hostile (void **state)
{
    unit_hostile (s_decode, VECTOR (KV_MIXED_V26));
    unit_hostile (s_decode, VECTOR (KV_MIXED_V9));
}

//  -- Notices

static void s_notice_is (const char *endpoint, uint64_t first, uint64_t last, const char *what,
                         const char *json)
{
    text_t line = {NULL, 0, 0};
    kv_origin_t source = {.endpoint = endpoint, .rank = KV_RANK_NONE};
    kv_notice_print_json (&line, "gap", &source, first, last, what);
    free (text);
    text = text_take (&line);
    assert_string_equal (text, json);
}

static void test_notice_of_a_range (void **state)
{
    s_notice_is (NULL, 3, 5, "skipped",
                 "{\"notice\":\"gap\",\"first\":3,\"last\":5,\"count\":3,\"what\":\"skipped\"}\n");
}

static void test_notice_of_one (void **state)
{
    s_notice_is (NULL, 3, 3, "skipped",
                 "{\"notice\":\"gap\",\"seq\":3,\"first\":3,\"last\":3,\"count\":1,"
                 "\"what\":\"skipped\"}\n");
}

static void test_notice_of_none (void **state)
{
    s_notice_is (NULL, 1, 0, "skipped", "{\"notice\":\"gap\",\"what\":\"skipped\"}\n");
}

static void test_notice_of_high_numbers (void **state)
{
    s_notice_is (NULL, 0, UINT64_MAX - 1, "all",
                 "{\"notice\":\"gap\",\"first\":0,\"last\":18446744073709551614,"
                 "\"count\":18446744073709551615,\"what\":\"all\"}\n");
}

static void test_notice_escapes (void **state)
{
    s_notice_is ("ipc://a\"b", 1, 0, "field \"x\\y\"\n\xff",
                 "{\"notice\":\"gap\",\"endpoint\":\"ipc://a\\\"b\","
                 "\"what\":\"field \\\"x\\\\y\\\"\\n\\ufffd\"}\n");
}

int main (void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_teardown (name, s_teardown)
        TEST (test_v26),
        TEST (test_v9),
        TEST (test_no_events),
        TEST (test_map_keeps_its_order),
        TEST (test_array_gets_names),
        TEST (test_nil_is_not_absent),
        TEST (test_rank_nil_or_absent),
        TEST (test_integers_are_exact),
        TEST (test_hashes_of_bytes),
        TEST (test_unknown_keys),
        TEST (test_two_tags),
        TEST (test_many_keys),
        TEST (test_unknown_tags),
        TEST (test_tails),
        TEST (test_what_json_lacks),
        TEST (test_ts),
        TEST (test_topic_endpoint_replayed),
        TEST (test_hostile_topic),
        TEST (test_one_line),
        TEST (test_other_types),
        TEST (test_string_hashes),
        TEST (test_described),
        TEST (test_refused_prints_nothing),
        TEST (test_sound),
        TEST (test_hostile),
        TEST (test_notice_of_a_range),
        TEST (test_notice_of_one),
        TEST (test_notice_of_none),
        TEST (test_notice_of_high_numbers),
        TEST (test_notice_escapes),
#undef TEST
    };
    return cmocka_run_group_tests_name ("kv_json", tests, NULL, NULL);
}
