//  SPDX-License-Identifier: MIT
//  toy_engine.c - fuzzes an engine: a front-end's messages and its own steps in any order
//
//  Each message is [type][payload] and further frames, as fuzz_message reads them, in a chunk with
//  a length of two bytes before it; a length of zero is a step.

#include "fuzz.h"
#include "lib/log.h"
#include "engine/toy_engine.h"

#define CLIENTS 2

//  What the engine has told its front-ends
typedef struct {
    size_t sent, tokens, ended;
    size_t idle;  //  Messages without outputs: that nothing runs any more
} s_told_t;

static void s_send (void *owner, uint32_t client_index, zframe_t *payload)
{
    s_told_t *told = owner;
    DEMAND (client_index < CLIENTS);
    mp_error_t error;
    engine_core_outputs_t *outputs = engine_core_outputs_decode (payload, &error);
    DEMAND (outputs && outputs->engine_index == 1);
    told->sent++;
    told->idle += outputs->output_count == 0 && !outputs->utility_output;
    for (size_t i = 0; i < outputs->output_count; i++) {
        told->tokens += outputs->outputs[i].new_token_count;
        told->ended += outputs->outputs[i].finish_reason != ENGINE_CORE_RUNNING;
        for (size_t k = 0; k < outputs->outputs[i].new_token_count; k++)
            DEMAND (outputs->outputs[i].new_token_ids[k] < 1000);
    }
    engine_core_outputs_destroy (&outputs);
    zframe_destroy (&payload);
}

static int s_aborted (const toy_engine_t *engine)
{
    toy_engine_counts_t counts = {.finished = 0};
    toy_engine_add_counts (engine, &counts);
    return counts.aborted;
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    log_level = LOG_QUIET;
    log_program = "toy_engine";
    s_told_t told = {.sent = 0};
    toy_engine_config_t config = {
        .index = 1, .clients = CLIENTS, .vocab_size = 1000, .chunk_size = 3, .quiet = true};
    toy_engine_t *engine = toy_engine_new (&config, s_send, &told);
    toy_engine_counts_t counts = {.finished = 0};
    size_t begun = 0, refused = 0;
    for (size_t at = 0; at + 2 <= size;) {
        size_t length = (size_t) data[at] << 8 | data[at + 1];
        at += 2;
        length = length < size - at ? length : size - at;
        size_t running = toy_engine_running (engine), ended = told.ended, sent = told.sent;
        int aborted = s_aborted (engine);
        told.idle = 0;
        if (length == 0) {
            if (toy_engine_busy (engine)) {
                toy_engine_step (engine);
                DEMAND (told.sent > sent + told.idle);  //  A step moves every request on
            }
        } else {
            zmsg_t *message = fuzz_message (data + at, length);
            toy_engine_handle (engine, message);
            zmsg_destroy (&message);
            if (toy_engine_running (engine) > running)
                begun += toy_engine_running (engine) - running;
            else if (toy_engine_running (engine) == running && s_aborted (engine) > aborted)
                begun++;  //  Aborted immediately
            else if (toy_engine_running (engine) == running)
                refused += told.ended - ended;  //  One that was not even begun has its end, too
        }
        DEMAND (told.idle == 0 || toy_engine_running (engine) == 0);
        at += length;
        zframe_t *load = toy_engine_load (engine);
        zframe_destroy (&load);
    }
    toy_engine_abort_all (engine);
    DEMAND (toy_engine_running (engine) == 0);
    toy_engine_add_counts (engine, &counts);
    //  Each that has begun has ended once
    DEMAND (told.ended == begun + refused);
    DEMAND ((size_t) counts.finished + (size_t) counts.aborted == begun);
    toy_engine_destroy (&engine);
    return 0;
}
