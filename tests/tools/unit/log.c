//  SPDX-License-Identifier: MIT

#include "unit.h"
#include "lib/log.h"

//  What was printed in the last call below
static char *out_text, *err_text;

static void s_forget (void)
{
    free (out_text);
    free (err_text);
    out_text = err_text = NULL;
}

static int s_setup (void **state)
{
    log_program = "program";
    log_level = LOG_LINES;
    log_out = NULL;
    return 0;
}

static int s_teardown (void **state)
{
    s_forget ();
    return 0;
}

//  Says one text in each of the three ways
static void s_say (const char *text)
{
    s_forget ();
    capture_t out = unit_catch (stdout);
    capture_t err = unit_catch (stderr);
    print_line ("%s %d", text, 1);
    print_summary ("%s %d", text, 2);
    warn_line ("%s %d", text, 3);
    err_text = unit_caught (&err);
    out_text = unit_caught (&out);
}

static void test_lines (void **state)
{
    s_say ("ping");
    assert_string_equal (out_text, "ping 1\nprogram: ping 2\n");
    assert_string_equal (err_text, "program: ping 3\n");
    log_level = LOG_QUIET;
    s_say ("ping");
    assert_string_equal (out_text, "program: ping 2\n");
    assert_string_equal (err_text, "program: ping 3\n");
}

//  What a peer has sent can neither forge a line nor command the terminal
static void test_control_bytes (void **state)
{
    s_say ("a\nb\r\x1b[2J\x07\x7f\t\xe4\xbd\xa0 %s");
    assert_string_equal (out_text, "a?b??[2J???\xe4\xbd\xa0 %s 1\n"
                                   "program: a?b??[2J???\xe4\xbd\xa0 %s 2\n");
    assert_string_equal (err_text, "program: a?b??[2J???\xe4\xbd\xa0 %s 3\n");
}

//  What is not UTF-8, and C1, which some terminals obey as they do ESC
static void test_not_utf8 (void **state)
{
    s_say ("a\xff\x80z \xc2\x9b\xc2\x80\xc2\x9f\xc2\xa0 \xed\xa0\x80 \xf0\x9f\x98\x80 \xe4\xbd");
    assert_string_equal (err_text, "program: a??z ???\xc2\xa0 ??? \xf0\x9f\x98\x80 ?? 3\n");
}

static void test_result (void **state)
{
    log_level = LOG_QUIET;
    capture_t out = unit_catch (stdout);
    print_result ("%s: %d tasks", "w\n1", 3);
    out_text = unit_caught (&out);
    assert_string_equal (out_text, "w?1: 3 tasks\n");
}

static void test_long_line (void **state)
{
    char text[5001];
    memset (text, 'x', 5000);
    text[5000] = 0;
    s_say (text);
    assert_int_equal (strlen (out_text), 5003 + 9 + 5003);
    assert_int_equal (strlen (err_text), 9 + 5003);
}

//  -- Another place than stdout

//  Says one of everything with log_out set; returns what came there, to be freed
static char *s_say_elsewhere (void)
{
    char *elsewhere = NULL;
    size_t size;
    zsock_t *socket = zsock_new (ZMQ_REP);
    int bound = zsock_bind (socket, "tcp://127.0.0.1:*");
    s_forget ();
    capture_t out = unit_catch (stdout);
    capture_t err = unit_catch (stderr);
    log_out = open_memstream (&elsewhere, &size);
    print_line ("line");
    print_summary ("summary");
    print_result ("result");
    warn_line ("complaint");
    (void) log_bound (socket, "tcp://127.0.0.1:*", bound);
    fclose (log_out);
    log_out = NULL;
    err_text = unit_caught (&err);
    out_text = unit_caught (&out);
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
    assert_string_equal (out_text, "");
}

//  Errors do not
static void test_out_is_not_for_errors (void **state)
{
    char *elsewhere = s_say_elsewhere ();
    assert_null (strstr (elsewhere, "complaint"));
    free (elsewhere);
    assert_string_equal (err_text, "program: complaint\n");
}

//  -- Listening

static void test_listening (void **state)
{
    log_level = LOG_QUIET;
    zsock_t *socket = zsock_new (ZMQ_REP);
    int bound = zsock_bind (socket, "tcp://127.0.0.1:*");
    assert_int_not_equal (bound, -1);
    capture_t out = unit_catch (stdout);
    bool good = log_bound (socket, "tcp://127.0.0.1:*", bound);
    out_text = unit_caught (&out);
    assert_true (good);
    char line[120];
    snprintf (line, sizeof line, "program: listening on tcp://127.0.0.1:%d\n", bound);
    assert_string_equal (out_text, line);

    //  Somebody is there already
    zsock_t *late = zsock_new (ZMQ_REP);
    char endpoint[40];
    snprintf (endpoint, sizeof endpoint, "tcp://127.0.0.1:%d", bound);
    capture_t err = unit_catch (stderr);
    good = log_bound (late, endpoint, zsock_bind (late, "%s", endpoint));
    err_text = unit_caught (&err);
    assert_false (good);
    snprintf (line, sizeof line, "program: cannot listen on %s: Address already in use\n",
              endpoint);
    assert_string_equal (err_text, line);
    //  A name where an address is wanted. No real bind: it would ask the resolver, which may have
    //  nobody to ask.
    s_forget ();
    err = unit_catch (stderr);
    errno = ENODEV;
    good = log_bound (late, "tcp://no-such-thing:*", -1);
    err_text = unit_caught (&err);
    assert_false (good);
    assert_string_equal (err_text,
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
        s_forget ();
        zsys_interrupted = cases[i].interrupted;
        capture_t err = unit_catch (stderr);
        errno = ECONNREFUSED;
        bool good = log_connected ("tcp://x:1", cases[i].connected);
        err_text = unit_caught (&err);
        zsys_interrupted = 0;
        assert_int_equal (good, cases[i].connected == 0);
        assert_string_equal (err_text, cases[i].complaint);
    }
}

int main (void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown (name, s_setup, s_teardown)
        TEST (test_lines),      TEST (test_control_bytes), TEST (test_long_line),
        TEST (test_not_utf8),   TEST (test_result),        TEST (test_listening),
        TEST (test_connecting), TEST (test_out),           TEST (test_out_is_not_for_errors),
#undef TEST
    };
    return cmocka_run_group_tests_name ("log", tests, NULL, NULL);
}
