//  SPDX-License-Identifier: MIT

#include "hear.h"
#include "lib/log.h"

#include "engine/requests.h"

static int s_setup (void **state)
{
    log_program = "frontend";
    log_level = LOG_LINES;
    return 0;
}

//  Sends a request, of which only the line is looked at
static void s_send (requests_t *self, int number, int engine)
{
    hear_begin ();
    zmsg_t *message = requests_message (self, number, engine);
    hear_end ();
    assert_non_null (message);
    zmsg_destroy (&message);
}

static void s_take_frame (requests_t *self, zframe_t *frame)
{
    assert_non_null (frame);
    zmsg_t *message = zmsg_new ();
    zmsg_append (message, &frame);
    hear_begin ();
    requests_take (self, message);
    hear_end ();
    //  The message stays the caller's
    assert_int_equal (zmsg_size (message), 1);
    zmsg_destroy (&message);
}

//  Takes one output of engine 1
static void s_take (requests_t *self, const char *id, size_t tokens, engine_core_finish_t reason)
{
    static const uint32_t token_ids[] = {17, 18, 19};
    engine_core_output_t output = {.request_id = id,
                                   .new_token_ids = token_ids,
                                   .new_token_count = tokens,
                                   .finish_reason = reason};
    engine_core_outputs_t outputs = {.engine_index = 1, .outputs = &output, .output_count = 1};
    s_take_frame (self, engine_core_outputs_encode (&outputs));
}

static void s_has_summary (requests_t *self, const char *summary)
{
    hear_begin ();
    requests_print_summary (self);
    hear_end ();
    assert_string_equal (said, summary);
}

static void test_request (void **state)
{
    requests_t *self = requests_new (12, 4, false);
    assert_int_equal (requests_open (self), 12);
    assert_false (requests_complete (self));

    hear_begin ();
    zmsg_t *message = requests_message (self, 11, 258);
    hear_end ();
    assert_string_equal (said, "r11 -> engine 258\n");
    assert_int_equal (zmsg_size (message), 3);
    zframe_t *frame = zmsg_pop (message);
    assert_int_equal (zframe_size (frame), 2);
    assert_memory_equal (zframe_data (frame), "\x02\x01", 2);
    zframe_destroy (&frame);
    frame = zmsg_pop (message);
    assert_int_equal (zframe_size (frame), 1);
    assert_int_equal (*zframe_data (frame), ENGINE_CORE_ADD);
    zframe_destroy (&frame);
    frame = zmsg_pop (message);
    engine_core_request_t *request = engine_core_request_decode (frame, NULL);
    assert_non_null (request);
    assert_string_equal (request->request_id, "r11");
    assert_true (request->prompt_token_count > 0);
    assert_int_equal (request->max_tokens, 4);
    assert_int_equal (request->client_index, 0);
    double now = (double) zclock_time () / 1000;
    assert_true (request->arrival_time > now - 60 && request->arrival_time < now + 60);
    engine_core_request_destroy (&request);
    zframe_destroy (&frame);
    zmsg_destroy (&message);
    assert_int_equal (requests_open (self), 12);
    requests_destroy (&self);
    assert_null (self);
    requests_destroy (&self);
}

//  Outputs in any order, several tokens at a time, several requests in a message
static void test_take (void **state)
{
    requests_t *self = requests_new (3, 4, false);
    s_send (self, 0, 1);
    s_send (self, 1, 1);
    s_send (self, 2, 1);
    s_take (self, "r1", 1, ENGINE_CORE_RUNNING);
    assert_string_equal (said, "");
    assert_string_equal (complained, "");
    assert_int_equal (requests_open (self), 3);

    static const uint32_t token_ids[] = {17, 18, 19};
    engine_core_output_t list[] = {
        {.request_id = "r2",
         .new_token_ids = token_ids,
         .new_token_count = 2,
         .finish_reason = ENGINE_CORE_STOP},
        {.request_id = "r1",
         .new_token_ids = token_ids,
         .new_token_count = 3,
         .finish_reason = ENGINE_CORE_LENGTH},
        {.request_id = "r0",
         .new_token_ids = NULL,
         .new_token_count = 0,
         .finish_reason = ENGINE_CORE_RUNNING},
    };
    engine_core_outputs_t outputs = {.engine_index = 1, .outputs = list, .output_count = 3};
    s_take_frame (self, engine_core_outputs_encode (&outputs));
    assert_string_equal (said, "r2 <- engine 1: 2 tokens, stop\n"
                               "r1 <- engine 1: 4 tokens, length\n");
    assert_string_equal (complained, "");
    assert_int_equal (requests_open (self), 1);
    assert_false (requests_complete (self));

    s_take (self, "r0", 3, ENGINE_CORE_LENGTH);
    assert_int_equal (requests_open (self), 0);
    assert_true (requests_complete (self));
    s_has_summary (self, "frontend: 3 of 3 requests complete, 9 tokens\n");
    assert_string_equal (complained, "");
    requests_destroy (&self);
}

static void test_stream (void **state)
{
    requests_t *self = requests_new (1, 4, true);
    s_send (self, 0, 1);
    s_take (self, "r0", 2, ENGINE_CORE_RUNNING);
    assert_string_equal (said, "r0 <- engine 1: token 17\nr0 <- engine 1: token 18\n");
    s_take (self, "r0", 1, ENGINE_CORE_LENGTH);
    assert_string_equal (said, "r0 <- engine 1: token 17\nr0 <- engine 1: 3 tokens, length\n");
    requests_destroy (&self);
}

//  Aborted, or in error: it has ended, and yet all is not complete
static void test_not_complete (void **state)
{
    static const engine_core_finish_t reasons[] = {ENGINE_CORE_ABORTED, ENGINE_CORE_ERROR,
                                                   ENGINE_CORE_REPETITION};
    static const char *const names[] = {"abort", "error", "repetition"};
    for (size_t i = 0; i < COUNT (reasons); i++) {
        requests_t *self = requests_new (2, 4, false);
        s_send (self, 0, 1);
        s_send (self, 1, 1);
        s_take (self, "r0", 2, ENGINE_CORE_LENGTH);
        s_take (self, "r1", 1, reasons[i]);
        char line[60];
        snprintf (line, sizeof line, "r1 <- engine 1: 1 token, %s\n", names[i]);
        assert_string_equal (said, line);
        assert_int_equal (requests_open (self), 0);
        assert_false (requests_complete (self));
        s_has_summary (self, "frontend: 1 of 2 requests complete, 3 tokens\n");
        assert_string_equal (complained, "frontend: 1 request ended early\n");
        requests_destroy (&self);
    }
}

//  About no open request: told on stderr, and nothing is counted
static void test_strange_ids (void **state)
{
    static const char *const ids[] = {
        "",
        "r",
        "r2",
        "r3",
        "r4",
        "r01",
        "r-1",
        "r+1",
        "r 1",
        "r1 ",
        "r1x",
        "R1",
        "1",
        "xr1",
        "r0x1",
        "r1.0",
        "r10",
        "r-0",
        "r00",
        "rr1",
        "r1r",
        "r\t1",
        "\xc3\xbf",
        "r2147483648",
        "r4294967297",
        "r99999999999999999999",
        "r-99999999999999999999",
        "r18446744073709551617",
    };
    requests_t *self = requests_new (4, 4, true);
    s_send (self, 0, 1);
    s_send (self, 1, 1);
    s_send (self, 3, 1);
    s_take (self, "r3", 1, ENGINE_CORE_LENGTH);  //  And so r3 is not open; r2 was not sent
    for (size_t i = 0; i < COUNT (ids); i++) {
        s_take (self, ids[i], 1, ENGINE_CORE_LENGTH);
        assert_string_equal (said, "");
        char line[100];
        snprintf (line, sizeof line, "frontend: engine 1: no open request has the id %s\n",
                  streq (ids[i], "r\t1") ? "r?1" : ids[i]);
        assert_string_equal (complained, line);
    }
    assert_int_equal (requests_open (self), 3);
    s_has_summary (self, "frontend: 1 of 4 requests complete, 1 token\n");
    assert_string_equal (complained, "");
    requests_destroy (&self);
}

//  The end of a request counts once, in one message too
static void test_finished_twice (void **state)
{
    requests_t *self = requests_new (2, 4, false);
    s_send (self, 0, 0);
    s_send (self, 1, 0);
    engine_core_output_t list[] = {
        {.request_id = "r0",
         .new_token_ids = NULL,
         .new_token_count = 0,
         .finish_reason = ENGINE_CORE_LENGTH},
        {.request_id = "r0",
         .new_token_ids = NULL,
         .new_token_count = 0,
         .finish_reason = ENGINE_CORE_LENGTH},
    };
    engine_core_outputs_t outputs = {.outputs = list, .output_count = 2};
    s_take_frame (self, engine_core_outputs_encode (&outputs));
    assert_string_equal (said, "r0 <- engine 0: 0 tokens, length\n");
    assert_string_equal (complained, "frontend: engine 0: no open request has the id r0\n");
    assert_int_equal (requests_open (self), 1);
    assert_false (requests_complete (self));
    requests_destroy (&self);
}

static void test_bad_outputs (void **state)
{
    static const struct {
        const char *text;
        const char *why;
    } cases[] = {
        {"x''", "EngineCoreOutputs: empty"},
        {"x'c1'", "EngineCoreOutputs: not msgpack"},
        {"{}", "EngineCoreOutputs: want an array, got map"},
        {"[0,[['r0']]]", "EngineCoreOutput: want an array of 2 or more, got 1"},
        //  All or nothing: the good output before the bad one does not count
        {"[0,[['r0',[1],null,null,null,1],['r1',['x']]]]",
         "EngineCoreOutput.new_token_ids: [0]: want an unsigned integer, got str"},
    };
    requests_t *self = requests_new (1, 4, false);
    s_send (self, 0, 0);
    for (size_t i = 0; i < COUNT (cases); i++) {
        s_take_frame (self, unit_frame (cases[i].text));
        char begin[120];
        snprintf (begin, sizeof begin, "frontend: bad outputs: %s", cases[i].why);
        assert_memory_equal (complained, begin, strlen (begin));
        assert_string_equal (said, "");
    }
    assert_int_equal (requests_open (self), 1);
    //  A message of outputs without any is fine
    s_take_frame (self, unit_frame ("[0,[],null,0.0,null,null,null,null]"));
    assert_string_equal (complained, "");
    //  And so is one with tensors behind
    zmsg_t *message = zmsg_new ();
    zframe_t *frame = unit_frame ("[0,[['r0',[1],null,null,null,1]]]");
    zmsg_append (message, &frame);
    zmsg_addmem (message, "\xc1", 1);
    hear_begin ();
    requests_take (self, message);
    hear_end ();
    assert_int_equal (requests_open (self), 0);
    zmsg_destroy (&message);
    requests_destroy (&self);
}

//  The ids in an ABORT for engine `engine`, or "nothing"
static void s_aborts (requests_t *self, int engine, const char *ids)
{
    hear_begin ();
    zmsg_t *message = requests_abort (self, engine);
    hear_end ();
    if (!message) {
        assert_string_equal (ids, "nothing");
        assert_string_equal (said, "");
        return;
    }
    assert_int_equal (zmsg_size (message), 3);
    zframe_t *identity = zmsg_pop (message);
    assert_int_equal (engine_core_index (identity), engine);
    zframe_t *type = zmsg_pop (message);
    assert_int_equal (*zframe_data (type), ENGINE_CORE_ABORT);
    unit_is_text (zmsg_pop (message), ids);
    zframe_destroy (&identity);
    zframe_destroy (&type);
    zmsg_destroy (&message);
}

static void test_abort (void **state)
{
    requests_t *self = requests_new (6, 4, false);
    s_aborts (self, 0, "nothing");
    for (int i = 0; i < 5; i++)
        s_send (self, i, i % 2);
    s_aborts (self, 0, "[\"r0\",\"r2\",\"r4\"]");
    assert_string_equal (said, "aborting 3 requests at engine 0\n");
    //  Engine 1 has nothing to say about another's request
    s_take (self, "r2", 1, ENGINE_CORE_LENGTH);
    assert_string_equal (complained, "frontend: engine 1: no open request has the id r2\n");
    s_aborts (self, 1, "[\"r1\",\"r3\"]");
    s_take (self, "r3", 1, ENGINE_CORE_LENGTH);
    s_aborts (self, 1, "[\"r1\"]");
    s_aborts (self, 2, "nothing");
    s_aborts (self, -1, "nothing");  //  r5 was not sent: it is at no engine
    requests_destroy (&self);

    //  All that there are
    self = requests_new (2, 4, false);
    s_send (self, 0, 3);
    s_send (self, 1, 3);
    s_aborts (self, 3, "[\"r0\",\"r1\"]");
    requests_destroy (&self);
}

static void test_say_engine (void **state)
{
    requests_t *self = requests_new (10, 4, false);
    for (int i = 0; i < 9; i++)
        s_send (self, i, i % 2);
    s_take (self, "r3", 1, ENGINE_CORE_LENGTH);
    static const char *const lines[] = {"engine 0: r0 r2 r4 r6 r8\n", "engine 1: r1 r3 r5 r7\n",
                                        "engine 2:\n"};
    for (int engine = 0; engine < 3; engine++) {
        hear_begin ();
        requests_print_engine (self, engine);
        hear_end ();
        assert_string_equal (said, lines[engine]);
    }
    requests_destroy (&self);
}

//  Engine 1 is dead: what is open there is lost, and nothing else
static void s_lose (requests_t *self, int engine, bool reroute, int count, const char *lines)
{
    hear_begin ();
    int lost = requests_engine_died (self, engine, reroute);
    hear_end ();
    assert_int_equal (lost, count);
    assert_string_equal (said, lines);
}

static void test_lose (void **state)
{
    requests_t *self = requests_new (5, 4, false);
    for (int i = 0; i < 4; i++) {
        assert_int_equal (requests_unsent (self), i);
        s_send (self, i, i % 2);
    }
    assert_int_equal (requests_unsent (self), 4);
    assert_int_equal (requests_in_flight (self), 4);
    s_take (self, "r1", 1, ENGINE_CORE_LENGTH);
    assert_int_equal (requests_in_flight (self), 3);
    s_lose (self, 2, false, 0, "");
    s_lose (self, 1, false, 1, "r3 failed: engine 1 is dead\n");
    s_lose (self, 1, false, 0, "");
    assert_int_equal (requests_open (self), 3);
    assert_int_equal (requests_in_flight (self), 2);
    s_aborts (self, 1, "nothing");
    //  Its last words come too late
    s_take (self, "r3", 1, ENGINE_CORE_LENGTH);
    assert_string_equal (complained, "frontend: engine 1: no open request has the id r3\n");
    //  It was told that r3 is lost: the summary has not to complain of that again
    s_lose (self, 0, false, 2, "r0 failed: engine 0 is dead\nr2 failed: engine 0 is dead\n");
    s_lose (self, -1, false, 1, "r4 failed: no engine is left\n");
    assert_int_equal (requests_unsent (self), -1);
    assert_int_equal (requests_open (self), 0);
    assert_int_equal (requests_in_flight (self), 0);
    assert_false (requests_complete (self));
    s_has_summary (self, "frontend: 1 of 5 requests complete, 1 token\n");
    assert_string_equal (complained, "");
    requests_destroy (&self);
}

static void test_reroute (void **state)
{
    requests_t *self = requests_new (4, 4, false);
    for (int i = 0; i < 4; i++)
        s_send (self, i, i % 2);
    s_take (self, "r1", 1, ENGINE_CORE_RUNNING);
    s_lose (self, 1, true, 2,
            "r1 to be sent again: engine 1 is dead\nr3 to be sent again: engine 1 is dead\n");
    assert_int_equal (requests_open (self), 4);
    assert_int_equal (requests_in_flight (self), 2);
    //  At no engine for now, and what engine 1 still had to say is no part of it
    s_aborts (self, 1, "nothing");
    s_take (self, "r1", 1, ENGINE_CORE_LENGTH);
    assert_string_equal (complained, "frontend: engine 1: no open request has the id r1\n");
    assert_int_equal (requests_unsent (self), 1);
    s_send (self, 1, 0);
    assert_int_equal (requests_unsent (self), 3);
    s_send (self, 3, 2);
    assert_int_equal (requests_unsent (self), -1);
    assert_int_equal (requests_in_flight (self), 4);
    s_aborts (self, 0, "[\"r0\",\"r1\",\"r2\"]");
    s_aborts (self, 2, "[\"r3\"]");
    //  Tokens of the first try do not count
    s_has_summary (self, "frontend: 0 of 4 requests complete, 0 tokens\n");
    requests_destroy (&self);
}

static void test_probe (void **state)
{
    zmsg_t *message = requests_probe (256);
    assert_int_equal (zmsg_size (message), 3);
    zframe_t *identity = zmsg_pop (message), *type = zmsg_pop (message);
    assert_int_equal (engine_core_index (identity), 256);
    assert_int_equal (*zframe_data (type), ENGINE_CORE_ABORT);
    unit_is_text (zmsg_pop (message), "[]");
    zframe_destroy (&identity);
    zframe_destroy (&type);
    zmsg_destroy (&message);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_request),     cmocka_unit_test (test_take),
        cmocka_unit_test (test_stream),      cmocka_unit_test (test_not_complete),
        cmocka_unit_test (test_strange_ids), cmocka_unit_test (test_finished_twice),
        cmocka_unit_test (test_bad_outputs), cmocka_unit_test (test_abort),
        cmocka_unit_test (test_say_engine),  cmocka_unit_test (test_lose),
        cmocka_unit_test (test_reroute),     cmocka_unit_test (test_probe),
    };
    return cmocka_run_group_tests_name ("requests", tests, s_setup, hear_teardown);
}
