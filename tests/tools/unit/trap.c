//  SPDX-License-Identifier: MIT

#include "hear.h"

#include "traps/trap.h"

#include <signal.h>

//  What a program of traps/ does, and what is heard of it
typedef struct {
    const char *what;
    const char *arguments[2];
    char shown, cured[2];  //  's' it is seen, 'n' it is not; 0: not looked for
    enum { RUNS, STOPPED, TOO_LONG } how;
    int status;
    const char *said, *complained;
} case_t;

static const case_t *run;

static void s_program (void)
{
    char words[3][10] = {"trap"};
    char *argv[4] = {words[0]};
    int argc = 1;
    for (; argc < 3 && run->arguments[argc - 1]; argc++) {
        snprintf (words[argc], sizeof words[argc], "%s", run->arguments[argc - 1]);
        argv[argc] = words[argc];
    }
    trap_begin (argc, argv, "a_trap", "what it is about");
    if (run->how == TOO_LONG) {
        //  The time is up, and not only the wait that it interrupts comes to an end
        alarm (1);
        zsock_t *pull = zsock_new_pull ("@inproc://nobody");
        if (zstr_recv (pull) || zstr_recv (pull))
            exit (99);
        zsock_destroy (&pull);
    }
    if (run->shown)
        trap_shown (run->shown == 's', "seen %d", 1);
    for (size_t i = 0; i < 2 && run->cured[i]; i++)
        trap_cured (run->cured[i] == 's', "seen %s", i == 0 ? "too" : "last");
    if (run->how == STOPPED)
        raise (SIGTERM);
    exit (trap_end ("this is", "why"));
}

static void test_programs (void **state)
{
#define HELP                                                                                       \
    "a_trap - what it is about\n\n"                                                                \
    "Usage: a_trap\n\n"                                                                            \
    "  --help    print this text\n\n"                                                              \
    "Exit status: 0 the trap and its cure were both seen, 1 one of them was not,\n"                \
    "2 wrong usage.\n\n"                                                                           \
    "Example:\n"                                                                                   \
    "  build/traps/a_trap\n"
#define BOTH "trap: seen 1\ncure: seen too\n"
#define LATE "a_trap: stopped, or not done in 20 s\n"
    static const case_t cases[] = {
        {"both", {NULL}, 's', "s", RUNS, 0, BOTH "why:  this is\n      why\n", ""},
        {"no trap",
         {NULL},
         'n',
         "s",
         RUNS,
         1,
         "cure: seen too\n",
         "a_trap: trap not seen: seen 1\n"},
        {"no cure",
         {NULL},
         's',
         {'n', 's'},
         RUNS,
         1,
         "trap: seen 1\ncure: seen last\n",
         "a_trap: cure not seen: seen too\n"},
        {"only the trap",
         {NULL},
         's',
         "",
         RUNS,
         1,
         "trap: seen 1\n",
         "a_trap: no cure was shown\n"},
        {"only the cure",
         {NULL},
         0,
         "s",
         RUNS,
         1,
         "cure: seen too\n",
         "a_trap: no trap was shown\n"},
        {"stopped", {NULL}, 's', "s", STOPPED, 1, BOTH, LATE},
        {"too long", {NULL}, 's', "s", TOO_LONG, 1, BOTH, LATE},
        {"help", {"--help"}, 0, "", RUNS, 0, HELP, ""},
        //  --help is looked for first, as in all programs
        {"help behind another", {"x", "--help"}, 0, "", RUNS, 0, HELP, ""},
        {"unknown",
         {"--quiet"},
         0,
         "",
         RUNS,
         2,
         "",
         "a_trap: '--quiet': it takes no argument but --help\n"},
    };
    for (run = cases; run < cases + COUNT (cases); run++) {
        hear_begin ();
        int status = unit_in_child (s_program);
        hear_end ();
        if (status != run->status || strcmp (said, run->said) != 0 ||
            strcmp (complained, run->complained) != 0)
            fail_msg ("%s: %d\n%s%s", run->what, status, said, complained);
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test (test_programs)};
    return cmocka_run_group_tests_name ("trap", tests, NULL, hear_teardown);
}
