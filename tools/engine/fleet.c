//  SPDX-License-Identifier: MIT

#include "engine/fleet.h"

#include <czmq.h>

typedef struct {
    int index;
    bool dead;
} s_engine_t;

struct fleet {
    int max;
    int size;
    int turn;
    int deaths;
    s_engine_t engines[];  //  By index
};

fleet_t *fleet_new (int max)
{
    fleet_t *self = zmalloc (sizeof *self + (size_t) max * sizeof self->engines[0]);
    self->max = max;
    return self;
}

void fleet_destroy (fleet_t **self_p)
{
    free (*self_p);
    *self_p = NULL;
}

static int s_compare (const void *a, const void *b)
{
    return ((const s_engine_t *) a)->index - ((const s_engine_t *) b)->index;
}

static s_engine_t *s_find (const fleet_t *self, int engine)
{
    s_engine_t wanted = {.index = engine};
    return bsearch (&wanted, self->engines, (size_t) self->size, sizeof wanted, s_compare);
}

bool fleet_join (fleet_t *self, int engine)
{
    s_engine_t *known = s_find (self, engine);
    if (known)
        known->dead = false;
    if (known || self->size == self->max)
        return false;
    self->engines[self->size++] = (s_engine_t){.index = engine};
    qsort (self->engines, (size_t) self->size, sizeof self->engines[0], s_compare);
    return true;
}

bool fleet_knows (const fleet_t *self, int engine)
{
    return s_find (self, engine) != NULL;
}

void fleet_bury (fleet_t *self, int engine)
{
    s_engine_t *known = s_find (self, engine);
    if (!known || known->dead)
        return;
    known->dead = true;
    self->deaths++;
}

int fleet_deaths (const fleet_t *self)
{
    return self->deaths;
}

int fleet_size (const fleet_t *self)
{
    return self->size;
}

int fleet_living (const fleet_t *self)
{
    int living = 0;
    for (int i = 0; i < self->size; i++)
        living += !self->engines[i].dead;
    return living;
}

int fleet_at (const fleet_t *self, int i)
{
    return self->engines[i].index;
}

bool fleet_lives_at (const fleet_t *self, int i)
{
    return !self->engines[i].dead;
}

int fleet_next (fleet_t *self)
{
    for (int i = 0; i < self->size; i++) {
        const s_engine_t *engine = &self->engines[self->turn];
        self->turn = (self->turn + 1) % self->size;
        if (!engine->dead)
            return engine->index;
    }
    return -1;
}
