//  SPDX-License-Identifier: MIT

#include "stop.h"

#include <czmq.h>
#include <signal.h>
#include <sys/time.h>

//  Short against the second in which a program has to stop
#define STOP_AGAIN_MS 50

static void s_set_timer (int ms)
{
    struct timeval period = {.tv_usec = (suseconds_t) ms * 1000};
    setitimer (ITIMER_REAL, &(struct itimerval){period, period}, NULL);
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

//  CZMQ's own exit handler runs after this one and waits, up to each socket's linger, for the last
//  messages to leave. The timer must not cut that short; another Ctrl-C may.
static void s_on_exit (void)
{
    s_set_timer (0);
}

void stop_catch_signals (void)
{
    zsys_init ();  //  Installs CZMQ's handlers, which the next line replaces
    zsys_handler_set (s_on_signal);
    struct sigaction action = {.sa_handler = s_on_timer};  //  No SA_RESTART: calls get EINTR
    sigaction (SIGALRM, &action, NULL);
    atexit (s_on_exit);
}
