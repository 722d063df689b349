//  SPDX-License-Identifier: MIT

#include "engine/engine_set.h"

#include <czmq.h>

typedef struct {
    int index;
    bool dead;
} s_engine_t;

struct engine_set {
    int max;
    int size;
    int turn;
    int deaths;
    s_engine_t engines[];  //  By index
};

engine_set_t *engine_set_new (int max)
{
    engine_set_t *self = zmalloc (sizeof *self + (size_t) max * sizeof self->engines[0]);
    self->max = max;
    return self;
}

void engine_set_destroy (engine_set_t **self_p)
{
    free (*self_p);
    *self_p = NULL;
}

static int s_compare (const void *a, const void *b)
{
    return ((const s_engine_t *) a)->index - ((const s_engine_t *) b)->index;
}

static s_engine_t *s_find (const engine_set_t *self, int engine)
{
    s_engine_t wanted = {.index = engine};
    return bsearch (&wanted, self->engines, (size_t) self->size, sizeof wanted, s_compare);
}

bool engine_set_join (engine_set_t *self, int engine)
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

bool engine_set_knows (const engine_set_t *self, int engine)
{
    return s_find (self, engine) != NULL;
}

void engine_set_mark_dead (engine_set_t *self, int engine)
{
    s_engine_t *known = s_find (self, engine);
    if (!known || known->dead)
        return;
    known->dead = true;
    self->deaths++;
}

int engine_set_deaths (const engine_set_t *self)
{
    return self->deaths;
}

int engine_set_size (const engine_set_t *self)
{
    return self->size;
}

int engine_set_living (const engine_set_t *self)
{
    int living = 0;
    for (int i = 0; i < self->size; i++)
        living += !self->engines[i].dead;
    return living;
}

int engine_set_at (const engine_set_t *self, int i)
{
    return self->engines[i].index;
}

bool engine_set_lives (const engine_set_t *self, int engine)
{
    const s_engine_t *known = s_find (self, engine);
    return known && !known->dead;
}

int engine_set_next (engine_set_t *self)
{
    for (int i = 0; i < self->size; i++) {
        const s_engine_t *engine = &self->engines[self->turn];
        self->turn = (self->turn + 1) % self->size;
        if (!engine->dead)
            return engine->index;
    }
    return -1;
}
