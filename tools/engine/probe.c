//  SPDX-License-Identifier: MIT

#include "engine/probe.h"

#define PROBE_MS 1000
#define QUICK_MS 50
#define QUICK_PROBES 20
#define RECEIVED_MAX 1000

void probe_start (probe_t *self, int64_t now)
{
    *self = (probe_t){.at = now + PROBE_MS};
}

void probe_last_words (probe_t *self, int64_t now)
{
    self->last_words++;
    self->quick = QUICK_PROBES;
    self->at = now;
}

bool probe_due (probe_t *self, int64_t now, bool received)
{
    if (now < self->at || (received && ++self->received < RECEIVED_MAX))
        return false;
    self->received = 0;
    return true;
}

int probe_left (const probe_t *self, int64_t now)
{
    return now < self->at ? (int) (self->at - now) : 0;
}

bool probe_gives_up (const probe_t *self, int deaths)
{
    return self->quick == 1 && self->last_words > deaths;
}

void probe_done (probe_t *self, int64_t now, int deaths)
{
    self->quick = self->last_words > deaths ? self->quick - 1 : 0;
    self->at = now + (self->quick > 0 ? QUICK_MS : PROBE_MS);
}
