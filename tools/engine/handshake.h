//  SPDX-License-Identifier: MIT
//  handshake.h - how an engine and a vLLM front-end meet, v0.23 to v0.33
//
//  front-end ROUTER (bind)  <--  engine DEALER (connect, identity = engine index, 2 bytes)
//      engine -> front-end   [HELLO]   here I am
//      front-end -> engine   [INIT]    connect to these addresses
//      engine -> front-end   [READY]   I have, and can serve
//  All three are msgpack maps, with no empty frame in front. A front-end closes its ROUTER when the
//  last engine is ready: the handshake is for the start only.
//  vLLM:  vllm/v1/engine/core.py EngineCoreProc.startup_handshake
//         vllm/v1/engine/utils.py EngineHandshakeMetadata
//         vllm/v1/engine/utils.py EngineZmqAddresses
//         vllm/v1/engine/utils.py wait_for_engine_startup

#pragma once

#include "lib/mp.h"

//  Where an engine connects to: EngineZmqAddresses. One input (a ROUTER) and one output (a PULL)
//  for each front-end process, in the order of client_index.
#define HANDSHAKE_CLIENTS_MAX 256
typedef struct {
    const char **inputs, **outputs;
    size_t count;
    //  vLLM's DP coordinator, for several engines; NULL: none
    const char *coordinator_input;               //  An XPUB
    const char *coordinator_output;              //  A PULL
    const char *frontend_stats_publish_address;  //  Goes back in the ready response
} handshake_init_t;

//  HELLO, READY, and FAILED of an engine that cannot start
typedef struct {
    const char *status;                //  "HELLO", "READY" or "FAILED"
    bool local;                        //  The engine was started by this front-end
    bool headless;                     //  It has no front-end of its own
    const char *parallel_config_hash;  //  NULL: not there. Encode only.
} handshake_status_t;

//  A frame that is the caller's
zframe_t *handshake_status_encode (const handshake_status_t *status);
zframe_t *handshake_init_encode (const handshake_init_t *init);

//  Fills *status, whose text is one of the three constants. Returns 0, or -1 with `error` set.
int handshake_status_decode (zframe_t *frame, handshake_status_t *status, mp_error_t *error);

//  Returns an object of its own memory, or NULL with `error` set. There is at least one input, and
//  an output for each.
handshake_init_t *handshake_init_decode (zframe_t *frame, mp_error_t *error);
void handshake_init_destroy (handshake_init_t **self_p);

//  -- The front-end's side: a state for each engine it expects, 0 to count - 1

typedef struct startup startup_t;

//  `init` is what each engine is told; it stays the caller's, and must live as long
startup_t *startup_new (int count, const handshake_init_t *init);
void startup_destroy (startup_t **self_p);

//  What a message may be instead of an engine's index
#define STARTUP_NONE (-1)    //  No such message, or not of an engine that is expected: anybody's
#define STARTUP_FAILED (-2)  //  An engine that is expected cannot start

//  Takes a message of the ROUTER, [identity][HELLO or READY], which stays the caller's. Returns the
//  engine's index, and *reply is what is to be sent back ([identity][INIT], the caller's) or NULL.
//  Returns STARTUP_NONE when it makes no sense; STARTUP_FAILED when the engine says FAILED, is
//  local or not headless, or when it is not the turn of its HELLO or READY. Then `error` is set,
//  and names the engine.
int startup_handle (startup_t *self, zmsg_t *message, zmsg_t **reply, mp_error_t *error);

//  True when all engines are ready
bool startup_done (const startup_t *self);

//  "engine 1: no HELLO" of the first engine that is not ready; NULL when all are. The caller's to
//  free with zstr_free.
char *startup_pending (const startup_t *self);

//  "new", "connected" or "ready". A constant.
const char *startup_state (const startup_t *self, int engine);
