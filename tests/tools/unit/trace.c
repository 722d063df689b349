//  SPDX-License-Identifier: MIT

#include "unit.h"
#include "lib/log.h"
#include "lib/trace.h"
#include "vectors.h"

#include <signal.h>
#include <sys/resource.h>

//  A file of its own for each test, and what was in it at the last look
static char path[40];
static char *trace_text;

static int s_setup (void **state)
{
    (void) state;
    snprintf (path, sizeof path, "/tmp/zmq-trace-XXXXXX");
    int made = mkstemp (path);
    assert_int_not_equal (made, -1);
    close (made);
    log_program = "program";
    log_level = LOG_QUIET;
    trace_path = NULL;
    return 0;
}

static int s_teardown (void **state)
{
    (void) state;
    trace_path = NULL;
    unlink (path);
    free (trace_text);
    trace_text = NULL;
    return 0;
}

//  The whole file
static void s_look (void)
{
    free (trace_text);
    FILE *in = fopen (path, "r");
    assert_non_null (in);
    fseek (in, 0, SEEK_END);
    size_t size = (size_t) ftell (in);
    rewind (in);
    trace_text = calloc (1, size + 1);
    assert_non_null (trace_text);
    assert_int_equal (fread (trace_text, 1, size, in), size);
    fclose (in);
}

//  Line `number` of the file from the key behind the pid on; NULL: there is no such line. Checks
//  what is before that.
static char *s_line (size_t number, const char *instance)
{
    s_look ();
    char *line = trace_text;
    for (; number > 0 && line; number--)
        line = strchr (line, '\n') ? strchr (line, '\n') + 1 : NULL;
    if (!line || !*line)
        return NULL;
    char *end = strchr (line, '\n');
    assert_non_null (end);
    *end = 0;
    char head[200];
    snprintf (head, sizeof head, ",\"program\":\"program\"%s%s%s,\"pid\":%ld,",
              instance ? ",\"instance\":\"" : "", instance ? instance : "", instance ? "\"" : "",
              (long) getpid ());
    assert_memory_equal (line, "{\"t\":", 5);
    char *rest = NULL;
    strtod (line + 5, &rest);
    assert_int_equal (rest[-7], '.');  //  Six decimals
    assert_memory_equal (rest, head, strlen (head));
    return rest + strlen (head);
}

static zmsg_t *s_message (const char *bytes, size_t size)
{
    zmsg_t *message = zmsg_new ();
    zmsg_addmem (message, bytes, size);
    return message;
}

static void test_off (void **state)
{
    (void) state;
    zsock_t *socket = zsock_new (ZMQ_DEALER);
    zmsg_t *message = s_message ("hi", 2);
    assert_false (log_frames ());
    log_send ("server", socket, message);
    log_recv ("server", socket, message);
    trace_message (TRACE_SEND, "server", socket, message);
    trace_subscribe ("publisher", socket, "a");
    trace_note ("a note");
    print_note ("a note");
    zmsg_destroy (&message);
    zsock_destroy (&socket);
    s_look ();
    assert_string_equal (trace_text, "");
}

static void test_messages (void **state)
{
    (void) state;
    assert_int_equal (trace_open (path, NULL), 0);
    assert_ptr_equal (trace_path, path);
    assert_true (log_frames ());
    zsock_t *router = zsock_new (ZMQ_ROUTER);
    int port = zsock_bind (router, "tcp://127.0.0.1:*");
    zmsg_t *message = s_message ("\x01\x00", 2);
    zmsg_addmem (message, NULL, 0);
    zmsg_addmem (message, "text", 4);
    zmsg_addmem (message, TASK, sizeof TASK);
    log_send ("engine", router, message);
    assert_int_equal (zmsg_size (message), 4);
    log_recv ("engine", router, message);
    zmsg_destroy (&message);
    zsock_destroy (&router);

    assert_string_equal (s_line (0, NULL), "\"life\":\"start\"}");
    char want[500];
    for (size_t i = 0; i < 2; i++) {
        snprintf (want, sizeof want,
                  "\"socket\":\"ROUTER\",\"endpoint\":\"tcp://127.0.0.1:%d\",\"peer\":\"engine\","
                  "\"dir\":\"%s\",\"frames\":[{\"size\":2,\"hex\":\"0100\"},{\"size\":0,\"hex\":"
                  "\"\"},{\"size\":4,\"hex\":\"74657874\",\"text\":\"text\"},{\"size\":14,"
                  "\"hex\":\"82a47461736b07a576616c756507\","
                  "\"text\":\"{\\\"task\\\":7,\\\"value\\\":7}\"}]}",
                  port, i == 0 ? "send" : "recv");
        assert_string_equal (s_line (i + 1, NULL), want);
    }
    assert_null (s_line (3, NULL));
}

//  The name of a socket, and which of several programs this is
static void test_names (void **state)
{
    (void) state;
    assert_int_equal (trace_open (path, "w\"1\n"), 0);
    zsock_t *dealer = zsock_new (ZMQ_DEALER);
    zmq_setsockopt (zsock_resolve (dealer), ZMQ_ROUTING_ID, "\x00\x01", 2);
    zmsg_t *message = s_message ("\x01", 1);
    log_send ("a\\b", dealer, message);
    zmsg_destroy (&message);
    zsock_destroy (&dealer);
    assert_string_equal (s_line (1, "w\\\"1\\n"),
                         "\"socket\":\"DEALER\",\"identity\":\"0001\",\"peer\":\"a\\\\b\",\"dir\":"
                         "\"send\",\"frames\":[{\"size\":1,\"hex\":\"01\",\"text\":\"1\"}]}");
}

static void test_notes (void **state)
{
    (void) state;
    assert_int_equal (trace_open (path, NULL), 0);
    capture_t out = unit_catch (stdout), err = unit_catch (stderr);
    print_note ("%s %d", "no reply in", 5);
    warn_line ("%s", "gave \"up\"\x1b");
    print_line ("not in the trace");
    print_summary ("nor this");
    free (unit_caught (&err));
    free (unit_caught (&out));
    assert_string_equal (s_line (1, NULL), "\"note\":\"no reply in 5\"}");
    assert_string_equal (s_line (2, NULL), "\"note\":\"gave \\\"up\\\"\\u001b\"}");
    assert_null (s_line (3, NULL));
}

static void test_subscription (void **state)
{
    (void) state;
    assert_int_equal (trace_open (path, NULL), 0);
    zsock_t *sub = zsock_new (ZMQ_SUB);
    trace_subscribe ("publisher", sub, "ab");
    trace_subscribe ("publisher", sub, "");
    zsock_destroy (&sub);
    assert_string_equal (s_line (1, NULL),
                         "\"socket\":\"SUB\",\"peer\":\"publisher\",\"dir\":\"send\",\"frames\":"
                         "[{\"size\":3,\"hex\":\"016162\"}]}");
    assert_string_equal (s_line (2, NULL),
                         "\"socket\":\"SUB\",\"peer\":\"publisher\",\"dir\":\"send\",\"frames\":"
                         "[{\"size\":1,\"hex\":\"01\",\"text\":\"1\"}]}");
}

//  Whatever a peer sends, a line stays one line of UTF-8 without control bytes
static void test_hostile (void **state)
{
    (void) state;
    assert_int_equal (trace_open (path, NULL), 0);
    zsock_t *socket = zsock_new (ZMQ_PULL);
    static const char *const frames[] = {
        "\xa4\x22\x5c\n\x1b",           //  A quote, a backslash, control bytes, in a msgpack str
        "\xa4\xff\xfe\xc3\x28",         //  No UTF-8 in one
        "\xa3\xe2\x80\xa8",             //  U+2028
        "\"}\n{\"t\":0",                //  Text that would like to be JSON
        "\xdd\xff\xff\xff\xff",         //  msgpack that claims four thousand million elements
        "\x81\xc4\x01\x00\xcb\x7f\xf8"  //  Half a map
    };
    for (size_t i = 0; i < COUNT (frames); i++) {
        zmsg_t *message = s_message (frames[i], strlen (frames[i]));
        log_recv ("peer", socket, message);
        zmsg_destroy (&message);
    }
    zsock_destroy (&socket);
    s_look ();
    size_t lines = 0;
    for (size_t at = 0, size; trace_text[at]; at += size) {
        size = mp_utf8_size (trace_text + at, strlen (trace_text + at));
        assert_int_not_equal (size, 0);
        lines += trace_text[at] == '\n';
        assert_true (trace_text[at] == '\n' || (unsigned char) trace_text[at] >= 0x20);
    }
    assert_int_equal (lines, 1 + COUNT (frames));
    assert_non_null (strstr (trace_text, "\"text\":\"\\\"\\\\\\\"\\\\\\\\\\\\n\\\\u001b\\\"\"}"));
    assert_non_null (strstr (trace_text, "\"text\":\"\\\"\\\\xff\\\\xfe\\\\xc3(\\\"\"}"));
}

static void test_bounds (void **state)
{
    (void) state;
    assert_int_equal (trace_open (path, NULL), 0);
    zsock_t *socket = zsock_new (ZMQ_PULL);
    static char bytes[100000];
    memset (bytes, 'x', sizeof bytes);
    zmsg_t *message = s_message (bytes, TRACE_HEX_MAX);
    zmsg_addmem (message, bytes, TRACE_HEX_MAX + 1);
    zmsg_addmem (message, bytes, sizeof bytes);
    log_recv ("peer", socket, message);
    zmsg_destroy (&message);

    char *frame = strstr (s_line (1, NULL), "{\"size\":1024,\"hex\":\"7878");
    assert_non_null (frame);
    assert_int_equal (strcspn (frame + 20, "\""), 2 * TRACE_HEX_MAX);
    frame = strstr (frame, "},{\"size\":1025,\"hex\":\"7878") + 2;
    assert_int_equal (strcspn (frame + 20, "\""), 2 * TRACE_HEX_MAX);
    assert_memory_equal (frame + 20 + 2 * TRACE_HEX_MAX, "\",\"cut\":true,\"text\":\"xxx", 22);
    frame = strstr (frame, "},{\"size\":100000,\"hex\":\"7878");
    assert_non_null (frame);
    frame = strstr (frame, "\"text\":\"") + 8;
    assert_int_equal (strcspn (frame, "\""), TRACE_TEXT_MAX + 3);
    assert_string_equal (frame + TRACE_TEXT_MAX, "...\"}]}");

    message = zmsg_new ();
    for (size_t i = 0; i < TRACE_FRAMES_MAX + 3; i++)
        zmsg_addmem (message, NULL, 0);
    log_recv ("peer", socket, message);
    zmsg_destroy (&message);
    zsock_destroy (&socket);
    frame = strstr (s_line (2, NULL), "\"frames\":[");
    size_t frames = 0;
    for (const char *at = frame; (at = strstr (at, "\"size\":0")); at++)
        frames++;
    assert_int_equal (frames, TRACE_FRAMES_MAX);
    assert_string_equal (strrchr (frame, ']'), "],\"left_out\":3}");
}

//  Two processes, one file: all lines are whole
#define TOGETHER 300
static void s_write_many (void)
{
    if (trace_open (path, NULL) == -1)
        exit (1);
    char text[3001];
    memset (text, 'y', sizeof text - 1);
    text[sizeof text - 1] = 0;
    for (int i = 0; i < TOGETHER; i++)
        trace_note ("%s", text);
    exit (0);
}

static void test_two_processes (void **state)
{
    (void) state;
    fflush (NULL);
    pid_t other = fork ();
    assert_int_not_equal (other, -1);
    if (other == 0)
        s_write_many ();
    assert_int_equal (unit_in_child (s_write_many), 0);
    int status = 0;
    assert_int_equal (waitpid (other, &status, 0), other);
    assert_int_equal (status, 0);
    s_look ();
    size_t notes = 0, lines = 0;
    for (char *line = strtok (trace_text, "\n"); line; line = strtok (NULL, "\n"), lines++) {
        assert_memory_equal (line, "{\"t\":", 5);
        assert_int_equal (line[strlen (line) - 1], '}');
        char *said = strstr (line, "\"note\":\"");
        if (said) {
            assert_int_equal (strspn (said + 8, "y"), 3000);
            assert_string_equal (said + 8 + 3000, "\"}");
            notes++;
        }
    }
    assert_int_equal (notes, 2 * TOGETHER);
    assert_int_equal (lines, 2 * (TOGETHER + 2));  //  And start and end
}

static void test_cannot_open (void **state)
{
    (void) state;
    assert_int_equal (trace_open ("/no/such/folder/x", NULL), -1);
    assert_int_equal (errno, ENOENT);
    assert_null (trace_path);
}

//  A disk that is full: told once, and the program goes on
static void s_write_too_much (void)
{
    signal (SIGXFSZ, SIG_IGN);
    struct rlimit limit = {.rlim_cur = 400, .rlim_max = 400};
    if (setrlimit (RLIMIT_FSIZE, &limit) == -1 || trace_open (path, NULL) == -1)
        exit (1);
    for (int i = 0; i < 20; i++)
        trace_note ("a line of some length, so that there is an end to it");
    print_note ("still here");
    exit (trace_path ? 2 : 0);
}

static void test_full (void **state)
{
    (void) state;
    capture_t err = unit_catch (stderr);
    int status = unit_in_child (s_write_too_much);
    char *text = unit_caught (&err);
    assert_int_equal (status, 0);
    char want[100];
    snprintf (want, sizeof want, "program: cannot write the trace %s: ", path);
    assert_memory_equal (text, want, strlen (want));
    assert_ptr_equal (strchr (text, '\n'), text + strlen (text) - 1);  //  One line
    free (text);
    s_look ();
    assert_true (strlen (trace_text) > 300);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown (name, s_setup, s_teardown)
        //  First, since a child should not come after the first socket
        TEST (test_two_processes), TEST (test_full),    TEST (test_off),
        TEST (test_messages),      TEST (test_names),   TEST (test_notes),
        TEST (test_subscription),  TEST (test_hostile), TEST (test_bounds),
        TEST (test_cannot_open),
#undef TEST
    };
    return cmocka_run_group_tests_name ("trace", tests, NULL, NULL);
}
