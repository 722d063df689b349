//  SPDX-License-Identifier: MIT

#include "engine/token_set.h"

#include <czmq.h>

//  By one byte after the other, the lowest first
static void s_sort_by (unsigned shift, const uint32_t *from, uint32_t *to, size_t count)
{
    size_t places[257] = {0};  //  Where the ids with this byte begin
    for (size_t i = 0; i < count; i++)
        places[(from[i] >> shift & 0xff) + 1]++;
    for (size_t i = 1; i < 256; i++)
        places[i] += places[i - 1];
    for (size_t i = 0; i < count; i++)
        to[places[from[i] >> shift & 0xff]++] = from[i];
}

size_t token_set_sort (uint32_t *ids, size_t count)
{
    if (count < 2)
        return count;
    uint32_t *other = zmalloc (count * sizeof *other);
    for (unsigned shift = 0; shift < 32; shift += 16) {
        s_sort_by (shift, ids, other, count);
        s_sort_by (shift + 8, other, ids, count);
    }
    free (other);
    size_t kept = 1;
    for (size_t i = 1; i < count; i++)
        if (ids[i] != ids[kept - 1])
            ids[kept++] = ids[i];
    return kept;
}

const uint32_t *token_set_find (const uint32_t *ids, size_t count, uint32_t token)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ids[middle] < token)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && ids[low] == token ? &ids[low] : NULL;
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
