//  SPDX-License-Identifier: MIT
//  poller_frontend.c - Demo 2.1: as frontend, with one poller that watches both sockets
//
//  frontend.c waits for the ROUTER first and for the PULL later, and so assumes an order. Here a
//  poller waits for both, and we read whichever has a message.
//
//  Run:   build/router_dealer/poller_frontend, and in another terminal build/router_dealer/engine
//  vLLM:  vllm/v1/engine/core.py EngineCoreProc.process_input_sockets: one poller, several sockets
//         vllm/v1/engine/core_client.py SyncMPClient.__init__: process_outputs_socket

#include "args.h"
#include "engine_core.h"
#include "handshake.h"

static int requests = 3, max_tokens = 4, ended = 0, complete = 0;
static long total = 0, *tokens;  //  Tokens of all requests, and of each; -1: it has ended

static void s_outputs (zmsg_t *message)
{
    if (zmsg_size (message) == 1 && zframe_streq (zmsg_first (message), ENGINE_CORE_DEAD))
        args_fail (1, "the engine has died: %d requests have not ended", requests - ended);
    int engine;
    msgpack_unpacked doc;
    const msgpack_object *outputs = engine_core_outputs (&doc, message, requests, &engine);
    if (!outputs)
        fprintf (stderr, "poller_frontend: bad outputs: malformed, or not for our requests\n");
    for (uint32_t i = 0; i < mp_count (outputs); i++) {
        engine_core_output_t o = engine_core_output (mp_at (outputs, i));
        int r = o.request;
        if (tokens[r] < 0)
            continue;  //  It has ended
        for (uint32_t t = 0; t < mp_count (o.token_ids); t++, tokens[r]++, total++)
            printf ("r%d <- engine %d: token %u\n", r, engine,
                    (uint32_t) mp_uint (mp_at (o.token_ids, t), 0));
        if (o.finish_reason) {
            printf ("r%d <- engine %d: %ld token%s, %s\n", r, engine, tokens[r],
                    tokens[r] == 1 ? "" : "s", o.finish_reason);
            complete += streq (o.finish_reason, "length") || streq (o.finish_reason, "stop");
            tokens[r] = -1, ended++;
        }
    }
    msgpack_unpacked_destroy (&doc);
}

static void s_send_requests (zsock_t *router, int engine)
{
    for (int r = 0; r < requests; r++) {
        zmsg_t *message = engine_core_add (engine, r, max_tokens);
        zmsg_send (&message, router);
        printf ("r%d -> engine %d\n", r, engine);
    }
}

int main (int argc, char **argv)
{
    const char *input = "tcp://127.0.0.1:5570", *output = "tcp://127.0.0.1:5571";
    args_read (argc, argv, "ROUTER and PULL under one poller: sends requests, gathers tokens",
               (arg_t[]){{"input", "where the engine's DEALER connects", .text = &input},
                         {"output", "where the engine's PUSH connects", .text = &output},
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

    tokens = zmalloc ((size_t) requests * sizeof *tokens);
    zpoller_t *poller = zpoller_new (pull, router, NULL);
    int engine = -1;
    while (ended < requests && !zsys_interrupted) {
        zsock_t *ready = zpoller_wait (poller, -1);
        zmsg_t *message = ready ? zmsg_recv (ready) : NULL;
        if (message && ready == pull)
            s_outputs (message);
        else if (message) {
            int registered = handshake_engine (message, ENGINES_MAX);
            if (registered >= 0)
                printf ("engine %d registered\n", registered);
            else
                fprintf (stderr, "poller_frontend: bad registration\n");
            if (engine < 0 && registered >= 0)
                s_send_requests (router, engine = registered);  //  The first one gets them all
        }
        zmsg_destroy (&message);
    }
    printf ("poller_frontend: %d of %d requests complete, %ld token%s\n", complete, requests, total,
            total == 1 ? "" : "s");
    free (tokens);
    zpoller_destroy (&poller);
    zsock_destroy (&router);
    zsock_destroy (&pull);
    return complete == requests ? EXIT_SUCCESS : EXIT_FAILURE;
}
