//  SPDX-License-Identifier: MIT
//  kv_json.h - KV events as JSON, one object a line, for programs that read a subscriber's stdout
//
//  Every event is passed on as it came, also those of other publishers of this wire (SGLang,
//  TensorRT-LLM, Mooncake, ATOM), whose fields may have other types than vLLM's. A batch is read in
//  place, without a tree, so it may have any number of events.

#pragma once

#include "kv/kv_events.h"

//  What goes into a line beside the batch
typedef struct {
    const char *endpoint;  //  NULL: left out
    bool string_hashes;  //  Integer hashes as strings: jq 1.6 and JavaScript round 64-bit integers
} kv_json_t;

//  One batch as a JSON object on one line of `out`: integers exact, bytes as lower-case hex, every
//  field that came and none that did not. A map keeps its keys. The elements of an array get the
//  names of vLLM's fields; one whose type is not that of the field, or that has no name, is
//  "field_5" after its place. What is neither a map nor an array is {"value":...}. A topic without
//  data is left out.
//  False, nothing is printed and `error` says why, when the payload is no [ts, [events], ...].
bool kv_batch_print_json (text_t *out, const kv_numbered_t *numbered, const kv_json_t *how,
                          mp_error_t *error);

//  True when a batch can be printed; false as above
bool kv_payload_check (const kv_numbered_t *numbered, mp_error_t *error);

//  "BlockStored 1 block 16 tokens, BlockRemoved 1 block": for a line on the screen. The caller's to
//  free with zstr_free. NULL as above.
char *kv_payload_describe (const kv_numbered_t *numbered, mp_error_t *error);

//  Where a batch or a notice comes from; NULL, no data or KV_RANK_NONE: left out
typedef struct {
    const char *endpoint;
    mp_slice_t topic;
    int64_t rank;
} kv_origin_t;

//  A notice about the stream as a JSON object on one line: {"notice":name, ...}. `what` says it in
//  words. It is about the batches first to last; or about none when first is above last.
void kv_notice_print_json (text_t *out, const char *name, const kv_origin_t *origin, uint64_t first,
                           uint64_t last, const char *what);
