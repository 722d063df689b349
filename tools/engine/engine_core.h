//  SPDX-License-Identifier: MIT
//  engine_core.h - the messages between a vLLM front-end and its EngineCore, as of v0.33.0
//
//  front-end ROUTER (bind)  <--  engine DEALER (connect, identity = engine index, 2 bytes)
//      engine -> front-end   [ready response]                      the registration
//      front-end -> engine   [identity][type, 1 byte][payload]     the ROUTER eats the identity
//  front-end PULL (bind)    <--  engine PUSH (connect)
//      engine -> front-end   [EngineCoreOutputs]  or  [ENGINE_CORE_DEAD]
//
//  Structs and their fields carry vLLM's names (vllm/v1/engine/__init__.py). vLLM encodes them with
//  msgspec: array_like structs as arrays in the order of their fields, dataclasses as maps. What
//  the demos have no use for is written with vLLM's default and passed over in reading. As in
//  msgspec, fields that are missing at the end of an array have their defaults, and further ones
//  are ignored.
//
//  Each ..._encode returns a frame that is the caller's. Each
//  ..._decode returns an object of its own memory, to be destroyed with its ..._destroy, or NULL
//  and `error` names the field that is wrong.

#pragma once

#include "lib/mp.h"

//  A vLLM release is its second number: 33 is v0.33. These speak the same but for the ends of
//  EngineCoreRequest, EngineCoreOutput and EngineCoreOutputs, and for ec_transfer_params, which
//  v0.26 put before trace_headers. The registration is a superset that all of them take.
#define ENGINE_CORE_RELEASE_MAX 33
//  The values of --vllm
#define ENGINE_CORE_RELEASES "0.33|0.32|0.31|0.30|0.29|0.28|0.27|0.26|0.25|0.24|0.23"

//  EngineCoreRequestType: the frame behind the identity, one raw byte and not msgpack
#define ENGINE_CORE_ADD 0x00
#define ENGINE_CORE_ABORT 0x01
#define ENGINE_CORE_START_DP_WAVE 0x02
#define ENGINE_CORE_UTILITY 0x03

//  EngineCoreProc.ENGINE_CORE_DEAD: an engine's last words, one raw frame
#define ENGINE_CORE_DEAD "ENGINE_CORE_DEAD"

//  CoreEngine.identity: the engine's index, 2 bytes, little-endian. Engine 0 is 00 00: not a C
//  string, so it must never pass through a function that takes one.
#define ENGINE_CORE_IDENTITY_SIZE 2
void engine_core_identity (uint16_t index, byte identity[ENGINE_CORE_IDENTITY_SIZE]);

//  The index in an identity frame, or -1 when it is not one of an engine
int engine_core_index (zframe_t *identity);

//  A message for the ROUTER: [identity of engine `index`][type][payload]. Takes the payload over
//  and nulls it.
zmsg_t *engine_core_message (uint16_t index, byte type, zframe_t **payload);

//  -- EngineCoreReadyResponse, a map: what an engine says of itself when it registers

typedef struct {
    uint32_t max_model_len;  //  Tokens, prompt and output together
    uint32_t num_gpu_blocks;
    uint32_t block_size;  //  Tokens a block
    const char *dtype;    //  Encode only
    const char *vllm_version;
    uint32_t world_size;
    uint32_t data_parallel_size;
    const char *dp_stats_address;  //  Encode only; NULL: none. See handshake_init_t
    //  Encode only: v0.27 and v0.29 require them
    uint32_t data_parallel_rank;
    uint32_t max_num_seqs;
    uint32_t max_num_batched_tokens;
    const char *instance_id;
    uint32_t max_loras;  //  0: supports_lora is false
} engine_core_ready_t;

zframe_t *engine_core_ready_encode (const engine_core_ready_t *ready);

//  Fills *ready; dtype and vllm_version stay NULL. An empty frame is a ready response too, as
//  vLLM's _apply_ready_response has it (engines before v0.20 sent one): all zeroes. Returns 0, or
//  -1 with `error` set.
int engine_core_ready_decode (zframe_t *frame, engine_core_ready_t *ready, mp_error_t *error);

//  Reads a registration as a ROUTER gets it: [identity][ready response]. Returns the engine's
//  index, or -1 with `error` set.
int engine_core_registration (zmsg_t *message, engine_core_ready_t *ready, mp_error_t *error);

//  -- EngineCoreRequest, array of 20 to 22: the payload of ENGINE_CORE_ADD

#define ENGINE_CORE_NO_LIMIT UINT32_MAX

typedef struct {
    const char *request_id;
    const uint32_t *prompt_token_ids;  //  NULL: none (a request with prompt_embeds)
    size_t prompt_token_count;
    double arrival_time;    //  Seconds since 1970
    uint32_t client_index;  //  Which of its output sockets the engine answers on
    uint32_t max_tokens;    //  sampling_params.max_tokens; ENGINE_CORE_NO_LIMIT for None
    int release;            //  For which vLLM; 0: the newest. Encode only.
    //  More of sampling_params. Decode only: our front-ends leave them at their defaults.
    bool pooling;         //  There are no sampling_params, so no tokens are wanted
    uint32_t min_tokens;  //  No token ends it before there are so many
    const uint32_t *stop_token_ids;
    size_t stop_token_count;
    int64_t eos_token_id;  //  -1: none ends it, as with ignore_eos
    uint64_t seed;         //  Of one of n samples, each has its own; 0: none
    uint32_t logprobs;     //  How many it wants to see with each token, that token's own included;
                           //  0: none, ENGINE_CORE_NO_LIMIT: of all tokens that there are
    const uint32_t *logprob_token_ids;  //  It wants to see these with each token, and not the
    size_t logprob_token_count;         //  likeliest; 0: those that `logprobs` says
    uint32_t prompt_logprobs;  //  As `logprobs`, for each token of the prompt but the first
    bool abort_immediately;    //  It is to end as soon as it is there: what it would get has been
                               //  refused elsewhere, and an engine may hold something for it
} engine_core_request_t;

zframe_t *engine_core_request_encode (const engine_core_request_t *request);
engine_core_request_t *engine_core_request_decode (zframe_t *frame, mp_error_t *error);
void engine_core_request_destroy (engine_core_request_t **self_p);

//  For a request that cannot be decoded: who asked? Returns its id, the caller's to free with
//  zstr_free, and sets *client_index (0 when that is what cannot be read); or NULL.
char *engine_core_request_id (zframe_t *frame, uint32_t *client_index);

//  -- The payload of ENGINE_CORE_ABORT: an array of request ids

typedef struct {
    const char **request_ids;
    size_t count;
} engine_core_abort_t;

zframe_t *engine_core_abort_encode (const engine_core_abort_t *abort);
engine_core_abort_t *engine_core_abort_decode (zframe_t *frame, mp_error_t *error);
void engine_core_abort_destroy (engine_core_abort_t **self_p);

//  -- The payload of ENGINE_CORE_UTILITY: [client_index, call_id, method, args]

//  What sleeps, and is woken by these tags. "scheduling" is no tag here: nothing is behind it.
#define ENGINE_CORE_TAG_WEIGHTS 1u
#define ENGINE_CORE_TAG_KV_CACHE 2u
#define ENGINE_CORE_TAG_UNKNOWN 4u  //  Any other

typedef struct {
    uint32_t client_index;
    uint64_t call_id;  //  Goes back with the result; vLLM takes 64 bits of a uuid
    const char *method;
    int64_t number;  //  args[0] when that is a number; its lora_int_id when it is a LoRARequest; -1
    const char *word;  //  The first of args that is a str; NULL: none
    bool tagged;       //  args[0] is an array, as of wake_up, whose tags are
    unsigned tags;     //  these, ENGINE_CORE_TAG_...
} engine_core_utility_t;

engine_core_utility_t *engine_core_utility_decode (zframe_t *frame, mp_error_t *error);
void engine_core_utility_destroy (engine_core_utility_t **self_p);

//  -- EngineCoreOutputs, array of 9: what an engine PUSHes after a step

//  FinishReason
typedef enum {
    ENGINE_CORE_RUNNING = -1,  //  nil on the wire: there is more to come
    ENGINE_CORE_STOP = 0,
    ENGINE_CORE_LENGTH = 1,  //  max_tokens were made
    ENGINE_CORE_ABORTED = 2,
    ENGINE_CORE_ERROR = 3,
    ENGINE_CORE_REPETITION = 4
} engine_core_finish_t;

//  "length" and so on; "running" for ENGINE_CORE_RUNNING. A constant.
const char *engine_core_finish_name (engine_core_finish_t reason);

//  LogprobsLists or LogprobsTensors: for each of some tokens how likely it was, and which ones were
//  the likeliest in its place
typedef struct {
    size_t rows;                //  One for each token
    size_t columns;             //  The token, then the likeliest, in order
    const uint32_t *token_ids;  //  rows * columns, row by row
    const float *logprobs;      //  Likewise: natural logarithms
    const uint32_t *ranks;      //  Which place the token of each row has, 1 is the likeliest
} engine_core_logprobs_t;

//  RequestError, a map: why a request ended with ENGINE_CORE_ERROR
typedef struct {
    const char *code;  //  "engine_paused", for one
    const char *message;
    bool retryable;
} engine_core_error_t;

//  EngineCoreOutput, array of 19: what one request got in this step
typedef struct {
    const char *request_id;
    const uint32_t *new_token_ids;
    size_t new_token_count;
    engine_core_finish_t finish_reason;
    //  The rest is encode only
    const engine_core_logprobs_t *logprobs;         //  Of the new tokens; NULL: none
    const engine_core_logprobs_t *prompt_logprobs;  //  Of the prompt, with the first output; NULL
    const uint32_t *stop_reason;                    //  Which of stop_token_ids it was; NULL: none
    const engine_core_error_t *error;               //  From v0.33 on; NULL: none
    //  For metrics
    double queued, scheduled;  //  events: when, by the clock of `timestamp`. Told with the first
                               //  output of a request; 0 otherwise.
    uint32_t prefilled;        //  prefill_stats: tokens of the prompt, likewise
} engine_core_output_t;

//  SchedulerStats, a map of 18: how busy the engine is. Encode only.
typedef struct {
    uint32_t num_running_reqs;
    double kv_cache_usage;           //  0 to 1
    uint32_t prefix_cache_requests;  //  Looked up in the prefix cache in this step,
    uint64_t prefix_cache_queries;   //  tokens of theirs; a toy never hits
} engine_core_scheduler_stats_t;

//  UtilityOutput, array of 3: the answer to a utility call
typedef struct {
    uint64_t call_id;
    const char *failure_message;  //  NULL: it went well
    mp_slice_t result;  //  The bytes of a msgpack value. Encode only; not looked at in a failure.
    bool notification;  //  The call_id was below 0: no answer, but the engine's own word, as vLLM's
                        //  EEP_NOTIFICATION_CALL_ID. Decode only, and call_id is 0 then.
} engine_core_utility_output_t;

typedef struct {
    uint32_t engine_index;  //  A PULL does not tell who sent: this does
    const engine_core_output_t *outputs;
    size_t output_count;
    double timestamp;                                    //  Seconds of the engine's monotonic clock
    const engine_core_utility_output_t *utility_output;  //  NULL: none
    const engine_core_scheduler_stats_t *scheduler_stats;  //  NULL: none. Encode only.
    const char *weight_version;  //  From v0.32 on; NULL: none. Encode only.
    int release;                 //  For which vLLM; 0: the newest. Encode only.
} engine_core_outputs_t;

//  finished_requests is written from the outputs that have a finish reason, nil when none has
zframe_t *engine_core_outputs_encode (const engine_core_outputs_t *outputs);
engine_core_outputs_t *engine_core_outputs_decode (zframe_t *frame, mp_error_t *error);

//  The same for a caller that decodes many: into *self_p, whose memory is used again, or into a new
//  one when that is NULL. False when it cannot be decoded; *self_p is destroyed then, and NULL.
bool engine_core_outputs_decode_again (engine_core_outputs_t **self_p, zframe_t *frame,
                                       mp_error_t *error);
void engine_core_outputs_destroy (engine_core_outputs_t **self_p);
