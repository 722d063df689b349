//  SPDX-License-Identifier: MIT
//  measure.c - runs a program and writes down what it has cost
//
//  Writes one line to FILE when the program has ended: seconds from its start to its end, seconds
//  of user and of system time, kilobytes of memory at its peak, exit status. They come from wait4.
//  It is in C so that the peak is the program's: a process begins with the peak of who has started
//  it, and a Python would hide a small one.
//  Run:   build/bench/measure FILE PROGRAM [ARGUMENT...]

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile pid_t child;

//  Whoever stops us means the program
static void s_pass_on (int signal)
{
    if (child > 0)
        kill (child, signal);
}

static double s_seconds (struct timeval time)
{
    return (double) time.tv_sec + (double) time.tv_usec / 1e6;
}

static double s_now (void)
{
    struct timespec now;
    clock_gettime (CLOCK_MONOTONIC, &now);
    return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

int main (int argc, char **argv)
{
    if (argc < 3) {
        fprintf (stderr, "usage: measure FILE PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    FILE *out = fopen (argv[1], "w");
    if (!out) {
        fprintf (stderr, "measure: %s: %s\n", argv[1], strerror (errno));
        return EXIT_FAILURE;
    }
    struct sigaction action = {.sa_handler = s_pass_on, .sa_flags = SA_RESTART};
    double start = s_now ();
    child = fork ();
    if (child == 0) {
        execvp (argv[2], argv + 2);
        fprintf (stderr, "measure: %s: %s\n", argv[2], strerror (errno));
        _exit (127);
    }
    sigaction (SIGTERM, &action, NULL);
    sigaction (SIGINT, &action, NULL);
    struct rusage usage;
    int status = 0;
    if (child == -1 || wait4 (child, &status, 0, &usage) == -1) {
        fprintf (stderr, "measure: %s: %s\n", argv[2], strerror (errno));
        fclose (out);
        return EXIT_FAILURE;
    }
    status = WIFEXITED (status) ? WEXITSTATUS (status) : 128 + WTERMSIG (status);
    fprintf (out, "%.6f %.6f %.6f %ld %d\n", s_now () - start, s_seconds (usage.ru_utime),
             s_seconds (usage.ru_stime), usage.ru_maxrss, status);
    return fclose (out) == 0 ? status : EXIT_FAILURE;
}
