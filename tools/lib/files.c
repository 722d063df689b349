//  SPDX-License-Identifier: MIT

#include "lib/files.h"
#include "lib/log.h"
#include "lib/stop.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#define LOOK_S 1

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
    if (!s_are_free (FILES_LEFT))
        stop_now (last_line, EXIT_FAILURE);
}

//  The thread that looks, and how the main thread ends it. It waits without a descriptor.
static pthread_t looker;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake;
static bool looking;

//  Ends the program as a Ctrl-C does
static void *s_look (void *args)
{
    pthread_mutex_lock (&lock);
    for (int full = 0; full < 2 && looking;) {
        struct timespec until;
        clock_gettime (CLOCK_MONOTONIC, &until);
        until.tv_sec += LOOK_S;
        while (looking && pthread_cond_timedwait (&wake, &lock, &until) != ETIMEDOUT)
            ;
        full = s_are_free (1) ? 0 : full + 1;
    }
    none_left = looking;
    pthread_mutex_unlock (&lock);
    if (none_left) {
        warn_line (NONE_LEFT);
        kill (getpid (), SIGTERM);
    }
    return args;
}

//  Runs after the exit handlers of the libraries. A thread that has something to say is not waited
//  for: perhaps nobody reads stderr.
static void s_on_exit (void)
{
    pthread_mutex_lock (&lock);
    bool join = looking && !none_left;
    looking = false;
    pthread_cond_signal (&wake);
    pthread_mutex_unlock (&lock);
    if (join)
        pthread_join (looker, NULL);
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
    pthread_condattr_t monotonic;
    pthread_condattr_init (&monotonic);
    pthread_condattr_setclock (&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init (&wake, &monotonic);
    sigfillset (&all);
    pthread_sigmask (SIG_SETMASK, &all, &before);
    looking = true;
    looking = pthread_create (&looker, NULL, s_look, NULL) == 0;
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
