//  SPDX-License-Identifier: MIT
//  engine_core.h - the messages between vLLM's front-end and its engines, as of v0.33.0
//
//      ROUTER -> DEALER   [identity][type][payload]   ADD a request, or ABORT some
//      PULL   <- PUSH     [EngineCoreOutputs]         what requests got in one step
//                         [ENGINE_CORE_DEAD]          the engine has died
//
//  The identity is the engine's index: 2 bytes, little-endian. All messages and frames are the
//  caller's, those that are returned and those that are read.
//  vLLM:  vllm/v1/engine/__init__.py EngineCoreRequest, EngineCoreOutputs, EngineCoreOutput

#pragma once

#include "mp.h"

#define ENGINE_CORE_ADD 0x00
#define ENGINE_CORE_ABORT 0x01
#define ENGINE_CORE_DEAD "ENGINE_CORE_DEAD"  //  Raw bytes, not msgpack

//  -- For a front-end. Its requests are r0, r1, ... on the wire, and their numbers here.

//  Request -1 aborts nothing: engines ignore such a message, so it can serve as a probe
zmsg_t *engine_core_add (int engine, int request, int max_tokens);
zmsg_t *engine_core_abort (int engine, int request);

typedef struct {
    int request;                      //  -1: the output is malformed, or of another id
    const msgpack_object *token_ids;  //  The new ones, an array
    const char *finish_reason;        //  NULL: more will come
} engine_core_output_t;

//  The array of outputs in [EngineCoreOutputs], and the index of the engine that sent it. NULL if
//  it is another message, or not all outputs are for requests below `requests`. The outputs point
//  into `doc`; destroy it in any case.
const msgpack_object *engine_core_outputs (msgpack_unpacked *doc, zmsg_t *message, int requests,
                                           int *engine);
engine_core_output_t engine_core_output (const msgpack_object *output);

//  -- For an engine

//  What it keeps of an EngineCoreRequest, and how far it is with it
typedef struct {
    char *id, *name;  //  As it came, and as it can be printed
    uint32_t prompt_tokens, max_tokens, tokens;
    bool aborted;
} engine_core_request_t;
void engine_core_request_destroy (engine_core_request_t **self_p);

//  Takes [type][payload]: adds a request to the list, or marks those that are to be aborted. False
//  if the message is neither.
bool engine_core_take (zmsg_t *message, zlistx_t *requests);

//  Makes a token (1, 2, 3, ...) for each request that is not aborted. Returns [EngineCoreOutputs].
zframe_t *engine_core_step (int engine, zlistx_t *requests);
