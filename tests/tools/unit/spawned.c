//  SPDX-License-Identifier: MIT

#include "unit.h"

#include "engine/spawned.h"

#include <dirent.h>
#include <poll.h>
#include <spawn.h>

//  For what has to happen, ms; for what must not
#define LONG 20000
#define SHORT 50

static bool s_readable (int sentinel, int timeout)
{
    struct pollfd item = {.fd = sentinel, .events = POLLIN};
    return poll (&item, 1, timeout) == 1 && (item.revents & (POLLIN | POLLHUP));
}

//  Starts a shell that does this, with the arguments "a b" and ""
static int s_shell (spawned_t *self, const char *script)
{
    char *argv[] = {"/bin/sh", "-c", (char *) script, "a b", "", NULL};
    int sentinel = spawned_start (self, argv);
    assert_true (sentinel >= 0);
    return sentinel;
}

static void s_has_ended (spawned_t *self, size_t i, const char *want)
{
    char *ending = spawned_ending (self, i);
    assert_string_equal (ending, want);
    zstr_free (&ending);
}

//  Starts a shell that does this once `*gate` is closed, which is the caller's: the other end of
//  its stdin
static int s_shell_behind (spawned_t *self, int *gate, const char *then)
{
    int ends[2], saved = fcntl (STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
    assert_int_equal (pipe (ends), 0);
    fcntl (ends[1], F_SETFD, FD_CLOEXEC);  //  No child is to hold it
    dup2 (ends[0], STDIN_FILENO);
    close (ends[0]);
    char script[80];
    snprintf (script, sizeof script, "read line; %s", then);
    int sentinel = s_shell (self, script);
    dup2 (saved, STDIN_FILENO);
    close (saved);
    *gate = ends[1];
    return sentinel;
}

//  Open descriptors of this process
static size_t s_descriptors (void)
{
    DIR *list = opendir ("/proc/self/fd");
    if (!list)
        list = opendir ("/dev/fd");
    assert_non_null (list);
    size_t count = 0;
    while (readdir (list))
        count++;
    closedir (list);
    return count;
}

static void test_endings (void **state)
{
    static const struct {
        const char *script, *ending;
    } cases[] = {
        {"exit 0", "exit status 0"},
        {"exit 1", "exit status 1"},
        {"exit 255", "exit status 255"},
        {"kill -9 $$", "signal 9"},
        {"kill -15 $$", "signal 15"},
        {"test \"$0\" = 'a b' && test \"$1\" = '' && test $# = 1", "exit status 0"},
    };
    spawned_t *self = spawned_new (COUNT (cases));
    for (size_t i = 0; i < COUNT (cases); i++)
        assert_true (s_readable (s_shell (self, cases[i].script), LONG));
    for (size_t i = COUNT (cases); i-- > 0;)
        for (int twice = 0; twice < 2; twice++)
            s_has_ended (self, i, cases[i].ending);
    spawned_destroy (&self);
}

//  A child has its own end as 3, and nothing else of the pairs
static void test_descriptors (void **state)
{
    if (access ("/proc/self/fd", R_OK) != 0)
        skip ();
    //  As many sockets as any program has that is started from here
    static const char count[] =
        "n=0; for fd in /proc/self/fd/*; do test ${fd##*/} -gt 3 && test -S $fd && n=$((n+1)); "
        "done; exit $n";
    int status = system (count);
    assert_true (WIFEXITED (status));
    char want[30];
    snprintf (want, sizeof want, "exit status %d", WEXITSTATUS (status));
    spawned_t *self = spawned_new (3);
    s_shell (self, count);
    s_shell (self, "test -S /proc/self/fd/3");
    s_shell (self, count);
    s_has_ended (self, 0, want);
    s_has_ended (self, 1, "exit status 0");
    s_has_ended (self, 2, want);
    spawned_destroy (&self);
}

//  A sentinel is of one child: that another lives on does not keep it open. To ask for the end of a
//  child that runs waits for it.
static void test_one_of_several (void **state)
{
    for (size_t victim = 0; victim < 3; victim++) {
        spawned_t *self = spawned_new (3);
        int sentinels[3], gates[3];
        for (size_t i = 0; i < 3; i++)
            sentinels[i] = s_shell_behind (self, &gates[i], "kill -9 $$");
        close (gates[victim]);
        s_has_ended (self, victim, "signal 9");
        assert_true (s_readable (sentinels[victim], 0));
        for (size_t i = 0; i < 3; i++)
            if (i != victim) {
                assert_false (s_readable (sentinels[i], SHORT));
                close (gates[i]);
            }
        spawned_destroy (&self);
    }
}

static void test_no_program (void **state)
{
    char *missing[] = {"/no/such/program", NULL}, *directory[] = {"/", NULL};
    //  valgrind makes a fork of what posix_spawn does, and then only the child learns what failed
    pid_t pid;
    if (posix_spawn (&pid, missing[0], NULL, NULL, missing, NULL) == 0) {
        waitpid (pid, NULL, 0);
        skip ();
    }
    size_t before = s_descriptors ();
    spawned_t *self = spawned_new (1);
    errno = 0;
    assert_int_equal (spawned_start (self, missing), -1);
    assert_int_equal (errno, ENOENT);
    assert_int_equal (spawned_start (self, directory), -1);
    assert_int_equal (errno, EACCES);
    assert_int_equal (s_descriptors (), before);
    //  It was not one of them: there is room, and the next is the first
    s_shell (self, "exit 3");
    s_has_ended (self, 0, "exit status 3");
    spawned_destroy (&self);
}

//  Those that run are ended, and nothing is left of any
static void test_destroy (void **state)
{
    size_t before = s_descriptors ();
    spawned_t *self = spawned_new (4);
    char *argv[] = {"/bin/sleep", "100", NULL};
    assert_true (spawned_start (self, argv) >= 0);
    assert_true (s_readable (s_shell (self, "exit 0"), LONG));
    assert_true (s_readable (s_shell (self, "exit 0"), LONG));
    assert_true (spawned_start (self, argv) >= 0);
    s_has_ended (self, 2, "exit status 0");
    int64_t start = zclock_mono ();
    spawned_destroy (&self);
    assert_null (self);
    assert_true (zclock_mono () - start < LONG);
    assert_int_equal (s_descriptors (), before);
    //  Nobody to wait for, neither running nor a zombie
    errno = 0;
    assert_int_equal (waitpid (-1, NULL, WNOHANG), -1);
    assert_int_equal (errno, ECHILD);
    //  None at all
    self = spawned_new (0);
    spawned_destroy (&self);
    spawned_destroy (&self);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_endings),        cmocka_unit_test (test_descriptors),
        cmocka_unit_test (test_one_of_several), cmocka_unit_test (test_no_program),
        cmocka_unit_test (test_destroy),
    };
    return cmocka_run_group_tests_name ("spawned", tests, NULL, NULL);
}
