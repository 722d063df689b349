//  SPDX-License-Identifier: MIT
//  kv_json.h - KV events as JSON, one object a line, for programs that read a subscriber's stdout

#pragma once

#include "kv/kv_events.h"

//  One batch as a JSON object on one line of `out`, whole: integers exact, hashes of bytes as
//  lower-case hex, every field that came and none that did not, whatever its name (a further
//  element of an array is "field_5" after its place). A topic without data is left out, and an
//  `endpoint` that is NULL. False, nothing is printed and `error` names the field, when the payload
//  is no batch.
bool kv_batch_print_json (FILE *out, const kv_numbered_t *numbered, const char *endpoint,
                          mp_error_t *error);

//  A notice about the stream as a JSON object on one line: {"notice":name, ...}. `what` says it in
//  words. It is about the batches first to last; or about none when first is above last.
void kv_notice_print_json (FILE *out, const char *name, const char *endpoint, uint64_t first,
                           uint64_t last, const char *what);
