//  SPDX-License-Identifier: MIT
//
//  How requests come, go and wait is tested with the engine, in toy_engine.c.

#include "unit.h"

#include "engine/toy_scheduler.h"

static const toy_scheduler_config_t plain = {
    .vocab_size = 32000, .chunk_size = 1, .max_model_len = 1 << 20, .plain = true};

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

//  Takes the request over
static void s_add (toy_scheduler_t *self, engine_core_request_t *request)
{
    assert_int_equal (toy_scheduler_add (self, &request, 0), 0);
    assert_null (request);
}

static void s_is_first (const engine_core_output_t *output, double queued, double scheduled)
{
    assert_true (output->queued == queued);
    assert_true (output->scheduled == scheduled);
    assert_int_equal (output->prefilled, scheduled > 0 ? 3 : 0);
}

//  When a request came and when it began is told once, with the first output of a step
static void test_events (void **state)
{
    toy_scheduler_config_t config = plain;
    config.plain = false;
    toy_scheduler_t *self = toy_scheduler_new (&config);
    const engine_core_output_t *outputs;
    engine_core_request_t *requests[] = {s_request ("r0", 0, 3), s_request ("r1", 0, 0),
                                         s_request ("r2", 0, 3)};
    assert_int_equal (toy_scheduler_add (self, &requests[0], 11.25), 0);
    assert_int_equal (toy_scheduler_step (self, 11.5, &outputs), 1);
    s_is_first (&outputs[0], 11.25, 11.5);
    assert_int_equal (toy_scheduler_add (self, &requests[1], 12.25), 0);
    assert_int_equal (toy_scheduler_step (self, 12.5, &outputs), 2);
    //  To ask how busy it is leaves the outputs as they are
    assert_int_equal (toy_scheduler_running (self), 1);
    assert_int_equal (toy_scheduler_tokens (self), 3 + 2);
    s_is_first (&outputs[0], 0, 0);
    s_is_first (&outputs[1], 12.25, 12.5);
    //  No step, no beginning
    assert_int_equal (toy_scheduler_add (self, &requests[2], 13.25), 0);
    assert_int_equal (toy_scheduler_abort (self, (const char *const[]){"r2"}, 1, &outputs), 1);
    s_is_first (&outputs[0], 0, 0);
    toy_scheduler_destroy (&self);
    assert_null (self);
    toy_scheduler_destroy (&self);
}

//  Nothing is asked of a request but how large it is
static void test_room (void **state)
{
    static const struct {
        size_t prompt_tokens;
        uint32_t prompt_logprobs;
        bool fits;
    } cases[] = {
        {1 << 15, 0, true},
        {1 << 15, 100, true},   //  25 MiB
        {1 << 15, 129, false},  //  32.25 MiB
        {32300, 129, true},
        {32300, ENGINE_CORE_NO_LIMIT, true},  //  No more than 129 come of it
        {(TOY_SCHEDULER_MAX_REQUEST - 516) / 4, 0, true},
        {(TOY_SCHEDULER_MAX_REQUEST - 516) / 4 + 1, 0, false},
        {SIZE_MAX / 1024, 0, false},
    };
    toy_scheduler_config_t config = plain;
    toy_scheduler_t *self = toy_scheduler_new (&config);
    for (size_t i = 0; i < COUNT (cases); i++) {
        engine_core_request_t request = {.request_id = "",
                                         .prompt_token_count = cases[i].prompt_tokens,
                                         .prompt_logprobs = cases[i].prompt_logprobs};
        if (toy_scheduler_has_room (self, &request) != cases[i].fits)
            fail_msg ("%zu tokens, %" PRIu32 " logprobs", cases[i].prompt_tokens,
                      cases[i].prompt_logprobs);
    }
    toy_scheduler_destroy (&self);

    //  A request and its outputs of a step take 30.5 MiB: 33 fit, and one more when one has ended
    config.chunk_size = 8000000;
    self = toy_scheduler_new (&config);
    engine_core_request_t more = {.request_id = ""};
    for (char id[] = "A"; id[0] < 'A' + 33; id[0]++) {
        assert_true (toy_scheduler_has_room (self, &more));
        s_add (self, s_request (id, 0, 1));
    }
    assert_false (toy_scheduler_has_room (self, &more));
    const engine_core_output_t *outputs;
    assert_int_equal (toy_scheduler_abort (self, (const char *const[]){"A"}, 1, &outputs), 1);
    assert_true (toy_scheduler_has_room (self, &more));
    toy_scheduler_destroy (&self);
}

//  More than fit into one step: the next one goes on behind them, and all come in turn. A request
//  that comes later is the last of the round; those that leave change nothing for the others.
static void test_more_than_a_step (void **state)
{
    enum { MANY = 25000 };
    toy_scheduler_t *self = toy_scheduler_new (&plain);
    const engine_core_output_t *outputs;
    char id[16];
    for (uint32_t i = 0; i < MANY; i++) {
        snprintf (id, sizeof id, "r%u", i);
        s_add (self, s_request (id, i, 2));
    }
    //  Each gets its first token before any gets its second, which is its last
    size_t next = 0, steps = 0;
    for (; toy_scheduler_running (self) > 0; steps++) {
        size_t count = toy_scheduler_step (self, 0, &outputs);
        assert_true (count >= 1 && count <= 10000);
        for (size_t i = 0; i < count; i++, next++) {
            snprintf (id, sizeof id, "r%zu", next % MANY);
            assert_string_equal (outputs[i].request_id, next == 2 * MANY - 1 ? "late" : id);
            assert_int_equal (outputs[i].new_token_count, 1);
            assert_int_equal (outputs[i].finish_reason,
                              next < MANY ? ENGINE_CORE_RUNNING : ENGINE_CORE_LENGTH);
        }
        if (steps == 4) {
            snprintf (id, sizeof id, "r%zu", next % MANY);  //  The first of the next step
            const char *gone[] = {id, "r24999"};
            assert_int_equal (toy_scheduler_abort (self, gone, 2, &outputs), 2);
            s_add (self, s_request ("late", 0, 1));
            next++;
        }
    }
    assert_int_equal (next, 2 * MANY);
    assert_int_equal (steps, 6);
    toy_scheduler_destroy (&self);
}

//  -- What the configuration and the sampling_params do

//  All that came of one request
typedef struct {
    uint32_t tokens[300];
    size_t count;
    engine_core_finish_t reason;
    int64_t stop_reason;  //  -1: none
} run_t;

//  Takes the request over
static run_t s_run (toy_scheduler_config_t config, engine_core_request_t *request)
{
    toy_scheduler_t *self = toy_scheduler_new (&config);
    s_add (self, request);
    run_t run = {.reason = ENGINE_CORE_RUNNING, .stop_reason = -1};
    while (run.reason == ENGINE_CORE_RUNNING) {
        const engine_core_output_t *output;
        assert_int_equal (toy_scheduler_step (self, 0, &output), 1);
        assert_true (run.count + output->new_token_count <= COUNT (run.tokens));
        for (size_t i = 0; i < output->new_token_count; i++) {
            assert_true (output->new_token_ids[i] < config.vocab_size);
            run.tokens[run.count++] = output->new_token_ids[i];
        }
        run.reason = output->finish_reason;
        //  No empty step behind the last token, and no step that is not full before
        if (run.reason == ENGINE_CORE_RUNNING)
            assert_int_equal (output->new_token_count, config.chunk_size);
        else
            assert_true (output->new_token_count > 0 || run.count == 0);
        if (output->stop_reason)
            run.stop_reason = *output->stop_reason;
        assert_int_equal (toy_scheduler_made (self, output), run.count);
    }
    assert_int_equal (toy_scheduler_running (self), 0);
    toy_scheduler_destroy (&self);
    return run;
}

static void s_stop_at (engine_core_request_t *request, uint32_t first, uint32_t second)
{
    uint32_t *tokens = malloc (2 * sizeof *tokens);
    assert_non_null (tokens);
    tokens[0] = first;
    tokens[1] = second;
    request->stop_token_ids = tokens;
    request->stop_token_count = 2;
}

static void s_ends (const run_t *run, size_t count, engine_core_finish_t reason,
                    int64_t stop_reason)
{
    assert_int_equal (run->count, count);
    assert_int_equal (run->reason, reason);
    assert_int_equal (run->stop_reason, stop_reason);
}

//  How a request ends, in steps of any size
static void test_ends (void **state)
{
    static const struct {
        uint32_t vocab_size, max_tokens, min_tokens;
        int eos;      //  -1: none
        int stop[2];  //  0, 0: none
        size_t count;
        engine_core_finish_t reason;
        int stop_reason;
    } cases[] = {
        {32000, 10, 0, -1, {0, 0}, 10, ENGINE_CORE_LENGTH, -1},
        {32000, 8, 0, -1, {0, 0}, 8, ENGINE_CORE_LENGTH, -1},
        //  A prompt of 3 tokens and 97 more are max_model_len
        {32000, ENGINE_CORE_NO_LIMIT, 0, -1, {0, 0}, 97, ENGINE_CORE_LENGTH, -1},
        {32000, 98, 0, -1, {0, 0}, 97, ENGINE_CORE_LENGTH, -1},
        {32000, 96, 0, -1, {0, 0}, 96, ENGINE_CORE_LENGTH, -1},
        //  With this vocabulary each token is 0. The EOS token comes before stop_token_ids, both
        //  come before the length.
        {1, 5, 0, -1, {1, 2}, 5, ENGINE_CORE_LENGTH, -1},
        {1, 5, 0, 0, {1, 2}, 1, ENGINE_CORE_STOP, -1},
        {1, 5, 0, 0, {0, 7}, 1, ENGINE_CORE_STOP, -1},
        {1, 5, 0, -1, {7, 0}, 1, ENGINE_CORE_STOP, 0},
        {1, 1, 0, 0, {1, 2}, 1, ENGINE_CORE_STOP, -1},
        {1, 1, 0, -1, {0, 7}, 1, ENGINE_CORE_STOP, 0},
        //  Every token would end it: it goes on until it has min_tokens
        {1, 9, 5, 0, {1, 2}, 5, ENGINE_CORE_STOP, -1},
        {1, 9, 5, -1, {0, 7}, 5, ENGINE_CORE_STOP, 0},
        //  min_tokens are more than it may have
        {3, 9, 50, 1, {0, 0}, 9, ENGINE_CORE_LENGTH, -1},
    };
    for (uint32_t chunk_size = 1; chunk_size <= 65536; chunk_size = chunk_size * 2 + 1)
        for (size_t i = 0; i < COUNT (cases); i++) {
            toy_scheduler_config_t config = {
                .vocab_size = cases[i].vocab_size, .chunk_size = 1, .max_model_len = 100};
            run_t whole = s_run (config, s_request ("r0", 0, 97));
            config.chunk_size = chunk_size;
            engine_core_request_t *request = s_request ("r0", 0, cases[i].max_tokens);
            request->min_tokens = cases[i].min_tokens;
            request->eos_token_id = cases[i].eos;
            if (cases[i].stop[0] || cases[i].stop[1])
                s_stop_at (request, (uint32_t) cases[i].stop[0], (uint32_t) cases[i].stop[1]);
            run_t run = s_run (config, request);
            s_ends (&run, cases[i].count, cases[i].reason, cases[i].stop_reason);
            if (cases[i].min_tokens == 0)
                assert_memory_equal (run.tokens, whole.tokens, run.count * sizeof *run.tokens);
        }
}

//  All tokens below vocab_size come up, s_run sees that no others do. The first of those that are
//  to end a request ends it, and nothing comes behind it.
static void test_stop_tokens (void **state)
{
    toy_scheduler_config_t config = plain;
    config.vocab_size = 8;
    run_t whole = s_run (config, s_request ("r0", 0, 100));
    for (config.chunk_size = 1; config.chunk_size <= 4; config.chunk_size += 3)
        for (uint32_t token = 0; token < 8; token++) {
            size_t first = 0, either = 0;
            while (whole.tokens[first] != token)
                first++;
            while (whole.tokens[either] != token && whole.tokens[either] != 3)
                either++;
            engine_core_request_t *request = s_request ("r0", 0, 100);
            s_stop_at (request, 3, token);
            run_t run = s_run (config, request);
            s_ends (&run, either + 1, ENGINE_CORE_STOP, whole.tokens[either]);
            request = s_request ("r0", 0, 100);
            request->eos_token_id = token;
            run = s_run (config, request);
            s_ends (&run, first + 1, ENGINE_CORE_STOP, -1);
        }
    //  Tokens that never come
    engine_core_request_t *request = s_request ("r0", 0, 100);
    s_stop_at (request, 8, UINT32_MAX);
    run_t run = s_run (config, request);
    s_ends (&run, 100, ENGINE_CORE_LENGTH, -1);
}

//  What would end it is not made before
static void test_min_tokens (void **state)
{
    toy_scheduler_config_t config = plain;
    config.vocab_size = 3;
    engine_core_request_t *request = s_request ("r0", 0, 200);
    request->min_tokens = 20;
    request->eos_token_id = 1;
    s_stop_at (request, 2, 2);
    run_t run = s_run (config, request);
    assert_int_equal (run.reason, ENGINE_CORE_STOP);
    assert_true (run.count > 20);
    for (size_t i = 0; i + 1 < run.count; i++)
        assert_int_equal (run.tokens[i], 0);
    assert_int_not_equal (run.tokens[run.count - 1], 0);
}

//  Another prompt or seed makes other tokens; the same ones make the same again, beside any others
static void test_tokens (void **state)
{
    static const struct {
        uint64_t seed, request_seed;
        uint32_t token;
    } cases[] = {{0, 0, 0}, {1, 0, 0}, {0, 1, 0},    {1, 1, 0}, {2, 0, 0},
                 {0, 2, 0}, {0, 0, 1}, {1000, 0, 0}, {0, 0, 2}, {0, 0, 3}};
    run_t runs[COUNT (cases)];
    for (size_t i = 0; i < COUNT (cases); i++) {
        toy_scheduler_config_t config = plain;
        config.seed = cases[i].seed;
        for (int twice = 0; twice < 2; twice++) {
            engine_core_request_t *request = s_request ("r0", cases[i].token, 20);
            request->seed = cases[i].request_seed;
            run_t run = s_run (config, request);
            if (twice)
                assert_memory_equal (run.tokens, runs[i].tokens, 20 * sizeof (uint32_t));
            runs[i] = run;
        }
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal (runs[i].tokens, runs[k].tokens, 20 * sizeof (uint32_t));
    }
    size_t differ = 0;
    for (size_t i = 1; i < runs[0].count; i++)
        differ += runs[0].tokens[i] != runs[0].tokens[i - 1];
    assert_true (differ > 10);

    toy_scheduler_t *self = toy_scheduler_new (&plain);
    const engine_core_output_t *outputs;
    for (uint32_t i = 0; i < 40; i++) {
        char id[16];
        snprintf (id, sizeof id, "r%u", i);
        s_add (self, s_request (id, 1000 + i, 2));
    }
    s_add (self, s_request ("last", 0, 20));
    for (size_t i = 0; i < 20; i++) {
        size_t count = toy_scheduler_step (self, 0, &outputs);
        assert_int_equal (outputs[count - 1].new_token_ids[0], runs[0].tokens[i]);
    }
    toy_scheduler_destroy (&self);
}

//  The requests that vLLM makes of one with n samples get tokens of their own, without a seed too
static void test_samples (void **state)
{
    static const struct {
        const char *id;
        bool same;  //  As a request that is no sample
    } cases[] = {{"0_r", true}, {"1_r", false}, {"2_r", false}, {"17_r", false},
                 {"1r", true},  {"_1", true},   {"r1_1", true}, {"", true},
                 {"1", true},   {" 1_", true},  {"-1_r", true}, {"99999999999999999999_r", false}};
    const engine_core_output_t *outputs;
    toy_scheduler_t *self = toy_scheduler_new (&plain);
    s_add (self, s_request ("r", 0, 9));
    for (size_t i = 0; i < COUNT (cases); i++)
        s_add (self, s_request (cases[i].id, 0, 9));
    assert_int_equal (toy_scheduler_step (self, 0, &outputs), 1 + COUNT (cases));
    for (size_t i = 0; i < COUNT (cases); i++)
        assert_int_equal (outputs[1 + i].new_token_ids[0] == outputs[0].new_token_ids[0],
                          cases[i].same);
    for (size_t i = 2; i < 4; i++)
        assert_int_not_equal (outputs[i].new_token_ids[0], outputs[i + 1].new_token_ids[0]);
    toy_scheduler_destroy (&self);
}

//  The logprobs of the newest tokens: the first of each row is the token's own, then come those of
//  the tokens from it on, or, with `named`, those of 6 to 0. A made-up distribution.
static void s_are_logprobs (const engine_core_output_t *output, size_t columns, bool named)
{
    const engine_core_logprobs_t *logprobs = output->logprobs;
    if (columns == 0) {
        assert_null (logprobs);
        return;
    }
    assert_int_equal (logprobs->rows, output->new_token_count);
    assert_int_equal (logprobs->columns, columns);
    for (size_t row = 0; row < logprobs->rows; row++) {
        const uint32_t *ids = logprobs->token_ids + row * columns;
        const float *values = logprobs->logprobs + row * columns;
        assert_int_equal (logprobs->ranks[row], 1);
        assert_int_equal (ids[0], output->new_token_ids[row]);
        assert_float_equal (values[0], -0.693147f, 1e-5);
        for (size_t column = 1; column < columns; column++) {
            size_t parts = named ? column + 1 : column;
            assert_int_equal (ids[column], named ? 7 - column : (ids[0] + column - 1) % 7);
            if (ids[column] == ids[0])
                parts = 1;
            assert_float_equal (values[column], -0.693147f * (float) parts, 1e-5);
        }
    }
}

static void test_logprobs (void **state)
{
    static const struct {
        uint32_t logprobs, max_tokens;
        size_t columns;
        bool named;
    } cases[] = {
        {0, 5, 0, false}, {1, 5, 1, false}, {3, 5, 3, false},
        {8, 5, 8, false}, {9, 5, 8, false}, {ENGINE_CORE_NO_LIMIT, 5, 8, false},
        {3, 0, 0, false},  //  No tokens, no logprobs
        {0, 4, 8, true},
    };
    toy_scheduler_config_t config = {.vocab_size = 7, .chunk_size = 2, .max_model_len = 100};
    for (size_t i = 0; i < COUNT (cases); i++) {
        toy_scheduler_t *self = toy_scheduler_new (&config);
        engine_core_request_t *request = s_request ("r0", 0, cases[i].max_tokens);
        request->logprobs = cases[i].logprobs;
        if (cases[i].named) {
            uint32_t *ids = malloc (7 * sizeof *ids);
            assert_non_null (ids);
            for (uint32_t k = 0; k < 7; k++)
                ids[k] = 6 - k;
            request->logprob_token_ids = ids;
            request->logprob_token_count = 7;
        }
        s_add (self, request);
        while (toy_scheduler_running (self) > 0) {
            const engine_core_output_t *output;
            assert_int_equal (toy_scheduler_step (self, 0, &output), 1);
            s_are_logprobs (output, cases[i].columns, cases[i].named);
        }
        toy_scheduler_destroy (&self);
    }
}

//  Of all tokens of the prompt but its first, with the first output
static void test_prompt_logprobs (void **state)
{
    const engine_core_output_t *output;
    for (size_t count = 0; count <= 3; count++) {
        toy_scheduler_t *self = toy_scheduler_new (&plain);
        engine_core_request_t *request = s_request ("r0", 0, 2);
        request->prompt_logprobs = 2;
        request->prompt_token_count = count;
        s_add (self, request);
        assert_int_equal (toy_scheduler_step (self, 0, &output), 1);
        assert_null (output->logprobs);
        const engine_core_logprobs_t *logprobs = output->prompt_logprobs;
        if (count < 2) {
            assert_null (logprobs);
        } else {
            const uint32_t want[] = {29892, 29892, 3186, 3186};
            assert_int_equal (logprobs->rows, count - 1);
            assert_int_equal (logprobs->columns, 2);
            assert_memory_equal (logprobs->token_ids, want, 2 * (count - 1) * sizeof *want);
        }
        assert_int_equal (toy_scheduler_step (self, 0, &output), 1);
        assert_null (output->prompt_logprobs);
        toy_scheduler_destroy (&self);
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_events),           cmocka_unit_test (test_room),
        cmocka_unit_test (test_more_than_a_step), cmocka_unit_test (test_ends),
        cmocka_unit_test (test_stop_tokens),      cmocka_unit_test (test_min_tokens),
        cmocka_unit_test (test_tokens),           cmocka_unit_test (test_samples),
        cmocka_unit_test (test_logprobs),         cmocka_unit_test (test_prompt_logprobs),
    };
    return cmocka_run_group_tests_name ("toy_scheduler", tests, NULL, NULL);
}
