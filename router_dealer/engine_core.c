//  SPDX-License-Identifier: MIT

#include "engine_core.h"

static bool s_is_array (const msgpack_object *object)
{
    return object && object->type == MSGPACK_OBJECT_ARRAY;
}

static zmsg_t *s_to_engine (int engine, byte type, msgpack_sbuffer *out)
{
    byte identity[2] = {(byte) engine, (byte) (engine >> 8)};
    zframe_t *payload = mp_frame (out);
    zmsg_t *message = zmsg_new ();
    zmsg_addmem (message, identity, sizeof identity);
    zmsg_addmem (message, &type, 1);
    zmsg_append (message, &payload);
    return message;
}

zmsg_t *engine_core_add (int engine, int request, int max_tokens)
{
    char id[16];
    snprintf (id, sizeof id, "r%d", request);
    msgpack_sbuffer out = {0};
    //  EngineCoreRequest: request_id, prompt_token_ids, mm_features, sampling_params (a map of what
    //  is not the default), pooling_params, arrival_time
    mp_put (&out, "[s[iiiiin{sind", 22, id, 5, 1, 15043, 3186, 29892, 590, 1, "max_tokens",
            max_tokens, (double) zclock_time () / 1000);
    //  lora_request, cache_salt, data_parallel_rank, prompt_embeds, prompt_is_token_ids,
    //  client_index, current_wave, priority, trace_headers, resumable, external_req_id,
    //  reasoning_ended, reasoning_parser_kwargs, abort_immediately, session_id, kv_hints
    mp_put (&out, "nnnnniiinfnnnfnn", 0, 0, 0);
    return s_to_engine (engine, ENGINE_CORE_ADD, &out);
}

zmsg_t *engine_core_abort (int engine, int request)
{
    char id[16];
    msgpack_sbuffer out = {0};
    snprintf (id, sizeof id, "r%d", request);
    mp_put (&out, request < 0 ? "[" : "[s", request >= 0, id);
    return s_to_engine (engine, ENGINE_CORE_ABORT, &out);
}

engine_core_output_t engine_core_output (const msgpack_object *output)
{
    static const char *const reasons[] = {"stop", "length", "abort", "error", "repetition"};
    const msgpack_object *id = mp_at (output, 0), *tokens = mp_at (output, 1);
    const msgpack_object *reason = mp_at (output, 5);
    bool running = !reason || reason->type == MSGPACK_OBJECT_NIL;
    uint64_t number = mp_uint (reason, 5);
    bool good = s_is_array (tokens) && (running || number < 5);
    for (uint32_t i = 0; i < mp_count (tokens); i++)
        good = good && mp_uint (mp_at (tokens, i), UINT64_MAX) <= UINT32_MAX;

    char *text = mp_text (id), again[32];
    int request = text && *text ? (int) strtol (text + 1, NULL, 10) : -1;
    snprintf (again, sizeof again, "r%d", request);  //  To compare: r7 is ours, r07 and q7 are not
    zstr_free (&text);
    return (engine_core_output_t){good && mp_is (id, again) ? request : -1, tokens,
                                  good && !running ? reasons[number] : NULL};
}

const msgpack_object *engine_core_outputs (msgpack_unpacked *doc, zmsg_t *message, int requests,
                                           int *engine)
{
    bool one = zmsg_size (message) == 1;
    const msgpack_object *root = mp_open (doc, one ? zmsg_first (message) : NULL);
    const msgpack_object *outputs = mp_at (root, 1);
    uint64_t index = mp_uint (mp_at (root, 0), UINT64_MAX);
    bool good = index <= UINT16_MAX && s_is_array (outputs);
    for (uint32_t i = 0; good && i < mp_count (outputs); i++) {
        int request = engine_core_output (mp_at (outputs, i)).request;
        good = request >= 0 && request < requests;
    }
    *engine = (int) index;
    return good ? outputs : NULL;
}

//  NULL if it is malformed
static engine_core_request_t *s_request_new (const msgpack_object *payload)
{
    //  max_tokens is 16 if it is not there; nil means no limit
    const msgpack_object *max = mp_get (mp_at (payload, 3), "max_tokens");
    uint64_t limit = max ? mp_uint (max, max->type == MSGPACK_OBJECT_NIL ? UINT32_MAX : 0) : 16;
    bool good = mp_at (payload, 8) && limit > 0 && limit <= UINT32_MAX;
    char *id = good ? mp_text (mp_at (payload, 0)) : NULL;
    engine_core_request_t *self = id ? zmalloc (sizeof *self) : NULL;
    if (self) {
        self->id = id;
        self->name = mp_printable (strdup (id));
        self->max_tokens = (uint32_t) limit;
        self->prompt_tokens = mp_count (mp_at (payload, 1));
    }
    return self;
}

bool engine_core_take (zmsg_t *message, zlistx_t *requests)
{
    msgpack_unpacked doc;
    zframe_t *type = zmsg_first (message);
    const msgpack_object *payload = mp_open (&doc, zmsg_next (message));
    bool good = zmsg_size (message) == 2 && zframe_size (type) == 1 && s_is_array (payload);
    bool add = good && *zframe_data (type) == ENGINE_CORE_ADD;
    bool abort = good && *zframe_data (type) == ENGINE_CORE_ABORT;
    engine_core_request_t *r = add ? s_request_new (payload) : NULL;
    if (r)
        zlistx_add_end (requests, r);
    for (uint32_t i = 0; abort && i < mp_count (payload); i++)
        for (r = zlistx_first (requests); r; r = zlistx_next (requests))
            r->aborted = r->aborted || mp_is (mp_at (payload, i), r->id);
    msgpack_unpacked_destroy (&doc);
    return r || abort;
}

void engine_core_request_destroy (engine_core_request_t **self_p)
{
    zstr_free (&(*self_p)->id);
    zstr_free (&(*self_p)->name);
    freen (*self_p);
}

zframe_t *engine_core_step (int engine, zlistx_t *requests)
{
    msgpack_sbuffer out = {0};
    mp_put (&out, "[i[", 9, engine, (int) zlistx_size (requests));  //  engine_index, outputs
    for (engine_core_request_t *r = zlistx_first (requests); r; r = zlistx_next (requests)) {
        int token = (int) ((r->tokens += !r->aborted) % 32000);  //  1, 2, 3, ...
        //  request_id, new_token_ids, new_logprobs, new_prompt_logprobs_tensors, pooling_output
        mp_put (&out, r->aborted ? "[s[nnn" : "[s[innn", 19, r->id, !r->aborted, token);
        //  finish_reason; stop_reason, events, kv_transfer_params, ec_transfer_params,
        //  trace_headers, prefill_stats, routed_experts, num_nans_in_logits, mm_cache_miss_hashes,
        //  new_sampling_mask, spec_decode_metrics, prompt_token_id_logprobs, error
        mp_put (&out, r->aborted || r->tokens == r->max_tokens ? "i" : "n", r->aborted ? 2 : 1);
        mp_put (&out, "nnnnnnninnnnn", 0);
    }
    //  scheduler_stats, timestamp, utility_output, finished_requests, wave_complete, start_wave,
    //  weight_version
    mp_put (&out, "ndnnnnn", (double) zclock_usecs () / 1e6);
    return mp_frame (&out);
}
