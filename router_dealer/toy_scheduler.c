//  SPDX-License-Identifier: MIT

#include "toy_scheduler.h"

typedef struct {
    engine_core_request_t *request;
    uint64_t state;    //  Of the token maker; begins with a hash of the prompt
    uint32_t *tokens;  //  The newest, one chunk; an output points here
    uint32_t made;     //  Tokens so far
    double queued;     //  When it came
    bool started;      //  It had a step
    bool finished;     //  Told in the last outputs, to be dropped at the next call
} s_running_t;

struct toy_scheduler {
    toy_scheduler_config_t config;
    s_running_t **requests;  //  In order of arrival
    uint64_t *names;         //  Hashes of their ids, to look through quickly
    size_t count;
    size_t finished;  //  Of these, how many have finished
    size_t room;
    engine_core_output_t *outputs;  //  Of the last step; the i-th belongs to requests[i]
};

toy_scheduler_t *toy_scheduler_new (const toy_scheduler_config_t *config)
{
    toy_scheduler_t *self = zmalloc (sizeof *self);
    self->config = *config;
    return self;
}

static void s_running_destroy (s_running_t **self_p)
{
    engine_core_request_destroy (&(*self_p)->request);
    free ((*self_p)->tokens);
    free (*self_p);
    *self_p = NULL;
}

void toy_scheduler_destroy (toy_scheduler_t **self_p)
{
    toy_scheduler_t *self = *self_p;
    if (!self)
        return;
    for (size_t i = 0; i < self->count; i++)
        s_running_destroy (&self->requests[i]);
    free (self->requests);
    free (self->names);
    free (self->outputs);
    free (self);
    *self_p = NULL;
}

//  Drops what has finished. The outputs of the last step may point into it, so not before now.
static void s_retire (toy_scheduler_t *self)
{
    if (self->finished == 0)
        return;
    size_t kept = 0;
    for (size_t i = 0; i < self->count; i++) {
        if (self->requests[i]->finished) {
            s_running_destroy (&self->requests[i]);
            continue;
        }
        self->names[kept] = self->names[i];
        self->requests[kept++] = self->requests[i];
    }
    self->count = kept;
    self->finished = 0;
}

//  FNV-1a over a request's id
static uint64_t s_name (const char *request_id)
{
    uint64_t hash = 14695981039346656037u;
    for (const char *c = request_id; *c; c++)
        hash = (hash ^ (byte) *c) * 1099511628211u;
    return hash;
}

//  The place of the request of this id, or `count`
static size_t s_find (const toy_scheduler_t *self, const char *request_id)
{
    uint64_t name = s_name (request_id);
    for (size_t i = 0; i < self->count; i++)
        if (self->names[i] == name && streq (self->requests[i]->request->request_id, request_id))
            return i;
    return self->count;
}

//  FNV-1a over the prompt's tokens
static uint64_t s_hash (const engine_core_request_t *request)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < request->prompt_token_count; i++)
        hash = (hash ^ request->prompt_token_ids[i]) * 1099511628211u;
    return hash;
}

int toy_scheduler_add (toy_scheduler_t *self, engine_core_request_t **request_p, double now)
{
    s_retire (self);
    if (s_find (self, (*request_p)->request_id) < self->count)
        return -1;
    if (self->count == self->room) {
        self->room = self->room ? 2 * self->room : 16;
        self->requests = realloc (self->requests, self->room * sizeof *self->requests);
        self->names = realloc (self->names, self->room * sizeof *self->names);
        self->outputs = realloc (self->outputs, self->room * sizeof *self->outputs);
        if (!self->requests || !self->names || !self->outputs)
            abort ();  //  As zmalloc does when memory is out
    }
    s_running_t *running = zmalloc (sizeof *running);
    running->request = *request_p;
    running->state = s_hash (*request_p) ^ self->config.seed ^ (*request_p)->seed << 32;
    running->tokens = zmalloc (self->config.chunk_size * sizeof *running->tokens);
    running->queued = now;
    self->names[self->count] = s_name (running->request->request_id);
    self->requests[self->count++] = running;
    *request_p = NULL;
    return 0;
}

size_t toy_scheduler_running (toy_scheduler_t *self)
{
    return self->count - self->finished;
}

uint64_t toy_scheduler_tokens (toy_scheduler_t *self)
{
    uint64_t tokens = 0;
    for (size_t i = 0; i < self->count; i++)
        if (!self->requests[i]->finished)
            tokens += self->requests[i]->request->prompt_token_count + self->requests[i]->made;
    return tokens;
}

//  The last output of request `i`
static void s_abort (toy_scheduler_t *self, size_t i)
{
    self->requests[i]->finished = true;
    self->finished++;
    self->outputs[i] = (engine_core_output_t){
        .request_id = self->requests[i]->request->request_id,
        .finish_reason = ENGINE_CORE_ABORTED,
    };
}

bool toy_scheduler_abort (toy_scheduler_t *self, const char *request_id,
                          const engine_core_output_t **output)
{
    s_retire (self);
    size_t i = s_find (self, request_id);
    if (i == self->count)
        return false;
    s_abort (self, i);
    *output = &self->outputs[i];
    return true;
}

static const uint32_t *s_find_stop (const engine_core_request_t *request, uint32_t token)
{
    for (size_t i = 0; i < request->stop_token_count; i++)
        if (request->stop_token_ids[i] == token)
            return &request->stop_token_ids[i];
    return NULL;
}

static bool s_is_eos (const engine_core_request_t *request, uint32_t token)
{
    return request->eos_token_id >= 0 && (uint64_t) request->eos_token_id == token;
}

//  The next token of a request. One that would end it does not come before min_tokens are there:
//  vLLM's sampler is kept from choosing it.
static uint32_t s_next_token (const toy_scheduler_t *self, s_running_t *running)
{
    const engine_core_request_t *request = running->request;
    //  Knuth's MMIX generator; its high bits are the good ones
    running->state = running->state * 6364136223846793005u + 1442695040888963407u;
    uint32_t token = (uint32_t) (running->state >> 33) % self->config.vocab_size;
    //  After so many tries every token has been one that ends it: then let it be one
    size_t tries = running->made < request->min_tokens ? request->stop_token_count + 1 : 0;
    while (tries-- > 0 && (s_is_eos (request, token) || s_find_stop (request, token)))
        token = (token + 1) % self->config.vocab_size;
    return token;
}

//  As vLLM's check_stop: what the newest token does to a request
static void s_check_stop (const toy_scheduler_t *self, const s_running_t *running,
                          engine_core_output_t *output)
{
    const engine_core_request_t *request = running->request;
    uint32_t newest = running->tokens[output->new_token_count - 1];
    bool full = running->made >= request->max_tokens ||
                running->made + request->prompt_token_count >= self->config.max_model_len;
    if (running->made < request->min_tokens && !full)
        return;
    bool eos = s_is_eos (request, newest);
    output->stop_reason = eos ? NULL : s_find_stop (request, newest);
    if (eos || output->stop_reason)
        output->finish_reason = ENGINE_CORE_STOP;
    else if (full)
        output->finish_reason = ENGINE_CORE_LENGTH;
}

static void s_step (toy_scheduler_t *self, size_t i, double now)
{
    s_running_t *running = self->requests[i];
    engine_core_output_t *output = &self->outputs[i];
    *output = (engine_core_output_t){.request_id = running->request->request_id,
                                     .new_token_ids = running->tokens,
                                     .finish_reason = ENGINE_CORE_RUNNING};
    if (!running->started) {
        running->started = true;
        output->queued = running->queued;
        output->scheduled = now;
        output->prefilled = (uint32_t) running->request->prompt_token_count;
    }
    if (running->request->pooling)
        output->finish_reason = ENGINE_CORE_ERROR;
    else if (running->request->max_tokens == 0)
        output->finish_reason = ENGINE_CORE_LENGTH;
    while (output->finish_reason == ENGINE_CORE_RUNNING &&
           output->new_token_count < self->config.chunk_size) {
        running->tokens[output->new_token_count++] = s_next_token (self, running);
        running->made++;
        s_check_stop (self, running, output);
    }
    running->finished = output->finish_reason != ENGINE_CORE_RUNNING;
    self->finished += running->finished;
}

size_t toy_scheduler_step (toy_scheduler_t *self, double now, const engine_core_output_t **outputs)
{
    s_retire (self);
    for (size_t i = 0; i < self->count; i++)
        s_step (self, i, now);
    *outputs = self->outputs;
    return self->count;
}

size_t toy_scheduler_abort_all (toy_scheduler_t *self, const engine_core_output_t **outputs)
{
    s_retire (self);
    for (size_t i = 0; i < self->count; i++)
        s_abort (self, i);
    *outputs = self->outputs;
    return self->count;
}

const engine_core_request_t *toy_scheduler_request (toy_scheduler_t *self,
                                                    const engine_core_output_t *output)
{
    return self->requests[output - self->outputs]->request;
}

size_t toy_scheduler_made (toy_scheduler_t *self, const engine_core_output_t *output)
{
    return self->requests[output - self->outputs]->made;
}
