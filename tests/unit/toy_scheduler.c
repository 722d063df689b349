//  SPDX-License-Identifier: MIT

#include "unit.h"

#include "router_dealer/toy_scheduler.h"

//  Of the prompt, `token` sets one token to other than it is with 0
static engine_core_request_t *s_request (const char *id, uint32_t token, uint32_t max_tokens)
{
    uint32_t prompt[] = {15043, 29892, 3186};
    prompt[token % COUNT (prompt)] += token;
    engine_core_request_t request = {
        .request_id = id,
        .prompt_token_ids = prompt,
        .prompt_token_count = COUNT (prompt),
        .max_tokens = max_tokens,
    };
    zframe_t *frame = engine_core_request_encode (&request);
    engine_core_request_t *copy = engine_core_request_decode (frame, NULL);
    assert_non_null (copy);
    zframe_destroy (&frame);
    return copy;
}

static void s_add (toy_scheduler_t *self, const char *id, uint32_t token, uint32_t max_tokens)
{
    engine_core_request_t *request = s_request (id, token, max_tokens);
    assert_int_equal (toy_scheduler_add (self, &request), 0);
    assert_null (request);
}

static void s_is_output (const engine_core_output_t *output, const char *id, size_t tokens,
                         engine_core_finish_t reason)
{
    assert_string_equal (output->request_id, id);
    assert_int_equal (output->new_token_count, tokens);
    for (size_t i = 0; i < tokens; i++)
        assert_true (output->new_token_ids[i] < TOY_VOCAB_SIZE);
    assert_int_equal (output->finish_reason, reason);
}

static void test_empty (void **state)
{
    (void) state;
    toy_scheduler_t *self = toy_scheduler_new ();
    const engine_core_output_t *outputs;
    assert_int_equal (toy_scheduler_running (self), 0);
    assert_int_equal (toy_scheduler_step (self, &outputs), 0);
    assert_int_equal (toy_scheduler_abort_all (self, &outputs), 0);
    assert_false (toy_scheduler_abort (self, "r0"));
    toy_scheduler_destroy (&self);
    assert_null (self);
    toy_scheduler_destroy (&self);
}

//  In order of arrival, a token each, until each has its own max_tokens
static void test_steps (void **state)
{
    (void) state;
    toy_scheduler_t *self = toy_scheduler_new ();
    const engine_core_output_t *outputs;
    s_add (self, "r1", 1, 3);
    s_add (self, "r0", 1, 1);
    s_add (self, "", 1, 2);
    assert_int_equal (toy_scheduler_running (self), 3);

    assert_int_equal (toy_scheduler_step (self, &outputs), 3);
    s_is_output (&outputs[0], "r1", 1, ENGINE_CORE_RUNNING);
    s_is_output (&outputs[1], "r0", 1, ENGINE_CORE_LENGTH);
    s_is_output (&outputs[2], "", 1, ENGINE_CORE_RUNNING);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal (toy_scheduler_made (self, &outputs[i]), 1);
    assert_int_equal (toy_scheduler_running (self), 2);

    assert_int_equal (toy_scheduler_step (self, &outputs), 2);
    s_is_output (&outputs[0], "r1", 1, ENGINE_CORE_RUNNING);
    s_is_output (&outputs[1], "", 1, ENGINE_CORE_LENGTH);
    assert_int_equal (toy_scheduler_made (self, &outputs[1]), 2);
    assert_int_equal (toy_scheduler_step (self, &outputs), 1);
    s_is_output (&outputs[0], "r1", 1, ENGINE_CORE_LENGTH);
    assert_int_equal (toy_scheduler_made (self, &outputs[0]), 3);
    assert_int_equal (toy_scheduler_running (self), 0);
    assert_int_equal (toy_scheduler_step (self, &outputs), 0);
    toy_scheduler_destroy (&self);
}

//  What a step has given stays as it is until the next call
static void test_outputs_stay (void **state)
{
    (void) state;
    toy_scheduler_t *self = toy_scheduler_new ();
    const engine_core_output_t *outputs;
    s_add (self, "r0", 1, 1);
    s_add (self, "r1", 2, 2);
    assert_int_equal (toy_scheduler_step (self, &outputs), 2);
    engine_core_outputs_t step = {.outputs = outputs, .output_count = 2};
    zframe_t *first = engine_core_outputs_encode (&step);
    zframe_t *again = engine_core_outputs_encode (&step);
    assert_true (zframe_eq (first, again));
    assert_int_equal (toy_scheduler_made (self, &outputs[0]), 1);
    assert_string_equal (outputs[0].request_id, "r0");
    zframe_destroy (&first);
    zframe_destroy (&again);
    //  Whoever stops here leaks nothing
    toy_scheduler_destroy (&self);
}

static void test_duplicates (void **state)
{
    (void) state;
    toy_scheduler_t *self = toy_scheduler_new ();
    const engine_core_output_t *outputs;
    s_add (self, "r0", 1, 1);
    engine_core_request_t *request = s_request ("r0", 2, 9);
    const engine_core_request_t *kept = request;
    assert_int_equal (toy_scheduler_add (self, &request), -1);
    assert_ptr_equal (request, kept);
    assert_int_equal (toy_scheduler_running (self), 1);
    assert_int_equal (toy_scheduler_step (self, &outputs), 1);
    s_is_output (&outputs[0], "r0", 1, ENGINE_CORE_LENGTH);
    //  The first one is through: its name is free
    assert_int_equal (toy_scheduler_add (self, &request), 0);
    assert_null (request);
    assert_int_equal (toy_scheduler_running (self), 1);
    toy_scheduler_destroy (&self);
}

static void test_abort (void **state)
{
    (void) state;
    toy_scheduler_t *self = toy_scheduler_new ();
    const engine_core_output_t *outputs;
    s_add (self, "r0", 1, 9);
    s_add (self, "r1", 2, 9);
    s_add (self, "r2", 3, 9);
    assert_false (toy_scheduler_abort (self, "r3"));
    assert_false (toy_scheduler_abort (self, "r"));
    assert_false (toy_scheduler_abort (self, ""));
    assert_int_equal (toy_scheduler_running (self), 3);

    //  In mid-stream: not another word
    assert_int_equal (toy_scheduler_step (self, &outputs), 3);
    assert_true (toy_scheduler_abort (self, "r1"));
    assert_false (toy_scheduler_abort (self, "r1"));
    assert_int_equal (toy_scheduler_running (self), 2);
    assert_int_equal (toy_scheduler_step (self, &outputs), 2);
    s_is_output (&outputs[0], "r0", 1, ENGINE_CORE_RUNNING);
    s_is_output (&outputs[1], "r2", 1, ENGINE_CORE_RUNNING);
    assert_int_equal (toy_scheduler_made (self, &outputs[1]), 2);

    //  Its name is free at once
    assert_true (toy_scheduler_abort (self, "r0"));
    s_add (self, "r0", 1, 1);
    assert_int_equal (toy_scheduler_step (self, &outputs), 2);
    s_is_output (&outputs[0], "r2", 1, ENGINE_CORE_RUNNING);
    s_is_output (&outputs[1], "r0", 1, ENGINE_CORE_LENGTH);
    assert_int_equal (toy_scheduler_made (self, &outputs[1]), 1);
    //  Who has finished cannot be aborted
    assert_false (toy_scheduler_abort (self, "r0"));
    toy_scheduler_destroy (&self);
}

static void test_abort_all (void **state)
{
    (void) state;
    toy_scheduler_t *self = toy_scheduler_new ();
    const engine_core_output_t *outputs;
    s_add (self, "r0", 1, 1);
    s_add (self, "r1", 2, 9);
    s_add (self, "r2", 3, 9);
    assert_int_equal (toy_scheduler_step (self, &outputs), 3);
    s_add (self, "r3", 4, 9);
    s_add (self, "r4", 4, 0);
    outputs = NULL;
    assert_int_equal (toy_scheduler_abort_all (self, &outputs), 4);
    s_is_output (&outputs[0], "r1", 0, ENGINE_CORE_ABORTED);
    s_is_output (&outputs[1], "r2", 0, ENGINE_CORE_ABORTED);
    s_is_output (&outputs[2], "r3", 0, ENGINE_CORE_ABORTED);
    s_is_output (&outputs[3], "r4", 0, ENGINE_CORE_ABORTED);
    assert_int_equal (toy_scheduler_made (self, &outputs[0]), 1);
    assert_int_equal (toy_scheduler_made (self, &outputs[2]), 0);
    assert_int_equal (toy_scheduler_running (self), 0);
    assert_int_equal (toy_scheduler_abort_all (self, &outputs), 0);

    //  Who has finished in the step before is not aborted
    s_add (self, "r0", 1, 1);
    s_add (self, "r1", 2, 2);
    assert_int_equal (toy_scheduler_step (self, &outputs), 2);
    assert_int_equal (toy_scheduler_abort_all (self, &outputs), 1);
    s_is_output (&outputs[0], "r1", 0, ENGINE_CORE_ABORTED);
    toy_scheduler_destroy (&self);
}

static void test_limits (void **state)
{
    (void) state;
    toy_scheduler_t *self = toy_scheduler_new ();
    const engine_core_output_t *outputs;
    s_add (self, "none", 1, 0);
    s_add (self, "no limit", 1, ENGINE_CORE_NO_LIMIT);
    assert_int_equal (toy_scheduler_step (self, &outputs), 2);
    s_is_output (&outputs[0], "none", 0, ENGINE_CORE_LENGTH);
    assert_int_equal (toy_scheduler_made (self, &outputs[0]), 0);
    s_is_output (&outputs[1], "no limit", 1, ENGINE_CORE_RUNNING);
    for (size_t i = 2; i <= 10000; i++) {
        assert_int_equal (toy_scheduler_step (self, &outputs), 1);
        s_is_output (&outputs[0], "no limit", 1, ENGINE_CORE_RUNNING);
        assert_int_equal (toy_scheduler_made (self, &outputs[0]), i);
    }
    toy_scheduler_destroy (&self);
}

//  The tokens of one request beside some others, all of them with prompts of their own
static void s_tokens (uint32_t token, size_t others, uint32_t *tokens, size_t count)
{
    toy_scheduler_t *self = toy_scheduler_new ();
    const engine_core_output_t *outputs;
    for (size_t i = 0; i < others; i++) {
        char id[16];
        snprintf (id, sizeof id, "r%zu", i);
        s_add (self, id, 1000 + (uint32_t) i, 2);
    }
    s_add (self, "it", token, (uint32_t) count);
    for (size_t i = 0; i < count; i++) {
        size_t running = toy_scheduler_step (self, &outputs);
        assert_string_equal (outputs[running - 1].request_id, "it");
        tokens[i] = outputs[running - 1].new_token_ids[0];
    }
    toy_scheduler_destroy (&self);
}

//  The same prompt, the same tokens, whoever else is there
static void test_tokens (void **state)
{
    (void) state;
    uint32_t alone[20], among[20], other[20];
    s_tokens (0, 0, alone, COUNT (alone));
    s_tokens (0, 40, among, COUNT (among));
    assert_memory_equal (alone, among, sizeof alone);
    for (uint32_t token = 1; token <= 3; token++) {
        s_tokens (token, 0, other, COUNT (other));
        assert_memory_not_equal (alone, other, sizeof alone);
    }
    size_t differ = 0;
    for (size_t i = 1; i < COUNT (alone); i++)
        differ += alone[i] != alone[i - 1];
    assert_true (differ > 10);
}

//  More than it has room for at first
static void test_many (void **state)
{
    (void) state;
    toy_scheduler_t *self = toy_scheduler_new ();
    const engine_core_output_t *outputs;
    char id[16];
    for (uint32_t i = 0; i < 1000; i++) {
        snprintf (id, sizeof id, "r%u", i);
        s_add (self, id, i, 1 + i % 2);
    }
    assert_int_equal (toy_scheduler_step (self, &outputs), 1000);
    for (size_t i = 0; i < 1000; i++) {
        snprintf (id, sizeof id, "r%zu", i);
        s_is_output (&outputs[i], id, 1, i % 2 ? ENGINE_CORE_RUNNING : ENGINE_CORE_LENGTH);
    }
    assert_int_equal (toy_scheduler_step (self, &outputs), 500);
    s_is_output (&outputs[499], "r999", 1, ENGINE_CORE_LENGTH);
    toy_scheduler_destroy (&self);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_empty),        cmocka_unit_test (test_steps),
        cmocka_unit_test (test_outputs_stay), cmocka_unit_test (test_duplicates),
        cmocka_unit_test (test_abort),        cmocka_unit_test (test_abort_all),
        cmocka_unit_test (test_limits),       cmocka_unit_test (test_tokens),
        cmocka_unit_test (test_many),
    };
    return cmocka_run_group_tests_name ("toy_scheduler", tests, NULL, NULL);
}
