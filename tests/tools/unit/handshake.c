//  SPDX-License-Identifier: MIT

#include "decoded.h"
#include "scenario.h"
#include "vectors.h"

#include "engine/handshake.h"

//  The addresses of the vectors
static const char *inputs[] = {"tcp://127.0.0.1:5570", "tcp://127.0.0.1:5571"};
static const char *outputs[] = {"tcp://127.0.0.1:5580", "tcp://127.0.0.1:5581"};
#define COORDINATOR_INPUT "tcp://127.0.0.1:5590"
#define COORDINATOR_OUTPUT "tcp://127.0.0.1:5591"
#define STATS_ADDRESS "tcp://127.0.0.1:5592"

//  -- Decoders, as decoded.h wants them

static bool s_status (zframe_t *frame, mp_error_t *error)
{
    handshake_status_t status;
    memset (&status, 0xff, sizeof status);
    if (handshake_status_decode (frame, &status, error) == -1)
        return false;
    decoded_begin ();
    fprintf (out, "%s%s%s", status.status, status.local ? " local" : "",
             status.headless ? " headless" : "");
    decoded_end ();
    decoded_again (handshake_status_encode (&status));
    assert_null (status.parallel_config_hash);
    return true;
}

static bool s_init (zframe_t *frame, mp_error_t *error)
{
    handshake_init_t *init = handshake_init_decode (frame, error);
    if (!init)
        return false;
    decoded_begin ();
    for (size_t i = 0; i < init->count; i++)
        fprintf (out, "%s to %s, ", init->inputs[i], init->outputs[i]);
    fprintf (out, "coordinator %s to %s, ",
             init->coordinator_input ? init->coordinator_input : "none",
             init->coordinator_output ? init->coordinator_output : "none");
    fprintf (out, "stats %s",
             init->frontend_stats_publish_address ? init->frontend_stats_publish_address : "none");
    decoded_end ();
    decoded_again (handshake_init_encode (init));
    handshake_init_destroy (&init);
    assert_null (init);
    handshake_init_destroy (&init);
    return true;
}

//  -- HELLO and READY

static void test_status_encode (void **state)
{
    decoded_both (s_status, VECTOR (HANDSHAKE_HELLO));
    decoded_both (s_status, VECTOR (HANDSHAKE_READY));
    handshake_status_t status = {
        .status = "READY", .local = true, .parallel_config_hash = "9f86d081"};
    unit_is_vector (handshake_status_encode (&status), VECTOR (HANDSHAKE_READY_HASH));
}

#define HELLO(path, value) unit_edit (VECTOR (HANDSHAKE_HELLO), path, value)

static void test_status_decode (void **state)
{
    const decoded_t cases[] = {
        {unit_vector_frame (VECTOR (HANDSHAKE_HELLO)), "HELLO headless"},
        {unit_vector_frame (VECTOR (HANDSHAKE_READY)), "READY headless"},
        {unit_vector_frame (VECTOR (HANDSHAKE_READY_HASH)), "READY local"},
        //  Another order, and what a newer vLLM may add
        {unit_frame ("{'newer':[{}],'headless':true,'local':true,'status':'HELLO',1:2}"),
         "HELLO local headless"},
        {unit_frame ("{}"), "handshake.status: want a str, got nothing"},
        {unit_frame ("x'81c0'"), "handshake: truncated"},
        {unit_frame ("x''"), "handshake: empty"},
        {HELLO ("status", "'hello'"), "handshake.status: want HELLO or READY, got hello"},
        {HELLO ("status", "'HELLO '"), "handshake.status: want HELLO or READY, got HELLO "},
        {HELLO ("status", "''"), "handshake.status: want HELLO or READY, got "},
        {HELLO ("status", "x'a648454c4c4f00'"), "handshake.status: has a NUL byte in it"},
        {HELLO ("status", "x'a2c328'"), "handshake.status: is not UTF-8"},
        {HELLO ("local", NULL), "handshake: want a boolean local"},
        {HELLO ("headless", NULL), "handshake: want a boolean headless"},
    };
    decoded_are (s_status, cases, COUNT (cases));
}

//  -- INIT

static void test_init_encode (void **state)
{
    decoded_both (s_init, VECTOR (HANDSHAKE_INIT_ONE));
    decoded_both (s_init, VECTOR (HANDSHAKE_INIT_TWO));
    decoded_both (s_init, VECTOR (HANDSHAKE_INIT_ONE_COORDINATOR));
    //  All that the vector has, but for what is for models with experts
    zframe_t *want = unit_edit (VECTOR (HANDSHAKE_INIT_TWO_COORDINATOR), "parallel_config", "{}");
    decoded_both (s_init, (vector_t){"INIT", zframe_data (want), zframe_size (want)});
    zframe_destroy (&want);
}

#define FIRST "tcp://127.0.0.1:5570 to tcp://127.0.0.1:5580, "
#define SECOND "tcp://127.0.0.1:5571 to tcp://127.0.0.1:5581, "
#define COORDINATOR "coordinator " COORDINATOR_INPUT " to " COORDINATOR_OUTPUT ", "
#define NO_MORE "coordinator none to none, stats none"
#define TWO(path, value)                                                                           \
    unit_edit (VECTOR (HANDSHAKE_INIT_TWO_COORDINATOR), "addresses" path, value)

static void test_init_decode (void **state)
{
    const decoded_t cases[] = {
        {unit_vector_frame (VECTOR (HANDSHAKE_INIT_ONE)), FIRST NO_MORE},
        {unit_vector_frame (VECTOR (HANDSHAKE_INIT_TWO)), FIRST SECOND NO_MORE},
        {unit_vector_frame (VECTOR (HANDSHAKE_INIT_ONE_COORDINATOR)),
         FIRST COORDINATOR "stats none"},
        {unit_vector_frame (VECTOR (HANDSHAKE_INIT_TWO_COORDINATOR)),
         FIRST SECOND COORDINATOR "stats " STATS_ADDRESS},
        //  Fields that are not there, and what a newer vLLM may add
        {unit_frame ("{'addresses':{'inputs':['a'],'outputs':['b']}}"), "a to b, " NO_MORE},
        {unit_frame ("{'newer':1,'addresses':{'newer':[],'outputs':['b'],'inputs':['a']}}"),
         "a to b, " NO_MORE},
        {unit_frame ("{}"), "INIT.addresses: want a map, got nothing"},
        {unit_frame ("x'81c0'"), "INIT: truncated"},
        {unit_frame ("x''"), "INIT: empty"},
        {TWO ("", "[]"), "INIT.addresses: want a map, got array"},
        {TWO ("", "{}"), "inputs: want an array, got nothing"},
        {TWO (".inputs", "[]"), "inputs: want an array of 1 or more, got 0"},
        {TWO (".inputs.1", "x'a26100'"), "inputs: has a NUL byte in it"},
        {TWO (".outputs", NULL), "outputs: want an array, got nothing"},
        {TWO (".outputs", "[]"), "outputs: want an array of 1 or more, got 0"},
        {TWO (".outputs.1", "x'a2c328'"), "outputs: is not UTF-8"},
        {TWO (".outputs", "['a']"), "INIT.addresses: 2 inputs, but 1 outputs"},
        {TWO (".outputs", "['a','b','c']"), "INIT.addresses: 2 inputs, but 3 outputs"},
        {TWO (".coordinator_input", "1"), "coordinator_input: want a str, got integer"},
        {TWO (".coordinator_output", "[]"), "coordinator_output: want a str, got array"},
        {TWO (".coordinator_input", "null"),
         "INIT.addresses: a coordinator has an input and an output"},
        {TWO (".coordinator_output", NULL),
         "INIT.addresses: a coordinator has an input and an output"},
    };
    decoded_are (s_init, cases, COUNT (cases));
}

//  INIT with so many inputs and outputs
static zframe_t *s_init_of (size_t input_count, size_t output_count)
{
    char text[4096] = "{'addresses':{'inputs':[", *at = text + strlen (text);
    for (; input_count > 0; input_count--)
        at = stpcpy (at, "'a',");
    at = stpcpy (at, "],'outputs':[");
    for (; output_count > 0; output_count--)
        at = stpcpy (at, "'b',");
    stpcpy (at, "]}}");
    return unit_frame (text);
}

static void test_too_many_addresses (void **state)
{
    enum { MAX = HANDSHAKE_CLIENTS_MAX };
    unit_takes (s_init, s_init_of (MAX, MAX), "the most");
    unit_refuses (s_init, s_init_of (MAX + 1, MAX + 1), "inputs: 257 are more than 256");
    unit_refuses (s_init, s_init_of (1, MAX + 1), "outputs: 257 are more than 256");
}

//  -- Both

static void test_types (void **state)
{
    vector_t vector = VECTOR (HANDSHAKE_HELLO);
    decoded_types (s_status, vector, "", "handshake", "");
    decoded_types (s_status, vector, "status", "handshake.status", "");
    decoded_types (s_status, vector, "local headless", "handshake", "b");
    decoded_types (s_status, VECTOR (HANDSHAKE_READY_HASH), "parallel_config_hash", "passed over",
                   ANY);
    vector = VECTOR (HANDSHAKE_INIT_TWO_COORDINATOR);
    decoded_types (s_init, vector, "", "INIT", "");
    decoded_types (s_init, vector, "addresses.inputs", "inputs", "");
    decoded_types (s_init, vector, "addresses.inputs.1", "inputs", "s");
    decoded_types (s_init, vector, "addresses.outputs", "outputs", "");
    decoded_types (s_init, vector, "addresses.outputs.0", "outputs", "s");
    decoded_types (s_init, vector, "addresses.frontend_stats_publish_address",
                   "frontend_stats_publish_address", "ns");
    decoded_types (s_init, vector, "parallel_config", "passed over", ANY);
}

static void test_hostile (void **state)
{
    unit_hostile (s_status, VECTOR (HANDSHAKE_HELLO));
    unit_hostile (s_status, VECTOR (HANDSHAKE_READY));
    unit_hostile (s_status, VECTOR (HANDSHAKE_READY_HASH));
    unit_hostile (s_init, VECTOR (HANDSHAKE_INIT_ONE));
    unit_hostile (s_init, VECTOR (HANDSHAKE_INIT_TWO));
    unit_hostile (s_init, VECTOR (HANDSHAKE_INIT_ONE_COORDINATOR));
    unit_hostile (s_init, VECTOR (HANDSHAKE_INIT_TWO_COORDINATOR));
}

//  -- The front-end's side: a scenario. Commands are
//
//      hello ENGINE, ready ENGINE
//      frame IDENTITY STATUS       a message of two frames, as unit_pack takes them; or of others
//      state ENGINE, pending
//
//  A message has the line "ENGINE ready", or "ENGINE INIT" with the reply to HELLO, or "none: WHY",
//  or "failed: WHY".

static startup_t *startup;

static void s_handle (char *frames)
{
    zmsg_t *message = zmsg_new (), *reply, *nothing;
    mp_error_t error = {.text = ""};
    char *rest;
    for (char *word = strtok_r (frames, " ", &rest); word; word = strtok_r (NULL, " ", &rest)) {
        zframe_t *frame = unit_frame (word);
        zmsg_append (message, &frame);
    }
    size_t size = zmsg_size (message);
    int engine = startup_handle (startup, message, &reply, &error);
    if (engine < 0) {
        printf ("%s: %s%s\n", engine == STARTUP_NONE ? "none" : "failed", error.text,
                reply ? " and a reply" : "");
        //  Without an error it is the same
        if (startup_handle (startup, message, &nothing, NULL) != engine || nothing)
            puts ("another result");
    } else if (!reply) {
        printf ("%d ready\n", engine);
    } else {
        zframe_t *identity = zmsg_first (reply), *init = zmsg_next (reply);
        bool good = zmsg_size (reply) == 2 && zframe_eq (identity, zmsg_first (message)) &&
                    zframe_size (init) == sizeof HANDSHAKE_INIT_TWO &&
                    memcmp (zframe_data (init), HANDSHAKE_INIT_TWO, zframe_size (init)) == 0;
        printf ("%d %s\n", engine, good ? "INIT" : "a wrong reply");
    }
    if (zmsg_size (message) != size)
        puts ("the message is no longer the caller's");
    zmsg_destroy (&reply);
    zmsg_destroy (&message);
}

static void s_do (char *command)
{
    char text[200], *rest;
    const char *word = strtok_r (command, " ", &rest);
    int engine = (int) strtol (rest, NULL, 10);
    if (streq (word, "frame")) {
        s_handle (rest);
    } else if (streq (word, "state")) {
        puts (startup_state (startup, engine));
    } else if (streq (word, "pending")) {
        char *pending = startup_pending (startup);
        printf ("%s, %s\n", pending ? pending : "none",
                startup_done (startup) ? "done" : "not done");
        zstr_free (&pending);
    } else {
        snprintf (text, sizeof text, "x'%02x%02x' {'status':'%s','local':false,'headless':true}",
                  engine % 256, engine / 256, streq (word, "hello") ? "HELLO" : "READY");
        s_handle (text);
    }
}

static void test_startup (void **state)
{
    static const handshake_init_t two = {.inputs = inputs, .outputs = outputs, .count = 2};
    startup = startup_new (2, &two);
    log_program = "startup";
    scenario_play (
        "pending; state 0; state 1 -> > engine 0: no HELLO, not done | > new | > new\n"
        //  Each engine at its own pace. A message out of turn is refused and changes nothing.
        "ready 1; state 1 -> > failed: engine 1: READY in state new | > new\n"
        "hello 1; hello 1; state 1 -> > 1 INIT | "
        "> failed: engine 1: HELLO in state connected | > connected\n"
        //  A hash may come with READY
        "frame x'0100' {'status':'READY','local':false,'headless':true,"
        "'parallel_config_hash':'9f86d081'} -> > 1 ready\n"
        "ready 1; hello 1; state 1 -> > failed: engine 1: READY in state ready | "
        "> failed: engine 1: HELLO in state ready | > ready\n"
        "pending; hello 0; pending -> > engine 0: no HELLO, not done | > 0 INIT | "
        "> engine 0: no READY, not done\n"

        //  Nobody that is expected
        "hello 2; hello 256 -> > none: handshake: identity 0200 is of no engine that is expected | "
        "> none: handshake: identity 0001 is of no engine that is expected\n"
        "frame x'' {} -> > none: handshake: identity  is of no engine that is expected\n"
        "frame x'000000' {} -> > none: handshake: identity 000000 is of no engine that is "
        "expected\n"
        "frame x'616161616161616161616262626262626262626263' {} -> > none: handshake: "
        "identity 6161616161616161616162626262626262626262 is of no engine that is expected\n"

        //  Our front-ends start their engines as if these were on other machines
        "frame x'0000' {'status':'HELLO','local':true,'headless':true} -> > failed: engine 0: "
        "HELLO says local 1, headless 1; want a remote, headless engine\n"
        "frame x'0000' {'status':'READY','local':false,'headless':false} -> > failed: engine 0: "
        "READY says local 0, headless 0; want a remote, headless engine\n"
        //  It need not say local and headless
        "frame x'0000' {'status':'FAILED'} -> > failed: engine 0: "
        "it has reported FAILED, its own log says why\n"

        //  Neither HELLO nor READY; a REQ sends an empty frame in front
        "frame x'0000' [] -> > none: engine 0: handshake: want a map, got array\n"
        "frame x'0000' -> > none: handshake: want 2 frames (identity and status), got 1\n"
        "frame x'0000' x'' {} -> > none: handshake: want 2 frames (identity and status), got 3\n"
        "ready 0; pending -> > 0 ready | > none, done",
        s_do, NULL);
    startup_destroy (&startup);
    assert_null (startup);
    startup_destroy (&startup);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_status_encode),
        cmocka_unit_test (test_status_decode),
        cmocka_unit_test (test_init_encode),
        cmocka_unit_test (test_init_decode),
        cmocka_unit_test (test_too_many_addresses),
        cmocka_unit_test (test_types),
        cmocka_unit_test (test_hostile),
        cmocka_unit_test_teardown (test_startup, hear_teardown),
    };
    return cmocka_run_group_tests_name ("handshake", tests, decoded_setup, decoded_teardown);
}
