//  SPDX-License-Identifier: MIT

#include "engine/probe.h"

#define PROBE_MS 1000
#define QUICK_MS 50
#define QUICK_PROBES 200  //  10 s: vLLM's engine takes a second and more to end

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

//  From one probe to the next
static int s_interval (const probe_t *self)
{
    return self->quick > 0 ? QUICK_MS : PROBE_MS;
}

bool probe_due (const probe_t *self, int64_t now, bool received)
{
    return now >= self->at + (received ? s_interval (self) : 0);
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
    self->at = now + s_interval (self);
}
