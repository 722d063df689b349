//  SPDX-License-Identifier: MIT

#include "tasks.h"

static zmsg_t *s_message (mp_writer_t *writer)
{
    zmsg_t *message = zmsg_new ();
    zframe_t *frame = mp_end (writer);
    zmsg_append (message, &frame);
    return message;
}

//  Decodes the map that the only frame must hold. True: `doc` is to be destroyed by the caller.
static bool s_open (zmsg_t *message, msgpack_unpacked *doc, const msgpack_object_map **map,
                    mp_error_t *error)
{
    if (zmsg_size (message) != 1)
        return mp_wrong (error, "message", "want 1 frame, got %zu", zmsg_size (message));
    zframe_t *frame = zmsg_first (message);
    if (mp_decode (doc, zframe_data (frame), zframe_size (frame), "message", error) == -1)
        return false;
    if (mp_get_map (&doc->data, "message", map, error))
        return true;
    msgpack_unpacked_destroy (doc);
    return false;
}

zmsg_t *task_new (const task_t *task)
{
    mp_writer_t writer;
    msgpack_packer *packer = mp_begin (&writer);
    msgpack_pack_map (packer, 2);
    mp_pack_str (packer, "task");
    msgpack_pack_uint32 (packer, task->id);
    mp_pack_str (packer, "value");
    msgpack_pack_uint32 (packer, task->value);
    return s_message (&writer);
}

bool task_read (zmsg_t *message, task_t *task, mp_error_t *error)
{
    msgpack_unpacked doc;
    const msgpack_object_map *map;
    if (!s_open (message, &doc, &map, error))
        return false;
    bool ok = mp_get_uint32 (mp_find (map, "task"), "task", &task->id, error) &&
              mp_get_uint32 (mp_find (map, "value"), "value", &task->value, error);
    msgpack_unpacked_destroy (&doc);
    return ok;
}

zmsg_t *task_result_new (const task_result_t *result)
{
    mp_writer_t writer;
    msgpack_packer *packer = mp_begin (&writer);
    msgpack_pack_map (packer, 3);
    mp_pack_str (packer, "task");
    msgpack_pack_uint32 (packer, result->id);
    mp_pack_str (packer, "worker");
    mp_pack_str (packer, result->worker);
    mp_pack_str (packer, "value");
    msgpack_pack_uint64 (packer, result->value);
    return s_message (&writer);
}

bool task_result_read (zmsg_t *message, task_result_t *result, mp_error_t *error)
{
    msgpack_unpacked doc;
    const msgpack_object_map *map;
    if (!s_open (message, &doc, &map, error))
        return false;
    //  The name last: it is the one that claims memory
    bool ok = mp_get_uint32 (mp_find (map, "task"), "task", &result->id, error) &&
              mp_get_uint (mp_find (map, "value"), "value", UINT64_MAX, &result->value, error) &&
              mp_get_cstr (mp_find (map, "worker"), "worker", &result->worker, error);
    msgpack_unpacked_destroy (&doc);
    return ok;
}

zmsg_t *task_batch_new (uint32_t tasks)
{
    mp_writer_t writer;
    msgpack_packer *packer = mp_begin (&writer);
    msgpack_pack_map (packer, 1);
    mp_pack_str (packer, "tasks");
    msgpack_pack_uint32 (packer, tasks);
    return s_message (&writer);
}

bool task_batch_read (zmsg_t *message, uint32_t *tasks)
{
    msgpack_unpacked doc;
    const msgpack_object_map *map;
    if (!s_open (message, &doc, &map, NULL))
        return false;
    bool ok = mp_get_uint32 (mp_find (map, "tasks"), "tasks", tasks, NULL);
    msgpack_unpacked_destroy (&doc);
    return ok;
}
