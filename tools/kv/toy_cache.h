//  SPDX-License-Identifier: MIT
//  toy_cache.h - makes up the KV events of a cache that nobody has
//
//  Batch n stores one block of 16 tokens, or as many as are asked for, whose parent is the last
//  block of batch n-1. Every fifth batch also removes the oldest block. With every field, an event
//  has all that vLLM's may have, and every tenth batch also clears the cache. The same n always
//  gives the same events.
//  vLLM:  vllm/v1/core/block_pool.py BlockPool.cache_full_blocks, which records the real ones

#pragma once

#include "kv/kv_events.h"

#define TOY_CACHE_BLOCK_SIZE 16

//  Of one batch. Large prompts make large batches, but those of a toy are on the stack.
#define TOY_CACHE_MAX_BLOCKS 256

//  Batch n and its memory
typedef struct {
    kv_batch_t batch;
    kv_event_t events[3];
    kv_hash_t stored[TOY_CACHE_MAX_BLOCKS], removed;
    char extra_keys[5 + 2 * TOY_CACHE_MAX_BLOCKS + 16];  //  As msgpack
    char lookahead[5 + 2 * TOY_CACHE_MAX_BLOCKS];
} toy_cache_t;

//  Fills *self with batch n of a data-parallel rank: `blocks` blocks, 1 to TOY_CACHE_MAX_BLOCKS, as
//  of `ts` seconds since 1970. Each rank has other blocks. The batch points into *self.
void toy_cache_fill (toy_cache_t *self, int rank, uint64_t n, uint32_t blocks, double ts);

//  The same with every field that vLLM's events may have
void toy_cache_fill_all (toy_cache_t *self, int rank, uint64_t n, uint32_t blocks, double ts);
