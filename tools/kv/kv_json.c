//  SPDX-License-Identifier: MIT

#include "kv/kv_json.h"

static void s_print_json_str (FILE *out, mp_slice_t text)
{
    msgpack_object object = {.type = MSGPACK_OBJECT_STR,
                             .via.str = {.ptr = text.data, .size = (uint32_t) text.size}};
    mp_print_json (out, &object);
}

//  "name":value, with a comma in front
static void s_print_json_field (FILE *out, const char *name, const msgpack_object *value)
{
    fprintf (out, ",\"%s\":", name);
    mp_print_json (out, value);
}

static void s_print_json_tail (FILE *out, const msgpack_object_array *array, uint32_t from)
{
    for (uint32_t i = from; i < array->size; i++) {
        char name[24];
        snprintf (name, sizeof name, "field_%" PRIu32, i);
        s_print_json_field (out, name, &array->ptr[i]);
    }
}

static bool s_is_type (const msgpack_object *key)
{
    return key->type == MSGPACK_OBJECT_STR && key->via.str.size == strlen ("type") &&
           memcmp (key->via.str.ptr, "type", strlen ("type")) == 0;
}

static void s_print_json_event (FILE *out, const msgpack_object *object, const kv_event_t *event)
{
    fputs ("{\"type\":", out);
    s_print_json_str (out, event->tag);
    if (object->type == MSGPACK_OBJECT_MAP) {
        const msgpack_object_map *map = &object->via.map;
        for (uint32_t i = 0; i < map->size; i++) {
            if (s_is_type (&map->ptr[i].key))
                continue;  //  If there are more of them, the last one counts
            fputc (',', out);
            mp_print_json_pair (out, &map->ptr[i]);
        }
    } else {
        const char *const *fields = kv_event_fields (event->kind);
        uint32_t i = 1;
        for (; i < object->via.array.size && *fields; i++)
            s_print_json_field (out, *fields++, &object->via.array.ptr[i]);
        s_print_json_tail (out, &object->via.array, i);
    }
    fputc ('}', out);
}

bool kv_batch_print_json (FILE *out, const kv_numbered_t *numbered, const char *endpoint,
                          mp_error_t *error)
{
    kv_batch_t *batch = kv_batch_decode (numbered->payload, error);
    if (!batch)
        return false;
    msgpack_unpacked doc;
    int rc = mp_decode (&doc, numbered->payload.data, numbered->payload.size, "batch", error);
    if (rc == 0) {
        const msgpack_object_array *array = &doc.data.via.array;
        fprintf (out, "{\"seq\":%" PRIu64, numbered->seq);
        if (numbered->topic.data) {
            fputs (",\"topic\":", out);
            s_print_json_str (out, numbered->topic);
        }
        if (endpoint) {
            fputs (",\"endpoint\":", out);
            s_print_json_str (out, (mp_slice_t){endpoint, strlen (endpoint)});
        }
        s_print_json_field (out, "ts", &array->ptr[0]);
        if (array->size > 2)
            s_print_json_field (out, "dp_rank", &array->ptr[2]);
        fprintf (out, ",\"replayed\":%s,\"events\":[", numbered->replayed ? "true" : "false");
        for (size_t i = 0; i < batch->event_count; i++) {
            if (i > 0)
                fputc (',', out);
            s_print_json_event (out, &array->ptr[1].via.array.ptr[i], &batch->events[i]);
        }
        fputc (']', out);
        s_print_json_tail (out, array, 3);
        fputs ("}\n", out);
        msgpack_unpacked_destroy (&doc);
    }
    kv_batch_destroy (&batch);
    return rc == 0;
}

void kv_notice_print_json (FILE *out, const char *name, const char *endpoint, uint64_t first,
                           uint64_t last, const char *what)
{
    fprintf (out, "{\"notice\":\"%s\"", name);
    if (endpoint) {
        fputs (",\"endpoint\":", out);
        s_print_json_str (out, (mp_slice_t){endpoint, strlen (endpoint)});
    }
    if (first == last)
        fprintf (out, ",\"seq\":%" PRIu64, first);
    if (first <= last)
        fprintf (out, ",\"first\":%" PRIu64 ",\"last\":%" PRIu64 ",\"count\":%" PRIu64, first, last,
                 last - first + 1);
    fputs (",\"what\":", out);
    s_print_json_str (out, (mp_slice_t){what, strlen (what)});
    fputs ("}\n", out);
}
