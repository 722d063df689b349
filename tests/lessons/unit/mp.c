//  SPDX-License-Identifier: MIT
//  mp.c - unit tests of common/mp.h

#include "mp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define LENGTH(array) (sizeof (array) / sizeof (array)[0])

//  Opens the bytes that `hex` names, in a buffer of exactly their size: a sanitizer sees each step
//  beyond it
static bool s_opens (const char *hex)
{
    size_t size = strlen (hex) / 2;
    byte *bytes = malloc (size ? size : 1);
    assert_non_null (bytes);
    for (size_t i = 0; i < size; i++) {
        unsigned value;
        assert_int_equal (sscanf (hex + 2 * i, "%2x", &value), 1);
        bytes[i] = (byte) value;
    }
    bool one = mp_is_one_value (bytes, size);
    zframe_t *frame = zframe_new (bytes, size);
    msgpack_unpacked doc;
    bool opened = mp_open (&doc, frame) != NULL;
    msgpack_unpacked_destroy (&doc);
    zframe_destroy (&frame);
    free (bytes);
    if (opened)
        assert_true (one);
    return opened;
}

static void test_put (void **state)
{
    msgpack_sbuffer out = {0};
    mp_put (&out, "[iudsnf{si", 7, -1, UINT64_MAX, 0.5, "h\xc3\xa9", 1, "a", 300);
    static const byte want[] = {0x97, 0xff, 0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                0xcb, 0x3f, 0xe0, 0,    0,    0,    0,    0,    0,    0xa3, 'h',
                                0xc3, 0xa9, 0xc0, 0xc2, 0x81, 0xa1, 'a',  0xcd, 0x01, 0x2c};
    zframe_t *frame = mp_frame (&out);
    assert_int_equal (zframe_size (frame), sizeof want);
    assert_memory_equal (zframe_data (frame), want, sizeof want);
    zframe_destroy (&frame);

    mp_put (&out, "s", "");  //  `out` can be used again
    frame = mp_frame (&out);
    assert_int_equal (zframe_size (frame), 1);
    assert_int_equal (zframe_data (frame)[0], 0xa0);
    zframe_destroy (&frame);
}

static void test_walk (void **state)
{
    msgpack_sbuffer out = {0};
    mp_put (&out, "{sisssns[iu", 4, "task", 7, "name", "w1", "none", "list", 2, -3, UINT64_MAX);
    zframe_t *frame = mp_frame (&out);
    msgpack_unpacked doc;
    const msgpack_object *map = mp_open (&doc, frame), *list = mp_get (map, "list");
    assert_non_null (map);
    assert_int_equal (mp_uint (mp_get (map, "task"), 9), 7);
    assert_int_equal (mp_uint (mp_get (map, "name"), 9), 9);
    assert_int_equal (mp_uint (mp_get (map, "tas"), 9), 9);
    assert_int_equal (mp_uint (mp_get (map, "tasks"), 9), 9);
    assert_int_equal (mp_get (map, "none")->type, MSGPACK_OBJECT_NIL);
    assert_int_equal (mp_count (list), 2);
    assert_int_equal (mp_uint (mp_at (list, 0), 9), 9);  //  Negative
    assert_true (mp_uint (mp_at (list, 1), 9) == UINT64_MAX);
    assert_null (mp_at (list, 2));
    assert_null (mp_at (map, 0));
    assert_null (mp_get (list, "task"));
    assert_int_equal (mp_count (map), 0);
    char *name = mp_text (mp_get (map, "name"));
    assert_string_equal (name, "w1");
    zstr_free (&name);
    assert_null (mp_text (mp_get (map, "task")));
    msgpack_unpacked_destroy (&doc);
    zframe_destroy (&frame);
}

//  Each getter takes NULL, so a chain needs one check
static void test_null (void **state)
{
    msgpack_unpacked doc;
    assert_null (mp_open (&doc, NULL));
    msgpack_unpacked_destroy (&doc);
    assert_null (mp_at (mp_get (mp_at (NULL, 0), "a"), 1));
    assert_int_equal (mp_count (NULL), 0);
    assert_int_equal (mp_uint (NULL, 5), 5);
    assert_null (mp_text (NULL));
    assert_false (mp_is (NULL, ""));
}

static void test_text (void **state)
{
    static const struct {
        const char *bytes, *text;
        size_t size;
    } each[] = {{"\xa0", "", 1},
                {"\xa1x", "x", 2},
                {"\xa1\0", NULL, 2},   //  A zero byte
                {"\xc4\1x", NULL, 3},  //  A bin
                {"\xd9\3abc", "abc", 5}};
    for (size_t i = 0; i < LENGTH (each); i++) {
        zframe_t *frame = zframe_new (each[i].bytes, each[i].size);
        msgpack_unpacked doc;
        const msgpack_object *object = mp_open (&doc, frame);
        assert_non_null (object);
        char *text = mp_text (object);
        assert_int_equal (text != NULL, each[i].text != NULL);
        if (text)
            assert_string_equal (text, each[i].text);
        zstr_free (&text);
        msgpack_unpacked_destroy (&doc);
        zframe_destroy (&frame);
    }
}

static void test_printable (void **state)
{
    static const char *each[][2] = {
        {"", ""},
        {"plain", "plain"},
        {"h\xc3\xa9 \xe4\xbd\xa0", "h\xc3\xa9 \xe4\xbd\xa0"},
        {"\x1b[2J\r\n\t\x7f", "?[2J????"},
        {"\xc2\x9b"
         "2J \xc2\xa0 \xc2",
         "?\x9b"
         "2J \xc2\xa0 \xc2"},  //  CSI as one character
    };
    for (size_t i = 0; i < LENGTH (each); i++) {
        char *text = strdup (each[i][0]);
        assert_string_equal (mp_printable (text), each[i][1]);
        free (text);
    }
}

//  Words of hex: what is one value, and what is none
static void test_one_value (void **state)
{
    char good[] =
        "00 7f e0 ff c0 c2 c3 80 90 a0 a141 "
        "bf00000000000000000000000000000000000000000000000000000000000000 cc01 cd0001 "
        "ce00000001 cf0000000000000001 d001 d1ffff d2ffffffff d3ffffffffffffffff ca3f800000 "
        "cb3ff0000000000000 d900 d90141 da000141 db0000000141 c400 c40141 c5000141 c60000000141 "
        "d40100 d5010000 d60100000000 d7010000000000000000 d80100000000000000000000000000000000 "
        "c70001 c7010141 c800010141 c9000000010141 dc0000 dc000101 dd00000001c0 de0000 "
        "de0001a14101 df00000001a14101 81a14190 9291c0c2 82a16193cc80cd0100a178a162c70301616161";
    char bad[] =
        "c1 91 81 81a141 a1 c001 9001 92c0 cc cd00 cf00 ca00 d9 d901 da00 da0001 db000000 "
        "dbffffffff c4 c401 c6ffffffff c701 c70101 c9ffffffff01 d401 d80100 dc dc0001 "
        "ddffffffff ddffffffffc0 de0001 de0001a141 dfffffffff df80000000 dfffffffffc0c0 91c1 "
        "dd01000000dd01000000dd01000000 82a16193cc80cd0100a178a162c70301616161c0";
    for (char *hex = strtok (good, " "); hex; hex = strtok (NULL, " "))
        if (!s_opens (hex))
            fail_msg ("%s: refused", hex);
    for (char *hex = strtok (bad, " "); hex; hex = strtok (NULL, " "))
        if (s_opens (hex))
            fail_msg ("%s: taken", hex);

    //  Cut short at each place
    static const char whole[] = "84a16193cc80cd0100a178a162c70301616161a163d9026262a164deff00";
    char hex[sizeof whole];
    for (size_t size = 0; size < sizeof whole; size += 2) {
        memcpy (hex, whole, size);
        hex[size] = 0;
        assert_false (s_opens (hex));
    }
}

//  msgpack-c takes 31 levels; more is no value, but no crash either
static void test_depth (void **state)
{
    char hex[2 * 5000 + 1];
    for (size_t depth = 1; depth <= 5000; depth = depth < 40 ? depth + 1 : depth * 2) {
        for (size_t i = 0; i < depth; i++)
            memcpy (hex + 2 * i, i + 1 < depth ? "91" : "90", 3);
        assert_int_equal (s_opens (hex), depth <= 31 || (depth == 32 && s_opens (hex)));
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_put),       cmocka_unit_test (test_walk),
        cmocka_unit_test (test_null),      cmocka_unit_test (test_text),
        cmocka_unit_test (test_printable), cmocka_unit_test (test_one_value),
        cmocka_unit_test (test_depth),
    };
    return cmocka_run_group_tests_name ("mp.h", tests, NULL, NULL);
}
