//  SPDX-License-Identifier: MIT

#include "hear.h"

#include "traps/trap.h"

#include <signal.h>

//  What a program of traps/ does, and what is heard of it
typedef struct {
    const char *what;
    char shown, cured[3];  //  's' it is seen, 'n' it is not; 0: not looked for
    enum { RUNS, STOPPED, TOO_LONG, ARGUMENT } how;
    int status;
    const char *said, *complained;
} case_t;

static const case_t *run;

static void s_program (void)
{
    char name[] = "trap", argument[] = "--quiet";
    char *argv[] = {name, argument, NULL};
    trap_begin (run->how == ARGUMENT ? 2 : 1, argv, "a_trap", "what it is about");
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
    for (size_t i = 0; run->cured[i]; i++)
        trap_cured (run->cured[i] == 's', "seen %s", i == 0 ? "too" : "last");
    if (run->how == STOPPED)
        raise (SIGTERM);
    exit (trap_end ("this is", "why"));
}

static void test_programs (void **state)
{
#define BOTH "trap: seen 1\ncure: seen too\n"
#define LATE "a_trap: stopped, or not done in 20 s\n"
    static const case_t cases[] = {
        {"both", 's', "s", RUNS, 0, BOTH "why:  this is\n      why\n", ""},
        {"no trap", 'n', "s", RUNS, 1, "cure: seen too\n", "a_trap: trap not seen: seen 1\n"},
        {"no cure", 's', "ns", RUNS, 1, "trap: seen 1\ncure: seen last\n",
         "a_trap: cure not seen: seen too\n"},
        {"only the trap", 's', "", RUNS, 1, "trap: seen 1\n", "a_trap: no cure was shown\n"},
        {"only the cure", 0, "s", RUNS, 1, "cure: seen too\n", "a_trap: no trap was shown\n"},
        {"stopped", 's', "s", STOPPED, 1, BOTH, LATE},
        {"too long", 's', "s", TOO_LONG, 1, BOTH, LATE},
        {"an argument", 0, "", ARGUMENT, 2, "",
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
