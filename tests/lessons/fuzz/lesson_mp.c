//  SPDX-License-Identifier: MIT
//  lesson_mp.c - fuzzes common/mp.h: what mp_open takes, and what the getters see of it

#include "mp.h"
#include "tests/tools/fuzz/demand.h"

//  Looks at all of a tree with the getters, and counts its values
//  NOLINTNEXTLINE(misc-no-recursion)
static size_t s_walk (const msgpack_object *object)
{
    size_t values = 1;
    DEMAND (object);
    char *text = mp_text (object);
    if (text) {
        DEMAND (mp_is (object, text) && strlen (text) == object->via.str.size);
        for (const byte *at = (byte *) mp_printable (text); *at; at++)
            DEMAND (*at >= 0x20 && *at != 0x7f);
        zstr_free (&text);
    }
    for (uint32_t i = 0; i < mp_count (object); i++)
        values += s_walk (mp_at (object, i));
    DEMAND (!mp_at (object, mp_count (object)));
    if (object->type == MSGPACK_OBJECT_MAP) {
        for (uint32_t i = 0; i < object->via.map.size; i++) {
            const msgpack_object_kv *pair = &object->via.map.ptr[i];
            char *key = mp_text (&pair->key);
            DEMAND (!key || mp_get (object, key));
            zstr_free (&key);
            values += s_walk (&pair->key) + s_walk (&pair->val);
        }
    }
    DEMAND (mp_uint (object, 1) == 1 || object->type == MSGPACK_OBJECT_POSITIVE_INTEGER);
    return values;
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    const uint8_t *at = data;
    //  Recursion has to end somewhere: the scan has no limit, an input here has at most 4,096 bytes
    bool one = fuzz_is_value (&at, data + size, 5000) && at == data + size;
    DEMAND (mp_is_one_value (data, size) || !one);  //  The scan leaves c1 to msgpack-c

    zframe_t *frame = zframe_new (data, size);
    msgpack_unpacked doc;
    const msgpack_object *object = mp_open (&doc, frame);
    DEMAND (one || !object);
    if (object)
        DEMAND (s_walk (object) <= size);
    at = data;
    //  msgpack-c takes 31 levels or 32, and all that is right and no deeper
    if (fuzz_is_value (&at, data + size, 31) && at == data + size)
        DEMAND (object);
    msgpack_unpacked_destroy (&doc);
    zframe_destroy (&frame);
    return 0;
}
