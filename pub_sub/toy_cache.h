//  SPDX-License-Identifier: MIT
//  toy_cache.h - makes up the KV events of a cache that nobody has
//
//  Batch n stores one block of 16 tokens, whose parent is the block of batch n-1. Every fifth batch
//  also removes the oldest block. The same n always gives the same events.
//  vLLM:  vllm/v1/core/block_pool.py BlockPool.cache_full_blocks, which records the real ones

#pragma once

#include "kv_events.h"

#define TOY_CACHE_BLOCK_SIZE 16

//  Batch n and its memory
typedef struct {
    kv_batch_t batch;
    kv_event_t events[2];
    kv_hash_t stored, removed;
    uint32_t token_ids[TOY_CACHE_BLOCK_SIZE];
} toy_cache_t;

//  Fills *self with batch n, as of `ts` seconds since 1970. The batch points into *self.
void toy_cache_fill (toy_cache_t *self, uint64_t n, double ts);
