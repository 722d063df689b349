//  SPDX-License-Identifier: MIT

#include "hear.h"
#include "lib/log.h"

static int s_setup (void **state)
{
    log_program = "program";
    return 0;
}

static void s_print (const char *text)
{
    print_line ("%s %d", text, 1);
    print_summary ("%s %d", text, 2);
    print_result ("%s %d", text, 3);
    warn_line ("%s %d", text, 4);
}

//  Each way to print a text, and what becomes of bytes that a peer may have sent to forge a line or
//  to command the terminal. With log_out set, all that goes to stdout goes there instead.
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
        //  Bytes that are not UTF-8, and the C1 controls, which some terminals obey like ESC
        {LOG_QUIET, "a\xff\x80z \xc2\x9b\xc2\x80\xc2\x9f\xc2\xa0 \xed\xa0\x80 \xe4\xbd",
         "program: a??z ???\xc2\xa0 ??? ?? 2\na??z ???\xc2\xa0 ??? ?? 3\n",
         "program: a??z ???\xc2\xa0 ??? ?? 4\n"},
        {LOG_QUIET, "\xf0\x9f\x98\x80", "program: \xf0\x9f\x98\x80 2\n\xf0\x9f\x98\x80 3\n",
         "program: \xf0\x9f\x98\x80 4\n"},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        char *elsewhere = NULL;
        size_t size;
        log_level = cases[i].level;
        hear_begin ();
        s_print (cases[i].text);
        hear_end ();
        assert_string_equal (said, cases[i].said);
        assert_string_equal (complained, cases[i].complained);
        hear_begin ();
        log_out = open_memstream (&elsewhere, &size);
        s_print (cases[i].text);
        fclose (log_out);
        log_out = NULL;
        hear_end ();
        unit_is (elsewhere, cases[i].said);
        assert_string_equal (said, "");
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

//  What is printed of a bind and a connect that have failed, and of a bind that has not, even with
//  --quiet
static void test_sockets (void **state)
{
    static const struct {
        bool bind;
        int error, interrupted;
        const char *complaint;
    } cases[] = {
        {true, EADDRINUSE, 0, "program: cannot listen on tcp://x:1: Address already in use\n"},
        {true, ENODEV, 0,
         "program: cannot listen on tcp://x:1: No such device "
         "(an address or an interface is wanted)\n"},
        {false, ECONNREFUSED, 0, "program: cannot connect to tcp://x:1: Connection refused\n"},
        {false, ECONNREFUSED, 1, ""},  //  A Ctrl-C is no failure
    };
    log_level = LOG_QUIET;
    zsock_t *socket = zsock_new (ZMQ_REP);
    for (size_t i = 0; i < COUNT (cases); i++) {
        zsys_interrupted = cases[i].interrupted;
        hear_begin ();
        errno = cases[i].error;
        bool good =
            cases[i].bind ? log_bound (socket, "tcp://x:1", -1) : log_connected ("tcp://x:1", -1);
        hear_end ();
        zsys_interrupted = 0;
        assert_false (good);
        assert_string_equal (said, "");
        assert_string_equal (complained, cases[i].complaint);
    }
    int bound = zsock_bind (socket, "tcp://127.0.0.1:*");
    hear_begin ();
    bool good = log_bound (socket, "tcp://127.0.0.1:*", bound) && log_connected ("tcp://x:1", 0);
    hear_end ();
    zsock_destroy (&socket);
    char want[100];
    snprintf (want, sizeof want, "program: listening on tcp://127.0.0.1:%d\n", bound);
    assert_true (good);
    assert_string_equal (said, want);
    assert_string_equal (complained, "");
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_lines),
        cmocka_unit_test (test_sockets),
    };
    return cmocka_run_group_tests_name ("log", tests, s_setup, hear_teardown);
}
