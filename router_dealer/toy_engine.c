//  SPDX-License-Identifier: MIT

#include "toy_engine.h"
#include "toy_scheduler.h"
#include "show.h"

struct toy_engine {
    uint16_t index;
    toy_scheduler_t *scheduler;
    int finished, aborted, bad;
};

toy_engine_t *toy_engine_new (uint16_t index)
{
    toy_engine_t *self = zmalloc (sizeof *self);
    self->index = index;
    self->scheduler = toy_scheduler_new ();
    return self;
}

void toy_engine_destroy (toy_engine_t **self_p)
{
    toy_engine_t *self = *self_p;
    if (!self)
        return;
    toy_scheduler_destroy (&self->scheduler);
    free (self);
    *self_p = NULL;
}

zframe_t *toy_engine_registration (toy_engine_t *self)
{
    (void) self;
    engine_core_ready_t ready = {.max_model_len = 8192,
                                 .num_gpu_blocks = 1024,
                                 .block_size = 16,
                                 .dtype = "bfloat16",
                                 .vllm_version = "0.26.0",
                                 .world_size = 1,
                                 .data_parallel_size = 1};
    return engine_core_ready_encode (&ready);
}

static zframe_t *s_outputs (toy_engine_t *self, const engine_core_output_t *outputs, size_t count,
                            const engine_core_utility_output_t *utility)
{
    engine_core_outputs_t step = {.engine_index = self->index,
                                  .outputs = outputs,
                                  .output_count = count,
                                  .timestamp = (double) zclock_usecs () / 1e6,
                                  .utility_output = utility};
    return engine_core_outputs_encode (&step);
}

//  The three below return false with `error` set when the payload makes no sense

static bool s_add (toy_engine_t *self, zframe_t *payload, zframe_t **answer, mp_error_t *error)
{
    engine_core_request_t *request = engine_core_request_decode (payload, error);
    if (!request)
        return false;
    say ("%s: %zu prompt tokens", request->request_id, request->prompt_token_count);
    if (toy_scheduler_add (self->scheduler, &request) == -1) {
        complain ("%s: a request of that id is running", request->request_id);
        engine_core_output_t refused = {.request_id = request->request_id,
                                        .finish_reason = ENGINE_CORE_ERROR};
        *answer = s_outputs (self, &refused, 1, NULL);
        engine_core_request_destroy (&request);
    }
    return true;
}

static bool s_abort (toy_engine_t *self, zframe_t *payload, mp_error_t *error)
{
    engine_core_abort_t *abort = engine_core_abort_decode (payload, error);
    if (!abort)
        return false;
    for (size_t i = 0; i < abort->count; i++) {
        //  An id that is not running may just have finished: that is no error
        if (!toy_scheduler_abort (self->scheduler, abort->request_ids[i]))
            continue;
        say ("%s: aborted", abort->request_ids[i]);
        self->aborted++;
    }
    engine_core_abort_destroy (&abort);
    return true;
}

static bool s_utility (toy_engine_t *self, zframe_t *payload, zframe_t **answer, mp_error_t *error)
{
    engine_core_utility_t *call = engine_core_utility_decode (payload, error);
    if (!call)
        return false;
    say ("%s: this toy has no such method", call->method);
    engine_core_utility_output_t failure = {.call_id = call->call_id,
                                            .failure_message = "this toy has no such method"};
    *answer = s_outputs (self, NULL, 0, &failure);
    engine_core_utility_destroy (&call);
    return true;
}

zframe_t *toy_engine_handle (toy_engine_t *self, zmsg_t *message)
{
    zframe_t *type = zmsg_first (message);
    zframe_t *payload = zmsg_next (message);
    zframe_t *answer = NULL;
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
            ok = s_add (self, payload, &answer, &error);
            break;
        case ENGINE_CORE_ABORT:
            ok = s_abort (self, payload, &error);
            break;
        case ENGINE_CORE_UTILITY:
            ok = s_utility (self, payload, &answer, &error);
            break;
        case ENGINE_CORE_START_DP_WAVE:
            say ("START_DP_WAVE ignored: this toy works alone");
            ok = true;
            break;
        default:
            mp_error_set (&error, "message", "unknown type byte %02x", *zframe_data (type));
        }
    if (!ok) {
        complain ("bad message: %s", error.text);
        self->bad++;
    }
    return answer;
}

zframe_t *toy_engine_step (toy_engine_t *self)
{
    const engine_core_output_t *outputs;
    size_t count = toy_scheduler_step (self->scheduler, &outputs);
    for (size_t i = 0; i < count; i++) {
        if (outputs[i].finish_reason == ENGINE_CORE_RUNNING)
            continue;
        say ("%s: %zu tokens, %s", outputs[i].request_id,
             toy_scheduler_made (self->scheduler, &outputs[i]),
             engine_core_finish_name (outputs[i].finish_reason));
        self->finished++;
    }
    return count > 0 ? s_outputs (self, outputs, count, NULL) : NULL;
}

zframe_t *toy_engine_abort_all (toy_engine_t *self)
{
    const engine_core_output_t *outputs;
    size_t count = toy_scheduler_abort_all (self->scheduler, &outputs);
    for (size_t i = 0; i < count; i++)
        say ("%s: aborted", outputs[i].request_id);
    self->aborted += (int) count;
    return count > 0 ? s_outputs (self, outputs, count, NULL) : NULL;
}

bool toy_engine_busy (toy_engine_t *self)
{
    return toy_scheduler_running (self->scheduler) > 0;
}

int toy_engine_ended (toy_engine_t *self)
{
    return self->finished + self->aborted;
}

void toy_engine_say_summary (toy_engine_t *self)
{
    say_summary ("%d finished, %d aborted, %d bad", self->finished, self->aborted, self->bad);
}
