//  SPDX-License-Identifier: MIT

#include "kv/toy_cache.h"
#include "lib/mp_put.h"

//  Token ids are below this
#define VOCABULARY 32000

//  The hash of block n of a rank: 64 bits that look random, so half of them are above INT64_MAX, as
//  real ones
static kv_hash_t s_hash (int rank, uint64_t n)
{
    //  SplitMix64's mixing of a counter
    uint64_t z = (n + 1 + ((uint64_t) rank << 40)) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (kv_hash_t){.kind = KV_HASH_UINT, .value.u = z ^ z >> 31};
}

//  The token ids from `first` on: they count up to the end of the vocabulary, then from 0. Enough
//  for any batch.
static const uint32_t *s_tokens (uint32_t first)
{
    static uint32_t tokens[VOCABULARY + TOY_CACHE_MAX_BLOCKS * TOY_CACHE_BLOCK_SIZE];
    static const size_t count = sizeof tokens / sizeof tokens[0];
    if (tokens[1] == 0)
        for (uint32_t i = 0; i < count; i++)
            tokens[i] = i % VOCABULARY;
    return tokens + first;
}

//  Fields that are arrays with an element for each block. extra_keys: nil for a block of only
//  text; with `image`, the first block has one that begins at token 3.
static mp_slice_t s_extra_keys (char *bytes, uint32_t blocks, bool image)
{
    char *at = bytes;
    mp_put_array (&at, blocks);
    if (image) {
        mp_put_array (&at, 2);
        mp_put_text (&at, "img-1");
        mp_put_int (&at, 3);
    }
    for (uint32_t i = image ? 1 : 0; i < blocks; i++)
        mp_put_nil (&at);
    return (mp_slice_t){bytes, (size_t) (at - bytes)};
}

static mp_slice_t s_lookahead (char *bytes, uint32_t blocks)
{
    char *at = bytes;
    mp_put_array (&at, blocks);
    for (uint32_t i = 0; i < blocks; i++) {
        mp_put_array (&at, 1);
        mp_put_int (&at, (int) (i % 100));
    }
    return (mp_slice_t){bytes, (size_t) (at - bytes)};
}

void toy_cache_fill (toy_cache_t *self, int rank, uint64_t n, uint32_t blocks, double ts)
{
    uint64_t first = n * blocks;
    for (uint32_t i = 0; i < blocks; i++)
        self->stored[i] = s_hash (rank, first + i);
    self->removed = s_hash (rank, n / 5);
    uint32_t tokens = blocks * TOY_CACHE_BLOCK_SIZE;
    uint32_t token = (uint32_t) ((n * tokens + (uint64_t) rank * 1000) % VOCABULARY);
    self->events[0] = (kv_event_t){
        .kind = KV_BLOCK_STORED,
        .tag = {"BlockStored", 11},
        .block_hashes = self->stored,
        .block_hash_count = blocks,
        .parent_block_hash = n > 0 ? s_hash (rank, first - 1) : (kv_hash_t){.kind = KV_HASH_NONE},
        .token_ids = s_tokens (token),
        .token_id_count = tokens,
        .block_size = TOY_CACHE_BLOCK_SIZE,
        .lora_id = KV_NONE,
        .medium = {"GPU", 3},
        .extra_keys = s_extra_keys (self->extra_keys, blocks, false),
        .group_idx = 0,
        .kv_cache_spec_kind = {"full_attention", 14},
        .kv_cache_spec_sliding_window = KV_NONE,
    };
    self->events[1] = (kv_event_t){
        .kind = KV_BLOCK_REMOVED,
        .tag = {"BlockRemoved", 12},
        .block_hashes = &self->removed,
        .block_hash_count = 1,
        .medium = {"GPU", 3},
        .group_idx = 0,
    };
    self->batch = (kv_batch_t){
        .ts = ts,
        .events = self->events,
        .event_count = n % 5 == 4 ? 2 : 1,
        .data_parallel_rank = rank,
    };
}

void toy_cache_fill_all (toy_cache_t *self, int rank, uint64_t n, uint32_t blocks, double ts)
{
    toy_cache_fill (self, rank, n, blocks, ts);
    kv_event_t *stored = &self->events[0], *removed = &self->events[1];
    stored->lora_id = 5;
    stored->lora_name = (mp_slice_t){"sql", 3};
    stored->extra_keys = s_extra_keys (self->extra_keys, blocks, true);
    stored->kv_cache_spec_kind = (mp_slice_t){"sliding_window", 14};
    stored->kv_cache_spec_sliding_window = 4096;
    stored->locality = removed->locality = (mp_slice_t){"LOCAL", 5};
    stored->ownership = removed->ownership = (mp_slice_t){"tier-1", 6};
    stored->session_id = (mp_slice_t){"session-7", 9};
    stored->lookahead_token_ids = s_lookahead (self->lookahead, blocks);
    self->events[2] = (kv_event_t){.kind = KV_ALL_BLOCKS_CLEARED, .tag = {"AllBlocksCleared", 16}};
    self->batch.event_count += n % 10 == 9;
}
