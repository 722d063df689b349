//  SPDX-License-Identifier: MIT
//  toy_engine.h - the part of an EngineCore between its sockets: messages in, payloads out
//
//  Says what happens, in lines of tools/lib/log.h. No sockets in here.
//  vLLM:  vllm/v1/engine/core.py EngineCoreProc._handle_client_request
//         vllm/v1/engine/core.py EngineCoreProc._process_engine_step
//         rust/src/mock-engine/src/engine.rs Engine, vLLM's own engine without a model

#pragma once

#include "engine/toy_scheduler.h"

typedef struct {
    uint16_t index;       //  Which engine this is
    uint32_t clients;     //  Front-ends, by client_index; 1 or more
    bool plain;           //  Nothing for metrics in the outputs: they are short to read then
    bool quiet;           //  Say nothing of single requests, only of what is wrong
    uint32_t vocab_size;  //  See toy_scheduler_config_t; 0: 32000
    uint32_t chunk_size;  //  0: 1
    uint64_t seed;
    engine_core_ready_t ready;  //  What it says of itself; max_model_len 0: a small engine's values
    int release;                //  Of the front-end, ENGINE_CORE_RELEASE_...; 0: the newest
} toy_engine_config_t;

//  Sends a payload to a front-end. The payload is the callee's.
typedef void toy_engine_send_t (void *owner, uint32_t client_index, zframe_t *payload);

typedef struct toy_engine toy_engine_t;

//  `send` is called from within the functions below
toy_engine_t *toy_engine_new (const toy_engine_config_t *config, toy_engine_send_t *send,
                              void *owner);
void toy_engine_destroy (toy_engine_t **self_p);

//  The ready response that registers the engine, the caller's
zframe_t *toy_engine_registration (toy_engine_t *self);

//  Does what a message from a front-end asks: [type byte][payload], and possibly further frames
//  (tensors), which a toy does not look at. The message stays the caller's. Answers go out at once,
//  tokens with the next steps. A message that makes no sense is told on stderr and counted.
void toy_engine_handle (toy_engine_t *self, zmsg_t *message);

//  One step: sends the outputs of all running requests, one message for each front-end that has any
void toy_engine_step (toy_engine_t *self);

//  Ends all requests and sends their last outputs
void toy_engine_abort_all (toy_engine_t *self);

//  The same for the requests of one front-end
void toy_engine_abort_client (toy_engine_t *self, uint32_t client_index);

//  True while there is something to compute: requests are running, and the engine is not paused
bool toy_engine_busy (toy_engine_t *self);

//  Requests that are running, or wait for a paused engine to go on
size_t toy_engine_running (toy_engine_t *self);

//  Requests that have come to their end, and messages that made no sense
typedef struct {
    int finished, aborted, bad;
} toy_engine_counts_t;

//  Adds this engine's to *sum
void toy_engine_add_counts (const toy_engine_t *self, toy_engine_counts_t *sum);

//  For vLLM's DP coordinator: EngineCoreOutputs that tell how many requests are running and nothing
//  else. NULL when that has not changed since the last call. The caller's.
zframe_t *toy_engine_load (toy_engine_t *self);

//  The summary, one line
void toy_engine_say_summary (const toy_engine_counts_t *counts);
