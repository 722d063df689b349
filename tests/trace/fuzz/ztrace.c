//  SPDX-License-Identifier: MIT
//  ztrace.c - fuzzes what ztrace reads of frames: text, msgpack, vLLM's messages
//
//  An input is a socket type, then frames: how many bytes, how many of them are missing at the end,
//  and the bytes. ztrace runs in other people's programs, so no frame may make it fail.

#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

//  The modules as they are, with sanitizers: elsewhere they are never built so
#include "trace/text.c"
#include "trace/pack.c"
#include "trace/meaning.c"
#include "trace/message.c"
#include "trace/vllm.c"
#include "tests/tools/fuzz/demand.h"

//  A terminal shows it and obeys none of it
static void s_check (const text_t *text)
{
    const unsigned char *bytes = (const unsigned char *) text->data;
    DEMAND (text->size <= text->max);
    for (size_t i = 0; i < text->size;) {
        size_t length = text_utf8 (bytes + i, text->size - i);
        DEMAND (length > 0 && bytes[i] >= 0x20 && bytes[i] != 0x7f);
        DEMAND (length != 2 || bytes[i] != 0xc2 || bytes[i + 1] >= 0xa0);
        i += length;
    }
}

//  A frame in memory that ends where it ends, with room for text of two sizes
static void s_try_meaning (const uint8_t *data, size_t kept, size_t size)
{
    static char memory[2048];
    uint8_t *exact = malloc (kept ? kept : 1);
    DEMAND (exact);
    if (kept > 0)
        memcpy (exact, data, kept);
    for (size_t room = 20; room <= sizeof memory; room += sizeof memory - 20) {
        text_t text = text_on (memory, room);
        bool has_one = meaning_add (&text, exact, kept, size);
        s_check (&text);
        DEMAND (has_one || text.size == 0);
    }
    pack_t in = pack_on (exact, kept, kept < size);
    DEMAND (pack_skip (&in) != PACK_OK || in.at <= in.end);
    free (exact);
}

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    static message_t message;
    static char memory[200];
    int type = size > 0 ? data[0] % 12 : 0;
    message_clear (&message);
    for (size_t at = 1; at + 2 <= size;) {
        size_t kept = data[at] < 0xf0 ? data[at] : (size_t) (data[at] - 0xef) * 256;
        size_t missing = data[at + 1] < 0xf0 ? 0 : data[at + 1];
        at += 2;
        if (kept > size - at)
            kept = size - at;
        s_try_meaning (data + at, kept, kept + missing);
        message_add (&message, data + at, kept + missing, kept);
        at += kept;
    }
    ASAN_POISON_MEMORY_REGION (message.bytes + message.used, sizeof message.bytes - message.used);
    text_t text = text_on (memory, sizeof memory);
    bool has_one = vllm_add (&text, type, &message);
    ASAN_UNPOISON_MEMORY_REGION (message.bytes, sizeof message.bytes);
    s_check (&text);
    DEMAND (has_one == (text.size > 0));
    return 0;
}
