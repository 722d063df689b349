//  SPDX-License-Identifier: MIT
//  turn.h - one thread at a time
//
//  pthread_mutex_t will not do: its library is a copy in the tracer's own namespace, and after fork
//  nobody would unlock it. This one can be reset.

#pragma once

#include <stdatomic.h>
#include <stdbool.h>

typedef struct {
    atomic_int state;  //  0: free, 1: taken, 2: taken and somebody waits
} turn_t;

void turn_take (turn_t *self);

//  Waits for at most `ms` milliseconds. False: another thread still has it.
bool turn_try (turn_t *self, long ms);

void turn_give (turn_t *self);

//  For a child after fork, which has one thread
void turn_reset (turn_t *self);
