//  SPDX-License-Identifier: MIT

#include "trap.h"
#include "lib/stop.h"

#include <signal.h>
#include <stdarg.h>

static int s_shown, s_cured, s_missing;
static char s_folder[] = "/tmp/trap-XXXXXX", s_endpoint[sizeof "ipc://" + sizeof s_folder + 8];

//  The time is up. As if somebody had sent a SIGTERM, which stop.h has its way with: it sets
//  zsys_interrupted, and comes back here every few ms for whatever waits next.
static void s_on_alarm (int signal)
{
    (void) signal;
    raise (SIGTERM);
}

static void s_remove_folder (void)
{
    if (!*s_endpoint)
        return;
    unlink (s_endpoint + strlen ("ipc://"));  //  libzmq leaves it there, if it was bound at all
    if (rmdir (s_folder) == -1)
        warn_line ("cannot remove %s: %s", s_folder, strerror (errno));
}

const char *trap_ipc (void)
{
    if (!*s_endpoint) {
        if (!mkdtemp (s_folder)) {
            warn_line ("cannot make %s: %s", s_folder, strerror (errno));
            exit (EXIT_FAILURE);
        }
        snprintf (s_endpoint, sizeof s_endpoint, "ipc://%s/socket", s_folder);
    }
    return s_endpoint;
}

void trap_begin (int argc, char **argv, const char *name, const char *purpose)
{
    setvbuf (stdout, NULL, _IOLBF, 0);
    log_check_stdout ();
    log_program = name;
    for (int i = 1; i < argc; i++)
        if (streq (argv[i], "--help")) {
            printf ("%s - %s\n\nUsage: %s\n\n  --help    print this text\n\n"
                    "Exit status: 0 the trap and its cure were both seen, 1 one of them was not,\n"
                    "2 wrong usage.\n\nExample:\n  build/traps/%s\n",
                    name, purpose, name, name);
            exit (EXIT_SUCCESS);
        }
    if (argc > 1) {
        warn_line ("'%s': it takes no argument but --help", argv[1]);
        exit (2);
    }
    s_shown = s_cured = s_missing = 0;
    atexit (s_remove_folder);  //  Before CZMQ's own, so it runs after that: no socket is left
    stop_catch_signals ();
    struct sigaction action = {.sa_handler = s_on_alarm};  //  No SA_RESTART: calls get EINTR
    sigaction (SIGALRM, &action, NULL);
    alarm (TRAP_SECONDS);
}

static void s_tell (bool happened, const char *what, const char *format, va_list args)
{
    char *line = zsys_vprintf (format, args);
    if (!line)
        line = strdup (format);
    if (happened) {
        print_line ("%s: %s", what, line);
    } else {
        s_missing++;
        warn_line ("%s not seen: %s", what, line);
    }
    zstr_free (&line);
}

void trap_shown (bool happened, const char *format, ...)
{
    s_shown++;
    va_list args;
    va_start (args, format);
    s_tell (happened, "trap", format, args);
    va_end (args);
}

void trap_cured (bool happened, const char *format, ...)
{
    s_cured++;
    va_list args;
    va_start (args, format);
    s_tell (happened, "cure", format, args);
    va_end (args);
}

int trap_end (const char *why, const char *and_more)
{
    alarm (0);
    if (zsys_interrupted)
        warn_line ("stopped, or not done in %d s", TRAP_SECONDS);
    if (s_shown == 0)
        warn_line ("no trap was shown");
    if (s_cured == 0)
        warn_line ("no cure was shown");
    if (zsys_interrupted || s_missing > 0 || s_shown == 0 || s_cured == 0)
        return EXIT_FAILURE;
    print_line ("why:  %s", why);
    print_line ("      %s", and_more);
    return EXIT_SUCCESS;
}
