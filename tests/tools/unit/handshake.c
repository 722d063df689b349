//  SPDX-License-Identifier: MIT

#include "decoded.h"
#include "vectors.h"

#include "engine/engine_core.h"
#include "engine/handshake.h"

//  The addresses of the vectors
static const char *inputs[] = {"tcp://127.0.0.1:5570", "tcp://127.0.0.1:5571"};
static const char *outputs[] = {"tcp://127.0.0.1:5580", "tcp://127.0.0.1:5581"};
#define COORDINATOR_INPUT "tcp://127.0.0.1:5590"
#define COORDINATOR_OUTPUT "tcp://127.0.0.1:5591"
#define STATS_ADDRESS "tcp://127.0.0.1:5592"

#define ANY "nbuif4shamx"

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
        {unit_frame ("[]"), "handshake: want a map, got array"},
        {HELLO ("status", "'hello'"), "handshake.status: want HELLO or READY, got hello"},
        {HELLO ("status", "'HELLO '"), "handshake.status: want HELLO or READY, got HELLO "},
        {HELLO ("status", "''"), "handshake.status: want HELLO or READY, got "},
        {HELLO ("status", "x'a648454c4c4f00'"), "handshake.status: has a NUL byte in it"},
        {HELLO ("status", "x'a2c328'"), "handshake.status: is not UTF-8"},
        {HELLO ("local", NULL), "handshake: want a boolean local"},
        {HELLO ("local", "0"), "handshake: want a boolean local"},
        {HELLO ("headless", NULL), "handshake: want a boolean headless"},
        {HELLO ("headless", "1"), "handshake: want a boolean headless"},
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
#define ONE(path) unit_edit (VECTOR (HANDSHAKE_INIT_ONE), path, NULL)
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
        {TWO ("", "[]"), "INIT.addresses: want a map, got array"},
        {TWO ("", "{}"), "inputs: want an array, got nothing"},
        {TWO (".inputs", "[]"), "inputs: want an array of 1 or more, got 0"},
        {TWO (".inputs.0", "1"), "inputs: want a str, got integer"},
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
    mp_writer_t writer;
    msgpack_packer *packer = mp_begin (&writer);
    msgpack_pack_map (packer, 1);
    mp_pack_str (packer, "addresses");
    msgpack_pack_map (packer, 2);
    for (int i = 0; i < 2; i++) {
        size_t count = i == 0 ? input_count : output_count;
        mp_pack_str (packer, i == 0 ? "inputs" : "outputs");
        msgpack_pack_array (packer, count);
        while (count-- > 0)
            mp_pack_str (packer, "inproc://a");
    }
    return mp_end (&writer);
}

static void test_too_many_addresses (void **state)
{
    enum { MAX = HANDSHAKE_CLIENTS_MAX };
    unit_takes (s_init, s_init_of (MAX, MAX), "the most");
    unit_refuses (s_init, s_init_of (MAX + 1, MAX + 1), "inputs: 257 are more than 256");
    unit_refuses (s_init, s_init_of (1, MAX + 1), "outputs: 257 are more than 256");
    unit_refuses (s_init, s_init_of (100000, 1), "inputs: 100000 are more than 256");
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
    static const char *const bytes[] = {"x''", "x'c1'", "x'dfffffffff'", "x'dd01000000'"};
    for (size_t i = 0; i < COUNT (bytes); i++) {
        unit_refuses (s_status, unit_frame (bytes[i]), "handshake: ");
        unit_refuses (s_init, unit_frame (bytes[i]), "INIT: ");
    }
}

//  -- The front-end's side

static startup_t *startup;

static int s_startup (void **state)
{
    static const handshake_init_t two = {.inputs = inputs, .outputs = outputs, .count = 2};
    startup = startup_new (2, &two);
    return 0;
}

static int s_destroy (void **state)
{
    startup_destroy (&startup);
    startup_destroy (&startup);
    return startup ? -1 : 0;
}

//  Hands over a message of these frames, the last of which may be NULL, and destroys them. `why` is
//  all of the error.
static void s_handle (zframe_t *identity, zframe_t *status, int result, const char *why)
{
    mp_error_t error = {.text = ""};
    zmsg_t *message = zmsg_new ();
    zmsg_append (message, &identity);
    if (status)
        zmsg_append (message, &status);
    size_t size = zmsg_size (message);
    zmsg_t *reply = message;  //  Anything but NULL
    if (result < 0) {
        assert_int_equal (startup_handle (startup, message, &reply, NULL), result);
        assert_null (reply);
        reply = message;
    }
    assert_int_equal (startup_handle (startup, message, &reply, &error), result);
    assert_string_equal (error.text, why);
    assert_int_equal (zmsg_size (message), size);  //  It stays the caller's
    bool hello = result >= 0 && streq (startup_state (startup, result), "connected");
    assert_int_equal (reply != NULL, hello);
    if (hello) {
        assert_int_equal (zmsg_size (reply), 2);
        zframe_t *frame = zmsg_pop (reply);
        assert_true (zframe_eq (frame, zmsg_first (message)));
        zframe_destroy (&frame);
        unit_is_vector (zmsg_pop (reply), VECTOR (HANDSHAKE_INIT_TWO));
    }
    zmsg_destroy (&reply);
    zmsg_destroy (&message);
}

static void s_comes (int engine, vector_t vector, int result, const char *why)
{
    byte identity[ENGINE_CORE_IDENTITY_SIZE];
    engine_core_identity ((uint16_t) engine, identity);
    s_handle (zframe_new (identity, sizeof identity), unit_vector_frame (vector), result, why);
}

static void s_hello (int engine)
{
    s_comes (engine, VECTOR (HANDSHAKE_HELLO), engine, "");
}

static void s_ready (int engine)
{
    s_comes (engine, VECTOR (HANDSHAKE_READY), engine, "");
}

//  The state of engines 0 and 1, and what is pending; "": nothing
static void s_is (const char *first, const char *second, const char *want)
{
    char *pending = startup_pending (startup);
    assert_string_equal (pending ? pending : "", want);
    assert_int_equal (startup_done (startup), !pending);
    assert_string_equal (startup_state (startup, 0), first);
    assert_string_equal (startup_state (startup, 1), second);
    zstr_free (&pending);
}

//  Each at its own pace. A message out of turn is refused and changes nothing.
static void test_order (void **state)
{
    s_is ("new", "new", "engine 0: no HELLO");
    s_comes (1, VECTOR (HANDSHAKE_READY), STARTUP_FAILED, "engine 1: READY in state new");
    s_hello (1);
    s_comes (1, VECTOR (HANDSHAKE_HELLO), STARTUP_FAILED, "engine 1: HELLO in state connected");
    s_is ("new", "connected", "engine 0: no HELLO");
    //  A hash may come with READY
    zframe_t *ready = unit_frame ("{'status':'READY','local':false,'headless':true,"
                                  "'parallel_config_hash':'9f86d081'}");
    s_handle (unit_frame ("x'0100'"), ready, 1, "");
    s_comes (1, VECTOR (HANDSHAKE_READY), STARTUP_FAILED, "engine 1: READY in state ready");
    s_comes (1, VECTOR (HANDSHAKE_HELLO), STARTUP_FAILED, "engine 1: HELLO in state ready");
    s_is ("new", "ready", "engine 0: no HELLO");
    s_hello (0);
    s_is ("connected", "ready", "engine 0: no READY");
    s_ready (0);
    s_is ("ready", "ready", "");
}

//  Engine 256, whose identity is 00 01, is neither engine 0 nor engine 1
static void test_many_engines (void **state)
{
    static const handshake_init_t two = {.inputs = inputs, .outputs = outputs, .count = 2};
    s_destroy (NULL);
    startup = startup_new (257, &two);
    s_hello (256);
    s_ready (256);
    s_is ("new", "new", "engine 0: no HELLO");
    for (int i = 0; i < 256; i++) {
        assert_false (startup_done (startup));
        s_hello (i);
        s_ready (i);
    }
    s_is ("ready", "ready", "");
}

static void test_refused (void **state)
{
    const struct {
        zframe_t *identity, *status;
        int result;
        const char *why;
    } cases[] = {
#define UNKNOWN(identity, hex)                                                                     \
    {unit_frame (identity), unit_vector_frame (VECTOR (HANDSHAKE_HELLO)), STARTUP_NONE,            \
     "handshake: identity " hex " is of no engine that is expected"}
        UNKNOWN ("x'0200'", "0200"),
        UNKNOWN ("x'0001'", "0001"),
        UNKNOWN ("x'ffff'", "FFFF"),
        UNKNOWN ("x''", ""),
        UNKNOWN ("x'00'", "00"),
        UNKNOWN ("x'000000'", "000000"),
        UNKNOWN ("x'616161616161616161616262626262626262626263'",
                 "6161616161616161616162626262626262626262"),
#define STATUS(text, result, why) {unit_frame ("x'0000'"), unit_frame (text), result, why}
        //  Our front-ends start their engines as if these were on other machines
        STATUS ("{'status':'HELLO','local':true,'headless':true}", STARTUP_FAILED,
                "engine 0: HELLO says local 1, headless 1; want a remote, headless engine"),
        STATUS ("{'status':'HELLO','local':false,'headless':false}", STARTUP_FAILED,
                "engine 0: HELLO says local 0, headless 0; want a remote, headless engine"),
        STATUS ("{'status':'READY','local':true,'headless':false}", STARTUP_FAILED,
                "engine 0: READY says local 1, headless 0; want a remote, headless engine"),
        //  It need not say local and headless
        STATUS ("{'status':'FAILED'}", STARTUP_FAILED,
                "engine 0: it has reported FAILED, its own log says why"),
        STATUS ("x'c1'", STARTUP_NONE,
                "engine 0: handshake: not msgpack, or nested more than 32 deep"),
        STATUS ("[]", STARTUP_NONE, "engine 0: handshake: want a map, got array"),
        {unit_frame ("x'0000'"), NULL, STARTUP_NONE,
         "handshake: want identity and status, got 1 frames"},
    };
    for (size_t i = 0; i < COUNT (cases); i++)
        s_handle (cases[i].identity, cases[i].status, cases[i].result, cases[i].why);
    //  As a REQ sends: with an empty frame in front
    mp_error_t error;
    zmsg_t *message = zmsg_new (), *reply = message;
    for (int i = 0; i < 3; i++)
        zmsg_addmem (message, "\0\0", 2);
    assert_int_equal (startup_handle (startup, message, &reply, &error), STARTUP_NONE);
    assert_string_equal (error.text, "handshake: want identity and status, got 3 frames");
    assert_null (reply);
    zmsg_destroy (&message);
    //  And it goes on
    s_is ("new", "new", "engine 0: no HELLO");
    s_hello (0);
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
        cmocka_unit_test_setup_teardown (test_order, s_startup, s_destroy),
        cmocka_unit_test_setup_teardown (test_many_engines, s_startup, s_destroy),
        cmocka_unit_test_setup_teardown (test_refused, s_startup, s_destroy),
    };
    return cmocka_run_group_tests_name ("handshake", tests, decoded_setup, decoded_teardown);
}
