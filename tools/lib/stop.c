//  SPDX-License-Identifier: MIT

#include "lib/stop.h"

#include <czmq.h>
#include <poll.h>
#include <signal.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

//  Short against the second in which a program has to stop
#define STOP_AGAIN_MS 50

//  What the last messages get to leave; with it, too, the second is kept
#define STOP_LINGER_MS 500

//  When the first signal came, ms; 0: not yet
static volatile sig_atomic_t stop_asked;
static struct timespec stop_since;

//  Interrupts whatever blocks, in first_ms and from then on again and again
static void s_set_timer (int first_ms)
{
    struct itimerval timer = {
        .it_value = {.tv_usec = (suseconds_t) first_ms * 1000},
        .it_interval = {.tv_usec = (suseconds_t) STOP_AGAIN_MS * 1000},
    };
    setitimer (ITIMER_REAL, &timer, NULL);
}

//  SIGINT, SIGTERM. Only what a signal handler may do; setitimer is a bare system call.
static void s_on_signal (int signal)
{
    (void) signal;
    int keep = errno;
    zsys_interrupted = 1;
    if (!stop_asked) {
        clock_gettime (CLOCK_MONOTONIC, &stop_since);
        stop_asked = 1;
    }
    s_set_timer (STOP_AGAIN_MS);
    errno = keep;
}

void stop_now (const char *line, int status)
{
    //  A pipe that can be written takes PIPE_BUF bytes at once
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll (&out, 1, 0) == 1 && (out.revents & POLLOUT) &&
        write (STDERR_FILENO, line, strlen (line)) == -1)
        _exit (status);
    _exit (status);
}

//  SIGALRM: being delivered is what it is for, until the time for an orderly end is over
static void s_on_timer (int signal)
{
    (void) signal;
    int keep = errno;
    struct timespec now;
    clock_gettime (CLOCK_MONOTONIC, &now);
    long ms = (long) (now.tv_sec - stop_since.tv_sec) * 1000 +
              (now.tv_nsec - stop_since.tv_nsec) / 1000000;
    if (stop_asked && ms >= STOP_FORCED_MS)
        stop_now ("stopped by a signal, and ended by force after 1000 ms\n", STOP_FORCED);
    errno = keep;
}

//  CZMQ's own exit handler runs after this one, and waits for the last messages. A signal that
//  comes from now on ends that as well.
static void s_on_exit (void)
{
    if (zsys_interrupted)
        s_set_timer (STOP_LINGER_MS);
}

void stop_catch_signals (void)
{
    zsys_init ();  //  Installs CZMQ's handlers, which the next line replaces
    zsys_handler_set (s_on_signal);
    struct sigaction action = {.sa_handler = s_on_timer};  //  No SA_RESTART: calls get EINTR
    sigaction (SIGALRM, &action, NULL);
    atexit (s_on_exit);
    if (zsys_interrupted)  //  A signal that CZMQ's own handler has caught, a moment ago
        s_on_signal (SIGINT);
}
