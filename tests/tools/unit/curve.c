//  SPDX-License-Identifier: MIT

#include "unit.h"
#include "lib/curve.h"
#include "lib/log.h"

#include <sys/stat.h>

//  What the keys are read into is there once in a process, so each test of it has its own
static char folder[40];

//  A folder with the keys of a server and a client, who is on the list
static int s_setup (void **state)
{
    snprintf (folder, sizeof folder, "/tmp/unit-curve-XXXXXX");
    assert_non_null (mkdtemp (folder));
    char path[80];
    zcert_t *cert = zcert_new ();
    snprintf (path, sizeof path, "%s/server.key", folder);
    assert_int_equal (zcert_save (cert, path), 0);
    zcert_destroy (&cert);
    cert = zcert_new ();
    snprintf (path, sizeof path, "%s/client.key", folder);
    assert_int_equal (zcert_save (cert, path), 0);
    snprintf (path, sizeof path, "%s/clients", folder);
    assert_int_equal (mkdir (path, S_IRWXU), 0);
    snprintf (path, sizeof path, "%s/clients/client.key", folder);
    assert_int_equal (zcert_save_public (cert, path), 0);
    zcert_destroy (&cert);
    return 0;
}

static int s_teardown (void **state)
{
    zdir_t *dir = zdir_new (folder, NULL);
    zdir_remove (dir, true);
    zdir_destroy (&dir);
    curve_dir = NULL;
    return 0;
}

static void test_off (void **state)
{
    assert_true (curve_load (CURVE_SERVER));
    assert_true (curve_load (CURVE_CLIENT));
    zsock_t *socket = zsock_new (ZMQ_REP);
    curve_server (socket);
    curve_client (socket);
    zmsg_t *event = zmsg_new ();
    byte accepted[6] = {ZMQ_EVENT_ACCEPTED};
    zmsg_addmem (event, accepted, sizeof accepted);
    zmsg_addstr (event, "tcp://127.0.0.1:5555");
    curve_event (socket, event);
    zmsg_destroy (&event);
    assert_int_equal (zsock_mechanism (socket), ZMQ_NULL);
    zsock_destroy (&socket);
}

//  A REP and a REQ. Exits with what the REP has got: 1 for the message, 0 for nothing.
static void s_exchange (void)
{
    curve_dir = folder;
    if (!curve_load (CURVE_SERVER) || !curve_load (CURVE_CLIENT))
        exit (2);
    zsock_t *rep = zsock_new (ZMQ_REP), *req = zsock_new (ZMQ_REQ);
    curve_server (rep);
    curve_client (req);
    int port = zsock_bind (rep, "tcp://127.0.0.1:*");
    zsock_connect (req, "tcp://127.0.0.1:%d", port);
    zsock_set_rcvtimeo (rep, 300);
    zstr_send (req, "hello");
    char *text = zstr_recv (rep);
    bool got = text && streq (text, "hello");
    zstr_free (&text);
    zsock_destroy (&rep);
    zsock_destroy (&req);
    exit (got);
}

static void test_friend (void **state)
{
    capture_t err = unit_catch (stderr);
    int status = unit_in_child (s_exchange);
    char *text = unit_caught (&err);
    assert_int_equal (status, 1);
    assert_string_equal (text, "");
    free (text);
}

static void test_stranger (void **state)
{
    char path[80];
    snprintf (path, sizeof path, "%s/clients/client.key", folder);
    assert_int_equal (unlink (path), 0);
    capture_t err = unit_catch (stderr);
    int status = unit_in_child (s_exchange);
    char *text = unit_caught (&err);
    assert_int_equal (status, 0);
    assert_non_null (strstr (text, "program: refused 127.0.0.1: "));
    assert_non_null (strstr (text, " refused us: our key is not on its list\n"));
    free (text);
}

static void test_no_keys (void **state)
{
    char path[80];
    snprintf (path, sizeof path, "%s/server.key_secret", folder);
    assert_int_equal (unlink (path), 0);
    capture_t err = unit_catch (stderr);
    int status = unit_in_child (s_exchange);
    char *text = unit_caught (&err), line[160];
    assert_int_equal (status, 2);
    snprintf (line, sizeof line, "program: cannot read %s: No such file or directory\n", path);
    assert_string_equal (text, line);
    free (text);
}

int main (void)
{
    if (!zsys_has_curve ())
        return 0;
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown (name, s_setup, s_teardown)
        TEST (test_friend), TEST (test_stranger), TEST (test_no_keys),
        TEST (test_off),  //  Last: children cannot do with their parent's sockets
#undef TEST
    };
    return cmocka_run_group_tests_name ("curve", tests, NULL, NULL);
}
