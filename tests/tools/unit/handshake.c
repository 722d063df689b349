//  SPDX-License-Identifier: MIT

#include "unit.h"
#include "vectors.h"

#include "engine/engine_core.h"
#include "engine/handshake.h"

//  The addresses of the vectors
static const char *inputs[] = {"tcp://127.0.0.1:5570", "tcp://127.0.0.1:5571"};
static const char *outputs[] = {"tcp://127.0.0.1:5580", "tcp://127.0.0.1:5581"};
#define COORDINATOR_INPUT "tcp://127.0.0.1:5590"
#define COORDINATOR_OUTPUT "tcp://127.0.0.1:5591"
#define STATS_ADDRESS "tcp://127.0.0.1:5592"

//  -- Decoders, as unit.h wants them

static bool s_status (zframe_t *frame, mp_error_t *error)
{
    handshake_status_t status;
    if (handshake_status_decode (frame, &status, error) == -1)
        return false;
    assert_true (streq (status.status, "HELLO") || streq (status.status, "READY"));
    return true;
}

static bool s_init (zframe_t *frame, mp_error_t *error)
{
    handshake_init_t *init = handshake_init_decode (frame, error);
    if (!init)
        return false;
    assert_true (init->count > 0);
    assert_int_equal (!init->coordinator_input, !init->coordinator_output);
    zframe_t *again = handshake_init_encode (init);
    zframe_destroy (&again);
    handshake_init_destroy (&init);
    return true;
}

//  -- HELLO and READY

static void test_status_encode (void **state)
{
    handshake_status_t status = {.status = "HELLO", .headless = true};
    unit_is_vector (handshake_status_encode (&status), VECTOR (HANDSHAKE_HELLO));
    status.status = "READY";
    unit_is_vector (handshake_status_encode (&status), VECTOR (HANDSHAKE_READY));
    status.local = true;
    status.headless = false;
    status.parallel_config_hash = "9f86d081";
    unit_is_vector (handshake_status_encode (&status), VECTOR (HANDSHAKE_READY_HASH));
}

static void test_status_decode (void **state)
{
    const struct {
        zframe_t *frame;
        const char *status;
        bool local, headless;
    } cases[] = {
        {unit_vector_frame (VECTOR (HANDSHAKE_HELLO)), "HELLO", false, true},
        {unit_vector_frame (VECTOR (HANDSHAKE_READY)), "READY", false, true},
        {unit_vector_frame (VECTOR (HANDSHAKE_READY_HASH)), "READY", true, false},
        //  Another order, and what a newer vLLM may add
        {unit_frame ("{'newer':[{}],'headless':true,'local':true,'status':'HELLO',1:2}"), "HELLO",
         true, true},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        zframe_t *frame = cases[i].frame;
        handshake_status_t status;
        memset (&status, 0xff, sizeof status);
        assert_int_equal (handshake_status_decode (frame, &status, NULL), 0);
        zframe_destroy (&frame);
        assert_string_equal (status.status, cases[i].status);
        assert_int_equal (status.local, cases[i].local);
        assert_int_equal (status.headless, cases[i].headless);
        assert_null (status.parallel_config_hash);
    }
}

static void test_status_wrong (void **state)
{
    unit_types (s_status, VECTOR (HANDSHAKE_HELLO), (field_t){"", "handshake", ""});
    unit_types (s_status, VECTOR (HANDSHAKE_HELLO), (field_t){"status", "handshake.status", ""});
    unit_types (s_status, VECTOR (HANDSHAKE_HELLO), (field_t){"local", "handshake", "b"});
    unit_types (s_status, VECTOR (HANDSHAKE_HELLO), (field_t){"headless", "handshake", "b"});
    unit_types (s_status, VECTOR (HANDSHAKE_READY_HASH),
                (field_t){"parallel_config_hash", "passed over", "nbuif4shamx"});
    static const struct {
        const char *path, *value, *why;
    } cases[] = {
        {"", "{}", "handshake.status: want a str, got nothing"},
        {"", "[]", "handshake: want a map, got array"},
        {"status", NULL, "handshake.status: want a str, got nothing"},
        {"status", "'hello'", "handshake.status: want HELLO or READY, got hello"},
        {"status", "''", "handshake.status: want HELLO or READY, got "},
        {"status", "'HELLO '", "handshake.status: want HELLO or READY, got HELLO "},
        {"status", "'INIT'", "handshake.status: want HELLO or READY, got INIT"},
        {"status", "x'a648454c4c4f00'", "handshake.status: has a NUL byte in it"},
        {"status", "x'a2c328'", "handshake.status: is not UTF-8"},
        {"local", NULL, "handshake: want a boolean local"},
        {"local", "0", "handshake: want a boolean local"},
        {"headless", NULL, "handshake: want a boolean headless"},
        {"headless", "1", "handshake: want a boolean headless"},
    };
    for (size_t i = 0; i < COUNT (cases); i++)
        unit_refuses (s_status, unit_edit (VECTOR (HANDSHAKE_HELLO), cases[i].path, cases[i].value),
                      cases[i].why);
}

//  -- INIT

static void test_init_encode (void **state)
{
    handshake_init_t init = {.inputs = inputs, .outputs = outputs, .count = 1};
    unit_is_vector (handshake_init_encode (&init), VECTOR (HANDSHAKE_INIT_ONE));
    init.count = 2;
    unit_is_vector (handshake_init_encode (&init), VECTOR (HANDSHAKE_INIT_TWO));
    init.coordinator_input = COORDINATOR_INPUT;
    init.coordinator_output = COORDINATOR_OUTPUT;
    init.count = 1;
    unit_is_vector (handshake_init_encode (&init), VECTOR (HANDSHAKE_INIT_ONE_COORDINATOR));
    //  All that the vector has, but for what is for models with experts
    init.count = 2;
    init.frontend_stats_publish_address = STATS_ADDRESS;
    zframe_t *want = unit_edit (VECTOR (HANDSHAKE_INIT_TWO_COORDINATOR), "parallel_config", "{}");
    vector_t vector = {"INIT", zframe_data (want), zframe_size (want)};
    unit_is_vector (handshake_init_encode (&init), vector);
    zframe_destroy (&want);
}

static void s_is_address (const char *address, const char *want)
{
    if (want)
        assert_string_equal (address, want);
    else
        assert_null (address);
}

static void test_init_decode (void **state)
{
    const struct {
        vector_t vector;
        size_t count;
        const char *coordinator_input, *coordinator_output, *stats;
    } cases[] = {
        {VECTOR (HANDSHAKE_INIT_ONE), 1, NULL, NULL, NULL},
        {VECTOR (HANDSHAKE_INIT_TWO), 2, NULL, NULL, NULL},
        {VECTOR (HANDSHAKE_INIT_ONE_COORDINATOR), 1, COORDINATOR_INPUT, COORDINATOR_OUTPUT, NULL},
        {VECTOR (HANDSHAKE_INIT_TWO_COORDINATOR), 2, COORDINATOR_INPUT, COORDINATOR_OUTPUT,
         STATS_ADDRESS},
    };
    for (size_t i = 0; i < COUNT (cases); i++) {
        zframe_t *frame = unit_vector_frame (cases[i].vector);
        handshake_init_t *init = handshake_init_decode (frame, NULL);
        zframe_destroy (&frame);  //  Its memory is its own
        assert_non_null (init);
        assert_int_equal (init->count, cases[i].count);
        for (size_t k = 0; k < init->count; k++) {
            assert_string_equal (init->inputs[k], inputs[k]);
            assert_string_equal (init->outputs[k], outputs[k]);
        }
        s_is_address (init->coordinator_input, cases[i].coordinator_input);
        s_is_address (init->coordinator_output, cases[i].coordinator_output);
        s_is_address (init->frontend_stats_publish_address, cases[i].stats);
        handshake_init_destroy (&init);
        assert_null (init);
        handshake_init_destroy (&init);
    }
}

//  What is not there is none, what a newer vLLM may add is passed over
static void test_init_lengths (void **state)
{
    unit_takes (s_init, unit_frame ("{'addresses':{'inputs':['a'],'outputs':['b']}}"), "least");
    static const char *const optional[] = {"coordinator_input", "coordinator_output",
                                           "frontend_stats_publish_address"};
    for (size_t i = 0; i < COUNT (optional); i++) {
        char path[60];
        snprintf (path, sizeof path, "addresses.%s", optional[i]);
        unit_takes (s_init, unit_edit (VECTOR (HANDSHAKE_INIT_ONE), path, NULL), path);
    }
    unit_takes (s_init, unit_edit (VECTOR (HANDSHAKE_INIT_ONE), "parallel_config", NULL), "config");
    unit_takes (s_init,
                unit_frame ("{'newer':1,'addresses':{'newer':[],'outputs':['b'],'inputs':['a']}}"),
                "newer");
}

static void test_init_wrong (void **state)
{
    static const field_t fields[] = {
        {"", "INIT", ""},
        {"addresses.inputs", "inputs", ""},
        {"addresses.inputs.1", "inputs", "s"},
        {"addresses.outputs", "outputs", ""},
        {"addresses.outputs.0", "outputs", "s"},
        {"addresses.frontend_stats_publish_address", "frontend_stats_publish_address", "ns"},
        {"parallel_config", "passed over", "nbuif4shamx"},
    };
    for (size_t i = 0; i < COUNT (fields); i++)
        unit_types (s_init, VECTOR (HANDSHAKE_INIT_TWO_COORDINATOR), fields[i]);

    static const struct {
        const char *path, *value, *why;
    } cases[] = {
        {"", "{}", "INIT.addresses: want a map, got nothing"},
        {"addresses", NULL, "INIT.addresses: want a map, got nothing"},
        {"addresses", "[]", "INIT.addresses: want a map, got array"},
        {"addresses", "'a'", "INIT.addresses: want a map, got str"},
        {"addresses", "{}", "inputs: want an array, got nothing"},
        {"addresses.inputs", NULL, "inputs: want an array, got nothing"},
        {"addresses.inputs", "[]", "inputs: want an array of 1 or more, got 0"},
        {"addresses.inputs.0", "1", "inputs: want a str, got integer"},
        {"addresses.inputs.1", "null", "inputs: want a str, got nil"},
        {"addresses.inputs.1", "x'a26100'", "inputs: has a NUL byte in it"},
        {"addresses.outputs", NULL, "outputs: want an array, got nothing"},
        {"addresses.outputs", "[]", "outputs: want an array of 1 or more, got 0"},
        {"addresses.outputs.1", "x'a2c328'", "outputs: is not UTF-8"},
        {"addresses.outputs", "['a']", "INIT.addresses: 2 inputs, but 1 outputs"},
        {"addresses.outputs", "['a','b','c']", "INIT.addresses: 2 inputs, but 3 outputs"},
        {"addresses.inputs", "['a']", "INIT.addresses: 1 inputs, but 2 outputs"},
        {"addresses.coordinator_input", "1", "coordinator_input: want a str, got integer"},
        {"addresses.coordinator_output", "[]", "coordinator_output: want a str, got array"},
        {"addresses.coordinator_input", NULL, "INIT.addresses: a coordinator has an input and an"},
        {"addresses.coordinator_input", "null", "INIT.addresses: a coordinator has an input and"},
        {"addresses.coordinator_output", "null", "INIT.addresses: a coordinator has an input and"},
    };
    for (size_t i = 0; i < COUNT (cases); i++)
        unit_refuses (
            s_init,
            unit_edit (VECTOR (HANDSHAKE_INIT_TWO_COORDINATOR), cases[i].path, cases[i].value),
            cases[i].why);
}

//  The vector with so many inputs and outputs
static zframe_t *s_init_of (size_t input_count, size_t output_count)
{
    mp_writer_t writer;
    msgpack_packer *packer = mp_begin (&writer);
    msgpack_pack_map (packer, 1);
    mp_pack_str (packer, "addresses");
    msgpack_pack_map (packer, 2);
    mp_pack_str (packer, "inputs");
    msgpack_pack_array (packer, input_count);
    for (size_t i = 0; i < input_count; i++)
        mp_pack_str (packer, "inproc://a");
    mp_pack_str (packer, "outputs");
    msgpack_pack_array (packer, output_count);
    for (size_t i = 0; i < output_count; i++)
        mp_pack_str (packer, "inproc://b");
    return mp_end (&writer);
}

static void test_too_many_addresses (void **state)
{
    unit_takes (s_init, s_init_of (HANDSHAKE_CLIENTS_MAX, HANDSHAKE_CLIENTS_MAX), "the most");
    unit_refuses (s_init, s_init_of (HANDSHAKE_CLIENTS_MAX + 1, HANDSHAKE_CLIENTS_MAX + 1),
                  "inputs: 257 are more than 256");
    unit_refuses (s_init, s_init_of (1, HANDSHAKE_CLIENTS_MAX + 1),
                  "outputs: 257 are more than 256");
    unit_refuses (s_init, s_init_of (100000, 1), "inputs: 100000 are more than 256");
}

//  Bytes that are nothing to either of them
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
    //  One is not the other
    unit_refuses (s_status, unit_vector_frame (VECTOR (HANDSHAKE_INIT_ONE)), "handshake.status: ");
    unit_refuses (s_init, unit_vector_frame (VECTOR (HANDSHAKE_HELLO)), "INIT.addresses: ");
}

//  -- The front-end's side

static const handshake_init_t init_two = {.inputs = inputs, .outputs = outputs, .count = 2};

//  What an engine sends: identity of `size` bytes, and that
static zmsg_t *s_message (const char *identity, size_t size, vector_t vector)
{
    zmsg_t *message = zmsg_new ();
    zmsg_addmem (message, identity, size);
    zmsg_addmem (message, vector.data, vector.size);
    return message;
}

//  Hands a message over, which is destroyed. Returns the reply; it has to be the engine's index.
static zmsg_t *s_handle (startup_t *self, zmsg_t *message, int engine)
{
    mp_error_t error = {.text = ""};
    zmsg_t *reply = (zmsg_t *) self;  //  Anything but NULL
    assert_int_equal (startup_handle (self, message, &reply, &error), engine);
    assert_string_equal (error.text, "");
    assert_int_equal (zmsg_size (message), 2);  //  It stays the caller's
    zmsg_destroy (&message);
    return reply;
}

//  A message that is refused with `result`, and destroyed. `why` is all of the error.
static void s_is_refused (startup_t *self, zmsg_t *message, int result, const char *why)
{
    mp_error_t error = {.text = ""};
    zmsg_t *reply = (zmsg_t *) self;
    assert_int_equal (startup_handle (self, message, &reply, NULL), result);
    assert_null (reply);
    assert_int_equal (startup_handle (self, message, &reply, &error), result);
    assert_null (reply);
    assert_string_equal (error.text, why);
    zmsg_destroy (&message);
}

//  One that makes no sense
static void s_refuses (startup_t *self, zmsg_t *message, const char *why)
{
    s_is_refused (self, message, STARTUP_NONE, why);
}

//  One of an engine that cannot start
static void s_fails (startup_t *self, zmsg_t *message, const char *why)
{
    s_is_refused (self, message, STARTUP_FAILED, why);
}

static void s_hello (startup_t *self, int engine)
{
    byte identity[ENGINE_CORE_IDENTITY_SIZE];
    engine_core_identity ((uint16_t) engine, identity);
    zmsg_t *message = s_message ((char *) identity, 2, VECTOR (HANDSHAKE_HELLO));
    zmsg_t *reply = s_handle (self, message, engine);
    assert_non_null (reply);
    assert_int_equal (zmsg_size (reply), 2);
    zframe_t *frame = zmsg_pop (reply);
    assert_int_equal (zframe_size (frame), 2);
    assert_memory_equal (zframe_data (frame), identity, 2);
    zframe_destroy (&frame);
    unit_is_vector (zmsg_pop (reply), VECTOR (HANDSHAKE_INIT_TWO));
    zmsg_destroy (&reply);
}

static void s_ready (startup_t *self, int engine)
{
    byte identity[ENGINE_CORE_IDENTITY_SIZE];
    engine_core_identity ((uint16_t) engine, identity);
    zmsg_t *message = s_message ((char *) identity, 2, VECTOR (HANDSHAKE_READY));
    assert_null (s_handle (self, message, engine));
}

//  NULL: all are ready
static void s_is_pending (const startup_t *self, const char *want)
{
    char *pending = startup_pending (self);
    s_is_address (pending, want);
    assert_int_equal (startup_done (self), !want);
    zstr_free (&pending);
}

static void test_one_engine (void **state)
{
    startup_t *self = startup_new (1, &init_two);
    assert_string_equal (startup_state (self, 0), "new");
    s_is_pending (self, "engine 0: no HELLO");
    s_hello (self, 0);
    assert_string_equal (startup_state (self, 0), "connected");
    s_is_pending (self, "engine 0: no READY");
    s_ready (self, 0);
    assert_string_equal (startup_state (self, 0), "ready");
    s_is_pending (self, NULL);
    startup_destroy (&self);
    assert_null (self);
    startup_destroy (&self);
}

//  Each at its own pace
static void test_several_engines (void **state)
{
    startup_t *self = startup_new (300, &init_two);
    s_hello (self, 256);  //  00 01, not to be taken for engine 1 or 0
    assert_string_equal (startup_state (self, 256), "connected");
    assert_string_equal (startup_state (self, 0), "new");
    assert_string_equal (startup_state (self, 1), "new");
    s_ready (self, 256);
    s_is_pending (self, "engine 0: no HELLO");
    s_hello (self, 1);
    s_hello (self, 0);
    s_is_pending (self, "engine 0: no READY");
    s_ready (self, 0);
    s_is_pending (self, "engine 1: no READY");
    s_ready (self, 1);
    s_is_pending (self, "engine 2: no HELLO");
    for (int i = 2; i < 300; i++)
        if (i != 256) {
            s_hello (self, i);
            assert_false (startup_done (self));
            s_ready (self, i);
        }
    s_is_pending (self, NULL);
    startup_destroy (&self);
}

//  A hash may come with READY
static void test_ready_with_a_hash (void **state)
{
    startup_t *self = startup_new (1, &init_two);
    s_hello (self, 0);
    zmsg_t *message = zmsg_new ();
    zmsg_addmem (message, "\0\0", 2);
    handshake_status_t status = {
        .status = "READY", .headless = true, .parallel_config_hash = "9f86d081"};
    zframe_t *frame = handshake_status_encode (&status);
    zmsg_append (message, &frame);
    assert_null (s_handle (self, message, 0));
    s_is_pending (self, NULL);
    startup_destroy (&self);
}

//  A message of another turn is refused and changes nothing
static void test_order (void **state)
{
    startup_t *self = startup_new (2, &init_two);
    s_fails (self, s_message ("\1\0", 2, VECTOR (HANDSHAKE_READY)), "engine 1: READY in state new");
    assert_string_equal (startup_state (self, 1), "new");
    s_hello (self, 1);
    s_fails (self, s_message ("\1\0", 2, VECTOR (HANDSHAKE_HELLO)),
             "engine 1: HELLO in state connected");
    assert_string_equal (startup_state (self, 1), "connected");
    s_ready (self, 1);
    s_fails (self, s_message ("\1\0", 2, VECTOR (HANDSHAKE_READY)),
             "engine 1: READY in state ready");
    s_fails (self, s_message ("\1\0", 2, VECTOR (HANDSHAKE_HELLO)),
             "engine 1: HELLO in state ready");
    assert_string_equal (startup_state (self, 1), "ready");
    assert_string_equal (startup_state (self, 0), "new");
    startup_destroy (&self);
}

//  Nobody that is expected
static void test_unknown_engine (void **state)
{
    static const struct {
        const char *identity;
        size_t size;
        const char *hex;
    } cases[] = {
        {"\2\0", 2, "0200"},
        {"\0\1", 2, "0001"},
        {"\xff\xff", 2, "FFFF"},
        {"", 0, ""},
        {"\0", 1, "00"},
        {"\0\0\0", 3, "000000"},
        {"\0\1\2\3\4", 5, "0001020304"},
        {"aaaaaaaaaabbbbbbbbbbc", 21, "6161616161616161616162626262626262626262"},
    };
    startup_t *self = startup_new (2, &init_two);
    for (size_t i = 0; i < COUNT (cases); i++) {
        char why[120];
        snprintf (why, sizeof why, "handshake: identity %s is of no engine that is expected",
                  cases[i].hex);
        s_refuses (self, s_message (cases[i].identity, cases[i].size, VECTOR (HANDSHAKE_HELLO)),
                   why);
    }
    s_is_pending (self, "engine 0: no HELLO");
    startup_destroy (&self);
}

//  Our front-ends start their engines as if these were on other machines
static void test_local_engine (void **state)
{
    static const struct {
        const char *status, *why;
    } cases[] = {
        {"{'status':'HELLO','local':true,'headless':true}",
         "engine 0: HELLO says local 1, headless 1; want a remote, headless engine"},
        {"{'status':'HELLO','local':false,'headless':false}",
         "engine 0: HELLO says local 0, headless 0; want a remote, headless engine"},
        {"{'status':'READY','local':true,'headless':false}",
         "engine 0: READY says local 1, headless 0; want a remote, headless engine"},
    };
    startup_t *self = startup_new (1, &init_two);
    for (size_t i = 0; i < COUNT (cases); i++) {
        zframe_t *frame = unit_frame (cases[i].status);
        vector_t vector = {"status", zframe_data (frame), zframe_size (frame)};
        s_fails (self, s_message ("\0\0", 2, vector), cases[i].why);
        zframe_destroy (&frame);
        assert_string_equal (startup_state (self, 0), "new");
    }
    startup_destroy (&self);
}

static void test_bad_messages (void **state)
{
    startup_t *self = startup_new (1, &init_two);
    zmsg_t *message = zmsg_new ();
    s_refuses (self, message, "handshake: want identity and status, got 0 frames");
    message = zmsg_new ();
    zmsg_addmem (message, "\0\0", 2);
    s_refuses (self, message, "handshake: want identity and status, got 1 frames");
    //  As a REQ sends: with an empty frame in front
    message = s_message ("\0\0", 2, VECTOR (HANDSHAKE_HELLO));
    zmsg_pushmem (message, "", 0);
    s_refuses (self, message, "handshake: want identity and status, got 3 frames");

    static const unsigned char nothing[] = {0xc1}, array[] = {0x90};
    //  {"status": "FAILED"}: it need not say local and headless
    static const unsigned char failed[] = {0x81, 0xa6, 's', 't', 'a', 't', 'u', 's',
                                           0xa6, 'F',  'A', 'I', 'L', 'E', 'D'};
    s_refuses (self, s_message ("\0\0", 2, VECTOR (nothing)),
               "engine 0: handshake: not msgpack, or nested more than 32 deep");
    s_refuses (self, s_message ("\0\0", 2, VECTOR (array)),
               "engine 0: handshake: want a map, got array");
    s_refuses (self, s_message ("\0\0", 2, VECTOR (HANDSHAKE_INIT_ONE)),
               "engine 0: handshake.status: want a str, got nothing");
    s_fails (self, s_message ("\0\0", 2, VECTOR (failed)),
             "engine 0: it has reported FAILED, its own log says why");
    s_is_pending (self, "engine 0: no HELLO");
    //  And it goes on
    s_hello (self, 0);
    s_ready (self, 0);
    s_is_pending (self, NULL);
    startup_destroy (&self);
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test (test_status_encode),   cmocka_unit_test (test_status_decode),
        cmocka_unit_test (test_status_wrong),    cmocka_unit_test (test_init_encode),
        cmocka_unit_test (test_init_decode),     cmocka_unit_test (test_init_lengths),
        cmocka_unit_test (test_init_wrong),      cmocka_unit_test (test_too_many_addresses),
        cmocka_unit_test (test_hostile),         cmocka_unit_test (test_one_engine),
        cmocka_unit_test (test_several_engines), cmocka_unit_test (test_ready_with_a_hash),
        cmocka_unit_test (test_order),           cmocka_unit_test (test_unknown_engine),
        cmocka_unit_test (test_local_engine),    cmocka_unit_test (test_bad_messages),
    };
    return cmocka_run_group_tests_name ("handshake", tests, NULL, NULL);
}
