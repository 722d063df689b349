//  SPDX-License-Identifier: MIT

#include "engine/engine_core.h"
#include "lib/mp_put.h"

//  The code of an extension that is plain bytes: vllm/v1/serial_utils.py CUSTOM_TYPE_RAW_VIEW
#define EXT_RAW_VIEW 3

//  The fields without a default: an array must have as many
#define OUTPUT_FIELDS_MIN 2

//  All that an output has
#define OUTPUT_FIELDS 19

const char *engine_core_finish_name (engine_core_finish_t reason)
{
    static const char *const names[] = {"stop", "length", "abort", "error", "repetition"};
    return reason == ENGINE_CORE_RUNNING ? "running" : names[reason];
}

#define S_PUT_COUNTER(at, key, value) (mp_put_text (at, key), mp_put_uint64 (at, value))
#define S_PUT_DOUBLE(at, key, value) (mp_put_text (at, key), mp_put_double (at, value))
#define S_PUT_CSTR(at, key, value) (mp_put_text (at, key), mp_put_cstr (at, value))
#define S_PUT_NIL(at, key) (mp_put_text (at, key), mp_put_nil (at))
#define S_PUT_EMPTY_MAP(at, key) (mp_put_text (at, key), mp_put_map (at, 0))

//  EngineCoreEvent: QUEUED (1) or SCHEDULED (2)
static void s_put_event (char **at, uint32_t type, double timestamp)
{
    mp_put_map (at, 2);
    S_PUT_COUNTER (at, "type", type);
    S_PUT_DOUBLE (at, "timestamp", timestamp);
}

//  Of a prompt that was computed in full, nothing of it cached
static void s_put_prefill_stats (char **at, uint32_t tokens)
{
    mp_put_map (at, 6);
    S_PUT_COUNTER (at, "num_prompt_tokens", tokens);
    S_PUT_COUNTER (at, "num_computed_tokens", tokens);
    S_PUT_COUNTER (at, "num_cached_tokens", 0);
    S_PUT_COUNTER (at, "num_local_cached_tokens", 0);
    S_PUT_COUNTER (at, "num_external_cached_tokens", 0);
    S_PUT_COUNTER (at, "num_cache_creation_tokens", 0);
}

//  A numpy array or a tensor as vLLM's MsgpackEncoder writes it: its type, its shape, and its bytes
//  as an extension. Numbers have 4 bytes, little-endian. Columns 0: it has but one dimension.
static void s_put_numbers (char **at, const char *type, size_t rows, size_t columns,
                           const void *numbers)
{
    size_t count = rows * (columns ? columns : 1);
    mp_put_array (at, 3);
    mp_put_cstr (at, type);
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

//  `fields`: 4, and as many more as are nil
static void s_put_logprobs (char **at, const engine_core_logprobs_t *logprobs, const char *int_type,
                            const char *float_type, uint32_t fields)
{
    if (!logprobs) {
        mp_put_nil (at);
        return;
    }
    mp_put_array (at, fields);
    s_put_numbers (at, int_type, logprobs->rows, logprobs->columns, logprobs->token_ids);
    s_put_numbers (at, float_type, logprobs->rows, logprobs->columns, logprobs->logprobs);
    s_put_numbers (at, int_type, logprobs->rows, 0, logprobs->ranks);
    //  cu_num_generated_tokens is for several requests in one; v0.29 has another one like it
    mp_put_nils (at, fields - 3);
}

//  What an output takes up without id, tokens, error and logprobs; when it is the first of its
//  request; what logprobs do without their numbers; and what a message does without its outputs, or
//  an error or a utility output without its texts. Scheduler stats are 500 bytes, mostly names.
#define OUTPUT_BOUND 64
#define FIRST_OUTPUT_BOUND 320
#define LOGPROBS_BOUND 128
#define OUTPUTS_BOUND 900
#define TEXTS_BOUND 64

static size_t s_logprobs_bound (const engine_core_logprobs_t *logprobs)
{
    return logprobs ? LOGPROBS_BOUND + 4 * logprobs->rows * (2 * logprobs->columns + 1) : 0;
}

//  The id of one that has finished comes a second time
static size_t s_output_bound (const engine_core_output_t *output)
{
    const engine_core_error_t *error = output->error;
    return (output->scheduled > 0 ? FIRST_OUTPUT_BOUND : OUTPUT_BOUND) +
           2 * mp_cstr_size (output->request_id) + 5 * output->new_token_count +
           (error ? TEXTS_BOUND + mp_cstr_size (error->code) + mp_cstr_size (error->message) : 0) +
           s_logprobs_bound (output->logprobs) + s_logprobs_bound (output->prompt_logprobs);
}

static size_t s_utility_bound (const engine_core_utility_output_t *output)
{
    return output ? TEXTS_BOUND + mp_cstr_size (output->failure_message) + output->result.size : 0;
}

//  What is behind the tokens of an output that has nothing else to tell, as nearly all: 11 nils,
//  no num_nans_in_logits, and nils. Older releases have fewer of the last ones.
static const byte only_tokens[] = {0xc0, 0xc0, 0xc0, 0xc0, 0xc0, 0xc0, 0xc0, 0xc0, 0xc0,
                                   0xc0, 0xc0, 0x00, 0xc0, 0xc0, 0xc0, 0xc0, 0xc0};

//  How many fields EngineCoreOutput has in a release
static uint32_t s_output_fields (int release)
{
    static const struct {
        int release;
        uint32_t fields;
    } table[] = {{33, 19}, {31, 18}, {29, 17}, {28, 16}, {26, 14}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (release >= table[i].release)
            return table[i].fields;
    return 13;
}

static void s_put_error (char **at, const engine_core_error_t *error)
{
    if (!error) {
        mp_put_nil (at);
        return;
    }
    mp_put_map (at, 3);
    S_PUT_CSTR (at, "code", error->code);
    S_PUT_CSTR (at, "message", error->message);
    mp_put_text (at, "retryable");
    mp_put_byte (at, error->retryable ? 0xc3 : 0xc2);
}

static void s_put_output (char **at, const engine_core_output_t *output, int release)
{
    bool first = output->scheduled > 0;
    uint32_t fields = s_output_fields (release);
    mp_put_array (at, fields);
    mp_put_cstr (at, output->request_id);
    mp_put_uint32s (at, output->new_token_ids, output->new_token_count);
    if (fields == OUTPUT_FIELDS && output->finish_reason == ENGINE_CORE_RUNNING && !first &&
        !output->logprobs && !output->prompt_logprobs) {
        mp_put_bytes (at, only_tokens, sizeof only_tokens);
        return;
    }
    s_put_logprobs (at, output->logprobs, "<i4", "<f4", 4);  //  numpy's names, then torch's
    s_put_logprobs (at, output->prompt_logprobs, "int32", "float32", release >= 29 ? 5 : 4);
    mp_put_nil (at);  //  pooling_output
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
    mp_put_nils (at, fields > 13 ? 3 : 2);  //  kv_transfer_params, ec_transfer_params (v0.26),
                                            //  trace_headers
    if (first)
        s_put_prefill_stats (at, output->prefilled);
    else
        mp_put_nil (at);
    mp_put_nil (at);     //  routed_experts
    mp_put_int (at, 0);  //  num_nans_in_logits
    if (fields < OUTPUT_FIELDS) {
        mp_put_nils (at, fields > 14 ? fields - 14 : 0);
        return;
    }
    mp_put_nils (at, 4);  //  mm_cache_miss_hashes, new_sampling_mask, spec_decode_metrics,
                          //  prompt_token_id_logprobs
    s_put_error (at, output->error);
}

static void s_put_scheduler_stats (char **at, const engine_core_scheduler_stats_t *stats)
{
    mp_put_map (at, 18);
    S_PUT_COUNTER (at, "num_running_reqs", stats->num_running_reqs);
    S_PUT_COUNTER (at, "num_waiting_reqs", 0);
    S_PUT_COUNTER (at, "num_skipped_waiting_reqs", 0);
    S_PUT_EMPTY_MAP (at, "num_kv_fetch_reqs_by_stage");
    S_PUT_COUNTER (at, "step_counter", 0);
    S_PUT_COUNTER (at, "current_wave", 0);
    S_PUT_DOUBLE (at, "kv_cache_usage", stats->kv_cache_usage);
    S_PUT_NIL (at, "iteration_details");
    mp_put_text (at, "prefix_cache_stats");
    mp_put_map (at, 8);
    mp_put_text (at, "reset");
    mp_put_false (at);
    S_PUT_COUNTER (at, "requests", stats->prefix_cache_requests);
    S_PUT_COUNTER (at, "queries", stats->prefix_cache_queries);
    S_PUT_COUNTER (at, "hits", 0);
    S_PUT_COUNTER (at, "preempted_requests", 0);
    S_PUT_COUNTER (at, "preempted_queries", 0);
    S_PUT_COUNTER (at, "preempted_hits", 0);
    S_PUT_EMPTY_MAP (at, "hits_by_source");
    S_PUT_NIL (at, "connector_prefix_cache_stats");
    mp_put_text (at, "kv_cache_eviction_events");
    mp_put_array (at, 0);
    S_PUT_NIL (at, "spec_decoding_stats");
    S_PUT_NIL (at, "kv_connector_stats");
    S_PUT_NIL (at, "ec_connector_stats");
    S_PUT_EMPTY_MAP (at, "waiting_lora_adapters");
    S_PUT_EMPTY_MAP (at, "running_lora_adapters");
    S_PUT_NIL (at, "cudagraph_stats");
    S_PUT_NIL (at, "perf_stats");
}

//  UtilityResult is an array of 2: the Python type of the value, nil here, and the value
static void s_put_utility_output (char **at, const engine_core_utility_output_t *output)
{
    mp_put_array (at, 3);
    mp_put_uint64 (at, output->call_id);
    mp_put_cstr (at, output->failure_message);
    if (!output->failure_message && output->result.data) {
        mp_put_array (at, 2);
        mp_put_nil (at);
        mp_put_bytes (at, output->result.data, output->result.size);
    } else {
        mp_put_nil (at);
    }
}

zframe_t *engine_core_outputs_encode (const engine_core_outputs_t *outputs)
{
    size_t finished = 0, bound = OUTPUTS_BOUND + s_utility_bound (outputs->utility_output) +
                                 mp_cstr_size (outputs->weight_version);
    for (size_t i = 0; i < outputs->output_count; i++) {
        finished += outputs->outputs[i].finish_reason != ENGINE_CORE_RUNNING;
        bound += s_output_bound (&outputs->outputs[i]);
    }

    mp_writer_t writer;
    mp_begin (&writer);
    char *at = mp_reserve (&writer, bound);
    int release = outputs->release ? outputs->release : ENGINE_CORE_RELEASE_MAX;
    mp_put_array (&at, release >= 32 ? 9 : 8);
    mp_put_uint32 (&at, outputs->engine_index);
    mp_put_array (&at, outputs->output_count);
    for (size_t i = 0; i < outputs->output_count; i++)
        s_put_output (&at, &outputs->outputs[i], release);
    if (outputs->scheduler_stats)
        s_put_scheduler_stats (&at, outputs->scheduler_stats);
    else
        mp_put_nil (&at);
    mp_put_double (&at, outputs->timestamp);
    if (outputs->utility_output)
        s_put_utility_output (&at, outputs->utility_output);
    else
        mp_put_nil (&at);
    if (finished > 0)
        mp_put_array (&at, finished);
    else
        mp_put_nil (&at);
    for (size_t i = 0; finished > 0 && i < outputs->output_count; i++)
        if (outputs->outputs[i].finish_reason != ENGINE_CORE_RUNNING)
            mp_put_cstr (&at, outputs->outputs[i].request_id);
    mp_put_nils (&at, 2);  //  wave_complete, start_wave
    if (release >= 32)
        mp_put_cstr (&at, outputs->weight_version);
    mp_commit (&writer, at);
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
        if (i != 5 ? !mp_skip (reader) : !mp_read (reader, &object))
            return false;
        if (i != 5 || mp_is_nil (&object))
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
        ok = mp_skip (reader) && (i == 2 || i > 4 || mp_read (&start, &object));
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
    //  If the whole is not valid msgpack, report that and not a field
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
