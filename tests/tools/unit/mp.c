//  SPDX-License-Identifier: MIT

#include "unit.h"
#include "lib/mp_put.h"
#include "vectors.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>

//  The same numbers on each run
static uint64_t random_bits;

static uint64_t s_random (void)
{
    return random_bits = random_bits * 6364136223846793005u + 1442695040888963407u;
}

//  -- Encode

//  What is put is what is packed
static void test_put (void **state)
{
    static const uint64_t numbers[] = {
        0,      1,          62,         63,         64,         65,        127,       128,
        254,    255,        256,        257,        65534,      65535,     65536,     131070,
        131072, UINT32_MAX, 4294967296, 8589934590, 8589934592, INT64_MAX, UINT64_MAX};
    static const size_t sizes[] = {0, 1, 2, 3, 4, 8, 15, 16, 17, 31, 32, 255, 256, 65535, 65536};
    mp_writer_t put, pack;
    mp_begin (&put);
    msgpack_packer *packer = mp_begin (&pack);
    char *at = mp_reserve (&put, 10000);
#define BOTH(type, ...)                                                                            \
    mp_put_##type (&at, __VA_ARGS__);                                                              \
    msgpack_pack_##type (packer, __VA_ARGS__)
    for (size_t i = 0; i < COUNT (numbers); i++) {
        BOTH (uint64, numbers[i]);
        BOTH (int64, (int64_t) (numbers[i] / 2));
        BOTH (int64, -(int64_t) (numbers[i] / 2) - 1);  //  INT64_MIN is the last
        BOTH (int, (int) (uint32_t) numbers[i]);
        BOTH (uint32, (uint32_t) numbers[i]);
        BOTH (double, (double) numbers[i]);
    }
    for (size_t i = 0; i < COUNT (sizes); i++) {
        BOTH (array, sizes[i]);
        BOTH (map, sizes[i]);
        BOTH (str, sizes[i]);
        BOTH (bin, sizes[i]);
        BOTH (ext, sizes[i], (int8_t) -sizes[i]);
    }
#undef BOTH
    mp_put_nil (&at);
    mp_put_true (&at);
    mp_put_false (&at);
    mp_put_nils (&at, 2);
    mp_put_cstr (&at, NULL);
    mp_put_cstr (&at, "a C string");
    mp_put_text (&at, "text");
    mp_commit (&put, at);
    //  Both ways into one buffer, and room that is made while there is something in it
    mp_pack_str (&put.packer, "more");
    mp_pack_str (&put.packer, "");
    mp_pack_str (&put.packer, NULL);
    at = mp_reserve (&put, 100000);
    mp_put_text (&at, "end");
    mp_commit (&put, at);
    const char *packed = "null true false null null null 'a C string' 'text' 'more' '' null 'end'";
    while (*packed)
        packed = unit_pack (packer, packed);
    for (uint32_t i = 0; i < 100000; i++) {
        msgpack_pack_uint32 (&put.packer, UINT32_MAX);
        msgpack_pack_uint32 (packer, UINT32_MAX);
    }
    zframe_t *got = mp_end (&put), *want = mp_end (&pack);
    assert_true (zframe_size (got) > 500000 && zframe_eq (got, want));
    zframe_destroy (&got);
    zframe_destroy (&want);
}

//  -- Decode

//  Decodes a copy that has exactly its own size, so that a sanitizer sees a read behind it; prints
//  it, so that all of it is read
static bool s_decode (zframe_t *frame, mp_error_t *error)
{
    size_t size = zframe_size (frame);
    char *copy = malloc (size ? size : 1);
    assert_non_null (copy);
    memcpy (copy, zframe_data (frame), size);
    msgpack_unpacked doc;
    bool ok = mp_decode (&doc, copy, size, "thing", error) == 0;
    if (ok) {
        free (unit_print (&doc.data));
        msgpack_unpacked_destroy (&doc);
    }
    free (copy);
    return ok;
}

static void test_decode_hostile (void **state)
{
    unit_hostile (s_decode, VECTOR (REQUEST_FULL));
    unit_hostile (s_decode, VECTOR (OUTPUTS_FULL));
    unit_hostile (s_decode, VECTOR (KV_BYTES_HASHES_V26));
    unit_hostile (s_decode, VECTOR (KV_MIXED_V9));
}

static void test_decode_refusals (void **state)
{
    static const struct {
        const char *why, *messages;
    } cases[] = {
        {"thing: empty", ""},
        {"thing: not msgpack", "c1|92c0c1|81a161c1"},
        {"thing: has bytes after its end", "c0c0|c0c1|9000|a2617262"},
        {"thing: truncated",
         "91|92c0|82c0c0c0|a1|cb3ff0000000|cf|d9|d905ff|c403ffff|d4|d401|c70101|"
         "dd000000"},
        {"thing: claims more elements than it has bytes for",
         "dd01000000|ddffffffff|dfffffffff|df80000000|df80000001c0c0|dcffff|deffff|9f|8f|"
         "91dd01000000|81a161ddffffffff|9191dfffffffff"},
        //  Each of the two arrays would be possible, both are not
        {"thing: claims more elements than it has bytes for", "9492c0c092c0c092c0"},
        //  Bytes of 4 GB
        {"thing: truncated", "dbffffffff|dbffffffff61|c6ffffffff00|c9fffffffe0100"},
        //  With its type byte this ext has 2^32 bytes, and 2^32 is 0 in 32 bits
        {"thing: ", "c9ffffffff|c9ffffffff0100000000|92c9ffffffff01"},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        char word[200], text[204];
        for (const char *list = cases[i].messages; unit_word (&list, word);) {
            snprintf (text, sizeof text, "x'%s'", word);
            unit_refuses (s_decode, unit_frame (text), cases[i].why);
        }
    }
}

//  A value with `depth` containers around it
static zframe_t *s_nested (size_t depth, bool maps, const char *core)
{
    mp_writer_t writer;
    msgpack_packer *packer = mp_begin (&writer);
    while (depth-- > 0)
        unit_pack (packer, maps ? "x'81c0'" : "x'91'");
    unit_pack (packer, core);
    return mp_end (&writer);
}

static void test_decode_depth (void **state)
{
    static const char too_deep[] = "thing: not msgpack, or nested more than 32 deep";
    for (int maps = 0; maps < 2; maps++) {
        unit_takes (s_decode, s_nested (MP_MAX_DEPTH, maps, "1"), "32 deep");
        unit_refuses (s_decode, s_nested (MP_MAX_DEPTH + 1, maps, "1"), too_deep);
        unit_refuses (s_decode, s_nested (100000, maps, "1"), too_deep);
        //  An empty container counts as one
        for (int empty = 0; empty < 2; empty++) {
            const char *core = empty ? "[]" : "{}";
            unit_takes (s_decode, s_nested (MP_MAX_DEPTH - 1, maps, core), "32 deep");
            unit_refuses (s_decode, s_nested (MP_MAX_DEPTH, maps, core), too_deep);
        }
    }
}

static void test_decode_elements (void **state)
{
    for (size_t count = MP_MAX_ELEMENTS; count <= MP_MAX_ELEMENTS + 1; count++) {
        zframe_t *frame = zframe_new (NULL, 5 + count);
        memset (zframe_data (frame), 0xc0, 5 + count);
        char *at = (char *) zframe_data (frame);
        mp_put_array (&at, count);
        if (count == MP_MAX_ELEMENTS)
            unit_takes (s_decode, frame, "as many as may be");
        else
            unit_refuses (s_decode, frame, "thing: has more than 4194304");
    }
}

//  -- Getters

static void test_wrong (void **state)
{
    mp_error_t error;
    assert_false (mp_wrong (&error, "field", "%d of %s", 3, "them"));
    assert_string_equal (error.text, "field: 3 of them");

    //  What does not fit is cut off, and the text ends
    char longer[400];
    memset (longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    assert_false (mp_wrong (&error, longer, "why"));
    assert_int_equal (strlen (error.text), sizeof error.text - 1);
    assert_false (mp_wrong (&error, "field", "%s", longer));
    assert_int_equal (strlen (error.text), sizeof error.text - 1);
    assert_memory_equal (error.text, "field: xxx", 10);
}

//  The value of `text`, until the next one is opened
static msgpack_unpacked open_doc;
static zframe_t *open_frame;

static int s_close (void **state)
{
    if (open_frame)
        msgpack_unpacked_destroy (&open_doc);
    zframe_destroy (&open_frame);
    return 0;
}

static const msgpack_object *s_open (const char *text)
{
    s_close (NULL);
    open_frame = unit_frame (text);
    const byte *data = zframe_data (open_frame);
    assert_int_equal (mp_decode (&open_doc, data, zframe_size (open_frame), text, NULL), 0);
    return &open_doc.data;
}

//  What a getter makes of a value (NULL: of nothing) is `want`: what it got, or why not
static void s_gets (char getter, uint64_t max, const char *value, const char *want)
{
    const msgpack_object *object = value ? s_open (value) : NULL;
    mp_error_t error = {.text = ""};
    char got[100] = "";
    uint64_t number = 77;
    double real = 77;
    mp_slice_t slice = {0};
    char *copy = NULL;
    const msgpack_object_array *array;
    const msgpack_object_map *map;
    if (getter == 'u' && mp_get_uint (object, "f", max, &number, &error))
        snprintf (got, sizeof got, "%" PRIu64, number);
    if (getter == 'd' && mp_get_double (object, "f", &real, &error))
        snprintf (got, sizeof got, "%.1f", real);
    if (getter == 's' && mp_get_str (object, "f", &slice, &error)) {
        //  Not copied: it points into the bytes that were decoded
        size_t at = (size_t) ((const byte *) slice.data - zframe_data (open_frame));
        assert_true (slice.size == 0 || at < zframe_size (open_frame));
        snprintf (got, sizeof got, "%.*s", (int) slice.size, slice.data);
    }
    if (getter == 'c' && mp_get_cstr (object, "f", &copy, &error)) {
        assert_ptr_not_equal (copy, object->via.str.ptr);
        snprintf (got, sizeof got, "%s", copy);
    }
    if (getter == 'a' && mp_get_array (object, "f", (uint32_t) max, &array, &error)) {
        assert_ptr_equal (array, &object->via.array);
        snprintf (got, sizeof got, "%u", array->size);
    }
    if (getter == 'm' && mp_get_map (object, "f", &map, &error)) {
        assert_ptr_equal (map, &object->via.map);
        snprintf (got, sizeof got, "%u", map->size);
    }
    free (copy);
    if (strcmp (*got ? got : error.text, want) != 0)
        fail_msg ("%c of %s: \"%s%s\", not \"%s\"", getter, value, got, error.text, want);
}

static void test_getters (void **state)
{
    static const struct {
        char getter;
        uint64_t max;
        const char *value, *got;
    } cases[] = {
        {'u', 0, "0", "0"},
        {'u', 127, "127", "127"},
        {'u', 127, "128", "f: 128 is more than 127"},
        {'u', UINT64_MAX, "18446744073709551615", "18446744073709551615"},
        //  A signed form of a number that is not negative
        {'u', 9, "x'd005'", "5"},
        {'u', 9, "x'd10005'", "5"},
        {'u', 9, "x'd200000005'", "5"},
        {'u', UINT64_MAX, "x'd37fffffffffffffff'", "9223372036854775807"},
        {'u', UINT64_MAX, "-9223372036854775808",
         "f: want an unsigned integer, got negative integer"},
        {'u', 9, "x'ca3f800000'", "f: want an unsigned integer, got float"},
        {'d', 0, "0.1", "0.1"},
        {'d', 0, "x'ca3fc00000'", "1.5"},
        {'d', 0, "7", "7.0"},
        {'d', 0, "-7", "-7.0"},
        {'d', 0, "18446744073709551615", "18446744073709551616.0"},
        {'d', 0, "-9223372036854775808", "-9223372036854775808.0"},
        {'s', 0, "'ping'", "ping"},
        {'s', 0, "''", ""},
        {'c', 0, "'ping'", "ping"},
        {'c', 0, "''", ""},
        {'c', 0, "x'aa61c3a9e4bda0f09f9880'", "a\xc3\xa9\xe4\xbd\xa0\xf0\x9f\x98\x80"},
        //  A NUL byte: no C string, wherever it stands
        {'s', 0, "x'a37a007a'", "z"},
        {'c', 0, "x'a100'", "f: has a NUL byte in it"},
        {'c', 0, "x'a2007a'", "f: has a NUL byte in it"},
        {'c', 0, "x'a27a00'", "f: has a NUL byte in it"},
        //  Not UTF-8, at its begin, in the middle and at its end
        {'c', 0, "x'a1ff'", "f: is not UTF-8"},
        {'c', 0, "x'a3618061'", "f: is not UTF-8"},
        {'s', 0, "x'a261c3'", "f: is not UTF-8"},
        {'a', 0, "[1,2]", "2"},
        {'a', 2, "[1,2]", "2"},
        {'a', 3, "[1,2]", "f: want an array of 3 or more, got 2"},
        {'m', 0, "{1:2}", "1"},
    };
    for (size_t i = 0; i < COUNT (cases); i++)
        s_gets (cases[i].getter, cases[i].max, cases[i].value, cases[i].got);

    //  A value of another type, or none, is refused with what was wanted and what was there
    static const struct {
        char getter;
        const char *want, *takes;  //  Of the types below
    } getters[] = {{'u', "an unsigned integer", "i"},
                   {'d', "a number", "inf"},
                   {'s', "a str", "s"},
                   {'c', "a str", "s"},
                   {'a', "an array", "a"},
                   {'m', "a map", "m"}};
    static const struct {
        char letter;
        const char *value, *name;
    } types[] = {{'i', "1", "integer"},   {'n', "-1", "negative integer"}, {'f', "1.0", "float"},
                 {'0', "null", "nil"},    {'b', "true", "bool"},           {'s', "'1'", "str"},
                 {'h', "h'01'", "bin"},   {'x', "x'd40100'", "ext"},       {'a', "[1]", "array"},
                 {'m', "{'a':1}", "map"}, {'-', NULL, "nothing"}};
    for (size_t i = 0; i < COUNT (getters); i++) {
        for (size_t k = 0; k < COUNT (types); k++) {
            char want[100];
            snprintf (want, sizeof want, "f: want %s, got %s", getters[i].want, types[k].name);
            if (!strchr (getters[i].takes, types[k].letter))
                s_gets (getters[i].getter, 0, types[k].value, want);
        }
    }
}

static void test_find_and_is_nil (void **state)
{
    //  Keys that are not str, that begin alike, an empty one, one that is there twice
    static const struct {
        const char *key;
        uint64_t value;
    } found[] = {{"ab", 15}, {"a", 13}, {"abc", 14}, {"", 16}, {"twice", 20}, {"first", 9}};
    const msgpack_object *object = s_open ("{'first':9, 1:10, h'6162':11, null:12, 'a':13, "
                                           "'abc':14, 'ab':15, '':16, [1]:17, 'twice':18, "
                                           "x'a3616200':19, 'twice':20}");
    const msgpack_object_map *map = &object->via.map;
    for (size_t i = 0; i < COUNT (found); i++)
        assert_int_equal (mp_find (map, found[i].key)->via.u64, found[i].value);
    assert_null (mp_find (map, "b"));
    assert_null (mp_find (map, "abcd"));
    assert_null (mp_find (&s_open ("{}")->via.map, "a"));

    char word[200];
    assert_true (mp_is_nil (NULL));
    assert_true (mp_is_nil (s_open ("null")));
    for (const char *list = "false|0|''|[]|{}|h''|0.0"; unit_word (&list, word);)
        assert_false (mp_is_nil (s_open (word)));
}

//  -- UTF-8

static void test_utf8_size (void **state)
{
    //  All of one and two bytes, and what comes behind them does not matter
    for (unsigned first = 0; first < 256; first++) {
        for (unsigned second = 0; second < 256; second++) {
            const char text[] = {(char) first, (char) second};
            bool pair = first >= 0xc2 && first <= 0xdf && second >= 0x80 && second <= 0xbf;
            assert_int_equal (mp_utf8_size (text, 2), first < 0x80 ? 1 : pair ? 2 : 0);
            assert_int_equal (mp_utf8_size (text, 1), first < 0x80);
            assert_int_equal (mp_utf8_size (text, 0), 0);
        }
    }
    //  Numbers up to 2^21 in the form of their length; all around the ends of what is good
    for (uint32_t number = 0, step; number < 1u << 21; number += step) {
        step = number < 0x10000 || (number >= 0x10fe00 && number < 0x110200) ? 1 : 0x100;
        bool longer = number > 0xffff;
        const char text[] = {
            (char) (longer ? 0xf0 | number >> 18 : 0xe0 | number >> 12),
            (char) (0x80 | (longer ? number >> 12 & 0x3f : number >> 6 & 0x3f)),
            (char) (0x80 | (longer ? number >> 6 & 0x3f : number & 0x3f)),
            (char) (0x80 | (number & 0x3f)),
        };
        bool good =
            number >= 0x800 && number <= 0x10ffff && !(number >= 0xd800 && number <= 0xdfff);
        size_t size = longer ? 4 : 3;
        if (mp_utf8_size (text, 4) != (good ? size : 0) || mp_utf8_size (text, size - 1) != 0)
            fail_msg ("U+%04X", number);
    }
}

//  -- Print

//  What mp_print writes, and mp_print_json where that differs: JSON has no bytes, no NaN, and only
//  strings as keys
static void test_print (void **state)
{
    static const struct {
        const char *value, *printed, *json;
    } cases[] = {
        {"[null,true,false,[],{},0,-1,9007199254740993,9223372036854775807,-9223372036854775808,"
         "15760518052499183552,18446744073709551615]",
         "[null,true,false,[],{},0,-1,9007199254740993,9223372036854775807,-9223372036854775808,"
         "15760518052499183552,18446744073709551615]",
         NULL},
        {"[0.0,-0.0,1.0,-1.0,0.1,0.3,x'cb3fd3333333333334',1789095808.83,100000.0,"
         "9007199254740992.0,1.0e300,1.0e-7,x'cb7fefffffffffffff',x'cb0010000000000000']",
         "[0.0,-0.0,1.0,-1.0,0.1,0.3,0.30000000000000004,1789095808.83,100000.0,"
         "9007199254740992.0,1e+300,1e-07,1.7976931348623157e+308,2.2250738585072014e-308]",
         NULL},
        {"[x'ca3f800000',x'ca3fc00000',x'ca3dcccccd',x'ca80000000']",
         "[1.0,1.5,0.10000000149011612,-0.0]", NULL},
        {"[x'cb7ff0000000000000',x'cbfff0000000000000',x'cb7ff8000000000000',x'cbfff8000000000000'"
         "]",
         "[Infinity,-Infinity,NaN,NaN]", "[null,null,null,null]"},
        {"[x'ca7f800000',x'ca7fc00000']", "[Infinity,NaN]", "[null,null]"},
        //  Strings: escapes, control characters (C1 is two bytes), UTF-8 of each length
        {"['','ping~/',x'a122',x'a15c',x'a45c225c22',x'a3610a62',x'a2090d']",
         "[\"\",\"ping~/\",\"\\\"\",\"\\\\\",\"\\\\\\\"\\\\\\\"\",\"a\\nb\",\"\\t\\r\"]", NULL},
        {"[x'a50001081f7f',x'a31b5b6d',x'a2c280',x'a2c29b',x'a2c29f']",
         "[\"\\u0000\\u0001\\u0008\\u001f\\u007f\",\"\\u001b[m\",\"\\u0080\",\"\\u009b\","
         "\"\\u009f\"]",
         NULL},
        {"[x'a2c2a0',x'a2dfbf',x'a6e4bda0e5a5bd',x'a4f48fbfbf']",
         "[\"\xc2\xa0\",\"\xdf\xbf\",\"\xe4\xbd\xa0\xe5\xa5\xbd\",\"\xf4\x8f\xbf\xbf\"]", NULL},
        //  Not UTF-8, each byte: alone, overlong, a surrogate, cut by the end and by a character
        {"[x'a180',x'a2c0af',x'a3eda080']", "[\"\\x80\",\"\\xc0\\xaf\",\"\\xed\\xa0\\x80\"]",
         "[\"\\ufffd\",\"\\ufffd\\ufffd\",\"\\ufffd\\ufffd\\ufffd\"]"},
        {"[x'a3f09f98',x'a2c322',x'a4f09f9841',x'a4c3c3a941']",
         "[\"\\xf0\\x9f\\x98\",\"\\xc3\\\"\",\"\\xf0\\x9f\\x98A\",\"\\xc3\xc3\xa9"
         "A\"]",
         "[\"\\ufffd\\ufffd\\ufffd\",\"\\ufffd\\\"\",\"\\ufffd\\ufffd\\ufffdA\","
         "\"\\ufffd\xc3\xa9"
         "A\"]"},
        {"[h'',h'00fF0a',x'd40300',x'c7000f',x'd5ff0102',x'c7038001ff02']",
         "[h'',h'00ff0a',ext(3,h'00'),ext(15,h''),ext(-1,h'0102'),ext(-128,h'01ff02')]",
         "[\"\",\"00ff0a\",\"00\",\"\",\"0102\",\"01ff02\"]"},
        {"{'a':[1,{'b':null}],'c':{},'':[2,[],{}],'twice':7,'twice':8}",
         "{\"a\":[1,{\"b\":null}],\"c\":{},\"\":[2,[],{}],\"twice\":7,\"twice\":8}", NULL},
        {"{2:3,-4:5,null:6,true:7,0.5:8,h'01ff':1,x'd40302':2}",
         "{2:3,-4:5,null:6,true:7,0.5:8,h'01ff':1,ext(3,h'02'):2}",
         "{\"2\":3,\"-4\":5,\"null\":6,\"true\":7,\"0.5\":8,\"01ff\":1,\"02\":2}"},
        {"{[1,'a']:2,{1:'a'}:2}", "{[1,\"a\"]:2,{1:\"a\"}:2}",
         "{\"[1,\\\"a\\\"]\":2,\"{1:\\\"a\\\"}\":2}"},
        {"{x'cb7ff8000000000000':1,x'a1ff':h'ff'}", "{NaN:1,\"\\xff\":h'ff'}",
         "{\"NaN\":1,\"\\ufffd\":\"ff\"}"},
        //  A key in a key: JSON makes a string of the outermost, and of none within
        {"{{{'a':1}:h'00'}:2}", "{{{\"a\":1}:h'00'}:2}", "{\"{{\\\"a\\\":1}:h'00'}\":2}"},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        text_t out = {NULL, 0, 0};
        unit_is (unit_print (s_open (cases[i].value)), cases[i].printed);
        mp_print_json (&out, &open_doc.data);
        unit_is (text_take (&out), cases[i].json ? cases[i].json : cases[i].printed);
    }
    text_t out = {NULL, 0, 0};
    mp_print_json_pair (&out, &s_open ("{'a':h'01',2:[]}")->via.map.ptr[0]);
    mp_print_json_pair (&out, &open_doc.data.via.map.ptr[1]);
    unit_is (text_take (&out), "\"a\":\"01\"\"2\":[]");
}

//  If each key in a key were a string of its own, a hundred bytes would be gigabytes of JSON
static void test_print_json_keys_in_keys (void **state)
{
    char text[200] = "x'", *at = text + 2;
    for (size_t i = 0; i <= 2 * MP_MAX_DEPTH; i++)
        at += snprintf (at, 4, i < MP_MAX_DEPTH ? "81" : "01");
    *at = '\'';
    text_t out = {NULL, 0, 0};
    mp_print_json (&out, s_open (text));
    assert_memory_equal (out.data, "{\"{{{", 5);
    assert_true (out.size < 1000);
    text_destroy (&out);
}

//  text_put_double writes what snprintf does with the fewest digits that read back as the same
static void s_prints_shortest (double value)
{
    char slow[40];
    text_t text = {NULL, 0, 0};
    if (!isfinite (value))
        return;
    for (int digits = 15; digits <= 17; digits++) {
        snprintf (slow, sizeof slow, "%.*g", digits, value);
        if (strtod (slow, NULL) == value)
            break;
    }
    if (!strpbrk (slow, ".e"))
        snprintf (slow, sizeof slow, "%.1f", value);
    text_put_double (&text, value);
    unit_is (text_take (&text), slow);
}

static void test_print_doubles (void **state)
{
    static const double edges[] = {DBL_MIN,   DBL_MAX, -DBL_MAX,   DBL_EPSILON, 0x1p-1074,
                                   0x1p53,    0x1p63,  0x1p64,     1.0 / 3,     2.0 / 3,
                                   1e15,      1e16,    1e17,       1e22,        1e23,
                                   0x1.8p-30, 5e-5,    123456.789, 0x1p-1022,   1789095808.83};
    for (size_t i = 0; i < COUNT (edges); i++)
        s_prints_shortest (edges[i]);
    random_bits = 1;
    for (uint64_t i = 0; i < 20000; i++) {
        uint64_t bits = s_random ();
        double any;
        memcpy (&any, &bits, sizeof any);
        s_prints_shortest (any);
        s_prints_shortest (1.7e9 + (double) (bits >> 24) / 0x1p12);  //  Times
        s_prints_shortest ((double) (bits >> (i % 64)) / (double) (1u << i % 30));
        s_prints_shortest (-(double) (bits >> 14) / (double) (i % 1000));  //  15 digits and more
        s_prints_shortest ((double) (bits >> 34) / 1000);
    }
}

//  -- Read in place. msgpack-c's tree says what is right.

//  Reads a whole value with mp_read alone and packs it again
static bool s_read_again (mp_reader_t *reader, msgpack_packer *packer, int depth)
{
    msgpack_object object;
    uint32_t inside = 0;
    if (depth > MP_MAX_DEPTH || !mp_read (reader, &object))
        return false;
    if (object.type == MSGPACK_OBJECT_ARRAY) {
        assert_null (object.via.array.ptr);
        msgpack_pack_array (packer, inside = object.via.array.size);
    } else if (object.type == MSGPACK_OBJECT_MAP) {
        assert_null (object.via.map.ptr);
        msgpack_pack_map (packer, object.via.map.size);
        inside = 2 * object.via.map.size;
    } else {
        msgpack_pack_object (packer, object);
    }
    for (uint32_t i = 0; i < inside; i++)
        if (!s_read_again (reader, packer, depth + 1))
            return false;
    return true;
}

//  What mp_decode takes, mp_skip and mp_read take, and see the same in it; what it refuses they
//  refuse, or pass over a part of it. The bytes are in memory of just their size.
static void s_compare (const byte *bytes, size_t size)
{
    byte *data = malloc (size ? size : 1);
    assert_non_null (data);
    if (size > 0)
        memcpy (data, bytes, size);
    msgpack_unpacked doc;
    bool good = mp_decode (&doc, data, size, "x", NULL) == 0;
    assert_int_equal (mp_check (data, size, "x", NULL), good ? 0 : -1);
    mp_reader_t skipped = mp_reader (data, size), read = mp_reader (data, size);
    bool whole = mp_skip (&skipped) && skipped.at == skipped.end;
    assert_int_equal (whole, good);
    mp_writer_t writer;
    msgpack_packer *packer = mp_begin (&writer);
    whole = s_read_again (&read, packer, 1) && read.at == read.end;
    zframe_t *again = mp_end (&writer);
    if (good) {
        assert_true (whole);
        mp_begin (&writer);
        msgpack_pack_object (&writer.packer, doc.data);
        zframe_t *want = mp_end (&writer);
        assert_true (zframe_eq (again, want));
        zframe_destroy (&want);
        msgpack_unpacked_destroy (&doc);
    }
    zframe_destroy (&again);
    free (data);
}

static void test_read (void **state)
{
    //  Arrays of 16 elements and more are skipped in another way
    const char *values =
        "0|127|128|255|256|65535|65536|4294967295|4294967296|18446744073709551615|-1|-32|-33|"
        "-128|-129|-32768|-32769|-2147483648|-2147483649|-9223372036854775808|1.5|x'ca3fc00000'|"
        "null|true|false|''|'x'|'0123456789012345678901234567890'|"
        "'01234567890123456789012345678901'|h''|h'00ff'|[]|{}|x'd0ff'|x'd001'|x'cc01'|x'cd0001'|"
        "x'ce00000001'|x'cf0000000000000001'|x'd97878'|x'd40100'|x'd6ff00000000'|x'c700ff'|"
        "x'c70101ff'|x'c1'|x'dc0001c0'|x'dd00000001c0'|x'de0001c0c0'|x'df00000001c0c0'|x'dc0000'|"
        "x'de0000'|x'da000178'|[1,[2,[3,{'a':[null]}]],{1:2}]|[[],{},'',h'',[[]]]|"
        "[300,301,302,303,304,305,306,307,308,309,310,311,312,313,314,315,316]|"
        "[300,1,70000,200,301,302,303,304,1,305]|[300,301,302,303,null]|[300,301,302,303,'x']|"
        "[300,301,302,303,-1,1.5,true]";
    for (char text[200]; unit_word (&values, text);) {
        zframe_t *frame = unit_frame (text);
        byte bytes[256];
        size_t size = zframe_size (frame);
        assert_true (size < sizeof bytes);
        memcpy (bytes, zframe_data (frame), size);
        zframe_destroy (&frame);
        //  Whole, cut, with one byte more, and with each byte another
        for (size_t cut = 0; cut <= size; cut++)
            s_compare (bytes, cut);
        bytes[size] = 0;
        s_compare (bytes, size + 1);
        for (size_t at = 0; at < size; at++) {
            byte keep = bytes[at];
            for (int value = 0; value < 256; value++) {
                bytes[at] = (byte) value;
                s_compare (bytes, size);
            }
            bytes[at] = keep;
        }
    }
    random_bits = 1;
    for (int round = 0; round < 20000; round++) {
        byte bytes[16];
        size_t size = s_random () >> 60;
        for (size_t i = 0; i < size; i++)
            bytes[i] = (byte) (s_random () >> 56);
        s_compare (bytes, size);
    }
    //  A claim is held against all bytes there are. A field that is not there has no address.
    mp_reader_t reader = mp_reader ("\xdd\1\0\0\0\1", 6);
    msgpack_object object;
    assert_false (mp_read (&reader, &object));
    assert_false (mp_skip (&reader));
    reader = mp_reader (NULL, 0);
    assert_false (mp_read (&reader, &object));
    assert_false (mp_skip (&reader));
    assert_ptr_equal (reader.at, reader.end);
}

static mp_reader_t s_reader (zframe_t *frame)
{
    return mp_reader (zframe_data (frame), zframe_size (frame));
}

static bool s_read_uint32s (zframe_t *frame, mp_error_t *error)
{
    mp_reader_t reader = s_reader (frame);
    uint32_t *values;
    size_t count;
    return mp_read_uint32s (&reader, "ids", &values, &count, error);
}

static void test_read_uint32s (void **state)
{
    //  All widths in all neighbourhoods
    static const uint32_t samples[] = {0, 127, 128, 255, 256, 300, 65535, 65536, UINT32_MAX};
    random_bits = 1;
    for (size_t size = 0; size < 200; size++) {
        uint32_t want[200] = {0}, into[600], *values;
        for (size_t i = 0; i < size; i++)
            want[i] = size % 3 ? samples[s_random () % COUNT (samples)] : 300 + (uint32_t) i;
        mp_writer_t writer;
        mp_begin (&writer);
        char *at = mp_reserve (&writer, 5 + 5 * size);
        mp_put_uint32s (&at, want, size);
        mp_commit (&writer, at);
        zframe_t *frame = mp_end (&writer);
        s_compare (zframe_data (frame), zframe_size (frame));
        mp_reader_t reader = s_reader (frame);
        size_t count;
        assert_true (mp_read_uint32s (&reader, "ids", &values, &count, NULL));
        assert_int_equal (count, size);
        assert_int_equal (values != NULL, size > 0);
        assert_ptr_equal (reader.at, reader.end);
        assert_int_equal (reader.room, zframe_size (frame) - size);  //  What is left to claim
        if (size > 0)
            assert_memory_equal (values, want, size * sizeof *want);
        free (values);
        reader = s_reader (frame);
        assert_true (mp_read_uint32s_into (&reader, "ids", into, &count, NULL));
        assert_int_equal (count, size);
        assert_memory_equal (into, want, size * sizeof *want);
        zframe_destroy (&frame);
    }
    static const char *const wrong[][2] = {
        {"[300,301,302,303,-1]", "ids: [4]: want an unsigned integer, got negative integer"},
        {"[1,4294967296]", "ids: [1]: 4294967296 is more than 4294967295"},
        {"[[1]]", "ids: [0]: want an unsigned integer, got array"},
        {"[1,1.0]", "ids: [1]: want an unsigned integer, got float"},
        {"{}", "ids: want an array, got map"},
        {"1", "ids: want an array, got integer"},
        //  A claim is held against all bytes there are, before memory is claimed for it
        {"x'dd0100000001'", "ids: cannot be read"},
    };
    for (size_t i = 0; i < COUNT (wrong); i++)
        unit_refuses (s_read_uint32s, unit_frame (wrong[i][0]), wrong[i][1]);
}

static mp_entry_t entries[] = {MP_ENTRY ("a"), MP_ENTRY ("b"), MP_ENTRY ("c")};

static bool s_read_map (zframe_t *frame, mp_error_t *error)
{
    return mp_read_map (zframe_data (frame), zframe_size (frame), "x", entries, 3, error);
}

static void test_read_map (void **state)
{
    zframe_t *frame = unit_frame ("{'b':[1,2],[1]:2,'a':1,'newer':{'a':7},'a':3}");
    assert_true (s_read_map (frame, NULL));
    assert_int_equal (entries[0].value->via.u64, 3);
    assert_int_equal (entries[1].value->type, MSGPACK_OBJECT_ARRAY);
    assert_int_equal (entries[1].bytes.size, 3);
    assert_memory_equal (entries[1].bytes.data, "\x92\x01\x02", 3);
    assert_null (entries[2].value);
    zframe_destroy (&frame);
    static const char *const wrong[][2] = {{"[1]", "x: want a map, got array"},
                                           {"7", "x: want a map, got integer"},
                                           {"x'81a161'", "x: truncated"},
                                           {"x'8000'", "x: has bytes after its end"},
                                           {"x''", "x: empty"}};
    for (size_t i = 0; i < COUNT (wrong); i++)
        unit_refuses (s_read_map, unit_frame (wrong[i][0]), wrong[i][1]);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_put),
        cmocka_unit_test (test_decode_hostile),
        cmocka_unit_test (test_decode_refusals),
        cmocka_unit_test (test_decode_depth),
        cmocka_unit_test (test_decode_elements),
        cmocka_unit_test (test_wrong),
        cmocka_unit_test (test_getters),
        cmocka_unit_test (test_find_and_is_nil),
        cmocka_unit_test (test_utf8_size),
        cmocka_unit_test (test_print),
        cmocka_unit_test (test_print_json_keys_in_keys),
        cmocka_unit_test (test_print_doubles),
        cmocka_unit_test (test_read),
        cmocka_unit_test (test_read_uint32s),
        cmocka_unit_test (test_read_map),
    };
    return cmocka_run_group_tests_name ("mp", tests, NULL, s_close);
}
