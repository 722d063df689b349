//  SPDX-License-Identifier: MIT
//  kv_events_own.h - the fields of vLLM's events, for kv_events.c and kv_decode.c only

#pragma once

#include "kv/kv_events.h"

//  The fields of BlockStored in the order of its struct: its places in an array. BlockRemoved has
//  some of the same.
typedef enum {
    BLOCK_HASHES,
    PARENT_BLOCK_HASH,
    TOKEN_IDS,
    BLOCK_SIZE,
    LORA_ID,
    MEDIUM,
    LORA_NAME,
    EXTRA_KEYS,
    GROUP_IDX,
    KV_CACHE_SPEC_KIND,
    KV_CACHE_SPEC_SLIDING_WINDOW,
    LOCALITY,
    OWNERSHIP,
    SESSION_ID,
    LOOKAHEAD_TOKEN_IDS,
    FIELD_COUNT
} field_t;

//  By field_t: the names, which are the keys of a map, and their sizes
#define NAMES(NAME)                                                                                \
    ARRAY_NAMES (NAME)                                                                             \
    , NAME ("ownership"), NAME ("session_id"), NAME ("lookahead_token_ids")
//  Those that an array may have had, up to v0.23, and one more
#define ARRAY_NAMES(NAME)                                                                          \
    NAME ("block_hashes"), NAME ("parent_block_hash"), NAME ("token_ids"), NAME ("block_size"),    \
        NAME ("lora_id"), NAME ("medium"), NAME ("lora_name"), NAME ("extra_keys"),                \
        NAME ("group_idx"), NAME ("kv_cache_spec_kind"), NAME ("kv_cache_spec_sliding_window"),    \
        NAME ("locality")
#define TEXT_OF(name) name
#define SIZE_OF(name) (sizeof (name) - 1)
#define IN_STORED(name) "BlockStored." name
#define IN_REMOVED(name) "BlockRemoved." name
static const char *const field_names[] = {NAMES (TEXT_OF)};
static const char *const stored_fields[] = {ARRAY_NAMES (TEXT_OF), NULL};
static const size_t field_sizes[] = {NAMES (SIZE_OF)};
static const char *const removed_fields[] = {"block_hashes", "medium", "group_idx", "locality",
                                             NULL};
static const char *const no_fields[] = {NULL};

//  What errors call them
static const char *const stored_names[] = {NAMES (IN_STORED)};
static const char *const removed_names[] = {NAMES (IN_REMOVED)};

static const field_t stored_order[] = {BLOCK_HASHES,
                                       PARENT_BLOCK_HASH,
                                       TOKEN_IDS,
                                       BLOCK_SIZE,
                                       LORA_ID,
                                       MEDIUM,
                                       LORA_NAME,
                                       EXTRA_KEYS,
                                       GROUP_IDX,
                                       KV_CACHE_SPEC_KIND,
                                       KV_CACHE_SPEC_SLIDING_WINDOW,
                                       LOCALITY,
                                       OWNERSHIP,
                                       SESSION_ID,
                                       LOOKAHEAD_TOKEN_IDS};
static const field_t removed_order[] = {BLOCK_HASHES, MEDIUM, GROUP_IDX, LOCALITY, OWNERSHIP};

//  By kv_event_kind_t
static const struct {
    const char *tag;
    size_t tag_size;
    const char *const *fields;
    const char *const *names;  //  By field_t
    const field_t *order;
    size_t count, array_count;
    unsigned required;  //  Of field_t, a bit for each
} kinds[] = {
    {"BlockStored", 11, stored_fields, stored_names, stored_order, 15, 12,
     1u << BLOCK_HASHES | 1u << TOKEN_IDS | 1u << BLOCK_SIZE},
    {"BlockRemoved", 12, removed_fields, removed_names, removed_order, 5, 4, 1u << BLOCK_HASHES},
    {"AllBlocksCleared", 16, no_fields, NULL, stored_order, 0, 0, 0}};
