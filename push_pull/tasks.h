//  SPDX-License-Identifier: MIT
//  tasks.h - what goes down the pipeline: msgpack maps, one a message, in one frame
//
//      ventilator -> sink      {"tasks": n}      how many will come, if that is known
//      ventilator -> worker    {"task": id, "value": v}
//      worker     -> sink      {"task": id, "worker": name, "value": v*v}
//
//  Maps, because a reader ignores the keys that it does not know: the format can grow. The ..._new
//  functions return a message that is the caller's. The ..._read functions return false with
//  `error` set when the message is not one frame that holds such a map; the message stays the
//  caller's.

#pragma once

#include "mp.h"

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

zmsg_t *task_new (const task_t *task);
bool task_read (zmsg_t *message, task_t *task, mp_error_t *error);

zmsg_t *task_result_new (const task_result_t *result);
bool task_result_read (zmsg_t *message, task_result_t *result, mp_error_t *error);

zmsg_t *task_batch_new (uint32_t tasks);

//  True when the message announces a batch, and sets *tasks. No error for another message: the sink
//  gets both kinds.
bool task_batch_read (zmsg_t *message, uint32_t *tasks);
