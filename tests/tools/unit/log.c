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

//  Says one text in each of the three ways
static void s_say (const char *text)
{
    hear_begin ();
    print_line ("%s %d", text, 1);
    print_summary ("%s %d", text, 2);
    warn_line ("%s %d", text, 3);
    hear_end ();
}

static void test_lines (void **state)
{
    s_say ("ping");
    assert_string_equal (said, "ping 1\nprogram: ping 2\n");
    assert_string_equal (complained, "program: ping 3\n");
    log_level = LOG_QUIET;
    s_say ("ping");
    assert_string_equal (said, "program: ping 2\n");
    assert_string_equal (complained, "program: ping 3\n");
}

//  What a peer has sent can neither forge a line nor command the terminal
static void test_control_bytes (void **state)
{
    s_say ("a\nb\r\x1b[2J\x07\x7f\t\xe4\xbd\xa0 %s");
    assert_string_equal (said, "a?b??[2J???\xe4\xbd\xa0 %s 1\n"
                               "program: a?b??[2J???\xe4\xbd\xa0 %s 2\n");
    assert_string_equal (complained, "program: a?b??[2J???\xe4\xbd\xa0 %s 3\n");
}

//  What is not UTF-8, and C1, which some terminals obey as they do ESC
static void test_not_utf8 (void **state)
{
    s_say ("a\xff\x80z \xc2\x9b\xc2\x80\xc2\x9f\xc2\xa0 \xed\xa0\x80 \xf0\x9f\x98\x80 \xe4\xbd");
    assert_string_equal (complained, "program: a??z ???\xc2\xa0 ??? \xf0\x9f\x98\x80 ?? 3\n");
}

static void test_result (void **state)
{
    log_level = LOG_QUIET;
    hear_begin ();
    print_result ("%s: %d tasks", "w\n1", 3);
    hear_end ();
    assert_string_equal (said, "w?1: 3 tasks\n");
}

static void test_long_line (void **state)
{
    char text[5001];
    memset (text, 'x', 5000);
    text[5000] = 0;
    s_say (text);
    assert_int_equal (strlen (said), 5003 + 9 + 5003);
    assert_int_equal (strlen (complained), 9 + 5003);
}

//  -- Another place than stdout

//  Says one of everything with log_out set; returns what came there, to be freed
static char *s_say_elsewhere (void)
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
    log_out = NULL;
    hear_end ();
    zsock_destroy (&socket);
    return elsewhere;
}

//  All that goes to stdout goes there instead; stdout stays as it was
static void test_out (void **state)
{
    char *elsewhere = s_say_elsewhere ();
    static const char want[] = "line\n"
                               "program: summary\n"
                               "result\n"
                               "program: listening on tcp://127.0.0.1:";
    assert_memory_equal (elsewhere, want, strlen (want));
    free (elsewhere);
    assert_string_equal (said, "");
}

//  Errors do not
static void test_out_is_not_for_errors (void **state)
{
    char *elsewhere = s_say_elsewhere ();
    assert_null (strstr (elsewhere, "complaint"));
    free (elsewhere);
    assert_string_equal (complained, "program: complaint\n");
}

//  -- Listening

static void test_listening (void **state)
{
    log_level = LOG_QUIET;
    zsock_t *socket = zsock_new (ZMQ_REP);
    int bound = zsock_bind (socket, "tcp://127.0.0.1:*");
    assert_int_not_equal (bound, -1);
    hear_begin ();
    bool good = log_bound (socket, "tcp://127.0.0.1:*", bound);
    hear_end ();
    assert_true (good);
    char line[120];
    snprintf (line, sizeof line, "program: listening on tcp://127.0.0.1:%d\n", bound);
    assert_string_equal (said, line);

    //  Somebody is there already
    zsock_t *late = zsock_new (ZMQ_REP);
    char endpoint[40];
    snprintf (endpoint, sizeof endpoint, "tcp://127.0.0.1:%d", bound);
    hear_begin ();
    good = log_bound (late, endpoint, zsock_bind (late, "%s", endpoint));
    hear_end ();
    assert_false (good);
    snprintf (line, sizeof line, "program: cannot listen on %s: Address already in use\n",
              endpoint);
    assert_string_equal (complained, line);
    //  A name where an address is wanted. No real bind: it would ask the resolver, which may have
    //  nobody to ask.
    hear_begin ();
    errno = ENODEV;
    good = log_bound (late, "tcp://no-such-thing:*", -1);
    hear_end ();
    assert_false (good);
    assert_string_equal (complained,
                         "program: cannot listen on tcp://no-such-thing:*: No such device "
                         "(an address or an interface is wanted)\n");
    zsock_destroy (&late);
    zsock_destroy (&socket);
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
#define TEST(name) cmocka_unit_test_setup_teardown (name, s_setup, hear_teardown)
        TEST (test_lines),      TEST (test_control_bytes), TEST (test_long_line),
        TEST (test_not_utf8),   TEST (test_result),        TEST (test_listening),
        TEST (test_connecting), TEST (test_out),           TEST (test_out_is_not_for_errors),
#undef TEST
    };
    return cmocka_run_group_tests_name ("log", tests, NULL, NULL);
}
