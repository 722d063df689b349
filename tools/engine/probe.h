//  SPDX-License-Identifier: MIT
//  probe.h - when a front-end has to probe its engines
//
//  A dead engine sends nothing, so each engine is probed once a second: it is sent a message that
//  asks for nothing (requests_probe), which a ROUTER with ROUTER_MANDATORY refuses to send when the
//  connection is gone. A dying engine may send ENGINE_CORE_DEAD, which does not say who it was.
//  After one of these, engines are probed every 50 ms until one is found dead: vLLM's closes its
//  connections when its process ends, a second later or more. If none is found in 200 probes, 10 s,
//  all engines count as dead. No sockets and no clock in here: `now` is in ms.

#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int64_t at;      //  When the next probe is due
    int last_words;  //  How many ENGINE_CORE_DEAD have come
    int quick;       //  Probes that are left after the last of them
} probe_t;

//  The first probe is due in a second
void probe_start (probe_t *self, int64_t now);

//  ENGINE_CORE_DEAD has come: the next probe is due at once
void probe_last_words (probe_t *self, int64_t now);

//  True when the engines have to be probed now. `received`: a message has just been taken. While
//  messages come, a probe that is due waits for as long again, because what a dead engine had sent
//  still counts; but no longer, whatever comes.
bool probe_due (const probe_t *self, int64_t now, bool received);

//  How long until the next probe, in ms; 0 when it is due
int probe_left (const probe_t *self, int64_t now);

//  True in the last quick probe, when fewer engines have died than have said ENGINE_CORE_DEAD
bool probe_gives_up (const probe_t *self, int deaths);

//  The engines have been probed, and so many have died so far
void probe_done (probe_t *self, int64_t now, int deaths);
