//  SPDX-License-Identifier: MIT

#include "unit.h"
#include "vectors.h"

#include "req_rep/pingpong.h"

static zframe_t *s_frame (zmsg_t *message)
{
    assert_non_null (message);
    assert_int_equal (zmsg_size (message), 1);
    zframe_t *frame = zmsg_pop (message);
    zmsg_destroy (&message);
    return frame;
}

//  For unit.h: a message that has only this frame
static bool s_text (zframe_t *frame, mp_error_t *error)
{
    zmsg_t *message = zmsg_new ();
    zmsg_addmem (message, zframe_data (frame), zframe_size (frame));
    char *text = pingpong_text (message, error);
    zmsg_destroy (&message);
    bool ok = text;
    zstr_free (&text);
    return ok;
}

//  The same, where the peer's complaint is what is wanted
static bool s_told (zframe_t *frame, mp_error_t *error)
{
    return s_text (frame, error) || strncmp (error->text, "the peer says: ", 15) == 0;
}

static void test_encode (void **state)
{
    (void) state;
    unit_is_vector (s_frame (pingpong_new ("ping")), VECTOR (PING));
    unit_is_vector (s_frame (pingpong_reply ("ping", NULL)), VECTOR (PONG));
    const mp_error_t why = {.text = "not a msgpack str"};
    unit_is_vector (s_frame (pingpong_reply (NULL, &why)), VECTOR (PONG_ERROR));
    unit_is_text (s_frame (pingpong_new ("")), "\"\"");
    unit_is_text (s_frame (pingpong_reply ("", NULL)), "\"pong: \"");
    //  A text is never a format
    unit_is_text (s_frame (pingpong_new ("%s%n")), "\"%s%n\"");
    unit_is_text (s_frame (pingpong_reply ("%s%n", NULL)), "\"pong: %s%n\"");
}

static void s_echo (const char *text)
{
    mp_error_t error = {.text = ""};
    zmsg_t *message = pingpong_new (text);
    char *got = pingpong_text (message, &error);
    assert_string_equal (error.text, "");
    assert_string_equal (got, text);
    zmsg_destroy (&message);
    message = pingpong_reply (got, NULL);
    zstr_free (&got);
    got = pingpong_text (message, &error);
    zmsg_destroy (&message);
    assert_non_null (got);
    assert_memory_equal (got, "pong: ", 6);
    assert_string_equal (got + 6, text);
    zstr_free (&got);
}

static void test_decode (void **state)
{
    (void) state;
    s_echo ("ping");
    s_echo ("");
    s_echo ("100 %d\n\"\\\x01 \xe4\xbd\xa0");
    char *longer = calloc (1, 100001);
    assert_non_null (longer);
    memset (longer, 'x', 100000);
    s_echo (longer);
    free (longer);
}

static void test_errors (void **state)
{
    (void) state;
    unit_refuses (s_text, unit_vector_frame (VECTOR (PONG_ERROR)),
                  "the peer says: not a msgpack str");
    static const struct {
        const char *text;
        const char *why;
    } cases[] = {
        {"{'error':''}", "the peer says: "},
        {"{'newer':1,'error':'a','error':'b'}", "the peer says: b"},
        {"{'error':'%s%n'}", "the peer says: %s%n"},
        {"{'error':null}", "error: want a str, got nil"},
        {"{'error':['x']}", "error: want a str, got array"},
        {"{}", "message: want a str, got map"},
        {"{'Error':'x'}", "message: want a str, got map"},
        {"null", "message: want a str, got nil"},
        {"1", "message: want a str, got integer"},
        {"h'70'", "message: want a str, got bin"},
        {"['ping']", "message: want a str, got array"},
        {"x'a3610062'", "message: has a NUL byte in it"},
        {"x''", "message: empty"},
        {"x'a2ffff'", "message: is not UTF-8"},
        {"x'c1'", "message: not msgpack"},
        {"x'dbffffffff'", "message: truncated"},
        {"x'dd01000000'", "message: claims more elements than it has bytes for"},
    };
    for (size_t i = 0; i < COUNT (cases); i++)
        unit_refuses (s_text, unit_frame (cases[i].text), cases[i].why);
    //  As text that was never msgpack, which the basic tutorials send
    unit_refuses (s_text, zframe_new ("ping", 4), "message: has bytes after its end");

    //  A peer's long story is cut to what an error holds
    char story[400];
    snprintf (story, sizeof story, "{'error':'%0300d'}", 0);
    unit_refuses (s_text, unit_frame (story), "the peer says: 000");
}

//  Whatever went wrong in reading, the reply is readable and says what
static void test_error_reply (void **state)
{
    (void) state;
    zmsg_t *request = zmsg_new ();
    zmsg_addstr (request, "ping");
    mp_error_t error;
    assert_null (pingpong_text (request, &error));
    zmsg_destroy (&request);
    zmsg_t *reply = pingpong_reply (NULL, &error);
    assert_null (pingpong_text (reply, &error));
    assert_string_equal (error.text, "the peer says: message: has bytes after its end");
    zmsg_destroy (&reply);
}

//  An error that had to be cut short is still a str that the other end can read
static void test_long_error_reply (void **state)
{
    (void) state;
    for (int shift = 0; shift < 3; shift++) {
        char text[400];
        size_t size = (size_t) snprintf (text, sizeof text, "{'error':'%.*s", shift, "xx");
        for (; size + 6 < sizeof text; size += 3)
            memcpy (text + size, "\xe4\xbd\xa0", 4);
        memcpy (text + size, "'}", 3);
        zmsg_t *request = zmsg_new ();
        zframe_t *frame = unit_frame (text);
        zmsg_append (request, &frame);
        mp_error_t error;
        assert_null (pingpong_text (request, &error));
        zmsg_destroy (&request);
        zmsg_t *reply = pingpong_reply (NULL, &error);
        assert_null (pingpong_text (reply, &error));
        zmsg_destroy (&reply);
        if (strncmp (error.text, "the peer says: the peer says: ", 30) != 0)
            fail_msg ("the reply cannot be read: %s", error.text);
    }
}

static void test_frame_counts (void **state)
{
    (void) state;
    for (size_t count = 0; count <= 3; count++) {
        zmsg_t *message = zmsg_new ();
        for (size_t i = 0; i < count; i++)
            zmsg_addmem (message, PING, sizeof PING);
        mp_error_t error;
        char why[60];
        snprintf (why, sizeof why, "message: want 1 frame, got %zu", count);
        char *text = pingpong_text (message, &error);
        assert_int_equal (text != NULL, count == 1);
        if (!text)
            assert_string_equal (error.text, why);
        zstr_free (&text);
        assert_int_equal (zmsg_size (message), count);
        zmsg_destroy (&message);
    }
}

static void test_hostile (void **state)
{
    (void) state;
    unit_hostile (s_text, VECTOR (PING));
    unit_hostile (s_text, VECTOR (PONG));
    unit_hostile (s_told, VECTOR (PONG_ERROR));
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_encode),           cmocka_unit_test (test_decode),
        cmocka_unit_test (test_errors),           cmocka_unit_test (test_error_reply),
        cmocka_unit_test (test_long_error_reply), cmocka_unit_test (test_frame_counts),
        cmocka_unit_test (test_hostile),
    };
    return cmocka_run_group_tests_name ("pingpong", tests, NULL, NULL);
}
