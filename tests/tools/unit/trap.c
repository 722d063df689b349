//  SPDX-License-Identifier: MIT

#include "unit.h"

#include "traps/trap.h"

#include <signal.h>

//  What a program prints
static capture_t out, err;

static void s_begin (void)
{
    char name[] = "trap";
    char *argv[] = {name, NULL};
    trap_begin (1, argv, "a_trap", "what it is about");
}

static void s_both (void)
{
    s_begin ();
    trap_shown (true, "seen %d", 1);
    trap_cured (true, "seen %s", "too");
    exit (trap_end ("this is", "why"));
}

static void s_no_trap (void)
{
    s_begin ();
    trap_shown (false, "seen %d", 1);
    trap_cured (true, "seen too");
    exit (trap_end ("this is", "why"));
}

static void s_no_cure (void)
{
    s_begin ();
    trap_shown (true, "seen 1");
    trap_cured (false, "seen too");
    trap_cured (true, "seen last");
    exit (trap_end ("this is", "why"));
}

static void s_only_trap (void)
{
    s_begin ();
    trap_shown (true, "seen 1");
    exit (trap_end ("this is", "why"));
}

static void s_only_cure (void)
{
    s_begin ();
    trap_cured (true, "seen too");
    exit (trap_end ("this is", "why"));
}

static void s_stopped (void)
{
    s_begin ();
    trap_shown (true, "seen 1");
    trap_cured (true, "seen too");
    raise (SIGTERM);
    exit (trap_end ("this is", "why"));
}

//  The time is up, and not only the wait that it interrupts comes to an end
static void s_too_long (void)
{
    s_begin ();
    alarm (1);
    zsock_t *pull = zsock_new_pull ("@inproc://nobody");
    char *first = zstr_recv (pull), *second = zstr_recv (pull);
    zsock_destroy (&pull);
    trap_shown (!first && !second, "seen 1");
    trap_cured (true, "seen too");
    exit (trap_end ("this is", "why"));
}

static void s_argument (char *argument)
{
    char name[] = "trap";
    char *argv[] = {name, argument, NULL};
    trap_begin (2, argv, "a_trap", "what it is about");
}

static void s_help (void)
{
    char argument[] = "--help";
    s_argument (argument);
}

static void s_unknown (void)
{
    char argument[] = "--quiet";
    s_argument (argument);
}

//  --help is looked for first, as in all programs
static void s_help_behind (void)
{
    char name[] = "trap", other[] = "x", help[] = "--help";
    char *argv[] = {name, other, help, NULL};
    trap_begin (3, argv, "a_trap", "what it is about");
}

static void s_runs (void (*body) (void), int status, const char *want_out, const char *want_err)
{
    out = unit_catch (stdout);
    err = unit_catch (stderr);
    int got = unit_in_child (body);
    char *err_text = unit_caught (&err), *out_text = unit_caught (&out);
    assert_string_equal (err_text, want_err);
    assert_string_equal (out_text, want_out);
    assert_int_equal (got, status);
    free (err_text);
    free (out_text);
}

static void test_verdicts (void **state)
{
    s_runs (s_both, 0, "trap: seen 1\ncure: seen too\nwhy:  this is\n      why\n", "");
    s_runs (s_no_trap, 1, "cure: seen too\n", "a_trap: trap not seen: seen 1\n");
    s_runs (s_no_cure, 1, "trap: seen 1\ncure: seen last\n", "a_trap: cure not seen: seen too\n");
    s_runs (s_only_trap, 1, "trap: seen 1\n", "a_trap: no cure was shown\n");
    s_runs (s_only_cure, 1, "cure: seen too\n", "a_trap: no trap was shown\n");
}

static void test_stopped (void **state)
{
    const char *seen = "trap: seen 1\ncure: seen too\n";
    s_runs (s_stopped, 1, seen, "a_trap: stopped, or not done in 20 s\n");
    s_runs (s_too_long, 1, seen, "a_trap: stopped, or not done in 20 s\n");
}

static void test_arguments (void **state)
{
    const char *help =
        "a_trap - what it is about\n\n"
        "Usage: a_trap\n\n"
        "  --help    print this text\n\n"
        "Exit status: 0 the trap and its cure were both seen, 1 one of them was not,\n"
        "2 wrong usage.\n\n"
        "Example:\n"
        "  build/traps/a_trap\n";
    s_runs (s_help, 0, help, "");
    s_runs (s_help_behind, 0, help, "");
    s_runs (s_unknown, 2, "", "a_trap: '--quiet': it takes no argument but --help\n");
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_verdicts),
        cmocka_unit_test (test_stopped),
        cmocka_unit_test (test_arguments),
    };
    return cmocka_run_group_tests_name ("trap", tests, NULL, NULL);
}
