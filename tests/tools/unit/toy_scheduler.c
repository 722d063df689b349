//  SPDX-License-Identifier: MIT

#include "unit.h"

#include "engine/toy_scheduler.h"

static const toy_scheduler_config_t plain = {
    .vocab_size = 32000, .chunk_size = 1, .max_model_len = 1 << 20};

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
    assert_int_equal (toy_scheduler_add (self, &request, 0), 0);
    assert_null (request);
}

//  What the last call gave
static const engine_core_output_t *outputs;

static void s_is_output (const engine_core_output_t *output, const char *id, size_t tokens,
                         engine_core_finish_t reason)
{
    assert_string_equal (output->request_id, id);
    assert_int_equal (output->new_token_count, tokens);
    for (size_t i = 0; i < tokens; i++)
        assert_true (output->new_token_ids[i] < plain.vocab_size);
    assert_int_equal (output->finish_reason, reason);
}

//  The outputs are these: "r0 1/3 length" has got 1 token, and 3 in all
static void s_are (toy_scheduler_t *self, size_t count, const char *want)
{
    char *text = strdup ("");
    for (size_t i = 0; i < count; i++) {
        const engine_core_output_t *output = &outputs[i];
        assert_string_equal (toy_scheduler_request (self, output)->request_id, output->request_id);
        s_is_output (output, output->request_id, output->new_token_count, output->finish_reason);
        char *longer = zsys_sprintf ("%s%s%s %zu/%zu %s", text, i ? ", " : "", output->request_id,
                                     output->new_token_count, toy_scheduler_made (self, output),
                                     engine_core_finish_name (output->finish_reason));
        zstr_free (&text);
        text = longer;
    }
    assert_string_equal (text, want);
    zstr_free (&text);
}

static void s_steps (toy_scheduler_t *self, const char *want)
{
    s_are (self, toy_scheduler_step (self, 0, &outputs), want);
}

//  Ends one request
static void s_aborts (toy_scheduler_t *self, const char *id, const char *want)
{
    s_are (self, toy_scheduler_abort (self, &id, 1, &outputs), want);
}

static void s_aborts_client (toy_scheduler_t *self, uint32_t client_index, const char *want)
{
    s_are (self, toy_scheduler_abort_client (self, client_index, &outputs), want);
}

static void test_empty (void **state)
{
    toy_scheduler_t *self = toy_scheduler_new (&plain);
    assert_int_equal (toy_scheduler_running (self), 0);
    s_steps (self, "");
    s_aborts_client (self, TOY_SCHEDULER_ALL, "");
    s_aborts (self, "r0", "");
    assert_int_equal (toy_scheduler_tokens (self), 0);
    toy_scheduler_destroy (&self);
    assert_null (self);
    toy_scheduler_destroy (&self);
}

//  In order of arrival, a token each, until each has its own max_tokens
static void test_steps (void **state)
{
    toy_scheduler_t *self = toy_scheduler_new (&plain);
    s_add (self, "r1", 1, 3);
    s_add (self, "r0", 1, 1);
    s_add (self, "", 1, 2);
    assert_int_equal (toy_scheduler_running (self), 3);
    s_steps (self, "r1 1/1 running, r0 1/1 length,  1/1 running");
    assert_int_equal (toy_scheduler_running (self), 2);
    s_steps (self, "r1 1/2 running,  1/2 length");
    s_steps (self, "r1 1/3 length");
    assert_int_equal (toy_scheduler_running (self), 0);
    s_steps (self, "");
    toy_scheduler_destroy (&self);
}

//  What a step has given stays as it is until the next call
static void test_outputs_stay (void **state)
{
    toy_scheduler_t *self = toy_scheduler_new (&plain);
    s_add (self, "r0", 1, 1);
    s_add (self, "r1", 2, 2);
    assert_int_equal (toy_scheduler_step (self, 0, &outputs), 2);
    engine_core_outputs_t step = {.outputs = outputs, .output_count = 2};
    zframe_t *first = engine_core_outputs_encode (&step);
    zframe_t *again = engine_core_outputs_encode (&step);
    assert_true (zframe_eq (first, again));
    assert_int_equal (toy_scheduler_made (self, &outputs[0]), 1);
    assert_string_equal (outputs[0].request_id, "r0");
    //  Asking how busy it is changes nothing
    assert_int_equal (toy_scheduler_running (self), 1);
    assert_int_equal (toy_scheduler_tokens (self), 4);
    zframe_destroy (&again);
    again = engine_core_outputs_encode (&step);
    assert_true (zframe_eq (first, again));
    zframe_destroy (&first);
    zframe_destroy (&again);
    //  Whoever stops here leaks nothing
    toy_scheduler_destroy (&self);
}

static void test_duplicates (void **state)
{
    toy_scheduler_t *self = toy_scheduler_new (&plain);
    s_add (self, "r0", 1, 1);
    engine_core_request_t *request = s_request ("r0", 2, 9);
    const engine_core_request_t *kept = request;
    assert_int_equal (toy_scheduler_add (self, &request, 0), -1);
    assert_ptr_equal (request, kept);
    assert_int_equal (toy_scheduler_running (self), 1);
    s_steps (self, "r0 1/1 length");
    //  The first one is through: its name is free
    assert_int_equal (toy_scheduler_add (self, &request, 0), 0);
    assert_null (request);
    assert_int_equal (toy_scheduler_running (self), 1);
    toy_scheduler_destroy (&self);
}

//  Up to what all may take up. Nothing is asked of a request but how large it is.
static void test_room (void **state)
{
    toy_scheduler_config_t config = plain;
    toy_scheduler_t *self = toy_scheduler_new (&config);
    engine_core_request_t large = {.request_id = "", .prompt_token_count = 1 << 15};
    assert_true (toy_scheduler_has_room (self, &large));
    large.prompt_logprobs = 100;  //  25 MiB
    assert_true (toy_scheduler_has_room (self, &large));
    large.prompt_logprobs = 129;  //  32.25 MiB
    assert_false (toy_scheduler_has_room (self, &large));
    large.prompt_token_count = 32000;
    assert_true (toy_scheduler_has_room (self, &large));
    large.prompt_logprobs = ENGINE_CORE_NO_LIMIT;  //  No more than 129 come of it
    assert_true (toy_scheduler_has_room (self, &large));
    large.prompt_logprobs = 0;
    large.prompt_token_count = (TOY_SCHEDULER_MAX_REQUEST - 516) / 4;
    assert_true (toy_scheduler_has_room (self, &large));
    large.prompt_token_count++;
    assert_false (toy_scheduler_has_room (self, &large));
    large.prompt_token_count = SIZE_MAX / 1024;
    assert_false (toy_scheduler_has_room (self, &large));
    toy_scheduler_destroy (&self);

    //  A request and its outputs of a step take 30.5 MiB: 33 fit, and one more when one has ended
    config.chunk_size = 8000000;
    self = toy_scheduler_new (&config);
    engine_core_request_t more = {.request_id = ""};
    for (char id[] = "A"; id[0] < 'A' + 33; id[0]++) {
        assert_true (toy_scheduler_has_room (self, &more));
        s_add (self, id, 1, 1);
    }
    assert_false (toy_scheduler_has_room (self, &more));
    s_aborts (self, "A", "A 0/0 abort");
    assert_true (toy_scheduler_has_room (self, &more));
    toy_scheduler_destroy (&self);
}

static void test_abort (void **state)
{
    toy_scheduler_t *self = toy_scheduler_new (&plain);
    s_add (self, "r0", 1, 9);
    s_add (self, "r1", 2, 9);
    s_add (self, "r2", 3, 9);
    s_aborts (self, "r3", "");
    s_aborts (self, "r", "");
    s_aborts (self, "", "");
    assert_int_equal (toy_scheduler_running (self), 3);

    //  In mid-stream: its end, and then not another word
    s_steps (self, "r0 1/1 running, r1 1/1 running, r2 1/1 running");
    s_aborts (self, "r1", "r1 0/1 abort");
    s_aborts (self, "r1", "");
    assert_int_equal (toy_scheduler_running (self), 2);
    s_steps (self, "r0 1/2 running, r2 1/2 running");

    //  Its name is free at once
    s_aborts (self, "r0", "r0 0/2 abort");
    s_add (self, "r0", 1, 1);
    s_steps (self, "r2 1/3 running, r0 1/1 length");
    //  A request that has finished cannot be aborted
    s_aborts (self, "r0", "");
    toy_scheduler_destroy (&self);
}

//  Several at once, in the order that they are named; each once, and nobody who is not there
static void test_abort_several (void **state)
{
    toy_scheduler_t *self = toy_scheduler_new (&plain);
    s_add (self, "r0", 1, 1);
    s_add (self, "r1", 2, 9);
    s_add (self, "r2", 3, 9);
    s_add (self, "r3", 4, 9);
    s_steps (self, "r0 1/1 length, r1 1/1 running, r2 1/1 running, r3 1/1 running");
    const char *ids[] = {"r3", "nobody", "r0", "r1", "r3", ""};
    s_are (self, toy_scheduler_abort (self, ids, COUNT (ids), &outputs),
           "r3 0/1 abort, r1 0/1 abort");
    assert_int_equal (toy_scheduler_running (self), 1);
    s_are (self, toy_scheduler_abort (self, ids, 0, &outputs), "");
    s_steps (self, "r2 1/2 running");
    toy_scheduler_destroy (&self);
}

static void test_abort_all (void **state)
{
    toy_scheduler_t *self = toy_scheduler_new (&plain);
    s_add (self, "r0", 1, 1);
    s_add (self, "r1", 2, 9);
    s_add (self, "r2", 3, 9);
    s_steps (self, "r0 1/1 length, r1 1/1 running, r2 1/1 running");
    s_add (self, "r3", 4, 9);
    s_add (self, "r4", 4, 0);
    s_aborts_client (self, TOY_SCHEDULER_ALL,
                     "r1 0/1 abort, r2 0/1 abort, r3 0/0 abort, r4 0/0 abort");
    assert_int_equal (toy_scheduler_running (self), 0);
    s_aborts_client (self, TOY_SCHEDULER_ALL, "");

    //  A request that has finished in the step before is not aborted
    s_add (self, "r0", 1, 1);
    s_add (self, "r1", 2, 2);
    s_steps (self, "r0 1/1 length, r1 1/1 running");
    s_aborts_client (self, TOY_SCHEDULER_ALL, "r1 0/1 abort");
    toy_scheduler_destroy (&self);
}

static void test_limits (void **state)
{
    toy_scheduler_t *self = toy_scheduler_new (&plain);
    s_add (self, "none", 1, 0);
    s_add (self, "no limit", 1, ENGINE_CORE_NO_LIMIT);
    s_steps (self, "none 0/0 length, no limit 1/1 running");
    for (size_t i = 2; i <= 10000; i++) {
        char want[40];
        snprintf (want, sizeof want, "no limit 1/%zu running", i);
        s_steps (self, want);
    }
    toy_scheduler_destroy (&self);
}

//  The tokens of one request beside some others, all of them with prompts of their own
static void s_tokens (uint32_t token, size_t others, uint32_t *tokens, size_t count)
{
    toy_scheduler_t *self = toy_scheduler_new (&plain);
    for (size_t i = 0; i < others; i++) {
        char id[16];
        snprintf (id, sizeof id, "r%zu", i);
        s_add (self, id, 1000 + (uint32_t) i, 2);
    }
    s_add (self, "it", token, (uint32_t) count);
    for (size_t i = 0; i < count; i++) {
        size_t running = toy_scheduler_step (self, 0, &outputs);
        assert_string_equal (outputs[running - 1].request_id, "it");
        tokens[i] = outputs[running - 1].new_token_ids[0];
    }
    toy_scheduler_destroy (&self);
}

//  The same prompt gets the same tokens, beside any other requests
static void test_tokens (void **state)
{
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
    toy_scheduler_t *self = toy_scheduler_new (&plain);
    char id[16];
    for (uint32_t i = 0; i < 1000; i++) {
        snprintf (id, sizeof id, "r%u", i);
        s_add (self, id, i, 1 + i % 2);
    }
    assert_int_equal (toy_scheduler_step (self, 0, &outputs), 1000);
    for (size_t i = 0; i < 1000; i++) {
        snprintf (id, sizeof id, "r%zu", i);
        s_is_output (&outputs[i], id, 1, i % 2 ? ENGINE_CORE_RUNNING : ENGINE_CORE_LENGTH);
    }
    assert_int_equal (toy_scheduler_step (self, 0, &outputs), 500);
    s_is_output (&outputs[499], "r999", 1, ENGINE_CORE_LENGTH);
    toy_scheduler_destroy (&self);
}

//  More than fit into one step: the next one goes on behind them, and all come in turn. A request
//  that is aborted, or comes later, changes nothing for the others.
static void test_more_than_a_step (void **state)
{
    enum { MANY = 25000 };
    toy_scheduler_t *self = toy_scheduler_new (&plain);
    char id[16];
    for (uint32_t i = 0; i < MANY; i++) {
        snprintf (id, sizeof id, "r%u", i);
        s_add (self, id, i, 2);
    }
    //  Each gets its first token before any gets its second
    size_t next = 0, steps = 0;
    for (; toy_scheduler_running (self) > 0; steps++) {
        size_t count = toy_scheduler_step (self, 0, &outputs);
        assert_true (count >= 1 && count <= 10000);
        for (size_t i = 0; i < count; i++, next++) {
            snprintf (id, sizeof id, "r%zu", next % MANY);
            s_is_output (&outputs[i], id, 1,
                         next < MANY ? ENGINE_CORE_RUNNING : ENGINE_CORE_LENGTH);
        }
    }
    assert_int_equal (next, 2 * MANY);
    assert_int_equal (steps, 6);
    toy_scheduler_destroy (&self);
}

//  One that comes while a round goes on is the last of it; those that leave change nothing
static void test_between_steps (void **state)
{
    enum { MANY = 25000 };
    toy_scheduler_t *self = toy_scheduler_new (&plain);
    char id[16];
    for (uint32_t i = 0; i < MANY; i++) {
        snprintf (id, sizeof id, "r%u", i);
        s_add (self, id, i, 1);
    }
    size_t ended = toy_scheduler_step (self, 0, &outputs), count = 0;
    snprintf (id, sizeof id, "r%zu", ended);  //  The first of the next step
    const char *gone[] = {id, "r24999"};
    assert_int_equal (toy_scheduler_abort (self, gone, 2, &outputs), 2);
    s_add (self, "late", 1, 1);
    for (; toy_scheduler_running (self) > 0; ended += count) {
        count = toy_scheduler_step (self, 0, &outputs);
        assert_true (count >= 1 && count <= 10000);
    }
    assert_int_equal (ended, MANY - 2 + 1);
    assert_string_equal (outputs[count - 1].request_id, "late");
    toy_scheduler_destroy (&self);
}

//  Those of one front-end, and nobody else's
static void test_abort_client (void **state)
{
    toy_scheduler_t *self = toy_scheduler_new (&plain);
    for (uint32_t i = 0; i < 6; i++) {
        char id[] = {'r', (char) ('0' + i), 0};
        engine_core_request_t *request = s_request (id, i, 9);
        request->client_index = i % 3;
        assert_int_equal (toy_scheduler_add (self, &request, 0), 0);
    }
    s_aborts_client (self, 3, "");
    s_aborts_client (self, 1, "r1 0/0 abort, r4 0/0 abort");
    s_aborts_client (self, 1, "");
    s_steps (self, "r0 1/1 running, r2 1/1 running, r3 1/1 running, r5 1/1 running");
    toy_scheduler_destroy (&self);
}

//  -- What the configuration and the sampling_params do

//  All that came of one request
typedef struct {
    uint32_t tokens[300];
    size_t count;
    size_t sizes[300];  //  Tokens of each step,
    size_t steps;
    engine_core_finish_t reason;
    int64_t stop_reason;  //  -1: none
} run_t;

//  Takes the request over
static run_t s_run (toy_scheduler_config_t config, engine_core_request_t *request)
{
    toy_scheduler_t *self = toy_scheduler_new (&config);
    assert_int_equal (toy_scheduler_add (self, &request, 0), 0);
    run_t run = {.reason = ENGINE_CORE_RUNNING, .stop_reason = -1};
    while (run.reason == ENGINE_CORE_RUNNING) {
        const engine_core_output_t *output;
        assert_int_equal (toy_scheduler_step (self, 0, &output), 1);
        assert_true (run.steps < COUNT (run.sizes));
        assert_true (run.count + output->new_token_count <= COUNT (run.tokens));
        for (size_t i = 0; i < output->new_token_count; i++) {
            assert_true (output->new_token_ids[i] < config.vocab_size);
            run.tokens[run.count++] = output->new_token_ids[i];
        }
        run.sizes[run.steps++] = output->new_token_count;
        run.reason = output->finish_reason;
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

//  Larger steps of the same tokens, and the last one no larger than it may be
static void test_chunk_size (void **state)
{
    toy_scheduler_config_t config = plain;
    run_t single = s_run (config, s_request ("r0", 0, 10));
    s_ends (&single, 10, ENGINE_CORE_LENGTH, -1);
    assert_int_equal (single.steps, 10);
    config.chunk_size = 4;
    run_t chunks = s_run (config, s_request ("r0", 0, 10));
    s_ends (&chunks, 10, ENGINE_CORE_LENGTH, -1);
    assert_memory_equal (chunks.tokens, single.tokens, 10 * sizeof (uint32_t));
    assert_int_equal (chunks.steps, 3);
    assert_int_equal (chunks.sizes[0], 4);
    assert_int_equal (chunks.sizes[1], 4);
    assert_int_equal (chunks.sizes[2], 2);

    //  A multiple of it: no empty step behind
    run_t multiple = s_run (config, s_request ("r0", 0, 8));
    s_ends (&multiple, 8, ENGINE_CORE_LENGTH, -1);
    assert_int_equal (multiple.steps, 2);
    config.chunk_size = 65536;
    run_t one = s_run (config, s_request ("r0", 0, 10));
    s_ends (&one, 10, ENGINE_CORE_LENGTH, -1);
    assert_int_equal (one.steps, 1);
}

//  Nothing comes behind a token that ends it
static void test_stop_in_a_chunk (void **state)
{
    toy_scheduler_config_t config = plain;
    config.chunk_size = 4;
    run_t free_run = s_run (config, s_request ("r0", 0, 10));
    for (size_t i = 0; i < 5; i++)
        assert_int_not_equal (free_run.tokens[i], free_run.tokens[5]);
    engine_core_request_t *request = s_request ("r0", 0, 10);
    s_stop_at (request, 31999, free_run.tokens[5]);
    run_t run = s_run (config, request);
    s_ends (&run, 6, ENGINE_CORE_STOP, free_run.tokens[5]);
    assert_memory_equal (run.tokens, free_run.tokens, 6 * sizeof (uint32_t));
    assert_int_equal (run.steps, 2);
    assert_int_equal (run.sizes[1], 2);

    request = s_request ("r0", 0, 10);
    request->eos_token_id = free_run.tokens[5];
    run = s_run (config, request);
    s_ends (&run, 6, ENGINE_CORE_STOP, -1);
}

static void test_seed (void **state)
{
    //  The engine's, and that of the request
    static const uint64_t seeds[][2] = {{0, 0}, {1, 0}, {0, 1}, {1, 1}, {2, 0}, {0, 2}, {1000, 0}};
    run_t runs[COUNT (seeds)];
    for (size_t i = 0; i < COUNT (seeds); i++)
        for (int twice = 0; twice < 2; twice++) {
            toy_scheduler_config_t config = plain;
            config.seed = seeds[i][0];
            engine_core_request_t *request = s_request ("r0", 0, 20);
            request->seed = seeds[i][1];
            run_t run = s_run (config, request);
            if (twice)
                assert_memory_equal (run.tokens, runs[i].tokens, 20 * sizeof (uint32_t));
            runs[i] = run;
        }
    for (size_t i = 0; i < COUNT (seeds); i++)
        for (size_t k = 0; k < i; k++)
            assert_memory_not_equal (runs[i].tokens, runs[k].tokens, 20 * sizeof (uint32_t));
}

//  All ids below it come up, s_run sees that no others do
static void test_vocab_size (void **state)
{
    toy_scheduler_config_t config = plain;
    for (config.vocab_size = 1; config.vocab_size <= 9; config.vocab_size += 2) {
        run_t run = s_run (config, s_request ("r0", 0, 300));
        size_t seen[9] = {0}, kinds = 0;
        for (size_t i = 0; i < run.count; i++)
            kinds += seen[run.tokens[i]]++ == 0;
        assert_int_equal (kinds, config.vocab_size);
    }
}

static void test_stop_token_ids (void **state)
{
    toy_scheduler_config_t config = plain;
    config.vocab_size = 8;
    run_t free_run = s_run (config, s_request ("r0", 0, 100));
    for (uint32_t other = 0; other < 8; other++) {
        engine_core_request_t *request = s_request ("r0", 0, 100);
        s_stop_at (request, 3, other);
        run_t run = s_run (config, request);
        size_t want = 0;
        while (free_run.tokens[want] != 3 && free_run.tokens[want] != other)
            want++;
        s_ends (&run, want + 1, ENGINE_CORE_STOP, free_run.tokens[want]);
    }
    //  One that never comes
    engine_core_request_t *request = s_request ("r0", 0, 100);
    s_stop_at (request, 8, UINT32_MAX);
    run_t run = s_run (config, request);
    s_ends (&run, 100, ENGINE_CORE_LENGTH, -1);
}

static void test_eos (void **state)
{
    toy_scheduler_config_t config = plain;
    config.vocab_size = 1;  //  So every token is 0
    engine_core_request_t *request = s_request ("r0", 0, 5);
    request->eos_token_id = 0;
    run_t run = s_run (config, request);
    s_ends (&run, 1, ENGINE_CORE_STOP, -1);

    //  It comes before stop_token_ids
    request = s_request ("r0", 0, 5);
    request->eos_token_id = 0;
    s_stop_at (request, 0, 0);
    run = s_run (config, request);
    s_ends (&run, 1, ENGINE_CORE_STOP, -1);

    //  With ignore_eos there is none
    request = s_request ("r0", 0, 5);
    assert_int_equal (request->eos_token_id, -1);
    run = s_run (config, request);
    s_ends (&run, 5, ENGINE_CORE_LENGTH, -1);
}

//  At the last token that there may be, too
static void test_stop_comes_before_length (void **state)
{
    toy_scheduler_config_t config = plain;
    config.vocab_size = 1;
    engine_core_request_t *request = s_request ("r0", 0, 1);
    request->eos_token_id = 0;
    run_t run = s_run (config, request);
    s_ends (&run, 1, ENGINE_CORE_STOP, -1);
    request = s_request ("r0", 0, 1);
    s_stop_at (request, 0, 7);
    run = s_run (config, request);
    s_ends (&run, 1, ENGINE_CORE_STOP, 0);
}

//  What would end it is not made before
static void test_min_tokens (void **state)
{
    toy_scheduler_config_t config = plain;
    config.vocab_size = 3;
    for (uint32_t min_tokens = 0; min_tokens <= 40; min_tokens += 20) {
        engine_core_request_t *request = s_request ("r0", 0, 200);
        request->min_tokens = min_tokens;
        request->eos_token_id = 1;
        s_stop_at (request, 2, 2);
        run_t run = s_run (config, request);
        assert_int_equal (run.reason, ENGINE_CORE_STOP);
        assert_true (run.count > min_tokens);
        for (size_t i = 0; i + 1 < run.count; i++)
            assert_int_equal (run.tokens[i], 0);
        assert_int_not_equal (run.tokens[run.count - 1], 0);
    }

    //  There is no other token: then it is one of them, but the request goes on
    for (uint32_t chunk_size = 1; chunk_size <= 3; chunk_size++) {
        config.chunk_size = chunk_size;
        engine_core_request_t *request = s_request ("r0", 0, 9);
        request->min_tokens = 5;
        request->eos_token_id = 1;
        s_stop_at (request, 0, 2);
        run_t run = s_run (config, request);
        assert_int_equal (run.count, 5);
        assert_int_equal (run.reason, ENGINE_CORE_STOP);
    }

    //  More than it may have
    engine_core_request_t *request = s_request ("r0", 0, 9);
    request->min_tokens = 50;
    request->eos_token_id = 1;
    run_t run = s_run (config, request);
    s_ends (&run, 9, ENGINE_CORE_LENGTH, -1);
}

static void test_max_model_len (void **state)
{
    toy_scheduler_config_t config = plain;
    config.max_model_len = 8;
    for (config.chunk_size = 1; config.chunk_size <= 9; config.chunk_size++) {
        run_t run = s_run (config, s_request ("r0", 0, ENGINE_CORE_NO_LIMIT));
        s_ends (&run, 8 - 3, ENGINE_CORE_LENGTH, -1);
        run = s_run (config, s_request ("r0", 0, 6));
        s_ends (&run, 8 - 3, ENGINE_CORE_LENGTH, -1);
        run = s_run (config, s_request ("r0", 0, 4));
        s_ends (&run, 4, ENGINE_CORE_LENGTH, -1);
    }
}

static void test_pooling (void **state)
{
    engine_core_request_t *request = s_request ("r0", 0, 0);
    request->pooling = true;
    run_t run = s_run (plain, request);
    s_ends (&run, 0, ENGINE_CORE_ERROR, -1);
    assert_int_equal (run.steps, 1);
}

static void s_is_first (const engine_core_output_t *output, double queued, double scheduled)
{
    assert_true (output->queued == queued);
    assert_true (output->scheduled == scheduled);
    assert_int_equal (output->prefilled, scheduled > 0 ? 3 : 0);
}

//  When it came and when it began is told once, with the first output
static void test_events (void **state)
{
    toy_scheduler_t *self = toy_scheduler_new (&plain);
    engine_core_request_t *request = s_request ("r0", 0, 3);
    assert_int_equal (toy_scheduler_add (self, &request, 11.25), 0);
    assert_int_equal (toy_scheduler_step (self, 11.5, &outputs), 1);
    s_is_first (&outputs[0], 11.25, 11.5);
    request = s_request ("r1", 0, 0);
    assert_int_equal (toy_scheduler_add (self, &request, 12.25), 0);
    assert_int_equal (toy_scheduler_step (self, 12.5, &outputs), 2);
    s_is_first (&outputs[0], 0, 0);
    s_is_first (&outputs[1], 12.25, 12.5);
    //  No step, no beginning
    request = s_request ("r2", 0, 3);
    assert_int_equal (toy_scheduler_add (self, &request, 13.25), 0);
    s_aborts (self, "r2", "r2 0/0 abort");
    s_is_first (&outputs[0], 0, 0);
    assert_int_equal (toy_scheduler_step (self, 14.5, &outputs), 1);
    s_is_first (&outputs[0], 0, 0);
    toy_scheduler_destroy (&self);
}

//  How many tokens there are of those that run
static void test_token_count (void **state)
{
    toy_scheduler_config_t config = plain;
    config.chunk_size = 4;
    toy_scheduler_t *self = toy_scheduler_new (&config);
    s_add (self, "r0", 0, 6);
    s_add (self, "r1", 1, 20);
    assert_int_equal (toy_scheduler_tokens (self), 6);
    toy_scheduler_step (self, 0, &outputs);
    assert_int_equal (toy_scheduler_tokens (self), 6 + 8);
    toy_scheduler_step (self, 0, &outputs);
    assert_int_equal (toy_scheduler_tokens (self), 3 + 8);
    toy_scheduler_abort_client (self, TOY_SCHEDULER_ALL, &outputs);
    assert_int_equal (toy_scheduler_tokens (self), 0);
    toy_scheduler_destroy (&self);
}

//  On hold, what runs goes on and what is new waits
static void test_hold (void **state)
{
    toy_scheduler_t *self = toy_scheduler_new (&plain);
    s_add (self, "r0", 0, 2);
    s_add (self, "r1", 0, 9);
    toy_scheduler_hold (self, true);
    s_add (self, "r2", 0, 9);
    s_add (self, "r3", 0, 9);
    toy_scheduler_hold (self, true);
    assert_int_equal (toy_scheduler_running (self), 4);
    assert_int_equal (toy_scheduler_served (self), 2);
    s_steps (self, "r0 1/1 running, r1 1/1 running");
    s_aborts (self, "r2", "r2 0/0 abort");
    s_steps (self, "r0 1/2 length, r1 1/2 running");
    assert_int_equal (toy_scheduler_served (self), 1);
    s_aborts (self, "r1", "r1 0/2 abort");
    assert_int_equal (toy_scheduler_served (self), 0);
    assert_int_equal (toy_scheduler_running (self), 1);
    s_steps (self, "");
    toy_scheduler_hold (self, false);
    s_add (self, "r4", 0, 9);
    assert_int_equal (toy_scheduler_served (self), 2);
    s_steps (self, "r3 1/1 running, r4 1/1 running");
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
    toy_scheduler_t *self = toy_scheduler_new (&plain);
    s_add (self, "r", 0, 9);
    for (size_t i = 0; i < COUNT (cases); i++)
        s_add (self, cases[i].id, 0, 9);
    assert_int_equal (toy_scheduler_step (self, 0, &outputs), 1 + COUNT (cases));
    for (size_t i = 0; i < COUNT (cases); i++)
        assert_int_equal (outputs[1 + i].new_token_ids[0] == outputs[0].new_token_ids[0],
                          cases[i].same);
    for (size_t i = 2; i < 4; i++)
        assert_int_not_equal (outputs[i].new_token_ids[0], outputs[i + 1].new_token_ids[0]);
    toy_scheduler_destroy (&self);
}

//  The token and the likeliest in its place; of a made-up distribution, in which it is the first
static void test_logprobs (void **state)
{
    static const struct {
        uint32_t logprobs;
        size_t columns;
    } cases[] = {{0, 0}, {1, 1}, {3, 3}, {8, 8}, {9, 8}, {ENGINE_CORE_NO_LIMIT, 8}};
    toy_scheduler_config_t config = plain;
    config.vocab_size = 7;
    config.chunk_size = 2;
    for (size_t i = 0; i < COUNT (cases); i++) {
        toy_scheduler_t *self = toy_scheduler_new (&config);
        engine_core_request_t *request = s_request ("r0", 0, 5);
        request->logprobs = cases[i].logprobs;
        assert_int_equal (toy_scheduler_add (self, &request, 0), 0);
        for (size_t made = 0; made < 5; made += 2) {
            assert_int_equal (toy_scheduler_step (self, 0, &outputs), 1);
            const engine_core_logprobs_t *logprobs = outputs[0].logprobs;
            if (cases[i].columns == 0) {
                assert_null (logprobs);
                continue;
            }
            assert_int_equal (logprobs->rows, outputs[0].new_token_count);
            assert_int_equal (logprobs->columns, cases[i].columns);
            for (size_t row = 0; row < logprobs->rows; row++) {
                const uint32_t *ids = logprobs->token_ids + row * logprobs->columns;
                const float *values = logprobs->logprobs + row * logprobs->columns;
                assert_int_equal (logprobs->ranks[row], 1);
                assert_int_equal (ids[0], outputs[0].new_token_ids[row]);
                for (size_t column = 1; column < logprobs->columns; column++) {
                    assert_int_equal (ids[column], (ids[0] + column - 1) % 7);
                    assert_float_equal (values[column], -0.693147f * (float) column, 1e-5);
                }
                assert_float_equal (values[0], -0.693147f, 1e-5);
            }
        }
        toy_scheduler_destroy (&self);
    }
    //  Of tokens that are asked for by name: in the order of the request. Where one of them is the
    //  token itself, it has the same number again.
    toy_scheduler_t *named = toy_scheduler_new (&config);
    engine_core_request_t *labels = s_request ("r0", 0, 4);
    labels->logprob_token_ids = malloc (7 * sizeof (uint32_t));
    labels->logprob_token_count = 7;
    for (uint32_t i = 0; i < 7; i++)
        ((uint32_t *) labels->logprob_token_ids)[i] = 6 - i;
    assert_int_equal (toy_scheduler_add (named, &labels, 0), 0);
    for (int made = 0; made < 4; made += 2) {
        const engine_core_output_t *output;
        assert_int_equal (toy_scheduler_step (named, 0, &output), 1);
        assert_non_null (output[0].logprobs);
        assert_int_equal (output[0].logprobs->columns, 8);
        for (size_t row = 0; row < 2; row++) {
            const uint32_t *ids = output[0].logprobs->token_ids + row * 8;
            const float *values = output[0].logprobs->logprobs + row * 8;
            assert_int_equal (ids[0], output[0].new_token_ids[row]);
            assert_float_equal (values[0], -0.693147f, 1e-5);
            for (size_t column = 1; column < 8; column++) {
                float parts = ids[column] == ids[0] ? 1 : (float) (column + 1);
                assert_int_equal (ids[column], 7 - column);
                assert_float_equal (values[column], -0.693147f * parts, 1e-5);
            }
        }
    }
    toy_scheduler_destroy (&named);

    //  Of the prompt but its first token, with the first output
    toy_scheduler_t *self = toy_scheduler_new (&plain);
    engine_core_request_t *request = s_request ("r0", 0, 2);
    request->prompt_logprobs = 2;
    assert_int_equal (toy_scheduler_add (self, &request, 0), 0);
    assert_int_equal (toy_scheduler_step (self, 0, &outputs), 1);
    assert_null (outputs[0].logprobs);
    const engine_core_logprobs_t *logprobs = outputs[0].prompt_logprobs;
    assert_int_equal (logprobs->rows, 2);
    assert_int_equal (logprobs->columns, 2);
    const uint32_t want[] = {29892, 29892, 3186, 3186};
    assert_memory_equal (logprobs->token_ids, want, sizeof want);
    assert_int_equal (toy_scheduler_step (self, 0, &outputs), 1);
    assert_null (outputs[0].prompt_logprobs);
    //  There is none of one token, and none of no tokens
    for (size_t count = 0; count < 2; count++) {
        request = s_request ("short", 0, 1);
        request->prompt_logprobs = 2;
        request->prompt_token_count = count;
        assert_int_equal (toy_scheduler_add (self, &request, 0), 0);
        assert_int_equal (toy_scheduler_step (self, 0, &outputs), 1);
        assert_null (outputs[0].prompt_logprobs);
    }
    toy_scheduler_destroy (&self);

    //  No tokens, no logprobs
    self = toy_scheduler_new (&plain);
    request = s_request ("r0", 0, 0);
    request->logprobs = 3;
    assert_int_equal (toy_scheduler_add (self, &request, 0), 0);
    assert_int_equal (toy_scheduler_step (self, 0, &outputs), 1);
    assert_null (outputs[0].logprobs);
    toy_scheduler_destroy (&self);
}

//  An output leads back to its request
static void test_request_of_an_output (void **state)
{
    toy_scheduler_t *self = toy_scheduler_new (&plain);
    for (uint32_t i = 0; i < 3; i++) {
        engine_core_request_t *request = s_request ("r0", 0, 1 + i);
        request->client_index = 10 + i;
        ((char *) request->request_id)[1] = (char) ('0' + i);
        assert_int_equal (toy_scheduler_add (self, &request, 0), 0);
    }
    for (size_t left = 3; left > 0; left--) {
        assert_int_equal (toy_scheduler_step (self, 0, &outputs), left);
        for (size_t i = 0; i < left; i++) {
            const engine_core_request_t *request = toy_scheduler_request (self, &outputs[i]);
            assert_int_equal (request->client_index, 10 + 3 - left + i);
            assert_string_equal (request->request_id, outputs[i].request_id);
        }
    }
    toy_scheduler_destroy (&self);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_empty),
        cmocka_unit_test (test_steps),
        cmocka_unit_test (test_outputs_stay),
        cmocka_unit_test (test_duplicates),
        cmocka_unit_test (test_room),
        cmocka_unit_test (test_abort),
        cmocka_unit_test (test_abort_several),
        cmocka_unit_test (test_abort_all),
        cmocka_unit_test (test_more_than_a_step),
        cmocka_unit_test (test_between_steps),
        cmocka_unit_test (test_abort_client),
        cmocka_unit_test (test_limits),
        cmocka_unit_test (test_tokens),
        cmocka_unit_test (test_many),
        cmocka_unit_test (test_chunk_size),
        cmocka_unit_test (test_stop_in_a_chunk),
        cmocka_unit_test (test_seed),
        cmocka_unit_test (test_vocab_size),
        cmocka_unit_test (test_stop_token_ids),
        cmocka_unit_test (test_eos),
        cmocka_unit_test (test_stop_comes_before_length),
        cmocka_unit_test (test_min_tokens),
        cmocka_unit_test (test_max_model_len),
        cmocka_unit_test (test_pooling),
        cmocka_unit_test (test_events),
        cmocka_unit_test (test_token_count),
        cmocka_unit_test (test_hold),
        cmocka_unit_test (test_samples),
        cmocka_unit_test (test_logprobs),
        cmocka_unit_test (test_request_of_an_output),
    };
    return cmocka_run_group_tests_name ("toy_scheduler", tests, NULL, NULL);
}
