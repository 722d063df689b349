//  SPDX-License-Identifier: MIT
//  handshake.h - how an engine and a front-end meet, as of vLLM v0.33.0
//
//  Demo 2.3: an engine that knows one address learns the others. The front-end closes this ROUTER
//  when all engines are ready.
//      ROUTER <- DEALER   [identity][HELLO]   here I am
//      ROUTER -> DEALER   [identity][INIT]    connect to these addresses
//      ROUTER <- DEALER   [identity][READY]   I have, and can serve
//  All demos: the first message of an engine's DEALER to the ROUTER that sends requests.
//      ROUTER <- DEALER   [identity][EngineCoreReadyResponse]   the engine registers
//
//  An identity is the engine's index: 2 bytes, little-endian. All payloads are maps.
//  vLLM:  vllm/v1/engine/core.py EngineCoreProc.startup_handshake, process_input_sockets,
//         vllm/v1/engine/utils.py EngineHandshakeMetadata, EngineZmqAddresses

#pragma once

#include "mp.h"

#define ENGINES_MAX 65536

void handshake_set_identity (zsock_t *dealer, int engine);

//  A PAIR socket that gets a message for each of these libzmq events of the DEALER, such as
//  ZMQ_EVENT_DISCONNECTED. Destroy it before the DEALER.
zsock_t *handshake_watch_new (zsock_t *dealer, int events);
void handshake_watch_destroy (zsock_t **self_p, zsock_t *dealer);

//  EngineCoreReadyResponse, a frame that is the caller's
zframe_t *handshake_registration (int engine);

//  The engine's index in [identity][map]; -1 if it is another message, or not below `engines`
int handshake_engine (zmsg_t *message, int engines);

//  HELLO or READY, as a frame that is the caller's; and whether a frame, which may be NULL, is that
zframe_t *handshake_status (const char *status);
bool handshake_is (zframe_t *frame, const char *status);

//  [identity][INIT] with the endpoints that the two sockets are bound to. The caller's.
zmsg_t *handshake_init (int engine, zsock_t *router, zsock_t *pull);

//  Copies the first input and the first output of an INIT, which the caller frees. False if the
//  frame, which may be NULL, is no INIT.
bool handshake_read_init (zframe_t *frame, char **input, char **output);
