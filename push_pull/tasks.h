//  SPDX-License-Identifier: MIT
//  tasks.h - what goes down the pipeline: msgpack maps, one a message, in one frame
//
//      ventilator -> sink      {"tasks": n}      how many will come, if that is known
//      ventilator -> worker    {"task": id, "value": v}
//      worker     -> sink      {"task": id, "worker": name, "value": v*v}
//
//  Maps, because a reader ignores the keys that it does not know: the format can grow. The ..._new
//  functions return a frame that is the caller's. The ..._read functions return false with `error`
//  set when the frame does not hold such a map, or is not all of its message; it stays the
//  caller's.

#pragma once

#include "lib/mp.h"

typedef struct {
    uint32_t id;
    uint32_t value;
} task_t;

//  Bytes of a worker's name, at the most
#define TASK_WORKER_MAX 255

typedef struct {
    uint32_t id;
    char *worker;  //  To be freed with zstr_free by who has read it
    uint64_t value;
} task_result_t;

zframe_t *task_new (const task_t *task);
bool task_read (zframe_t *frame, task_t *task, mp_error_t *error);

zframe_t *task_result_new (const task_result_t *result);
bool task_result_read (zframe_t *frame, task_result_t *result, mp_error_t *error);

zframe_t *task_batch_new (uint32_t tasks);

//  True when the frame announces a batch, and sets *tasks. No error for another: the sink gets both
//  kinds.
bool task_batch_read (zframe_t *frame, uint32_t *tasks);
