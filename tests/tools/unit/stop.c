//  SPDX-License-Identifier: MIT

#include "unit.h"
#include "lib/stop.h"

#include <signal.h>

//  A blocking call returns although the signal came before it: three times when nothing blocks, or
//  once when CZMQ's handler is in place and ours is not yet. The timeout ends a test that fails.
static int number;
static bool early;

static void s_missed_signal (void)
{
    zsys_init ();
    if (early)
        raise (number);
    stop_catch_signals ();
    zsock_t *socket = zsock_new_pull ("inproc://nobody");
    zsock_set_rcvtimeo (socket, 20000);
    for (int i = early ? 2 : 0; i < 3; i++) {
        if (!early) {
            zsys_interrupted = 0;
            raise (number);
        }
        int64_t before = zclock_mono ();
        char *text = zstr_recv (socket);
        if (text || !zsys_interrupted || zclock_mono () - before > 10000)
            exit (1);
    }
    zsock_destroy (&socket);
    exit (0);
}

static void test_missed_signals (void **state)
{
    for (int i = 0; i < 4; i++) {
        number = i % 2 ? SIGTERM : SIGINT;
        early = i >= 2;
        assert_int_equal (unit_in_child (s_missed_signal), 0);
    }
}

//  -- A last message for a peer that is not there yet: how long the exit waits for it

static bool interrupted;
static int linger_ms;

static void s_goodbye (void)
{
    stop_catch_signals ();
    if (interrupted)
        raise (SIGINT);
    zsock_t *socket = zsock_new (ZMQ_PUSH);
    zsock_set_linger (socket, linger_ms);
    if (zsock_connect (socket, "ipc:///tmp/nobody-is-there-%d", (int) getpid ()) == -1 ||
        zstr_send (socket, "goodbye") == -1)
        exit (1);
    zsock_destroy (&socket);
    exit (7);
}

static void test_exit (void **state)
{
    static const struct {
        bool interrupted;
        int linger_ms, least_ms, most_ms;
    } cases[] = {
        //  As long as the linger says
        {false, 800, 750, 60000},
        {true, 300, 250, 60000},
        //  But after a signal half a second at the most
        {true, 60000, 400, 20000},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        interrupted = cases[i].interrupted;
        linger_ms = cases[i].linger_ms;
        int64_t before = zclock_mono ();
        assert_int_equal (unit_in_child (s_goodbye), 7);
        int64_t after = zclock_mono () - before;
        assert_true (after >= cases[i].least_ms);
        assert_true (after <= cases[i].most_ms);
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_missed_signals),
        cmocka_unit_test (test_exit),
    };
    return cmocka_run_group_tests_name ("stop", tests, NULL, NULL);
}
