//  SPDX-License-Identifier: MIT
//  token_set.h - a set of token ids as a sorted array: stop_token_ids, which may be a million
//
//  A search takes a few steps for any number of them. No sockets in here.

#pragma once

#include <stddef.h>
#include <stdint.h>

//  Makes a set of an array: sorts it, and drops what is there twice. Returns how many are left.
//  By libc's qsort, which takes count * log (count) comparisons whatever the ids are.
size_t token_set_sort (uint32_t *ids, size_t count);

//  Where a token is in the set; NULL: it is not in there
const uint32_t *token_set_find (const uint32_t *ids, size_t count, uint32_t token);

//  The last token of the row n, n + 1, n + 2, ... that begins at `at`, a place in the set
uint32_t token_set_last_of_row (const uint32_t *ids, size_t count, const uint32_t *at);
