//  SPDX-License-Identifier: MIT

#include "toy_scheduler.h"

typedef struct {
    engine_core_request_t *request;
    uint64_t state;  //  Of the token maker; begins with a hash of the prompt
    uint32_t token;  //  The newest; an output points here
    uint32_t made;   //  Tokens so far
    bool finished;   //  Told in the last outputs, to be dropped at the next call
} s_running_t;

struct toy_scheduler {
    s_running_t **requests;  //  In order of arrival
    size_t count;
    size_t room;
    engine_core_output_t *outputs;  //  Of the last step; the i-th belongs to requests[i]
};

toy_scheduler_t *toy_scheduler_new (void)
{
    return zmalloc (sizeof (toy_scheduler_t));
}

static void s_running_destroy (s_running_t **self_p)
{
    engine_core_request_destroy (&(*self_p)->request);
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
    free (self->outputs);
    free (self);
    *self_p = NULL;
}

//  Drops what has finished. The outputs of the last step may point into it, so not before now.
static void s_retire (toy_scheduler_t *self)
{
    size_t kept = 0;
    for (size_t i = 0; i < self->count; i++) {
        if (self->requests[i]->finished)
            s_running_destroy (&self->requests[i]);
        else
            self->requests[kept++] = self->requests[i];
    }
    self->count = kept;
}

static s_running_t *s_find (toy_scheduler_t *self, const char *request_id)
{
    for (size_t i = 0; i < self->count; i++)
        if (streq (self->requests[i]->request->request_id, request_id))
            return self->requests[i];
    return NULL;
}

//  FNV-1a over the prompt's tokens
static uint64_t s_hash (const engine_core_request_t *request)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < request->prompt_token_count; i++)
        hash = (hash ^ request->prompt_token_ids[i]) * 1099511628211u;
    return hash;
}

int toy_scheduler_add (toy_scheduler_t *self, engine_core_request_t **request_p)
{
    s_retire (self);
    if (s_find (self, (*request_p)->request_id))
        return -1;
    if (self->count == self->room) {
        self->room = self->room ? 2 * self->room : 16;
        self->requests = realloc (self->requests, self->room * sizeof *self->requests);
        self->outputs = realloc (self->outputs, self->room * sizeof *self->outputs);
        if (!self->requests || !self->outputs)
            abort ();  //  As zmalloc does when memory is out
    }
    s_running_t *running = zmalloc (sizeof *running);
    running->request = *request_p;
    running->state = s_hash (*request_p);
    self->requests[self->count++] = running;
    *request_p = NULL;
    return 0;
}

size_t toy_scheduler_running (toy_scheduler_t *self)
{
    s_retire (self);
    return self->count;
}

bool toy_scheduler_abort (toy_scheduler_t *self, const char *request_id)
{
    s_retire (self);
    s_running_t *running = s_find (self, request_id);
    if (!running)
        return false;
    running->finished = true;
    return true;
}

size_t toy_scheduler_step (toy_scheduler_t *self, const engine_core_output_t **outputs)
{
    s_retire (self);
    for (size_t i = 0; i < self->count; i++) {
        s_running_t *running = self->requests[i];
        uint32_t max_tokens = running->request->max_tokens;
        bool more = running->made < max_tokens;
        if (more) {
            //  Knuth's MMIX generator; its high bits are the good ones
            running->state = running->state * 6364136223846793005u + 1442695040888963407u;
            running->token = (uint32_t) (running->state >> 33) % TOY_VOCAB_SIZE;
            running->made++;
        }
        running->finished = running->made >= max_tokens;
        self->outputs[i] = (engine_core_output_t){
            .request_id = running->request->request_id,
            .new_token_ids = &running->token,
            .new_token_count = more ? 1 : 0,
            .finish_reason = running->finished ? ENGINE_CORE_LENGTH : ENGINE_CORE_RUNNING,
        };
    }
    *outputs = self->outputs;
    return self->count;
}

size_t toy_scheduler_abort_all (toy_scheduler_t *self, const engine_core_output_t **outputs)
{
    s_retire (self);
    for (size_t i = 0; i < self->count; i++) {
        self->requests[i]->finished = true;
        self->outputs[i] = (engine_core_output_t){
            .request_id = self->requests[i]->request->request_id,
            .finish_reason = ENGINE_CORE_ABORTED,
        };
    }
    *outputs = self->outputs;
    return self->count;
}

size_t toy_scheduler_made (toy_scheduler_t *self, const engine_core_output_t *output)
{
    return self->requests[output - self->outputs]->made;
}
