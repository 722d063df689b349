//  SPDX-License-Identifier: MIT

#include "engine/toy_scheduler.h"
#include "engine/token_set.h"

#include <search.h>

//  How many logprobs a token gets at the most: its own, and as many as vLLM lets its users ask for
//  (MAX_LOGPROB_TOKEN_IDS; and max_logprobs, which is 20)
#define LOGPROBS_MAX (1 + 128)

//  The work of one step is bounded, so that messages are read in between: about as many tokens and
//  logprobs, and a request counts for 100. Requests that do not fit are the first of the next step.
#define STEP_WORK 1000000
#define STEP_WORK_REQUEST 100

typedef struct running {
    struct running *previous, *next;  //  In order of arrival
    engine_core_request_t *request;
    uint64_t state;                   //  Of the token maker; begins with a hash of the prompt
    uint32_t *tokens;                 //  The newest, one chunk; an output points here
    uint32_t made;                    //  Tokens so far
    double queued;                    //  When it came
    uint64_t hold;                    //  The hold that it waits for the end of
    bool started;                     //  It had a step
    engine_core_logprobs_t logprobs;  //  Of the newest tokens; no columns: not asked for
    engine_core_logprobs_t prompt_logprobs;
    size_t bytes;   //  What it takes up
    bool finished;  //  Told in the last outputs, to be dropped at the next call
} s_running_t;

struct toy_scheduler {
    toy_scheduler_config_t config;
    //  Those that run, by request id. Strangers choose the ids: a tree is as fast for any of them,
    //  and a hash table whose function is known is not.
    void *by_id;
    size_t running;   //  How many are in there
    s_running_t all;  //  The ends of the list of all
    size_t count;     //  All
    size_t bytes;     //  What they take up
    uint64_t tokens;  //  Of those that run: prompts and outputs
    size_t waiting;   //  Of those that run
    uint64_t hold;    //  Number of the hold that lasts, or of the next one
    bool holding;
    engine_core_output_t *outputs;  //  Of the last call,
    s_running_t **told;             //  whose they are,
    size_t told_count;              //  how many,
    size_t room;                    //  and how many there is room for
};

toy_scheduler_t *toy_scheduler_new (const toy_scheduler_config_t *config)
{
    toy_scheduler_t *self = zmalloc (sizeof *self);
    self->config = *config;
    self->all.previous = self->all.next = &self->all;
    self->hold = 1;
    return self;
}

static void s_free_logprobs (engine_core_logprobs_t *self)
{
    free ((uint32_t *) self->token_ids);
    free ((float *) self->logprobs);
    free ((uint32_t *) self->ranks);
}

static void s_running_destroy (s_running_t **self_p)
{
    engine_core_request_destroy (&(*self_p)->request);
    free ((*self_p)->tokens);
    s_free_logprobs (&(*self_p)->logprobs);
    s_free_logprobs (&(*self_p)->prompt_logprobs);
    free (*self_p);
    *self_p = NULL;
}

//  In front of `next`, as the last one before it
static void s_link (s_running_t *running, s_running_t *next)
{
    running->previous = next->previous;
    running->next = next;
    next->previous->next = running;
    next->previous = running;
}

//  For tsearch
static int s_compare (const void *a, const void *b)
{
    return strcmp (((const s_running_t *) a)->request->request_id,
                   ((const s_running_t *) b)->request->request_id);
}

void toy_scheduler_destroy (toy_scheduler_t **self_p)
{
    toy_scheduler_t *self = *self_p;
    if (!self)
        return;
    for (s_running_t *at = self->all.next, *next; at != &self->all; at = next) {
        next = at->next;
        if (!at->finished)
            tdelete (at, &self->by_id, s_compare);
        s_running_destroy (&at);
    }
    free (self->outputs);
    free (self->told);
    free (self);
    *self_p = NULL;
}

//  Drops what has finished. The outputs of the last step may point into it, so not before now.
static void s_retire (toy_scheduler_t *self)
{
    for (size_t i = 0; i < self->told_count; i++) {
        s_running_t *running = self->told[i];
        if (!running->finished)
            continue;
        running->previous->next = running->next;
        running->next->previous = running->previous;
        self->count--;
        self->bytes -= running->bytes;
        s_running_destroy (&running);
    }
    self->told_count = 0;
}

//  FNV-1a over the prompt's tokens
static uint64_t s_hash (const engine_core_request_t *request)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < request->prompt_token_count; i++)
        hash = (hash ^ request->prompt_token_ids[i]) * 1099511628211u;
    return hash;
}

//  How many logprobs a token gets when so many are asked for
static size_t s_columns (const toy_scheduler_t *self, size_t columns)
{
    if (columns > LOGPROBS_MAX)
        columns = LOGPROBS_MAX;
    return columns > (size_t) self->config.vocab_size + 1 ? (size_t) self->config.vocab_size + 1
                                                          : columns;
}

//  Room for so many rows, to be freed by the caller; no columns when none are asked for. The
//  numbers are always the same: the token is the likeliest with 1/2, each further one half of that.
static engine_core_logprobs_t s_new_logprobs (const toy_scheduler_t *self, size_t rows,
                                              size_t columns)
{
    columns = s_columns (self, columns);
    if (columns == 0 || rows == 0)
        return (engine_core_logprobs_t){0};
    float *logprobs = zmalloc (rows * columns * sizeof *logprobs);
    uint32_t *ranks = zmalloc (rows * sizeof *ranks);
    for (size_t row = 0; row < rows; row++) {
        ranks[row] = 1;
        for (size_t column = 0; column < columns; column++)  //  The first is told twice
            logprobs[row * columns + column] = (float) (-M_LN2 * (column ? (double) column : 1));
    }
    return (engine_core_logprobs_t){.columns = columns,
                                    .token_ids = zmalloc (rows * columns * sizeof (uint32_t)),
                                    .logprobs = logprobs,
                                    .ranks = ranks};
}

//  The token's row: itself, and then the likeliest, of which it is the first; or those of `ids`,
//  unless that is NULL
static void s_add_logprobs (const toy_scheduler_t *self, engine_core_logprobs_t *logprobs,
                            const uint32_t *ids, uint32_t token)
{
    if (logprobs->columns == 0)
        return;
    size_t start = logprobs->rows++ * logprobs->columns;
    uint32_t *row = (uint32_t *) logprobs->token_ids + start;
    float *values = (float *) logprobs->logprobs + start;
    row[0] = token;
    for (size_t column = 1; column < logprobs->columns; column++) {
        row[column] =
            ids ? ids[column - 1] : (uint32_t) ((token + column - 1) % self->config.vocab_size);
        if (ids)
            values[column] = (float) (-M_LN2 * (row[column] == token ? 1 : (double) column + 1));
    }
}

//  Nothing tells how likely the first token of a prompt is
static void s_add_prompt_logprobs (const toy_scheduler_t *self, s_running_t *running)
{
    const engine_core_request_t *request = running->request;
    if (request->prompt_token_count < 2)
        return;
    running->prompt_logprobs =
        s_new_logprobs (self, request->prompt_token_count - 1, request->prompt_logprobs);
    for (size_t i = 1; i < request->prompt_token_count; i++)
        s_add_logprobs (self, &running->prompt_logprobs, NULL, request->prompt_token_ids[i]);
}

//  A request for n samples comes as n requests: 0_ID, 1_ID and so on. So that they differ also when
//  they have no seeds.
static uint64_t s_sample (const char *request_id)
{
    size_t digits = strspn (request_id, "0123456789");
    return digits > 0 && request_id[digits] == '_' ? strtoull (request_id, NULL, 10) : 0;
}

//  What a request takes up: tokens are 4 bytes, a logprob 8, and there are some small things
static size_t s_bytes (const toy_scheduler_t *self, const engine_core_request_t *request)
{
    size_t prompt = request->prompt_token_count, chunk = self->config.chunk_size;
    size_t ids = request->logprob_token_count;
    return 512 + strlen (request->request_id) +
           4 * (prompt + request->stop_token_count + ids + chunk) +
           8 * prompt * s_columns (self, request->prompt_logprobs) +
           8 * chunk * s_columns (self, ids > 0 ? ids + 1 : request->logprobs);
}

bool toy_scheduler_has_room (toy_scheduler_t *self, const engine_core_request_t *request)
{
    s_retire (self);
    size_t bytes = s_bytes (self, request);
    return bytes <= TOY_SCHEDULER_MAX_REQUEST && bytes <= TOY_SCHEDULER_MAX_BYTES - self->bytes;
}

//  Room for an output of each request
static void s_make_room (toy_scheduler_t *self)
{
    if (self->count <= self->room)
        return;
    self->room = 2 * self->count;
    self->outputs = realloc (self->outputs, self->room * sizeof *self->outputs);
    self->told = realloc (self->told, self->room * sizeof *self->told);
    if (!self->outputs || !self->told)
        abort ();  //  As zmalloc does when memory is out
}

int toy_scheduler_add (toy_scheduler_t *self, engine_core_request_t **request_p, double now)
{
    s_retire (self);
    engine_core_request_t *request = *request_p;
    s_running_t *running = zmalloc (sizeof *running);
    running->request = request;
    s_running_t **found = tsearch (running, &self->by_id, s_compare);
    if (!found)
        abort ();
    if (*found != running) {
        free (running);
        return -1;
    }
    running->bytes = s_bytes (self, request);
    request->stop_token_count =
        token_set_sort ((uint32_t *) request->stop_token_ids, request->stop_token_count);
    running->state =
        s_hash (request) ^ self->config.seed ^ request->seed << 32 ^ s_sample (request->request_id);
    running->tokens = zmalloc (self->config.chunk_size * sizeof *running->tokens);
    size_t ids = request->logprob_token_count;
    running->logprobs =
        s_new_logprobs (self, self->config.chunk_size, ids > 0 ? ids + 1 : request->logprobs);
    s_add_prompt_logprobs (self, running);
    running->queued = now;
    running->hold = self->holding ? self->hold : 0;
    s_link (running, &self->all);
    self->count++;
    self->running++;
    self->bytes += running->bytes;
    self->tokens += request->prompt_token_count;
    self->waiting += self->holding;
    s_make_room (self);
    *request_p = NULL;
    return 0;
}

size_t toy_scheduler_running (toy_scheduler_t *self)
{
    return self->running;
}

uint64_t toy_scheduler_tokens (toy_scheduler_t *self)
{
    return self->tokens;
}

void toy_scheduler_hold (toy_scheduler_t *self, bool hold)
{
    self->holding = hold;
    if (hold)
        return;
    self->hold++;  //  Nobody waits for this one yet
    self->waiting = 0;
}

size_t toy_scheduler_served (toy_scheduler_t *self)
{
    return self->running - self->waiting;
}

static bool s_waits (const toy_scheduler_t *self, const s_running_t *running)
{
    return running->hold == self->hold;
}

//  It keeps its memory, but no longer its name
static void s_finish (toy_scheduler_t *self, s_running_t *running)
{
    self->waiting -= s_waits (self, running);
    self->running--;
    self->tokens -= running->request->prompt_token_count + running->made;
    running->finished = true;
    tdelete (running, &self->by_id, s_compare);
}

//  The last output of a request
static void s_abort (toy_scheduler_t *self, s_running_t *running)
{
    s_finish (self, running);
    self->told[self->told_count] = running;
    self->outputs[self->told_count++] = (engine_core_output_t){
        .request_id = running->request->request_id,
        .finish_reason = ENGINE_CORE_ABORTED,
    };
}

size_t toy_scheduler_abort (toy_scheduler_t *self, const char *const *request_ids, size_t count,
                            const engine_core_output_t **outputs)
{
    s_retire (self);
    for (size_t i = 0; i < count; i++) {
        engine_core_request_t request = {.request_id = request_ids[i]};
        s_running_t wanted = {.request = &request};
        s_running_t **found = tfind (&wanted, &self->by_id, s_compare);
        if (found)
            s_abort (self, *found);
    }
    *outputs = self->outputs;
    return self->told_count;
}

static const uint32_t *s_find_stop (const engine_core_request_t *request, uint32_t token)
{
    return token_set_find (request->stop_token_ids, request->stop_token_count, token);
}

static bool s_is_eos (const engine_core_request_t *request, uint32_t token)
{
    return request->eos_token_id >= 0 && (uint64_t) request->eos_token_id == token;
}

//  See s_next_token
#define STOP_ROWS_MAX 8

//  The next token of a request. One that would end it does not come before min_tokens are there:
//  vLLM's sampler is kept from choosing it.
static uint32_t s_next_token (const toy_scheduler_t *self, s_running_t *running)
{
    const engine_core_request_t *request = running->request;
    //  Knuth's MMIX generator; its high bits are the good ones
    running->state = running->state * 6364136223846793005u + 1442695040888963407u;
    uint32_t token = (uint32_t) (running->state >> 33) % self->config.vocab_size;
    if (running->made >= request->min_tokens)
        return token;
    //  At the most this meets a row of stop tokens, the eos token, the next row, and the same
    //  again from 0 on. When that is in vain every token ends it: then let it be one.
    for (int tries = 0; tries < STOP_ROWS_MAX; tries++) {
        const uint32_t *stop = s_find_stop (request, token);
        if (!stop && !s_is_eos (request, token))
            break;
        if (stop)
            token =
                token_set_last_of_row (request->stop_token_ids, request->stop_token_count, stop);
        token = token < self->config.vocab_size - 1 ? token + 1 : 0;
    }
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

//  One step of a request. Returns how much work that was.
static size_t s_step (toy_scheduler_t *self, s_running_t *running, double now)
{
    engine_core_output_t *output = &self->outputs[self->told_count];
    self->told[self->told_count++] = running;
    size_t work = 0;
    *output = (engine_core_output_t){.request_id = running->request->request_id,
                                     .new_token_ids = running->tokens,
                                     .finish_reason = ENGINE_CORE_RUNNING};
    if (!running->started) {
        running->started = true;
        if (!self->config.plain) {
            output->queued = running->queued;
            output->scheduled = now;
        }
        output->prefilled = (uint32_t) running->request->prompt_token_count;
        output->prompt_logprobs =
            running->prompt_logprobs.rows > 0 ? &running->prompt_logprobs : NULL;
        work += running->prompt_logprobs.rows * running->prompt_logprobs.columns;
    }
    running->logprobs.rows = 0;
    if (running->request->pooling)
        output->finish_reason = ENGINE_CORE_ERROR;
    else if (running->request->max_tokens == 0)
        output->finish_reason = ENGINE_CORE_LENGTH;
    while (output->finish_reason == ENGINE_CORE_RUNNING &&
           output->new_token_count < self->config.chunk_size) {
        uint32_t token = s_next_token (self, running);
        running->tokens[output->new_token_count++] = token;
        s_add_logprobs (self, &running->logprobs, running->request->logprob_token_ids, token);
        running->made++;
        self->tokens++;
        s_check_stop (self, running, output);
    }
    if (running->logprobs.rows > 0)
        output->logprobs = &running->logprobs;
    if (output->finish_reason != ENGINE_CORE_RUNNING)
        s_finish (self, running);
    return work + output->new_token_count * (1 + running->logprobs.columns);
}

size_t toy_scheduler_step (toy_scheduler_t *self, double now, const engine_core_output_t **outputs)
{
    s_retire (self);
    size_t work = 0;
    s_running_t *at = self->all.next;
    for (; at != &self->all && work < STEP_WORK; at = at->next) {
        work += STEP_WORK_REQUEST;
        if (!s_waits (self, at))
            work += s_step (self, at, now);
    }
    if (at != &self->all) {  //  From now on the list begins at `at`: its two ends move there
        self->all.previous->next = self->all.next;
        self->all.next->previous = self->all.previous;
        s_link (&self->all, at);
    }
    *outputs = self->outputs;
    return self->told_count;
}

size_t toy_scheduler_abort_client (toy_scheduler_t *self, uint32_t client_index,
                                   const engine_core_output_t **outputs)
{
    s_retire (self);
    for (s_running_t *at = self->all.next; at != &self->all; at = at->next)
        if (client_index == TOY_SCHEDULER_ALL || at->request->client_index == client_index)
            s_abort (self, at);
    *outputs = self->outputs;
    return self->told_count;
}

const engine_core_request_t *toy_scheduler_request (toy_scheduler_t *self,
                                                    const engine_core_output_t *output)
{
    return self->told[output - self->outputs]->request;
}

size_t toy_scheduler_made (toy_scheduler_t *self, const engine_core_output_t *output)
{
    return self->told[output - self->outputs]->made;
}
