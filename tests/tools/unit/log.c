//  SPDX-License-Identifier: MIT

#include "hear.h"
#include "lib/log.h"

static int s_setup (void **state)
{
    log_program = "program";
    log_level = LOG_LINES;
    log_out = NULL;
    return 0;
}

//  Each way to print a text, and what becomes of bytes that a peer may have sent to forge a line or
//  to command the terminal
static void test_lines (void **state)
{
    static const struct {
        log_level_t level;
        const char *text, *said, *complained;
    } cases[] = {
        {LOG_LINES, "ping", "ping 1\nprogram: ping 2\nping 3\n", "program: ping 4\n"},
        {LOG_QUIET, "ping", "program: ping 2\nping 3\n", "program: ping 4\n"},
        {LOG_QUIET, "a\nb\r\x1b[2J\x07\x7f\t\xe4\xbd\xa0 %s",
         "program: a?b??[2J???\xe4\xbd\xa0 %s 2\na?b??[2J???\xe4\xbd\xa0 %s 3\n",
         "program: a?b??[2J???\xe4\xbd\xa0 %s 4\n"},
        //  What is not UTF-8, and C1, which some terminals obey as they do ESC
        {LOG_QUIET, "a\xff\x80z \xc2\x9b\xc2\x80\xc2\x9f\xc2\xa0 \xed\xa0\x80 \xe4\xbd",
         "program: a??z ???\xc2\xa0 ??? ?? 2\na??z ???\xc2\xa0 ??? ?? 3\n",
         "program: a??z ???\xc2\xa0 ??? ?? 4\n"},
        {LOG_QUIET, "\xf0\x9f\x98\x80", "program: \xf0\x9f\x98\x80 2\n\xf0\x9f\x98\x80 3\n",
         "program: \xf0\x9f\x98\x80 4\n"},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        log_level = cases[i].level;
        hear_begin ();
        print_line ("%s %d", cases[i].text, 1);
        print_summary ("%s %d", cases[i].text, 2);
        print_result ("%s %d", cases[i].text, 3);
        warn_line ("%s %d", cases[i].text, 4);
        hear_end ();
        assert_string_equal (said, cases[i].said);
        assert_string_equal (complained, cases[i].complained);
    }
    //  A long one is whole
    char text[5001] = "";
    memset (text, 'x', 5000);
    hear_begin ();
    print_result ("%s", text);
    warn_line ("%s", text);
    hear_end ();
    assert_int_equal (strlen (said), 5001);
    assert_int_equal (strlen (complained), 9 + 5001);
}

//  With log_out set, all that goes to stdout goes there instead, and errors do not
static void test_out (void **state)
{
    char *elsewhere = NULL;
    size_t size;
    zsock_t *socket = zsock_new (ZMQ_REP);
    int bound = zsock_bind (socket, "tcp://127.0.0.1:*");
    hear_begin ();
    log_out = open_memstream (&elsewhere, &size);
    print_line ("line");
    print_summary ("summary");
    print_result ("result");
    warn_line ("complaint");
    (void) log_bound (socket, "tcp://127.0.0.1:*", bound);
    fclose (log_out);
    hear_end ();
    zsock_destroy (&socket);
    char want[100];
    snprintf (want, sizeof want,
              "line\nprogram: summary\nresult\nprogram: listening on tcp://127.0.0.1:%d\n", bound);
    unit_is (elsewhere, want);
    assert_string_equal (said, "");
    assert_string_equal (complained, "program: complaint\n");
}

static void test_listening (void **state)
{
    log_level = LOG_QUIET;
    zsock_t *socket = zsock_new (ZMQ_REP), *late = zsock_new (ZMQ_REP);
    int bound = zsock_bind (socket, "tcp://127.0.0.1:*");
    assert_int_not_equal (bound, -1);
    char endpoint[40], want[200];
    snprintf (endpoint, sizeof endpoint, "tcp://127.0.0.1:%d", bound);
    hear_begin ();
    bool good = log_bound (socket, "tcp://127.0.0.1:*", bound);
    //  Somebody is there already
    bool taken = log_bound (late, endpoint, zsock_bind (late, "%s", endpoint));
    //  A name where an address is wanted. No real bind: it would ask the resolver, which may have
    //  nobody to ask.
    errno = ENODEV;
    bool named = log_bound (late, "tcp://no-such-thing:*", -1);
    hear_end ();
    zsock_destroy (&late);
    zsock_destroy (&socket);
    assert_true (good && !taken && !named);
    snprintf (want, sizeof want, "program: listening on %s\n", endpoint);
    assert_string_equal (said, want);
    snprintf (want, sizeof want,
              "program: cannot listen on %s: Address already in use\n"
              "program: cannot listen on tcp://no-such-thing:*: No such device "
              "(an address or an interface is wanted)\n",
              endpoint);
    assert_string_equal (complained, want);
}

static void test_connecting (void **state)
{
    static const struct {
        int connected;
        int interrupted;
        const char *complaint;
    } cases[] = {
        {0, 0, ""},
        {-1, 0, "program: cannot connect to tcp://x:1: Connection refused\n"},
        {-1, 1, ""},  //  A Ctrl-C is no failure
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        zsys_interrupted = cases[i].interrupted;
        hear_begin ();
        errno = ECONNREFUSED;
        bool good = log_connected ("tcp://x:1", cases[i].connected);
        hear_end ();
        zsys_interrupted = 0;
        assert_int_equal (good, cases[i].connected == 0);
        assert_string_equal (complained, cases[i].complaint);
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup (test_lines, s_setup),
        cmocka_unit_test_setup (test_out, s_setup),
        cmocka_unit_test_setup (test_listening, s_setup),
        cmocka_unit_test_setup (test_connecting, s_setup),
    };
    return cmocka_run_group_tests_name ("log", tests, NULL, hear_teardown);
}
