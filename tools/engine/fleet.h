//  SPDX-License-Identifier: MIT
//  fleet.h - the engines of a front-end: who has registered, who is dead, whose turn it is
//
//  Engines are known by their index. No sockets in here.
//  vLLM:  vllm/v1/engine/core_client.py MPClient.__init__: core_engines
//         vllm/v1/engine/core_client.py DPLBAsyncMPClient.get_core_engine_for_request

#pragma once

#include <stdbool.h>

typedef struct fleet fleet_t;

//  For up to `max` engines, none of them here yet
fleet_t *fleet_new (int max);
void fleet_destroy (fleet_t **self_p);

//  An engine has registered. True: a new one, for which there was room. False: nothing has changed,
//  but that one which was dead lives again.
bool fleet_join (fleet_t *self, int engine);

//  True for one that has registered, dead or not
bool fleet_knows (const fleet_t *self, int engine);

//  It is dead: it gets no more turns. Nothing for one that is not known.
void fleet_bury (fleet_t *self, int engine);

//  How often one has died; one that came back and died again counts twice
int fleet_deaths (const fleet_t *self);

int fleet_size (const fleet_t *self);    //  All that have registered
int fleet_living (const fleet_t *self);  //  But for the dead ones

//  The i-th engine, by index; and whether it lives
int fleet_at (const fleet_t *self, int i);
bool fleet_lives_at (const fleet_t *self, int i);

//  Whose turn it is among the living, by index, or -1 when there is none
int fleet_next (fleet_t *self);
