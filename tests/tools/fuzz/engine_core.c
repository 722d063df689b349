//  SPDX-License-Identifier: MIT
//  engine_core.c - fuzzes tools/engine/engine_core and handshake: the payloads between a vLLM
//  front-end and its engines
//
//  The first byte says which: a request, an abort, a utility call, outputs, a ready response, HELLO
//  or READY, INIT.

#include "mutate.h"
#include "engine/handshake.h"
#include "engine/engine_core.h"

size_t LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max, unsigned seed)
{
    if (size < 2 || max < 2 || seed % 16 == 0)
        return LLVMFuzzerMutate (data, size, max);
    return 1 + mutate_msgpack (data + 1, size - 1, max - 1, seed);
}

static bool s_same_tokens (const uint32_t *a, size_t a_count, const uint32_t *b, size_t b_count)
{
    return a_count == b_count && (a_count == 0 || memcmp (a, b, a_count * sizeof *a) == 0);
}

static bool s_same_text (const char *a, const char *b)
{
    return a && b ? streq (a, b) : a == b;
}

//  What was read, written and read again is the same: for the fields that have both

static bool s_request (zframe_t *frame, mp_error_t *error)
{
    engine_core_request_t *request = engine_core_request_decode (frame, error);
    uint32_t client_index;
    char *id = engine_core_request_id (frame, &client_index);
    if (!request) {
        zstr_free (&id);
        return false;
    }
    //  Decoding reads in place, and takes values that are a level too deep for a tree, which the id
    //  alone is looked up in
    if (mp_check (zframe_data (frame), zframe_size (frame), "", NULL) == 0)
        DEMAND (id && streq (id, request->request_id) && client_index == request->client_index);
    zstr_free (&id);
    zframe_t *copy = engine_core_request_encode (request);
    engine_core_request_t *again = engine_core_request_decode (copy, error);
    DEMAND (again && streq (again->request_id, request->request_id));
    DEMAND (s_same_tokens (again->prompt_token_ids, again->prompt_token_count,
                           request->prompt_token_ids, request->prompt_token_count));
    DEMAND (again->client_index == request->client_index);
    DEMAND (request->pooling || again->max_tokens == request->max_tokens);
    engine_core_request_destroy (&again);
    engine_core_request_destroy (&again);
    zframe_destroy (&copy);
    engine_core_request_destroy (&request);
    return true;
}

static bool s_abort (zframe_t *frame, mp_error_t *error)
{
    engine_core_abort_t *abort_ids = engine_core_abort_decode (frame, error);
    if (!abort_ids)
        return false;
    zframe_t *copy = engine_core_abort_encode (abort_ids);
    engine_core_abort_t *again = engine_core_abort_decode (copy, error);
    DEMAND (again && again->count == abort_ids->count);
    for (size_t i = 0; i < again->count; i++)
        DEMAND (streq (again->request_ids[i], abort_ids->request_ids[i]));
    engine_core_abort_destroy (&again);
    zframe_destroy (&copy);
    engine_core_abort_destroy (&abort_ids);
    return true;
}

static bool s_utility (zframe_t *frame, mp_error_t *error)
{
    engine_core_utility_t *call = engine_core_utility_decode (frame, error);
    if (!call)
        return false;
    DEMAND (call->method && call->number >= -1);
    engine_core_utility_destroy (&call);
    return true;
}

static bool s_outputs (zframe_t *frame, mp_error_t *error)
{
    engine_core_outputs_t *outputs = engine_core_outputs_decode (frame, error);
    if (!outputs)
        return false;
    zframe_t *copy = engine_core_outputs_encode (outputs);
    engine_core_outputs_t *again = engine_core_outputs_decode (copy, error);
    DEMAND (again && again->output_count == outputs->output_count);
    DEMAND (again->engine_index == outputs->engine_index);
    for (size_t i = 0; i < again->output_count; i++) {
        const engine_core_output_t *a = &again->outputs[i], *b = &outputs->outputs[i];
        DEMAND (streq (a->request_id, b->request_id) && a->finish_reason == b->finish_reason);
        DEMAND (*engine_core_finish_name (a->finish_reason));
        DEMAND (s_same_tokens (a->new_token_ids, a->new_token_count, b->new_token_ids,
                               b->new_token_count));
    }
    DEMAND (!again->utility_output == !outputs->utility_output);
    if (again->utility_output)
        DEMAND (again->utility_output->call_id == outputs->utility_output->call_id &&
                s_same_text (again->utility_output->failure_message,
                             outputs->utility_output->failure_message));
    //  What was there before leaves nothing behind
    size_t count = outputs->output_count;
    DEMAND (engine_core_outputs_decode_again (&again, frame, error));
    DEMAND (again->output_count == count);
    engine_core_outputs_destroy (&again);
    zframe_destroy (&copy);
    engine_core_outputs_destroy (&outputs);
    return true;
}

static bool s_ready (zframe_t *frame, mp_error_t *error)
{
    engine_core_ready_t ready, again;
    if (engine_core_ready_decode (frame, &ready, error) == -1)
        return false;
    zframe_t *copy = engine_core_ready_encode (&ready);
    DEMAND (engine_core_ready_decode (copy, &again, error) == 0);
    DEMAND (memcmp (&again, &ready, sizeof ready) == 0);
    zframe_destroy (&copy);
    return true;
}

static bool s_status (zframe_t *frame, mp_error_t *error)
{
    handshake_status_t status, again;
    if (handshake_status_decode (frame, &status, error) == -1)
        return false;
    zframe_t *copy = handshake_status_encode (&status);
    DEMAND (handshake_status_decode (copy, &again, error) == 0);
    DEMAND (streq (again.status, status.status) && again.local == status.local &&
            again.headless == status.headless);
    zframe_destroy (&copy);
    return true;
}

static bool s_init (zframe_t *frame, mp_error_t *error)
{
    handshake_init_t *init = handshake_init_decode (frame, error);
    if (!init)
        return false;
    DEMAND (init->count >= 1 && init->count <= HANDSHAKE_CLIENTS_MAX);
    DEMAND (!init->coordinator_input == !init->coordinator_output);
    zframe_t *copy = handshake_init_encode (init);
    handshake_init_t *again = handshake_init_decode (copy, error);
    DEMAND (again && again->count == init->count);
    for (size_t i = 0; i < init->count; i++)
        DEMAND (streq (again->inputs[i], init->inputs[i]) &&
                streq (again->outputs[i], init->outputs[i]));
    DEMAND (s_same_text (again->coordinator_input, init->coordinator_input));
    handshake_init_destroy (&again);
    zframe_destroy (&copy);
    handshake_init_destroy (&init);
    return true;
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    static bool (*const decode[]) (zframe_t *, mp_error_t *) = {
        s_request, s_abort, s_utility, s_outputs, s_ready, s_status, s_init};
    if (size == 0)
        return 0;
    zframe_t *frame = zframe_new (data + 1, size - 1);
    mp_error_t error = {.text = ""};
    if (!decode[data[0] % (sizeof decode / sizeof decode[0])](frame, &error))
        fuzz_is_told (&error);
    zframe_destroy (&frame);
    return 0;
}
