//  SPDX-License-Identifier: MIT

#include "engine/engine_core.h"
#include "lib/mp_put.h"

//  SamplingParams.max_tokens when the map does not have it: omit_defaults leaves it out
#define DEFAULT_MAX_TOKENS 16

//  The fields without a default: an array must have as many
#define REQUEST_FIELDS_MIN 9

//  All that it has
#define REQUEST_FIELDS 22

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

//  How many fields EngineCoreRequest has in a release. The engine in Rust takes no other number.
static uint32_t s_request_fields (int release)
{
    return release == 0 || release >= 31 ? REQUEST_FIELDS : release >= 28 ? 21 : 20;
}

zframe_t *engine_core_request_encode (const engine_core_request_t *request)
{
    uint32_t fields = s_request_fields (request->release);
    mp_writer_t writer;
    mp_begin (&writer);
    char *at = mp_reserve (&writer, REQUEST_BOUND + mp_cstr_size (request->request_id) +
                                        5 * request->prompt_token_count);
    mp_put_array (&at, fields);
    mp_put_cstr (&at, request->request_id);
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
    mp_put_nils (&at, 5);  //  lora_request, cache_salt, data_parallel_rank, prompt_embeds,
                           //  prompt_is_token_ids
    mp_put_uint32 (&at, request->client_index);
    mp_put_int (&at, 0);             //  current_wave
    mp_put_int (&at, 0);             //  priority
    mp_put_nil (&at);                //  trace_headers
    mp_put_false (&at);              //  resumable
    mp_put_nils (&at, 3);            //  external_req_id, reasoning_ended, reasoning_parser_kwargs
    mp_put_false (&at);              //  abort_immediately
    mp_put_nils (&at, fields - 20);  //  session_id, kv_hints
    mp_commit (&writer, at);
    return mp_end (&writer);
}

static const char params[] = "EngineCoreRequest.sampling_params";

//  How many are wanted, and the token's own: see engine_core_request_t.logprobs
static bool s_read_logprobs (const mp_entry_t *entry, uint32_t *logprobs, mp_error_t *error)
{
    if (mp_is_nil (entry->value))
        return true;
    *logprobs = ENGINE_CORE_NO_LIMIT;
    if (entry->value->type == MSGPACK_OBJECT_NEGATIVE_INTEGER)  //  -1
        return true;
    if (!mp_entry_uint32 (entry, params, logprobs, error))
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
    mp_entry_t entries[] = {
        MP_ENTRY ("seed"),           MP_ENTRY ("max_tokens"),        MP_ENTRY ("min_tokens"),
        MP_ENTRY ("stop_token_ids"), MP_ENTRY ("_eos_token_id"),     MP_ENTRY ("ignore_eos"),
        MP_ENTRY ("logprobs"),       MP_ENTRY ("logprob_token_ids"), MP_ENTRY ("prompt_logprobs")};
    const mp_entry_t *seed = &entries[0], *max_tokens = &entries[1], *min_tokens = &entries[2];
    const mp_entry_t *stop = &entries[3], *eos = &entries[4], *ignore_eos = &entries[5];
    self->eos_token_id = -1;
    self->pooling = mp_is_nil (object);
    if (self->pooling)
        return true;
    if (!mp_read_map (bytes.data, bytes.size, params, entries, sizeof entries / sizeof *entries,
                      error))
        return false;
    if (seed->value && (seed->object.type == MSGPACK_OBJECT_POSITIVE_INTEGER ||
                        seed->object.type == MSGPACK_OBJECT_NEGATIVE_INTEGER))
        self->seed = seed->object.via.u64;
    self->max_tokens = max_tokens->value ? ENGINE_CORE_NO_LIMIT : DEFAULT_MAX_TOKENS;
    uint32_t token = 0;
    if (!s_read_logprobs (&entries[6], &self->logprobs, error) ||
        !s_read_token_ids (&entries[7], "EngineCoreRequest.sampling_params.logprob_token_ids",
                           &self->logprob_token_ids, &self->logprob_token_count, error) ||
        !s_read_logprobs (&entries[8], &self->prompt_logprobs, error) ||
        (!mp_is_nil (max_tokens->value) &&
         !mp_entry_uint32 (max_tokens, params, &self->max_tokens, error)) ||
        (min_tokens->value && !mp_entry_uint32 (min_tokens, params, &self->min_tokens, error)) ||
        !s_read_token_ids (stop, "EngineCoreRequest.sampling_params.stop_token_ids",
                           &self->stop_token_ids, &self->stop_token_count, error) ||
        (!mp_is_nil (eos->value) && !mp_entry_uint32 (eos, params, &token, error)))
        return false;
    //  The token that ends the text, unless it is to be ignored
    bool ignore =
        ignore_eos->object.type == MSGPACK_OBJECT_BOOLEAN && ignore_eos->object.via.boolean;
    if (!mp_is_nil (eos->value) && !ignore)
        self->eos_token_id = token;
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
        char *request_id = NULL;
        bool ok =
            i == 1 ? s_read_prompt (reader, self, error) : mp_read_whole (reader, &object, &bytes);
        if (!ok)
            return false;
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
        //  If the whole is not valid msgpack, report that and not a field
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
    if (mp_decode_array (&doc, frame, "EngineCoreRequest", 1, &array, NULL) == 0) {
        if (!mp_get_uint32 (mp_item (array, 11), "client_index", client_index, NULL))
            *client_index = 0;
        if (!mp_get_cstr (&array->ptr[0], "request_id", &request_id, NULL))
            request_id = NULL;
        msgpack_unpacked_destroy (&doc);
    }
    return request_id;
}
