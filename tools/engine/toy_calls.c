//  SPDX-License-Identifier: MIT

#include "engine/toy_engine_own.h"
#include "lib/log.h"

//  More calls that wait for a pause are somebody's who means no good
#define PAUSING_MAX 1000

//  What EngineCore's methods return. The name of one that fails is that of its reason.
typedef enum {
    RESULT_NONE,
    RESULT_TRUE,
    RESULT_FALSE,
    RESULT_TASKS,
    RESULT_EMPTY,
    RESULT_CHECKSUMS,
    RESULT_LORAS,
    RESULT_VERSION,
    RESULT_LATER,  //  When the pause is complete
    RESULT_NO_WORKERS,
    RESULT_NOT_PAUSED,
    RESULT_NOT_AWAKE,
    RESULT_NO_VERSION,
    RESULT_NO_RESCALING,
    RESULT_NO_MODE,
    RESULT_NO_ROOM,
    RESULT_NO_METHOD
} s_result_t;

static s_result_t s_truth (bool truth)
{
    return truth ? RESULT_TRUE : RESULT_FALSE;
}

static bool s_is (const engine_core_utility_t *call, const char *method)
{
    return streq (call->method, method);
}

//  Adapters are only known by their number: this has no model to apply them to
static s_result_t s_call_lora (toy_engine_t *self, const engine_core_utility_t *call)
{
    size_t at = 0;
    while (at < self->lora_count && self->loras[at] != call->number)
        at++;
    bool known = at < self->lora_count;
    if (call->number != -1 && !known && s_is (call, "add_lora") && at < LORAS_MAX) {
        self->loras[self->lora_count++] = call->number;
        return RESULT_TRUE;
    }
    if (known && s_is (call, "remove_lora"))
        self->loras[at] = self->loras[--self->lora_count];
    return s_truth (known);
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

static s_result_t s_resume (toy_engine_t *self)
{
    self->refusing = false;
    self->pause = GOING;
    toy_scheduler_hold (self->scheduler, false);
    return RESULT_NONE;
}

//  As vLLM's pause_generation, which is pause_scheduler for a user's pause: with "abort" and "wait"
//  what is new does not wait, it ends at once with an error that says so
static s_result_t s_pause_generation (toy_engine_t *self, const engine_core_utility_t *call)
{
    s_result_t result = s_pause (self, call);
    if (result != RESULT_NO_MODE)
        self->refusing = !call->word || !streq (call->word, "keep");
    return result;
}

//  As vLLM's release_kv_cache_memory: only when nothing runs and nothing sleeps
static s_result_t s_release_kv_cache (toy_engine_t *self)
{
    if (self->pause != PAUSED || toy_scheduler_running (self->scheduler) > 0)
        return RESULT_NOT_PAUSED;
    if (self->asleep)
        return RESULT_NOT_AWAKE;
    self->asleep = ENGINE_CORE_TAG_KV_CACHE;
    return RESULT_NONE;
}

static s_result_t s_set_weight_version (toy_engine_t *self, const engine_core_utility_t *call)
{
    if (!call->word || strlen (call->word) > WEIGHT_VERSION_MAX)
        return RESULT_NO_VERSION;
    zstr_free (&self->weight_version);
    self->weight_version = strdup (call->word);
    return RESULT_NONE;
}

//  As vLLM's wake_up: what the tags name, or everything. It goes on when nothing sleeps any more. A
//  tag of something that does not sleep, and none is woken.
static s_result_t s_wake_up (toy_engine_t *self, const engine_core_utility_t *call)
{
    unsigned tags = call->tagged ? call->tags : self->asleep;
    if (!(tags & ~self->asleep))
        self->asleep &= ~tags;
    if (!self->asleep)
        s_resume (self);
    return self->config.release < RELEASE_WAKE_UP_BOOL ? RESULT_NONE : s_truth (!self->asleep);
}

static s_result_t s_call (toy_engine_t *self, const engine_core_utility_t *call)
{
    static const struct {
        const char *method;
        s_result_t result;
    } constant[] = {{"get_supported_tasks", RESULT_TASKS},
                    {"get_weight_version", RESULT_VERSION},
                    {"compute_weight_checksums", RESULT_CHECKSUMS},
                    {"list_loras", RESULT_LORAS},
                    {"reset_prefix_cache", RESULT_TRUE},
                    {"get_kv_cache_group_metadata", RESULT_EMPTY},
                    {"reset_mm_cache", RESULT_NONE},
                    {"reset_encoder_cache", RESULT_NONE},
                    {"profile", RESULT_NONE},
                    {"execute_dummy_batch", RESULT_NONE},
                    {"collective_rpc", RESULT_NO_WORKERS},
                    {"save_sharded_state", RESULT_NO_WORKERS},
                    {"reinitialize_distributed", RESULT_NO_RESCALING},
                    {"commit_prepared_elastic_ep", RESULT_NO_RESCALING},
                    {"eep_handle_engine_core_notification", RESULT_NO_RESCALING},
                    {"handle_fault_tolerance", RESULT_NO_RESCALING}};
    for (size_t i = 0; i < sizeof constant / sizeof *constant; i++)
        if (s_is (call, constant[i].method))
            return constant[i].result;
    if (s_is (call, "is_sleeping"))
        return s_truth (self->asleep || self->pause != GOING);
    if (s_is (call, "is_scheduler_paused"))
        return s_truth (self->pause != GOING);
    if (s_is (call, "sleep") || s_is (call, "pause_scheduler"))
        return s_pause (self, call);
    if (s_is (call, "pause_generation"))
        return s_pause_generation (self, call);
    if (s_is (call, "resume_scheduler"))
        return s_resume (self);
    if (s_is (call, "wake_up"))
        return s_wake_up (self, call);
    if (s_is (call, "release_kv_cache_memory"))
        return s_release_kv_cache (self);
    if (s_is (call, "set_weight_version"))
        return s_set_weight_version (self, call);
    if (s_is (call, "add_lora") || s_is (call, "remove_lora") || s_is (call, "pin_lora"))
        return s_call_lora (self, call);
    return RESULT_NO_METHOD;
}

//  The value as msgpack, or NULL for a failure. The caller's.
static zframe_t *s_encode_result (toy_engine_t *self, s_result_t result)
{
    static const struct {
        const char *bytes;
        size_t size;
    } constant[] = {[RESULT_NONE] = {"\xc0", 1},
                    [RESULT_TRUE] = {"\xc3", 1},
                    [RESULT_FALSE] = {"\xc2", 1},
                    [RESULT_TASKS] = {"\x91\xa8generate", 10},
                    [RESULT_EMPTY] = {"\x90", 1},
                    [RESULT_CHECKSUMS] = {"\x91\x80", 2}};  //  Of one worker, without weights
    if (result <= RESULT_CHECKSUMS)
        return zframe_new (constant[result].bytes, constant[result].size);
    if (result >= RESULT_NO_WORKERS)
        return NULL;
    mp_writer_t writer;
    msgpack_packer *packer = mp_begin (&writer);
    if (result == RESULT_VERSION) {
        mp_pack_str (packer, self->weight_version);
    } else {
        msgpack_pack_array (packer, self->lora_count);
        for (size_t i = 0; i < self->lora_count; i++)
            msgpack_pack_int64 (packer, self->loras[i]);
    }
    return mp_end (&writer);
}

static void s_answer (toy_engine_t *self, const engine_core_utility_t *call, s_result_t result)
{
    static const char *const failures[] = {
        [RESULT_NO_WORKERS] = "this toy has no workers",
        [RESULT_NOT_PAUSED] = "requires a completed pause first",
        [RESULT_NOT_AWAKE] = "requires all memory to be resident",
        [RESULT_NO_VERSION] = "a version is a string of up to 256 bytes",
        [RESULT_NO_RESCALING] = "this toy does not change its size",
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
    toy_engine_send (self, call->client_index, (engine_core_outputs_t){.utility_output = &output});
    zstr_free (&failure);
    zframe_destroy (&value);
}

void toy_calls_answer_pausing (toy_engine_t *self)
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

bool toy_calls_handle (toy_engine_t *self, zframe_t *payload, mp_error_t *error)
{
    engine_core_utility_t *call = engine_core_utility_decode (payload, error);
    if (!call)
        return false;
    bool ok = toy_engine_has_client (self, "utility call.client_index", call->client_index, error);
    if (ok) {
        s_result_t result = s_call (self, call);
        if (result == RESULT_LATER && zlist_size (self->pausing) < PAUSING_MAX) {
            zlist_append (self->pausing, call);
            return true;
        }
        s_answer (self, call, result == RESULT_LATER ? RESULT_NO_ROOM : result);
    }
    engine_core_utility_destroy (&call);
    return ok;
}
