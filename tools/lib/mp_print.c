//  SPDX-License-Identifier: MIT

#include "lib/mp.h"

#include <inttypes.h>
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

static void s_print_str (FILE *out, const char *text, size_t size, bool json)
{
    const unsigned char *data = (const unsigned char *) text;
    fputc ('"', out);
    for (size_t i = 0; i < size;) {
        size_t length = mp_utf8_size (text + i, size - i);
        if (data[i] == '"' || data[i] == '\\')
            fprintf (out, "\\%c", data[i]);
        else if (data[i] == '\n')
            fputs ("\\n", out);
        else if (data[i] == '\t')
            fputs ("\\t", out);
        else if (data[i] == '\r')
            fputs ("\\r", out);
        else if (data[i] < 0x20 || data[i] == 0x7f)
            fprintf (out, "\\u%04x", data[i]);
        else if (length == 2 && data[i] == 0xc2 && data[i + 1] < 0xa0)
            fprintf (out, "\\u%04x", data[i + 1]);  //  C1 controls, which command a terminal too
        else if (length == 0)
            fprintf (out, json ? "\\ufffd" : "\\x%02x", data[i]);
        else
            fwrite (data + i, 1, length, out);
        i += length ? length : 1;
    }
    fputc ('"', out);
}

static void s_print_hex (FILE *out, const char *data, size_t size, bool json)
{
    fputs (json ? "\"" : "h'", out);
    for (size_t i = 0; i < size; i++)
        fprintf (out, "%02x", (unsigned char) data[i]);
    fputc (json ? '"' : '\'', out);
}

//  With the fewest digits that read back as the same number, and always seen to be a float
static void s_print_double (FILE *out, double value, bool json)
{
    if (!isfinite (value)) {
        fputs (json ? "null" : isnan (value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity", out);
        return;
    }
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf (text, sizeof text, "%.*g", digits, value);
        if (strtod (text, NULL) == value)
            break;
    }
    fprintf (out, "%s%s", text, strpbrk (text, ".e") ? "" : ".0");
}

static void s_print (FILE *out, const msgpack_object *object, bool json);

//  NOLINTNEXTLINE(misc-no-recursion): see s_print
static void s_print_pair (FILE *out, const msgpack_object_kv *pair, bool json)
{
    char *text = NULL;
    size_t size = 0;
    //  JSON has only strings for keys
    bool wrap = json && pair->key.type != MSGPACK_OBJECT_STR &&
                pair->key.type != MSGPACK_OBJECT_BIN && pair->key.type != MSGPACK_OBJECT_EXT;
    FILE *memory = wrap ? open_memstream (&text, &size) : NULL;
    //  Within it not as JSON: keys in keys would be wrapped again and again, and each time the text
    //  of the innermost would double
    s_print (memory ? memory : out, &pair->key, json && !wrap);
    if (memory) {
        fclose (memory);
        s_print_str (out, text, size, json);
        free (text);
    }
    fputc (':', out);
    s_print (out, &pair->val, json);
}

//  NOLINTNEXTLINE(misc-no-recursion): mp_decode lets nothing pass that is deeper than MP_MAX_DEPTH
static void s_print (FILE *out, const msgpack_object *object, bool json)
{
    switch (object->type) {
    case MSGPACK_OBJECT_NIL:
        fputs ("null", out);
        break;
    case MSGPACK_OBJECT_BOOLEAN:
        fputs (object->via.boolean ? "true" : "false", out);
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        fprintf (out, "%" PRIu64, object->via.u64);
        break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        fprintf (out, "%" PRId64, object->via.i64);
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
        if (!json)
            fprintf (out, "ext(%d,", object->via.ext.type);
        s_print_hex (out, object->via.ext.ptr, object->via.ext.size, json);
        if (!json)
            fputc (')', out);
        break;
    case MSGPACK_OBJECT_ARRAY:
        fputc ('[', out);
        for (uint32_t i = 0; i < object->via.array.size; i++) {
            if (i > 0)
                fputc (',', out);
            s_print (out, &object->via.array.ptr[i], json);
        }
        fputc (']', out);
        break;
    case MSGPACK_OBJECT_MAP:
        fputc ('{', out);
        for (uint32_t i = 0; i < object->via.map.size; i++) {
            if (i > 0)
                fputc (',', out);
            s_print_pair (out, &object->via.map.ptr[i], json);
        }
        fputc ('}', out);
        break;
    }
}

void mp_print (FILE *out, const msgpack_object *object)
{
    s_print (out, object, false);
}

void mp_print_json (FILE *out, const msgpack_object *object)
{
    s_print (out, object, true);
}

void mp_print_json_pair (FILE *out, const msgpack_object_kv *pair)
{
    s_print_pair (out, pair, true);
}
