//  SPDX-License-Identifier: MIT

#include "lib/mp.h"

#include <math.h>

//  -- UTF-8

size_t mp_utf8_size (const char *text, size_t size)
{
    static const struct {
        unsigned char mask, lead, low, high;  //  low..high: range of the second byte
        size_t size;
    } forms[] = {{0xff, 0xe0, 0xa0, 0xbf, 3}, {0xff, 0xed, 0x80, 0x9f, 3},
                 {0xff, 0xf0, 0x90, 0xbf, 4}, {0xff, 0xf4, 0x80, 0x8f, 4},
                 {0xe0, 0xc0, 0x80, 0xbf, 2}, {0xf0, 0xe0, 0x80, 0xbf, 3},
                 {0xfc, 0xf0, 0x80, 0xbf, 4}};
    const unsigned char *data = (const unsigned char *) text;
    if (size == 0)
        return 0;
    if (data[0] < 0x80)
        return 1;
    if (data[0] == 0xc0 || data[0] == 0xc1)
        return 0;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if ((data[0] & forms[i].mask) != forms[i].lead)
            continue;
        if (size < forms[i].size || data[1] < forms[i].low || data[1] > forms[i].high)
            return 0;
        for (size_t k = 2; k < forms[i].size; k++)
            if ((data[k] & 0xc0) != 0x80)
                return 0;
        return forms[i].size;
    }
    return 0;
}

//  -- Print

//  How many leading bytes are printed as they are: ASCII but for controls, '"' and '\'
static size_t s_plain_size (const char *text, size_t size)
{
    size_t at = 0;
    while (at < size && text[at] >= 0x20 && text[at] < 0x7f && text[at] != '"' && text[at] != '\\')
        at++;
    return at;
}

//  One character that is not plain; `length` is that of its UTF-8, or 0
static void s_print_char (text_t *out, const char *at, size_t length, bool json)
{
    unsigned char c = (unsigned char) *at;
    bool c1 = length == 2 && c == 0xc2 && (unsigned char) at[1] < 0xa0;
    const char *escape = c == '"'    ? "\\\""
                         : c == '\\' ? "\\\\"
                         : c == '\n' ? "\\n"
                         : c == '\t' ? "\\t"
                         : c == '\r' ? "\\r"
                                     : NULL;
    if (escape) {
        text_put (out, escape, 2);
    } else if (c < 0x20 || c == 0x7f || c1) {  //  C1 controls command a terminal, too
        text_put_literal (out, "\\u00");
        text_put_hex (out, at + c1, 1);
    } else if (length > 0) {
        text_put (out, at, length);
    } else if (json) {
        text_put_literal (out, "\\ufffd");
    } else {
        text_put_literal (out, "\\x");
        text_put_hex (out, at, 1);
    }
}

static void s_print_str (text_t *out, const char *text, size_t size, bool json)
{
    text_put_char (out, '"');
    for (size_t i = 0; i < size;) {
        size_t plain = s_plain_size (text + i, size - i);
        text_put (out, text + i, plain);
        i += plain;
        if (i == size)
            break;
        size_t length = mp_utf8_size (text + i, size - i);
        s_print_char (out, text + i, length, json);
        i += length ? length : 1;
    }
    text_put_char (out, '"');
}

static void s_print_hex (text_t *out, const char *data, size_t size, bool json)
{
    text_put_string (out, json ? "\"" : "h'");
    text_put_hex (out, data, size);
    text_put_char (out, json ? '"' : '\'');
}

static void s_print_double (text_t *out, double value, bool json)
{
    if (isfinite (value))
        text_put_double (out, value);
    else
        text_put_string (out, json            ? "null"
                              : isnan (value) ? "NaN"
                              : value > 0     ? "Infinity"
                                              : "-Infinity");
}

static void s_print (text_t *out, const msgpack_object *object, bool json);

//  NOLINTNEXTLINE(misc-no-recursion): see s_print
static void s_print_pair (text_t *out, const msgpack_object_kv *pair, bool json)
{
    //  JSON has only strings for keys
    bool wrap = json && pair->key.type != MSGPACK_OBJECT_STR &&
                pair->key.type != MSGPACK_OBJECT_BIN && pair->key.type != MSGPACK_OBJECT_EXT;
    if (wrap) {
        //  Within it not as JSON: keys in keys would be wrapped again and again, and each time the
        //  text of the innermost would double
        text_t key = {NULL, 0, 0};
        s_print (&key, &pair->key, false);
        s_print_str (out, key.data, key.size, json);
        text_destroy (&key);
    } else {
        s_print (out, &pair->key, json);
    }
    text_put_char (out, ':');
    s_print (out, &pair->val, json);
}

//  NOLINTNEXTLINE(misc-no-recursion): mp_decode lets nothing pass that is deeper than MP_MAX_DEPTH
static void s_print (text_t *out, const msgpack_object *object, bool json)
{
    switch (object->type) {
    case MSGPACK_OBJECT_NIL:
        text_put_literal (out, "null");
        break;
    case MSGPACK_OBJECT_BOOLEAN:
        text_put_string (out, object->via.boolean ? "true" : "false");
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        text_put_uint (out, object->via.u64);
        break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        text_put_int (out, object->via.i64);
        break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        s_print_double (out, object->via.f64, json);
        break;
    case MSGPACK_OBJECT_STR:
        s_print_str (out, object->via.str.ptr, object->via.str.size, json);
        break;
    case MSGPACK_OBJECT_BIN:
        s_print_hex (out, object->via.bin.ptr, object->via.bin.size, json);
        break;
    case MSGPACK_OBJECT_EXT:
        if (!json) {
            text_put_literal (out, "ext(");
            text_put_int (out, object->via.ext.type);
            text_put_char (out, ',');
        }
        s_print_hex (out, object->via.ext.ptr, object->via.ext.size, json);
        if (!json)
            text_put_char (out, ')');
        break;
    case MSGPACK_OBJECT_ARRAY:
        text_put_char (out, '[');
        for (uint32_t i = 0; i < object->via.array.size; i++) {
            if (i > 0)
                text_put_char (out, ',');
            s_print (out, &object->via.array.ptr[i], json);
        }
        text_put_char (out, ']');
        break;
    case MSGPACK_OBJECT_MAP:
        text_put_char (out, '{');
        for (uint32_t i = 0; i < object->via.map.size; i++) {
            if (i > 0)
                text_put_char (out, ',');
            s_print_pair (out, &object->via.map.ptr[i], json);
        }
        text_put_char (out, '}');
        break;
    }
}

void mp_print (text_t *out, const msgpack_object *object)
{
    s_print (out, object, false);
}

void mp_print_json (text_t *out, const msgpack_object *object)
{
    s_print (out, object, true);
}

void mp_print_json_pair (text_t *out, const msgpack_object_kv *pair)
{
    s_print_pair (out, pair, true);
}
