//  SPDX-License-Identifier: MIT
//  ledger.h - which tasks of a batch have come back, and which are missing
//
//  PUSH/PULL has no acknowledgement: with a worker that is killed goes the task in its hands, and
//  those in its queue, and nobody is told. Who gathers the results can know, if it is told what to
//  expect. No sockets in here.

#pragma once

#include <stdbool.h>
#include <stdint.h>

//  A ledger has a bit for each task: for more than these, half a megabyte, there is none
#define LEDGER_MAX 4000000

typedef struct ledger ledger_t;

//  For tasks 0 to tasks - 1. NULL when they are too many.
ledger_t *ledger_new (uint32_t tasks);
void ledger_destroy (ledger_t **self_p);

//  This one has come back. False: there is no such task, or it had come before.
bool ledger_mark (ledger_t *self, uint32_t task);

//  How many are missing
uint32_t ledger_missing (const ledger_t *self);

//  Which are missing, as `3 5-7`, the caller's to free. Of many only the first, and `...`.
char *ledger_describe (const ledger_t *self);
