//  SPDX-License-Identifier: MIT

#include "ledger.h"

#include <czmq.h>

//  Of so many runs of missing tasks ledger_describe tells; what is more does not help a reader
#define RUNS_MAX 10

struct ledger {
    uint32_t tasks;
    uint32_t missing;
    byte bits[];  //  Task t: bit t % 8 of byte t / 8
};

ledger_t *ledger_new (uint32_t tasks)
{
    if (tasks > LEDGER_MAX)
        return NULL;
    ledger_t *self = zmalloc (sizeof *self + (tasks + 7u) / 8u);
    self->tasks = self->missing = tasks;
    return self;
}

void ledger_destroy (ledger_t **self_p)
{
    free (*self_p);
    *self_p = NULL;
}

static bool s_has (const ledger_t *self, uint32_t task)
{
    return self->bits[task / 8] & 1 << task % 8;
}

bool ledger_mark (ledger_t *self, uint32_t task)
{
    if (task >= self->tasks || s_has (self, task))
        return false;
    self->bits[task / 8] |= (byte) (1 << task % 8);
    self->missing--;
    return true;
}

uint32_t ledger_missing (const ledger_t *self)
{
    return self->missing;
}

char *ledger_describe (const ledger_t *self)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream (&text, &size);
    if (!out)
        return NULL;
    int runs = 0;
    for (uint32_t first = 0, end; first < self->tasks && runs <= RUNS_MAX; first = end) {
        bool has = s_has (self, first);
        for (end = first + 1; end < self->tasks && s_has (self, end) == has; end++)
            ;
        if (has)
            continue;
        if (runs++ > 0)
            fputc (' ', out);
        if (runs > RUNS_MAX)
            fputs ("...", out);
        else if (end - first == 1)
            fprintf (out, "%" PRIu32, first);
        else
            fprintf (out, "%" PRIu32 "-%" PRIu32, first, end - 1);
    }
    fclose (out);
    return text;
}
