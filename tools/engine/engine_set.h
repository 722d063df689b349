//  SPDX-License-Identifier: MIT
//  engine_set.h - the engines of a front-end: who has registered, who is dead, whose turn it is
//
//  Engines are known by their index. No sockets in here.
//  vLLM:  vllm/v1/engine/core_client.py MPClient.__init__: core_engines
//         vllm/v1/engine/core_client.py DPLBAsyncMPClient.get_core_engine_for_request

#pragma once

#include <stdbool.h>

typedef struct engine_set engine_set_t;

//  For up to `max` engines, none of them here yet
engine_set_t *engine_set_new (int max);
void engine_set_destroy (engine_set_t **self_p);

//  An engine has registered. True: a new one, for which there was room. False: nothing has changed,
//  but that one which was dead lives again.
bool engine_set_join (engine_set_t *self, int engine);

//  True for one that has registered, dead or not
bool engine_set_knows (const engine_set_t *self, int engine);

//  It is dead: it gets no more turns. Nothing for one that is not known.
void engine_set_mark_dead (engine_set_t *self, int engine);

//  How often one has died; one that came back and died again counts twice
int engine_set_deaths (const engine_set_t *self);

int engine_set_size (const engine_set_t *self);    //  All that have registered
int engine_set_living (const engine_set_t *self);  //  But for the dead ones

//  The i-th engine, by index
int engine_set_at (const engine_set_t *self, int i);

//  True for one that has registered and is not dead
bool engine_set_lives (const engine_set_t *self, int engine);

//  Whose turn it is among the living, by index, or -1 when there is none
int engine_set_next (engine_set_t *self);
