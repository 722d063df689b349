//  SPDX-License-Identifier: MIT

#include "engine_core.h"

//  SamplingParams.max_tokens when the map does not have it: omit_defaults leaves it out
#define DEFAULT_MAX_TOKENS 16

//  The code of an extension that is plain bytes: vllm/v1/serial_utils.py CUSTOM_TYPE_RAW_VIEW
#define EXT_RAW_VIEW 3

//  The fields without a default: an array must have as many
#define REQUEST_FIELDS_MIN 9
#define OUTPUT_FIELDS_MIN 2

void engine_core_identity (uint16_t index, byte identity[ENGINE_CORE_IDENTITY_SIZE])
{
    identity[0] = (byte) (index & 0xff);
    identity[1] = (byte) (index >> 8);
}

int engine_core_index (zframe_t *identity)
{
    if (zframe_size (identity) != ENGINE_CORE_IDENTITY_SIZE)
        return -1;
    const byte *data = zframe_data (identity);
    return data[0] | data[1] << 8;
}

zmsg_t *engine_core_message (uint16_t index, byte type, zframe_t **payload)
{
    byte identity[ENGINE_CORE_IDENTITY_SIZE];
    engine_core_identity (index, identity);
    zmsg_t *message = zmsg_new ();
    zmsg_addmem (message, identity, sizeof identity);
    zmsg_addmem (message, &type, 1);
    zmsg_append (message, payload);
    return message;
}

static void s_pack_nils (msgpack_packer *packer, size_t count)
{
    while (count-- > 0)
        msgpack_pack_nil (packer);
}

static void s_pack_tokens (msgpack_packer *packer, const uint32_t *tokens, size_t count)
{
    msgpack_pack_array (packer, count);
    for (size_t i = 0; i < count; i++)
        msgpack_pack_uint32 (packer, tokens[i]);
}

//  Decodes a frame that must hold an array of at least `min` fields. Returns 0 with `doc` to be
//  destroyed by the caller, or -1.
static int s_decode_array (msgpack_unpacked *doc, zframe_t *frame, const char *what, uint32_t min,
                           const msgpack_object_array **array, mp_error_t *error)
{
    if (mp_decode (doc, zframe_data (frame), zframe_size (frame), what, error) == -1)
        return -1;
    if (!mp_get_array (&doc->data, what, min, array, error)) {
        msgpack_unpacked_destroy (doc);
        return -1;
    }
    return 0;
}

//  Field `index`, or NULL behind the end of the array
static const msgpack_object *s_field (const msgpack_object_array *array, uint32_t index)
{
    return index < array->size ? &array->ptr[index] : NULL;
}

//  -- EngineCoreReadyResponse

zframe_t *engine_core_ready_encode (const engine_core_ready_t *ready)
{
    mp_writer_t writer;
    msgpack_packer *packer = mp_begin (&writer);
    msgpack_pack_map (packer, 10);
    mp_pack_str (packer, "max_model_len");
    msgpack_pack_uint32 (packer, ready->max_model_len);
    mp_pack_str (packer, "num_gpu_blocks");
    msgpack_pack_uint32 (packer, ready->num_gpu_blocks);
    mp_pack_str (packer, "block_size");
    msgpack_pack_uint32 (packer, ready->block_size);
    mp_pack_str (packer, "dp_stats_address");
    mp_pack_str (packer, ready->dp_stats_address);
    mp_pack_str (packer, "dtype");
    mp_pack_str (packer, ready->dtype);
    mp_pack_str (packer, "vllm_version");
    mp_pack_str (packer, ready->vllm_version);
    mp_pack_str (packer, "world_size");
    msgpack_pack_uint32 (packer, ready->world_size);
    mp_pack_str (packer, "data_parallel_size");
    msgpack_pack_uint32 (packer, ready->data_parallel_size);
    mp_pack_str (packer, "kv_cache_size_tokens");
    msgpack_pack_uint64 (packer, (uint64_t) ready->num_gpu_blocks * ready->block_size);
    mp_pack_str (packer, "kv_cache_max_concurrency");
    msgpack_pack_double (packer, (double) ready->num_gpu_blocks * ready->block_size /
                                     (ready->max_model_len ? ready->max_model_len : 1));
    return mp_end (&writer);
}

int engine_core_ready_decode (zframe_t *frame, engine_core_ready_t *ready, mp_error_t *error)
{
    static const char what[] = "EngineCoreReadyResponse";
    *ready = (engine_core_ready_t){0};
    if (zframe_size (frame) == 0)
        return 0;
    msgpack_unpacked doc;
    if (mp_decode (&doc, zframe_data (frame), zframe_size (frame), what, error) == -1)
        return -1;
    const msgpack_object_map *map;
    bool ok =
        mp_get_map (&doc.data, what, &map, error) &&
        mp_get_uint32 (mp_find (map, "max_model_len"), "EngineCoreReadyResponse.max_model_len",
                       &ready->max_model_len, error) &&
        mp_get_uint32 (mp_find (map, "num_gpu_blocks"), "EngineCoreReadyResponse.num_gpu_blocks",
                       &ready->num_gpu_blocks, error) &&
        mp_get_uint32 (mp_find (map, "block_size"), "EngineCoreReadyResponse.block_size",
                       &ready->block_size, error);
    //  Newer than v0.20.0, which had only the three above
    const msgpack_object *field;
    if (ok && !mp_is_nil (field = mp_find (map, "world_size")))
        ok = mp_get_uint32 (field, "EngineCoreReadyResponse.world_size", &ready->world_size, error);
    if (ok && !mp_is_nil (field = mp_find (map, "data_parallel_size")))
        ok = mp_get_uint32 (field, "EngineCoreReadyResponse.data_parallel_size",
                            &ready->data_parallel_size, error);
    msgpack_unpacked_destroy (&doc);
    return ok ? 0 : -1;
}

int engine_core_registration (zmsg_t *message, engine_core_ready_t *ready, mp_error_t *error)
{
    if (zmsg_size (message) != 2) {
        mp_error_set (error, "registration", "want identity and ready response, got %zu frames",
                      zmsg_size (message));
        return -1;
    }
    zframe_t *identity = zmsg_first (message);
    int index = engine_core_index (identity);
    if (index == -1) {
        mp_error_set (error, "registration", "an engine's identity has 2 bytes, this has %zu",
                      zframe_size (identity));
        return -1;
    }
    return engine_core_ready_decode (zmsg_next (message), ready, error) == 0 ? index : -1;
}

//  -- EngineCoreRequest

//  The head of a map of `count` pairs, as msgspec writes it for SamplingParams: in the 16-bit form
//  even when there are few. It is chosen by how many fields the struct has, more than 15, before it
//  is known how many are left out.
static void s_pack_map16 (msgpack_packer *packer, uint16_t count)
{
    const char head[] = {(char) 0xde, (char) (count >> 8), (char) (count & 0xff)};
    packer->callback (packer->data, head, sizeof head);
}

zframe_t *engine_core_request_encode (const engine_core_request_t *request)
{
    mp_writer_t writer;
    msgpack_packer *packer = mp_begin (&writer);
    msgpack_pack_array (packer, 20);
    mp_pack_str (packer, request->request_id);
    if (request->prompt_token_ids)
        s_pack_tokens (packer, request->prompt_token_ids, request->prompt_token_count);
    else
        msgpack_pack_nil (packer);
    msgpack_pack_nil (packer);  //  mm_features
    //  sampling_params: a map of what differs from the defaults
    if (request->max_tokens == DEFAULT_MAX_TOKENS) {
        s_pack_map16 (packer, 0);
    } else {
        s_pack_map16 (packer, 1);
        mp_pack_str (packer, "max_tokens");
        if (request->max_tokens == ENGINE_CORE_NO_LIMIT)
            msgpack_pack_nil (packer);
        else
            msgpack_pack_uint32 (packer, request->max_tokens);
    }
    msgpack_pack_nil (packer);  //  pooling_params
    msgpack_pack_double (packer, request->arrival_time);
    s_pack_nils (packer, 5);  //  lora_request, cache_salt, data_parallel_rank, prompt_embeds,
                              //  prompt_is_token_ids
    msgpack_pack_uint32 (packer, request->client_index);
    msgpack_pack_int (packer, 0);  //  current_wave
    msgpack_pack_int (packer, 0);  //  priority
    msgpack_pack_nil (packer);     //  trace_headers
    msgpack_pack_false (packer);   //  resumable
    s_pack_nils (packer, 3);       //  external_req_id, reasoning_ended, reasoning_parser_kwargs
    msgpack_pack_false (packer);   //  abort_immediately
    return mp_end (&writer);
}

//  How many are wanted, and the token's own: see engine_core_request_t.logprobs
static bool s_get_logprobs (const msgpack_object *object, const char *field, uint32_t *logprobs,
                            mp_error_t *error)
{
    if (mp_is_nil (object))
        return true;
    *logprobs = ENGINE_CORE_NO_LIMIT;
    if (object->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)  //  -1
        return true;
    if (!mp_get_uint32 (object, field, logprobs, error))
        return false;
    *logprobs += *logprobs < ENGINE_CORE_NO_LIMIT;
    return true;
}

//  Of a pooling request there are no sampling_params: it makes no tokens
static bool s_get_sampling_params (const msgpack_object *params, engine_core_request_t *self,
                                   mp_error_t *error)
{
#define FIELD(name) mp_find (map, name), "EngineCoreRequest.sampling_params." name
    const msgpack_object_map *map;
    const msgpack_object *seed;
    self->eos_token_id = -1;
    self->pooling = mp_is_nil (params);
    if (self->pooling)
        return true;
    if (!mp_get_map (params, "EngineCoreRequest.sampling_params", &map, error))
        return false;
    if ((seed = mp_find (map, "seed")) && (seed->type == MSGPACK_OBJECT_POSITIVE_INTEGER ||
                                           seed->type == MSGPACK_OBJECT_NEGATIVE_INTEGER))
        self->seed = seed->via.u64;
    if (!s_get_logprobs (FIELD ("logprobs"), &self->logprobs, error) ||
        !s_get_logprobs (FIELD ("prompt_logprobs"), &self->prompt_logprobs, error))
        return false;
    self->max_tokens = DEFAULT_MAX_TOKENS;
    const msgpack_object *value = mp_find (map, "max_tokens");
    if (value && value->type == MSGPACK_OBJECT_NIL)
        self->max_tokens = ENGINE_CORE_NO_LIMIT;
    else if (value && !mp_get_uint32 (FIELD ("max_tokens"), &self->max_tokens, error))
        return false;
    uint32_t *stop_token_ids = NULL, eos_token_id = 0;
    bool ok = (!mp_find (map, "min_tokens") ||
               mp_get_uint32 (FIELD ("min_tokens"), &self->min_tokens, error)) &&
              (mp_is_nil (mp_find (map, "stop_token_ids")) ||
               mp_get_uint32s (FIELD ("stop_token_ids"), &stop_token_ids, &self->stop_token_count,
                               error));
    self->stop_token_ids = stop_token_ids;
    if (!ok || mp_is_nil (mp_find (map, "_eos_token_id")))
        return ok;
    if (!mp_get_uint32 (FIELD ("_eos_token_id"), &eos_token_id, error))
        return false;
    const msgpack_object *ignore_eos = mp_find (map, "ignore_eos");
    if (!ignore_eos || ignore_eos->type != MSGPACK_OBJECT_BOOLEAN || !ignore_eos->via.boolean)
        self->eos_token_id = eos_token_id;
    return true;
#undef FIELD
}

engine_core_request_t *engine_core_request_decode (zframe_t *frame, mp_error_t *error)
{
    msgpack_unpacked doc;
    const msgpack_object_array *array;
    if (s_decode_array (&doc, frame, "EngineCoreRequest", REQUEST_FIELDS_MIN, &array, error) == -1)
        return NULL;

    engine_core_request_t *self = zmalloc (sizeof *self);
    char *request_id = NULL;
    uint32_t *tokens = NULL;
    bool ok = mp_get_cstr (&array->ptr[0], "EngineCoreRequest.request_id", &request_id, error) &&
              (mp_is_nil (&array->ptr[1]) ||
               mp_get_uint32s (&array->ptr[1], "EngineCoreRequest.prompt_token_ids", &tokens,
                               &self->prompt_token_count, error)) &&
              s_get_sampling_params (&array->ptr[3], self, error) &&
              mp_get_double (&array->ptr[5], "EngineCoreRequest.arrival_time", &self->arrival_time,
                             error);
    if (ok && s_field (array, 11))
        ok = mp_get_uint32 (s_field (array, 11), "EngineCoreRequest.client_index",
                            &self->client_index, error);
    msgpack_unpacked_destroy (&doc);
    self->request_id = request_id;
    self->prompt_token_ids = tokens;
    if (!ok)
        engine_core_request_destroy (&self);
    return self;
}

void engine_core_request_destroy (engine_core_request_t **self_p)
{
    engine_core_request_t *self = *self_p;
    if (!self)
        return;
    free ((char *) self->request_id);
    free ((uint32_t *) self->prompt_token_ids);
    free ((uint32_t *) self->stop_token_ids);
    free (self);
    *self_p = NULL;
}

char *engine_core_request_id (zframe_t *frame, uint32_t *client_index)
{
    msgpack_unpacked doc;
    const msgpack_object_array *array;
    char *request_id = NULL;
    *client_index = 0;
    if (s_decode_array (&doc, frame, "EngineCoreRequest", 1, &array, NULL) == 0) {
        if (!mp_get_uint32 (s_field (array, 11), "client_index", client_index, NULL))
            *client_index = 0;
        if (!mp_get_cstr (&array->ptr[0], "request_id", &request_id, NULL))
            request_id = NULL;
        msgpack_unpacked_destroy (&doc);
    }
    return request_id;
}

//  -- Abort

zframe_t *engine_core_abort_encode (const engine_core_abort_t *abort)
{
    mp_writer_t writer;
    msgpack_packer *packer = mp_begin (&writer);
    msgpack_pack_array (packer, abort->count);
    for (size_t i = 0; i < abort->count; i++)
        mp_pack_str (packer, abort->request_ids[i]);
    return mp_end (&writer);
}

engine_core_abort_t *engine_core_abort_decode (zframe_t *frame, mp_error_t *error)
{
    msgpack_unpacked doc;
    const msgpack_object_array *array;
    if (s_decode_array (&doc, frame, "abort", 0, &array, error) == -1)
        return NULL;

    engine_core_abort_t *self = zmalloc (sizeof *self);
    self->request_ids = zmalloc ((array->size + 1) * sizeof *self->request_ids);
    for (uint32_t i = 0; self && i < array->size; i++) {
        char *request_id;
        if (mp_get_cstr (&array->ptr[i], "abort[]", &request_id, error))
            self->request_ids[self->count++] = request_id;
        else
            engine_core_abort_destroy (&self);
    }
    msgpack_unpacked_destroy (&doc);
    return self;
}

void engine_core_abort_destroy (engine_core_abort_t **self_p)
{
    engine_core_abort_t *self = *self_p;
    if (!self)
        return;
    for (size_t i = 0; i < self->count; i++)
        free ((char *) self->request_ids[i]);
    free (self->request_ids);
    free (self);
    *self_p = NULL;
}

//  -- Utility

//  See engine_core_utility_t.number
static int64_t s_get_number_arg (const msgpack_object *args)
{
    const msgpack_object *arg =
        args->type == MSGPACK_OBJECT_ARRAY ? s_field (&args->via.array, 0) : NULL;
    if (arg && arg->type == MSGPACK_OBJECT_ARRAY)
        arg = s_field (&arg->via.array, 1);  //  LoRARequest: lora_name, lora_int_id, ...
    return arg && arg->type == MSGPACK_OBJECT_POSITIVE_INTEGER && arg->via.u64 <= INT64_MAX
               ? (int64_t) arg->via.u64
               : -1;
}

//  See engine_core_utility_t.word. What is no C string, or none at all, is none.
static char *s_get_word_arg (const msgpack_object *args)
{
    char *word = NULL;
    for (uint32_t i = 0; args->type == MSGPACK_OBJECT_ARRAY && i < args->via.array.size; i++)
        if (mp_get_cstr (&args->via.array.ptr[i], "args[]", &word, NULL))
            return word;
    return NULL;
}

engine_core_utility_t *engine_core_utility_decode (zframe_t *frame, mp_error_t *error)
{
    msgpack_unpacked doc;
    const msgpack_object_array *array;
    if (s_decode_array (&doc, frame, "utility call", 4, &array, error) == -1)
        return NULL;

    engine_core_utility_t *self = zmalloc (sizeof *self);
    char *method = NULL;
    bool ok =
        mp_get_uint32 (&array->ptr[0], "utility call.client_index", &self->client_index, error) &&
        mp_get_uint (&array->ptr[1], "utility call.call_id", UINT64_MAX, &self->call_id, error) &&
        mp_get_cstr (&array->ptr[2], "utility call.method", &method, error);
    self->number = s_get_number_arg (&array->ptr[3]);
    self->word = s_get_word_arg (&array->ptr[3]);
    msgpack_unpacked_destroy (&doc);
    self->method = method;
    if (!ok)
        engine_core_utility_destroy (&self);
    return self;
}

void engine_core_utility_destroy (engine_core_utility_t **self_p)
{
    engine_core_utility_t *self = *self_p;
    if (!self)
        return;
    free ((char *) self->method);
    free ((char *) self->word);
    free (self);
    *self_p = NULL;
}

//  -- EngineCoreOutputs

const char *engine_core_finish_name (engine_core_finish_t reason)
{
    static const char *const names[] = {"stop", "length", "abort", "error", "repetition"};
    return reason == ENGINE_CORE_RUNNING ? "running" : names[reason];
}

//  EngineCoreEvent: QUEUED (1) or SCHEDULED (2)
static void s_pack_event (msgpack_packer *packer, int type, double timestamp)
{
    msgpack_pack_map (packer, 2);
    mp_pack_str (packer, "type");
    msgpack_pack_int (packer, type);
    mp_pack_str (packer, "timestamp");
    msgpack_pack_double (packer, timestamp);
}

static void s_pack_counter (msgpack_packer *packer, const char *name, uint64_t value)
{
    mp_pack_str (packer, name);
    msgpack_pack_uint64 (packer, value);
}

//  Of a prompt that was computed in full, nothing of it cached
static void s_pack_prefill_stats (msgpack_packer *packer, uint32_t tokens)
{
    msgpack_pack_map (packer, 6);
    s_pack_counter (packer, "num_prompt_tokens", tokens);
    s_pack_counter (packer, "num_computed_tokens", tokens);
    s_pack_counter (packer, "num_cached_tokens", 0);
    s_pack_counter (packer, "num_local_cached_tokens", 0);
    s_pack_counter (packer, "num_external_cached_tokens", 0);
    s_pack_counter (packer, "num_cache_creation_tokens", 0);
}

//  A numpy array or a tensor as vLLM's MsgpackEncoder writes it: its type, its shape, and its bytes
//  as an extension. Numbers have 4 bytes, little-endian. Columns 0: it has but one dimension.
static void s_pack_numbers (msgpack_packer *packer, const char *type, size_t rows, size_t columns,
                            const void *numbers)
{
    size_t count = rows * (columns ? columns : 1);
    msgpack_pack_array (packer, 3);
    mp_pack_str (packer, type);
    msgpack_pack_array (packer, columns ? 2 : 1);
    msgpack_pack_uint64 (packer, rows);
    if (columns)
        msgpack_pack_uint64 (packer, columns);
    msgpack_pack_ext (packer, count * 4, EXT_RAW_VIEW);
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy (&bits, (const char *) numbers + i * 4, 4);
        const byte bytes[] = {(byte) bits, (byte) (bits >> 8), (byte) (bits >> 16),
                              (byte) (bits >> 24)};
        msgpack_pack_ext_body (packer, bytes, sizeof bytes);
    }
}

static void s_pack_logprobs (msgpack_packer *packer, const engine_core_logprobs_t *logprobs,
                             const char *int_type, const char *float_type)
{
    if (!logprobs) {
        msgpack_pack_nil (packer);
        return;
    }
    msgpack_pack_array (packer, 4);
    s_pack_numbers (packer, int_type, logprobs->rows, logprobs->columns, logprobs->token_ids);
    s_pack_numbers (packer, float_type, logprobs->rows, logprobs->columns, logprobs->logprobs);
    s_pack_numbers (packer, int_type, logprobs->rows, 0, logprobs->ranks);
    msgpack_pack_nil (packer);  //  cu_num_generated_tokens: for several requests in one
}

static void s_pack_output (msgpack_packer *packer, const engine_core_output_t *output)
{
    msgpack_pack_array (packer, 14);
    mp_pack_str (packer, output->request_id);
    s_pack_tokens (packer, output->new_token_ids, output->new_token_count);
    s_pack_logprobs (packer, output->logprobs, "<i4", "<f4");               //  numpy's names
    s_pack_logprobs (packer, output->prompt_logprobs, "int32", "float32");  //  torch's
    msgpack_pack_nil (packer);                                              //  pooling_output
    if (output->finish_reason == ENGINE_CORE_RUNNING)
        msgpack_pack_nil (packer);
    else
        msgpack_pack_int (packer, output->finish_reason);
    if (output->stop_reason)
        msgpack_pack_uint32 (packer, *output->stop_reason);
    else
        msgpack_pack_nil (packer);
    bool first = output->scheduled > 0;
    if (first) {
        msgpack_pack_array (packer, 2);
        s_pack_event (packer, 1, output->queued);
        s_pack_event (packer, 2, output->scheduled);
    } else {
        msgpack_pack_nil (packer);
    }
    s_pack_nils (packer, 3);  //  kv_transfer_params, ec_transfer_params, trace_headers
    if (first)
        s_pack_prefill_stats (packer, output->prefilled);
    else
        msgpack_pack_nil (packer);
    msgpack_pack_nil (packer);     //  routed_experts
    msgpack_pack_int (packer, 0);  //  num_nans_in_logits
}

static void s_pack_scheduler_stats (msgpack_packer *packer,
                                    const engine_core_scheduler_stats_t *stats)
{
    msgpack_pack_map (packer, 16);
    s_pack_counter (packer, "num_running_reqs", stats->num_running_reqs);
    s_pack_counter (packer, "num_waiting_reqs", 0);
    s_pack_counter (packer, "num_skipped_waiting_reqs", 0);
    s_pack_counter (packer, "step_counter", 0);
    s_pack_counter (packer, "current_wave", 0);
    mp_pack_str (packer, "kv_cache_usage");
    msgpack_pack_double (packer, stats->kv_cache_usage);
    mp_pack_str (packer, "iteration_details");
    msgpack_pack_nil (packer);
    mp_pack_str (packer, "prefix_cache_stats");
    msgpack_pack_map (packer, 7);
    mp_pack_str (packer, "reset");
    msgpack_pack_false (packer);
    s_pack_counter (packer, "requests", stats->prefix_cache_requests);
    s_pack_counter (packer, "queries", stats->prefix_cache_queries);
    s_pack_counter (packer, "hits", 0);
    s_pack_counter (packer, "preempted_requests", 0);
    s_pack_counter (packer, "preempted_queries", 0);
    s_pack_counter (packer, "preempted_hits", 0);
    mp_pack_str (packer, "connector_prefix_cache_stats");
    msgpack_pack_nil (packer);
    mp_pack_str (packer, "kv_cache_eviction_events");
    msgpack_pack_array (packer, 0);
    mp_pack_str (packer, "spec_decoding_stats");
    msgpack_pack_nil (packer);
    mp_pack_str (packer, "kv_connector_stats");
    msgpack_pack_nil (packer);
    mp_pack_str (packer, "waiting_lora_adapters");
    msgpack_pack_map (packer, 0);
    mp_pack_str (packer, "running_lora_adapters");
    msgpack_pack_map (packer, 0);
    mp_pack_str (packer, "cudagraph_stats");
    msgpack_pack_nil (packer);
    mp_pack_str (packer, "perf_stats");
    msgpack_pack_nil (packer);
}

//  UtilityResult is an array of 2: the Python type of the value, nil here, and the value
static void s_pack_utility_output (msgpack_packer *packer,
                                   const engine_core_utility_output_t *output)
{
    msgpack_pack_array (packer, 3);
    msgpack_pack_uint64 (packer, output->call_id);
    mp_pack_str (packer, output->failure_message);
    if (!output->failure_message && output->result.data) {
        msgpack_pack_array (packer, 2);
        msgpack_pack_nil (packer);
        packer->callback (packer->data, output->result.data, output->result.size);
    } else {
        msgpack_pack_nil (packer);
    }
}

zframe_t *engine_core_outputs_encode (const engine_core_outputs_t *outputs)
{
    size_t finished = 0;
    for (size_t i = 0; i < outputs->output_count; i++)
        finished += outputs->outputs[i].finish_reason != ENGINE_CORE_RUNNING;

    mp_writer_t writer;
    msgpack_packer *packer = mp_begin (&writer);
    msgpack_pack_array (packer, 8);
    msgpack_pack_uint32 (packer, outputs->engine_index);
    msgpack_pack_array (packer, outputs->output_count);
    for (size_t i = 0; i < outputs->output_count; i++)
        s_pack_output (packer, &outputs->outputs[i]);
    if (outputs->scheduler_stats)
        s_pack_scheduler_stats (packer, outputs->scheduler_stats);
    else
        msgpack_pack_nil (packer);
    msgpack_pack_double (packer, outputs->timestamp);
    if (outputs->utility_output)
        s_pack_utility_output (packer, outputs->utility_output);
    else
        msgpack_pack_nil (packer);
    if (finished > 0) {
        msgpack_pack_array (packer, finished);
        for (size_t i = 0; i < outputs->output_count; i++)
            if (outputs->outputs[i].finish_reason != ENGINE_CORE_RUNNING)
                mp_pack_str (packer, outputs->outputs[i].request_id);
    } else {
        msgpack_pack_nil (packer);
    }
    s_pack_nils (packer, 2);  //  wave_complete, start_wave
    return mp_end (&writer);
}

//  Fills *output; what it holds by then is freed by engine_core_outputs_destroy, whatever happens
static bool s_get_output (const msgpack_object *object, engine_core_output_t *output,
                          mp_error_t *error)
{
    const msgpack_object_array *array;
    char *request_id = NULL;
    uint32_t *tokens = NULL;
    uint64_t reason;
    output->finish_reason = ENGINE_CORE_RUNNING;
    bool ok = mp_get_array (object, "EngineCoreOutput", OUTPUT_FIELDS_MIN, &array, error) &&
              mp_get_cstr (&array->ptr[0], "EngineCoreOutput.request_id", &request_id, error) &&
              mp_get_uint32s (&array->ptr[1], "EngineCoreOutput.new_token_ids", &tokens,
                              &output->new_token_count, error);
    if (ok && !mp_is_nil (s_field (array, 5))) {
        ok = mp_get_uint (s_field (array, 5), "EngineCoreOutput.finish_reason",
                          ENGINE_CORE_REPETITION, &reason, error);
        if (ok)
            output->finish_reason = (engine_core_finish_t) reason;
    }
    output->request_id = request_id;
    output->new_token_ids = tokens;
    return ok;
}

static bool s_get_utility_output (const msgpack_object *object, engine_core_outputs_t *self,
                                  mp_error_t *error)
{
    const msgpack_object_array *array;
    if (!mp_get_array (object, "UtilityOutput", 1, &array, error))
        return false;
    engine_core_utility_output_t *utility = zmalloc (sizeof *utility);
    self->utility_output = utility;
    char *message = NULL;
    utility->notification = array->ptr[0].type == MSGPACK_OBJECT_NEGATIVE_INTEGER;
    bool ok = (utility->notification || mp_get_uint (&array->ptr[0], "UtilityOutput.call_id",
                                                     UINT64_MAX, &utility->call_id, error)) &&
              (mp_is_nil (s_field (array, 1)) ||
               mp_get_cstr (s_field (array, 1), "UtilityOutput.failure_message", &message, error));
    utility->failure_message = message;
    return ok;
}

engine_core_outputs_t *engine_core_outputs_decode (zframe_t *frame, mp_error_t *error)
{
    msgpack_unpacked doc;
    const msgpack_object_array *array, *outputs;
    if (s_decode_array (&doc, frame, "EngineCoreOutputs", 0, &array, error) == -1)
        return NULL;

    engine_core_outputs_t *self = zmalloc (sizeof *self);
    bool ok = true;
    if (s_field (array, 0))
        ok = mp_get_uint32 (s_field (array, 0), "EngineCoreOutputs.engine_index",
                            &self->engine_index, error);
    if (ok && s_field (array, 1)) {
        ok = mp_get_array (s_field (array, 1), "EngineCoreOutputs.outputs", 0, &outputs, error);
        if (ok) {
            engine_core_output_t *list = zmalloc ((outputs->size + 1) * sizeof *list);
            self->outputs = list;
            while (ok && self->output_count < outputs->size) {
                ok = s_get_output (&outputs->ptr[self->output_count], &list[self->output_count],
                                   error);
                self->output_count++;
            }
        }
    }
    if (ok && s_field (array, 3))
        ok = mp_get_double (s_field (array, 3), "EngineCoreOutputs.timestamp", &self->timestamp,
                            error);
    if (ok && !mp_is_nil (s_field (array, 4)))
        ok = s_get_utility_output (s_field (array, 4), self, error);
    msgpack_unpacked_destroy (&doc);
    if (!ok)
        engine_core_outputs_destroy (&self);
    return self;
}

void engine_core_outputs_destroy (engine_core_outputs_t **self_p)
{
    engine_core_outputs_t *self = *self_p;
    if (!self)
        return;
    for (size_t i = 0; i < self->output_count; i++) {
        free ((char *) self->outputs[i].request_id);
        free ((uint32_t *) self->outputs[i].new_token_ids);
    }
    free ((engine_core_output_t *) self->outputs);
    if (self->utility_output)
        free ((char *) self->utility_output->failure_message);
    free ((engine_core_utility_output_t *) self->utility_output);
    free (self);
    *self_p = NULL;
}
