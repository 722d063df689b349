//  SPDX-License-Identifier: MIT

#include "unit.h"
#include "vectors.h"

#include "engine/engine_core.h"

#include <inttypes.h>

//  The prompt of the vectors
static const uint32_t prompt[] = {1, 2, 3, 70000, UINT32_MAX};

//  -- Decoders, as unit.h wants them. What was decoded is encoded again, so that all of it is read.

static bool s_request (zframe_t *frame, mp_error_t *error)
{
    engine_core_request_t *request = engine_core_request_decode (frame, error);
    if (!request)
        return false;
    zframe_t *again = engine_core_request_encode (request);
    zframe_destroy (&again);
    engine_core_request_destroy (&request);
    return true;
}

//  It does not say why there is none: then decoding the whole request fails as well, and says why
static bool s_request_id (zframe_t *frame, mp_error_t *error)
{
    uint32_t client_index;
    char *request_id = engine_core_request_id (frame, &client_index);
    bool ok = request_id && strlen (request_id) < 1000;
    if (!ok)
        assert_false (s_request (frame, error));
    zstr_free (&request_id);
    return ok;
}

static bool s_abort (zframe_t *frame, mp_error_t *error)
{
    engine_core_abort_t *abort = engine_core_abort_decode (frame, error);
    if (!abort)
        return false;
    zframe_t *again = engine_core_abort_encode (abort);
    zframe_destroy (&again);
    engine_core_abort_destroy (&abort);
    return true;
}

static bool s_utility (zframe_t *frame, mp_error_t *error)
{
    engine_core_utility_t *utility = engine_core_utility_decode (frame, error);
    if (!utility)
        return false;
    assert_true (strlen (utility->method) < 1000);
    engine_core_utility_destroy (&utility);
    return true;
}

static bool s_outputs (zframe_t *frame, mp_error_t *error)
{
    engine_core_outputs_t *outputs = engine_core_outputs_decode (frame, error);
    if (!outputs)
        return false;
    for (size_t i = 0; i < outputs->output_count; i++)
        assert_non_null (engine_core_finish_name (outputs->outputs[i].finish_reason));
    zframe_t *again = engine_core_outputs_encode (outputs);
    zframe_destroy (&again);
    engine_core_outputs_destroy (&outputs);
    return true;
}

static bool s_ready (zframe_t *frame, mp_error_t *error)
{
    engine_core_ready_t ready;
    return engine_core_ready_decode (frame, &ready, error) == 0;
}

//  An empty frame is a ready response too, of engines that are older
static bool s_ready_not_empty (zframe_t *frame, mp_error_t *error)
{
    if (zframe_size (frame) > 0)
        return s_ready (frame, error);
    mp_error_set (error, "test", "empty");
    return false;
}

//  -- What was decoded, as text: all of it but what has its default. A text says why when it could
//  not be decoded. All of them take the frame over; what was decoded does not point into it.

static void s_print_numbers (FILE *out, const char *name, const uint32_t *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        fprintf (out, "%s%s%" PRIu32, i ? "," : name, i ? "" : " ", numbers[i]);
}

static void s_print_request (FILE *out, zframe_t *frame)
{
    mp_error_t error;
    engine_core_request_t *request = engine_core_request_decode (frame, &error);
    zframe_destroy (&frame);
    if (!request) {
        fputs (error.text, out);
        return;
    }
    fprintf (out, "%s at %.1f", request->request_id, request->arrival_time);
    s_print_numbers (out, " prompt", request->prompt_token_ids, request->prompt_token_count);
    assert_int_equal (!request->prompt_token_ids, !request->prompt_token_count);
    if (request->max_tokens != 16)
        fprintf (out, " max %" PRId32, (int32_t) request->max_tokens);  //  -1: no limit
    if (request->client_index)
        fprintf (out, " client %" PRIu32, request->client_index);
    if (request->min_tokens)
        fprintf (out, " min %" PRIu32, request->min_tokens);
    s_print_numbers (out, " stop", request->stop_token_ids, request->stop_token_count);
    if (request->eos_token_id != -1)
        fprintf (out, " eos %" PRId64, request->eos_token_id);
    if (request->seed)
        fprintf (out, " seed %" PRIu64, request->seed);
    if (request->logprobs)
        fprintf (out, " logprobs %" PRId32, (int32_t) request->logprobs);
    s_print_numbers (out, " logprobs of", request->logprob_token_ids, request->logprob_token_count);
    if (request->prompt_logprobs)
        fprintf (out, " prompt logprobs %" PRId32, (int32_t) request->prompt_logprobs);
    fputs (request->pooling ? " pooling" : "", out);
    fputs (request->abort_immediately ? " abort" : "", out);
    engine_core_request_destroy (&request);
    assert_null (request);
    engine_core_request_destroy (&request);
}

static void s_print_utility (FILE *out, zframe_t *frame)
{
    mp_error_t error;
    engine_core_utility_t *call = engine_core_utility_decode (frame, &error);
    zframe_destroy (&frame);
    if (!call) {
        fputs (error.text, out);
        return;
    }
    fprintf (out, "%" PRIu64 " of %" PRIu32 ": '%s'", call->call_id, call->client_index,
             call->method);
    if (call->number != -1)
        fprintf (out, " number %" PRId64, call->number);
    if (call->word)
        fprintf (out, " word '%s'", call->word);
    fputs (call->tagged ? " tags" : "", out);
    fputs (call->tags & ENGINE_CORE_TAG_WEIGHTS ? " weights" : "", out);
    fputs (call->tags & ENGINE_CORE_TAG_KV_CACHE ? " kv_cache" : "", out);
    fputs (call->tags & ENGINE_CORE_TAG_UNKNOWN ? " unknown" : "", out);
    engine_core_utility_destroy (&call);
    assert_null (call);
    engine_core_utility_destroy (&call);
}

//  Into the memory of *outputs
static void s_print_outputs_again (FILE *out, zframe_t *frame, engine_core_outputs_t **outputs_p)
{
    mp_error_t error;
    bool ok = engine_core_outputs_decode_again (outputs_p, frame, &error);
    engine_core_outputs_t *outputs = *outputs_p;
    zframe_destroy (&frame);
    assert_int_equal (ok, outputs != NULL);
    if (!ok) {
        fputs (error.text, out);
        return;
    }
    fprintf (out, "engine %" PRIu32 " at %.1f", outputs->engine_index, outputs->timestamp);
    for (size_t i = 0; i < outputs->output_count; i++) {
        const engine_core_output_t *output = &outputs->outputs[i];
        fprintf (out, "; %s %s", output->request_id,
                 engine_core_finish_name (output->finish_reason));
        s_print_numbers (out, "", output->new_token_ids, output->new_token_count);
        //  What is encode only
        bool more = output->logprobs || output->prompt_logprobs || output->stop_reason ||
                    output->error || output->prefilled || output->queued > 0 ||
                    output->scheduled > 0;
        fputs (more ? " and more" : "", out);
    }
    const engine_core_utility_output_t *answer = outputs->utility_output;
    if (answer)
        fprintf (out, "; call %" PRIu64 "%s%s%s%s", answer->call_id,
                 answer->failure_message ? " failed: " : "",
                 answer->failure_message ? answer->failure_message : "",
                 answer->notification ? " notification" : "", answer->result.data ? " result" : "");
    fputs (outputs->scheduler_stats || outputs->weight_version ? " and more" : "", out);
}

static void s_print_outputs (FILE *out, zframe_t *frame)
{
    engine_core_outputs_t *outputs = NULL;
    s_print_outputs_again (out, frame, &outputs);
    engine_core_outputs_destroy (&outputs);
    assert_null (outputs);
    engine_core_outputs_destroy (&outputs);
}

typedef struct {
    zframe_t *frame;
    const char *text;
} decoded_t;

static void s_are (void (*print) (FILE *, zframe_t *), decoded_t *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char *text = NULL;
        size_t size;
        FILE *out = open_memstream (&text, &size);
        print (out, cases[i].frame);
        fclose (out);
        assert_string_equal (text, cases[i].text);
        free (text);
    }
}

//  -- Identity and message

static void test_identity (void **state)
{
    static const struct {
        uint16_t index;
        byte bytes[2];
    } cases[] = {
        {0, {0, 0}},
        {1, {1, 0}},
        {255, {0xff, 0}},
        {256, {0, 1}},
        {0x1234, {0x34, 0x12}},
        {UINT16_MAX, {0xff, 0xff}},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        byte identity[ENGINE_CORE_IDENTITY_SIZE];
        engine_core_identity (cases[i].index, identity);
        assert_memory_equal (identity, cases[i].bytes, 2);
        zframe_t *frame = zframe_new (identity, 2);
        assert_int_equal (engine_core_index (frame), cases[i].index);
        zframe_destroy (&frame);
    }
    for (size_t size = 0; size <= 5; size++) {
        zframe_t *frame = zframe_new ("\0\0\0\0\0", size);
        assert_int_equal (engine_core_index (frame), size == 2 ? 0 : -1);
        zframe_destroy (&frame);
    }
}

static void test_message (void **state)
{
    zframe_t *payload = unit_vector_frame (VECTOR (ABORT_TWO));
    zmsg_t *message = engine_core_message (0x0100, ENGINE_CORE_ABORT, &payload);
    assert_null (payload);
    assert_int_equal (zmsg_size (message), 3);
    zframe_t *identity = zmsg_pop (message);
    assert_int_equal (zframe_size (identity), 2);
    assert_memory_equal (zframe_data (identity), "\x00\x01", 2);
    zframe_t *type = zmsg_pop (message);
    assert_int_equal (zframe_size (type), 1);
    assert_int_equal (*zframe_data (type), 1);
    unit_is_vector (zmsg_pop (message), VECTOR (ABORT_TWO));
    zframe_destroy (&identity);
    zframe_destroy (&type);
    zmsg_destroy (&message);
}

//  -- EngineCoreReadyResponse

static void test_ready_encode (void **state)
{
    engine_core_ready_t ready = {
        .max_model_len = 4096,
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
        .max_loras = 8,
    };
    unit_is_vector (engine_core_ready_encode (&ready), VECTOR (READY));

    //  Products that take 64 bits, and nothing to divide by
    ready.max_model_len = 0;
    ready.dp_stats_address = NULL;
    ready.num_gpu_blocks = ready.block_size = UINT32_MAX;
    ready.dtype = ready.vllm_version = ready.instance_id = NULL;
    ready.max_loras = 0;
    unit_is_text (engine_core_ready_encode (&ready),
                  "{\"max_model_len\":0,\"num_gpu_blocks\":4294967295,\"block_size\":4294967295,"
                  "\"dp_stats_address\":null,\"dtype\":null,\"vllm_version\":null,"
                  "\"world_size\":2,\"data_parallel_size\":2,\"tensor_parallel_size\":1,"
                  "\"pipeline_parallel_size\":1,\"decode_context_parallel_size\":1,"
                  "\"data_parallel_rank\":1,\"max_num_seqs\":256,\"max_num_batched_tokens\":8192,"
                  "\"instance_id\":\"\",\"supports_lora\":false,\"max_loras\":0,"
                  "\"mamba_block_size\":null,\"kv_cache_size_tokens\":18446744065119617025,"
                  "\"kv_cache_max_concurrency\":1.8446744065119617e+19,"
                  "\"kv_events_config\":null,\"weight_transfer_backend\":null,"
                  "\"enable_sleep_mode\":true,\"supports_draft_weight_updates\":false,"
                  "\"effective_attention_block_size\":4294967295,\"coord_store_port\":0,"
                  "\"coordinator_input_address\":null,\"coordinator_output_address\":null}");
}

static void s_is_ready (zframe_t *frame, uint32_t world_size, uint32_t data_parallel_size)
{
    mp_error_t error;
    engine_core_ready_t ready;
    memset (&ready, 0xff, sizeof ready);
    assert_int_equal (engine_core_ready_decode (frame, &ready, &error), 0);
    assert_int_equal (ready.max_model_len, 4096);
    assert_int_equal (ready.num_gpu_blocks, 1024);
    assert_int_equal (ready.block_size, 16);
    assert_int_equal (ready.world_size, world_size);
    assert_int_equal (ready.data_parallel_size, data_parallel_size);
    assert_null (ready.dtype);
    assert_null (ready.vllm_version);
    assert_null (ready.dp_stats_address);
    zframe_destroy (&frame);
}

static void test_ready_decode (void **state)
{
    s_is_ready (unit_vector_frame (VECTOR (READY)), 2, 2);
    s_is_ready (unit_vector_frame (VECTOR (READY_V26)), 1, 1);
    //  v0.20.0; another order; nil; keys that are not str; the last of equal keys counts
    s_is_ready (unit_frame ("{'max_model_len':4096,'num_gpu_blocks':1024,'block_size':16}"), 0, 0);
    s_is_ready (unit_frame ("{'block_size':16,'x':[{}],'world_size':null,'num_gpu_blocks':1024,"
                            "1:2,'data_parallel_size':3,null:0,'max_model_len':4096}"),
                0, 3);
    s_is_ready (unit_frame ("{'max_model_len':'x','num_gpu_blocks':1024,'block_size':1,"
                            "'max_model_len':4096,'block_size':16}"),
                0, 0);

    //  Before v0.20.0: an empty frame
    engine_core_ready_t ready, zero = {0};
    memset (&ready, 0xff, sizeof ready);
    zframe_t *empty = zframe_new (NULL, 0);
    assert_int_equal (engine_core_ready_decode (empty, &ready, NULL), 0);
    assert_int_equal (ready.max_model_len, zero.max_model_len);
    assert_int_equal (ready.num_gpu_blocks, 0);
    assert_int_equal (ready.block_size, 0);
    assert_int_equal (ready.world_size, 0);
    assert_int_equal (ready.data_parallel_size, 0);
    assert_null (ready.dtype);
    zframe_destroy (&empty);
}

static void test_ready_wrong (void **state)
{
#define FIELD(name, types)                                                                         \
    {                                                                                              \
        name, "EngineCoreReadyResponse." name, types                                               \
    }
    static const field_t fields[] = {
        FIELD ("max_model_len", "u"),
        FIELD ("num_gpu_blocks", "u"),
        FIELD ("block_size", "u"),
        FIELD ("world_size", "un"),
        FIELD ("data_parallel_size", "un"),
        //  Passed over
        FIELD ("dp_stats_address", "nbuif4shamx"),
        FIELD ("dtype", "nbuif4shamx"),
        FIELD ("vllm_version", "nbuif4shamx"),
        FIELD ("kv_cache_size_tokens", "nbuif4shamx"),
        FIELD ("kv_cache_max_concurrency", "nbuif4shamx"),
    };
#undef FIELD
    for (size_t i = 0; i < COUNT (fields); i++) {
        unit_types (s_ready, VECTOR (READY), fields[i]);
        zframe_t *without = unit_edit (VECTOR (READY), fields[i].path, NULL);
        zframe_t *above = unit_edit (VECTOR (READY), fields[i].path, "4294967296");
        if (i < 5)
            unit_refuses (s_ready, above, fields[i].field);
        else
            unit_takes (s_ready, above, fields[i].field);
        if (i < 3)
            unit_refuses (s_ready, without, fields[i].field);
        else
            unit_takes (s_ready, without, fields[i].field);
    }
    unit_types (s_ready, VECTOR (READY), (field_t){"", "EngineCoreReadyResponse", ""});
    unit_refuses (s_ready, unit_frame ("{}"),
                  "EngineCoreReadyResponse.max_model_len: want an unsigned integer, got nothing");
}

static void test_registration (void **state)
{
    engine_core_ready_t ready;
    mp_error_t error;
    zmsg_t *message = zmsg_new ();
    zmsg_addmem (message, "\x34\x12", 2);
    zmsg_addmem (message, READY, sizeof READY);
    assert_int_equal (engine_core_registration (message, &ready, &error), 0x1234);
    assert_int_equal (ready.max_model_len, 4096);
    assert_int_equal (zmsg_size (message), 2);

    zmsg_addmem (message, NULL, 0);
    assert_int_equal (engine_core_registration (message, &ready, &error), -1);
    assert_string_equal (error.text,
                         "registration: want identity and ready response, got 3 frames");
    zmsg_destroy (&message);

    message = zmsg_new ();
    assert_int_equal (engine_core_registration (message, &ready, &error), -1);
    assert_string_equal (error.text,
                         "registration: want identity and ready response, got 0 frames");
    zmsg_addmem (message, "\x00\x00", 2);
    assert_int_equal (engine_core_registration (message, &ready, &error), -1);
    assert_string_equal (error.text,
                         "registration: want identity and ready response, got 1 frames");
    //  Engine 0, and the empty ready response
    zmsg_addmem (message, NULL, 0);
    assert_int_equal (engine_core_registration (message, &ready, &error), 0);
    assert_int_equal (ready.max_model_len, 0);
    zmsg_destroy (&message);

    message = zmsg_new ();
    zmsg_addmem (message, "\x00\x01\x02\x03\x04", 5);
    zmsg_addmem (message, READY, sizeof READY);
    assert_int_equal (engine_core_registration (message, &ready, &error), -1);
    assert_string_equal (error.text, "registration: an engine's identity has 2 bytes, this has 5");
    zmsg_destroy (&message);

    message = zmsg_new ();
    zmsg_addmem (message, "\x00\x00", 2);
    zmsg_addstr (message, "{}");
    assert_int_equal (engine_core_registration (message, &ready, &error), -1);
    assert_string_equal (error.text, "EngineCoreReadyResponse: has bytes after its end");
    assert_int_equal (engine_core_registration (message, &ready, NULL), -1);
    zmsg_destroy (&message);
}

//  What v0.28 to v0.33 have put behind num_nans_in_logits
#define NILS_5 ",null,null,null,null,null"

//  -- EngineCoreRequest

static void test_request_encode (void **state)
{
    engine_core_request_t request = {
        .request_id = "r3",
        .prompt_token_ids = prompt,
        .prompt_token_count = COUNT (prompt),
        .max_tokens = 4,
        .arrival_time = 1789095808.5,
    };
    unit_is_vector (engine_core_request_encode (&request), VECTOR (REQUEST_R3));
    request.max_tokens = 16;
    unit_is_vector (engine_core_request_encode (&request), VECTOR (REQUEST_DEFAULT_MAX));
    request.max_tokens = ENGINE_CORE_NO_LIMIT;
    unit_is_vector (engine_core_request_encode (&request), VECTOR (REQUEST_NO_LIMIT));
    request.max_tokens = 4;
    request.prompt_token_ids = NULL;
    request.prompt_token_count = 0;
    unit_is_vector (engine_core_request_encode (&request), VECTOR (REQUEST_NO_PROMPT));

    request.client_index = 70000;
    request.prompt_token_ids = prompt;
    zframe_t *frame = engine_core_request_encode (&request);
    unit_is_text (frame, "[\"r3\",[],null,{\"max_tokens\":4},null,1789095808.5,null,null,null,null,"
                         "null,70000,0,0,null,false,null,null,null,false,null,null]");
}

#define R3 "r3 at 1789095808.5 prompt 1,2,3,70000,4294967295"
#define SAMPLING(params) unit_edit (VECTOR (REQUEST_R3), "3", params)

static void test_request_decode (void **state)
{
    decoded_t cases[] = {
        {unit_vector_frame (VECTOR (REQUEST_R3)), R3 " max 4"},
        {unit_vector_frame (VECTOR (REQUEST_DEFAULT_MAX)), R3},
        {unit_vector_frame (VECTOR (REQUEST_NO_LIMIT)), R3 " max -1"},
        {unit_vector_frame (VECTOR (REQUEST_FULL)), R3 " max 4 client 2 min 2 stop 2,128009 abort"},
        {unit_vector_frame (VECTOR (REQUEST_SAMPLING)),
         R3 " max 70000 min 3 stop 128009,7 eos 2 seed 9223372036854775807 logprobs 2"},
        {unit_vector_frame (VECTOR (REQUEST_IGNORE_EOS)), R3 " max 4"},
        {unit_vector_frame (VECTOR (REQUEST_POOLING)), R3 " max 0 pooling"},
        {unit_vector_frame (VECTOR (REQUEST_NO_PROMPT)), "r3 at 1789095808.5 max 4"},
        //  No token ends it but its EOS, if it is to be looked at
        {SAMPLING ("{}"), R3},
        {SAMPLING ("{'_eos_token_id':null}"), R3},
        {SAMPLING ("{'_eos_token_id':0}"), R3 " eos 0"},
        {SAMPLING ("{'_eos_token_id':4294967295}"), R3 " eos 4294967295"},
        {SAMPLING ("{'_eos_token_id':2,'ignore_eos':false}"), R3 " eos 2"},
        {SAMPLING ("{'_eos_token_id':2,'ignore_eos':true}"), R3},
        {SAMPLING ("{'ignore_eos':true,'_eos_token_id':2}"), R3},
        {SAMPLING ("{'ignore_eos':false}"), R3},
        {SAMPLING ("{'eos_token_id':2}"), R3},
        //  Any seed will do
        {SAMPLING ("{'seed':null}"), R3},
        {SAMPLING ("{'seed':0}"), R3},
        {SAMPLING ("{'seed':5}"), R3 " seed 5"},
        {SAMPLING ("{'seed':18446744073709551615}"), R3 " seed 18446744073709551615"},
        {SAMPLING ("{'seed':-1}"), R3 " seed 18446744073709551615"},
        {SAMPLING ("{'seed':'x'}"), R3},
        //  How many logprobs are wanted, with the token's own
        {SAMPLING ("{'logprobs':null}"), R3},
        {SAMPLING ("{'logprobs':0}"), R3 " logprobs 1"},
        {SAMPLING ("{'logprobs':20}"), R3 " logprobs 21"},
        {SAMPLING ("{'logprobs':-1}"), R3 " logprobs -1"},
        {SAMPLING ("{'logprobs':4294967295}"), R3 " logprobs -1"},
        {SAMPLING ("{'logprobs':4294967296}"),
         "EngineCoreRequest.sampling_params.logprobs: 4294967296 is more than 4294967295"},
        {SAMPLING ("{'logprobs':'5'}"),
         "EngineCoreRequest.sampling_params.logprobs: want an unsigned integer, got str"},
        {SAMPLING ("{'prompt_logprobs':1}"), R3 " prompt logprobs 2"},
        {SAMPLING ("{'logprob_token_ids':[31999,5],'logprobs':2}"),
         R3 " logprobs 3 logprobs of 31999,5"},
        {SAMPLING ("{'logprob_token_ids':5}"),
         "EngineCoreRequest.sampling_params.logprob_token_ids: want an array, got integer"},
        {SAMPLING ("{'logprob_token_ids':[4294967296]}"),
         "EngineCoreRequest.sampling_params.logprob_token_ids: [0]: 4294967296 is more than "
         "4294967295"},
        //  It is to end at once
        {unit_edit (VECTOR (REQUEST_FULL), "19", "false"),
         R3 " max 4 client 2 min 2 stop 2,128009"},
        {unit_edit (VECTOR (REQUEST_FULL), "19", "true"),
         R3 " max 4 client 2 min 2 stop 2,128009 abort"},
        {unit_edit (VECTOR (REQUEST_FULL), "19", "null"), R3 " max 4 client 2 min 2 stop 2,128009"},
        {unit_edit (VECTOR (REQUEST_FULL), "19", "1"), R3 " max 4 client 2 min 2 stop 2,128009"},
        //  Fields that are missing at the end have their defaults, further ones are passed over
        {unit_frame ("['r1',[7],null,{'max_tokens':0},null,1,null,null,null]"),
         "r1 at 1.0 prompt 7 max 0"},
        {unit_frame ("['',[],null,{'n':1,'max_tokens':3,'max_tokens':5},null,1.5,null,null,null,"
                     "null,null,9,0,"
                     "0,null,false,null,null,null,false,'session',[1,{'newer':null}]]"),
         " at 1.5 max 5 client 9"},
        {unit_frame ("['r1',[],null,{},null,1,null,null,null,null,null,9]"), "r1 at 1.0 client 9"},
        {unit_frame ("['r1',[7],null,{},null,1.5,null,null]"),
         "EngineCoreRequest: want an array of 9 or more, got 8"},
        {unit_frame ("[]"), "EngineCoreRequest: want an array of 9 or more, got 0"},
    };
    s_are (s_print_request, cases, COUNT (cases));
}

//  The id and the client_index of a request that cannot be decoded
static void test_request_id (void **state)
{
    static const struct {
        const char *frame;
        const char *request_id;
        uint32_t client_index;
    } cases[] = {
        {"['r7',[7],null,'x',null,1.0,null,null,null,null,null,2]", "r7", 2},
        {"['r7','x',2,3,4,5,6,7,8,9,10,4294967295,12,13]", "r7", UINT32_MAX},
        {"['r7']", "r7", 0},
        {"['']", "", 0},
        {"['r7',1,2,3,4,5,6,7,8,9,10]", "r7", 0},
        {"['r7',1,2,3,4,5,6,7,8,9,10,null]", "r7", 0},
        {"['r7',1,2,3,4,5,6,7,8,9,10,-1]", "r7", 0},
        {"['r7',1,2,3,4,5,6,7,8,9,10,4294967296]", "r7", 0},
        //  Nobody knows
        {"[7,1,2,3,4,5,6,7,8,9,10,2]", NULL, 0},
        {"[null]", NULL, 0},
        {"[x'a3720033']", NULL, 0},
        {"[x'a2c328']", NULL, 0},
        {"[]", NULL, 0},
        {"{}", NULL, 0},
        {"'r7'", NULL, 0},
        {"x'91a2'", NULL, 0},
        {"x'c1'", NULL, 0},
        {"x''", NULL, 0},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        zframe_t *frame = unit_frame (cases[i].frame);
        uint32_t client_index = 77;
        char *request_id = engine_core_request_id (frame, &client_index);
        zframe_destroy (&frame);
        if (cases[i].request_id) {
            assert_non_null (request_id);
            assert_string_equal (request_id, cases[i].request_id);
            assert_int_equal (client_index, cases[i].client_index);
        } else {
            assert_null (request_id);
        }
        zstr_free (&request_id);
    }
    //  Of a good one, too
    uint32_t client_index;
    zframe_t *frame = unit_vector_frame (VECTOR (REQUEST_FULL));
    char *request_id = engine_core_request_id (frame, &client_index);
    assert_string_equal (request_id, "r3");
    assert_int_equal (client_index, 2);
    zstr_free (&request_id);
    zframe_destroy (&frame);
}

static void test_request_wrong (void **state)
{
    static const field_t fields[] = {
        {"", "EngineCoreRequest", ""},
        {"0", "EngineCoreRequest.request_id", "s"},
        {"1", "EngineCoreRequest.prompt_token_ids", "na"},
        {"1.4", "EngineCoreRequest.prompt_token_ids", "u"},
        {"3", "EngineCoreRequest.sampling_params", "nm"},
        {"3.max_tokens", "EngineCoreRequest.sampling_params.max_tokens", "nu"},
        {"3.min_tokens", "EngineCoreRequest.sampling_params.min_tokens", "u"},
        {"3.stop_token_ids", "EngineCoreRequest.sampling_params.stop_token_ids", "na"},
        {"3.stop_token_ids.1", "EngineCoreRequest.sampling_params.stop_token_ids", "u"},
        {"3.ignore_eos", "passed over", "nbuif4shamx"},
        {"3.temperature", "passed over", "nbuif4shamx"},
        {"5", "EngineCoreRequest.arrival_time", "uif4"},
        {"11", "EngineCoreRequest.client_index", "u"},
    };
    unit_types (
        s_request, VECTOR (REQUEST_SAMPLING),
        (field_t){"3._eos_token_id", "EngineCoreRequest.sampling_params._eos_token_id", "nu"});
    unit_types (s_request, VECTOR (REQUEST_SAMPLING),
                (field_t){"3.seed", "passed over", "nbuif4shamx"});
    for (size_t i = 0; i < COUNT (fields); i++)
        unit_types (s_request, VECTOR (REQUEST_FULL), fields[i]);

    //  What is passed over may be anything
    static const char *const others[] = {"2",  "4",  "6",  "7",  "8",  "9",  "10", "12",
                                         "13", "14", "15", "16", "17", "18", "19"};
    for (size_t i = 0; i < COUNT (others); i++)
        unit_types (s_request, VECTOR (REQUEST_FULL),
                    (field_t){others[i], "passed over", "nbuif4shamx"});

    static const struct {
        const char *path;
        const char *value;
        const char *why;
    } cases[] = {
        {"", "[]", "EngineCoreRequest: want an array of 9 or more, got 0"},
        {"", "'r3'", "EngineCoreRequest: want an array, got str"},
        {"0", "x'a3720033'", "EngineCoreRequest.request_id: has a NUL byte in it"},
        {"0", "x'a2c328'", "EngineCoreRequest.request_id: is not UTF-8"},
        {"1.0", "4294967296",
         "EngineCoreRequest.prompt_token_ids: [0]: 4294967296 is more than 4294967295"},
        {"1.4", "-1",
         "EngineCoreRequest.prompt_token_ids: [4]: want an unsigned integer, got negative integer"},
        {"3.max_tokens", "4294967296",
         "EngineCoreRequest.sampling_params.max_tokens: 4294967296 is more than 4294967295"},
        {"3", "{'min_tokens':4294967296}",
         "EngineCoreRequest.sampling_params.min_tokens: 4294967296 is more than 4294967295"},
        {"3", "{'stop_token_ids':[1,4294967296]}",
         "EngineCoreRequest.sampling_params.stop_token_ids: [1]: 4294967296 is more than "
         "4294967295"},
        {"3", "{'stop_token_ids':[1],'_eos_token_id':4294967296}",
         "EngineCoreRequest.sampling_params._eos_token_id: 4294967296 is more than 4294967295"},
        {"3", "{'_eos_token_id':'x','ignore_eos':true}",
         "EngineCoreRequest.sampling_params._eos_token_id: want an unsigned integer, got str"},
        {"11", "4294967296", "EngineCoreRequest.client_index: 4294967296 is more than 4294967295"},
    };
    for (size_t i = 0; i < COUNT (cases); i++)
        unit_refuses (s_request, unit_edit (VECTOR (REQUEST_R3), cases[i].path, cases[i].value),
                      cases[i].why);
}

//  -- Abort

static void test_abort (void **state)
{
    const char *ids[] = {"r1", "r3"};
    engine_core_abort_t two = {ids, 2};
    unit_is_vector (engine_core_abort_encode (&two), VECTOR (ABORT_TWO));
    engine_core_abort_t none = {NULL, 0};
    unit_is_text (engine_core_abort_encode (&none), "[]");

    mp_error_t error;
    zframe_t *frame = unit_vector_frame (VECTOR (ABORT_TWO));
    engine_core_abort_t *abort = engine_core_abort_decode (frame, &error);
    zframe_destroy (&frame);
    assert_non_null (abort);
    assert_int_equal (abort->count, 2);
    assert_string_equal (abort->request_ids[0], "r1");
    assert_string_equal (abort->request_ids[1], "r3");
    engine_core_abort_destroy (&abort);
    assert_null (abort);
    engine_core_abort_destroy (&abort);

    frame = unit_frame ("[]");
    abort = engine_core_abort_decode (frame, &error);
    zframe_destroy (&frame);
    assert_non_null (abort);
    assert_int_equal (abort->count, 0);
    engine_core_abort_destroy (&abort);
}

static void test_abort_wrong (void **state)
{
    unit_types (s_abort, VECTOR (ABORT_TWO), (field_t){"", "abort", "a"});
    unit_types (s_abort, VECTOR (ABORT_TWO), (field_t){"0", "abort[]", "s"});
    unit_types (s_abort, VECTOR (ABORT_TWO), (field_t){"1", "abort[]", "s"});
    unit_refuses (s_abort, unit_frame ("['r1',x'a3720033','r5']"), "abort[]: has a NUL byte in it");
}

//  -- Utility

#define CALL "9223372036854775813 of 0: 'is_sleeping'"
#define ARGS(args) unit_edit (VECTOR (UTILITY_CALL), "3", args)

static void test_utility (void **state)
{
    decoded_t cases[] = {
        {unit_vector_frame (VECTOR (UTILITY_CALL)), CALL},
        {unit_vector_frame (VECTOR (UTILITY_ADD_LORA)), "7 of 1: 'add_lora' number 5 tags unknown"},
        {unit_vector_frame (VECTOR (UTILITY_REMOVE_LORA)), "8 of 1: 'remove_lora' number 5"},
        {unit_frame ("[70000,18446744073709551615,'',null,'newer']"),
         "18446744073709551615 of 70000: ''"},
        //  A number, or the id of a LoRA
        {ARGS ("[5]"), CALL " number 5"},
        {ARGS ("[0]"), CALL " number 0"},
        {ARGS ("[5,6]"), CALL " number 5"},
        {ARGS ("[9223372036854775807]"), CALL " number 9223372036854775807"},
        {ARGS ("[['sql',5,'/loras/sql']]"), CALL " number 5 tags unknown"},
        {ARGS ("[['sql',0]]"), CALL " number 0 tags unknown"},
        {ARGS ("[['sql',5,'/loras/sql',null,null,true,false,'newer'],7]"),
         CALL " number 5 tags unknown"},
        {ARGS ("[]"), CALL},
        {ARGS ("[9223372036854775808]"), CALL},
        {ARGS ("[-5]"), CALL},
        {ARGS ("[1.5]"), CALL},
        {ARGS ("[true]"), CALL},
        {ARGS ("[null,5]"), CALL},
        {ARGS ("['5']"), CALL " word '5'"},
        {ARGS ("[[]]"), CALL " tags"},
        {ARGS ("[['sql']]"), CALL " tags unknown"},
        {ARGS ("[['sql','5']]"), CALL " tags unknown"},
        {ARGS ("[['sql',[5]]]"), CALL " tags unknown"},
        {ARGS ("[['sql',-5]]"), CALL " tags unknown"},
        {ARGS ("[{'lora_int_id':5}]"), CALL},
        {ARGS ("{}"), CALL},
        {ARGS ("null"), CALL},
        {ARGS ("5"), CALL},
        //  A word
        {ARGS ("['keep',true]"), CALL " word 'keep'"},
        {ARGS ("[1,'wait']"), CALL " number 1 word 'wait'"},
        {ARGS ("['','x']"), CALL " word ''"},
        {ARGS ("[1,h'6b',null]"), CALL " number 1"},
        {ARGS ("[['keep']]"), CALL " tags unknown"},
        {ARGS ("{'mode':'keep'}"), CALL},
        {ARGS ("'keep'"), CALL},
        //  What wake_up is to wake
        {ARGS ("[null]"), CALL},
        {ARGS ("['weights']"), CALL " word 'weights'"},
        {ARGS ("[['weights']]"), CALL " tags weights"},
        {ARGS ("[['kv_cache']]"), CALL " tags kv_cache"},
        {ARGS ("[['kv_cache','weights','kv_cache']]"), CALL " tags weights kv_cache"},
        {ARGS ("[['scheduling']]"), CALL " tags"},
        {ARGS ("[['weights','scheduling']]"), CALL " tags weights"},
        {ARGS ("[['weight']]"), CALL " tags unknown"},
        {ARGS ("[['weights',1]]"), CALL " number 1 tags weights unknown"},
    };
    s_are (s_print_utility, cases, COUNT (cases));
}

static void test_utility_wrong (void **state)
{
    static const field_t fields[] = {
        {"", "utility call", ""},
        {"0", "utility call.client_index", "u"},
        {"1", "utility call.call_id", "u"},
        {"2", "utility call.method", "s"},
        {"3", "utility call.args", "nbuif4shamx"},
    };
    for (size_t i = 0; i < COUNT (fields); i++)
        unit_types (s_utility, VECTOR (UTILITY_CALL), fields[i]);
    unit_refuses (s_utility, unit_frame ("[0,1,'is_sleeping']"),
                  "utility call: want an array of 4 or more, got 3");
    unit_refuses (s_utility, unit_edit (VECTOR (UTILITY_CALL), "0", "4294967296"),
                  "utility call.client_index: 4294967296 is more than 4294967295");
    unit_refuses (s_utility, unit_edit (VECTOR (UTILITY_CALL), "2", "x'a26100'"),
                  "utility call.method: has a NUL byte in it");
}

//  -- EngineCoreOutputs

static void test_finish_names (void **state)
{
    assert_string_equal (engine_core_finish_name (ENGINE_CORE_RUNNING), "running");
    assert_string_equal (engine_core_finish_name (ENGINE_CORE_STOP), "stop");
    assert_string_equal (engine_core_finish_name (ENGINE_CORE_LENGTH), "length");
    assert_string_equal (engine_core_finish_name (ENGINE_CORE_ABORTED), "abort");
    assert_string_equal (engine_core_finish_name (ENGINE_CORE_ERROR), "error");
    assert_string_equal (engine_core_finish_name (ENGINE_CORE_REPETITION), "repetition");
}

static void test_outputs_encode (void **state)
{
    static const uint32_t tokens[] = {17, 8123};
    engine_core_output_t step[] = {
        {.request_id = "r1",
         .new_token_ids = &tokens[0],
         .new_token_count = 1,
         .finish_reason = ENGINE_CORE_RUNNING},
        {.request_id = "r3",
         .new_token_ids = &tokens[1],
         .new_token_count = 1,
         .finish_reason = ENGINE_CORE_LENGTH},
    };
    engine_core_outputs_t outputs = {
        .engine_index = 1, .outputs = step, .output_count = 2, .timestamp = 12.5};
    unit_is_vector (engine_core_outputs_encode (&outputs), VECTOR (OUTPUTS_STEP));

    engine_core_output_t aborted = {.request_id = "r1", .finish_reason = ENGINE_CORE_ABORTED};
    outputs.outputs = &aborted;
    outputs.output_count = 1;
    unit_is_vector (engine_core_outputs_encode (&outputs), VECTOR (OUTPUTS_ABORT));

    engine_core_outputs_t empty = {.outputs = NULL};
    unit_is_vector (engine_core_outputs_encode (&empty), VECTOR (OUTPUTS_EMPTY));

    //  Each reason, and who has finished
    engine_core_output_t all[] = {
        {.request_id = "a", .finish_reason = ENGINE_CORE_STOP},
        {.request_id = "b", .finish_reason = ENGINE_CORE_RUNNING},
        {.request_id = "c",
         .new_token_ids = tokens,
         .new_token_count = 2,
         .finish_reason = ENGINE_CORE_ERROR},
        {.request_id = "d", .finish_reason = ENGINE_CORE_REPETITION},
    };
    engine_core_utility_output_t well = {.call_id = 7};
    engine_core_outputs_t more = {
        .engine_index = 70000, .outputs = all, .output_count = 4, .utility_output = &well};
    unit_is_text (engine_core_outputs_encode (&more),
                  "[70000,[[\"a\",[],null,null,null,0,null,null,null,null,null,null,null,0" NILS_5
                  "],[\"b\",[],null,null,null,null,null,null,null,null,null,null,null,0" NILS_5
                  "],[\"c\",[17,8123],null,null,null,3,null,null,null,null,null,null,null,0" NILS_5
                  "],[\"d\",[],null,null,null,4,null,null,null,null,null,null,null,0" NILS_5
                  "]],null,0.0,[7,null,null],[\"a\",\"c\",\"d\"],null,null,null]");
}

//  The end of each array as older releases have it
static void test_outputs_of_releases (void **state)
{
    static const struct {
        int release;
        const char *output, *outputs;  //  What is behind num_nans_in_logits, and behind start_wave
    } cases[] = {
        {23, "", ""},
        {26, "", ""},
        {27, "", ""},
        {28, ",null,null", ""},
        {29, ",null,null,null", ""},
        {30, ",null,null,null", ""},
        {31, ",null,null,null,null", ""},
        {32, ",null,null,null,null", ",\"v7\""},
        {33, NILS_5, ",\"v7\""},
        {0, NILS_5, ",\"v7\""},
    };
    static const uint32_t ids[] = {17};
    static const float values[] = {-0.5f};
    static const uint32_t ranks[] = {1};
    engine_core_logprobs_t logprobs = {
        .rows = 1, .columns = 1, .token_ids = ids, .logprobs = values, .ranks = ranks};
    for (size_t i = 0; i < COUNT (cases); i++) {
        engine_core_output_t output = {
            .request_id = "a", .new_token_ids = ids, .new_token_count = 1, .finish_reason = -1};
        engine_core_outputs_t outputs = {.outputs = &output,
                                         .output_count = 1,
                                         .weight_version = "v7",
                                         .release = cases[i].release};
        const char *ec = cases[i].release == 23 ? "" : "null,";
        char text[512];
        snprintf (text, sizeof text,
                  "[0,[[\"a\",[17],null,null,null,null,null,null,null,%snull,null,null,0%s]],"
                  "null,0.0,null,null,null,null%s]",
                  ec, cases[i].output, cases[i].outputs);
        unit_is_text (engine_core_outputs_encode (&outputs), text);
        //  v0.29 gave LogprobsTensors a fifth field
        output.prompt_logprobs = &logprobs;
        const char *fifth = cases[i].release == 0 || cases[i].release >= 29 ? ",null" : "";
        snprintf (text, sizeof text,
                  "[0,[[\"a\",[17],null,[[\"int32\",[1,1],ext(3,h'11000000')],"
                  "[\"float32\",[1,1],ext(3,h'000000bf')],[\"int32\",[1],ext(3,h'01000000')],"
                  "null%s],null,null,null,null,null,%snull,null,null,0%s]],"
                  "null,0.0,null,null,null,null%s]",
                  fifth, ec, cases[i].output, cases[i].outputs);
        unit_is_text (engine_core_outputs_encode (&outputs), text);
    }
}

//  Why a request was refused
static void test_outputs_with_an_error (void **state)
{
    engine_core_error_t error = {"engine_paused", "Try later.", true};
    engine_core_output_t refused = {
        .request_id = "r3", .finish_reason = ENGINE_CORE_ERROR, .error = &error};
    engine_core_outputs_t outputs = {.engine_index = 1,
                                     .outputs = &refused,
                                     .output_count = 1,
                                     .timestamp = 12.5,
                                     .weight_version = "default"};
    unit_is_vector (engine_core_outputs_encode (&outputs), VECTOR (OUTPUTS_PAUSED));
}

//  What is there for metrics: stats of the engine, of the prefill, events, the token that ended it
static void test_outputs_with_metrics (void **state)
{
    static const uint32_t tokens[] = {17, 128009}, other[] = {8123};
    engine_core_output_t list[] = {
        {.request_id = "r1",
         .new_token_ids = tokens,
         .new_token_count = 2,
         .finish_reason = ENGINE_CORE_STOP,
         .stop_reason = &tokens[1],
         .queued = 11.25,
         .scheduled = 11.5,
         .prefilled = 300},
        {.request_id = "r3",
         .new_token_ids = other,
         .new_token_count = 1,
         .finish_reason = ENGINE_CORE_RUNNING},
    };
    engine_core_scheduler_stats_t stats = {.num_running_reqs = 1,
                                           .kv_cache_usage = 0.25,
                                           .prefix_cache_requests = 1,
                                           .prefix_cache_queries = 300};
    engine_core_outputs_t outputs = {.engine_index = 2,
                                     .outputs = list,
                                     .output_count = 2,
                                     .timestamp = 12.5,
                                     .scheduler_stats = &stats};
    unit_is_vector (engine_core_outputs_encode (&outputs), VECTOR (OUTPUTS_FIRST));

    //  Token 0 is a token, too; a number that takes 64 bits
    static const uint32_t zero = 0;
    list[0].stop_reason = &zero;
    stats.prefix_cache_queries = UINT64_MAX;
    zframe_t *want = unit_edit (VECTOR (OUTPUTS_FIRST), "1.0.6", "0");
    vector_t half = {"want", zframe_data (want), zframe_size (want)};
    zframe_t *all = unit_edit (half, "2.prefix_cache_stats.queries", "18446744073709551615");
    vector_t vector = {"want", zframe_data (all), zframe_size (all)};
    unit_is_vector (engine_core_outputs_encode (&outputs), vector);
    zframe_destroy (&all);
    zframe_destroy (&want);
}

//  vLLM's numpy arrays: type, shape, and the bytes as an extension
static void test_outputs_with_logprobs (void **state)
{
    static const uint32_t tokens[] = {17, 70000};
    static const uint32_t ids[] = {17, 17, 18, 70000, 70000, 5}, ranks[] = {1, 258};
    static const float values[] = {-0.5f, -0.5f, -2, -1, -1, 0};
    engine_core_logprobs_t logprobs = {
        .rows = 2, .columns = 3, .token_ids = ids, .logprobs = values, .ranks = ranks};
    engine_core_output_t output = {.request_id = "r1",
                                   .new_token_ids = tokens,
                                   .new_token_count = 2,
                                   .finish_reason = ENGINE_CORE_RUNNING,
                                   .logprobs = &logprobs};
    engine_core_outputs_t outputs = {.outputs = &output, .output_count = 1};
    unit_is_text (engine_core_outputs_encode (&outputs),
                  "[0,[[\"r1\",[17,70000],[[\"<i4\",[2,3],"
                  "ext(3,h'110000001100000012000000701101007011010005000000')],[\"<f4\",[2,3],"
                  "ext(3,h'000000bf000000bf000000c0000080bf000080bf00000000')],[\"<i4\",[2],"
                  "ext(3,h'0100000002010000')],null],"
                  "null,null,null,null,null,null,null,null,null,null,0" NILS_5
                  "]],null,0.0,null,null,null,null,null]");
    //  Those of a prompt are torch's
    logprobs = (engine_core_logprobs_t){
        .rows = 1, .columns = 1, .token_ids = ids, .logprobs = values, .ranks = ranks};
    output.logprobs = NULL;
    output.prompt_logprobs = &logprobs;
    unit_is_text (engine_core_outputs_encode (&outputs),
                  "[0,[[\"r1\",[17,70000],null,[[\"int32\",[1,1],ext(3,h'11000000')],"
                  "[\"float32\",[1,1],ext(3,h'000000bf')],[\"int32\",[1],ext(3,h'01000000')],"
                  "null,null],null,null,null,null,null,null,null,null,null,0" NILS_5
                  "]],null,0.0,null,null,null,null,null]");
}

//  The bytes of a value, as a result
static mp_slice_t s_slice (zframe_t *frame)
{
    return (mp_slice_t){(char *) zframe_data (frame), zframe_size (frame)};
}

static void test_outputs_with_a_result (void **state)
{
    const struct {
        const char *value;
        vector_t vector;
    } cases[] = {
        {"null", VECTOR (OUTPUTS_UTILITY_NONE)},   {"true", VECTOR (OUTPUTS_UTILITY_TRUE)},
        {"false", VECTOR (OUTPUTS_UTILITY_FALSE)}, {"['generate']", VECTOR (OUTPUTS_UTILITY_TASKS)},
        {"[]", VECTOR (OUTPUTS_UTILITY_EMPTY)},    {"[1,2]", VECTOR (OUTPUTS_UTILITY_LORAS)},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        zframe_t *value = unit_frame (cases[i].value);
        engine_core_utility_output_t output = {.call_id = 9223372036854775813u,
                                               .result = s_slice (value)};
        engine_core_outputs_t outputs = {
            .engine_index = 1, .timestamp = 12.5, .utility_output = &output};
        unit_is_vector (engine_core_outputs_encode (&outputs), cases[i].vector);
        zframe_destroy (&value);
    }

    //  Of a failure it is not looked at
    zframe_t *value = unit_frame ("true");
    engine_core_utility_output_t failed = {.call_id = 9223372036854775813u,
                                           .failure_message = "no such method"};
    engine_core_outputs_t outputs = {.timestamp = 12.5, .utility_output = &failed};
    unit_is_vector (engine_core_outputs_encode (&outputs), VECTOR (OUTPUTS_UTILITY_FAILED));
    failed.result = s_slice (value);
    unit_is_vector (engine_core_outputs_encode (&outputs), VECTOR (OUTPUTS_UTILITY_FAILED));
    zframe_destroy (&value);
}

static void test_outputs_decode (void **state)
{
    decoded_t cases[] = {
        {unit_vector_frame (VECTOR (OUTPUTS_STEP)),
         "engine 1 at 12.5; r1 running 17; r3 length 8123"},
        {unit_vector_frame (VECTOR (OUTPUTS_ABORT)), "engine 1 at 12.5; r1 abort"},
        {unit_vector_frame (VECTOR (OUTPUTS_EMPTY)), "engine 0 at 0.0"},
        {unit_vector_frame (VECTOR (OUTPUTS_UTILITY_FAILED)),
         "engine 0 at 12.5; call 9223372036854775813 failed: no such method"},
        {unit_vector_frame (VECTOR (OUTPUTS_UTILITY_TASKS)),
         "engine 1 at 12.5; call 9223372036854775813"},
        {unit_vector_frame (VECTOR (OUTPUTS_FULL)), "engine 1 at 12.5; r3 stop 8123,17"},
        {unit_vector_frame (VECTOR (OUTPUTS_FIRST)),
         "engine 2 at 12.5; r1 stop 17,128009; r3 running 8123"},
        {unit_vector_frame (VECTOR (OUTPUTS_LONGER_TAIL)), "engine 1 at 12.5; r3 length 8123"},
        //  Fields that are missing at the end have their defaults
        {unit_frame ("[]"), "engine 0 at 0.0"},
        {unit_frame ("[3]"), "engine 3 at 0.0"},
        {unit_frame ("[3,[['r1',[5]],['r2',[],null,null,null,4]]]"),
         "engine 3 at 0.0; r1 running 5; r2 repetition"},
        {unit_frame ("[0,[],null,1.5]"), "engine 0 at 1.5"},
        {unit_frame ("[0,[],null,1,[5]]"), "engine 0 at 1.0; call 5"},
        {unit_frame ("[0,[],null,1.0,[5,null,[null,true],'newer']]"), "engine 0 at 1.0; call 5"},
        {unit_frame ("[0,[['r1',[5]],['r2']]]"),
         "EngineCoreOutput: want an array of 2 or more, got 1"},
        {unit_frame ("[0,[],null,0.0,[]]"), "UtilityOutput: want an array of 1 or more, got 0"},
        //  vLLM's EEP_NOTIFICATION_CALL_ID: below 0, and no reason to refuse the tokens beside it
        {unit_frame ("[0,[['a',[7]]],null,0.0,[-1,null,null]]"),
         "engine 0 at 0.0; a running 7; call 0 notification"},
        //  What most outputs have behind their tokens, and what is not quite that
        {unit_frame (
             "[0,[['r1',[5],null,null,null,null,null,null,null,null,null,null,null,0]],null,1.5]"),
         "engine 0 at 1.5; r1 running 5"},
        {unit_frame (
             "[0,[['r1',[5],null,null,null,null,null,null,null,null,null,null,null,1]],null,1.5]"),
         "engine 0 at 1.5; r1 running 5"},
        {unit_frame (
             "[0,[['r1',[5],null,null,null,1,null,null,null,null,null,null,null,0]],null,1.5]"),
         "engine 0 at 1.5; r1 length 5"},
        {unit_frame (
             "[0,[['r1',[5],null,null,null,null,null,null,null,null,null,null,null]],null,1.5]"),
         "engine 0 at 1.5; r1 running 5"},
        {unit_frame ("[0,[['r1',[5],null,null,null,null,null,null,null,null,null,null,null,0,9]],"
                     "null,1.5]"),
         "engine 0 at 1.5; r1 running 5"},
        {unit_frame (
             "[0,[['r1',[5],null,null,null,9,null,null,null,null,null,null,null,0]],null,1.5]"),
         "EngineCoreOutput.finish_reason: 9 is more than 4"},
    };
    s_are (s_print_outputs, cases, COUNT (cases));
}

//  Into the memory of another message, larger or smaller
static void test_outputs_again (void **state)
{
    engine_core_outputs_t *outputs = NULL;
    decoded_t cases[] = {
        {unit_frame ("[3,[['r1',[5]]],null,0.0]"), "engine 3 at 0.0; r1 running 5"},
        {unit_frame (
             "[0,[['r100',[1,2,3,70000]],['r2',[],null,null,null,2]],null,1.5,[7,'why',null]]"),
         "engine 0 at 1.5; r100 running 1,2,3,70000; r2 abort; call 7 failed: why"},
        {unit_frame ("[1,[],null,0.0]"), "engine 1 at 0.0"},
        {unit_frame ("[3,[['r1',[5]]],null,0.0]"), "engine 3 at 0.0; r1 running 5"},
        {unit_frame ("[0,[['r1','x']]]"), "EngineCoreOutput.new_token_ids: want an array, got str"},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        char *text = NULL;
        size_t size;
        FILE *out = open_memstream (&text, &size);
        s_print_outputs_again (out, cases[i].frame, &outputs);
        fclose (out);
        assert_string_equal (text, cases[i].text);
        free (text);
    }
    assert_null (outputs);
}

static void test_outputs_wrong (void **state)
{
    static const field_t fields[] = {
        {"", "EngineCoreOutputs", "a"},
        {"0", "EngineCoreOutputs.engine_index", "u"},
        {"1", "EngineCoreOutputs.outputs", "a"},
        {"1.0", "EngineCoreOutput", ""},
        {"1.1", "EngineCoreOutput", ""},
        {"1.1.0", "EngineCoreOutput.request_id", "s"},
        {"1.1.1", "EngineCoreOutput.new_token_ids", "a"},
        {"1.1.1.0", "EngineCoreOutput.new_token_ids", "u"},
        {"1.0.5", "EngineCoreOutput.finish_reason", "nu"},
        {"3", "EngineCoreOutputs.timestamp", "uif4"},
    };
    for (size_t i = 0; i < COUNT (fields); i++)
        unit_types (s_outputs, VECTOR (OUTPUTS_STEP), fields[i]);
    unit_types (s_outputs, VECTOR (OUTPUTS_UTILITY_FAILED), (field_t){"4", "UtilityOutput", "n"});
    unit_types (s_outputs, VECTOR (OUTPUTS_UTILITY_FAILED),
                (field_t){"4.1", "UtilityOutput.failure_message", "ns"});

    //  What is passed over may be anything
    static const char *const others[] = {"2",     "5",      "6",      "7",      "1.0.2",
                                         "1.0.3", "1.0.4",  "1.0.6",  "1.0.7",  "1.0.8",
                                         "1.0.9", "1.0.10", "1.0.11", "1.0.12", "1.0.13"};
    for (size_t i = 0; i < COUNT (others); i++)
        unit_types (s_outputs, VECTOR (OUTPUTS_FULL),
                    (field_t){others[i], "passed over", "nbuif4shamx"});
    unit_types (s_outputs, VECTOR (OUTPUTS_UTILITY_FAILED),
                (field_t){"4.2", "passed over", "nbuif4shamx"});

    static const struct {
        const char *path;
        const char *value;
        const char *why;
    } cases[] = {
        {"0", "4294967296", "EngineCoreOutputs.engine_index: 4294967296 is more than 4294967295"},
        {"1.0.0", "x'a100'", "EngineCoreOutput.request_id: has a NUL byte in it"},
        {"1.0.1", "[1,2,4294967296]",
         "EngineCoreOutput.new_token_ids: [2]: 4294967296 is more than 4294967295"},
        {"1.0.5", "5", "EngineCoreOutput.finish_reason: 5 is more than 4"},
        {"1.0.5", "-1",
         "EngineCoreOutput.finish_reason: want an unsigned integer, got negative integer"},
        {"4", "['x']", "UtilityOutput.call_id: want an unsigned integer, got str"},
        {"4", "[1,x'a26100']", "UtilityOutput.failure_message: has a NUL byte in it"},
    };
    for (size_t i = 0; i < COUNT (cases); i++)
        unit_refuses (s_outputs, unit_edit (VECTOR (OUTPUTS_STEP), cases[i].path, cases[i].value),
                      cases[i].why);
}

static void test_hostile (void **state)
{
    const vector_t requests[] = {VECTOR (REQUEST_R3),       VECTOR (REQUEST_DEFAULT_MAX),
                                 VECTOR (REQUEST_NO_LIMIT), VECTOR (REQUEST_FULL),
                                 VECTOR (REQUEST_POOLING),  VECTOR (REQUEST_NO_PROMPT),
                                 VECTOR (REQUEST_SAMPLING), VECTOR (REQUEST_IGNORE_EOS)};
    for (size_t i = 0; i < COUNT (requests); i++)
        unit_hostile (s_request, requests[i]);
    const vector_t outputs[] = {VECTOR (OUTPUTS_STEP),           VECTOR (OUTPUTS_ABORT),
                                VECTOR (OUTPUTS_EMPTY),          VECTOR (OUTPUTS_FULL),
                                VECTOR (OUTPUTS_UTILITY_FAILED), VECTOR (OUTPUTS_LONGER_TAIL),
                                VECTOR (OUTPUTS_FIRST),          VECTOR (OUTPUTS_UTILITY_TASKS)};
    for (size_t i = 0; i < COUNT (outputs); i++)
        unit_hostile (s_outputs, outputs[i]);
    unit_hostile (s_ready_not_empty, VECTOR (READY));
    unit_hostile (s_ready_not_empty, VECTOR (READY_V26));
    unit_hostile (s_abort, VECTOR (ABORT_TWO));
    unit_hostile (s_utility, VECTOR (UTILITY_CALL));
    unit_hostile (s_utility, VECTOR (UTILITY_ADD_LORA));
    unit_hostile (s_request_id, VECTOR (REQUEST_SAMPLING));
}

//  Bytes that are nothing to any of them
static void test_refusals (void **state)
{
    static const struct {
        unit_decode_fn *decode;
        const char *what;
    } decoders[] = {
        {s_request, "EngineCoreRequest"},
        {s_abort, "abort"},
        {s_utility, "utility call"},
        {s_outputs, "EngineCoreOutputs"},
        {s_ready_not_empty, "EngineCoreReadyResponse"},
    };
    static const char *const bytes[] = {
        "x'c1'",         "x'dd01000000'", "x'ddffffffff'",    "x'dfffffffff'",
        "x'dbffffffff'", "x'92c0'",       "x'9191dd01000000'"};
    for (size_t i = 0; i < COUNT (decoders); i++) {
        for (size_t k = 0; k < COUNT (bytes); k++)
            unit_refuses (decoders[i].decode, unit_frame (bytes[k]), decoders[i].what);
        //  An engine's last words are no msgpack
        unit_refuses (decoders[i].decode, zframe_new (ENGINE_CORE_DEAD, strlen (ENGINE_CORE_DEAD)),
                      decoders[i].what);
        if (decoders[i].decode != s_ready_not_empty)
            unit_refuses (decoders[i].decode, zframe_new (NULL, 0), decoders[i].what);
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_identity),
        cmocka_unit_test (test_message),
        cmocka_unit_test (test_ready_encode),
        cmocka_unit_test (test_ready_decode),
        cmocka_unit_test (test_ready_wrong),
        cmocka_unit_test (test_registration),
        cmocka_unit_test (test_request_encode),
        cmocka_unit_test (test_request_decode),
        cmocka_unit_test (test_request_wrong),
        cmocka_unit_test (test_request_id),
        cmocka_unit_test (test_abort),
        cmocka_unit_test (test_abort_wrong),
        cmocka_unit_test (test_utility),
        cmocka_unit_test (test_utility_wrong),
        cmocka_unit_test (test_finish_names),
        cmocka_unit_test (test_outputs_again),
        cmocka_unit_test (test_outputs_encode),
        cmocka_unit_test (test_outputs_of_releases),
        cmocka_unit_test (test_outputs_with_an_error),
        cmocka_unit_test (test_outputs_with_metrics),
        cmocka_unit_test (test_outputs_with_logprobs),
        cmocka_unit_test (test_outputs_with_a_result),
        cmocka_unit_test (test_outputs_decode),
        cmocka_unit_test (test_outputs_wrong),
        cmocka_unit_test (test_hostile),
        cmocka_unit_test (test_refusals),
    };
    return cmocka_run_group_tests_name ("engine_core", tests, NULL, NULL);
}
