//  SPDX-License-Identifier: MIT

#include "engine/toy_engine_own.h"
#include "lib/log.h"

static double s_now (void)
{
    return (double) zclock_usecs () / 1e6;
}

toy_engine_t *toy_engine_new (const toy_engine_config_t *config, toy_engine_send_t *send,
                              void *owner)
{
    toy_engine_t *self = zmalloc (sizeof *self);
    self->config = *config;
    if (self->config.release == 0)
        self->config.release = ENGINE_CORE_RELEASE_MAX;
    self->weight_version = strdup ("default");
    if (self->config.ready.max_model_len == 0)
        self->config.ready = (engine_core_ready_t){.max_model_len = 8192,
                                                   .num_gpu_blocks = 1024,
                                                   .block_size = 16,
                                                   .dtype = "bfloat16",
                                                   .vllm_version = "0.33.0",
                                                   .world_size = 1,
                                                   .data_parallel_size = 1,
                                                   .max_num_seqs = 256,
                                                   .max_num_batched_tokens = 8192};
    self->send = send;
    self->owner = owner;
    toy_scheduler_config_t scheduler = {.vocab_size =
                                            config->vocab_size ? config->vocab_size : 32000,
                                        .chunk_size = config->chunk_size ? config->chunk_size : 1,
                                        .seed = config->seed,
                                        .max_model_len = self->config.ready.max_model_len,
                                        .plain = config->plain};
    self->scheduler = toy_scheduler_new (&scheduler);
    self->pausing = zlist_new ();
    return self;
}

void toy_engine_destroy (toy_engine_t **self_p)
{
    toy_engine_t *self = *self_p;
    if (!self)
        return;
    toy_scheduler_destroy (&self->scheduler);
    zstr_free (&self->weight_version);
    for (engine_core_utility_t *call; (call = zlist_pop (self->pausing));)
        engine_core_utility_destroy (&call);
    zlist_destroy (&self->pausing);
    free (self);
    *self_p = NULL;
}

zframe_t *toy_engine_registration (toy_engine_t *self)
{
    return engine_core_ready_encode (&self->config.ready);
}

//  -- Payloads

void toy_engine_send (toy_engine_t *self, uint32_t client_index, engine_core_outputs_t outputs)
{
    if (client_index >= self->config.clients)
        return;
    outputs.engine_index = self->config.index;
    outputs.timestamp = s_now ();
    outputs.release = self->config.release;
    self->send (self->owner, client_index, engine_core_outputs_encode (&outputs));
}

bool toy_engine_has_client (const toy_engine_t *self, const char *field, uint32_t client_index,
                            mp_error_t *error)
{
    return client_index < self->config.clients ||
           mp_wrong (error, field, "%" PRIu32 ", but there are %" PRIu32 " front-ends",
                     client_index, self->config.clients);
}

//  Ends a request that has not begun
static void s_refuse (toy_engine_t *self, uint32_t client_index, const char *request_id,
                      const engine_core_error_t *error)
{
    engine_core_output_t refused = {
        .request_id = request_id, .finish_reason = ENGINE_CORE_ERROR, .error = error};
    toy_engine_send (self, client_index,
                     (engine_core_outputs_t){.outputs = &refused, .output_count = 1});
}

//  How busy the engine is, and what has come since the last time
static engine_core_scheduler_stats_t s_take_stats (toy_engine_t *self)
{
    double room = (double) self->config.ready.num_gpu_blocks * self->config.ready.block_size;
    double used = (double) toy_scheduler_tokens (self->scheduler);
    engine_core_scheduler_stats_t stats = {.num_running_reqs =
                                               (uint32_t) toy_scheduler_running (self->scheduler),
                                           .kv_cache_usage = used < room ? used / room : 1,
                                           .prefix_cache_requests = self->new_requests,
                                           .prefix_cache_queries = self->new_tokens};
    self->new_requests = 0;
    self->new_tokens = 0;
    return stats;
}

//  Sends each front-end its share of the outputs. The first that gets any gets the stats too, as in
//  vLLM. That nothing runs any more is told to all of them: they share their metrics, the newest
//  counts, and one that was slow to read an older number would leave that there.
static void s_send_shares (toy_engine_t *self, const engine_core_output_t *outputs, size_t count)
{
    static const engine_core_scheduler_stats_t idle = {0};
    engine_core_scheduler_stats_t stats;
    engine_core_outputs_t message = {
        .outputs = outputs, .output_count = count, .weight_version = self->weight_version};
    if (!self->config.plain) {
        stats = s_take_stats (self);
        message.scheduler_stats = &stats;
    }
    if (count == 0)
        return;
    if (self->config.clients == 1) {  //  Nothing is to be shared out, nor copied
        toy_engine_send (self, 0, message);
        return;
    }
    bool all = !self->config.plain && stats.num_running_reqs == 0;
    engine_core_output_t *share = zmalloc (count * sizeof *share);
    message.outputs = share;
    for (uint32_t client = 0; client < self->config.clients; client++) {
        message.output_count = 0;
        for (size_t i = 0; i < count; i++)
            if (toy_scheduler_request (self->scheduler, &outputs[i])->client_index == client)
                share[message.output_count++] = outputs[i];
        if (message.output_count == 0 && !all)
            continue;
        toy_engine_send (self, client, message);
        message.scheduler_stats = all ? &idle : NULL;  //  What has come is told once
    }
    free (share);
}

//  Tells of requests that have been ended. With them goes how busy the engine is now: when nothing
//  is left, no step will tell it, and a front-end would keep the old number.
static void s_tell_aborted (toy_engine_t *self, const engine_core_output_t *outputs, size_t count)
{
    if (count == 0)
        return;
    for (size_t i = 0; i < count && !self->config.quiet; i++)
        print_line ("%s: aborted", outputs[i].request_id);
    self->counts.aborted += (int) count;
    s_send_shares (self, outputs, count);
}

//  Those of them that run
static void s_abort_these (toy_engine_t *self, const char *const *request_ids, size_t count)
{
    const engine_core_output_t *outputs;
    count = toy_scheduler_abort (self->scheduler, request_ids, count, &outputs);
    s_tell_aborted (self, outputs, count);
}

//  -- Messages. Each returns false with `error` set when the payload makes no sense.

static bool s_add (toy_engine_t *self, zframe_t *payload, mp_error_t *error)
{
    //  As EngineCoreProc._reject_add_while_paused
    static const engine_core_error_t paused = {
        .code = "engine_paused",
        .message = "Generation is paused. Please retry after it resumes.",
        .retryable = true};
    engine_core_request_t *request = engine_core_request_decode (payload, error);
    if (!request) {
        //  Its front-end waits for an end: if we know which one and what, it gets one
        uint32_t client_index;
        char *request_id = engine_core_request_id (payload, &client_index);
        if (request_id)
            s_refuse (self, client_index, request_id, NULL);
        zstr_free (&request_id);
        return false;
    }
    uint32_t client_index = request->client_index;
    if (!toy_engine_has_client (self, "EngineCoreRequest.client_index", client_index, error)) {
        engine_core_request_destroy (&request);
        return false;
    }
    const char *request_id = request->request_id;
    size_t prompt_tokens = request->prompt_token_count;
    bool abort_immediately = request->abort_immediately;
    if (!self->config.quiet)
        print_line ("%s: %zu prompt token%s", request_id, prompt_tokens,
                    prompt_tokens == 1 ? "" : "s");
    if (self->refusing && !abort_immediately) {  //  One that is to end at once is no new work
        s_refuse (self, client_index, request_id, &paused);
    } else if (!toy_scheduler_has_room (self->scheduler, request)) {
        warn_line ("%s: no room for one more request", request_id);
        s_refuse (self, client_index, request_id, NULL);
    } else if (toy_scheduler_add (self->scheduler, &request, s_now ()) == -1) {
        warn_line ("%s: a request of that id is running", request_id);
        s_refuse (self, client_index, request_id, NULL);
    } else {
        self->new_requests++;
        self->new_tokens += prompt_tokens;
        if (abort_immediately)
            s_abort_these (self, &request_id, 1);
    }
    engine_core_request_destroy (&request);
    return true;
}

static bool s_abort (toy_engine_t *self, zframe_t *payload, mp_error_t *error)
{
    engine_core_abort_t *abort = engine_core_abort_decode (payload, error);
    if (!abort)
        return false;
    //  An id that is not running may just have finished: that is no error. And the front-end has
    //  dropped what it aborts, but counts what is in flight: so it is told all the same.
    s_abort_these (self, abort->request_ids, abort->count);
    engine_core_abort_destroy (&abort);
    return true;
}

//  -- What comes

void toy_engine_handle (toy_engine_t *self, zmsg_t *message)
{
    zframe_t *type = zmsg_first (message);
    zframe_t *payload = zmsg_next (message);
    mp_error_t error;
    bool ok = false;
    if (!payload || zframe_size (type) != 1)
        mp_error_set (&error, "message",
                      "want 2 frames (a type byte and a payload), got %zu; size of the first: %zu",
                      zmsg_size (message), zframe_size (type));
    else
        switch (*zframe_data (type)) {
        case ENGINE_CORE_ADD:
            ok = s_add (self, payload, &error);
            break;
        case ENGINE_CORE_ABORT:
            ok = s_abort (self, payload, &error);
            break;
        case ENGINE_CORE_UTILITY:
            ok = toy_calls_handle (self, payload, &error);
            break;
        case ENGINE_CORE_START_DP_WAVE:
            print_line ("START_DP_WAVE ignored: this toy works alone");
            ok = true;
            break;
        default:
            mp_error_set (&error, "message", "unknown type byte %02x", *zframe_data (type));
        }
    if (!ok) {
        warn_line ("bad message: %s", error.text);
        self->counts.bad++;
    }
    toy_calls_answer_pausing (self);
}

//  -- Steps

void toy_engine_step (toy_engine_t *self)
{
    const engine_core_output_t *outputs;
    size_t count = toy_scheduler_step (self->scheduler, s_now (), &outputs);
    for (size_t i = 0; i < count; i++) {
        if (outputs[i].finish_reason == ENGINE_CORE_RUNNING)
            continue;
        size_t made = toy_scheduler_made (self->scheduler, &outputs[i]);
        if (!self->config.quiet)
            print_line ("%s: %zu token%s, %s", outputs[i].request_id, made, made == 1 ? "" : "s",
                        engine_core_finish_name (outputs[i].finish_reason));
        self->counts.finished++;
    }
    s_send_shares (self, outputs, count);
    toy_calls_answer_pausing (self);
}

void toy_engine_abort_client (toy_engine_t *self, uint32_t client_index)
{
    const engine_core_output_t *outputs;
    size_t count = toy_scheduler_abort_client (self->scheduler, client_index, &outputs);
    s_tell_aborted (self, outputs, count);
}

void toy_engine_abort_all (toy_engine_t *self)
{
    toy_engine_abort_client (self, TOY_SCHEDULER_ALL);
}

bool toy_engine_busy (toy_engine_t *self)
{
    return toy_scheduler_served (self->scheduler) > 0 && self->pause != PAUSED;
}

size_t toy_engine_running (toy_engine_t *self)
{
    return toy_scheduler_running (self->scheduler);
}

void toy_engine_add_counts (const toy_engine_t *self, toy_engine_counts_t *sum)
{
    sum->finished += self->counts.finished;
    sum->aborted += self->counts.aborted;
    sum->bad += self->counts.bad;
}

zframe_t *toy_engine_load (toy_engine_t *self)
{
    engine_core_scheduler_stats_t stats = {.num_running_reqs =
                                               (uint32_t) toy_engine_running (self)};
    if (stats.num_running_reqs == self->told_load)
        return NULL;
    self->told_load = stats.num_running_reqs;
    engine_core_outputs_t outputs = {
        .engine_index = self->config.index, .timestamp = s_now (), .scheduler_stats = &stats};
    return engine_core_outputs_encode (&outputs);
}

void toy_engine_say_summary (const toy_engine_counts_t *counts)
{
    print_summary ("%d finished, %d aborted, %d bad", counts->finished, counts->aborted,
                   counts->bad);
}
