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
    RESULT_LORAS,
    RESULT_CHECKSUMS,
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
    if (call->number == -1)
        return RESULT_FALSE;
    if (s_is (call, "add_lora") && !known) {
        if (self->lora_count == LORAS_MAX)
            return RESULT_FALSE;
        self->loras[self->lora_count++] = call->number;
        return RESULT_TRUE;
    }
    if (s_is (call, "remove_lora") && known)
        self->loras[at] = self->loras[--self->lora_count];
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
    self->refusing = false;
    self->pause = GOING;
    toy_scheduler_hold (self->scheduler, false);
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
        if (self->config.release < RELEASE_WAKE_UP_BOOL)
            return RESULT_NONE;
        return self->asleep ? RESULT_FALSE : RESULT_TRUE;
    }
    if (s_is (call, "pause_generation"))
        return s_pause_generation (self, call);
    if (s_is (call, "release_kv_cache_memory"))
        return s_release_kv_cache (self);
    if (s_is (call, "get_weight_version"))
        return RESULT_VERSION;
    if (s_is (call, "set_weight_version"))
        return s_set_weight_version (self, call);
    if (s_is (call, "compute_weight_checksums"))
        return RESULT_CHECKSUMS;
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
    if (s_is (call, "reinitialize_distributed") || s_is (call, "commit_prepared_elastic_ep") ||
        s_is (call, "eep_handle_engine_core_notification") || s_is (call, "handle_fault_tolerance"))
        return RESULT_NO_RESCALING;
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
        msgpack_pack_array (packer, self->lora_count);
        for (size_t i = 0; i < self->lora_count; i++)
            msgpack_pack_int64 (packer, self->loras[i]);
    } else if (result == RESULT_EMPTY) {
        msgpack_pack_array (packer, 0);
    } else if (result == RESULT_VERSION) {
        mp_pack_str (packer, self->weight_version);
    } else if (result == RESULT_CHECKSUMS) {  //  Of one worker, which has no weights
        msgpack_pack_array (packer, 1);
        msgpack_pack_map (packer, 0);
    } else {
        msgpack_pack_nil (packer);
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
