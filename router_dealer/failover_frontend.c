//  SPDX-License-Identifier: MIT
//  failover_frontend.c - Demo 2.4: as round_robin_frontend, but if an engine dies, others go on
//
//  A killed engine sends nothing. So each gets a probe once a second, an ABORT of no request: with
//  ROUTER_MANDATORY, the ROUTER refuses to send it if the connection has ended.
//
//  Run:   build/router_dealer/failover_frontend --max-tokens 500, and two engines: kill -9 one
//  vLLM:  vllm/v1/engine/core_client.py BackgroundResources.validate_alive: if one dies, all end

#include "args.h"
#include "engine_core.h"
#include "handshake.h"

static int engines = 2, requests = 10, max_tokens = 4, ended = 0, complete = 0, living = 0;
static bool alive[ENGINES_MAX], started = false, changed = false;
static long sum = 0, tokens[100000];  //  Tokens of all requests, and of each
static int engine_of[100000];         //  Which one works on it; -1: none, -2: it has ended
static zsock_t *router, *pull;

//  An engine has registered, or has died. In both cases it has none of its requests any more.
static void s_set_alive (int engine, bool lives)
{
    printf ("engine %d %s\n", engine, lives ? "registered" : "has died");
    living += lives - alive[engine];
    alive[engine] = lives, changed = true;
    for (int r = 0; r < requests; r++)
        engine_of[r] = engine_of[r] == engine ? -1 : engine_of[r];
}

static void s_send (int engine, zmsg_t *message)
{
    if (zmsg_send (&message, router) == -1)  //  EHOSTUNREACH: its connection has ended
        s_set_alive (engine, false);
    zmsg_destroy (&message);
}

//  Sends the requests that no engine works on to the engines that live, in turn
static void s_deal (void)
{
    static int engine = -1;
    changed = false;
    for (int r = 0; r < requests && living > 0; r += engine_of[r] != -1)
        if (engine_of[r] == -1 && alive[engine = (engine + 1) % engines]) {
            printf ("r%d -> engine %d\n", r, engine);
            engine_of[r] = engine, tokens[r] = 0;
            s_send (engine, engine_core_add (engine, r, max_tokens));
        }
}

static void s_outputs (zmsg_t *message)
{
    int engine;
    msgpack_unpacked doc;
    const msgpack_object *outputs = engine_core_outputs (&doc, message, requests, &engine);
    if (!outputs)
        fprintf (stderr, "failover_frontend: bad outputs: malformed, or not for our requests\n");
    for (uint32_t i = 0; i < mp_count (outputs); i++) {
        engine_core_output_t o = engine_core_output (mp_at (outputs, i));
        int r = o.request;
        if (engine_of[r] != engine)
            continue;  //  It is late, from an engine that has died since
        tokens[r] += mp_count (o.token_ids);
        if (o.finish_reason && !streq (o.finish_reason, "abort")) {  //  Then the engine is exiting
            printf ("r%d <- engine %d: %ld token%s, %s\n", r, engine, tokens[r],
                    tokens[r] == 1 ? "" : "s", o.finish_reason);
            complete += streq (o.finish_reason, "length") || streq (o.finish_reason, "stop");
            engine_of[r] = -2, ended++, sum += tokens[r];
        }
    }
    msgpack_unpacked_destroy (&doc);
}

int main (int argc, char **argv)
{
    const char *input = "tcp://127.0.0.1:5570", *output = "tcp://127.0.0.1:5571";
    args_read (argc, argv, "ROUTER and PULL: sends requests in turn to engines that may die",
               (arg_t[]){{"input", "where the engines' DEALERs connect", .text = &input},
                         {"output", "where the engines' PUSHes connect", .text = &output},
                         {"engines", "how many", .number = &engines, .min = 1, .max = ENGINES_MAX},
                         {"requests", "how many", .number = &requests, .min = 1, .max = 100000},
                         {"max-tokens", "tokens for each", .number = &max_tokens, .min = 1},
                         {0}});
    router = zsock_new (ZMQ_ROUTER), pull = zsock_new (ZMQ_PULL);
    zsock_set_unbounded (router);
    zsock_set_router_mandatory (router, 1);
    zsock_set_linger (router, 500);  //  ms for an ABORT to leave when we exit
    if (zsock_bind (pull, "%s", output) == -1)
        args_fail (1, "cannot listen on %s: %s", output, zmq_strerror (zmq_errno ()));
    if (zsock_bind (router, "%s", input) == -1)
        args_fail (1, "cannot listen on %s: %s", input, zmq_strerror (zmq_errno ()));
    args_print_listening (router);
    args_print_listening (pull);
    memset (engine_of, 0xff, sizeof engine_of);  //  All -1
    zpoller_t *poller = zpoller_new (pull, router, NULL);
    int64_t probe_at = 0;
    while (ended < requests && !zsys_interrupted) {
        int64_t wait = probe_at - zclock_mono ();
        zsock_t *ready = zpoller_wait (poller, wait > 0 ? (int) wait : 0);
        zmsg_t *message = ready ? zmsg_recv (ready) : NULL;
        int engine = message && ready == router ? handshake_engine (message, engines) : -1;
        if (engine >= 0)
            s_set_alive (engine, true);
        else if (message && ready == router)
            fprintf (stderr, "failover_frontend: bad registration, or unknown engine\n");
        else if (message && zframe_streq (zmsg_first (message), ENGINE_CORE_DEAD))
            probe_at -= wait > 50 ? wait - 50 : 0;  //  Whose is it? In 50 ms, a probe will tell
        else if (message)
            s_outputs (message);
        zmsg_destroy (&message);
        bool due = zclock_mono () >= probe_at;
        for (int i = 0; due && i < engines; i++)
            if (alive[i])
                s_send (i, engine_core_abort (i, -1));
        probe_at = due ? zclock_mono () + 1000 : probe_at;
        started = started || living == engines;
        while (started && changed && living > 0)
            s_deal ();
    }
    for (int r = 0; r < requests; r++)  //  Stopped early: nobody waits for these any more
        if (engine_of[r] >= 0) {
            printf ("aborting r%d at engine %d\n", r, engine_of[r]);
            s_send (engine_of[r], engine_core_abort (engine_of[r], r));
        }
    printf ("failover_frontend: %d of %d requests complete, %ld token%s\n", complete, requests, sum,
            sum == 1 ? "" : "s");
    zpoller_destroy (&poller);
    zsock_destroy (&router);
    zsock_destroy (&pull);
    return complete == requests ? EXIT_SUCCESS : EXIT_FAILURE;
}
