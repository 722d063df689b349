//  SPDX-License-Identifier: MIT
//  ledger.h - which tasks of a batch have come back, and which are missing
//
//  PUSH/PULL has no acknowledgement: with a worker that is killed goes the task in its hands, and
//  those in its queue, and nobody is told. Who gathers the results can know, if it is told what to
//  expect. That may come late: results take another way than the announcement, and overtake it.
//  No sockets in here.

#pragma once

#include <stdbool.h>
#include <stdint.h>

//  A task has a bit: of more tasks than these, half a megabyte, no ledger is kept
#define LEDGER_MAX 4000000

typedef struct ledger ledger_t;

//  Of nothing yet
ledger_t *ledger_new (void);
void ledger_destroy (ledger_t **self_p);

//  A batch of tasks 0 to tasks - 1 was announced. What has come back before the first announcement
//  is of it; what has come back twice before a later one is of that.
void ledger_expect (ledger_t *self, uint32_t tasks);

//  This one has come back
void ledger_mark (ledger_t *self, uint32_t task);

//  How many of the batch that was announced last are missing; 0 when none was, or was too large
uint32_t ledger_missing (const ledger_t *self);

//  Which are missing, as `3 5-7`, the caller's to free. Of many only the first, and `...`.
char *ledger_describe (const ledger_t *self);
