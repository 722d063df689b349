//  SPDX-License-Identifier: MIT
//  toy_scheduler.h - what an EngineCore computes, without a model: requests in, steps of tokens out
//
//  In each step every running request gets one token, made up from its prompt. So the same prompt
//  always gives the same tokens. No sockets and no clock in here.
//  vLLM:  vllm/v1/core/sched/scheduler.py Scheduler.add_request
//         vllm/v1/core/sched/scheduler.py Scheduler.finish_requests
//         vllm/v1/core/sched/scheduler.py Scheduler.update_from_output

#pragma once

#include "engine_core.h"

//  Made-up tokens are below this, as in a small model's vocabulary
#define TOY_VOCAB_SIZE 32000

typedef struct toy_scheduler toy_scheduler_t;

toy_scheduler_t *toy_scheduler_new (void);
void toy_scheduler_destroy (toy_scheduler_t **self_p);

//  Takes *request_p over, nulls it and returns 0; or returns -1 when a request of that id is
//  already running, and it stays the caller's.
int toy_scheduler_add (toy_scheduler_t *self, engine_core_request_t **request_p);

//  Number of running requests
size_t toy_scheduler_running (toy_scheduler_t *self);

//  Drops a request without another word, as vLLM does when a client aborts it. False when there is
//  none of that id.
bool toy_scheduler_abort (toy_scheduler_t *self, const char *request_id);

//  One step: sets *outputs to one output for each running request, in order of arrival, and returns
//  how many. Those that have their max_tokens leave with ENGINE_CORE_LENGTH. The outputs are the
//  scheduler's, good until the next call.
size_t toy_scheduler_step (toy_scheduler_t *self, const engine_core_output_t **outputs);

//  Ends all requests: outputs as above, without tokens, with ENGINE_CORE_ABORTED
size_t toy_scheduler_abort_all (toy_scheduler_t *self, const engine_core_output_t **outputs);

//  Tokens that the request of this output has got so far, its newest included
size_t toy_scheduler_made (toy_scheduler_t *self, const engine_core_output_t *output);
