//  SPDX-License-Identifier: MIT
//  toy_scheduler.h - turns requests into steps of tokens, without a model
//
//  In each step every running request gets some tokens, made up from its prompt, its seed, and
//  which of n samples it is. So the same request always gives the same tokens. No sockets and no
//  clock in here.
//  vLLM:  vllm/v1/core/sched/scheduler.py Scheduler.add_request
//         vllm/v1/core/sched/scheduler.py Scheduler.finish_requests
//         vllm/v1/core/sched/scheduler.py Scheduler.update_from_output
//         vllm/v1/core/sched/utils.py check_stop
//         vllm/v1/engine/parallel_sampling.py ParentRequest, which makes n requests of one

#pragma once

#include "engine/engine_core.h"

typedef struct {
    uint32_t vocab_size;     //  Token ids are below this
    uint32_t chunk_size;     //  Tokens a request gets in one step, as with speculative decoding
    uint64_t seed;           //  Another one makes other tokens of the same prompt
    uint32_t max_model_len;  //  Tokens, prompt and output: no request gets longer
    bool plain;              //  Outputs do not tell when anything was
} toy_scheduler_config_t;

typedef struct toy_scheduler toy_scheduler_t;

toy_scheduler_t *toy_scheduler_new (const toy_scheduler_config_t *config);
void toy_scheduler_destroy (toy_scheduler_t **self_p);

//  What all requests may take up, and what one of them may. vLLM has no such bounds: its front-end
//  sees what it lets in. With prompt logprobs a request of 12 MB would take 3 GB here, and one of
//  1 MB would keep the others waiting for seconds.
#define TOY_SCHEDULER_MAX_BYTES ((size_t) 1 << 30)
#define TOY_SCHEDULER_MAX_REQUEST ((size_t) 1 << 25)

//  False when this request is too large, or there is no room for it beside those that are running
bool toy_scheduler_has_room (toy_scheduler_t *self, const engine_core_request_t *request);

//  Takes *request_p over, nulls it and returns 0; or returns -1 when a request of that id is
//  already running, and it stays the caller's. `now` is in seconds, by the clock that the outputs
//  are to tell of.
int toy_scheduler_add (toy_scheduler_t *self, engine_core_request_t **request_p, double now);

//  Number of running requests, and of the tokens that their prompts and outputs have. Outputs of
//  the last call stay good.
size_t toy_scheduler_running (toy_scheduler_t *self);
uint64_t toy_scheduler_tokens (toy_scheduler_t *self);

//  While it holds, requests that are added wait: no step serves them. Afterwards all are served.
void toy_scheduler_hold (toy_scheduler_t *self, bool hold);

//  Number of running requests that do not wait
size_t toy_scheduler_served (toy_scheduler_t *self);

//  Ends those of these requests that are running: outputs as toy_scheduler_abort_client has them
size_t toy_scheduler_abort (toy_scheduler_t *self, const char *const *request_ids, size_t count,
                            const engine_core_output_t **outputs);

//  One step: sets *outputs to one output for each running request that does not wait, in order of
//  arrival, and returns how many. When they are too many for one step, the next one goes on behind
//  them. Those that are done leave: with ENGINE_CORE_STOP after a token
//  that ends them, with ENGINE_CORE_LENGTH when they have their max_tokens, with ENGINE_CORE_ERROR
//  when it is no tokens that they want. The outputs are the scheduler's, good until the next call.
size_t toy_scheduler_step (toy_scheduler_t *self, double now, const engine_core_output_t **outputs);

//  Ends all requests of a front-end, or of all of them: outputs as above, without tokens, with
//  ENGINE_CORE_ABORTED
#define TOY_SCHEDULER_ALL UINT32_MAX
size_t toy_scheduler_abort_client (toy_scheduler_t *self, uint32_t client_index,
                                   const engine_core_output_t **outputs);

//  The request of an output of the last call, and how many tokens it has got so far
const engine_core_request_t *toy_scheduler_request (toy_scheduler_t *self,
                                                    const engine_core_output_t *output);
size_t toy_scheduler_made (toy_scheduler_t *self, const engine_core_output_t *output);
