//  SPDX-License-Identifier: MIT
//  mp.c - fuzzes tools/lib/mp: what is taken, and what is printed of it

#include "lib/mp_put.h"
#include "mutate.h"

size_t LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max, unsigned seed)
{
    return mutate_msgpack (data, size, max, seed);
}

//  Reads a value with mp_read alone and writes it again with mp_put
//  NOLINTNEXTLINE(misc-no-recursion)
static bool s_read_again (mp_reader_t *reader, mp_writer_t *writer, int depth)
{
    msgpack_object object;
    if (!mp_read (reader, &object))
        return false;
    if (object.type == MSGPACK_OBJECT_ARRAY || object.type == MSGPACK_OBJECT_MAP) {
        if (depth > MP_MAX_DEPTH)
            return false;
        bool map = object.type == MSGPACK_OBJECT_MAP;
        uint64_t count = map ? 2ull * object.via.map.size : object.via.array.size;
        DEMAND (!(map ? (const void *) object.via.map.ptr : object.via.array.ptr));
        DEMAND (count <= MP_MAX_ELEMENTS);
        char *at = mp_reserve (writer, MP_PUT_MAX);
        if (map)
            mp_put_map (&at, object.via.map.size);
        else
            mp_put_array (&at, object.via.array.size);
        mp_commit (writer, at);
        for (; count > 0; count--)
            if (!s_read_again (reader, writer, depth + 1))
                return false;
    } else if (object.type == MSGPACK_OBJECT_STR || object.type == MSGPACK_OBJECT_BIN) {
        bool str = object.type == MSGPACK_OBJECT_STR;
        const char *bytes = str ? object.via.str.ptr : object.via.bin.ptr;
        uint32_t length = str ? object.via.str.size : object.via.bin.size;
        DEMAND (length == 0 || bytes + length == (const char *) reader->at);
        char *at = mp_reserve (writer, MP_PUT_MAX + (size_t) length);
        (str ? mp_put_str : mp_put_bin) (&at, length);
        mp_put_bytes (&at, bytes, length);
        mp_commit (writer, at);
    } else if (object.type == MSGPACK_OBJECT_POSITIVE_INTEGER ||
               object.type == MSGPACK_OBJECT_NEGATIVE_INTEGER) {
        char *at = mp_reserve (writer, MP_PUT_MAX);
        if (object.type == MSGPACK_OBJECT_POSITIVE_INTEGER)
            mp_put_uint64 (&at, object.via.u64);
        else
            mp_put_int64 (&at, object.via.i64);
        mp_commit (writer, at);
    } else {
        msgpack_pack_object (&writer->packer, object);
    }
    return true;
}

//  The readers in place against the tree: what mp_decode takes, `tree`, they take and see the same
//  in it; NULL: what it refuses they refuse, or find something left over
static void s_read_in_place (const char *data, size_t size, const msgpack_object *tree)
{
    mp_reader_t skipped = mp_reader (data, size), read = mp_reader (data, size);
    DEMAND (mp_check (data, size, "thing", NULL) == (tree ? 0 : -1));
    bool whole = mp_skip (&skipped);
    DEMAND (skipped.at <= skipped.end);
    DEMAND ((whole && skipped.at == skipped.end) == (tree != NULL));

    mp_writer_t writer;
    mp_begin (&writer);
    whole = s_read_again (&read, &writer, 1) && read.at == read.end;
    DEMAND (read.at <= read.end);
    zframe_t *again = mp_end (&writer);
    if (tree) {
        DEMAND (whole);
        msgpack_pack_object (mp_begin (&writer), *tree);
        zframe_t *packed = mp_end (&writer);
        DEMAND (zframe_eq (again, packed));
        zframe_destroy (&packed);
    }
    zframe_destroy (&again);
}

//  The readers of token ids: the two agree with each other, and with the tree's when there is one
static void s_read_uint32s (const char *data, size_t size, const msgpack_object *tree)
{
    mp_reader_t one = mp_reader (data, size), two = one;
    mp_error_t error = {""}, error_into = {""};
    uint32_t *values = NULL;
    uint32_t *into = malloc ((size ? size : 1) * sizeof *into);
    DEMAND (into);
    size_t count = 0, count_into = 0;
    bool good = mp_read_uint32s (&one, "thing", &values, &count, &error);
    bool good_into = mp_read_uint32s_into (&two, "thing", into, &count_into, &error_into);
    if (good) {
        DEMAND (good_into && count == count_into && one.at == two.at && one.room == two.room);
        DEMAND (count < size && (count == 0) == (values == NULL));
        DEMAND (count == 0 || memcmp (values, into, count * sizeof *into) == 0);
    } else {
        DEMAND (!good_into);
        fuzz_is_told (&error);
        fuzz_is_told (&error_into);
    }
    if (tree) {
        bool right = tree->type == MSGPACK_OBJECT_ARRAY;
        for (uint32_t i = 0, value; right && i < tree->via.array.size; i++) {
            right = mp_get_uint32 (&tree->via.array.ptr[i], "thing", &value, NULL);
            DEMAND (!good || (i < count && values[i] == value));
        }
        DEMAND (right == good && (!good || count == tree->via.array.size));
    }
    free (values);
    free (into);
}

//  A map read in place: of the keys that are asked for it finds what mp_find does in the tree. The
//  keys are one of ours, one that is not there, and the first one of the map.
static void s_read_map (const char *data, size_t size, const msgpack_object *tree)
{
    mp_entry_t entries[] = {MP_ENTRY ("type"), MP_ENTRY ("not in any of the vectors"),
                            MP_ENTRY ("other")};
    char key[64] = "";
    if (tree && tree->type == MSGPACK_OBJECT_MAP && tree->via.map.size > 0) {
        const msgpack_object *first = &tree->via.map.ptr[0].key;
        if (first->type == MSGPACK_OBJECT_STR && first->via.str.size > 0 &&
            first->via.str.size < sizeof key &&
            !memchr (first->via.str.ptr, 0, first->via.str.size) &&
            !(first->via.str.size == 4 && memcmp (first->via.str.ptr, "type", 4) == 0)) {
            memcpy (key, first->via.str.ptr, first->via.str.size);
            entries[2].key = key;
            entries[2].size = strlen (key);
        }
    }
    mp_error_t error = {""};
    bool good = mp_read_map (data, size, "thing", entries, 3, &error);
    if (good && !tree) {
        //  Each value may be as deep as a tree, and so is one deeper with the map around it
        mp_check (data, size, "thing", &error);
        DEMAND (strstr (error.text, "nested"));
        return;
    }
    DEMAND (good == (tree && tree->type == MSGPACK_OBJECT_MAP));
    if (!good) {
        fuzz_is_told (&error);
        return;
    }
    for (size_t i = 0; i < 3; i++) {
        const msgpack_object *wanted = mp_find (&tree->via.map, entries[i].key);
        DEMAND (!wanted == !entries[i].value);
        if (!wanted)
            continue;
        DEMAND (entries[i].value->type == wanted->type);
        DEMAND (entries[i].bytes.data >= data &&
                entries[i].bytes.data + entries[i].bytes.size <= data + size);
        msgpack_unpacked doc;
        DEMAND (mp_decode (&doc, entries[i].bytes.data, entries[i].bytes.size, "value", NULL) == 0);
        text_t found = {NULL, 0, 0}, same = {NULL, 0, 0};
        mp_print_json (&found, &doc.data);
        mp_print_json (&same, wanted);
        DEMAND (fuzz_same_text (&found, &same));
        text_destroy (&found);
        text_destroy (&same);
        msgpack_unpacked_destroy (&doc);
    }
}

//  What a tree prints, and its getters
static void s_print_and_get (const msgpack_object *tree, size_t size)
{
    text_t json = {NULL, 0, 0}, again = {NULL, 0, 0};
    mp_print_json (&json, tree);
    DEMAND (fuzz_is_clean (json.data, json.size));
    DEMAND (fuzz_json_value (json.data, json.data + json.size) == json.data + json.size);

    //  Packed again it is the same value, and never longer
    mp_writer_t writer;
    msgpack_pack_object (mp_begin (&writer), *tree);
    zframe_t *frame = mp_end (&writer);
    DEMAND (zframe_size (frame) <= size);
    mp_error_t error;
    msgpack_unpacked second;
    DEMAND (mp_decode (&second, zframe_data (frame), zframe_size (frame), "thing", &error) == 0);
    mp_print_json (&again, &second.data);
    DEMAND (fuzz_same_text (&again, &json));

    //  The getters: what they give fits what they were asked for
    uint64_t number;
    double real;
    mp_slice_t slice;
    char *string = NULL;
    if (mp_get_uint (tree, "thing", 1000, &number, &error))
        DEMAND (number <= 1000);
    else
        fuzz_is_told (&error);
    if (!mp_get_double (tree, "thing", &real, &error))
        fuzz_is_told (&error);
    if (mp_get_str (tree, "thing", &slice, &error))
        DEMAND (slice.size < size);
    else
        fuzz_is_told (&error);
    if (mp_get_cstr (tree, "thing", &string, &error))
        DEMAND (strlen (string) < size);
    else
        fuzz_is_told (&error);
    free (string);
    text_destroy (&again);
    text_destroy (&json);
    zframe_destroy (&frame);
    msgpack_unpacked_destroy (&second);
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    //  A copy of exactly its size: a read behind it is seen
    char *copy = malloc (size ? size : 1);
    DEMAND (copy);
    memcpy (copy, data, size);
    const uint8_t *at = data;
    bool good = fuzz_is_value (&at, data + size, MP_MAX_DEPTH) && at == data + size;

    msgpack_unpacked doc;
    mp_error_t error;
    bool taken = mp_decode (&doc, copy, size, "thing", &error) == 0;
    DEMAND (taken == good);
    const msgpack_object *tree = taken ? &doc.data : NULL;
    s_read_in_place (copy, size, tree);
    s_read_uint32s (copy, size, tree);
    s_read_map (copy, size, tree);
    if (taken) {
        s_print_and_get (&doc.data, size);
        msgpack_unpacked_destroy (&doc);
    } else {
        fuzz_is_told (&error);
    }
    free (copy);
    return 0;
}
