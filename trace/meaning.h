//  SPDX-License-Identifier: MIT
//  meaning.h - what a frame holds, in text

#pragma once

#include "text.h"

//  Adds what data[0..kept) holds: printable text as it is, msgpack as text (pack_print). `size` is
//  the length of the frame, which may go on behind `kept`. "..." stands for what was left out.
//  Returns false, and adds nothing, when it is neither.
bool meaning_add (text_t *out, const unsigned char *data, size_t kept, size_t size);
