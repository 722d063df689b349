//  SPDX-License-Identifier: MIT

#include "lib/files.h"
#include "lib/log.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#define LOOK_MS 1000

//  A library that aborts may have closed a few before
#define FILES_LEFT 4

#define NONE_LEFT "no file descriptor is left (ulimit -n)"

//  What the handler says
static char last_line[100];

//  The thread has found that none is left
static volatile sig_atomic_t none_left;

//  True when `count` more can be opened, at most FILES_MIN. Only what a signal handler may do.
static bool s_are_free (int count)
{
    int open_now[FILES_MIN], opened = 0;
    while (opened < count && (open_now[opened] = open ("/dev/null", O_RDONLY | O_CLOEXEC)) != -1)
        opened++;
    bool out = opened < count && (errno == EMFILE || errno == ENFILE);
    for (int i = 0; i < opened; i++)
        close (open_now[i]);
    return !out;
}

//  SIGABRT: the default action follows unless this is the reason
static void s_on_abort (int signal)
{
    (void) signal;
    if (s_are_free (FILES_LEFT))
        return;
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll (&out, 1, 0) == 1 && (out.revents & POLLOUT) &&
        write (STDERR_FILENO, last_line, strlen (last_line)) == -1)
        _exit (EXIT_FAILURE);
    _exit (EXIT_FAILURE);
}

//  Ends the program as a Ctrl-C does
static void *s_look (void *args)
{
    for (int full = 0; full < 2; full = s_are_free (1) ? 0 : full + 1)
        poll (NULL, 0, LOOK_MS);
    none_left = 1;
    warn_line (NONE_LEFT);
    kill (getpid (), SIGTERM);
    return args;
}

//  Runs after the exit handlers of the libraries
static void s_on_exit (void)
{
    if (none_left && fflush (stdout) != EOF)
        _exit (EXIT_FAILURE);
}

//  Usually there are 1024. Peers that connect and stay would soon keep out everybody else, so we
//  ask for as many as the system lets us have, as vLLM does.
static void s_raise_limit (void)
{
    struct rlimit files;
    if (getrlimit (RLIMIT_NOFILE, &files) == -1)
        return;
    files.rlim_cur = files.rlim_max;
    setrlimit (RLIMIT_NOFILE, &files);
}

//  The thread gets no signals: they have to interrupt the main thread
static void s_start_thread (void)
{
    sigset_t all, before;
    pthread_t thread;
    sigfillset (&all);
    pthread_sigmask (SIG_SETMASK, &all, &before);
    if (pthread_create (&thread, NULL, s_look, NULL) == 0)
        pthread_detach (thread);
    pthread_sigmask (SIG_SETMASK, &before, NULL);
}

void files_prepare (void)
{
    s_raise_limit ();
    if (!s_are_free (FILES_MIN)) {
        warn_line ("too few file descriptors: %d more are wanted (ulimit -n)", FILES_MIN);
        exit (EXIT_FAILURE);
    }
    snprintf (last_line, sizeof last_line, "%s: %s\n", log_program, NONE_LEFT);
    struct sigaction action = {.sa_handler = s_on_abort};
    sigaction (SIGABRT, &action, NULL);
    atexit (s_on_exit);
    s_start_thread ();
}
