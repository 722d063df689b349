//  SPDX-License-Identifier: MIT

#include "turn.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static bool s_take (turn_t *self, const struct timespec *most)
{
    int free = 0;
    if (atomic_compare_exchange_strong (&self->state, &free, 1))
        return true;
    while (atomic_exchange (&self->state, 2) != 0)
        if (syscall (SYS_futex, &self->state, FUTEX_WAIT_PRIVATE, 2, most, NULL, 0) == -1 && most)
            return atomic_exchange (&self->state, 2) == 0;
    return true;
}

void turn_take (turn_t *self)
{
    s_take (self, NULL);
}

bool turn_try (turn_t *self, long ms)
{
    struct timespec most = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    return s_take (self, &most);
}

void turn_give (turn_t *self)
{
    if (atomic_exchange (&self->state, 0) == 2)
        syscall (SYS_futex, &self->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void turn_reset (turn_t *self)
{
    atomic_store (&self->state, 0);
}
