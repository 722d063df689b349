//  SPDX-License-Identifier: MIT

#include "engine/toy_engine.h"
#include "lib/log.h"

//  More adapters, and more calls that wait for a pause, are somebody's who means no good
#define LORAS_MAX 1000
#define PAUSING_MAX 1000

//  What a pause makes of the requests that run: vLLM's PauseMode
typedef enum {
    GOING,
    DRAINING,  //  They come to their end; what is new waits
    PAUSED     //  No steps
} s_pause_t;

struct toy_engine {
    toy_engine_config_t config;
    toy_engine_send_t *send;
    void *owner;
    toy_scheduler_t *scheduler;
    s_pause_t pause;
    zlist_t *pausing;       //  Calls, to be answered when it is PAUSED
    unsigned asleep;        //  ENGINE_CORE_TAG_... of what sleeps; 0: awake
    zhashx_t *loras;        //  The keys are the lora_int_ids that were added, as text
    uint32_t new_requests;  //  Since the last step,
    uint64_t new_tokens;    //  and the tokens of their prompts
    uint32_t told_load;     //  What toy_engine_load has told last
    toy_engine_counts_t counts;
};

static double s_now (void)
{
    return (double) zclock_usecs () / 1e6;
}

toy_engine_t *toy_engine_new (const toy_engine_config_t *config, toy_engine_send_t *send,
                              void *owner)
{
    toy_engine_t *self = zmalloc (sizeof *self);
    self->config = *config;
    if (self->config.ready.max_model_len == 0)
        self->config.ready = (engine_core_ready_t){.max_model_len = 8192,
                                                   .num_gpu_blocks = 1024,
                                                   .block_size = 16,
                                                   .dtype = "bfloat16",
                                                   .vllm_version = "0.26.0",
                                                   .world_size = 1,
                                                   .data_parallel_size = 1};
    self->send = send;
    self->owner = owner;
    toy_scheduler_config_t scheduler = {.vocab_size =
                                            config->vocab_size ? config->vocab_size : 32000,
                                        .chunk_size = config->chunk_size ? config->chunk_size : 1,
                                        .seed = config->seed,
                                        .max_model_len = self->config.ready.max_model_len,
                                        .plain = config->plain};
    self->scheduler = toy_scheduler_new (&scheduler);
    self->loras = zhashx_new ();
    self->pausing = zlist_new ();
    return self;
}

void toy_engine_destroy (toy_engine_t **self_p)
{
    toy_engine_t *self = *self_p;
    if (!self)
        return;
    toy_scheduler_destroy (&self->scheduler);
    zhashx_destroy (&self->loras);
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

//  Nothing for a client_index that nobody has
static void s_send (toy_engine_t *self, uint32_t client_index, engine_core_outputs_t outputs)
{
    if (client_index >= self->config.clients)
        return;
    outputs.engine_index = self->config.index;
    outputs.timestamp = s_now ();
    self->send (self->owner, client_index, engine_core_outputs_encode (&outputs));
}

//  Ends a request that has not begun
static void s_refuse (toy_engine_t *self, uint32_t client_index, const char *request_id)
{
    engine_core_output_t refused = {.request_id = request_id, .finish_reason = ENGINE_CORE_ERROR};
    s_send (self, client_index, (engine_core_outputs_t){.outputs = &refused, .output_count = 1});
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
    const engine_core_scheduler_stats_t *news = NULL;
    if (!self->config.plain) {
        stats = s_take_stats (self);
        news = &stats;
    }
    if (self->config.clients == 1) {  //  Nothing is to be shared out, nor copied
        if (count > 0)
            s_send (self, 0,
                    (engine_core_outputs_t){
                        .outputs = outputs, .output_count = count, .scheduler_stats = news});
        return;
    }
    bool all = count > 0 && news && news->num_running_reqs == 0;
    engine_core_output_t *share = zmalloc ((count + 1) * sizeof *share);
    for (uint32_t client = 0; client < self->config.clients; client++) {
        size_t size = 0;
        for (size_t i = 0; i < count; i++)
            if (toy_scheduler_request (self->scheduler, &outputs[i])->client_index == client)
                share[size++] = outputs[i];
        if (size == 0 && !all)
            continue;
        s_send (self, client,
                (engine_core_outputs_t){
                    .outputs = share, .output_count = size, .scheduler_stats = news});
        news = all ? &idle : NULL;  //  What has come is told once
    }
    free (share);
}

//  Tells of requests that have been ended. With them goes how busy the engine is now: when nothing
//  is left, no step will tell it, and a front-end would show the old number for ever.
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
    engine_core_request_t *request = engine_core_request_decode (payload, error);
    if (!request) {
        //  Its front-end waits for an end: if we know whom and what, it gets one
        uint32_t client_index;
        char *request_id = engine_core_request_id (payload, &client_index);
        if (request_id)
            s_refuse (self, client_index, request_id);
        zstr_free (&request_id);
        return false;
    }
    if (request->client_index >= self->config.clients) {
        mp_error_set (error, "EngineCoreRequest.client_index",
                      "%" PRIu32 ", but there are %" PRIu32 " front-ends", request->client_index,
                      self->config.clients);
        engine_core_request_destroy (&request);
        return false;
    }
    if (!self->config.quiet)
        print_line ("%s: %zu prompt tokens", request->request_id, request->prompt_token_count);
    size_t prompt_tokens = request->prompt_token_count;
    const char *request_id = request->request_id;
    bool abort_immediately = request->abort_immediately;
    if (!toy_scheduler_has_room (self->scheduler, request)) {
        warn_line ("%s: no room for one more request", request->request_id);
        s_refuse (self, request->client_index, request->request_id);
        engine_core_request_destroy (&request);
    } else if (toy_scheduler_add (self->scheduler, &request, s_now ()) == 0) {
        self->new_requests++;
        self->new_tokens += prompt_tokens;
        if (abort_immediately)
            s_abort_these (self, &request_id, 1);
    } else {
        warn_line ("%s: a request of that id is running", request->request_id);
        s_refuse (self, request->client_index, request->request_id);
        engine_core_request_destroy (&request);
    }
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

//  -- Utility calls

//  What EngineCore's methods return. The name of one that fails is that of its reason.
typedef enum {
    RESULT_NONE,
    RESULT_TRUE,
    RESULT_FALSE,
    RESULT_TASKS,
    RESULT_EMPTY,
    RESULT_LORAS,
    RESULT_LATER,  //  When the pause is complete
    RESULT_NO_WORKERS,
    RESULT_NO_MODE,
    RESULT_NO_ROOM,
    RESULT_NO_METHOD
} s_result_t;

static bool s_is (const engine_core_utility_t *call, const char *method)
{
    return streq (call->method, method);
}

//  Adapters are only known by their number: this has no model to apply them to
static s_result_t s_call_lora (toy_engine_t *self, const engine_core_utility_t *call)
{
    char key[24];
    if (call->number == -1)
        return RESULT_FALSE;
    snprintf (key, sizeof key, "%" PRId64, call->number);
    if (s_is (call, "add_lora")) {
        if (zhashx_size (self->loras) == LORAS_MAX && !zhashx_lookup (self->loras, key))
            return RESULT_FALSE;
        zhashx_update (self->loras, key, self);  //  Any value that is not NULL
        return RESULT_TRUE;
    }
    bool known = zhashx_lookup (self->loras, key);
    if (s_is (call, "remove_lora"))
        zhashx_delete (self->loras, key);
    return known ? RESULT_TRUE : RESULT_FALSE;
}

//  As vLLM's pause_scheduler: requests that run end, stay as they are, or come to their end. Those
//  that come now wait in any case.
static s_result_t s_pause (toy_engine_t *self, const engine_core_utility_t *call)
{
    const char *mode = call->word ? call->word : "abort";
    if (!streq (mode, "abort") && !streq (mode, "keep") && !streq (mode, "wait"))
        return RESULT_NO_MODE;
    if (streq (mode, "abort"))
        toy_engine_abort_all (self);
    toy_scheduler_hold (self->scheduler, true);
    if (s_is (call, "sleep") && call->number != 0 && !self->asleep)  //  Level 0 is but a pause
        self->asleep = ENGINE_CORE_TAG_WEIGHTS | ENGINE_CORE_TAG_KV_CACHE;
    bool wait = streq (mode, "wait") && toy_scheduler_served (self->scheduler) > 0;
    self->pause = wait ? DRAINING : PAUSED;
    return wait ? RESULT_LATER : RESULT_NONE;
}

static void s_resume (toy_engine_t *self)
{
    self->pause = GOING;
    toy_scheduler_hold (self->scheduler, false);
}

//  As vLLM's wake_up: what the tags name, or everything. It goes on when nothing sleeps any more. A
//  tag of something that does not sleep, and none is woken.
static void s_wake_up (toy_engine_t *self, const engine_core_utility_t *call)
{
    unsigned tags = call->tagged ? call->tags : self->asleep;
    if (!(tags & ~self->asleep))
        self->asleep &= ~tags;
    if (!self->asleep)
        s_resume (self);
}

static s_result_t s_call (toy_engine_t *self, const engine_core_utility_t *call)
{
    if (s_is (call, "get_supported_tasks"))
        return RESULT_TASKS;
    if (s_is (call, "is_sleeping"))
        return self->asleep || self->pause != GOING ? RESULT_TRUE : RESULT_FALSE;
    if (s_is (call, "is_scheduler_paused"))
        return self->pause != GOING ? RESULT_TRUE : RESULT_FALSE;
    if (s_is (call, "sleep") || s_is (call, "pause_scheduler"))
        return s_pause (self, call);
    if (s_is (call, "wake_up")) {
        s_wake_up (self, call);
        return RESULT_NONE;
    }
    if (s_is (call, "resume_scheduler")) {
        s_resume (self);
        return RESULT_NONE;
    }
    if (s_is (call, "add_lora") || s_is (call, "remove_lora") || s_is (call, "pin_lora"))
        return s_call_lora (self, call);
    if (s_is (call, "list_loras"))
        return RESULT_LORAS;
    if (s_is (call, "reset_prefix_cache"))
        return RESULT_TRUE;
    if (s_is (call, "get_kv_cache_group_metadata"))
        return RESULT_EMPTY;
    if (s_is (call, "reset_mm_cache") || s_is (call, "reset_encoder_cache") ||
        s_is (call, "profile") || s_is (call, "execute_dummy_batch"))
        return RESULT_NONE;
    if (s_is (call, "collective_rpc") || s_is (call, "save_sharded_state"))
        return RESULT_NO_WORKERS;
    return RESULT_NO_METHOD;
}

//  The value as msgpack, or NULL for a failure. The caller's.
static zframe_t *s_encode_result (toy_engine_t *self, s_result_t result)
{
    if (result >= RESULT_NO_WORKERS)
        return NULL;
    mp_writer_t writer;
    msgpack_packer *packer = mp_begin (&writer);
    if (result == RESULT_TRUE) {
        msgpack_pack_true (packer);
    } else if (result == RESULT_FALSE) {
        msgpack_pack_false (packer);
    } else if (result == RESULT_TASKS) {
        msgpack_pack_array (packer, 1);
        mp_pack_str (packer, "generate");
    } else if (result == RESULT_LORAS) {
        msgpack_pack_array (packer, zhashx_size (self->loras));
        for (void *item = zhashx_first (self->loras); item; item = zhashx_next (self->loras))
            msgpack_pack_int64 (packer, strtoll (zhashx_cursor (self->loras), NULL, 10));
    } else if (result == RESULT_EMPTY) {
        msgpack_pack_array (packer, 0);
    } else {
        msgpack_pack_nil (packer);
    }
    return mp_end (&writer);
}

static void s_answer (toy_engine_t *self, const engine_core_utility_t *call, s_result_t result)
{
    static const char *const failures[] = {[RESULT_NO_WORKERS] = "this toy has no workers",
                                           [RESULT_NO_MODE] = "there is no such mode",
                                           [RESULT_NO_ROOM] = "too many wait for that already",
                                           [RESULT_NO_METHOD] = "this toy has no such method"};
    zframe_t *value = s_encode_result (self, result);
    engine_core_utility_output_t output = {.call_id = call->call_id};
    char *failure = NULL;
    if (value) {
        output.result = (mp_slice_t){(char *) zframe_data (value), zframe_size (value)};
        if (!self->config.quiet)
            print_line ("%s: answered", call->method);
    } else {
        failure = zsys_sprintf ("%s: %s", call->method, failures[result]);
        output.failure_message = failure;
        print_line ("%s", failure);
    }
    s_send (self, call->client_index, (engine_core_outputs_t){.utility_output = &output});
    zstr_free (&failure);
    zframe_destroy (&value);
}

//  Answers those who have waited for the last request to end; or for a pause that is over by now
static void s_answer_pausing (toy_engine_t *self)
{
    if (self->pause == DRAINING && toy_scheduler_served (self->scheduler) > 0)
        return;
    if (self->pause == DRAINING)
        self->pause = PAUSED;
    for (engine_core_utility_t *call; (call = zlist_pop (self->pausing));) {
        s_answer (self, call, RESULT_NONE);
        engine_core_utility_destroy (&call);
    }
}

static bool s_utility (toy_engine_t *self, zframe_t *payload, mp_error_t *error)
{
    engine_core_utility_t *call = engine_core_utility_decode (payload, error);
    if (!call)
        return false;
    if (call->client_index >= self->config.clients) {
        mp_error_set (error, "utility call.client_index",
                      "%" PRIu32 ", but there are %" PRIu32 " front-ends", call->client_index,
                      self->config.clients);
        engine_core_utility_destroy (&call);
        return false;
    }
    s_result_t result = s_call (self, call);
    if (result == RESULT_LATER && zlist_size (self->pausing) == PAUSING_MAX)
        result = RESULT_NO_ROOM;
    if (result == RESULT_LATER) {
        zlist_append (self->pausing, call);
        return true;
    }
    s_answer (self, call, result);
    engine_core_utility_destroy (&call);
    return true;
}

void toy_engine_handle (toy_engine_t *self, zmsg_t *message)
{
    zframe_t *type = zmsg_first (message);
    zframe_t *payload = zmsg_next (message);
    mp_error_t error;
    bool ok = false;
    if (!payload || zframe_size (type) != 1)
        mp_error_set (&error, "message",
                      "want a type byte and a payload, got %zu frames, %zu bytes in "
                      "the first",
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
            ok = s_utility (self, payload, &error);
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
    s_answer_pausing (self);
}

//  -- Steps

void toy_engine_step (toy_engine_t *self)
{
    const engine_core_output_t *outputs;
    size_t count = toy_scheduler_step (self->scheduler, s_now (), &outputs);
    for (size_t i = 0; i < count; i++) {
        if (outputs[i].finish_reason == ENGINE_CORE_RUNNING)
            continue;
        if (!self->config.quiet)
            print_line ("%s: %zu tokens, %s", outputs[i].request_id,
                        toy_scheduler_made (self->scheduler, &outputs[i]),
                        engine_core_finish_name (outputs[i].finish_reason));
        self->counts.finished++;
    }
    s_send_shares (self, outputs, count);
    s_answer_pausing (self);
}

void toy_engine_abort_all (toy_engine_t *self)
{
    const engine_core_output_t *outputs;
    size_t count = toy_scheduler_abort_all (self->scheduler, &outputs);
    s_tell_aborted (self, outputs, count);
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
