//  SPDX-License-Identifier: MIT

#include "ledger.h"

#include <czmq.h>

//  Of so many runs of missing tasks ledger_describe tells; what is more does not help a reader
#define RUNS_MAX 10

//  A set of tasks: task t is bit t % 8 of byte t / 8
typedef struct {
    byte *bits;
    size_t size;
} s_set_t;

struct ledger {
    bool announced;
    uint32_t tasks;  //  Of the batch that was announced last
    s_set_t back;    //  What has come back of it,
    s_set_t again;   //  and what twice: of a batch that is still to be announced
};

ledger_t *ledger_new (void)
{
    return zmalloc (sizeof (ledger_t));
}

void ledger_destroy (ledger_t **self_p)
{
    ledger_t *self = *self_p;
    if (!self)
        return;
    free (self->back.bits);
    free (self->again.bits);
    free (self);
    *self_p = NULL;
}

static bool s_has (const s_set_t *set, uint32_t task)
{
    return task / 8 < set->size && set->bits[task / 8] & 1 << task % 8;
}

static void s_add (s_set_t *set, uint32_t task)
{
    if (task / 8 >= set->size) {
        size_t size = 2 * (task / 8 + (size_t) 1);
        byte *bits = zmalloc (size);
        if (set->size > 0)
            memcpy (bits, set->bits, set->size);
        free (set->bits);
        *set = (s_set_t){.bits = bits, .size = size};
    }
    set->bits[task / 8] |= (byte) (1 << task % 8);
}

void ledger_expect (ledger_t *self, uint32_t tasks)
{
    if (self->announced) {
        free (self->back.bits);
        self->back = self->again;
        self->again = (s_set_t){.size = 0};
    }
    self->announced = true;
    self->tasks = tasks > LEDGER_MAX ? 0 : tasks;
}

void ledger_mark (ledger_t *self, uint32_t task)
{
    if (task < LEDGER_MAX)
        s_add (s_has (&self->back, task) ? &self->again : &self->back, task);
}

uint32_t ledger_missing (const ledger_t *self)
{
    uint32_t missing = 0;
    for (uint32_t task = 0; task < self->tasks; task++)
        missing += !s_has (&self->back, task);
    return missing;
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
        bool has = s_has (&self->back, first);
        for (end = first + 1; end < self->tasks && s_has (&self->back, end) == has; end++)
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
