//  SPDX-License-Identifier: MIT

#include "unit.h"
#include "show.h"
#include "vectors.h"

#include "router_dealer/toy_engine.h"

//  What the engine said on stdout and stderr in the last call below
static char *said, *complained;

static void s_forget (void)
{
    free (said);
    free (complained);
    said = complained = NULL;
}

static int s_setup (void **state)
{
    (void) state;
    show_program = "engine";
    show_level = SHOW_LINES;
    return 0;
}

static int s_teardown (void **state)
{
    (void) state;
    s_forget ();
    return 0;
}

//  Hands [type][payload] to the engine; takes the payload over. A NULL payload is not sent.
static zframe_t *s_handle (toy_engine_t *self, int type, zframe_t *payload)
{
    byte type_byte = (byte) type;
    zmsg_t *message = zmsg_new ();
    zmsg_addmem (message, &type_byte, 1);
    size_t frames = 1 + (payload != NULL);
    if (payload)
        zmsg_append (message, &payload);
    s_forget ();
    capture_t out = unit_catch (stdout);
    capture_t err = unit_catch (stderr);
    zframe_t *answer = toy_engine_handle (self, message);
    complained = unit_caught (&err);
    said = unit_caught (&out);
    //  The message stays the caller's
    assert_int_equal (zmsg_size (message), frames);
    zmsg_destroy (&message);
    return answer;
}

static zframe_t *s_request (const char *id, uint32_t max_tokens)
{
    const uint32_t prompt[] = {1, 2, 3};
    engine_core_request_t request = {
        .request_id = id,
        .prompt_token_ids = prompt,
        .prompt_token_count = COUNT (prompt),
        .max_tokens = max_tokens,
    };
    return engine_core_request_encode (&request);
}

static void s_add (toy_engine_t *self, const char *id, uint32_t max_tokens)
{
    assert_null (s_handle (self, ENGINE_CORE_ADD, s_request (id, max_tokens)));
    assert_string_equal (complained, "");
}

//  Decodes a payload, which is destroyed
static engine_core_outputs_t *s_outputs (zframe_t *frame)
{
    assert_non_null (frame);
    engine_core_outputs_t *outputs = engine_core_outputs_decode (frame, NULL);
    assert_non_null (outputs);
    zframe_destroy (&frame);
    return outputs;
}

static zframe_t *s_step (toy_engine_t *self)
{
    s_forget ();
    capture_t out = unit_catch (stdout);
    zframe_t *payload = toy_engine_step (self);
    said = unit_caught (&out);
    return payload;
}

static void s_has_summary (toy_engine_t *self, const char *summary)
{
    s_forget ();
    capture_t out = unit_catch (stdout);
    toy_engine_say_summary (self);
    said = unit_caught (&out);
    assert_string_equal (said, summary);
}

static void test_registration (void **state)
{
    (void) state;
    toy_engine_t *self = toy_engine_new (3);
    zframe_t *frame = toy_engine_registration (self);
    assert_non_null (frame);
    engine_core_ready_t ready;
    assert_int_equal (engine_core_ready_decode (frame, &ready, NULL), 0);
    assert_true (ready.max_model_len > 0);
    assert_true (ready.num_gpu_blocks > 0);
    assert_true (ready.block_size > 0);
    assert_int_equal (ready.world_size, 1);
    assert_int_equal (ready.data_parallel_size, 1);
    zframe_destroy (&frame);
    assert_false (toy_engine_busy (self));
    assert_int_equal (toy_engine_ended (self), 0);
    assert_null (toy_engine_step (self));
    assert_null (toy_engine_abort_all (self));
    toy_engine_destroy (&self);
    assert_null (self);
    toy_engine_destroy (&self);
}

static void test_add_and_step (void **state)
{
    (void) state;
    toy_engine_t *self = toy_engine_new (70);
    s_add (self, "r0", 1);
    assert_string_equal (said, "r0: 3 prompt tokens\n");
    s_add (self, "r1", 2);
    s_add (self, "r2", 1);
    assert_true (toy_engine_busy (self));
    assert_int_equal (toy_engine_ended (self), 0);

    double before = (double) zclock_usecs () / 1e6;
    engine_core_outputs_t *outputs = s_outputs (s_step (self));
    assert_string_equal (said, "r0: 1 tokens, length\nr2: 1 tokens, length\n");
    assert_int_equal (outputs->engine_index, 70);
    assert_true (outputs->timestamp >= before && outputs->timestamp < before + 100);
    assert_null (outputs->utility_output);
    assert_int_equal (outputs->output_count, 3);
    assert_string_equal (outputs->outputs[0].request_id, "r0");
    assert_int_equal (outputs->outputs[0].new_token_count, 1);
    assert_int_equal (outputs->outputs[0].finish_reason, ENGINE_CORE_LENGTH);
    assert_string_equal (outputs->outputs[1].request_id, "r1");
    assert_int_equal (outputs->outputs[1].finish_reason, ENGINE_CORE_RUNNING);
    engine_core_outputs_destroy (&outputs);
    assert_int_equal (toy_engine_ended (self), 2);

    outputs = s_outputs (s_step (self));
    assert_string_equal (said, "r1: 2 tokens, length\n");
    assert_int_equal (outputs->output_count, 1);
    engine_core_outputs_destroy (&outputs);
    assert_false (toy_engine_busy (self));
    assert_int_equal (toy_engine_ended (self), 3);
    assert_null (s_step (self));
    s_has_summary (self, "engine: 3 finished, 0 aborted, 0 bad\n");
    toy_engine_destroy (&self);
}

//  Tensors come in frames behind the payload
static void test_more_frames (void **state)
{
    (void) state;
    toy_engine_t *self = toy_engine_new (0);
    zmsg_t *message = zmsg_new ();
    zmsg_addmem (message, "\0", 1);
    zframe_t *payload = s_request ("r0", 1);
    zmsg_append (message, &payload);
    zmsg_addmem (message, "\xc1", 1);
    zmsg_addmem (message, NULL, 0);
    s_forget ();
    capture_t out = unit_catch (stdout);
    zframe_t *answer = toy_engine_handle (self, message);
    said = unit_caught (&out);
    assert_null (answer);
    assert_true (toy_engine_busy (self));
    zmsg_destroy (&message);
    toy_engine_destroy (&self);
}

static void test_duplicate (void **state)
{
    (void) state;
    toy_engine_t *self = toy_engine_new (1);
    s_add (self, "r0", 2);
    engine_core_outputs_t *outputs =
        s_outputs (s_handle (self, ENGINE_CORE_ADD, s_request ("r0", 1)));
    assert_string_equal (complained, "engine: r0: a request of that id is running\n");
    assert_int_equal (outputs->engine_index, 1);
    assert_int_equal (outputs->output_count, 1);
    assert_string_equal (outputs->outputs[0].request_id, "r0");
    assert_int_equal (outputs->outputs[0].new_token_count, 0);
    assert_int_equal (outputs->outputs[0].finish_reason, ENGINE_CORE_ERROR);
    engine_core_outputs_destroy (&outputs);
    //  The one that was there goes on
    outputs = s_outputs (s_step (self));
    assert_int_equal (outputs->output_count, 1);
    assert_int_equal (outputs->outputs[0].finish_reason, ENGINE_CORE_RUNNING);
    engine_core_outputs_destroy (&outputs);
    toy_engine_destroy (&self);
}

static void test_abort (void **state)
{
    (void) state;
    toy_engine_t *self = toy_engine_new (1);
    s_add (self, "r0", 9);
    s_add (self, "r1", 9);
    s_add (self, "r2", 9);
    zframe_t *step = s_step (self);
    zframe_destroy (&step);
    //  One twice, one that is not there: neither is an error
    assert_null (s_handle (self, ENGINE_CORE_ABORT, unit_frame ("['r0','r9','r1','r0']")));
    assert_string_equal (said, "r0: aborted\nr1: aborted\n");
    assert_string_equal (complained, "");
    assert_int_equal (toy_engine_ended (self), 2);
    engine_core_outputs_t *outputs = s_outputs (s_step (self));
    assert_int_equal (outputs->output_count, 1);
    assert_string_equal (outputs->outputs[0].request_id, "r2");
    engine_core_outputs_destroy (&outputs);
    assert_null (s_handle (self, ENGINE_CORE_ABORT, unit_frame ("[]")));
    assert_string_equal (said, "");

    s_add (self, "r3", 9);
    s_forget ();
    capture_t out = unit_catch (stdout);
    zframe_t *last = toy_engine_abort_all (self);
    said = unit_caught (&out);
    assert_string_equal (said, "r2: aborted\nr3: aborted\n");
    outputs = s_outputs (last);
    assert_int_equal (outputs->engine_index, 1);
    assert_int_equal (outputs->output_count, 2);
    assert_string_equal (outputs->outputs[0].request_id, "r2");
    assert_string_equal (outputs->outputs[1].request_id, "r3");
    assert_int_equal (outputs->outputs[0].new_token_count, 0);
    assert_int_equal (outputs->outputs[0].finish_reason, ENGINE_CORE_ABORTED);
    engine_core_outputs_destroy (&outputs);
    assert_false (toy_engine_busy (self));
    s_has_summary (self, "engine: 0 finished, 4 aborted, 0 bad\n");
    toy_engine_destroy (&self);
}

static void test_utility_and_wave (void **state)
{
    (void) state;
    toy_engine_t *self = toy_engine_new (1);
    engine_core_outputs_t *outputs =
        s_outputs (s_handle (self, ENGINE_CORE_UTILITY, unit_vector_frame (VECTOR (UTILITY_CALL))));
    assert_string_equal (complained, "");
    assert_int_equal (outputs->engine_index, 1);
    assert_int_equal (outputs->output_count, 0);
    assert_non_null (outputs->utility_output);
    assert_true (outputs->utility_output->call_id == 9223372036854775813u);
    assert_non_null (outputs->utility_output->failure_message);
    engine_core_outputs_destroy (&outputs);

    assert_null (s_handle (self, ENGINE_CORE_START_DP_WAVE, unit_frame ("[0,1]")));
    assert_string_not_equal (said, "");
    assert_string_equal (complained, "");
    assert_false (toy_engine_busy (self));
    s_has_summary (self, "engine: 0 finished, 0 aborted, 0 bad\n");
    toy_engine_destroy (&self);
}

//  Told on stderr in one line, counted, not answered, and the engine goes on
static void test_bad_messages (void **state)
{
    (void) state;
    static const struct {
        int type;
        const char *payload;
        const char *complaint;
    } cases[] = {
        {ENGINE_CORE_ADD, NULL, "message: want a type byte and a payload, got 1 frames"},
        {ENGINE_CORE_ABORT, NULL, "message: want a type byte and a payload, got 1 frames"},
        {ENGINE_CORE_UTILITY, NULL, "message: want a type byte and a payload, got 1 frames"},
        {0x04, "[]", "message: unknown type byte 04"},
        {0xff, "[]", "message: unknown type byte ff"},
        {'A', "[]", "message: unknown type byte 41"},
        {ENGINE_CORE_ADD, "x''", "EngineCoreRequest: empty"},
        {ENGINE_CORE_ADD, "x'c1'", "EngineCoreRequest: not msgpack"},
        {ENGINE_CORE_ADD, "x'dd01000000'", "EngineCoreRequest: claims more elements"},
        {ENGINE_CORE_ADD, "[]", "EngineCoreRequest: want an array of 9 or more, got 0"},
        {ENGINE_CORE_ADD, "{}", "EngineCoreRequest: want an array, got map"},
        {ENGINE_CORE_ADD, "['r0','x',null,null,null,1,null,null,null]",
         "EngineCoreRequest.prompt_token_ids: want an array, got str"},
        {ENGINE_CORE_ABORT, "'r0'", "abort: want an array, got str"},
        {ENGINE_CORE_ABORT, "['r0',1]", "abort[]: want a str, got integer"},
        {ENGINE_CORE_ABORT, "x'91'", "abort: truncated"},
        {ENGINE_CORE_UTILITY, "[0,1,'is_sleeping']",
         "utility call: want an array of 4 or more, got 3"},
        {ENGINE_CORE_UTILITY, "[0,1,2,3]", "utility call.method: want a str, got integer"},
    };
    toy_engine_t *self = toy_engine_new (1);
    s_add (self, "r0", 9);
    for (size_t i = 0; i < COUNT (cases); i++) {
        zframe_t *payload = cases[i].payload ? unit_frame (cases[i].payload) : NULL;
        assert_null (s_handle (self, cases[i].type, payload));
        char begin[120];
        snprintf (begin, sizeof begin, "engine: bad message: %s", cases[i].complaint);
        if (strncmp (complained, begin, strlen (begin)) != 0)
            fail_msg ("\"%s\" does not begin with \"%s\"", complained, begin);
        assert_ptr_equal (strchr (complained, '\n'), complained + strlen (complained) - 1);
    }
    //  A type of another size
    for (size_t size = 0; size <= 4; size += 2) {
        zmsg_t *message = zmsg_new ();
        zmsg_addmem (message, "\0\0\0\0", size);
        zmsg_addmem (message, ABORT_TWO, sizeof ABORT_TWO);
        s_forget ();
        capture_t err = unit_catch (stderr);
        zframe_t *answer = toy_engine_handle (self, message);
        complained = unit_caught (&err);
        assert_null (answer);
        char want[120];
        snprintf (want, sizeof want,
                  "engine: bad message: message: want a type byte and a payload, got 2 frames, "
                  "%zu bytes in the first\n",
                  size);
        assert_string_equal (complained, want);
        zmsg_destroy (&message);
    }
    assert_true (toy_engine_busy (self));
    s_has_summary (self, "engine: 0 finished, 0 aborted, 20 bad\n");
    toy_engine_destroy (&self);
}

//  An id with control bytes in it can neither forge a line nor command the terminal
static void test_id_with_control_bytes (void **state)
{
    (void) state;
    toy_engine_t *self = toy_engine_new (1);
    s_add (self, "r0\nr1: aborted\x1b[2J", 1);
    assert_string_equal (said, "r0?r1: aborted?[2J: 3 prompt tokens\n");
    toy_engine_destroy (&self);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_registration), cmocka_unit_test (test_add_and_step),
        cmocka_unit_test (test_more_frames),  cmocka_unit_test (test_duplicate),
        cmocka_unit_test (test_abort),        cmocka_unit_test (test_utility_and_wave),
        cmocka_unit_test (test_bad_messages), cmocka_unit_test (test_id_with_control_bytes),
    };
    return cmocka_run_group_tests_name ("toy_engine", tests, s_setup, s_teardown);
}
