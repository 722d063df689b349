//  SPDX-License-Identifier: MIT

#include "engine/engine_core.h"
#include "lib/mp_put.h"

//  SamplingParams.max_tokens when the map does not have it: omit_defaults leaves it out
#define DEFAULT_MAX_TOKENS 16

//  The code of an extension that is plain bytes: vllm/v1/serial_utils.py CUSTOM_TYPE_RAW_VIEW
#define EXT_RAW_VIEW 3

//  The fields without a default: an array must have as many
#define REQUEST_FIELDS_MIN 9
#define OUTPUT_FIELDS_MIN 2

//  All that an output has
#define OUTPUT_FIELDS 14

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

//  What a request takes up without its id and prompt
#define REQUEST_BOUND 128

//  The head of a map of `count` pairs, as msgspec writes it for SamplingParams: in the 16-bit form
//  even when there are few. It is chosen by how many fields the struct has, more than 15, before it
//  is known how many are left out.
static void s_put_map16 (char **at, uint16_t count)
{
    const char head[] = {(char) 0xde, (char) (count >> 8), (char) (count & 0xff)};
    mp_put_bytes (at, head, sizeof head);
}

static void s_put_nils (char **at, size_t count)
{
    while (count-- > 0)
        mp_put_nil (at);
}

//  A string, or nil for NULL; 5 bytes more than its length are enough room
static void s_put_str (char **at, const char *text)
{
    size_t size = text ? strlen (text) : 0;
    if (text) {
        mp_put_str (at, size);
        mp_put_bytes (at, text, size);
    } else {
        mp_put_nil (at);
    }
}

static size_t s_size (const char *text)
{
    return text ? strlen (text) : 0;
}

zframe_t *engine_core_request_encode (const engine_core_request_t *request)
{
    mp_writer_t writer;
    mp_begin (&writer);
    char *at = mp_reserve (&writer, REQUEST_BOUND + s_size (request->request_id) +
                                        5 * request->prompt_token_count);
    mp_put_array (&at, 20);
    s_put_str (&at, request->request_id);
    if (request->prompt_token_ids)
        mp_put_uint32s (&at, request->prompt_token_ids, request->prompt_token_count);
    else
        mp_put_nil (&at);
    mp_put_nil (&at);  //  mm_features
    //  sampling_params: a map of what differs from the defaults
    if (request->max_tokens == DEFAULT_MAX_TOKENS) {
        s_put_map16 (&at, 0);
    } else {
        s_put_map16 (&at, 1);
        mp_put_text (&at, "max_tokens");
        if (request->max_tokens == ENGINE_CORE_NO_LIMIT)
            mp_put_nil (&at);
        else
            mp_put_uint32 (&at, request->max_tokens);
    }
    mp_put_nil (&at);  //  pooling_params
    mp_put_double (&at, request->arrival_time);
    s_put_nils (&at, 5);  //  lora_request, cache_salt, data_parallel_rank, prompt_embeds,
                          //  prompt_is_token_ids
    mp_put_uint32 (&at, request->client_index);
    mp_put_int (&at, 0);  //  current_wave
    mp_put_int (&at, 0);  //  priority
    mp_put_nil (&at);     //  trace_headers
    mp_put_false (&at);   //  resumable
    s_put_nils (&at, 3);  //  external_req_id, reasoning_ended, reasoning_parser_kwargs
    mp_put_false (&at);   //  abort_immediately
    mp_commit (&writer, at);
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

//  An array of token ids, or nil, or not there
static bool s_read_token_ids (const mp_entry_t *entry, const char *field, const uint32_t **ids,
                              size_t *count, mp_error_t *error)
{
    if (mp_is_nil (entry->value))
        return true;
    uint32_t *copy = NULL;
    mp_reader_t reader = mp_reader (entry->bytes.data, entry->bytes.size);
    if (!mp_read_uint32s (&reader, field, &copy, count, error))
        return false;
    *ids = copy;
    return true;
}

//  Of a pooling request there are no sampling_params: it makes no tokens. `object` is the value, or
//  its head, and `bytes` all of it.
static bool s_read_sampling_params (const msgpack_object *object, mp_slice_t bytes,
                                    engine_core_request_t *self, mp_error_t *error)
{
    static const char what[] = "EngineCoreRequest.sampling_params";
    enum {
        SEED,
        MAX_TOKENS,
        MIN_TOKENS,
        STOP_TOKEN_IDS,
        EOS_TOKEN_ID,
        IGNORE_EOS,
        LOGPROBS,
        LOGPROB_TOKEN_IDS,
        PROMPT_LOGPROBS,
        COUNT
    };
    mp_entry_t entries[] = {
        MP_ENTRY ("seed"),           MP_ENTRY ("max_tokens"),        MP_ENTRY ("min_tokens"),
        MP_ENTRY ("stop_token_ids"), MP_ENTRY ("_eos_token_id"),     MP_ENTRY ("ignore_eos"),
        MP_ENTRY ("logprobs"),       MP_ENTRY ("logprob_token_ids"), MP_ENTRY ("prompt_logprobs")};
    const msgpack_object_map *map;
    self->eos_token_id = -1;
    self->pooling = mp_is_nil (object);
    if (self->pooling)
        return true;
    if (!mp_get_map (object, what, &map, error) ||
        !mp_read_map (bytes.data, bytes.size, what, entries, COUNT, error))
        return false;
    const msgpack_object *seed = entries[SEED].value, *max_tokens = entries[MAX_TOKENS].value;
    if (seed && (seed->type == MSGPACK_OBJECT_POSITIVE_INTEGER ||
                 seed->type == MSGPACK_OBJECT_NEGATIVE_INTEGER))
        self->seed = seed->via.u64;
    if (!s_get_logprobs (entries[LOGPROBS].value, "EngineCoreRequest.sampling_params.logprobs",
                         &self->logprobs, error) ||
        !s_read_token_ids (&entries[LOGPROB_TOKEN_IDS],
                           "EngineCoreRequest.sampling_params.logprob_token_ids",
                           &self->logprob_token_ids, &self->logprob_token_count, error) ||
        !s_get_logprobs (entries[PROMPT_LOGPROBS].value,
                         "EngineCoreRequest.sampling_params.prompt_logprobs",
                         &self->prompt_logprobs, error))
        return false;
    self->max_tokens = DEFAULT_MAX_TOKENS;
    if (max_tokens && max_tokens->type == MSGPACK_OBJECT_NIL)
        self->max_tokens = ENGINE_CORE_NO_LIMIT;
    else if (max_tokens &&
             !mp_get_uint32 (max_tokens, "EngineCoreRequest.sampling_params.max_tokens",
                             &self->max_tokens, error))
        return false;
    if (entries[MIN_TOKENS].value &&
        !mp_get_uint32 (entries[MIN_TOKENS].value, "EngineCoreRequest.sampling_params.min_tokens",
                        &self->min_tokens, error))
        return false;
    if (!s_read_token_ids (&entries[STOP_TOKEN_IDS],
                           "EngineCoreRequest.sampling_params.stop_token_ids",
                           &self->stop_token_ids, &self->stop_token_count, error))
        return false;
    uint32_t eos_token_id = 0;
    if (mp_is_nil (entries[EOS_TOKEN_ID].value))
        return true;
    if (!mp_get_uint32 (entries[EOS_TOKEN_ID].value,
                        "EngineCoreRequest.sampling_params._eos_token_id", &eos_token_id, error))
        return false;
    const msgpack_object *ignore_eos = entries[IGNORE_EOS].value;
    if (!ignore_eos || ignore_eos->type != MSGPACK_OBJECT_BOOLEAN || !ignore_eos->via.boolean)
        self->eos_token_id = eos_token_id;
    return true;
}

//  Nil, or token ids
static bool s_read_prompt (mp_reader_t *reader, engine_core_request_t *self, mp_error_t *error)
{
    mp_reader_t start = *reader;
    msgpack_object object;
    uint32_t *tokens = NULL;
    if (!mp_read (reader, &object))
        return false;
    if (mp_is_nil (&object))
        return true;
    *reader = start;
    bool ok = mp_read_uint32s (reader, "EngineCoreRequest.prompt_token_ids", &tokens,
                               &self->prompt_token_count, error);
    self->prompt_token_ids = tokens;
    return ok;
}

//  Reads what all of the message must be
static bool s_read_request (mp_reader_t *reader, engine_core_request_t *self, mp_error_t *error)
{
    uint32_t fields;
    if (!mp_read_array (reader, "EngineCoreRequest", REQUEST_FIELDS_MIN, &fields, error))
        return false;
    for (uint32_t i = 0; i < fields; i++) {
        msgpack_object object;
        mp_slice_t bytes;
        if (i == 1) {
            if (!s_read_prompt (reader, self, error))
                return false;
            continue;
        }
        if (!mp_read_whole (reader, &object, &bytes))
            return false;
        char *request_id = NULL;
        bool ok = true;
        switch (i) {
        case 0:
            ok = mp_get_cstr (&object, "EngineCoreRequest.request_id", &request_id, error);
            self->request_id = request_id;
            break;
        case 3:
            ok = s_read_sampling_params (&object, bytes, self, error);
            break;
        case 5:
            ok = mp_get_double (&object, "EngineCoreRequest.arrival_time", &self->arrival_time,
                                error);
            break;
        case 11:
            ok = mp_get_uint32 (&object, "EngineCoreRequest.client_index", &self->client_index,
                                error);
            break;
        case 19:
            self->abort_immediately = object.type == MSGPACK_OBJECT_BOOLEAN && object.via.boolean;
            break;
        default:
            break;
        }
        if (!ok)
            return false;
    }
    return reader->at == reader->end;
}

engine_core_request_t *engine_core_request_decode (zframe_t *frame, mp_error_t *error)
{
    mp_reader_t reader = mp_reader (zframe_data (frame), zframe_size (frame));
    engine_core_request_t *self = zmalloc (sizeof *self);
    if (!s_read_request (&reader, self, error)) {
        engine_core_request_destroy (&self);
        //  When the whole of it is no good, that is what is wrong, and not some field
        mp_check (zframe_data (frame), zframe_size (frame), "EngineCoreRequest", error);
    }
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
    free ((uint32_t *) self->logprob_token_ids);
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

static bool s_is_str (const msgpack_object *object, const char *text)
{
    return object->type == MSGPACK_OBJECT_STR && object->via.str.size == strlen (text) &&
           memcmp (object->via.str.ptr, text, strlen (text)) == 0;
}

//  See engine_core_utility_t.tagged
static void s_get_tags_arg (const msgpack_object *args, engine_core_utility_t *self)
{
    const msgpack_object *arg =
        args->type == MSGPACK_OBJECT_ARRAY ? s_field (&args->via.array, 0) : NULL;
    self->tagged = arg && arg->type == MSGPACK_OBJECT_ARRAY;
    for (uint32_t i = 0; self->tagged && i < arg->via.array.size; i++) {
        const msgpack_object *tag = &arg->via.array.ptr[i];
        if (s_is_str (tag, "weights"))
            self->tags |= ENGINE_CORE_TAG_WEIGHTS;
        else if (s_is_str (tag, "kv_cache"))
            self->tags |= ENGINE_CORE_TAG_KV_CACHE;
        else if (!s_is_str (tag, "scheduling"))
            self->tags |= ENGINE_CORE_TAG_UNKNOWN;
    }
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
    s_get_tags_arg (&array->ptr[3], self);
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

static void s_pack_counter (msgpack_packer *packer, const char *name, uint64_t value)
{
    mp_pack_str (packer, name);
    msgpack_pack_uint64 (packer, value);
}

//  EngineCoreEvent: QUEUED (1) or SCHEDULED (2)
static void s_put_event (char **at, int type, double timestamp)
{
    mp_put_map (at, 2);
    mp_put_text (at, "type");
    mp_put_int (at, type);
    mp_put_text (at, "timestamp");
    mp_put_double (at, timestamp);
}

//  Of a prompt that was computed in full, nothing of it cached
static void s_put_prefill_stats (char **at, uint32_t tokens)
{
    mp_put_map (at, 6);
    mp_put_text (at, "num_prompt_tokens");
    mp_put_uint32 (at, tokens);
    mp_put_text (at, "num_computed_tokens");
    mp_put_uint32 (at, tokens);
    mp_put_text (at, "num_cached_tokens");
    mp_put_int (at, 0);
    mp_put_text (at, "num_local_cached_tokens");
    mp_put_int (at, 0);
    mp_put_text (at, "num_external_cached_tokens");
    mp_put_int (at, 0);
    mp_put_text (at, "num_cache_creation_tokens");
    mp_put_int (at, 0);
}

//  A numpy array or a tensor as vLLM's MsgpackEncoder writes it: its type, its shape, and its bytes
//  as an extension. Numbers have 4 bytes, little-endian. Columns 0: it has but one dimension.
static void s_put_numbers (char **at, const char *type, size_t rows, size_t columns,
                           const void *numbers)
{
    size_t count = rows * (columns ? columns : 1);
    mp_put_array (at, 3);
    s_put_str (at, type);
    mp_put_array (at, columns ? 2 : 1);
    mp_put_uint64 (at, rows);
    if (columns)
        mp_put_uint64 (at, columns);
    mp_put_ext (at, count * 4, EXT_RAW_VIEW);
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy (&bits, (const char *) numbers + i * 4, 4);
        const byte bytes[] = {(byte) bits, (byte) (bits >> 8), (byte) (bits >> 16),
                              (byte) (bits >> 24)};
        mp_put_bytes (at, bytes, sizeof bytes);
    }
}

static void s_put_logprobs (char **at, const engine_core_logprobs_t *logprobs, const char *int_type,
                            const char *float_type)
{
    if (!logprobs) {
        mp_put_nil (at);
        return;
    }
    mp_put_array (at, 4);
    s_put_numbers (at, int_type, logprobs->rows, logprobs->columns, logprobs->token_ids);
    s_put_numbers (at, float_type, logprobs->rows, logprobs->columns, logprobs->logprobs);
    s_put_numbers (at, int_type, logprobs->rows, 0, logprobs->ranks);
    mp_put_nil (at);  //  cu_num_generated_tokens: for several requests in one
}

//  What an output takes up without id, tokens and logprobs; when it is the first of its request;
//  what logprobs do without their numbers; and what a message does without its outputs, stats and
//  utility output
#define OUTPUT_BOUND 48
#define FIRST_OUTPUT_BOUND 320
#define LOGPROBS_BOUND 128
#define OUTPUTS_BOUND 64

static size_t s_logprobs_bound (const engine_core_logprobs_t *logprobs)
{
    return logprobs ? LOGPROBS_BOUND + 4 * logprobs->rows * (2 * logprobs->columns + 1) : 0;
}

static size_t s_output_bound (const engine_core_output_t *output)
{
    return (output->scheduled > 0 ? FIRST_OUTPUT_BOUND : OUTPUT_BOUND) +
           s_size (output->request_id) + 5 * output->new_token_count +
           s_logprobs_bound (output->logprobs) + s_logprobs_bound (output->prompt_logprobs);
}

//  What is behind the tokens of an output that has nothing else to tell, as nearly all: 11 nils,
//  and no num_nans_in_logits
static const byte only_tokens[] = {0xc0, 0xc0, 0xc0, 0xc0, 0xc0, 0xc0,
                                   0xc0, 0xc0, 0xc0, 0xc0, 0xc0, 0x00};

static void s_put_output (char **at, const engine_core_output_t *output)
{
    bool first = output->scheduled > 0;
    mp_put_array (at, OUTPUT_FIELDS);
    s_put_str (at, output->request_id);
    mp_put_uint32s (at, output->new_token_ids, output->new_token_count);
    if (output->finish_reason == ENGINE_CORE_RUNNING && !first && !output->logprobs &&
        !output->prompt_logprobs) {
        mp_put_bytes (at, only_tokens, sizeof only_tokens);
        return;
    }
    s_put_logprobs (at, output->logprobs, "<i4", "<f4");               //  numpy's names
    s_put_logprobs (at, output->prompt_logprobs, "int32", "float32");  //  torch's
    mp_put_nil (at);                                                   //  pooling_output
    if (output->finish_reason == ENGINE_CORE_RUNNING)
        mp_put_nil (at);
    else
        mp_put_int (at, output->finish_reason);
    if (output->stop_reason)
        mp_put_uint32 (at, *output->stop_reason);
    else
        mp_put_nil (at);
    if (first) {
        mp_put_array (at, 2);
        s_put_event (at, 1, output->queued);
        s_put_event (at, 2, output->scheduled);
    } else {
        mp_put_nil (at);
    }
    s_put_nils (at, 3);  //  kv_transfer_params, ec_transfer_params, trace_headers
    if (first)
        s_put_prefill_stats (at, output->prefilled);
    else
        mp_put_nil (at);
    mp_put_nil (at);     //  routed_experts
    mp_put_int (at, 0);  //  num_nans_in_logits
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
    size_t finished = 0, bound = OUTPUTS_BOUND;
    for (size_t i = 0; i < outputs->output_count; i++) {
        const engine_core_output_t *output = &outputs->outputs[i];
        finished += output->finish_reason != ENGINE_CORE_RUNNING;
        bound += s_output_bound (output);
    }

    mp_writer_t writer;
    msgpack_packer *packer = mp_begin (&writer);
    char *at = mp_reserve (&writer, bound);
    mp_put_array (&at, 8);
    mp_put_uint32 (&at, outputs->engine_index);
    mp_put_array (&at, outputs->output_count);
    for (size_t i = 0; i < outputs->output_count; i++)
        s_put_output (&at, &outputs->outputs[i]);
    mp_commit (&writer, at);
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

//  Outputs, and the memory of all of them, their ids and their tokens
typedef struct {
    engine_core_outputs_t outputs;  //  First: the one is the other's address
    engine_core_output_t *list;
    size_t list_room;
    char *texts;       //  Ids and tokens are shorter than the message, so there is room for them
    uint32_t *tokens;  //  from the beginning: for messages of
    size_t room;       //  so many bytes
    char *text;        //  Up to here they are used
    uint32_t *token;
} s_owner_t;

//  A copy of a str as a C string
static bool s_copy_id (s_owner_t *owner, const msgpack_object *object, const char **id,
                       mp_error_t *error)
{
    mp_slice_t slice;
    if (!mp_get_str (object, "EngineCoreOutput.request_id", &slice, error))
        return false;
    if (memchr (slice.data, 0, slice.size))
        return mp_wrong (error, "EngineCoreOutput.request_id", "has a NUL byte in it");
    memcpy (owner->text, slice.data, slice.size);
    owner->text[slice.size] = 0;  //  In the place of the head that it had
    *id = owner->text;
    owner->text += slice.size + 1;
    return true;
}

static bool s_read_output (mp_reader_t *reader, s_owner_t *owner, engine_core_output_t *output,
                           mp_error_t *error)
{
    msgpack_object object;
    uint32_t fields;
    uint64_t reason;
    *output = (engine_core_output_t){.finish_reason = ENGINE_CORE_RUNNING};
    if (!mp_read_array (reader, "EngineCoreOutput", OUTPUT_FIELDS_MIN, &fields, error))
        return false;
    if (!mp_read (reader, &object) || !s_copy_id (owner, &object, &output->request_id, error) ||
        !mp_read_uint32s_into (reader, "EngineCoreOutput.new_token_ids", owner->token,
                               &output->new_token_count, error))
        return false;
    output->new_token_ids = output->new_token_count > 0 ? owner->token : NULL;
    owner->token += output->new_token_count;
    if (fields == OUTPUT_FIELDS && (size_t) (reader->end - reader->at) >= sizeof only_tokens &&
        memcmp (reader->at, only_tokens, sizeof only_tokens) == 0) {
        reader->at += sizeof only_tokens;
        return true;
    }
    for (uint32_t i = 2; i < fields; i++) {
        if (i != 5) {
            if (!mp_skip (reader))
                return false;
            continue;
        }
        if (!mp_read (reader, &object))
            return false;
        if (mp_is_nil (&object))
            continue;
        if (!mp_get_uint (&object, "EngineCoreOutput.finish_reason", ENGINE_CORE_REPETITION,
                          &reason, error))
            return false;
        output->finish_reason = (engine_core_finish_t) reason;
    }
    return true;
}

static bool s_read_output_list (mp_reader_t *reader, s_owner_t *owner, mp_error_t *error)
{
    uint32_t count;
    if (!mp_read_array (reader, "EngineCoreOutputs.outputs", 0, &count, error))
        return false;
    if (count > owner->list_room) {
        free (owner->list);
        owner->list = malloc (count * sizeof *owner->list);
        owner->list_room = owner->list ? count : 0;
        if (!owner->list)
            return mp_wrong (error, "EngineCoreOutputs.outputs", "out of memory");
    }
    owner->outputs.outputs = owner->list;
    for (; owner->outputs.output_count < count; owner->outputs.output_count++)
        if (!s_read_output (reader, owner, &owner->list[owner->outputs.output_count], error))
            return false;
    return true;
}

//  `object` is what has been read of it, and the reader is behind that
static bool s_read_utility_output (mp_reader_t *reader, const msgpack_object *object,
                                   engine_core_outputs_t *self, mp_error_t *error)
{
    const msgpack_object_array *array;
    if (!mp_get_array (object, "UtilityOutput", 1, &array, error))
        return false;
    msgpack_object id, why = {.type = MSGPACK_OBJECT_NIL};
    mp_reader_t start = *reader;
    if (!mp_skip (reader) || !mp_read (&start, &id) || (array->size > 1 && !mp_read (reader, &why)))
        return false;
    engine_core_utility_output_t *utility = zmalloc (sizeof *utility);
    self->utility_output = utility;
    char *message = NULL;
    utility->notification = id.type == MSGPACK_OBJECT_NEGATIVE_INTEGER;
    bool ok =
        (utility->notification ||
         mp_get_uint (&id, "UtilityOutput.call_id", UINT64_MAX, &utility->call_id, error)) &&
        (mp_is_nil (&why) || mp_get_cstr (&why, "UtilityOutput.failure_message", &message, error));
    utility->failure_message = message;
    return ok;
}

//  Reads what all of the message must be
static bool s_read_outputs (mp_reader_t *reader, s_owner_t *owner, mp_error_t *error)
{
    msgpack_object object;
    engine_core_outputs_t *self = &owner->outputs;
    uint32_t fields;
    bool ok = mp_read_array (reader, "EngineCoreOutputs", 0, &fields, error);
    for (uint32_t i = 0; ok && i < fields; i++) {
        if (i == 1) {
            ok = s_read_output_list (reader, owner, error);
            continue;
        }
        mp_reader_t start = *reader;
        ok = mp_skip (reader) && mp_read (&start, &object);
        if (ok && i == 0)
            ok = mp_get_uint32 (&object, "EngineCoreOutputs.engine_index", &self->engine_index,
                                error);
        else if (ok && i == 3)
            ok = mp_get_double (&object, "EngineCoreOutputs.timestamp", &self->timestamp, error);
        else if (ok && i == 4 && !mp_is_nil (&object))
            ok = s_read_utility_output (&start, &object, self, error);
    }
    return ok && reader->at == reader->end;
}

static void s_destroy_utility_output (const engine_core_utility_output_t *self)
{
    if (self)
        free ((char *) self->failure_message);
    free ((engine_core_utility_output_t *) self);
}

//  Empties it for a message of so many bytes
static bool s_make_room (s_owner_t *owner, size_t size, mp_error_t *error)
{
    s_destroy_utility_output (owner->outputs.utility_output);
    owner->outputs = (engine_core_outputs_t){.engine_index = 0};
    if (size > owner->room || !owner->texts) {
        free (owner->texts);
        free (owner->tokens);
        owner->texts = malloc (size + 1);
        owner->tokens = malloc ((size + 1) * sizeof *owner->tokens);
        owner->room = size;
    }
    owner->text = owner->texts;
    owner->token = owner->tokens;
    return (owner->texts && owner->tokens) ||
           mp_wrong (error, "EngineCoreOutputs", "out of memory");
}

bool engine_core_outputs_decode_again (engine_core_outputs_t **self_p, zframe_t *frame,
                                       mp_error_t *error)
{
    size_t size = zframe_size (frame);
    mp_reader_t reader = mp_reader (zframe_data (frame), size);
    s_owner_t *owner = *self_p ? (s_owner_t *) *self_p : zmalloc (sizeof *owner);
    *self_p = &owner->outputs;
    if (s_make_room (owner, size, error) && s_read_outputs (&reader, owner, error))
        return true;
    engine_core_outputs_destroy (self_p);
    //  When the whole of it is no good, that is what is wrong, and not some field
    mp_check (zframe_data (frame), size, "EngineCoreOutputs", error);
    return false;
}

engine_core_outputs_t *engine_core_outputs_decode (zframe_t *frame, mp_error_t *error)
{
    engine_core_outputs_t *self = NULL;
    engine_core_outputs_decode_again (&self, frame, error);
    return self;
}

void engine_core_outputs_destroy (engine_core_outputs_t **self_p)
{
    engine_core_outputs_t *self = *self_p;
    if (!self)
        return;
    s_owner_t *owner = (s_owner_t *) self;
    s_destroy_utility_output (self->utility_output);
    free (owner->texts);
    free (owner->tokens);
    free (owner->list);
    free (owner);
    *self_p = NULL;
}
