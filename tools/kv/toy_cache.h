//  SPDX-License-Identifier: MIT
//  toy_cache.h - makes up the KV events of a cache that nobody has
//
//  Batch n stores one block of 16 tokens, or as many as are asked for, whose parent is the last
//  block of batch n-1. Every fifth batch also removes the oldest block. With every field, an event
//  has all that vLLM's may have, and every tenth batch also clears the cache. The same n always
//  gives the same events.
//  vLLM:  vllm/v1/core/block_pool.py BlockPool.cache_full_blocks, which records the real ones
//         vllm/distributed/kv_events.py EventBatch
//         vllm/distributed/kv_events.py BlockStored
//         vllm/distributed/kv_events.py BlockRemoved
//         vllm/distributed/kv_events.py AllBlocksCleared

#pragma once

#include "kv/kv_events.h"

#define TOY_CACHE_BLOCK_SIZE 16

//  Of one batch. Large prompts make large batches, but those of a toy are on the stack.
#define TOY_CACHE_MAX_BLOCKS 256

typedef struct {
    kv_wire_t wire;
    int rank;         //  Data-parallel rank: each has other blocks
    uint32_t blocks;  //  That a batch stores, 1 to TOY_CACHE_MAX_BLOCKS
    bool every_field;
} toy_cache_t;

//  The payload of batch n, as of `ts` seconds since 1970: the caller's
zframe_t *toy_cache_batch (const toy_cache_t *self, uint64_t n, double ts);

//  "BlockStored 1 block 16 tokens, BlockRemoved 1 block": batch n for a line on the screen. The
//  caller's to free with zstr_free.
char *toy_cache_describe (const toy_cache_t *self, uint64_t n);
