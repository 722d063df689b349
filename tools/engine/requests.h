//  SPDX-License-Identifier: MIT
//  requests.h - a front-end's requests r0, r1, ... and how far each has come
//
//  Outputs come back in any order, from any engine, a few tokens at a time. The request id is what
//  ties them together. Says what happens, in lines of tools/lib/log.h. No sockets in here.
//  vLLM:  vllm/v1/engine/output_processor.py OutputProcessor

#pragma once

#include "engine/engine_core.h"

//  How many messages of outputs may wait at a front-end, which may be unable to print for a while.
//  At the mark libzmq reads no more, and leaves the engine's pings unanswered.
#define REQUESTS_HWM 10000

typedef struct requests requests_t;

//  For `count` requests of max_tokens each, none of them sent, to engines of a vLLM release: 23 and
//  above, or 0 for the newest
requests_t *requests_new (int count, int max_tokens, int release);
void requests_destroy (requests_t **self_p);

//  The number of a request that has yet to be sent, for the first time or again; -1: there is none
int requests_unsent (requests_t *self);

//  Makes request `number` out to an engine: the message for the ROUTER, the caller's. It counts as
//  sent from now on.
zmsg_t *requests_message (requests_t *self, int number, int engine);

//  Counts in a message of outputs, [EngineCoreOutputs], which stays the caller's. One that cannot
//  be read, or is about a request that is not open, is told on stderr.
void requests_take (requests_t *self, zmsg_t *message);

//  Requests that have not come to their end, sent or not
int requests_open (requests_t *self);

//  Of these, the ones that were sent
int requests_in_flight (requests_t *self);

//  True when all requests have got their tokens: none is open, aborted or in error
bool requests_complete (requests_t *self);

//  The message that aborts all that is open at an engine, the caller's; NULL when nothing is, and
//  for engine -1, which is none
zmsg_t *requests_abort (requests_t *self, int engine);

//  An engine is dead, and with it all that was open there. With `reroute` that is to be sent again,
//  and begins again; otherwise it has failed. The line `r3 failed: engine 1 is dead`, or
//  `r3 to be sent again: engine 1 is dead`, for each. Engine -1: what is at none has failed, since
//  none is left. Returns how many.
int requests_engine_died (requests_t *self, int engine, bool reroute);

//  A message that asks nothing of an engine: an ABORT of no requests. The caller owns it. A dead
//  engine sends nothing; but a ROUTER with ROUTER_MANDATORY refuses to send to a peer whose
//  connection has ended (EHOSTUNREACH). So send this to check whether an engine is alive.
zmsg_t *requests_probe (int engine);

//  The line `engine 1: r1 r3 r5`: which requests an engine was sent
void requests_print_engine (requests_t *self, int engine);

//  The summary, one line
void requests_print_summary (requests_t *self);
