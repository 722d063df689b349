//  SPDX-License-Identifier: MIT

#include "lib/stop.h"

#include <czmq.h>
#include <signal.h>
#include <sys/time.h>

//  Short against the second in which a program has to stop
#define STOP_AGAIN_MS 50

//  What the last messages get to leave; with it, too, the second is kept
#define STOP_LINGER_MS 500

//  Interrupts whatever blocks, in first_ms and from then on again and again; 0: not any more
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
    s_set_timer (STOP_AGAIN_MS);
    errno = keep;
}

//  SIGALRM: being delivered is all that it is for
static void s_on_timer (int signal)
{
    (void) signal;
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
        s_set_timer (STOP_AGAIN_MS);
}
