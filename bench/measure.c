//  SPDX-License-Identifier: MIT
//  measure.c - runs a program and writes down what it has cost
//
//  Writes one line to FILE when the program has ended: seconds of CPU, user's and system's, and
//  kilobytes of memory at its peak. They come from wait4. It ends with the status of the program.
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
    fprintf (out, "%.6f %ld\n", s_seconds (usage.ru_utime) + s_seconds (usage.ru_stime),
             usage.ru_maxrss);
    return fclose (out) == 0 ? status : EXIT_FAILURE;
}
