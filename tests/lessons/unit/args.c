//  SPDX-License-Identifier: MIT
//  args.c - unit tests of common/args.h. Each command line is read in a child: a wrong one ends it.

#include "args.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static const char *text;
static int number, least;
static double decimal;
static bool flag;
static uint64_t range[2];

static void s_read (char *line)
{
    char *argv[20] = {"path/to/program"};
    int argc = 1;
    for (char *word = line; *line; word = line) {  //  Words are separated by one '|'
        line += strcspn (line, "|");
        if (*line)
            *line++ = 0;
        argv[argc++] = word;
    }
    args_read (argc, argv, "tests options",
               (arg_t[]){{"text", "some text", .text = &text},
                         {"number", "up to 65535", .number = &number, .max = 65535},
                         {"least", "from 2 on", .number = &least, .min = 2},
                         {"decimal", "seconds", .decimal = &decimal, .max = 10},
                         {"flag", "yes", .flag = &flag},
                         {"range", "numbers", .range = range},
                         {0}});
}

//  A child process reads this command line and prints the values. Its output must be `printed`, and
//  its exit status `status`. If that is 2, the child prints one line, which must contain `printed`.
static void s_plays (const char *line, int status, const char *printed)
{
    int ends[2], ended;
    assert_int_equal (pipe (ends), 0);
    fflush (NULL);
    pid_t child = fork ();
    assert_int_not_equal (child, -1);
    if (child == 0) {
        dup2 (ends[1], STDOUT_FILENO);
        dup2 (ends[1], STDERR_FILENO);
        text = "word", number = 1, least = 2, decimal = 1.5, flag = false;
        range[0] = range[1] = 0;
        char copy[200];
        snprintf (copy, sizeof copy, "%s", line);
        s_read (copy);
        printf ("%s %d %d %g %d %" PRIu64 "-%" PRIu64 "\n", text, number, least, decimal, flag,
                range[0], range[1]);
        fflush (stdout);
        _exit (0);
    }
    close (ends[1]);
    char got[1000] = "";
    for (ssize_t size = 0, more; size < 999; size += more)
        if ((more = read (ends[0], got + size, 999 - (size_t) size)) <= 0)
            break;
    close (ends[0]);
    assert_int_equal (waitpid (child, &ended, 0), child);
    bool right = status == 2 ? strncmp (got, "program: ", 9) == 0 && strstr (got, printed) &&
                                   strchr (got, '\n') == got + strlen (got) - 1
                             : strcmp (got, printed) == 0;
    if (!right || !WIFEXITED (ended) || WEXITSTATUS (ended) != status)
        fail_msg ("%s: status %d: %s", line, ended, got);
}

static void test_values (void **state)
{
    static const char *const cases[][2] = {
        {"", "word 1 2 1.5 0 0-0\n"},
        {"--text|x y|--number|7|--least|2147483647|--decimal|0.25|--flag|--range|3-6",
         "x y 7 2147483647 0.25 1 3-6\n"},
        {"--text=|--number=65535|--decimal=10|--range=0-18446744073709551614",
         " 65535 2 10 0 0-18446744073709551614\n"},
        {"--number|1|--number|0|--decimal|2", "word 0 2 2 0 0-0\n"},  //  The last one counts
        {"--num=5", "word 5 2 1.5 0 0-0\n"},
        {"--text=--flag", "--flag 1 2 1.5 0 0-0\n"},
        {"--text=|--help", "program - tests options\n\n"
                           "  --help               show this\n"
                           "  --text               some text (default \"\")\n"
                           "  --number             up to 65535 (default 1)\n"
                           "  --least              from 2 on (default 2)\n"
                           "  --decimal            seconds (default 1.5)\n"
                           "  --flag               yes\n"
                           "  --range              numbers\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        s_plays (cases[i][0], 0, cases[i][1]);
}

static void test_wrong (void **state)
{
    static const char *const wrong[][2] = {
        {"--nothing", "--nothing"},
        {"--nothing=1", "--nothing"},
        {"-q", "q"},
        {"extra", "extra"},
        {"--flag=1", "--flag"},
        {"--text", "--text"},
        {"--number=", "program: --number: "},
        {"--decimal=", "program: --decimal: "},
        {"--range=", "program: --range: "},
        {"--least=1", "program: --least: 1 is not a number from 2 to 2147483647"},
        {"--least=2147483648", "program: --least: "},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        s_plays (wrong[i][0], 2, wrong[i][1]);
    char values[][150] = {
        "number,x,1x,1.5,1e3,-1,+1, 1,0x10,65536,999999999999999999999999999",
        "decimal,x,-1,+1,1e3,1.2.3,.,nan,inf,0x1p1, 1,10.001",
        "range,3,3-,-6,6-3,a-b,3-6-9,3..6,-1-3,3--6, 3-6,3- 6,3-6x,0,+3-6",
        "range,3-18446744073709551615,3-99999999999999999999",
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char line[100], what[30];
        char *option = strtok (values[i], ",");
        snprintf (what, sizeof what, "program: --%s: ", option);
        for (char *value = strtok (NULL, ","); value; value = strtok (NULL, ",")) {
            snprintf (line, sizeof line, "--%s=%s", option, value);
            s_plays (line, 2, what);
        }
    }
}

//  A child that has read its options and gets these signals, one when the one before has been
//  handled
static int s_signalled (int first, int second)
{
    int ends[2], status;
    assert_int_equal (pipe (ends), 0);
    pid_t child = fork ();
    assert_int_not_equal (child, -1);
    if (child == 0) {
        char line[] = "";
        s_read (line);
        for (int i = 0; i < 2; i++) {
            char told = zsys_interrupted == i ? "ri"[i] : '?';
            if (write (ends[1], &told, 1) != 1)
                _exit (9);
            zmq_poll (NULL, 0, 60000);  //  The first signal interrupts it, and SIGALRM soon after
        }
        if (second == 0)
            _exit (7);
        for (int i = 0; i < 60; i++)
            zmq_poll (NULL, 0, 1000);
        _exit (8);
    }
    close (ends[1]);
    char got = 0;
    assert_int_equal (read (ends[0], &got, 1), 1);
    assert_int_equal (got, 'r');
    kill (child, first);
    assert_int_equal (read (ends[0], &got, 1), 1);
    assert_int_equal (got, 'i');
    if (second)
        kill (child, second);
    close (ends[0]);
    assert_int_equal (waitpid (child, &status, 0), child);
    return status;
}

static void test_signals (void **state)
{
    int status = s_signalled (SIGINT, 0);
    assert_true (WIFEXITED (status) && WEXITSTATUS (status) == 7);
    status = s_signalled (SIGTERM, SIGINT);
    assert_true (WIFSIGNALED (status) && WTERMSIG (status) == SIGINT);
    status = s_signalled (SIGINT, SIGTERM);
    assert_true (WIFSIGNALED (status) && WTERMSIG (status) == SIGTERM);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_values),
        cmocka_unit_test (test_wrong),
        cmocka_unit_test (test_signals),
    };
    return cmocka_run_group_tests_name ("args.h", tests, NULL, NULL);
}
