//  SPDX-License-Identifier: MIT
//
//  Most tests are scenarios (scenario.h). Their commands:
//
//      send NUMBER ENGINE               requests_message
//      take OUTPUTS [MORE]              requests_take: outputs as unit_pack takes them, and perhaps
//                                       a second frame
//      abort ENGINE                     prints the message of requests_abort
//      died ENGINE, reroute ENGINE      requests_engine_died: prints what it returns
//      engine ENGINE, summary           requests_print_engine, requests_print_summary
//      state                            prints the numbers of open requests and of those in flight,
//                                       which request is to be sent next, and "complete"

#include "scenario.h"

#include "engine/requests.h"

static requests_t *requests;

static int s_setup (void **state)
{
    log_program = "frontend";
    log_level = LOG_LINES;
    return 0;
}

static int s_end (void **state)
{
    requests_destroy (&requests);
    requests_destroy (&requests);
    return requests ? -1 : 0;
}

//  Takes the frame over
static void s_take (zframe_t *frame, const char *more)
{
    zmsg_t *message = zmsg_new ();
    zmsg_append (message, &frame);
    if (more)
        zmsg_addstr (message, more);
    size_t size = zmsg_size (message);
    requests_take (requests, message);
    if (zmsg_size (message) != size)  //  It stays the caller's
        abort ();
    zmsg_destroy (&message);
}

//  Prints the ids of an ABORT, and destroys it
static void s_print_abort (zmsg_t *message, int engine)
{
    if (!message) {
        puts ("nothing");
        return;
    }
    zframe_t *identity = zmsg_pop (message), *type = zmsg_pop (message);
    zframe_t *payload = zmsg_pop (message);
    engine_core_abort_t *ids = engine_core_abort_decode (payload, NULL);
    if (engine_core_index (identity) != engine || *zframe_data (type) != ENGINE_CORE_ABORT || !ids)
        abort ();
    fputs ("abort", stdout);
    for (size_t i = 0; i < ids->count; i++)
        printf (" %s", ids->request_ids[i]);
    puts ("");
    engine_core_abort_destroy (&ids);
    zframe_destroy (&identity);
    zframe_destroy (&type);
    zframe_destroy (&payload);
    zmsg_destroy (&message);
}

static void s_do (char *command)
{
    char *rest;
    const char *word = strtok_r (command, " ", &rest), *next = strtok_r (NULL, " ", &rest);
    int number = next ? (int) strtol (next, NULL, 10) : 0;
    if (streq (word, "send")) {
        int engine = (int) strtol (rest, NULL, 10);
        zmsg_t *message = requests_message (requests, number, engine);
        zmsg_destroy (&message);
    } else if (streq (word, "take")) {
        s_take (unit_frame (next), *rest ? rest : NULL);
    } else if (streq (word, "abort")) {
        s_print_abort (requests_abort (requests, number), number);
    } else if (streq (word, "died") || streq (word, "reroute")) {
        printf ("%d lost\n", requests_engine_died (requests, number, streq (word, "reroute")));
    } else if (streq (word, "engine")) {
        requests_print_engine (requests, number);
    } else if (streq (word, "summary")) {
        requests_print_summary (requests);
    } else {
        printf ("%d open, %d in flight, next %d%s\n", requests_open (requests),
                requests_in_flight (requests), requests_unsent (requests),
                requests_complete (requests) ? ", complete" : "");
    }
}

static void s_play (const char *script)
{
    scenario_play (script, s_do, NULL);
}

static const struct {
    const char *name;
    int count;
    const char *script;
} scenarios[] = {
    {"outputs in any order, several tokens at a time, several requests in a message", 3,
     "state -> > 3 open, 0 in flight, next 0\n"
     "send 0 1; send 1 1; send 2 1 -> "
     "> r0 -> engine 1 | > r1 -> engine 1 | > r2 -> engine 1\n"
     "take [1,[['r1',[17]]]]; state -> > 3 open, 3 in flight, next -1\n"
     "take [1,[['r2',[17,18],0,0,0,0],['r1',[17,18,19],0,0,0,1],['r0',[]]]] -> "
     "> r2 <- engine 1: 2 tokens, stop | > r1 <- engine 1: 4 tokens, length\n"
     "state -> > 1 open, 1 in flight, next -1\n"
     //  The end of a request counts once, in one message too
     "take [1,[['r0',[17,18,19],0,0,0,1],['r0',[17],0,0,0,1]]] -> "
     "> r0 <- engine 1: 3 tokens, length | ! engine 1: no open request has the id r0\n"
     "state; summary -> > 0 open, 0 in flight, next -1, complete | "
     "> 3 of 3 requests complete, 9 tokens"},

    {"aborted, or in error: a request has ended, and yet not all are complete", 4,
     "send 0 0; send 1 0; send 2 0; send 3 0 -> > r0 -> engine 0 | > r1 -> engine 0 | "
     "> r2 -> engine 0 | > r3 -> engine 0\n"
     "take [0,[['r0',[17,18],0,0,0,1],['r1',[17],0,0,0,2]]] -> "
     "> r0 <- engine 0: 2 tokens, length | > r1 <- engine 0: 1 token, abort\n"
     "summary -> > 1 of 4 requests complete, 3 tokens\n"
     "take [0,[['r2',[17],0,0,0,3],['r3',[17],0,0,0,4]]]; state -> "
     "> r2 <- engine 0: 1 token, error | > r3 <- engine 0: 1 token, repetition | "
     "> 0 open, 0 in flight, next -1\n"
     "summary -> > 1 of 4 requests complete, 5 tokens | ! 3 requests ended early"},

    {"aborted, or in error: a request has ended, and yet not all are complete", 1,
     "send 0 0; take [0,[['r0',[17],0,0,0,2]]]; summary -> > r0 -> engine 0 | "
     "> r0 <- engine 0: 1 token, abort | > 0 of 1 requests complete, 1 token | "
     "! 1 request ended early"},

    {"bad outputs", 1,
     "send 0 0 -> > r0 -> engine 0\n"
     "take x'' -> ! bad outputs: EngineCoreOutputs: empty\n"
     "take {} -> ! bad outputs: EngineCoreOutputs: want an array, got map\n"
     //  All or nothing: the good output before the bad one does not count
     "take [0,[['r0',[1],null,null,null,1],['r1',['x']]]] -> ! bad outputs: "
     "EngineCoreOutput.new_token_ids: [0]: want an unsigned integer, got str\n"
     "state -> > 1 open, 1 in flight, next -1\n"
     //  A message without outputs, and one with a tensor behind them
     "take [0,[],null,0.0,null,null,null,null]\n"
     "take [0,[['r0',[1],null,null,null,1]]] tensor -> > r0 <- engine 0: 1 token, length"},

    {"an abort names what is open at the engine", 6,
     "abort 0 -> > nothing\n"
     "send 0 0; send 1 1; send 2 0; send 3 1; send 4 0 -> > r0 -> engine 0 | "
     "> r1 -> engine 1 | > r2 -> engine 0 | > r3 -> engine 1 | > r4 -> engine 0\n"
     "abort 0 -> > aborting 3 requests at engine 0 | > abort r0 r2 r4\n"
     //  An output of engine 1 about a request at engine 0
     "take [1,[['r2',[17],0,0,0,1]]] -> ! engine 1: no open request has the id r2\n"
     "take [1,[['r3',[17],0,0,0,1]]]; abort 1 -> > r3 <- engine 1: 1 token, length | "
     "> aborting 1 request at engine 1 | > abort r1\n"
     "engine 0; engine 1; engine 2 -> "
     "> engine 0: r0 r2 r4 | > engine 1: r1 r3 | > engine 2:\n"
     //  r5 was not sent: it is at no engine
     "abort 2; abort -1 -> > nothing | > nothing"},

    {"what is open at a dead engine is lost, and nothing else", 5,
     "send 0 0; send 1 1; send 2 0; state; send 3 1 -> > r0 -> engine 0 | "
     "> r1 -> engine 1 | > r2 -> engine 0 | > 5 open, 3 in flight, next 3 | "
     "> r3 -> engine 1\n"
     "take [1,[['r1',[17],0,0,0,1]]]; state -> > r1 <- engine 1: 1 token, length | "
     "> 4 open, 3 in flight, next 4\n"
     "died 2; died 1; died 1; abort 1 -> > 0 lost | > r3 failed: engine 1 is dead | "
     "> 1 lost | > 0 lost | > nothing\n"
     //  Its last outputs come too late
     "take [1,[['r3',[17],0,0,0,1]]]; state -> > 3 open, 2 in flight, next 4 | "
     "! engine 1: no open request has the id r3\n"
     "died 0 -> > r0 failed: engine 0 is dead | > r2 failed: engine 0 is dead | > 2 lost\n"
     "died -1; state -> > r4 failed: no engine is left | > 1 lost | "
     "> 0 open, 0 in flight, next -1\n"
     //  The summary does not complain of those that were lost again
     "summary -> > 1 of 5 requests complete, 1 token"},

    {"what is open at a dead engine goes to another", 4,
     "send 0 0; send 1 1; send 2 0; send 3 1; state -> > r0 -> engine 0 | "
     "> r1 -> engine 1 | > r2 -> engine 0 | > r3 -> engine 1 | "
     "> 4 open, 4 in flight, next -1\n"
     "take [1,[['r1',[17]]]]\n"
     "reroute 1; state -> > r1 to be sent again: engine 1 is dead | "
     "> r3 to be sent again: engine 1 is dead | > 2 lost | > 4 open, 2 in flight, next 1\n"
     //  At no engine for now, and what engine 1 still had to say is no part of it
     "abort 1; take [1,[['r1',[17],0,0,0,1]]] -> > nothing | "
     "! engine 1: no open request has the id r1\n"
     "send 1 0; state; send 3 2; state -> > r1 -> engine 0 | > 4 open, 3 in flight, next 3 | "
     "> r3 -> engine 2 | > 4 open, 4 in flight, next -1\n"
     "abort 0; abort 2 -> > aborting 3 requests at engine 0 | > abort r0 r1 r2 | "
     "> aborting 1 request at engine 2 | > abort r3\n"
     //  Tokens of the first try do not count
     "summary -> > 0 of 4 requests complete, 0 tokens"},
};

static void test_scenarios (void **state)
{
    for (size_t i = 0; i < COUNT (scenarios); i++) {
        print_message ("  %s\n", scenarios[i].name);
        requests = requests_new (scenarios[i].count, 4, 0);
        s_play (scenarios[i].script);
        s_end (NULL);
    }
}

static void test_request (void **state)
{
    requests = requests_new (12, 4, 0);
    zmsg_t *message = requests_message (requests, 11, 258);
    assert_int_equal (zmsg_size (message), 3);
    zframe_t *identity = zmsg_pop (message), *type = zmsg_pop (message);
    zframe_t *payload = zmsg_pop (message);
    assert_int_equal (engine_core_index (identity), 258);
    assert_int_equal (zframe_size (type), 1);
    assert_int_equal (*zframe_data (type), ENGINE_CORE_ADD);
    engine_core_request_t *request = engine_core_request_decode (payload, NULL);
    assert_non_null (request);
    assert_string_equal (request->request_id, "r11");
    assert_true (request->prompt_token_count > 0);
    assert_int_equal (request->max_tokens, 4);
    assert_int_equal (request->client_index, 0);
    double now = (double) zclock_time () / 1000;
    assert_true (request->arrival_time > now - 60 && request->arrival_time < now + 60);
    engine_core_request_destroy (&request);
    zframe_destroy (&identity);
    zframe_destroy (&type);
    zframe_destroy (&payload);
    zmsg_destroy (&message);
}

//  About no open request: told on stderr, and nothing is counted
static void test_strange_ids (void **state)
{
    static const char *const ids[] = {"",
                                      "r",
                                      "r2",
                                      "r3",
                                      "r4",
                                      "r01",
                                      "r-1",
                                      "r+1",
                                      "r 1",
                                      "r1 ",
                                      "r1x",
                                      "R1",
                                      "1",
                                      "xr1",
                                      "r1.0",
                                      "r10",
                                      "rr1",
                                      "r\t1",
                                      "\xc3\xbf",
                                      "r2147483648",
                                      "r4294967297",
                                      "r99999999999999999999",
                                      "r18446744073709551617"};
    requests = requests_new (4, 4, 0);
    //  r3 is not open any more, and r2 was not sent
    s_play ("send 0 1; send 1 1; send 3 1 -> "
            "> r0 -> engine 1 | > r1 -> engine 1 | > r3 -> engine 1\n"
            "take [1,[['r3',[17],0,0,0,1]]] -> > r3 <- engine 1: 1 token, length");
    for (size_t i = 0; i < COUNT (ids); i++) {
        char text[60], want[100];
        snprintf (text, sizeof text, "[1,[['%s',[17],null,null,null,1]]]", ids[i]);
        snprintf (want, sizeof want, "frontend: engine 1: no open request has the id %s\n",
                  streq (ids[i], "r\t1") ? "r?1" : ids[i]);
        hear_begin ();
        s_take (unit_frame (text), NULL);
        hear_end ();
        assert_string_equal (said, "");
        assert_string_equal (complained, want);
    }
    s_play ("state; summary -> > 3 open, 2 in flight, next 2 | "
            "> 1 of 4 requests complete, 1 token");
}

static void test_probe (void **state)
{
    hear_begin ();
    s_print_abort (requests_probe (256), 256);
    hear_end ();
    assert_string_equal (said, "abort\n");
}

int main (void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown (test_scenarios, s_end),
        cmocka_unit_test_teardown (test_request, s_end),
        cmocka_unit_test_teardown (test_strange_ids, s_end),
        cmocka_unit_test_teardown (test_probe, s_end),
    };
    return cmocka_run_group_tests_name ("requests", tests, s_setup, hear_teardown);
}
