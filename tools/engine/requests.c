//  SPDX-License-Identifier: MIT

#include "engine/requests.h"
#include "lib/log.h"

//  Any tokens would do
static const uint32_t prompt[] = {1, 15043, 3186, 29892, 590};

typedef struct {
    char id[16];
    int engine;  //  -1: not sent
    bool finished;
    size_t tokens;
} s_request_t;

struct requests {
    uint32_t max_tokens;
    int release;  //  0: the newest
    int count;
    int open;
    int in_flight;  //  Of these, sent
    int complete;
    int lost;                        //  With a dead engine; that has been told
    int unsent;                      //  No request before this one is to be sent
    engine_core_outputs_t *outputs;  //  Of the last message; NULL: there was none
    s_request_t all[];
};

requests_t *requests_new (int count, int max_tokens, int release)
{
    requests_t *self = zmalloc (sizeof *self + (size_t) count * sizeof self->all[0]);
    self->max_tokens = (uint32_t) max_tokens;
    self->release = release;
    self->count = self->open = count;
    for (int i = 0; i < count; i++) {
        snprintf (self->all[i].id, sizeof self->all[i].id, "r%d", i);
        self->all[i].engine = -1;
    }
    return self;
}

void requests_destroy (requests_t **self_p)
{
    requests_t *self = *self_p;
    if (!self)
        return;
    engine_core_outputs_destroy (&self->outputs);
    free (self);
    *self_p = NULL;
}

int requests_unsent (requests_t *self)
{
    while (self->unsent < self->count &&
           (self->all[self->unsent].engine != -1 || self->all[self->unsent].finished))
        self->unsent++;
    return self->unsent < self->count ? self->unsent : -1;
}

zmsg_t *requests_message (requests_t *self, int number, int engine)
{
    s_request_t *open = &self->all[number];
    engine_core_request_t request = {.request_id = open->id,
                                     .prompt_token_ids = prompt,
                                     .prompt_token_count = sizeof prompt / sizeof prompt[0],
                                     .max_tokens = self->max_tokens,
                                     .release = self->release,
                                     .arrival_time = (double) zclock_time () / 1000};
    open->engine = engine;
    self->in_flight++;
    print_line ("%s -> engine %d", open->id, engine);
    zframe_t *payload = engine_core_request_encode (&request);
    return engine_core_message ((uint16_t) engine, ENGINE_CORE_ADD, &payload);
}

//  The open request of this id at this engine, or NULL
static s_request_t *s_find (requests_t *self, const char *id, uint32_t engine)
{
    //  Our ids are numbers behind an r. This takes more than those; the comparison does not.
    int number = 0;
    if (*id != 'r')
        return NULL;
    for (const char *at = id + 1; *at >= '0' && *at <= '9' && number < self->count; at++)
        number = number * 10 + (*at - '0');
    if (number >= self->count)
        return NULL;
    s_request_t *request = &self->all[number];
    bool open = streq (request->id, id) && request->engine == (int) engine && !request->finished;
    return open ? request : NULL;
}

static void s_take_output (requests_t *self, const engine_core_output_t *output, uint32_t engine)
{
    s_request_t *request = s_find (self, output->request_id, engine);
    if (!request) {
        warn_line ("engine %u: no open request has the id %s", engine, output->request_id);
        return;
    }
    request->tokens += output->new_token_count;
    if (output->finish_reason == ENGINE_CORE_RUNNING)
        return;
    print_line ("%s <- engine %u: %zu token%s, %s", request->id, engine, request->tokens,
                request->tokens == 1 ? "" : "s", engine_core_finish_name (output->finish_reason));
    request->finished = true;
    self->open--;
    self->in_flight--;
    if (output->finish_reason == ENGINE_CORE_LENGTH || output->finish_reason == ENGINE_CORE_STOP)
        self->complete++;
}

void requests_take (requests_t *self, zmsg_t *message)
{
    mp_error_t error;
    if (!engine_core_outputs_decode_again (&self->outputs, zmsg_first (message), &error)) {
        warn_line ("bad outputs: %s", error.text);
        return;
    }
    for (size_t i = 0; i < self->outputs->output_count; i++)
        s_take_output (self, &self->outputs->outputs[i], self->outputs->engine_index);
}

int requests_open (requests_t *self)
{
    return self->open;
}

int requests_in_flight (requests_t *self)
{
    return self->in_flight;
}

bool requests_complete (requests_t *self)
{
    return self->complete == self->count;
}

zmsg_t *requests_abort (requests_t *self, int engine)
{
    const char **ids = zmalloc (((size_t) self->count + 1) * sizeof *ids);
    engine_core_abort_t abort = {.request_ids = ids};
    for (int i = 0; engine != -1 && i < self->count; i++)
        if (self->all[i].engine == engine && !self->all[i].finished)
            ids[abort.count++] = self->all[i].id;
    zmsg_t *message = NULL;
    if (abort.count > 0) {
        zframe_t *payload = engine_core_abort_encode (&abort);
        message = engine_core_message ((uint16_t) engine, ENGINE_CORE_ABORT, &payload);
        print_line ("aborting %zu request%s at engine %d", abort.count, abort.count == 1 ? "" : "s",
                    engine);
    }
    free (ids);
    return message;
}

int requests_engine_died (requests_t *self, int engine, bool reroute)
{
    int lost = 0;
    for (int i = 0; i < self->count; i++) {
        s_request_t *request = &self->all[i];
        if (request->engine != engine || request->finished)
            continue;
        if (engine == -1)
            print_line ("%s failed: no engine is left", request->id);
        else
            print_line ("%s %s: engine %d is dead", request->id,
                        reroute ? "to be sent again" : "failed", engine);
        lost++;
        self->in_flight -= engine != -1;
        if (reroute) {
            request->engine = -1;
            request->tokens = 0;
            if (i < self->unsent)
                self->unsent = i;
        } else {
            request->finished = true;
            self->open--;
            self->lost++;
        }
    }
    return lost;
}

zmsg_t *requests_probe (int engine)
{
    engine_core_abort_t nothing = {.count = 0};
    zframe_t *payload = engine_core_abort_encode (&nothing);
    return engine_core_message ((uint16_t) engine, ENGINE_CORE_ABORT, &payload);
}

void requests_print_engine (requests_t *self, int engine)
{
    char *line = NULL;
    size_t size;
    FILE *out = open_memstream (&line, &size);
    if (!out)
        return;
    fprintf (out, "engine %d:", engine);
    for (int i = 0; i < self->count; i++)
        if (self->all[i].engine == engine)
            fprintf (out, " %s", self->all[i].id);
    fclose (out);
    print_result ("%s", line);
    free (line);
}

void requests_print_summary (requests_t *self)
{
    //  With requests open there was another reason to stop, and it has been told
    int early = self->count - self->complete - self->lost;
    if (self->open == 0 && early > 0)
        warn_line ("%d request%s ended early", early, early == 1 ? "" : "s");
    size_t tokens = 0;
    for (int i = 0; i < self->count; i++)
        tokens += self->all[i].tokens;
    print_summary ("%d of %d requests complete, %zu token%s", self->complete, self->count, tokens,
                   tokens == 1 ? "" : "s");
}
