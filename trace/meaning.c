//  SPDX-License-Identifier: MIT

#include "meaning.h"
#include "pack.h"

//  How data[0..kept) looks as text
typedef enum {
    NO_TEXT,
    ASCII,  //  Nothing but printable ASCII
    UTF8    //  Has line breaks, letters beyond ASCII, or the NUL that ends a C string
} kind_t;

static kind_t s_kind (const unsigned char *data, size_t kept, size_t size)
{
    kind_t kind = kept > 0 ? ASCII : NO_TEXT;
    for (size_t i = 0; i < kept;) {
        size_t length = text_utf8 (data + i, kept - i);
        bool last_is_cut = length == 0 && kept < size && kept - i < 4 && i > 0;
        if (last_is_cut)
            break;
        bool is_space = data[i] == '\n' || data[i] == '\r' || data[i] == '\t';
        bool is_end = data[i] == 0 && i > 0 && i + 1 == size;
        bool is_control = data[i] < 0x20 || data[i] == 0x7f;
        if (length == 0 || (is_control && !is_space && !is_end))
            return NO_TEXT;
        if (is_control || length > 1)
            kind = UTF8;
        i += length;
    }
    return kind;
}

static bool s_add_pack (text_t *out, const unsigned char *data, size_t kept, size_t size)
{
    pack_t in = pack_on (data, kept, kept < size);
    pack_result_t result = pack_print (&in, out);
    if (result == PACK_WRONG)
        return false;
    if (result == PACK_ENDED)
        out->cut = true;
    //  A value that was printed to its end must be the whole frame
    return out->cut || (in.at == in.end && !in.more);
}

bool meaning_add (text_t *out, const unsigned char *data, size_t kept, size_t size)
{
    static const char dots[] = "...";
    if (out->cut || out->max - out->size < sizeof dots)
        return false;
    text_t inner = text_on (out->data + out->size, out->max - out->size - (sizeof dots - 1));
    kind_t kind = s_kind (data, kept, size);
    if (kind == ASCII) {
        size_t shown = kept < inner.max ? kept : inner.max;
        text_bytes (&inner, data, shown);
        inner.cut = shown < size;
    } else if (!s_add_pack (&inner, data, kept, size)) {
        if (kind == NO_TEXT)
            return false;
        inner = text_on (inner.data, inner.max);
        text_escaped (&inner, data, kept, false);
        inner.cut = inner.cut || kept < size;
    }
    out->size += inner.size;
    if (inner.cut)
        text_add (out, dots);
    return true;
}
