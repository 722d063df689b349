//  SPDX-License-Identifier: MIT
//  toy_engine_own.h - what toy_engine.c and toy_calls.c share, and nobody else needs

#pragma once

#include "engine/toy_engine.h"

//  As many bytes of a weight version are kept
#define WEIGHT_VERSION_MAX 256

//  More adapters are somebody's who means no good. So few are searched one by one.
#define LORAS_MAX 1000

//  From this release on wake_up returns whether all is awake; before, nothing
#define RELEASE_WAKE_UP_BOOL 31

//  What a pause makes of the requests that run: vLLM's PauseMode
typedef enum {
    GOING,
    DRAINING,  //  They come to their end; what is new waits
    PAUSED     //  No steps
} toy_pause_t;

struct toy_engine {
    toy_engine_config_t config;
    toy_engine_send_t *send;
    void *owner;
    toy_scheduler_t *scheduler;
    toy_pause_t pause;
    zlist_t *pausing;          //  Calls, to be answered when it is PAUSED
    bool refusing;             //  What is new ends at once: a pause_generation does that
    unsigned asleep;           //  ENGINE_CORE_TAG_... of what sleeps; 0: awake
    char *weight_version;      //  What set_weight_version has set
    int64_t loras[LORAS_MAX];  //  The lora_int_ids that were added,
    size_t lora_count;         //  and how many
    uint32_t new_requests;     //  Since the last step,
    uint64_t new_tokens;       //  and the tokens of their prompts
    uint32_t told_load;        //  What toy_engine_load has told last
    toy_engine_counts_t counts;
};

//  False with `error` set for a client_index that nobody has; `field` is what the error calls it
bool toy_engine_has_client (const toy_engine_t *self, const char *field, uint32_t client_index,
                            mp_error_t *error);

//  Sends outputs to a front-end; nothing for a client_index that nobody has
void toy_engine_send (toy_engine_t *self, uint32_t client_index, engine_core_outputs_t outputs);

//  Answers a utility call, or keeps it until the pause that it asks for is complete. False with
//  `error` set when the payload makes no sense.
bool toy_calls_handle (toy_engine_t *self, zframe_t *payload, mp_error_t *error);

//  After a step: answers the calls that have waited for the last request to end, or for a pause
//  that is over by now
void toy_calls_answer_pausing (toy_engine_t *self);
