//  SPDX-License-Identifier: MIT
//  round_robin_frontend.c - Demo 2.2: as frontend, with several engines that get requests in turn
//
//  We collect the engines' identities, then choose one for each request: r0 goes to engine 0, r1 to
//  engine 1, r2 to engine 0 again. One PULL gathers all outputs. It cannot tell who sent a message:
//  engine_index in the payload can.
//
//  Run:   build/router_dealer/round_robin_frontend in one terminal, and in two more
//         build/router_dealer/engine --index 0, build/router_dealer/engine --index 1
//  vLLM:  vllm/v1/engine/core_client.py MPClient.__init__ (identities),
//         DPLBAsyncMPClient.get_core_engine_for_request (by load, not in turn)

#include "args.h"
#include "engine_core.h"
#include "handshake.h"

static int engines = 2, requests = 10, max_tokens = 4, ended = 0, complete = 0;
static long total = 0, *tokens;  //  Tokens of all requests, and of each; -1: it has ended

static void s_outputs (zmsg_t *message)
{
    if (zmsg_size (message) == 1 && zframe_streq (zmsg_first (message), ENGINE_CORE_DEAD))
        args_fail (1, "an engine has died: %d requests have not ended", requests - ended);
    int engine;
    msgpack_unpacked doc;
    const msgpack_object *outputs = engine_core_outputs (&doc, message, requests, &engine);
    if (!outputs)
        fprintf (stderr, "round_robin_frontend: bad outputs: malformed, or not for our requests\n");
    for (uint32_t i = 0; i < mp_count (outputs); i++) {
        engine_core_output_t o = engine_core_output (mp_at (outputs, i));
        int r = o.request;
        if (tokens[r] < 0 || engine != r % engines)
            continue;
        tokens[r] += mp_count (o.token_ids), total += mp_count (o.token_ids);
        if (o.finish_reason) {
            printf ("r%d <- engine %d: %ld token%s, %s\n", r, engine, tokens[r],
                    tokens[r] == 1 ? "" : "s", o.finish_reason);
            complete += streq (o.finish_reason, "length") || streq (o.finish_reason, "stop");
            tokens[r] = -1, ended++;
        }
    }
    msgpack_unpacked_destroy (&doc);
}

int main (int argc, char **argv)
{
    const char *input = "tcp://127.0.0.1:5570", *output = "tcp://127.0.0.1:5571";
    args_read (argc, argv, "ROUTER and PULL: sends requests to several engines in turn",
               (arg_t[]){{"input", "where the engines' DEALERs connect", .text = &input},
                         {"output", "where the engines' PUSHes connect", .text = &output},
                         {"engines", "how many", .number = &engines, .min = 1, .max = ENGINES_MAX},
                         {"requests", "how many", .number = &requests, .min = 1, .max = 1000000},
                         {"max-tokens", "tokens for each", .number = &max_tokens, .min = 1},
                         {0}});

    zsock_t *router = zsock_new (ZMQ_ROUTER), *pull = zsock_new (ZMQ_PULL);
    zsock_set_unbounded (router);  //  As in vLLM. At a high-water mark, a ROUTER drops messages.
    if (zsock_bind (pull, "%s", output) == -1)
        args_fail (1, "cannot listen on %s: %s", output, zmq_strerror (zmq_errno ()));
    if (zsock_bind (router, "%s", input) == -1)
        args_fail (1, "cannot listen on %s: %s", input, zmq_strerror (zmq_errno ()));
    args_print_listening (router);
    args_print_listening (pull);

    //  1. Wait until engines 0 to N - 1 have registered
    bool *registered = zmalloc ((size_t) engines * sizeof *registered);
    int count = 0;
    while (count < engines && !zsys_interrupted) {
        zmsg_t *message = zmsg_recv (router);
        int engine = message ? handshake_engine (message, engines) : -1;
        if (engine >= 0) {
            printf ("engine %d registered\n", engine);
            count += !registered[engine];
            registered[engine] = true;
        } else if (message)
            fprintf (stderr, "round_robin_frontend: bad registration, or unknown engine\n");
        zmsg_destroy (&message);
    }

    //  2. Send all requests, to one engine after the other
    for (int r = 0; count > 0 && count == engines && r < requests; r++) {
        zmsg_t *message = engine_core_add (r % engines, r, max_tokens);
        zmsg_send (&message, router);
        printf ("r%d -> engine %d\n", r, r % engines);
    }

    //  3. Gather outputs until all requests have ended
    tokens = zmalloc ((size_t) requests * sizeof *tokens);
    while (ended < requests && !zsys_interrupted) {
        zmsg_t *message = zmsg_recv (pull);
        if (message)
            s_outputs (message);
        zmsg_destroy (&message);
    }
    for (int engine = 0; engine < engines; engine++) {
        printf ("engine %d:", engine);
        for (int r = engine; r < requests; r += engines)
            printf (" r%d", r);
        printf ("\n");
    }
    printf ("round_robin_frontend: %d of %d requests complete, %ld token%s\n", complete, requests,
            total, total == 1 ? "" : "s");
    free (registered);
    free (tokens);
    zsock_destroy (&router);
    zsock_destroy (&pull);
    return complete == requests ? EXIT_SUCCESS : EXIT_FAILURE;
}
