//  SPDX-License-Identifier: MIT
//  toy_engine.h - the part of an EngineCore between its sockets: messages in, payloads out
//
//  Says what happens, in lines of common/show.h. No sockets in here.
//  vLLM:  vllm/v1/engine/core.py EngineCoreProc._handle_client_request
//         vllm/v1/engine/core.py EngineCoreProc._process_engine_step

#pragma once

#include "engine_core.h"

typedef struct toy_engine toy_engine_t;

toy_engine_t *toy_engine_new (uint16_t index);
void toy_engine_destroy (toy_engine_t **self_p);

//  The ready response that registers the engine. The caller's, as are all frames below.
zframe_t *toy_engine_registration (toy_engine_t *self);

//  Does what a message from the front-end asks: [type byte][payload], and possibly further frames
//  (tensors), which a toy does not look at. The message stays the caller's. Returns the payload of
//  an answer, or NULL when there is nothing to answer: tokens come with the next steps. A message
//  that makes no sense is told on stderr and counted.
zframe_t *toy_engine_handle (toy_engine_t *self, zmsg_t *message);

//  One step: the outputs of all running requests, or NULL when there are none
zframe_t *toy_engine_step (toy_engine_t *self);

//  Ends all requests: their last outputs, or NULL when there were none
zframe_t *toy_engine_abort_all (toy_engine_t *self);

//  True while requests are running
bool toy_engine_busy (toy_engine_t *self);

//  Requests that have come to their end, aborted ones included
int toy_engine_ended (toy_engine_t *self);

//  The summary, one line
void toy_engine_say_summary (toy_engine_t *self);
