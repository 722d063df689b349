//  SPDX-License-Identifier: MIT

#include "kv/kv_json.h"

static void s_print_str (text_t *out, mp_slice_t text)
{
    msgpack_object object = {.type = MSGPACK_OBJECT_STR,
                             .via.str = {.ptr = text.data, .size = (uint32_t) text.size}};
    mp_print_json (out, &object);
}

static void s_print_text (text_t *out, const char *text)
{
    s_print_str (out, (mp_slice_t){text, strlen (text)});
}

static bool s_is_int (const msgpack_object *object)
{
    return object->type == MSGPACK_OBJECT_POSITIVE_INTEGER ||
           object->type == MSGPACK_OBJECT_NEGATIVE_INTEGER;
}

//  How many numbers to print between two checks for room
#define RUN 256

//  Prints the leading unsigned integers of the next `count` values, each with a comma behind it.
//  Returns how many.
static uint32_t s_print_run (text_t *out, mp_reader_t *reader, uint32_t count)
{
    uint32_t i = 0;
    while (i < count) {
        char *at = text_reserve (out, (size_t) RUN * (TEXT_NUMBER_MAX + 1));
        uint32_t end = count - i > RUN ? i + RUN : count;
        uint64_t number;
        for (; i < end && mp_read_uint (reader, &number); i++) {
            at = text_digits (at, number);
            *at++ = ',';
        }
        out->size = (size_t) (at - out->data);
        if (i < end)
            break;
    }
    return i;
}

//  -- Values. All of a batch has been checked, so reading it cannot fail.

//  NOLINTBEGIN(misc-no-recursion): a value that is deeper than MP_MAX_DEPTH was refused before
static void s_print_value (text_t *out, mp_reader_t *reader, bool quote);

static void s_print_array (text_t *out, mp_reader_t *reader, uint32_t count, bool quote)
{
    text_put_char (out, '[');
    for (uint32_t i = 0; i < count;) {
        uint32_t run = quote ? 0 : s_print_run (out, reader, count - i);
        i += run;
        if (run > 0)
            continue;
        s_print_value (out, reader, quote);
        text_put_char (out, ',');
        i++;
    }
    out->size -= count > 0;  //  The last comma
    text_put_char (out, ']');
}

//  "block_hashes", "parent_block_hash", and what others call theirs
static bool s_names_hash (const msgpack_object *key)
{
    const char *text = key->via.str.ptr;
    size_t size = key->via.str.size;
    return (size >= 4 && memcmp (text + size - 4, "hash", 4) == 0) ||
           (size >= 6 && memcmp (text + size - 6, "hashes", 6) == 0);
}

//  A key that is no string, and its value: seldom, and so by a tree
static void s_print_odd_pair (text_t *out, mp_slice_t key, mp_slice_t value)
{
    msgpack_unpacked first, second;
    if (mp_decode (&first, key.data, key.size, "key", NULL) == -1)
        return;  //  No memory
    if (mp_decode (&second, value.data, value.size, "value", NULL) == 0) {
        msgpack_object_kv pair = {first.data, second.data};
        mp_print_json_pair (out, &pair);
        msgpack_unpacked_destroy (&second);
    }
    msgpack_unpacked_destroy (&first);
}

//  One key and its value. `all`: hashes are to be strings.
static void s_print_pair (text_t *out, mp_reader_t *reader, bool all)
{
    msgpack_object key, head;
    mp_slice_t name, value;
    mp_read_whole (reader, &key, &name);
    if (key.type == MSGPACK_OBJECT_STR) {
        mp_print_json (out, &key);
        text_put_char (out, ':');
        s_print_value (out, reader, all && s_names_hash (&key));
    } else {
        mp_read_whole (reader, &head, &value);
        s_print_odd_pair (out, name, value);
    }
}

static void s_print_map (text_t *out, mp_reader_t *reader, uint32_t count, bool all)
{
    text_put_char (out, '{');
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0)
            text_put_char (out, ',');
        s_print_pair (out, reader, all);
    }
    text_put_char (out, '}');
}

//  Any value. `quote`: its integers as strings.
static void s_print_value (text_t *out, mp_reader_t *reader, bool quote)
{
    msgpack_object object;
    mp_read (reader, &object);
    if (object.type == MSGPACK_OBJECT_ARRAY) {
        s_print_array (out, reader, object.via.array.size, quote);
    } else if (object.type == MSGPACK_OBJECT_MAP) {
        s_print_map (out, reader, object.via.map.size, false);
    } else if (quote && s_is_int (&object)) {
        text_put_char (out, '"');
        mp_print_json (out, &object);
        text_put_char (out, '"');
    } else {
        mp_print_json (out, &object);
    }
}

//  NOLINTEND(misc-no-recursion)

//  -- Events

static bool s_is_key (const msgpack_object *key, const char *name)
{
    return key->type == MSGPACK_OBJECT_STR && key->via.str.size == strlen (name) &&
           memcmp (key->via.str.ptr, name, key->via.str.size) == 0;
}

//  The value of a key in a map whose head has been read; of equal keys the last. No data: none.
static mp_slice_t s_find (mp_reader_t reader, uint32_t count, const char *name)
{
    mp_slice_t found = {NULL, 0};
    for (uint32_t i = 0; i < count; i++) {
        msgpack_object key, value;
        mp_slice_t bytes;
        mp_read_whole (&reader, &key, &bytes);
        mp_read_whole (&reader, &value, &bytes);
        if (s_is_key (&key, name))
            found = bytes;
    }
    return found;
}

//  The type first, as a reader expects it; the other keys as they come
static void s_print_map_event (text_t *out, mp_reader_t *reader, uint32_t count, bool all)
{
    mp_slice_t type = s_find (*reader, count, "type");
    if (!type.data) {
        s_print_map (out, reader, count, all);
        return;
    }
    mp_reader_t tag = mp_reader (type.data, type.size);
    text_put_literal (out, "{\"type\":");
    s_print_value (out, &tag, false);
    for (uint32_t i = 0; i < count; i++) {
        msgpack_object key;
        mp_reader_t peek = *reader;
        mp_read (&peek, &key);
        if (s_is_key (&key, "type")) {
            *reader = peek;  //  Behind the key
            mp_skip (reader);
            continue;
        }
        text_put_char (out, ',');
        s_print_pair (out, reader, all);
    }
    text_put_char (out, '}');
}

//  The fields of vLLM's events in the order of its structs: the places behind the tag in an array,
//  so without what came when events were maps. A letter for the type of each: a: array, h: hash,
//  i: integer, s: string; each may be nil.
typedef struct {
    char type;
    const char *name;
} field_t;
static const field_t stored_fields[] = {{'a', "block_hashes"},
                                        {'h', "parent_block_hash"},
                                        {'a', "token_ids"},
                                        {'i', "block_size"},
                                        {'i', "lora_id"},
                                        {'s', "medium"},
                                        {'s', "lora_name"},
                                        {'a', "extra_keys"},
                                        {'i', "group_idx"},
                                        {'s', "kv_cache_spec_kind"},
                                        {'i', "kv_cache_spec_sliding_window"},
                                        {'s', "locality"},
                                        {0, NULL}};
static const field_t removed_fields[] = {
    {'a', "block_hashes"}, {'s', "medium"}, {'i', "group_idx"}, {'s', "locality"}, {0, NULL}};
static const field_t no_fields[] = {{0, NULL}};

static const field_t *s_fields (const msgpack_object *tag)
{
    return s_is_key (tag, "BlockStored")    ? stored_fields
           : s_is_key (tag, "BlockRemoved") ? removed_fields
                                            : no_fields;
}

static bool s_has_type (const msgpack_object *object, char type)
{
    switch (object->type) {
    case MSGPACK_OBJECT_NIL:
        return true;
    case MSGPACK_OBJECT_ARRAY:
        return type == 'a';
    case MSGPACK_OBJECT_STR:
        return type == 's';
    case MSGPACK_OBJECT_BIN:
        return type == 'h';
    default:
        return s_is_int (object) && (type == 'i' || type == 'h');
    }
}

static void s_print_key (text_t *out, const char *name)
{
    text_put_char (out, '"');
    text_put_string (out, name);
    text_put_literal (out, "\":");
}

//  A field without a name is called after its place
static void s_print_place (text_t *out, uint32_t place)
{
    text_put_literal (out, "\"field_");
    text_put_uint (out, place);
    text_put_literal (out, "\":");
}

static void s_print_array_event (text_t *out, mp_reader_t *reader, uint32_t count, bool all)
{
    const field_t *field = no_fields;
    text_put_char (out, '{');
    for (uint32_t i = 0; i < count; i++) {
        msgpack_object object;
        mp_reader_t peek = *reader;
        mp_read (&peek, &object);
        bool is_tag = i == 0 && object.type == MSGPACK_OBJECT_STR, hashes = false;
        if (i > 0)
            text_put_char (out, ',');
        if (is_tag || (field->name && s_has_type (&object, field->type)))
            s_print_key (out, is_tag ? "type" : field->name);
        else
            s_print_place (out, i);
        if (field->name)
            hashes = field->type == 'h' || streq (field->name, "block_hashes");
        field = is_tag ? s_fields (&object) : field->name ? field + 1 : field;
        s_print_value (out, reader, all && hashes);
    }
    text_put_char (out, '}');
}

static void s_print_event (text_t *out, mp_reader_t *reader, bool all)
{
    msgpack_object object;
    mp_reader_t start = *reader;
    mp_read (reader, &object);
    if (object.type == MSGPACK_OBJECT_MAP) {
        s_print_map_event (out, reader, object.via.map.size, all);
    } else if (object.type == MSGPACK_OBJECT_ARRAY) {
        s_print_array_event (out, reader, object.via.array.size, all);
    } else {
        *reader = start;
        text_put_literal (out, "{\"value\":");
        s_print_value (out, reader, false);
        text_put_char (out, '}');
    }
}

//  -- Batches

//  Where the parts of a batch are. All of it has been checked.
typedef struct {
    uint32_t size;       //  Elements of the batch
    mp_reader_t ts;      //  At its first element
    mp_reader_t events;  //  At the first event
    uint32_t event_count;
} s_parts_t;

static bool s_open (const kv_numbered_t *numbered, s_parts_t *parts, mp_error_t *error)
{
    mp_slice_t payload = numbered->payload;
    if (!numbered->sound && mp_check (payload.data, payload.size, "batch", error) == -1)
        return false;
    mp_reader_t reader = mp_reader (payload.data, payload.size);
    if (!mp_read_array (&reader, "batch", 2, &parts->size, error))
        return false;
    parts->ts = reader;
    mp_skip (&reader);
    parts->events = reader;
    return mp_read_array (&parts->events, "batch.events", 0, &parts->event_count, error);
}

bool kv_batch_print_json (text_t *out, const kv_numbered_t *numbered, const kv_json_t *how,
                          mp_error_t *error)
{
    s_parts_t parts;
    if (!s_open (numbered, &parts, error))
        return false;
    text_put_literal (out, "{\"seq\":");
    text_put_uint (out, numbered->seq);
    if (numbered->topic.data) {
        text_put_literal (out, ",\"topic\":");
        s_print_str (out, numbered->topic);
    }
    if (how->endpoint) {
        text_put_literal (out, ",\"endpoint\":");
        s_print_text (out, how->endpoint);
    }
    text_put_literal (out, ",\"ts\":");
    s_print_value (out, &parts.ts, false);
    mp_reader_t rest = parts.ts;
    mp_skip (&rest);
    if (parts.size > 2) {
        text_put_literal (out, ",\"dp_rank\":");
        s_print_value (out, &rest, false);
    }
    text_put_string (out, numbered->replayed ? ",\"replayed\":true" : ",\"replayed\":false");
    text_put_literal (out, ",\"events\":[");
    for (uint32_t i = 0; i < parts.event_count; i++) {
        if (i > 0)
            text_put_char (out, ',');
        s_print_event (out, &parts.events, how->string_hashes);
    }
    text_put_char (out, ']');
    for (uint32_t i = 3; i < parts.size; i++) {
        text_put_char (out, ',');
        s_print_place (out, i);
        s_print_value (out, &rest, false);
    }
    text_put_literal (out, "}\n");
    return true;
}

static void s_describe_count (text_t *out, mp_slice_t value, const char *what)
{
    uint32_t count;
    mp_reader_t reader = mp_reader (value.data, value.size);
    if (value.data && mp_read_array (&reader, what, 0, &count, NULL)) {
        text_put_char (out, ' ');
        text_put_uint (out, count);
        text_put_char (out, ' ');
        text_put_string (out, what);
        text_put_string (out, count == 1 ? "" : "s");
    }
}

static void s_describe_event (text_t *out, mp_reader_t *reader)
{
    msgpack_object object;
    mp_slice_t type = {NULL, 0}, blocks = {NULL, 0}, tokens = {NULL, 0};
    mp_reader_t inside = *reader;
    mp_skip (reader);
    mp_read (&inside, &object);
    if (object.type == MSGPACK_OBJECT_MAP) {
        type = s_find (inside, object.via.map.size, "type");
        if (!type.data)
            type = s_find (inside, object.via.map.size, "event_type");
        blocks = s_find (inside, object.via.map.size, "block_hashes");
        tokens = s_find (inside, object.via.map.size, "token_ids");
    } else if (object.type == MSGPACK_OBJECT_ARRAY) {
        mp_slice_t *places[] = {&type, &blocks, NULL, &tokens};
        for (uint32_t i = 0, count = object.via.array.size; i < count && i < 4; i++) {
            msgpack_object element;
            mp_slice_t bytes;
            mp_read_whole (&inside, &element, &bytes);
            if (places[i])
                *places[i] = bytes;
        }
    }
    mp_reader_t tag = mp_reader (type.data, type.size);
    msgpack_object name;
    if (type.data && mp_read (&tag, &name) && name.type == MSGPACK_OBJECT_STR)
        text_put (out, name.via.str.ptr, strnlen (name.via.str.ptr, name.via.str.size));
    else
        text_put_literal (out, "an event without a type");
    s_describe_count (out, blocks, "block");
    s_describe_count (out, tokens, "token");
}

bool kv_payload_check (const kv_numbered_t *numbered, mp_error_t *error)
{
    s_parts_t parts;
    return numbered->sound || s_open (numbered, &parts, error);
}

char *kv_payload_describe (const kv_numbered_t *numbered, mp_error_t *error)
{
    s_parts_t parts;
    text_t text = {NULL, 0, 0};
    if (!s_open (numbered, &parts, error))
        return NULL;
    for (uint32_t i = 0; i < parts.event_count; i++) {
        if (i > 0)
            text_put_literal (&text, ", ");
        s_describe_event (&text, &parts.events);
    }
    return text_take (&text);
}

static void s_print_number (text_t *out, const char *name, uint64_t number)
{
    text_put_string (out, name);
    text_put_uint (out, number);
}

void kv_notice_print_json (text_t *out, const char *name, const kv_origin_t *origin, uint64_t first,
                           uint64_t last, const char *what)
{
    text_put_literal (out, "{\"notice\":");
    s_print_text (out, name);
    if (origin->endpoint) {
        text_put_literal (out, ",\"endpoint\":");
        s_print_text (out, origin->endpoint);
    }
    if (origin->topic.data) {
        text_put_literal (out, ",\"topic\":");
        s_print_str (out, origin->topic);
    }
    if (origin->rank >= 0)
        s_print_number (out, ",\"dp_rank\":", (uint64_t) origin->rank);
    if (first == last)
        s_print_number (out, ",\"seq\":", first);
    if (first <= last) {
        s_print_number (out, ",\"first\":", first);
        s_print_number (out, ",\"last\":", last);
        s_print_number (out, ",\"count\":", last - first + 1);
    }
    text_put_literal (out, ",\"what\":");
    s_print_text (out, what);
    text_put_literal (out, "}\n");
}
