//  SPDX-License-Identifier: MIT

#include "unit.h"
#include "lib/mp_put.h"
#include "vectors.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>

//  -- Encode

static void test_writer (void **state)
{
    mp_writer_t writer;
    msgpack_packer *packer = mp_begin (&writer);
    msgpack_pack_array (packer, 3);
    mp_pack_str (packer, "pong: ping");
    mp_pack_str (packer, "");
    mp_pack_str (packer, NULL);
    zframe_t *frame = mp_end (&writer);
    assert_int_equal (zframe_size (frame), 14);
    assert_memory_equal (zframe_data (frame), "\x93\xaapong: ping\xa0\xc0", 14);
    zframe_destroy (&frame);

    //  More than the buffer's first size
    packer = mp_begin (&writer);
    msgpack_pack_array (packer, 100000);
    for (uint32_t i = 0; i < 100000; i++)
        msgpack_pack_uint32 (packer, UINT32_MAX);
    frame = mp_end (&writer);
    assert_int_equal (zframe_size (frame), 5 + 5 * 100000);
    zframe_destroy (&frame);
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
    const vector_t vectors[] = {
        VECTOR (REQUEST_FULL),  VECTOR (OUTPUTS_FULL), VECTOR (READY_V26),
        VECTOR (UTILITY_CALL),  VECTOR (KV_LORA_V26),  VECTOR (KV_BYTES_HASHES_V26),
        VECTOR (KV_STORED_V23), VECTOR (KV_MIXED_V9),
    };
    for (size_t i = 0; i < COUNT (vectors); i++)
        unit_hostile (s_decode, vectors[i]);
}

static void test_decode_refusals (void **state)
{
    static const struct {
        const char *bytes;
        const char *why;
    } cases[] = {
        {"", "thing: empty"},
        {"c1", "thing: not msgpack"},
        {"92c0c1", "thing: not msgpack"},
        {"81a161c1", "thing: not msgpack"},
        {"c0c0", "thing: has bytes after its end"},
        {"c0c1", "thing: has bytes after its end"},
        {"9000", "thing: has bytes after its end"},
        {"a2617262", "thing: has bytes after its end"},
        //  Cut short
        {"91", "thing: truncated"},
        {"92c0", "thing: truncated"},
        {"82c0c0c0", "thing: truncated"},
        {"a1", "thing: truncated"},
        {"cb3ff0000000", "thing: truncated"},
        {"cf", "thing: truncated"},
        {"d9", "thing: truncated"},
        {"d905ff", "thing: truncated"},
        {"c403ffff", "thing: truncated"},
        {"d4", "thing: truncated"},
        {"d401", "thing: truncated"},
        {"c70101", "thing: truncated"},
        {"dd000000", "thing: truncated"},
        //  Claims of what cannot be there
        {"dd01000000", "thing: claims more elements than it has bytes for"},
        {"ddffffffff", "thing: claims more elements than it has bytes for"},
        {"dfffffffff", "thing: claims more elements than it has bytes for"},
        {"df80000000", "thing: claims more elements than it has bytes for"},
        {"df80000001c0c0", "thing: claims more elements than it has bytes for"},
        {"dcffff", "thing: claims more elements than it has bytes for"},
        {"deffff", "thing: claims more elements than it has bytes for"},
        {"9f", "thing: claims more elements than it has bytes for"},
        {"8f", "thing: claims more elements than it has bytes for"},
        {"91dd01000000", "thing: claims more elements than it has bytes for"},
        {"81a161ddffffffff", "thing: claims more elements than it has bytes for"},
        {"9191dfffffffff", "thing: claims more elements than it has bytes for"},
        //  Each of them would be possible, both are not
        {"9492c0c092c0c092c0", "thing: claims more elements than it has bytes for"},
        //  Bytes of 4 GB
        {"dbffffffff", "thing: truncated"},
        {"dbffffffff61", "thing: truncated"},
        {"c6ffffffff00", "thing: truncated"},
        {"c9fffffffe0100", "thing: truncated"},
        //  With its type byte this ext has 2^32 bytes, and 2^32 is 0 in 32 bits
        {"c9ffffffff", "thing: "},
        {"c9ffffffff0100000000", "thing: "},
        {"92c9ffffffff01", "thing: "},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        char text[64];
        snprintf (text, sizeof text, "x'%s'", cases[i].bytes);
        unit_refuses (s_decode, unit_frame (text), cases[i].why);
    }
}

//  A value with so many containers around it
static zframe_t *s_nested (size_t depth, bool maps, const char *core)
{
    mp_writer_t writer;
    msgpack_packer *packer = mp_begin (&writer);
    while (depth-- > 0) {
        if (maps) {
            msgpack_pack_map (packer, 1);
            msgpack_pack_nil (packer);
        } else {
            msgpack_pack_array (packer, 1);
        }
    }
    unit_pack (packer, core);
    return mp_end (&writer);
}

static void test_decode_depth (void **state)
{
    static const char too_deep[] = "thing: not msgpack, or nested more than 32 deep";
    for (int maps = 0; maps < 2; maps++) {
        unit_takes (s_decode, s_nested (MP_MAX_DEPTH - 1, maps, "1"), "31 deep");
        unit_takes (s_decode, s_nested (MP_MAX_DEPTH, maps, "1"), "32 deep");
        unit_refuses (s_decode, s_nested (MP_MAX_DEPTH + 1, maps, "1"), too_deep);
        //  An empty container counts as one
        unit_takes (s_decode, s_nested (MP_MAX_DEPTH - 1, maps, "[]"), "32 deep, []");
        unit_takes (s_decode, s_nested (MP_MAX_DEPTH - 1, maps, "{}"), "32 deep, {}");
        unit_refuses (s_decode, s_nested (MP_MAX_DEPTH, maps, "[]"), too_deep);
        unit_refuses (s_decode, s_nested (MP_MAX_DEPTH, maps, "{}"), too_deep);
        unit_refuses (s_decode, s_nested (100000, maps, "1"), too_deep);
    }
}

static zframe_t *s_nils (size_t count)
{
    zframe_t *frame = zframe_new (NULL, 5 + count);
    assert_non_null (frame);
    byte *data = zframe_data (frame);
    memset (data, 0xc0, 5 + count);
    data[0] = 0xdd;
    for (size_t i = 0; i < 4; i++)
        data[4 - i] = (byte) (count >> 8 * i);
    return frame;
}

static void test_decode_elements (void **state)
{
    unit_takes (s_decode, s_nils (MP_MAX_ELEMENTS), "as many as may be");
    unit_refuses (s_decode, s_nils (MP_MAX_ELEMENTS + 1), "thing: has more than 4194304");
}

//  Strings are not copied: they point into the bytes that were decoded
static void test_decode_points_into_the_data (void **state)
{
    static const char data[] = "\x92\xa4ping\xc4\x02\x00\xff";
    msgpack_unpacked doc;
    mp_error_t error;
    assert_int_equal (mp_decode (&doc, data, sizeof data - 1, "thing", &error), 0);
    assert_ptr_equal (doc.data.via.array.ptr[0].via.str.ptr, data + 2);
    assert_ptr_equal (doc.data.via.array.ptr[1].via.bin.ptr, data + 8);
    msgpack_unpacked_destroy (&doc);
}

//  -- Getters

static void test_wrong (void **state)
{
    mp_error_t error;
    assert_false (mp_wrong (&error, "field", "%d of %s", 3, "them"));
    assert_string_equal (error.text, "field: 3 of them");

    //  Whatever does not fit is cut off, and the text ends
    char longer[400];
    memset (longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    assert_false (mp_wrong (&error, longer, "why"));
    assert_int_equal (strlen (error.text), sizeof error.text - 1);
    assert_false (mp_wrong (&error, "field", "%s", longer));
    assert_int_equal (strlen (error.text), sizeof error.text - 1);
    assert_memory_equal (error.text, "field: xxx", 10);
}

//  The value of `text`, until s_close
static msgpack_unpacked open_doc;
static zframe_t *open_frame;

static const msgpack_object *s_open (const char *text)
{
    mp_error_t error;
    open_frame = unit_frame (text);
    assert_int_equal (
        mp_decode (&open_doc, zframe_data (open_frame), zframe_size (open_frame), text, &error), 0);
    return &open_doc.data;
}

static void s_close (void)
{
    msgpack_unpacked_destroy (&open_doc);
    zframe_destroy (&open_frame);
}

//  What a getter makes of a value, as text: what it got, or why not
static void s_print_got (FILE *out, char getter, uint64_t max, const msgpack_object *object)
{
    mp_error_t error = {.text = ""};
    uint64_t number = 77;
    double real = 77;
    mp_slice_t slice = {0};
    char *copy = NULL;
    if (getter == 'u' && mp_get_uint (object, "f", max, &number, &error))
        fprintf (out, "%" PRIu64, number);
    if (getter == 'd' && mp_get_double (object, "f", &real, &error))
        fprintf (out, "%.1f", real);
    if (getter == 's' && mp_get_str (object, "f", &slice, &error)) {
        assert_ptr_equal (slice.data, object->via.str.ptr);
        fprintf (out, "%.*s", (int) slice.size, slice.data);
    }
    if (getter == 'c' && mp_get_cstr (object, "f", &copy, &error)) {
        assert_ptr_not_equal (copy, object->via.str.ptr);
        fputs (copy, out);
    }
    free (copy);
    fputs (error.text, out);
}

static void test_getters (void **state)
{
    static const struct {
        char getter;
        const char *value, *got;
        uint64_t max;
    } cases[] = {
        {'u', "0", "0", 0},
        {'u', "127", "127", 127},
        {'u', "128", "f: 128 is more than 127", 127},
        {'u', "4294967295", "4294967295", UINT32_MAX},
        {'u', "4294967296", "f: 4294967296 is more than 4294967295", UINT32_MAX},
        {'u', "18446744073709551615", "18446744073709551615", UINT64_MAX},
        {'u', "18446744073709551615", "f: 18446744073709551615 is more than 18446744073709551614",
         UINT64_MAX - 1},
        //  A signed form of a number that is not negative
        {'u', "x'd005'", "5", 9},
        {'u', "x'd10005'", "5", 9},
        {'u', "x'd200000005'", "5", 9},
        {'u', "x'd37fffffffffffffff'", "9223372036854775807", UINT64_MAX},
        {'u', "x'd38000000000000000'", "f: want an unsigned integer, got negative integer",
         UINT64_MAX},
        {'u', "x'ca3f800000'", "f: want an unsigned integer, got float", 9},
        {'d', "0.1", "0.1", 0},
        {'d', "-1.5", "-1.5", 0},
        {'d', "x'ca3fc00000'", "1.5", 0},
        {'d', "7", "7.0", 0},
        {'d', "-7", "-7.0", 0},
        {'d', "18446744073709551615", "18446744073709551616.0", 0},
        {'d', "-9223372036854775808", "-9223372036854775808.0", 0},
        {'s', "'ping'", "ping", 0},
        {'c', "'ping'", "ping", 0},
        {'c', "'p'", "p", 0},
        {'s', "''", "", 0},
        {'c', "''", "", 0},
        {'c', "x'aa61c3a9e4bda0f09f9880'", "a\xc3\xa9\xe4\xbd\xa0\xf0\x9f\x98\x80", 0},
        //  A NUL byte: no C string, wherever it stands
        {'s', "x'a37a007a'", "z", 0},
        {'c', "x'a100'", "f: has a NUL byte in it", 0},
        {'c', "x'a2007a'", "f: has a NUL byte in it", 0},
        {'c', "x'a27a00'", "f: has a NUL byte in it", 0},
        {'c', "x'a37a007a'", "f: has a NUL byte in it", 0},
        //  Not UTF-8, at its begin, in the middle and at its end
        {'c', "x'a1ff'", "f: is not UTF-8", 0},
        {'c', "x'a3618061'", "f: is not UTF-8", 0},
        {'c', "x'a261c3'", "f: is not UTF-8", 0},
        {'c', "x'a3eda080'", "f: is not UTF-8", 0},
        {'s', "x'a2c080'", "f: is not UTF-8", 0},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        char *text = NULL;
        size_t size;
        FILE *out = open_memstream (&text, &size);
        s_print_got (out, cases[i].getter, cases[i].max, s_open (cases[i].value));
        fclose (out);
        assert_string_equal (text, cases[i].got);
        free (text);
        s_close ();
    }
}

//  A value of another type, or none, is refused with the name of what was wanted and what was there
static void test_getters_of_other_types (void **state)
{
    static const struct {
        char getter;
        const char *want, *takes;  //  Of the types below
    } getters[] = {{'u', "an unsigned integer", "i"},
                   {'d', "a number", "inf"},
                   {'s', "a str", "s"},
                   {'c', "a str", "s"}};
    static const struct {
        char letter;
        const char *value, *name;
    } types[] = {{'i', "1", "integer"},   {'n', "-1", "negative integer"}, {'f', "1.0", "float"},
                 {'0', "null", "nil"},    {'b', "true", "bool"},           {'s', "'1'", "str"},
                 {'h', "h'01'", "bin"},   {'x', "x'd40100'", "ext"},       {'a', "[1]", "array"},
                 {'m', "{'a':1}", "map"}, {'-', NULL, "nothing"}};
    for (size_t i = 0; i < COUNT (getters); i++) {
        for (size_t k = 0; k < COUNT (types); k++) {
            if (strchr (getters[i].takes, types[k].letter))
                continue;
            char *text = NULL, want[100];
            size_t size;
            FILE *out = open_memstream (&text, &size);
            s_print_got (out, getters[i].getter, 9,
                         types[k].value ? s_open (types[k].value) : NULL);
            fclose (out);
            snprintf (want, sizeof want, "f: want %s, got %s", getters[i].want, types[k].name);
            assert_string_equal (text, want);
            free (text);
            if (types[k].value)
                s_close ();
        }
    }
}

static void test_get_array_and_map (void **state)
{
    mp_error_t error;
    const msgpack_object_array *array;
    const msgpack_object_map *map;

    const msgpack_object *object = s_open ("[1,2]");
    assert_true (mp_get_array (object, "f", 0, &array, &error));
    assert_true (mp_get_array (object, "f", 2, &array, &error));
    assert_ptr_equal (array, &object->via.array);
    assert_false (mp_get_array (object, "f", 3, &array, &error));
    assert_string_equal (error.text, "f: want an array of 3 or more, got 2");
    assert_false (mp_get_map (object, "f", &map, &error));
    assert_string_equal (error.text, "f: want a map, got array");
    s_close ();

    object = s_open ("{1:2}");
    assert_true (mp_get_map (object, "f", &map, &error));
    assert_ptr_equal (map, &object->via.map);
    assert_false (mp_get_array (object, "f", 0, &array, &error));
    assert_string_equal (error.text, "f: want an array, got map");
    s_close ();

    assert_false (mp_get_array (NULL, "f", 0, &array, &error));
    assert_string_equal (error.text, "f: want an array, got nothing");
    assert_false (mp_get_map (NULL, "f", &map, &error));
    assert_string_equal (error.text, "f: want a map, got nothing");
}

static void test_find (void **state)
{
    //  Keys that are not str, that begin alike, an empty one, one that is there twice
    const msgpack_object *object = s_open ("{'first':9, 1:10, h'6162':11, null:12, 'a':13, "
                                           "'abc':14, 'ab':15, '':16, [1]:17, 'twice':18, "
                                           "x'a3616200':19, 'twice':20}");
    const msgpack_object_map *map = &object->via.map;
    assert_int_equal (mp_find (map, "ab")->via.u64, 15);
    assert_int_equal (mp_find (map, "a")->via.u64, 13);
    assert_int_equal (mp_find (map, "abc")->via.u64, 14);
    assert_int_equal (mp_find (map, "")->via.u64, 16);
    assert_int_equal (mp_find (map, "twice")->via.u64, 20);
    assert_int_equal (mp_find (map, "first")->via.u64, 9);
    assert_null (mp_find (map, "b"));
    assert_null (mp_find (map, "abcd"));
    s_close ();
    assert_null (mp_find (&s_open ("{}")->via.map, "a"));
    s_close ();
}

static void test_is_nil (void **state)
{
    assert_true (mp_is_nil (NULL));
    assert_true (mp_is_nil (s_open ("null")));
    s_close ();
    static const char *const others[] = {"false", "0", "''", "[]", "{}", "h''", "0.0"};
    for (size_t i = 0; i < COUNT (others); i++) {
        assert_false (mp_is_nil (s_open (others[i])));
        s_close ();
    }
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

static void test_print (void **state)
{
    static const struct {
        const char *value;
        const char *printed;
    } cases[] = {
        {"null", "null"},
        {"true", "true"},
        {"false", "false"},
        //  Integers, whole
        {"0", "0"},
        {"-1", "-1"},
        {"9007199254740993", "9007199254740993"},
        {"9223372036854775807", "9223372036854775807"},
        {"-9223372036854775808", "-9223372036854775808"},
        {"15760518052499183552", "15760518052499183552"},
        {"18446744073709551615", "18446744073709551615"},
        //  Doubles
        {"0.0", "0.0"},
        {"-0.0", "-0.0"},
        {"1.0", "1.0"},
        {"-1.0", "-1.0"},
        {"0.1", "0.1"},
        {"0.3", "0.3"},
        {"x'cb3fd3333333333334'", "0.30000000000000004"},
        {"1789095808.83", "1789095808.83"},
        {"100000.0", "100000.0"},
        {"9007199254740992.0", "9007199254740992.0"},
        {"1.0e300", "1e+300"},
        {"1.0e-7", "1e-07"},
        {"x'cb7fefffffffffffff'", "1.7976931348623157e+308"},
        {"x'cb0010000000000000'", "2.2250738585072014e-308"},
        {"x'cb7ff0000000000000'", "Infinity"},
        {"x'cbfff0000000000000'", "-Infinity"},
        {"x'cb7ff8000000000000'", "NaN"},
        {"x'cbfff8000000000000'", "NaN"},
        //  float32
        {"x'ca3f800000'", "1.0"},
        {"x'ca3fc00000'", "1.5"},
        {"x'ca3dcccccd'", "0.10000000149011612"},
        {"x'ca80000000'", "-0.0"},
        {"x'ca7f800000'", "Infinity"},
        {"x'ca7fc00000'", "NaN"},
        //  Strings
        {"''", "\"\""},
        {"'ping'", "\"ping\""},
        {"x'a122'", "\"\\\"\""},
        {"x'a15c'", "\"\\\\\""},
        {"x'a45c225c22'", "\"\\\\\\\"\\\\\\\"\""},
        {"x'a3610a62'", "\"a\\nb\""},
        {"x'a2090d'", "\"\\t\\r\""},
        {"x'a50001081f7f'", "\"\\u0000\\u0001\\u0008\\u001f\\u007f\""},
        {"x'a31b5b6d'", "\"\\u001b[m\""},
        {"x'a12f'", "\"/\""},
        //  UTF-8: the first and the last of each length, and around the surrogates
        {"x'a17e'", "\"~\""},
        //  Control characters, these too
        {"x'a2c280'", "\"\\u0080\""},
        {"x'a2c29b'", "\"\\u009b\""},
        {"x'a2c29f'", "\"\\u009f\""},
        {"x'a2c2a0'", "\"\xc2\xa0\""},
        {"x'a2c2a2'", "\"\xc2\xa2\""},
        {"x'a2dfbf'", "\"\xdf\xbf\""},
        {"x'a3e0a080'", "\"\xe0\xa0\x80\""},
        {"x'a3ed9fbf'", "\"\xed\x9f\xbf\""},
        {"x'a3ee8080'", "\"\xee\x80\x80\""},
        {"x'a3efbfbd'", "\"\xef\xbf\xbd\""},
        {"x'a4f0908080'", "\"\xf0\x90\x80\x80\""},
        {"x'a4f3bfbfbf'", "\"\xf3\xbf\xbf\xbf\""},
        {"x'a4f48fbfbf'", "\"\xf4\x8f\xbf\xbf\""},
        {"x'a6e4bda0e5a5bd'", "\"\xe4\xbd\xa0\xe5\xa5\xbd\""},
        //  Not UTF-8: continuation bytes alone, leads that do not exist
        {"x'a180'", "\"\\x80\""},
        {"x'a1bf'", "\"\\xbf\""},
        {"x'a1f8'", "\"\\xf8\""},
        {"x'a1ff'", "\"\\xff\""},
        {"x'a6fc8480808080'", "\"\\xfc\\x84\\x80\\x80\\x80\\x80\""},
        //  Overlong
        {"x'a2c0af'", "\"\\xc0\\xaf\""},
        {"x'a2c1bf'", "\"\\xc1\\xbf\""},
        {"x'a3e09fbf'", "\"\\xe0\\x9f\\xbf\""},
        {"x'a4f08fbfbf'", "\"\\xf0\\x8f\\xbf\\xbf\""},
        //  Surrogates, and above U+10FFFF
        {"x'a3eda080'", "\"\\xed\\xa0\\x80\""},
        {"x'a3edbfbf'", "\"\\xed\\xbf\\xbf\""},
        {"x'a4f4908080'", "\"\\xf4\\x90\\x80\\x80\""},
        {"x'a4f5808080'", "\"\\xf5\\x80\\x80\\x80\""},
        //  Cut short: at the end of the string, and by another character
        {"x'a1c3'", "\"\\xc3\""},
        {"x'a2e282'", "\"\\xe2\\x82\""},
        {"x'a3f09f98'", "\"\\xf0\\x9f\\x98\""},
        {"x'a2c322'", "\"\\xc3\\\"\""},
        {"x'a3e28241'", "\"\\xe2\\x82A\""},
        {"x'a4f09f9841'", "\"\\xf0\\x9f\\x98A\""},
        {"x'a4c3c3a941'", "\"\\xc3\xc3\xa9"
                          "A\""},
        //  What JSON lacks
        {"h''", "h''"},
        {"h'00ff0a'", "h'00ff0a'"},
        {"x'd40300'", "ext(3,h'00')"},
        {"x'c7000f'", "ext(15,h'')"},
        {"x'd5ff0102'", "ext(-1,h'0102')"},
        {"x'c7038001ff02'", "ext(-128,h'01ff02')"},
        //  Containers
        {"[]", "[]"},
        {"{}", "{}"},
        {"[1,[2,[],{}],'3']", "[1,[2,[],{}],\"3\"]"},
        {"{'a':[1,{'b':null}],'c':{}}", "{\"a\":[1,{\"b\":null}],\"c\":{}}"},
        {"{1:2,null:3,[4]:{},h'05':6,'twice':7,'twice':8}",
         "{1:2,null:3,[4]:{},h'05':6,\"twice\":7,\"twice\":8}"},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        char *printed = unit_print (s_open (cases[i].value));
        assert_string_equal (printed, cases[i].printed);
        free (printed);
        s_close ();
    }
}

//  Strict JSON: where it differs from mp_print, and that it does not elsewhere
static void test_print_json (void **state)
{
    static const struct {
        const char *value;
        const char *printed;
    } cases[] = {
        {"[null,true,-9223372036854775808,18446744073709551615,1.0,0.1]",
         "[null,true,-9223372036854775808,18446744073709551615,1.0,0.1]"},
        {"x'a90a0d09225c007fc29b'", "\"\\n\\r\\t\\\"\\\\\\u0000\\u007f\\u009b\""},
        {"x'a4f09f9880'", "\"\xf0\x9f\x98\x80\""},
        //  bin and ext
        {"h''", "\"\""},
        {"h'00fF0a'", "\"00ff0a\""},
        {"x'd40300'", "\"00\""},
        {"x'c7000f'", "\"\""},
        //  Not numbers
        {"x'cb7ff8000000000000'", "null"},
        {"x'cb7ff0000000000000'", "null"},
        {"x'cbfff0000000000000'", "null"},
        {"x'ca7fc00000'", "null"},
        //  Not UTF-8: each byte is one U+FFFD
        {"x'a3ff8041'", "\"\\ufffd\\ufffdA\""},
        {"x'a3eda080'", "\"\\ufffd\\ufffd\\ufffd\""},
        //  Keys
        {"{'a':1,2:3,-4:5,null:6,true:7,0.5:8}",
         "{\"a\":1,\"2\":3,\"-4\":5,\"null\":6,\"true\":7,\"0.5\":8}"},
        {"{h'01ff':1,x'd40302':2}", "{\"01ff\":1,\"02\":2}"},
        {"{[1,'a']:2}", "{\"[1,\\\"a\\\"]\":2}"},
        {"{{1:'a'}:2}", "{\"{1:\\\"a\\\"}\":2}"},
        {"{x'cb7ff8000000000000':1}", "{\"NaN\":1}"},
        {"{x'a1ff':h'ff'}", "{\"\\ufffd\":\"ff\"}"},
        {"{'twice':7,'twice':8}", "{\"twice\":7,\"twice\":8}"},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        text_t out = {NULL, 0, 0};
        mp_print_json (&out, s_open (cases[i].value));
        char *printed = text_take (&out);
        assert_string_equal (printed, cases[i].printed);
        free (printed);
        s_close ();
    }
}

static void test_print_json_pair (void **state)
{
    text_t out = {NULL, 0, 0};
    const msgpack_object_map *map = &s_open ("{'a':h'01',2:[]}")->via.map;
    mp_print_json_pair (&out, &map->ptr[0]);
    text_put_char (&out, ' ');
    mp_print_json_pair (&out, &map->ptr[1]);
    char *printed = text_take (&out);
    assert_string_equal (printed, "\"a\":\"01\" \"2\":[]");
    free (printed);
    s_close ();
}

//  A key in a key in a key: JSON makes a string of the outermost, and no more of those within, or a
//  message of a hundred bytes would be gigabytes of JSON
static void test_print_json_keys_in_keys (void **state)
{
    text_t out = {NULL, 0, 0};
    mp_print_json (&out, s_open ("{{{'a':1}:h'00'}:2}"));
    text_put_char (&out, ' ');
    s_close ();
    open_frame = s_nested (MP_MAX_DEPTH, true, "'x'");
    byte *data = zframe_data (open_frame);
    memset (data, 0x81, MP_MAX_DEPTH);  //  Maps all the way down, each the key of the one around it
    data[MP_MAX_DEPTH] = 0x01;
    memset (data + MP_MAX_DEPTH + 1, 0x01, MP_MAX_DEPTH);
    msgpack_unpacked doc;
    assert_int_equal (mp_decode (&doc, data, 2 * MP_MAX_DEPTH + 1, "keys", NULL), 0);
    mp_print_json (&out, &doc.data);
    size_t size = out.size;
    char *printed = text_take (&out);
    static const char first[] = "{\"{{\\\"a\\\":1}:h'00'}\":2} {\"{{{";
    assert_memory_equal (printed, first, strlen (first));
    assert_true (size < 1000);
    free (printed);
    msgpack_unpacked_destroy (&doc);
    zframe_destroy (&open_frame);
}

//  What text_put_double prints, by way of snprintf and strtod alone
static void s_print_slowly (double value, char text[40])
{
    for (int digits = 15; digits <= 17; digits++) {
        snprintf (text, 40, "%.*g", digits, value);
        if (strtod (text, NULL) == value)
            break;
    }
    if (!strpbrk (text, ".e"))
        snprintf (text, 40, "%.1f", value);
}

static void test_print_doubles_shortest (void **state)
{
    uint64_t bits = 1;
    text_t text = {NULL, 0, 0};
    for (uint64_t i = 0; i < 20000; i++) {
        bits = bits * 6364136223846793005u + 1442695040888963407u;
        double values[] = {
            1.7e9 + (double) (bits >> 24) / 0x1p12,                 //  Times
            (double) (bits >> (i % 64)) / (double) (1u << i % 30),  //  Up to any number of bits
            -(double) (bits >> 14) / (double) (i % 1000),           //  Of 15 digits and more
            (double) (bits >> 34) / 1000,
        };
        for (size_t k = 0; k < COUNT (values); k++) {
            char slow[40];
            if (!isfinite (values[k]))
                continue;
            s_print_slowly (values[k], slow);
            text.size = 0;
            text_put_double (&text, values[k]);
            text_put_char (&text, 0);
            assert_string_equal (text.data, slow);
        }
    }
    text_destroy (&text);
}

//  Digits are never lost, and never more than 17
static void test_print_doubles_read_back (void **state)
{
    static const double edges[] = {DBL_MIN,   DBL_MAX, -DBL_MAX,   DBL_EPSILON, 0x1p-1074,
                                   0x1p53,    0x1p63,  0x1p64,     1.0 / 3,     2.0 / 3,
                                   1e15,      1e16,    1e17,       1e22,        1e23,
                                   0x1.8p-30, 5e-5,    123456.789, 0x1p-1022,   1789095808.83};
    uint64_t bits = 42;
    for (size_t i = 0; i < 5000; i++) {
        msgpack_object object = {.type = MSGPACK_OBJECT_FLOAT64};
        bits = bits * 6364136223846793005u + 1442695040888963407u;
        if (i < COUNT (edges))
            object.via.f64 = edges[i];
        else
            memcpy (&object.via.f64, &bits, sizeof bits);
        if (!isfinite (object.via.f64))
            continue;
        char *printed = unit_print (&object);
        char *end;
        assert_true (strtod (printed, &end) == object.via.f64);
        assert_int_equal (*end, 0);
        assert_non_null (strpbrk (printed, ".e"));
        assert_true (strlen (printed) <= 24);
        free (printed);
    }
}

//  -- Read in place. msgpack-c's tree says what is right.

//  Reads a whole value with mp_read alone and packs it again
static bool s_read_again (mp_reader_t *reader, msgpack_packer *packer, int depth)
{
    msgpack_object object;
    if (depth > MP_MAX_DEPTH || !mp_read (reader, &object))
        return false;
    if (object.type == MSGPACK_OBJECT_ARRAY) {
        assert_null (object.via.array.ptr);
        msgpack_pack_array (packer, object.via.array.size);
        for (uint32_t i = 0; i < object.via.array.size; i++)
            if (!s_read_again (reader, packer, depth + 1))
                return false;
    } else if (object.type == MSGPACK_OBJECT_MAP) {
        assert_null (object.via.map.ptr);
        msgpack_pack_map (packer, object.via.map.size);
        for (uint32_t i = 0; i < 2 * object.via.map.size; i++)
            if (!s_read_again (reader, packer, depth + 1))
                return false;
    } else {
        msgpack_pack_object (packer, object);
    }
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
    static const char *const values[] = {"0",
                                         "127",
                                         "128",
                                         "255",
                                         "256",
                                         "65535",
                                         "65536",
                                         "4294967295",
                                         "4294967296",
                                         "18446744073709551615",
                                         "-1",
                                         "-32",
                                         "-33",
                                         "-128",
                                         "-129",
                                         "-32768",
                                         "-32769",
                                         "-2147483648",
                                         "-2147483649",
                                         "-9223372036854775808",
                                         "1.5",
                                         "x'ca3fc00000'",
                                         "null",
                                         "true",
                                         "false",
                                         "''",
                                         "'x'",
                                         "'0123456789012345678901234567890'",
                                         "'01234567890123456789012345678901'",
                                         "h''",
                                         "h'00ff'",
                                         "[]",
                                         "{}",
                                         "x'd0ff'",
                                         "x'd001'",
                                         "x'cc01'",
                                         "x'cd0001'",
                                         "x'ce00000001'",
                                         "x'cf0000000000000001'",
                                         "x'd97878'",
                                         "x'd40100'",
                                         "x'd6ff00000000'",
                                         "x'c700ff'",
                                         "x'c70101ff'",
                                         "x'c1'",
                                         "x'dc0001c0'",
                                         "x'dd00000001c0'",
                                         "x'de0001c0c0'",
                                         "x'df00000001c0c0'",
                                         "x'dc0000'",
                                         "x'de0000'",
                                         "x'da000178'",
                                         "[1,[2,[3,{'a':[null]}]],{1:2}]",
                                         "[[],{},'',h'',[[]]]",
                                         "[300,301,302,303,304,305,306,307,308]",
                                         "[300,1,70000,200,301,302,303,304,1,305]",
                                         "[300,301,302,303,null]",
                                         "[300,301,302,303,'x']",
                                         "[300,301,302,303,-1,1.5,true]"};
    for (size_t i = 0; i < COUNT (values); i++) {
        zframe_t *frame = unit_frame (values[i]);
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
}

//  Any bytes at all, the same on each run
static void test_read_anything (void **state)
{
    uint64_t random = 1;
    for (int round = 0; round < 20000; round++) {
        byte bytes[40];
        random = random * 6364136223846793005u + 1442695040888963407u;
        size_t size = random >> 60;
        for (size_t i = 0; i < size; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            bytes[i] = (byte) (random >> 56);
        }
        s_compare (bytes, size);
    }
}

//  A claim is held against all bytes there are, before memory is claimed for it
static void test_read_claims (void **state)
{
    static const byte bytes[] = {0xdd, 0x01, 0x00, 0x00, 0x00, 0x01};
    mp_reader_t reader = mp_reader (bytes, sizeof bytes);
    msgpack_object object;
    assert_false (mp_read (&reader, &object));
    assert_false (mp_skip (&reader));
    uint32_t *values;
    size_t count;
    mp_error_t error;
    assert_false (mp_read_uint32s (&reader, "ids", &values, &count, &error));
    assert_string_equal (error.text, "ids: cannot be read");
}

//  A field that is not there has no address
static void test_read_nothing (void **state)
{
    mp_reader_t reader = mp_reader (NULL, 0);
    msgpack_object object;
    assert_false (mp_read (&reader, &object));
    assert_false (mp_skip (&reader));
    assert_ptr_equal (reader.at, reader.end);
}

static void test_read_uint32s (void **state)
{
    //  All widths in all neighbourhoods
    static const uint32_t samples[] = {0, 127, 128, 255, 256, 300, 65535, 65536, UINT32_MAX};
    uint64_t random = 1;
    for (size_t size = 0; size < 200; size++) {
        uint32_t want[200];
        for (size_t i = 0; i < size; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            want[i] = size % 3 ? samples[random % COUNT (samples)] : 300 + (uint32_t) i;
        }
        mp_writer_t writer;
        mp_begin (&writer);
        char *at = mp_reserve (&writer, 5 + 5 * size);
        mp_put_uint32s (&at, want, size);
        mp_commit (&writer, at);
        zframe_t *frame = mp_end (&writer);
        s_compare (zframe_data (frame), zframe_size (frame));
        mp_reader_t reader = mp_reader (zframe_data (frame), zframe_size (frame));
        uint32_t *values, into[600];
        size_t count;
        assert_true (mp_read_uint32s (&reader, "ids", &values, &count, NULL));
        assert_int_equal (count, size);
        assert_ptr_equal (reader.at, reader.end);
        if (size > 0)
            assert_memory_equal (values, want, size * sizeof *want);
        else
            assert_null (values);
        free (values);
        reader = mp_reader (zframe_data (frame), zframe_size (frame));
        assert_true (mp_read_uint32s_into (&reader, "ids", into, &count, NULL));
        assert_int_equal (count, size);
        if (size > 0)
            assert_memory_equal (into, want, size * sizeof *want);
        zframe_destroy (&frame);
    }
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"[300,301,302,303,-1]", "ids: [4]: want an unsigned integer, got negative integer"},
        {"[1,4294967296]", "ids: [1]: 4294967296 is more than 4294967295"},
        {"[[1]]", "ids: [0]: want an unsigned integer, got array"},
        {"[1,1.0]", "ids: [1]: want an unsigned integer, got float"},
        {"[null]", "ids: [0]: want an unsigned integer, got nil"},
        {"['1']", "ids: [0]: want an unsigned integer, got str"},
        {"{}", "ids: want an array, got map"},
        {"null", "ids: want an array, got nil"},
        {"h'0102'", "ids: want an array, got bin"},
        {"1", "ids: want an array, got integer"},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        zframe_t *frame = unit_frame (cases[i].text);
        mp_reader_t reader = mp_reader (zframe_data (frame), zframe_size (frame));
        uint32_t *values;
        size_t count;
        mp_error_t error;
        assert_false (mp_read_uint32s (&reader, "ids", &values, &count, &error));
        assert_string_equal (error.text, cases[i].why);
        zframe_destroy (&frame);
    }
}

static void test_read_map (void **state)
{
    zframe_t *frame = unit_frame ("{'b':[1,2],[1]:2,'a':1,'newer':{'a':7},'a':3}");
    mp_entry_t entries[] = {MP_ENTRY ("a"), MP_ENTRY ("b"), MP_ENTRY ("c")};
    mp_error_t error;
    assert_true (mp_read_map (zframe_data (frame), zframe_size (frame), "x", entries, 3, &error));
    assert_int_equal (entries[0].value->via.u64, 3);
    assert_int_equal (entries[1].value->type, MSGPACK_OBJECT_ARRAY);
    assert_int_equal (entries[1].bytes.size, 3);
    assert_memory_equal (entries[1].bytes.data, "\x92\x01\x02", 3);
    assert_null (entries[2].value);
    zframe_destroy (&frame);
    static const struct {
        const char *text, *why;
    } cases[] = {{"[1]", "x: want a map, got array"},
                 {"7", "x: want a map, got integer"},
                 {"x'81a161'", "x: truncated"},
                 {"x'8000'", "x: has bytes after its end"},
                 {"x''", "x: empty"}};
    for (size_t i = 0; i < COUNT (cases); i++) {
        frame = unit_frame (cases[i].text);
        assert_false (
            mp_read_map (zframe_data (frame), zframe_size (frame), "x", entries, 3, &error));
        assert_string_equal (error.text, cases[i].why);
        zframe_destroy (&frame);
    }
}

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
    for (size_t i = 0; i < COUNT (numbers); i++) {
        mp_put_uint64 (&at, numbers[i]);
        msgpack_pack_uint64 (packer, numbers[i]);
        mp_put_int64 (&at, (int64_t) (numbers[i] / 2));
        msgpack_pack_int64 (packer, (int64_t) (numbers[i] / 2));
        //  INT64_MIN is the last
        mp_put_int64 (&at, -(int64_t) (numbers[i] / 2) - 1);
        msgpack_pack_int64 (packer, -(int64_t) (numbers[i] / 2) - 1);
        mp_put_int (&at, (int) (uint32_t) numbers[i]);
        msgpack_pack_int (packer, (int) (uint32_t) numbers[i]);
        mp_put_uint32 (&at, (uint32_t) numbers[i]);
        msgpack_pack_uint32 (packer, (uint32_t) numbers[i]);
        mp_put_double (&at, (double) numbers[i]);
        msgpack_pack_double (packer, (double) numbers[i]);
    }
    for (size_t i = 0; i < COUNT (sizes); i++) {
        mp_put_array (&at, sizes[i]);
        msgpack_pack_array (packer, sizes[i]);
        mp_put_map (&at, sizes[i]);
        msgpack_pack_map (packer, sizes[i]);
        mp_put_str (&at, sizes[i]);
        msgpack_pack_str (packer, sizes[i]);
        mp_put_bin (&at, sizes[i]);
        msgpack_pack_bin (packer, sizes[i]);
        mp_put_ext (&at, sizes[i], (int8_t) -sizes[i]);
        msgpack_pack_ext (packer, sizes[i], (int8_t) -sizes[i]);
    }
    mp_put_nil (&at);
    msgpack_pack_nil (packer);
    mp_put_true (&at);
    msgpack_pack_true (packer);
    mp_put_false (&at);
    msgpack_pack_false (packer);
    mp_put_nils (&at, 2);
    msgpack_pack_nil (packer);
    msgpack_pack_nil (packer);
    mp_put_cstr (&at, NULL);
    msgpack_pack_nil (packer);
    mp_put_cstr (&at, "a C string");
    mp_pack_str (packer, "a C string");
    mp_put_text (&at, "text");
    mp_commit (&put, at);
    mp_pack_str (packer, "text");
    //  Both ways into one buffer, and room that is made while there is something in it
    mp_pack_str (&put.packer, "more");
    at = mp_reserve (&put, 100000);
    mp_put_text (&at, "end");
    mp_commit (&put, at);
    mp_pack_str (packer, "more");
    mp_pack_str (packer, "end");
    zframe_t *got = mp_end (&put), *want = mp_end (&pack);
    assert_int_equal (zframe_size (got), zframe_size (want));
    assert_true (zframe_eq (got, want));
    zframe_destroy (&got);
    zframe_destroy (&want);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_writer),
        cmocka_unit_test (test_decode_hostile),
        cmocka_unit_test (test_decode_refusals),
        cmocka_unit_test (test_decode_depth),
        cmocka_unit_test (test_decode_elements),
        cmocka_unit_test (test_decode_points_into_the_data),
        cmocka_unit_test (test_wrong),
        cmocka_unit_test (test_getters),
        cmocka_unit_test (test_getters_of_other_types),
        cmocka_unit_test (test_get_array_and_map),
        cmocka_unit_test (test_find),
        cmocka_unit_test (test_is_nil),
        cmocka_unit_test (test_utf8_size),
        cmocka_unit_test (test_print),
        cmocka_unit_test (test_print_json),
        cmocka_unit_test (test_print_json_pair),
        cmocka_unit_test (test_print_json_keys_in_keys),
        cmocka_unit_test (test_print_doubles_read_back),
        cmocka_unit_test (test_print_doubles_shortest),
        cmocka_unit_test (test_read),
        cmocka_unit_test (test_read_anything),
        cmocka_unit_test (test_read_claims),
        cmocka_unit_test (test_read_nothing),
        cmocka_unit_test (test_read_uint32s),
        cmocka_unit_test (test_read_map),
        cmocka_unit_test (test_put),
    };
    return cmocka_run_group_tests_name ("mp", tests, NULL, NULL);
}
