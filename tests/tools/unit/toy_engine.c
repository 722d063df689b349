//  SPDX-License-Identifier: MIT

#include "hear.h"
#include "lib/log.h"
#include "vectors.h"

#include "engine/toy_engine.h"

//  What it has sent and nobody has taken yet, oldest first
typedef struct {
    uint32_t client_index;
    zframe_t *payload;
} sent_t;

static sent_t sent[100];
static size_t sent_count;

static int s_setup (void **state)
{
    log_program = "engine";
    log_level = LOG_LINES;
    return 0;
}

//  No assertions in here: the engine's lines are caught while it runs
static void s_send (void *owner, uint32_t client_index, zframe_t *payload)
{
    if (owner != sent || sent_count == COUNT (sent))
        abort ();
    sent[sent_count++] = (sent_t){client_index, payload};
}

static void s_drop_sent (void)
{
    while (sent_count > 0)
        zframe_destroy (&sent[--sent_count].payload);
}

static toy_engine_t *s_new (const toy_engine_config_t *config)
{
    s_drop_sent ();  //  A test that has failed may have left some
    return toy_engine_new (config, s_send, sent);
}

static toy_engine_t *s_engine (uint16_t index, uint32_t clients)
{
    toy_engine_config_t config = {.index = index, .clients = clients};
    return s_new (&config);
}

//  Takes the oldest payload, which has to be for that front-end
static zframe_t *s_take (uint32_t client_index)
{
    assert_true (sent_count > 0);
    sent_t oldest = sent[0];
    memmove (sent, sent + 1, --sent_count * sizeof *sent);
    assert_int_equal (oldest.client_index, client_index);
    assert_non_null (oldest.payload);
    return oldest.payload;
}

static engine_core_outputs_t *s_take_outputs (uint32_t client_index)
{
    zframe_t *frame = s_take (client_index);
    engine_core_outputs_t *outputs = engine_core_outputs_decode (frame, NULL);
    assert_non_null (outputs);
    zframe_destroy (&frame);
    return outputs;
}

//  Takes a payload of these outputs: "r0 1 length, r1 0 abort" for 1 token and none
static void s_takes_outputs (uint32_t client_index, const char *want)
{
    engine_core_outputs_t *outputs = s_take_outputs (client_index);
    char *text = strdup ("");
    for (size_t i = 0; i < outputs->output_count; i++) {
        const engine_core_output_t *output = &outputs->outputs[i];
        char *longer =
            zsys_sprintf ("%s%s%s %zu %s", text, i ? ", " : "", output->request_id,
                          output->new_token_count, engine_core_finish_name (output->finish_reason));
        zstr_free (&text);
        text = longer;
    }
    assert_string_equal (text, want);
    assert_null (outputs->utility_output);
    zstr_free (&text);
    engine_core_outputs_destroy (&outputs);
}

//  The value at a path of array indices and keys ("2.kv_cache_usage") is the text
static void s_is_field (zframe_t *frame, const char *path, const char *text)
{
    msgpack_unpacked doc;
    assert_int_equal (mp_decode (&doc, zframe_data (frame), zframe_size (frame), "frame", NULL), 0);
    const msgpack_object *object = &doc.data;
    char word[64];
    for (const char *at = path; *at; at += strspn (at, ".")) {
        size_t size = strcspn (at, ".");
        snprintf (word, sizeof word, "%.*s", (int) size, at);
        if (object->type == MSGPACK_OBJECT_ARRAY) {
            size_t index = strtoul (word, NULL, 10);
            assert_true (index < object->via.array.size);
            object = &object->via.array.ptr[index];
        } else {
            assert_int_equal (object->type, MSGPACK_OBJECT_MAP);
            object = mp_find (&object->via.map, word);
            assert_non_null (object);
        }
        at += size;
    }
    char *printed = unit_print (object);
    assert_string_equal (printed, text);
    free (printed);
    msgpack_unpacked_destroy (&doc);
}

//  Takes the oldest payload, in which each of these is so: "2.num_running_reqs=0 4=null"
static void s_takes (uint32_t client_index, const char *fields)
{
    zframe_t *frame = s_take (client_index);
    char path[100], text[100];
    int size;
    for (; sscanf (fields, " %99[^=]=%99s%n", path, text, &size) == 2; fields += size)
        s_is_field (frame, path, text);
    assert_string_equal (fields, "");
    zframe_destroy (&frame);
}

//  Hands [type][payload] to the engine; takes the payload over. A NULL payload is not sent.
static void s_handle (toy_engine_t *self, int type, zframe_t *payload)
{
    byte type_byte = (byte) type;
    zmsg_t *message = zmsg_new ();
    zmsg_addmem (message, &type_byte, 1);
    size_t frames = 1 + (payload != NULL);
    if (payload)
        zmsg_append (message, &payload);
    hear_begin ();
    toy_engine_handle (self, message);
    hear_end ();
    //  The message stays the caller's
    assert_int_equal (zmsg_size (message), frames);
    zmsg_destroy (&message);
}

static zframe_t *s_request (const char *id, uint32_t max_tokens, uint32_t client_index)
{
    const uint32_t prompt[] = {1, 2, 3};
    engine_core_request_t request = {
        .request_id = id,
        .prompt_token_ids = prompt,
        .prompt_token_count = COUNT (prompt),
        .max_tokens = max_tokens,
        .client_index = client_index,
    };
    return engine_core_request_encode (&request);
}

static void s_add_for (toy_engine_t *self, uint32_t client_index, const char *id,
                       uint32_t max_tokens)
{
    s_handle (self, ENGINE_CORE_ADD, s_request (id, max_tokens, client_index));
    assert_string_equal (complained, "");
    assert_int_equal (sent_count, 0);
}

static void s_add (toy_engine_t *self, const char *id, uint32_t max_tokens)
{
    s_add_for (self, 0, id, max_tokens);
}

static void s_step (toy_engine_t *self)
{
    hear_begin ();
    toy_engine_step (self);
    hear_end ();
}

static void s_abort_all (toy_engine_t *self)
{
    hear_begin ();
    toy_engine_abort_all (self);
    hear_end ();
}

//  Calls a method for front-end 0. What the answer, the newest payload, has is to be told by its
//  callers; what the call made others get comes before it.
static void s_call (toy_engine_t *self, const char *method, const char *args)
{
    char text[200];
    snprintf (text, sizeof text, "[0,9223372036854775813,'%s',%s]", method, args);
    s_handle (self, ENGINE_CORE_UTILITY, unit_frame (text));
    assert_string_equal (complained, "");
}

#define NOTHING "null,[null,null]"
#define YES "null,[null,true]"
#define NO "null,[null,false]"

//  Such a call, and its answer: the UtilityOutput behind the call_id
static void s_answers (toy_engine_t *self, const char *method, const char *args, const char *answer)
{
    s_call (self, method, args);
    zframe_t *frame = s_take (0);
    assert_int_equal (sent_count, 0);
    char text[200];
    snprintf (text, sizeof text, "[9223372036854775813,%s]", answer);
    s_is_field (frame, "4", text);
    s_is_field (frame, "1", "[]");
    zframe_destroy (&frame);
}

static void s_has_summary (toy_engine_t *self, const char *summary)
{
    toy_engine_counts_t counts = {0};
    toy_engine_add_counts (self, &counts);
    hear_begin ();
    toy_engine_say_summary (&counts);
    hear_end ();
    assert_string_equal (said, summary);
}

static void test_registration (void **state)
{
    toy_engine_t *self = s_engine (3, 1);
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
    toy_engine_destroy (&self);
    assert_null (self);
    toy_engine_destroy (&self);

    //  What it was told to say
    toy_engine_config_t config = {.clients = 1,
                                  .ready = {.max_model_len = 4096,
                                            .num_gpu_blocks = 1024,
                                            .block_size = 16,
                                            .dtype = "bfloat16",
                                            .vllm_version = "0.33.0",
                                            .world_size = 2,
                                            .data_parallel_size = 2,
                                            .dp_stats_address = "tcp://127.0.0.1:5580",
                                            .data_parallel_rank = 1,
                                            .max_num_seqs = 256,
                                            .max_num_batched_tokens = 8192,
                                            .instance_id = "toy",
                                            .max_loras = 8}};
    self = s_new (&config);
    unit_is_vector (toy_engine_registration (self), VECTOR (READY));
    toy_engine_destroy (&self);
}

static void test_idle (void **state)
{
    toy_engine_t *self = s_engine (3, 2);
    assert_false (toy_engine_busy (self));
    assert_int_equal (toy_engine_running (self), 0);
    s_step (self);
    s_abort_all (self);
    assert_int_equal (sent_count, 0);
    s_has_summary (self, "engine: 0 finished, 0 aborted, 0 bad\n");
    toy_engine_destroy (&self);
}

static void test_add_and_step (void **state)
{
    toy_engine_t *self = s_engine (70, 1);
    s_add (self, "r0", 1);
    assert_string_equal (said, "r0: 3 prompt tokens\n");
    s_add (self, "r1", 2);
    s_add (self, "r2", 1);
    assert_true (toy_engine_busy (self));
    assert_int_equal (toy_engine_running (self), 3);
    s_has_summary (self, "engine: 0 finished, 0 aborted, 0 bad\n");

    double before = (double) zclock_usecs () / 1e6;
    s_step (self);
    engine_core_outputs_t *outputs = s_take_outputs (0);
    assert_string_equal (said, "r0: 1 token, length\nr2: 1 token, length\n");
    assert_int_equal (outputs->engine_index, 70);
    assert_true (outputs->timestamp >= before && outputs->timestamp < before + 100);
    assert_null (outputs->utility_output);
    assert_int_equal (outputs->output_count, 3);
    assert_string_equal (outputs->outputs[1].request_id, "r1");
    assert_int_equal (outputs->outputs[1].finish_reason, ENGINE_CORE_RUNNING);
    engine_core_outputs_destroy (&outputs);
    assert_int_equal (sent_count, 0);
    s_has_summary (self, "engine: 2 finished, 0 aborted, 0 bad\n");

    s_step (self);
    assert_string_equal (said, "r1: 2 tokens, length\n");
    s_takes_outputs (0, "r1 1 length");
    assert_false (toy_engine_busy (self));
    s_step (self);
    assert_int_equal (sent_count, 0);
    s_has_summary (self, "engine: 3 finished, 0 aborted, 0 bad\n");
    toy_engine_destroy (&self);
}

//  What the configuration has goes to the scheduler, and 0 has the values of the header
static void test_config (void **state)
{
    toy_engine_config_t config = {.clients = 1,
                                  .vocab_size = 1,
                                  .chunk_size = 5,
                                  .ready = {.max_model_len = 10, .block_size = 1}};
    toy_engine_t *self = s_new (&config);
    s_add (self, "r0", 100);
    s_step (self);
    s_takes (0, "1.0.1=[0,0,0,0,0]");
    s_step (self);
    s_takes_outputs (0, "r0 2 length");  //  10 - 3 - 5
    toy_engine_destroy (&self);

    uint32_t tokens[3];
    for (uint64_t seed = 0; seed < COUNT (tokens); seed++) {
        config = (toy_engine_config_t){.clients = 1, .seed = seed};
        self = s_new (&config);
        s_add (self, "r0", 2);
        s_step (self);
        engine_core_outputs_t *outputs = s_take_outputs (0);
        assert_int_equal (outputs->outputs[0].new_token_count, 1);
        tokens[seed] = outputs->outputs[0].new_token_ids[0];
        assert_true (tokens[seed] < 32000);
        engine_core_outputs_destroy (&outputs);
        toy_engine_destroy (&self);
    }
    assert_int_not_equal (tokens[0], tokens[1]);
    assert_int_not_equal (tokens[1], tokens[2]);
}

//  Takes a payload that tells that nothing runs any more, and nothing else
static void s_take_idle (uint32_t client_index)
{
    s_takes (client_index,
             "1=[] 2.num_running_reqs=0 2.kv_cache_usage=0.0 2.prefix_cache_stats.requests=0 "
             "2.prefix_cache_stats.queries=0 4=null 5=null");
}

//  Each front-end gets the outputs of its own requests
static void test_clients (void **state)
{
    toy_engine_t *self = s_engine (1, 4);
    s_add_for (self, 3, "r0", 2);
    s_add_for (self, 1, "r1", 9);
    s_add_for (self, 3, "r2", 9);
    s_step (self);
    s_takes_outputs (1, "r1 1 running");
    s_takes_outputs (3, "r0 1 running, r2 1 running");
    assert_int_equal (sent_count, 0);

    //  An abort goes to the one who had asked for it, not to him who aborts
    s_handle (self, ENGINE_CORE_ABORT, unit_frame ("['r2','r1']"));
    s_takes_outputs (1, "r1 0 abort");
    s_takes_outputs (3, "r2 0 abort");
    s_step (self);
    //  The last one has ended: all are told
    s_takes (0, "1=[] 2.num_running_reqs=0 2.prefix_cache_stats.requests=0");
    s_take_idle (1);
    s_take_idle (2);
    s_takes (3, "1.0.0=\"r0\" 2.num_running_reqs=0");
    assert_int_equal (sent_count, 0);

    s_add_for (self, 2, "r3", 9);
    s_add_for (self, 0, "r4", 9);
    s_abort_all (self);
    //  What has come is told once
    s_takes (0, "1.0.0=\"r4\" 2.prefix_cache_stats.requests=2");
    s_take_idle (1);
    s_takes (2, "1.0.0=\"r3\" 2.num_running_reqs=0 2.prefix_cache_stats.requests=0");
    s_take_idle (3);
    assert_int_equal (sent_count, 0);
    toy_engine_destroy (&self);
}

//  A utility call is answered to who called
static void test_answer_goes_to_the_caller (void **state)
{
    toy_engine_t *self = s_engine (1, 3);
    s_handle (self, ENGINE_CORE_UTILITY, unit_frame ("[2,5,'is_sleeping',[]]"));
    s_takes (2, "0=1 4=[5,null,[null,false]]");
    assert_int_equal (sent_count, 0);
    assert_string_equal (said, "is_sleeping: answered\n");
    toy_engine_destroy (&self);
}

static void test_client_index_out_of_range (void **state)
{
    toy_engine_t *self = s_engine (1, 2);
    static const uint32_t indices[] = {2, 70000, UINT32_MAX};
    for (size_t i = 0; i < COUNT (indices); i++) {
        char want[120], text[80];
        s_handle (self, ENGINE_CORE_ADD, s_request ("r0", 9, indices[i]));
        snprintf (want, sizeof want,
                  "engine: bad message: EngineCoreRequest.client_index: %" PRIu32
                  ", but there are 2 front-ends\n",
                  indices[i]);
        assert_string_equal (complained, want);
        assert_string_equal (said, "");
        assert_int_equal (toy_engine_running (self), 0);

        snprintf (text, sizeof text, "[%" PRIu32 ",5,'is_sleeping',[]]", indices[i]);
        s_handle (self, ENGINE_CORE_UTILITY, unit_frame (text));
        snprintf (want, sizeof want,
                  "engine: bad message: utility call.client_index: %" PRIu32
                  ", but there are 2 front-ends\n",
                  indices[i]);
        assert_string_equal (complained, want);
        assert_int_equal (sent_count, 0);
    }
    toy_engine_destroy (&self);
}

//  With the first payload of a step, to any front-end
static void test_scheduler_stats (void **state)
{
    toy_engine_config_t config = {
        .clients = 3, .ready = {.max_model_len = 100, .num_gpu_blocks = 4, .block_size = 4}};
    toy_engine_t *self = s_new (&config);
    s_add_for (self, 2, "r0", 1);
    s_add_for (self, 1, "r1", 9);
    s_step (self);
    zframe_t *frame = s_take (1);
    s_is_field (frame, "2.num_running_reqs", "1");   //  One of the two has finished by now
    s_is_field (frame, "2.kv_cache_usage", "0.25");  //  3 + 1 of 16
    s_is_field (frame, "2.prefix_cache_stats.requests", "2");
    s_is_field (frame, "2.prefix_cache_stats.queries", "6");
    s_is_field (frame, "2.prefix_cache_stats.hits", "0");
    zframe_destroy (&frame);
    s_takes (2, "2=null");

    //  What has come since the last step; more tokens than there is room for
    s_add_for (self, 2, "r2", 9);
    for (int i = 0; i < 4; i++) {
        char id[8];
        snprintf (id, sizeof id, "m%d", i);
        s_add_for (self, 2, id, 9);
    }
    s_step (self);
    s_takes (1, "2.num_running_reqs=6 2.kv_cache_usage=1.0 2.prefix_cache_stats.requests=5 "
                "2.prefix_cache_stats.queries=15");
    s_drop_sent ();
    s_step (self);
    s_takes (1, "2.prefix_cache_stats.requests=0 2.prefix_cache_stats.queries=0");
    s_drop_sent ();
    //  No step follows when nothing is left: an abort has to tell of that
    s_handle (self, ENGINE_CORE_ABORT, unit_frame ("['m0','r1']"));
    s_takes (1, "2.num_running_reqs=4");
    s_takes (2, "2=null");
    s_abort_all (self);
    s_take_idle (0);
    s_take_idle (1);
    s_takes (2, "2.num_running_reqs=0 2.kv_cache_usage=0.0");
    assert_int_equal (sent_count, 0);
    //  One that ends nothing tells nothing, and what has come is still to be told
    s_add_for (self, 1, "r3", 9);
    s_handle (self, ENGINE_CORE_ABORT, unit_frame ("['m0']"));
    assert_int_equal (sent_count, 0);
    s_step (self);
    s_takes (1, "2.prefix_cache_stats.requests=1");
    toy_engine_destroy (&self);
}

//  When a request came and when it began, by the clock of the timestamp
static void test_events (void **state)
{
    toy_engine_t *self = s_engine (1, 1);
    double before = (double) zclock_usecs () / 1e6;
    s_add (self, "r0", 9);
    s_step (self);
    double after = (double) zclock_usecs () / 1e6;
    zframe_t *frame = s_take (0);
    s_is_field (frame, "1.0.7.0.type", "1");
    s_is_field (frame, "1.0.7.1.type", "2");
    s_is_field (frame, "1.0.11.num_prompt_tokens", "3");
    msgpack_unpacked doc;
    assert_int_equal (mp_decode (&doc, zframe_data (frame), zframe_size (frame), "frame", NULL), 0);
    const msgpack_object *output = &doc.data.via.array.ptr[1].via.array.ptr[0];
    const msgpack_object *events = output->via.array.ptr[7].via.array.ptr;
    double queued = mp_find (&events[0].via.map, "timestamp")->via.f64;
    double scheduled = mp_find (&events[1].via.map, "timestamp")->via.f64;
    double timestamp = doc.data.via.array.ptr[3].via.f64;
    assert_true (before <= queued && queued <= scheduled);
    assert_true (scheduled <= timestamp && timestamp <= after);
    msgpack_unpacked_destroy (&doc);
    zframe_destroy (&frame);
    s_step (self);
    s_takes (0, "1.0.7=null 1.0.11=null");
    toy_engine_destroy (&self);
}

//  Short to read: nothing for metrics
static void test_plain (void **state)
{
    toy_engine_config_t config = {.clients = 1, .plain = true};
    toy_engine_t *self = s_new (&config);
    s_add (self, "r0", 9);
    s_step (self);
    s_takes (0, "1.0.0=\"r0\" 1.0.7=null 1.0.11=null 2=null");
    toy_engine_destroy (&self);
}

//  Tensors come in frames behind the payload
static void test_more_frames (void **state)
{
    toy_engine_t *self = s_engine (0, 1);
    zmsg_t *message = zmsg_new ();
    zmsg_addmem (message, "\0", 1);
    zframe_t *payload = s_request ("r0", 1, 0);
    zmsg_append (message, &payload);
    zmsg_addmem (message, "\xc1", 1);
    zmsg_addmem (message, NULL, 0);
    hear_begin ();
    toy_engine_handle (self, message);
    hear_end ();
    assert_int_equal (sent_count, 0);
    assert_true (toy_engine_busy (self));
    zmsg_destroy (&message);
    toy_engine_destroy (&self);
}

static void test_duplicate (void **state)
{
    toy_engine_t *self = s_engine (1, 2);
    s_add (self, "r0", 2);
    s_handle (self, ENGINE_CORE_ADD, s_request ("r0", 1, 1));
    assert_string_equal (complained, "engine: r0: a request of that id is running\n");
    s_takes_outputs (1, "r0 0 error");
    //  The one that was there goes on
    s_step (self);
    s_takes_outputs (0, "r0 1 running");
    assert_int_equal (sent_count, 0);
    toy_engine_destroy (&self);
}

//  A prompt of 50,000 tokens is 50 kB; a hundred logprobs of each of them would be 40 MB
static void test_no_room (void **state)
{
    toy_engine_t *self = s_engine (1, 1);
    size_t tokens = 50000, size;
    char *text = NULL;
    FILE *out = open_memstream (&text, &size);
    assert_non_null (out);
    fputs ("['r0',[1", out);
    for (size_t i = 1; i < tokens; i++)
        fputs (",1", out);
    fputs ("],null,{'max_tokens':1,'prompt_logprobs':99},null,1,null,null,null]", out);
    fclose (out);
    s_handle (self, ENGINE_CORE_ADD, unit_frame (text));
    free (text);
    assert_string_equal (complained, "engine: r0: no room for one more request\n");
    s_takes_outputs (0, "r0 0 error");
    assert_int_equal (toy_engine_running (self), 0);
    s_add (self, "r0", 1);
    toy_engine_destroy (&self);
}

//  No tokens are wanted: an end, so that nobody waits for them
static void test_pooling (void **state)
{
    toy_engine_t *self = s_engine (1, 1);
    s_handle (self, ENGINE_CORE_ADD, unit_vector_frame (VECTOR (REQUEST_POOLING)));
    assert_string_equal (complained, "");
    s_step (self);
    s_takes_outputs (0, "r3 0 error");
    assert_false (toy_engine_busy (self));
    toy_engine_destroy (&self);
}

//  Whoever asked waits for an end: with an id it gets one
static void test_broken_request (void **state)
{
    toy_engine_t *self = s_engine (1, 2);
    s_handle (self, ENGINE_CORE_ADD, unit_edit (VECTOR (REQUEST_R3), "3", "'x'"));
    assert_string_equal (complained, "engine: bad message: EngineCoreRequest.sampling_params: want "
                                     "a map, got str\n");
    s_takes_outputs (0, "r3 0 error");

    //  Of another front-end
    s_handle (self, ENGINE_CORE_ADD,
              unit_frame ("['r4','x',null,{},null,1.0,null,null,null,null,null,1]"));
    s_takes_outputs (1, "r4 0 error");
    //  The first, when it cannot be read which
    s_handle (self, ENGINE_CORE_ADD,
              unit_frame ("['r5','x',null,{},null,1.0,null,null,null,null,null,'x']"));
    s_takes_outputs (0, "r5 0 error");
    s_handle (self, ENGINE_CORE_ADD, unit_frame ("['r6']"));
    s_takes_outputs (0, "r6 0 error");
    //  Nobody, when there is no such front-end or no id
    s_handle (self, ENGINE_CORE_ADD,
              unit_frame ("['r7','x',null,{},null,1.0,null,null,null,null,null,2]"));
    s_handle (self, ENGINE_CORE_ADD, unit_edit (VECTOR (REQUEST_R3), "0", "7"));
    assert_int_equal (sent_count, 0);
    assert_int_equal (toy_engine_running (self), 0);
    s_has_summary (self, "engine: 0 finished, 0 aborted, 6 bad\n");
    toy_engine_destroy (&self);
}

static void test_abort (void **state)
{
    toy_engine_t *self = s_engine (1, 1);
    s_add (self, "r0", 9);
    s_add (self, "r1", 9);
    s_add (self, "r2", 9);
    s_step (self);
    s_drop_sent ();
    //  One twice, one that is not there: neither is an error
    s_handle (self, ENGINE_CORE_ABORT, unit_frame ("['r0','r9','r1','r0']"));
    assert_string_equal (said, "r0: aborted\nr1: aborted\n");
    assert_string_equal (complained, "");
    s_takes_outputs (0, "r0 0 abort, r1 0 abort");
    assert_int_equal (sent_count, 0);
    s_has_summary (self, "engine: 0 finished, 2 aborted, 0 bad\n");
    s_step (self);
    s_takes_outputs (0, "r2 1 running");
    s_handle (self, ENGINE_CORE_ABORT, unit_frame ("[]"));
    assert_string_equal (said, "");
    assert_int_equal (sent_count, 0);

    s_add (self, "r3", 9);
    s_abort_all (self);
    assert_string_equal (said, "r2: aborted\nr3: aborted\n");
    s_takes_outputs (0, "r2 0 abort, r3 0 abort");
    assert_false (toy_engine_busy (self));
    s_has_summary (self, "engine: 0 finished, 4 aborted, 0 bad\n");
    toy_engine_destroy (&self);
}

//  A front-end is gone: what it has asked for ends, and nothing of the others
static void test_abort_client (void **state)
{
    toy_engine_t *self = s_engine (1, 2);
    s_add_for (self, 0, "r0", 9);
    s_add_for (self, 1, "r1", 9);
    hear_begin ();
    toy_engine_abort_client (self, 1);
    hear_end ();
    assert_string_equal (said, "r1: aborted\n");
    s_takes_outputs (1, "r1 0 abort");
    s_step (self);
    s_takes_outputs (0, "r0 1 running");
    s_has_summary (self, "engine: 0 finished, 1 aborted, 0 bad\n");
    toy_engine_destroy (&self);
}

//  It is there, and gone at once: no step serves it. Others run on.
static void test_abort_immediately (void **state)
{
    toy_engine_t *self = s_engine (1, 1);
    s_add (self, "r0", 9);
    s_handle (self, ENGINE_CORE_ADD, unit_edit (VECTOR (REQUEST_R3), "19", "true"));
    assert_string_equal (said, "r3: 5 prompt tokens\nr3: aborted\n");
    s_takes_outputs (0, "r3 0 abort");
    assert_int_equal (sent_count, 0);
    assert_int_equal (toy_engine_running (self), 1);
    s_step (self);
    s_takes_outputs (0, "r0 1 running");
    s_has_summary (self, "engine: 0 finished, 1 aborted, 0 bad\n");
    toy_engine_destroy (&self);
}

//  -- Utility calls

static void test_every_method (void **state)
{
    static const struct {
        const char *method;
        const char *args;
        const char *answer;
    } cases[] = {
        {"get_supported_tasks", "[]", "null,[null,[\"generate\"]]"},
        {"is_sleeping", "[]", NO},
        {"is_scheduler_paused", "[]", NO},
        {"sleep", "[1,'abort']", NOTHING},
        {"release_kv_cache_memory", "[]",
         "\"release_kv_cache_memory: requires all memory to be resident\",null"},
        {"wake_up", "[null]", YES},
        {"release_kv_cache_memory", "[]",
         "\"release_kv_cache_memory: requires a completed pause first\",null"},
        {"pause_scheduler", "['abort',true]", NOTHING},
        {"release_kv_cache_memory", "[]", NOTHING},
        {"is_sleeping", "[]", YES},
        {"wake_up", "[['kv_cache']]", YES},
        {"pause_generation", "['abort',true]", NOTHING},
        {"pause_generation", "['never',true]", "\"pause_generation: there is no such mode\",null"},
        {"get_weight_version", "[]", "null,[null,\"default\"]"},
        {"set_weight_version", "['v7']", NOTHING},
        {"set_weight_version", "[7]",
         "\"set_weight_version: a version is a string of up to 256 bytes\",null"},
        {"get_weight_version", "[]", "null,[null,\"v7\"]"},
        {"compute_weight_checksums", "[]", "null,[null,[{}]]"},
        {"commit_prepared_elastic_ep", "[]",
         "\"commit_prepared_elastic_ep: this toy does not change its size\",null"},
        {"resume_scheduler", "[]", NOTHING},
        {"list_loras", "[]", "null,[null,[]]"},
        {"add_lora", "[['sql',5,'/loras/sql']]", YES},
        {"pin_lora", "[5]", YES},
        {"remove_lora", "[5]", YES},
        {"reset_prefix_cache", "[false,false]", YES},
        {"get_kv_cache_group_metadata", "[]", "null,[null,[]]"},
        {"reset_mm_cache", "[]", NOTHING},
        {"reset_encoder_cache", "[]", NOTHING},
        {"profile", "[true,null]", NOTHING},
        {"execute_dummy_batch", "[]", NOTHING},
        {"collective_rpc", "['f',null,[],null]",
         "\"collective_rpc: this toy has no workers\",null"},
        {"save_sharded_state", "['/tmp',null,null]",
         "\"save_sharded_state: this toy has no workers\",null"},
        {"eep_scale", "[]", "\"eep_scale: this toy has no such method\",null"},
        {"", "[]", "\": this toy has no such method\",null"},
        {"Sleep", "[]", "\"Sleep: this toy has no such method\",null"},
    };
    toy_engine_t *self = s_engine (1, 1);
    for (size_t i = 0; i < COUNT (cases); i++) {
        s_answers (self, cases[i].method, cases[i].args, cases[i].answer);
        char line[120];
        if (strncmp (cases[i].answer, "null", 4) == 0)
            snprintf (line, sizeof line, "%s: answered\n", cases[i].method);
        else  //  What is between the quotes
            snprintf (line, sizeof line, "%.*s\n", (int) strcspn (cases[i].answer + 1, "\""),
                      cases[i].answer + 1);
        assert_string_equal (said, line);
    }
    s_has_summary (self, "engine: 0 finished, 0 aborted, 0 bad\n");
    toy_engine_destroy (&self);
}

//  What a call answers that has gone well
static const char *s_well (const char *method)
{
    return streq (method, "wake_up") ? YES : NOTHING;
}

//  Byte for byte, but for the clock
static void s_answers_as (toy_engine_t *self, const char *method, vector_t vector)
{
    s_call (self, method, "[]");
    zframe_t *frame = s_take (0);
    vector_t answer = {"answer", zframe_data (frame), zframe_size (frame)};
    unit_is_vector (unit_edit (answer, "3", "12.5"), vector);
    zframe_destroy (&frame);
}

static void test_results_are_those_of_vllm (void **state)
{
    toy_engine_t *self = s_engine (1, 1);
    s_answers_as (self, "get_supported_tasks", VECTOR (OUTPUTS_UTILITY_TASKS));
    s_answers_as (self, "is_sleeping", VECTOR (OUTPUTS_UTILITY_FALSE));
    s_answers_as (self, "sleep", VECTOR (OUTPUTS_UTILITY_NONE));
    s_answers_as (self, "is_sleeping", VECTOR (OUTPUTS_UTILITY_TRUE));
    s_answers_as (self, "list_loras", VECTOR (OUTPUTS_UTILITY_EMPTY));
    toy_engine_destroy (&self);
}

//  Requests end; those that come later wait
static void test_sleep_and_pause (void **state)
{
    static const struct {
        const char *stop, *go;
    } cases[] = {
        {"sleep", "wake_up"},
        {"pause_scheduler", "resume_scheduler"},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        toy_engine_t *self = s_engine (1, 2);
        s_add_for (self, 1, "r0", 9);
        s_call (self, cases[i].stop, "[]");
        //  None yet: this front-end is told, too
        s_takes (0, "2.num_running_reqs=0");
        s_takes_outputs (1, "r0 0 abort");
        s_takes (0, "4=[9223372036854775813,null,[null,null]]");
        assert_int_equal (sent_count, 0);
        s_answers (self, "is_sleeping", "[]", YES);  //  A pause is a light sleep
        s_answers (self, "is_scheduler_paused", "[]", YES);

        s_add_for (self, 1, "r1", 9);
        s_add_for (self, 1, "r2", 9);
        assert_false (toy_engine_busy (self));
        assert_int_equal (toy_engine_running (self), 2);
        //  It still listens
        s_handle (self, ENGINE_CORE_ABORT, unit_frame ("['r2']"));
        s_takes_outputs (1, "r2 0 abort");

        s_answers (self, cases[i].go, "[]", s_well (cases[i].go));
        s_answers (self, "is_sleeping", "[]", NO);
        s_answers (self, "is_scheduler_paused", "[]", NO);
        assert_true (toy_engine_busy (self));
        s_step (self);
        s_takes_outputs (1, "r1 1 running");
        s_has_summary (self, "engine: 0 finished, 2 aborted, 0 bad\n");
        toy_engine_destroy (&self);
    }
}

//  One thing after the other: it goes on when nothing sleeps any more
static void test_wake_up_by_tags (void **state)
{
    static const struct {
        const char *args;
        bool sleeps;  //  Afterwards
    } cases[] = {
        {"[['scheduling']]", true},
        {"[[]]", true},
        {"[['lights']]", true},
        {"[['weights','lights']]", true},  //  Which does not wake the weights
        {"[['weights']]", true},
        {"[['weights','kv_cache']]", true},  //  Not both of them sleep
        {"[['kv_cache','scheduling']]", false},
        {"[['weights']]", false},
    };
    toy_engine_t *self = s_engine (1, 1);
    s_answers (self, "sleep", "[2,'abort']", NOTHING);
    s_add (self, "r0", 1);
    for (size_t i = 0; i < COUNT (cases); i++) {
        s_answers (self, "wake_up", cases[i].args, cases[i].sleeps ? NO : YES);
        s_answers (self, "is_sleeping", "[]", cases[i].sleeps ? YES : NO);
        assert_int_equal (toy_engine_busy (self), !cases[i].sleeps);
    }
    s_step (self);
    s_takes_outputs (0, "r0 1 length");

    //  A second sleep has no effect on an engine that is half awake; nil wakes what is left
    s_answers (self, "sleep", "[1,'abort']", NOTHING);
    s_answers (self, "wake_up", "[['kv_cache']]", NO);
    s_answers (self, "sleep", "[1,'abort']", NOTHING);
    s_answers (self, "wake_up", "[['weights']]", YES);
    s_answers (self, "is_sleeping", "[]", NO);
    s_answers (self, "sleep", "[1,'abort']", NOTHING);
    s_answers (self, "wake_up", "[['kv_cache']]", NO);
    s_answers (self, "wake_up", "[null]", YES);
    s_answers (self, "is_sleeping", "[]", NO);
    //  Level 0 is but a pause
    s_answers (self, "sleep", "[0,'abort']", NOTHING);
    s_answers (self, "wake_up", "[['scheduling']]", YES);
    s_answers (self, "is_sleeping", "[]", NO);
    toy_engine_destroy (&self);
}

//  Before v0.31 it returned nothing, and the front-end in Rust refuses a bool
static void test_wake_up_of_older_releases (void **state)
{
    for (int release = 29; release <= 32; release++) {
        toy_engine_config_t config = {.clients = 1, .release = release};
        toy_engine_t *self = s_new (&config);
        s_answers (self, "sleep", "[1,'abort']", NOTHING);
        s_answers (self, "wake_up", "[['weights']]", release < 31 ? NOTHING : NO);
        s_answers (self, "wake_up", "[null]", release < 31 ? NOTHING : YES);
        toy_engine_destroy (&self);
    }
}

//  While a user's pause lasts, what is new ends at once with an error; not with "keep", and not
//  what ends at once anyway
static void test_pause_generation (void **state)
{
    static const struct {
        const char *args;
        bool refuses;
    } cases[] = {
        {"['abort',true]", true},
        {"['wait',true]", true},
        {"['keep',true]", false},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        toy_engine_t *self = s_engine (1, 1);
        s_answers (self, "pause_generation", cases[i].args, NOTHING);
        s_answers (self, "is_scheduler_paused", "[]", YES);
        s_handle (self, ENGINE_CORE_ADD, s_request ("r0", 1, 0));
        assert_int_equal (toy_engine_running (self), !cases[i].refuses);
        if (cases[i].refuses) {
            zframe_t *answer = s_take (0);
            s_is_field (answer, "1.0.0", "\"r0\"");
            s_is_field (answer, "1.0.5", "3");
            s_is_field (answer, "1.0.18",
                        "{\"code\":\"engine_paused\",\"message\":\"Generation is paused. Please "
                        "retry after it resumes.\",\"retryable\":true}");
            s_is_field (answer, "5", "[\"r0\"]");
            zframe_destroy (&answer);
        }
        assert_int_equal (sent_count, 0);
        s_handle (self, ENGINE_CORE_ADD, unit_edit (VECTOR (REQUEST_R3), "19", "true"));
        s_takes_outputs (0, "r3 0 abort");
        //  One more pause changes nothing of that, the end of all of them does
        s_answers (self, "pause_scheduler", "['keep',true]", NOTHING);
        s_handle (self, ENGINE_CORE_ADD, s_request ("r1", 1, 0));
        assert_int_equal (sent_count, cases[i].refuses);
        s_drop_sent ();
        s_answers (self, "resume_scheduler", "[]", NOTHING);
        s_add (self, "r2", 1);
        assert_int_equal (sent_count, 0);
        assert_true (toy_engine_busy (self));
        toy_engine_destroy (&self);
    }
}

//  Requests stay as they are, and go on afterwards
static void test_pause_that_keeps (void **state)
{
    static const struct {
        const char *stop, *args, *go;
    } cases[] = {
        {"pause_scheduler", "['keep',true]", "resume_scheduler"},
        {"sleep", "[1,'keep']", "wake_up"},
        {"sleep", "[0,'keep']", "resume_scheduler"},  //  Level 0 is but a pause
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        toy_engine_t *self = s_engine (1, 1);
        s_add (self, "r0", 2);
        s_step (self);
        s_drop_sent ();
        s_answers (self, cases[i].stop, cases[i].args, NOTHING);
        s_add (self, "r1", 2);
        assert_false (toy_engine_busy (self));
        assert_int_equal (toy_engine_running (self), 2);
        s_answers (self, cases[i].go, "[]", s_well (cases[i].go));
        s_answers (self, "is_sleeping", "[]", NO);
        assert_true (toy_engine_busy (self));
        s_step (self);
        s_takes_outputs (0, "r0 1 length, r1 1 running");
        toy_engine_destroy (&self);
    }
}

//  Takes the answer to a call that had to wait
static void s_take_answer (void)
{
    s_takes (0, "4=[9223372036854775813,null,[null,null]]");
}

//  Requests come to their end, what is new waits, and the answer comes when all have ended
static void test_pause_that_waits (void **state)
{
    toy_engine_t *self = s_engine (1, 1);
    s_answers (self, "pause_scheduler", "['wait',true]", NOTHING);  //  Nothing runs
    s_answers (self, "resume_scheduler", "[]", NOTHING);

    s_add (self, "r0", 3);
    s_add (self, "r1", 2);
    s_call (self, "pause_scheduler", "['wait',true]");
    assert_int_equal (sent_count, 0);
    s_answers (self, "is_scheduler_paused", "[]", YES);
    s_add (self, "r2", 1);
    assert_true (toy_engine_busy (self));
    s_step (self);
    s_takes_outputs (0, "r0 1 running, r1 1 running");
    s_step (self);
    s_drop_sent ();
    s_step (self);
    s_takes_outputs (0, "r0 1 length");
    s_take_answer ();
    assert_int_equal (sent_count, 0);
    assert_false (toy_engine_busy (self));
    assert_int_equal (toy_engine_running (self), 1);
    s_answers (self, "resume_scheduler", "[]", NOTHING);
    s_step (self);
    s_takes_outputs (0, "r2 1 length");

    //  The last one is aborted; or the pause is over before, or becomes one that ends all
    s_add (self, "r3", 9);
    s_call (self, "sleep", "[1,'wait']");
    assert_int_equal (sent_count, 0);
    s_handle (self, ENGINE_CORE_ABORT, unit_frame ("['r3']"));
    s_takes_outputs (0, "r3 0 abort");
    s_take_answer ();
    s_answers (self, "wake_up", "[null]", YES);
    s_add (self, "r4", 9);
    s_call (self, "pause_scheduler", "['wait',true]");
    s_call (self, "resume_scheduler", "[]");
    s_take_answer ();
    s_take_answer ();
    assert_true (toy_engine_busy (self));
    s_call (self, "pause_scheduler", "['wait',true]");
    s_call (self, "pause_scheduler", "['abort',true]");
    s_takes_outputs (0, "r4 0 abort");
    s_take_answer ();
    s_take_answer ();
    assert_int_equal (sent_count, 0);
    assert_false (toy_engine_busy (self));
    s_answers (self, "resume_scheduler", "[]", NOTHING);

    s_answers (self, "pause_scheduler", "['doze',true]",
               "\"pause_scheduler: there is no such mode\",null");
    s_answers (self, "is_scheduler_paused", "[]", NO);
    //  A thousand may wait
    s_add (self, "r5", 9);
    for (int i = 0; i < 1000; i++)
        s_call (self, "pause_scheduler", "['wait',true]");
    s_answers (self, "pause_scheduler", "['wait',true]",
               "\"pause_scheduler: too many wait for that already\",null");
    //  Whoever stops here leaks nothing
    toy_engine_destroy (&self);
}

static void test_loras (void **state)
{
    toy_engine_t *self = s_engine (1, 2);
    s_handle (self, ENGINE_CORE_UTILITY, unit_vector_frame (VECTOR (UTILITY_ADD_LORA)));
    s_takes (1, "4=[7,null,[null,true]]");
    s_answers (self, "list_loras", "[]", "null,[null,[5]]");
    s_answers (self, "pin_lora", "[5]", YES);
    s_answers (self, "pin_lora", "[6]", NO);
    //  Once more is no other
    s_answers (self, "add_lora", "[['sql',5,'/loras/sql',null,null,true,false]]", YES);
    s_answers (self, "list_loras", "[]", "null,[null,[5]]");

    s_answers (self, "add_lora", "[['big',4294967296,'/loras/big']]", YES);
    s_answers (self, "remove_lora", "[6]", NO);
    s_handle (self, ENGINE_CORE_UTILITY, unit_vector_frame (VECTOR (UTILITY_REMOVE_LORA)));
    s_takes (1, "4=[8,null,[null,true]]");
    s_answers (self, "list_loras", "[]", "null,[null,[4294967296]]");
    s_answers (self, "remove_lora", "[5]", NO);
    s_answers (self, "remove_lora", "[4294967296]", YES);
    s_answers (self, "list_loras", "[]", "null,[null,[]]");
    toy_engine_destroy (&self);
}

static void test_many_loras (void **state)
{
    toy_engine_t *self = s_engine (1, 1);
    for (int i = 1; i <= 1001; i++) {
        char args[40];
        snprintf (args, sizeof args, "[['a',%d,'/a']]", i);
        s_answers (self, "add_lora", args, i <= 1000 ? YES : NO);
    }
    s_answers (self, "add_lora", "[['a',1,'/a']]", YES);
    s_answers (self, "remove_lora", "[1]", YES);
    s_answers (self, "add_lora", "[['a',1001,'/a']]", YES);
    toy_engine_destroy (&self);
}

//  Arguments that name no adapter
static void test_no_lora (void **state)
{
    static const char *const args[] = {"[]",    "['sql']",       "[null]", "[['sql']]",
                                       "[-1]",  "[1.5]",         "{}",     "[['sql',-1,'/a']]",
                                       "['5']", "[['sql',null]]"};
    toy_engine_t *self = s_engine (1, 1);
    for (size_t i = 0; i < COUNT (args); i++) {
        s_answers (self, "add_lora", args[i], NO);
        s_answers (self, "pin_lora", args[i], NO);
        s_answers (self, "remove_lora", args[i], NO);
    }
    s_answers (self, "list_loras", "[]", "null,[null,[]]");
    toy_engine_destroy (&self);
}

//  Several: in no particular order
static void test_list_of_loras (void **state)
{
    toy_engine_t *self = s_engine (1, 1);
    for (int i = 1; i <= 40; i++) {
        char args[40];
        snprintf (args, sizeof args, "[['a%d',%d,'/a']]", i, i);
        s_answers (self, "add_lora", args, YES);
    }
    s_call (self, "list_loras", "[]");
    zframe_t *frame = s_take (0);
    msgpack_unpacked doc;
    assert_int_equal (mp_decode (&doc, zframe_data (frame), zframe_size (frame), "frame", NULL), 0);
    const msgpack_object *result = &doc.data.via.array.ptr[4].via.array.ptr[2];
    const msgpack_object_array *loras = &result->via.array.ptr[1].via.array;
    assert_int_equal (loras->size, 40);
    bool seen[41] = {true};
    for (uint32_t i = 0; i < loras->size; i++) {
        uint64_t number = loras->ptr[i].via.u64;
        assert_true (number <= 40 && !seen[number]);
        seen[number] = true;
    }
    msgpack_unpacked_destroy (&doc);
    zframe_destroy (&frame);
    toy_engine_destroy (&self);
}

static void test_wave (void **state)
{
    toy_engine_t *self = s_engine (1, 1);
    s_handle (self, ENGINE_CORE_START_DP_WAVE, unit_frame ("[0,1]"));
    assert_string_not_equal (said, "");
    assert_string_equal (complained, "");
    assert_int_equal (sent_count, 0);
    assert_false (toy_engine_busy (self));
    s_has_summary (self, "engine: 0 finished, 0 aborted, 0 bad\n");
    toy_engine_destroy (&self);
}

//  -- What is told to others

static void s_has_load (toy_engine_t *self, const char *running)
{
    zframe_t *frame = toy_engine_load (self);
    assert_non_null (frame);
    s_is_field (frame, "0", "7");
    s_is_field (frame, "1", "[]");
    s_is_field (frame, "2.num_running_reqs", running);
    s_is_field (frame, "2.num_waiting_reqs", "0");
    s_is_field (frame, "4", "null");
    zframe_destroy (&frame);
    //  Only when it has changed
    assert_null (toy_engine_load (self));
}

static void test_load (void **state)
{
    toy_engine_t *self = s_engine (7, 1);
    assert_null (toy_engine_load (self));
    s_add (self, "r0", 2);
    s_add (self, "r1", 1);
    s_has_load (self, "2");
    s_step (self);
    s_has_load (self, "1");
    s_drop_sent ();
    //  There and gone in between: as others see it nothing has happened
    s_add (self, "r2", 9);
    s_handle (self, ENGINE_CORE_ABORT, unit_frame ("['r2']"));
    assert_null (toy_engine_load (self));
    s_step (self);
    s_has_load (self, "0");
    s_drop_sent ();
    toy_engine_destroy (&self);
}

static void test_quiet (void **state)
{
    toy_engine_config_t config = {.clients = 1, .quiet = true};
    toy_engine_t *self = s_new (&config);
    s_add (self, "r0", 1);
    assert_string_equal (said, "");
    s_step (self);
    assert_string_equal (said, "");
    s_drop_sent ();
    s_add (self, "r1", 9);
    s_handle (self, ENGINE_CORE_ABORT, unit_frame ("['r1']"));
    assert_string_equal (said, "");
    s_drop_sent ();
    s_add (self, "r2", 9);
    s_abort_all (self);
    assert_string_equal (said, "");
    s_drop_sent ();
    s_answers (self, "is_sleeping", "[]", NO);
    assert_string_equal (said, "");

    //  What is wrong is told
    s_answers (self, "fly", "[]", "\"fly: this toy has no such method\",null");
    assert_string_equal (said, "fly: this toy has no such method\n");
    s_add (self, "r3", 9);
    s_handle (self, ENGINE_CORE_ADD, s_request ("r3", 9, 0));
    assert_string_equal (complained, "engine: r3: a request of that id is running\n");
    s_handle (self, ENGINE_CORE_ABORT, unit_frame ("{}"));
    assert_string_equal (complained, "engine: bad message: abort: want an array, got map\n");
    s_drop_sent ();
    s_has_summary (self, "engine: 1 finished, 2 aborted, 1 bad\n");
    toy_engine_destroy (&self);
}

//  Of engines that work one after the other there is one summary
static void test_counts_add_up (void **state)
{
    toy_engine_counts_t sum = {.finished = 100, .aborted = 200, .bad = 300};
    toy_engine_t *self = s_engine (1, 1);
    s_add (self, "r0", 1);
    s_step (self);
    s_drop_sent ();
    s_add (self, "r1", 9);
    s_add (self, "r2", 9);
    s_abort_all (self);
    for (int i = 0; i < 3; i++)
        s_handle (self, 0xff, unit_frame ("[]"));
    toy_engine_add_counts (self, &sum);
    assert_int_equal (sum.finished, 101);
    assert_int_equal (sum.aborted, 202);
    assert_int_equal (sum.bad, 303);
    s_drop_sent ();
    toy_engine_destroy (&self);
}

//  -- Bad messages

//  Told on stderr in one line, counted, not answered, and the engine goes on
static void test_bad_messages (void **state)
{
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
        {ENGINE_CORE_ADD, "[null,'x',null,null,null,1,null,null,null]",
         "EngineCoreRequest.request_id: want a str, got nil"},
        {ENGINE_CORE_ABORT, "'r0'", "abort: want an array, got str"},
        {ENGINE_CORE_ABORT, "['r0',1]", "abort[]: want a str, got integer"},
        {ENGINE_CORE_ABORT, "x'91'", "abort: truncated"},
        {ENGINE_CORE_UTILITY, "[0,1,'is_sleeping']",
         "utility call: want an array of 4 or more, got 3"},
        {ENGINE_CORE_UTILITY, "[0,1,2,3]", "utility call.method: want a str, got integer"},
    };
    toy_engine_t *self = s_engine (1, 1);
    s_add (self, "r0", 9);
    for (size_t i = 0; i < COUNT (cases); i++) {
        zframe_t *payload = cases[i].payload ? unit_frame (cases[i].payload) : NULL;
        s_handle (self, cases[i].type, payload);
        assert_int_equal (sent_count, 0);
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
        hear_begin ();
        toy_engine_handle (self, message);
        hear_end ();
        assert_int_equal (sent_count, 0);
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
    toy_engine_t *self = s_engine (1, 1);
    s_add (self, "r0\nr1: aborted\x1b[2J", 1);
    assert_string_equal (said, "r0?r1: aborted?[2J: 3 prompt tokens\n");
    s_call (self, "a\nb", "[]");
    assert_string_equal (said, "a?b: this toy has no such method\n");
    s_drop_sent ();
    toy_engine_destroy (&self);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_registration),
        cmocka_unit_test (test_idle),
        cmocka_unit_test (test_add_and_step),
        cmocka_unit_test (test_config),
        cmocka_unit_test (test_clients),
        cmocka_unit_test (test_answer_goes_to_the_caller),
        cmocka_unit_test (test_client_index_out_of_range),
        cmocka_unit_test (test_scheduler_stats),
        cmocka_unit_test (test_events),
        cmocka_unit_test (test_plain),
        cmocka_unit_test (test_more_frames),
        cmocka_unit_test (test_duplicate),
        cmocka_unit_test (test_no_room),
        cmocka_unit_test (test_many_loras),
        cmocka_unit_test (test_pooling),
        cmocka_unit_test (test_broken_request),
        cmocka_unit_test (test_abort),
        cmocka_unit_test (test_abort_client),
        cmocka_unit_test (test_abort_immediately),
        cmocka_unit_test (test_every_method),
        cmocka_unit_test (test_results_are_those_of_vllm),
        cmocka_unit_test (test_sleep_and_pause),
        cmocka_unit_test (test_wake_up_by_tags),
        cmocka_unit_test (test_wake_up_of_older_releases),
        cmocka_unit_test (test_pause_generation),
        cmocka_unit_test (test_pause_that_keeps),
        cmocka_unit_test (test_pause_that_waits),
        cmocka_unit_test (test_loras),
        cmocka_unit_test (test_no_lora),
        cmocka_unit_test (test_list_of_loras),
        cmocka_unit_test (test_wave),
        cmocka_unit_test (test_load),
        cmocka_unit_test (test_quiet),
        cmocka_unit_test (test_counts_add_up),
        cmocka_unit_test (test_bad_messages),
        cmocka_unit_test (test_id_with_control_bytes),
    };
    return cmocka_run_group_tests_name ("toy_engine", tests, s_setup, hear_teardown);
}
