//  SPDX-License-Identifier: MIT

#include "engine/spawned.h"

#include <czmq.h>
#include <poll.h>
#include <spawn.h>

extern char **environ;  //  NOLINT(readability-redundant-declaration): POSIX has it in no header

struct spawned {
    size_t count;
    struct {
        pid_t pid;  //  0: its end was seen
        int sentinel;
        int status;
    } items[];
};

spawned_t *spawned_new (size_t max)
{
    return zmalloc (sizeof (spawned_t) + max * sizeof ((spawned_t *) 0)->items[0]);
}

static void s_wait (spawned_t *self, size_t i)
{
    if (self->items[i].pid == 0)
        return;
    while (waitpid (self->items[i].pid, &self->items[i].status, 0) == -1 && errno == EINTR)
        ;
    self->items[i].pid = 0;
}

//  True when it has ended by then
static bool s_ends (int sentinel, int64_t until)
{
    struct pollfd end = {.fd = sentinel, .events = POLLIN};
    int64_t left;
    while ((left = until - zclock_mono ()) > 0 && poll (&end, 1, (int) left) == -1)
        ;  //  A signal came
    return end.revents != 0;
}

void spawned_destroy (spawned_t **self_p)
{
    spawned_t *self = *self_p;
    if (!self)
        return;
    for (size_t i = 0; i < self->count; i++)
        if (self->items[i].pid != 0)
            kill (self->items[i].pid, SIGTERM);
    int64_t until = zclock_mono () + SPAWNED_END_MS;
    for (size_t i = 0; i < self->count; i++) {
        if (self->items[i].pid != 0 && !s_ends (self->items[i].sentinel, until))
            kill (self->items[i].pid, SIGKILL);
        s_wait (self, i);
        close (self->items[i].sentinel);
    }
    free (self);
    *self_p = NULL;
}

int spawned_start (spawned_t *self, char *const argv[])
{
    int ends[2];
    if (socketpair (AF_UNIX, SOCK_STREAM, 0, ends) == -1)
        return -1;
    fcntl (ends[0], F_SETFD, FD_CLOEXEC);
    fcntl (ends[1], F_SETFD, FD_CLOEXEC);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init (&actions);
    posix_spawn_file_actions_adddup2 (&actions, ends[1], SPAWNED_DEATH_PIPE);
    pid_t pid;
    int rc = posix_spawn (&pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy (&actions);
    close (ends[1]);
    if (rc != 0) {
        close (ends[0]);
        errno = rc;
        return -1;
    }
    self->items[self->count].pid = pid;
    self->items[self->count].sentinel = ends[0];
    self->count++;
    return ends[0];
}

char *spawned_ending (spawned_t *self, size_t i)
{
    s_wait (self, i);
    int status = self->items[i].status;
    return WIFSIGNALED (status) ? zsys_sprintf ("signal %d", WTERMSIG (status))
                                : zsys_sprintf ("exit status %d", WEXITSTATUS (status));
}
