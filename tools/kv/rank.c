//  SPDX-License-Identifier: MIT

#include "kv/rank.h"

#include <czmq.h>

char *kv_rank_endpoint (const char *endpoint, int rank)
{
    if (rank == 0)
        return strdup (endpoint);
    if (strncmp (endpoint, "tcp://", 6) != 0)
        return zsys_sprintf ("%s_dp%d", endpoint, rank);
    const char *port = strrchr (endpoint, ':') + 1;
    if (streq (port, "*") || strtol (port, NULL, 10) == 0)
        return strdup (endpoint);
    long own = strtol (port, NULL, 10) + rank;
    if (own > UINT16_MAX)
        return NULL;
    return zsys_sprintf ("%.*s%ld", (int) (port - endpoint), endpoint, own);
}
