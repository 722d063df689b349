//  SPDX-License-Identifier: MIT

#include "meaning.h"
#include "pack.h"

//  How data[0..kept) looks as text
typedef enum {
    NO_TEXT,
    ASCII,  //  Nothing but printable ASCII
    UTF8    //  Has line breaks, letters beyond ASCII, or the NUL that ends a C string
} kind_t;

//  True when these bytes are the beginning of a character, of which the rest is missing
static bool s_is_begun (const unsigned char *data, size_t size)
{
    bool is_begun = size < 4 && data[0] >= 0xc2 && data[0] <= 0xf4;
    for (size_t i = 1; i < size; i++)
        is_begun = is_begun && (data[i] & 0xc0) == 0x80;
    return is_begun;
}

//  *kept is made shorter when a character is cut at its end
static kind_t s_kind (const unsigned char *data, size_t *kept, size_t size)
{
    kind_t kind = *kept > 0 ? ASCII : NO_TEXT;
    for (size_t i = 0; i < *kept;) {
        size_t length = text_utf8 (data + i, *kept - i);
        if (length == 0 && i > 0 && *kept < size && s_is_begun (data + i, *kept - i)) {
            *kept = i;
            break;
        }
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
    size_t whole = kept;
    kind_t kind = s_kind (data, &whole, size);
    if (kind == ASCII) {
        size_t shown = whole < inner.max ? whole : inner.max;
        text_bytes (&inner, data, shown);
        inner.cut = shown < size;
    } else if (!s_add_pack (&inner, data, kept, size)) {
        if (kind == NO_TEXT)
            return false;
        inner = text_on (inner.data, inner.max);
        text_escaped (&inner, data, whole, false);
        inner.cut = inner.cut || whole < size;
    }
    out->size += inner.size;
    if (inner.cut)
        text_add (out, dots);
    return true;
}
