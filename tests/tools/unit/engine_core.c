//  SPDX-License-Identifier: MIT

#include "decoded.h"
#include "vectors.h"

#include "engine/engine_core.h"

#include <inttypes.h>

//  -- Decoders, as unit.h wants them. They print all that was decoded but what has its default.

//  Its memory is used for all outputs
static engine_core_outputs_t *kept;

static int s_teardown (void **state)
{
    engine_core_outputs_destroy (&kept);
    return decoded_teardown (state);
}

static void s_print_numbers (const char *name, const uint32_t *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++)
        fprintf (out, "%s%s%" PRIu32, i ? "," : name, i ? "" : " ", numbers[i]);
}

static bool s_request (zframe_t *frame, mp_error_t *error)
{
    engine_core_request_t *request = engine_core_request_decode (frame, error);
    if (!request)
        return false;
    decoded_begin ();
    fprintf (out, "%s at %.1f", request->request_id, request->arrival_time);
    s_print_numbers (" prompt", request->prompt_token_ids, request->prompt_token_count);
    assert_int_equal (!request->prompt_token_ids, !request->prompt_token_count);
    if (request->max_tokens != 16)
        fprintf (out, " max %" PRId32, (int32_t) request->max_tokens);  //  -1: no limit
    if (request->client_index)
        fprintf (out, " client %" PRIu32, request->client_index);
    if (request->min_tokens)
        fprintf (out, " min %" PRIu32, request->min_tokens);
    s_print_numbers (" stop", request->stop_token_ids, request->stop_token_count);
    if (request->eos_token_id != -1)
        fprintf (out, " eos %" PRId64, request->eos_token_id);
    if (request->seed)
        fprintf (out, " seed %" PRIu64, request->seed);
    if (request->logprobs)
        fprintf (out, " logprobs %" PRId32, (int32_t) request->logprobs);
    s_print_numbers (" logprobs of", request->logprob_token_ids, request->logprob_token_count);
    if (request->prompt_logprobs)
        fprintf (out, " prompt logprobs %" PRId32, (int32_t) request->prompt_logprobs);
    fputs (request->pooling ? " pooling" : "", out);
    fputs (request->abort_immediately ? " abort" : "", out);
    decoded_end ();
    decoded_again (engine_core_request_encode (request));
    engine_core_request_destroy (&request);
    assert_null (request);
    engine_core_request_destroy (&request);
    return true;
}

static bool s_abort (zframe_t *frame, mp_error_t *error)
{
    engine_core_abort_t *abort = engine_core_abort_decode (frame, error);
    if (!abort)
        return false;
    decoded_begin ();
    for (size_t i = 0; i < abort->count; i++)
        fprintf (out, "%s;", abort->request_ids[i]);
    decoded_end ();
    decoded_again (engine_core_abort_encode (abort));
    engine_core_abort_destroy (&abort);
    assert_null (abort);
    engine_core_abort_destroy (&abort);
    return true;
}

static bool s_utility (zframe_t *frame, mp_error_t *error)
{
    engine_core_utility_t *call = engine_core_utility_decode (frame, error);
    if (!call)
        return false;
    decoded_begin ();
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
    decoded_end ();
    engine_core_utility_destroy (&call);
    assert_null (call);
    engine_core_utility_destroy (&call);
    return true;
}

static void s_print_outputs (const engine_core_outputs_t *outputs)
{
    decoded_begin ();
    fprintf (out, "engine %" PRIu32 " at %.1f", outputs->engine_index, outputs->timestamp);
    for (size_t i = 0; i < outputs->output_count; i++) {
        const engine_core_output_t *output = &outputs->outputs[i];
        fprintf (out, "; %s %s", output->request_id,
                 engine_core_finish_name (output->finish_reason));
        s_print_numbers ("", output->new_token_ids, output->new_token_count);
    }
    const engine_core_utility_output_t *answer = outputs->utility_output;
    if (answer)
        fprintf (out, "; call %" PRIu64 "%s%s%s%s", answer->call_id,
                 answer->failure_message ? " failed: " : "",
                 answer->failure_message ? answer->failure_message : "",
                 answer->notification ? " notification" : "", answer->result.data ? " result" : "");
    assert_true (!outputs->scheduler_stats && !outputs->weight_version);  //  Encode only
    decoded_end ();
}

//  Into new memory, and into that of the last outputs, which were larger or smaller
static bool s_outputs (zframe_t *frame, mp_error_t *error)
{
    engine_core_outputs_t *outputs = engine_core_outputs_decode (frame, error);
    bool ok = engine_core_outputs_decode_again (&kept, frame, error);
    assert_int_equal (ok, outputs != NULL);
    assert_int_equal (ok, kept != NULL);
    if (!ok)
        return false;
    s_print_outputs (outputs);
    char *first = strdup (printed);
    engine_core_outputs_destroy (&outputs);
    assert_null (outputs);
    engine_core_outputs_destroy (&outputs);
    s_print_outputs (kept);
    decoded_again (engine_core_outputs_encode (kept));
    assert_string_equal (printed, first);
    free (first);
    return true;
}

static bool s_ready (zframe_t *frame, mp_error_t *error)
{
    engine_core_ready_t ready;
    memset (&ready, 0xff, sizeof ready);
    if (engine_core_ready_decode (frame, &ready, error) == -1)
        return false;
    assert_true (!ready.dtype && !ready.vllm_version && !ready.dp_stats_address);
    decoded_begin ();
    fprintf (out, "%" PRIu32 " tokens, %" PRIu32 " blocks of %" PRIu32, ready.max_model_len,
             ready.num_gpu_blocks, ready.block_size);
    fprintf (out, ", world %" PRIu32 ", data parallel %" PRIu32, ready.world_size,
             ready.data_parallel_size);
    decoded_end ();
    return true;
}

//  An empty frame is a ready response too, of engines that are older
static bool s_ready_not_empty (zframe_t *frame, mp_error_t *error)
{
    if (zframe_size (frame) > 0)
        return s_ready (frame, error);
    mp_error_set (error, "EngineCoreReadyResponse", "empty");
    return false;
}

//  -- Identity

static void test_identity (void **state)
{
    static const uint16_t indices[] = {0, 1, 255, 256, 0x1234, UINT16_MAX};
    for (size_t i = 0; i < COUNT (indices); i++) {
        byte identity[ENGINE_CORE_IDENTITY_SIZE];
        engine_core_identity (indices[i], identity);
        assert_int_equal (identity[0], indices[i] % 256);
        assert_int_equal (identity[1], indices[i] / 256);
        zframe_t *frame = zframe_new (identity, 2);
        assert_int_equal (engine_core_index (frame), indices[i]);
        zframe_destroy (&frame);
    }
    for (size_t size = 0; size <= 5; size++) {
        zframe_t *frame = zframe_new ("\0\0\0\0\0", size);
        assert_int_equal (engine_core_index (frame), size == 2 ? 0 : -1);
        zframe_destroy (&frame);
    }
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

#define SMALL "4096 tokens, 1024 blocks of 16, "

static void test_ready_decode (void **state)
{
    decoded_t cases[] = {
        {unit_vector_frame (VECTOR (READY)), SMALL "world 2, data parallel 2"},
        {unit_vector_frame (VECTOR (READY_V26)), SMALL "world 1, data parallel 1"},
        {unit_frame ("{'max_model_len':4096,'num_gpu_blocks':1024,'block_size':16}"),  //  v0.20.0
         SMALL "world 0, data parallel 0"},
        //  Another order; nil; keys that are not str
        {unit_frame ("{'block_size':16,'x':[{}],'world_size':null,'num_gpu_blocks':1024,"
                     "1:2,'data_parallel_size':3,null:0,'max_model_len':4096}"),
         SMALL "world 0, data parallel 3"},
        //  The last of equal keys counts
        {unit_frame ("{'max_model_len':'x','num_gpu_blocks':1024,'block_size':1,"
                     "'max_model_len':4096,'block_size':16}"),
         SMALL "world 0, data parallel 0"},
        //  Before v0.20.0
        {unit_frame ("x''"), "0 tokens, 0 blocks of 0, world 0, data parallel 0"},
        {unit_frame ("x'81c0'"), "EngineCoreReadyResponse: truncated"},
        {unit_frame ("{}"),
         "EngineCoreReadyResponse.max_model_len: want an unsigned integer, got nothing"},
        {unit_edit (VECTOR (READY), "num_gpu_blocks", NULL),
         "EngineCoreReadyResponse.num_gpu_blocks: want an unsigned integer, got nothing"},
        {unit_edit (VECTOR (READY), "block_size", NULL),
         "EngineCoreReadyResponse.block_size: want an unsigned integer, got nothing"},
        {unit_edit (VECTOR (READY), "world_size", "4294967296"),
         "EngineCoreReadyResponse.world_size: 4294967296 is more than 4294967295"},
    };
    decoded_are (s_ready, cases, COUNT (cases));
}

static void test_registration (void **state)
{
    const struct {
        zframe_t *identity, *ready, *more;
        int index;
        uint32_t max_model_len;
        const char *error;
    } cases[] = {
        {unit_frame ("x'3412'"), unit_vector_frame (VECTOR (READY)), NULL, 0x1234, 4096, ""},
        {unit_frame ("x'0000'"), unit_frame ("x''"), NULL, 0, 0, ""},
        {unit_frame ("x'0001020304'"), unit_vector_frame (VECTOR (READY)), NULL, -1, 0,
         "registration: an engine's identity has 2 bytes, this has 5"},
        {unit_frame ("x'0000'"), unit_frame ("x'8000'"), NULL, -1, 0,
         "EngineCoreReadyResponse: has bytes after its end"},
        {NULL, NULL, NULL, -1, 0,
         "registration: want 2 frames (identity and ready response), got 0"},
        {unit_frame ("x'0000'"), NULL, NULL, -1, 0,
         "registration: want 2 frames (identity and ready response), got 1"},
        {unit_frame ("x'0000'"), unit_vector_frame (VECTOR (READY)), unit_frame ("x''"), -1, 0,
         "registration: want 2 frames (identity and ready response), got 3"},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        zframe_t *frames[] = {cases[i].identity, cases[i].ready, cases[i].more};
        zmsg_t *message = zmsg_new ();
        for (size_t k = 0; k < COUNT (frames) && frames[k]; k++)
            zmsg_append (message, &frames[k]);
        engine_core_ready_t ready = {0};
        mp_error_t error = {.text = ""};
        size_t size = zmsg_size (message);
        assert_int_equal (engine_core_registration (message, &ready, NULL), cases[i].index);
        assert_int_equal (engine_core_registration (message, &ready, &error), cases[i].index);
        assert_string_equal (error.text, cases[i].error);
        assert_int_equal (ready.max_model_len, cases[i].max_model_len);
        assert_int_equal (zmsg_size (message), size);
        zmsg_destroy (&message);
    }
}

//  What v0.28 to v0.33 have put behind num_nans_in_logits
#define NILS_5 ",null,null,null,null,null"

//  -- EngineCoreRequest

static void test_request_encode (void **state)
{
    decoded_both (s_request, VECTOR (REQUEST_R3));
    decoded_both (s_request, VECTOR (REQUEST_DEFAULT_MAX));
    decoded_both (s_request, VECTOR (REQUEST_NO_LIMIT));
    decoded_both (s_request, VECTOR (REQUEST_NO_PROMPT));

    //  An empty prompt, and another front-end
    engine_core_request_t request = {
        .request_id = "r3", .prompt_token_ids = (const uint32_t[]){7}, .client_index = 70000};
    unit_is_text (engine_core_request_encode (&request),
                  "[\"r3\",[],null,{\"max_tokens\":0},null,0.0,null,null,null,null,null,70000,0,0,"
                  "null,false,null,null,null,false,null,null]");
}

#define R3 "r3 at 1789095808.5 prompt 1,2,3,70000,4294967295"
#define FIELD(path, value) unit_edit (VECTOR (REQUEST_R3), path, value)
#define SAMPLING(params) FIELD ("3", params)

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
        {SAMPLING ("{'_eos_token_id':0}"), R3 " eos 0"},
        {SAMPLING ("{'_eos_token_id':4294967295}"), R3 " eos 4294967295"},
        {SAMPLING ("{'_eos_token_id':2,'ignore_eos':false}"), R3 " eos 2"},
        {SAMPLING ("{'_eos_token_id':2,'ignore_eos':true}"), R3},
        //  Any seed will do
        {SAMPLING ("{'seed':18446744073709551615}"), R3 " seed 18446744073709551615"},
        {SAMPLING ("{'seed':-1}"), R3 " seed 18446744073709551615"},
        {SAMPLING ("{'seed':'x'}"), R3},
        //  How many logprobs are wanted, with the token's own
        {SAMPLING ("{'logprobs':0}"), R3 " logprobs 1"},
        {SAMPLING ("{'logprobs':20}"), R3 " logprobs 21"},
        {SAMPLING ("{'logprobs':-1}"), R3 " logprobs -1"},
        {SAMPLING ("{'logprobs':4294967295}"), R3 " logprobs -1"},
        {SAMPLING ("{'logprobs':4294967296}"),
         "EngineCoreRequest.sampling_params.logprobs: 4294967296 is more than 4294967295"},
        {SAMPLING ("{'prompt_logprobs':1}"), R3 " prompt logprobs 2"},
        {SAMPLING ("{'logprob_token_ids':[31999,5],'logprobs':2}"),
         R3 " logprobs 3 logprobs of 31999,5"},
        {SAMPLING ("{'logprob_token_ids':[4294967296]}"),
         "EngineCoreRequest.sampling_params.logprob_token_ids: [0]: 4294967296 is more than "
         "4294967295"},
        //  It is to end at once
        {unit_edit (VECTOR (REQUEST_FULL), "19", "false"),
         R3 " max 4 client 2 min 2 stop 2,128009"},
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
        {unit_frame ("'r3'"), "EngineCoreRequest: want an array, got str"},
        //  Invalid msgpack is reported before any field is read
        {unit_frame ("x'92c0'"), "EngineCoreRequest: truncated"},
        {unit_frame ("x'c1'"), "EngineCoreRequest: not msgpack, or nested more than 32 deep"},
        {unit_frame ("x''"), "EngineCoreRequest: empty"},
        {FIELD ("0", "x'a3720033'"), "EngineCoreRequest.request_id: has a NUL byte in it"},
        {FIELD ("0", "x'a2c328'"), "EngineCoreRequest.request_id: is not UTF-8"},
        {FIELD ("1.0", "4294967296"),
         "EngineCoreRequest.prompt_token_ids: [0]: 4294967296 is more than 4294967295"},
        {FIELD ("3.max_tokens", "4294967296"),
         "EngineCoreRequest.sampling_params.max_tokens: 4294967296 is more than 4294967295"},
        {FIELD ("3", "{'min_tokens':4294967296}"),
         "EngineCoreRequest.sampling_params.min_tokens: 4294967296 is more than 4294967295"},
        {FIELD ("3", "{'stop_token_ids':[1,4294967296]}"),
         "EngineCoreRequest.sampling_params.stop_token_ids: [1]: 4294967296 is more than "
         "4294967295"},
        {FIELD ("3", "{'stop_token_ids':[1],'_eos_token_id':4294967296}"),
         "EngineCoreRequest.sampling_params._eos_token_id: 4294967296 is more than 4294967295"},
        {FIELD ("3", "{'_eos_token_id':'x','ignore_eos':true}"),
         "EngineCoreRequest.sampling_params._eos_token_id: want an unsigned integer, got str"},
        {FIELD ("11", "4294967296"),
         "EngineCoreRequest.client_index: 4294967296 is more than 4294967295"},
    };
    decoded_are (s_request, cases, COUNT (cases));
}

//  -- Abort

static void test_abort (void **state)
{
    engine_core_abort_t none = {NULL, 0};
    unit_is_text (engine_core_abort_encode (&none), "[]");
    decoded_both (s_abort, VECTOR (ABORT_TWO));
    decoded_t cases[] = {
        {unit_vector_frame (VECTOR (ABORT_TWO)), "r1;r3;"},
        {unit_frame ("[]"), ""},
        {unit_frame ("['r1',x'a3720033','r5']"), "abort[]: has a NUL byte in it"},
        {unit_frame ("x'92c0'"), "abort: truncated"},
        {unit_frame ("x''"), "abort: empty"},
    };
    decoded_are (s_abort, cases, COUNT (cases));
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
        {unit_frame ("[0,1,'is_sleeping']"), "utility call: want an array of 4 or more, got 3"},
        {unit_frame ("x'92c0'"), "utility call: truncated"},
        {unit_frame ("x''"), "utility call: empty"},
        {unit_edit (VECTOR (UTILITY_CALL), "0", "4294967296"),
         "utility call.client_index: 4294967296 is more than 4294967295"},
        {unit_edit (VECTOR (UTILITY_CALL), "2", "x'a26100'"),
         "utility call.method: has a NUL byte in it"},
        //  A number, or the id of a LoRA
        {ARGS ("[5]"), CALL " number 5"},
        {ARGS ("[9223372036854775807]"), CALL " number 9223372036854775807"},
        {ARGS ("[['sql',5,'/loras/sql']]"), CALL " number 5 tags unknown"},
        {ARGS ("[['sql',5,'/loras/sql',null,null,true,false,'newer'],7]"),
         CALL " number 5 tags unknown"},
        {ARGS ("[]"), CALL},
        {ARGS ("[9223372036854775808]"), CALL},
        {ARGS ("[-5]"), CALL},
        {ARGS ("[null,5]"), CALL},
        {ARGS ("['5']"), CALL " word '5'"},
        {ARGS ("[[]]"), CALL " tags"},
        {ARGS ("[['sql']]"), CALL " tags unknown"},
        {ARGS ("[['sql',-5]]"), CALL " tags unknown"},
        {ARGS ("null"), CALL},
        //  A word
        {ARGS ("[1,'wait']"), CALL " number 1 word 'wait'"},
        {ARGS ("['','x']"), CALL " word ''"},
        {ARGS ("[1,h'6b',null]"), CALL " number 1"},
        {ARGS ("{'mode':'keep'}"), CALL},
        //  What wake_up is to wake
        {ARGS ("[['weights']]"), CALL " tags weights"},
        {ARGS ("[['kv_cache','weights','kv_cache']]"), CALL " tags weights kv_cache"},
        {ARGS ("[['scheduling']]"), CALL " tags"},
        {ARGS ("[['weights','scheduling']]"), CALL " tags weights"},
        {ARGS ("[['weights2']]"), CALL " tags unknown"},
        {ARGS ("[['weights',1]]"), CALL " number 1 tags weights unknown"},
    };
    decoded_are (s_utility, cases, COUNT (cases));
}

//  -- EngineCoreOutputs

static void test_outputs_encode (void **state)
{
    decoded_both (s_outputs, VECTOR (OUTPUTS_STEP));
    decoded_both (s_outputs, VECTOR (OUTPUTS_ABORT));
    decoded_both (s_outputs, VECTOR (OUTPUTS_EMPTY));
    decoded_both (s_outputs, VECTOR (OUTPUTS_UTILITY_FAILED));

    //  Each reason, and which requests have finished
    zframe_t *frame =
        unit_frame ("[70000,[['a',[],null,null,null,0,null,null,null,null,null,null,null,0" NILS_5
                    "],['b',[],null,null,null,null,null,null,null,null,null,null,null,0" NILS_5
                    "],['c',[17,8123],null,null,null,3,null,null,null,null,null,null,null,0" NILS_5
                    "],['d',[],null,null,null,4,null,null,null,null,null,null,null,0" NILS_5
                    "]],null,0.0,[7,null,null],['a','c','d'],null,null,null]");
    decoded_both (s_outputs, (vector_t){"all", zframe_data (frame), zframe_size (frame)});
    zframe_destroy (&frame);
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

    //  Token 0 is a token, too
    list[0].stop_reason = &(const uint32_t){0};
    zframe_t *want = unit_edit (VECTOR (OUTPUTS_FIRST), "1.0.6", "0");
    unit_is_vector (engine_core_outputs_encode (&outputs),
                    (vector_t){"want", zframe_data (want), zframe_size (want)});
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
        engine_core_utility_output_t output = {
            .call_id = 9223372036854775813u,
            .result = {(char *) zframe_data (value), zframe_size (value)}};
        engine_core_outputs_t outputs = {
            .engine_index = 1, .timestamp = 12.5, .utility_output = &output};
        unit_is_vector (engine_core_outputs_encode (&outputs), cases[i].vector);
        //  With a failure message, the result is not encoded
        output.failure_message = "no such method";
        outputs.engine_index = 0;
        unit_is_vector (engine_core_outputs_encode (&outputs), VECTOR (OUTPUTS_UTILITY_FAILED));
        zframe_destroy (&value);
    }
}

#define STEP(path, value) unit_edit (VECTOR (OUTPUTS_STEP), path, value)

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
        {unit_frame ("[3,[['r1',[5]],['r2',[],null,null,null,4],['r3',[],0,0,0,3]]]"),
         "engine 3 at 0.0; r1 running 5; r2 repetition; r3 error"},
        {unit_frame ("[0,[],null,1,[5]]"), "engine 0 at 1.0; call 5"},
        {unit_frame ("[0,[],null,1.0,[5,null,[null,true],'newer']]"), "engine 0 at 1.0; call 5"},
        {unit_frame ("[0,[['r1',[5]],['r2']]]"),
         "EngineCoreOutput: want an array of 2 or more, got 1"},
        {unit_frame ("[0,[],null,0.0,[]]"), "UtilityOutput: want an array of 1 or more, got 0"},
        {unit_frame ("x'92c0'"), "EngineCoreOutputs: truncated"},
        {unit_frame ("x''"), "EngineCoreOutputs: empty"},
        //  An engine's last words are no msgpack
        {zframe_new (ENGINE_CORE_DEAD, strlen (ENGINE_CORE_DEAD)),
         "EngineCoreOutputs: has bytes after its end"},
        //  vLLM's EEP_NOTIFICATION_CALL_ID: below 0, and no reason to refuse the tokens beside it
        {unit_frame ("[0,[['a',[7]]],null,0.0,[-1,null,null]]"),
         "engine 0 at 0.0; a running 7; call 0 notification"},
        //  Most outputs have only nils behind their tokens. These differ in one field, and the last
        //  has one less.
        {STEP ("1.0.13", "1"), "engine 1 at 12.5; r1 running 17; r3 length 8123"},
        {STEP ("1.0.18", "'x'"), "engine 1 at 12.5; r1 running 17; r3 length 8123"},
        {STEP ("1.0.5", "1"), "engine 1 at 12.5; r1 length 17; r3 length 8123"},
        {unit_frame ("[0,[['r1',[5],null,null,null,null,null,null,null,null,null,null,null,0,"
                     "null,null,null,null]],null,1.5]"),
         "engine 0 at 1.5; r1 running 5"},
        {STEP ("0", "4294967296"),
         "EngineCoreOutputs.engine_index: 4294967296 is more than 4294967295"},
        {STEP ("1.0.0", "x'a100'"), "EngineCoreOutput.request_id: has a NUL byte in it"},
        {STEP ("1.0.1", "[1,2,4294967296]"),
         "EngineCoreOutput.new_token_ids: [2]: 4294967296 is more than 4294967295"},
        {STEP ("1.0.5", "5"), "EngineCoreOutput.finish_reason: 5 is more than 4"},
        {STEP ("4", "['x']"), "UtilityOutput.call_id: want an unsigned integer, got str"},
        {STEP ("4", "[1,x'a26100']"), "UtilityOutput.failure_message: has a NUL byte in it"},
    };
    decoded_are (s_outputs, cases, COUNT (cases));
}

//  -- All of them

//  Which types the decoders take
static void test_types (void **state)
{
    vector_t vector = VECTOR (READY);
#define READY_FIELD(name, types)                                                                   \
    decoded_types (s_ready, vector, name, "EngineCoreReadyResponse." name, types)
    decoded_types (s_ready, vector, "", "EngineCoreReadyResponse", "");
    READY_FIELD ("max_model_len", "u");
    READY_FIELD ("num_gpu_blocks", "u");
    READY_FIELD ("block_size", "u");
    READY_FIELD ("world_size", "un");
    READY_FIELD ("data_parallel_size", "un");
    decoded_types (s_ready, vector, "dp_stats_address dtype vllm_version kv_cache_size_tokens",
                   "passed over", ANY);

    vector = VECTOR (REQUEST_FULL);
#define REQUEST_FIELD(path, name, types)                                                           \
    decoded_types (s_request, vector, path, "EngineCoreRequest" name, types)
    REQUEST_FIELD ("", "", "");
    REQUEST_FIELD ("0", ".request_id", "s");
    REQUEST_FIELD ("1", ".prompt_token_ids", "na");
    REQUEST_FIELD ("1.4", ".prompt_token_ids", "u");
    REQUEST_FIELD ("3", ".sampling_params", "nm");
    REQUEST_FIELD ("3.max_tokens", ".sampling_params.max_tokens", "nu");
    REQUEST_FIELD ("3.min_tokens", ".sampling_params.min_tokens", "u");
    REQUEST_FIELD ("3.stop_token_ids", ".sampling_params.stop_token_ids", "na");
    REQUEST_FIELD ("3.stop_token_ids.1", ".sampling_params.stop_token_ids", "u");
    REQUEST_FIELD ("5", ".arrival_time", "uif4");
    REQUEST_FIELD ("11", ".client_index", "u");
    decoded_types (s_request, vector,
                   "2 4 6 7 8 9 10 12 13 14 15 16 17 18 19 3.ignore_eos 3.temperature",
                   "passed over", ANY);
    vector = VECTOR (REQUEST_SAMPLING);
    REQUEST_FIELD ("3.logprobs", ".sampling_params.logprobs", "nui");
    REQUEST_FIELD ("3._eos_token_id", ".sampling_params._eos_token_id", "nu");
    decoded_types (s_request, vector, "3.seed", "passed over", ANY);

    decoded_types (s_abort, VECTOR (ABORT_TWO), "", "abort", "a");
    decoded_types (s_abort, VECTOR (ABORT_TWO), "0 1", "abort[]", "s");

    vector = VECTOR (UTILITY_CALL);
    decoded_types (s_utility, vector, "", "utility call", "");
    decoded_types (s_utility, vector, "0", "utility call.client_index", "u");
    decoded_types (s_utility, vector, "1", "utility call.call_id", "u");
    decoded_types (s_utility, vector, "2", "utility call.method", "s");
    decoded_types (s_utility, vector, "3", "utility call.args", ANY);

    vector = VECTOR (OUTPUTS_STEP);
    decoded_types (s_outputs, vector, "", "EngineCoreOutputs", "a");
    decoded_types (s_outputs, vector, "0", "EngineCoreOutputs.engine_index", "u");
    decoded_types (s_outputs, vector, "1", "EngineCoreOutputs.outputs", "a");
    decoded_types (s_outputs, vector, "1.0 1.1", "EngineCoreOutput", "");
    decoded_types (s_outputs, vector, "1.1.0", "EngineCoreOutput.request_id", "s");
    decoded_types (s_outputs, vector, "1.1.1", "EngineCoreOutput.new_token_ids", "a");
    decoded_types (s_outputs, vector, "1.1.1.0", "EngineCoreOutput.new_token_ids", "u");
    decoded_types (s_outputs, vector, "1.0.5", "EngineCoreOutput.finish_reason", "nu");
    decoded_types (s_outputs, vector, "3", "EngineCoreOutputs.timestamp", "uif4");
    decoded_types (s_outputs, VECTOR (OUTPUTS_FULL),
                   "2 5 6 7 1.0.2 1.0.3 1.0.4 1.0.6 1.0.7 1.0.8 1.0.9 1.0.10 1.0.11 1.0.12 1.0.13",
                   "passed over", ANY);
    vector = VECTOR (OUTPUTS_UTILITY_FAILED);
    decoded_types (s_outputs, vector, "4", "UtilityOutput", "n");
    decoded_types (s_outputs, vector, "4.1", "UtilityOutput.failure_message", "ns");
    decoded_types (s_outputs, vector, "4.2", "passed over", ANY);
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
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_identity),
        cmocka_unit_test (test_ready_encode),
        cmocka_unit_test (test_ready_decode),
        cmocka_unit_test (test_registration),
        cmocka_unit_test (test_request_encode),
        cmocka_unit_test (test_request_decode),
        cmocka_unit_test (test_abort),
        cmocka_unit_test (test_utility),
        cmocka_unit_test (test_outputs_encode),
        cmocka_unit_test (test_outputs_with_an_error),
        cmocka_unit_test (test_outputs_with_metrics),
        cmocka_unit_test (test_outputs_with_logprobs),
        cmocka_unit_test (test_outputs_with_a_result),
        cmocka_unit_test (test_outputs_decode),
        cmocka_unit_test (test_types),
        cmocka_unit_test (test_hostile),
    };
    return cmocka_run_group_tests_name ("engine_core", tests, decoded_setup, s_teardown);
}
