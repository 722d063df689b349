//  SPDX-License-Identifier: MIT

#include "kv/toy_cache.h"
#include "lib/mp_put.h"

//  Token ids are below this
#define VOCABULARY 32000

//  Enough for a batch: for each block its hash, tokens, extra key and token beyond it, and for the
//  names and values of all other fields
#define BATCH_BOUND (2048 + TOY_CACHE_MAX_BLOCKS * (MP_PUT_MAX + 5 * TOY_CACHE_BLOCK_SIZE + 1 + 2))

//  The hash of block n of a rank: 64 bits that look random, so half of them are above INT64_MAX, as
//  real ones
static uint64_t s_hash (int rank, uint64_t n)
{
    //  SplitMix64's mixing of a counter
    uint64_t z = (n + 1 + ((uint64_t) rank << 40)) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
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

static bool s_removes (uint64_t n)
{
    return n % 5 == 4;
}

static bool s_clears (const toy_cache_t *self, uint64_t n)
{
    return self->every_field && n % 10 == 9;
}

static bool s_is_map (const toy_cache_t *self)
{
    return self->wire != KV_WIRE_V09;
}

//  The key of a field, which only a map has
static inline void s_put_key (char **at, const toy_cache_t *self, const char *key)
{
    if (s_is_map (self))
        mp_put_cstr (at, key);
}

//  Begins an event: of v0.9.0, an array that begins with the tag and has so many fields; later, a
//  map of so many
static void s_put_tag (char **at, const toy_cache_t *self, const char *tag, size_t in_array,
                       size_t in_map)
{
    //  msgspec chooses the form of a map's head by how many fields the struct has: more than 15,
    //  and it is the 16-bit form even for few
    if (!s_is_map (self))
        mp_put_array (at, 1 + in_array);
    else if (self->wire == KV_WIRE_V033 && streq (tag, "BlockStored"))
        mp_put_number2 (at, 0xde, (uint16_t) (1 + in_map));
    else
        mp_put_map (at, 1 + in_map);
    s_put_key (at, self, "type");
    mp_put_cstr (at, tag);
}

//  A key, and a value that is text or NULL
static inline void s_put_text (char **at, const char *key, const char *value)
{
    mp_put_cstr (at, key);
    mp_put_cstr (at, value);
}

//  Fields that are arrays with an element for each block. extra_keys: nil for a block of only
//  text; with every field, the first block has an image that begins at token 3.
static void s_put_extra_keys (char **at, const toy_cache_t *self)
{
    mp_put_text (at, "extra_keys");
    mp_put_array (at, self->blocks);
    if (self->every_field) {
        mp_put_array (at, 2);
        mp_put_text (at, "img-1");
        mp_put_int (at, 3);
    }
    mp_put_nils (at, self->blocks - self->every_field);
}

static void s_put_lookahead (char **at, const toy_cache_t *self)
{
    mp_put_text (at, "lookahead_token_ids");
    mp_put_array (at, self->blocks);
    for (uint32_t i = 0; i < self->blocks; i++) {
        mp_put_array (at, 1);
        mp_put_int (at, (int) (i % 100));
    }
}

//  How many fields later releases have added to an event that has every field: v0.26 one, v0.33
//  `newest` more
static size_t s_added (const toy_cache_t *self, size_t newest)
{
    size_t count = self->wire >= KV_WIRE_V026 ? 1 : 0;
    if (self->wire == KV_WIRE_V033)
        count += newest;
    return self->every_field ? count : 0;
}

static void s_put_added (char **at, const toy_cache_t *self)
{
    if (self->every_field && self->wire >= KV_WIRE_V026)
        s_put_text (at, "locality", "LOCAL");
    if (self->every_field && self->wire == KV_WIRE_V033)
        s_put_text (at, "ownership", "tier-1");
}

static void s_put_stored (char **at, const toy_cache_t *self, uint64_t n)
{
    bool all = self->every_field;
    uint64_t first = n * self->blocks;
    uint32_t tokens = self->blocks * TOY_CACHE_BLOCK_SIZE;
    s_put_tag (at, self, "BlockStored", 5, (size_t) 10 + all + s_added (self, 3));
    s_put_key (at, self, "block_hashes");
    mp_put_array (at, self->blocks);
    for (uint32_t i = 0; i < self->blocks; i++)
        mp_put_uint64 (at, s_hash (self->rank, first + i));
    s_put_key (at, self, "parent_block_hash");
    if (n > 0)
        mp_put_uint64 (at, s_hash (self->rank, first - 1));
    else
        mp_put_nil (at);
    s_put_key (at, self, "token_ids");
    uint64_t token = n * tokens + (uint64_t) self->rank * 1000;
    mp_put_uint32s (at, s_tokens ((uint32_t) (token % VOCABULARY)), tokens);
    s_put_key (at, self, "block_size");
    mp_put_int (at, TOY_CACHE_BLOCK_SIZE);
    s_put_key (at, self, "lora_id");
    if (all)
        mp_put_int (at, 5);
    else
        mp_put_nil (at);
    if (!s_is_map (self))
        return;
    s_put_text (at, "medium", "GPU");
    s_put_text (at, "lora_name", all ? "sql" : NULL);
    s_put_extra_keys (at, self);
    mp_put_text (at, "group_idx");
    mp_put_int (at, 0);
    s_put_text (at, "kv_cache_spec_kind", all ? "sliding_window" : "full_attention");
    if (all) {
        mp_put_text (at, "kv_cache_spec_sliding_window");
        mp_put_int (at, 4096);
    }
    s_put_added (at, self);
    if (all && self->wire == KV_WIRE_V033) {
        s_put_text (at, "session_id", "session-7");
        s_put_lookahead (at, self);
    }
}

static void s_put_removed (char **at, const toy_cache_t *self, uint64_t n)
{
    s_put_tag (at, self, "BlockRemoved", 1, 3 + s_added (self, 1));
    s_put_key (at, self, "block_hashes");
    mp_put_array (at, 1);
    mp_put_uint64 (at, s_hash (self->rank, n / 5));
    if (!s_is_map (self))
        return;
    s_put_text (at, "medium", "GPU");
    mp_put_text (at, "group_idx");
    mp_put_int (at, 0);
    s_put_added (at, self);
}

zframe_t *toy_cache_batch (const toy_cache_t *self, uint64_t n, double ts)
{
    char bytes[BATCH_BOUND], *at = bytes;
    mp_put_array (&at, s_is_map (self) ? 3 : 2);
    mp_put_double (&at, ts);
    mp_put_array (&at, (size_t) 1 + s_removes (n) + s_clears (self, n));
    s_put_stored (&at, self, n);
    if (s_removes (n))
        s_put_removed (&at, self, n);
    if (s_clears (self, n))
        s_put_tag (&at, self, "AllBlocksCleared", 0, 0);
    if (s_is_map (self))
        mp_put_int (&at, self->rank);
    return zframe_new (bytes, (size_t) (at - bytes));
}

char *toy_cache_describe (const toy_cache_t *self, uint64_t n)
{
    return zsys_sprintf ("BlockStored %u block%s %u tokens%s%s", self->blocks,
                         self->blocks == 1 ? "" : "s", self->blocks * TOY_CACHE_BLOCK_SIZE,
                         s_removes (n) ? ", BlockRemoved 1 block" : "",
                         s_clears (self, n) ? ", AllBlocksCleared" : "");
}
