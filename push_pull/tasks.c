//  SPDX-License-Identifier: MIT

#include "tasks.h"
#include "lib/mp_put.h"

//  What a message takes up at the most, without the name of a worker
#define BOUND 64

//  Reads the map that the only frame must hold
static bool s_read (zframe_t *frame, mp_entry_t *entries, size_t count, mp_error_t *error)
{
    if (zframe_more (frame))
        return mp_wrong (error, "message", "want 1 frame, got more");
    return mp_read_map (zframe_data (frame), zframe_size (frame), "message", entries, count, error);
}

zframe_t *task_new (const task_t *task)
{
    char bytes[BOUND], *at = bytes;
    mp_put_map (&at, 2);
    mp_put_text (&at, "task");
    mp_put_uint32 (&at, task->id);
    mp_put_text (&at, "value");
    mp_put_uint32 (&at, task->value);
    return zframe_new (bytes, (size_t) (at - bytes));
}

bool task_read (zframe_t *frame, task_t *task, mp_error_t *error)
{
    mp_entry_t entries[] = {MP_ENTRY ("task"), MP_ENTRY ("value")};
    return s_read (frame, entries, 2, error) &&
           mp_get_uint32 (entries[0].value, "task", &task->id, error) &&
           mp_get_uint32 (entries[1].value, "value", &task->value, error);
}

zframe_t *task_result_new (const task_result_t *result)
{
    size_t size = strlen (result->worker);
    mp_writer_t writer;
    mp_begin (&writer);
    char *at = mp_reserve (&writer, BOUND + size);
    mp_put_map (&at, 3);
    mp_put_text (&at, "task");
    mp_put_uint32 (&at, result->id);
    mp_put_text (&at, "worker");
    mp_put_str (&at, size);
    mp_put_str_body (&at, result->worker, size);
    mp_put_text (&at, "value");
    mp_put_uint64 (&at, result->value);
    mp_commit (&writer, at);
    return mp_end (&writer);
}

bool task_result_read (zframe_t *frame, task_result_t *result, mp_error_t *error)
{
    mp_entry_t entries[] = {MP_ENTRY ("task"), MP_ENTRY ("worker"), MP_ENTRY ("value")};
    //  The name last: it is the one that claims memory
    if (!s_read (frame, entries, 3, error) ||
        !mp_get_uint32 (entries[0].value, "task", &result->id, error) ||
        !mp_get_uint (entries[2].value, "value", UINT64_MAX, &result->value, error) ||
        !mp_get_cstr (entries[1].value, "worker", &result->worker, error))
        return false;
    if (strlen (result->worker) <= TASK_WORKER_MAX)
        return true;
    zstr_free (&result->worker);
    return mp_wrong (error, "worker", "want at most %d bytes", TASK_WORKER_MAX);
}

zframe_t *task_batch_new (uint32_t tasks)
{
    char bytes[BOUND], *at = bytes;
    mp_put_map (&at, 1);
    mp_put_text (&at, "tasks");
    mp_put_uint32 (&at, tasks);
    return zframe_new (bytes, (size_t) (at - bytes));
}

bool task_batch_read (zframe_t *frame, uint32_t *tasks)
{
    mp_entry_t entries[] = {MP_ENTRY ("tasks")};
    return s_read (frame, entries, 1, NULL) &&
           mp_get_uint32 (entries[0].value, "tasks", tasks, NULL);
}
