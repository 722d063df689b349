//  SPDX-License-Identifier: MIT

#include "engine/token_set.h"

#include <stdlib.h>

//  For qsort and bsearch
static int s_compare (const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *) a, right = *(const uint32_t *) b;
    return (left > right) - (left < right);
}

size_t token_set_sort (uint32_t *ids, size_t count)
{
    if (count < 2)
        return count;
    qsort (ids, count, sizeof *ids, s_compare);
    size_t kept = 1;
    for (size_t i = 1; i < count; i++)
        if (ids[i] != ids[kept - 1])
            ids[kept++] = ids[i];
    return kept;
}

const uint32_t *token_set_find (const uint32_t *ids, size_t count, uint32_t token)
{
    return count ? bsearch (&token, ids, count, sizeof *ids, s_compare) : NULL;
}

uint32_t token_set_last_of_row (const uint32_t *ids, size_t count, const uint32_t *at)
{
    size_t low = 0, high = count - (size_t) (at - ids);
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (at[middle] - at[0] == middle)
            low = middle;
        else
            high = middle;
    }
    return at[low];
}
