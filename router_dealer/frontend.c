//  SPDX-License-Identifier: MIT
//  frontend.c - Demo 2: sends requests to an engine through a ROUTER, gathers tokens from a PULL
//
//  A ROUTER sends each message to the peer whose identity is the first frame. All requests leave at
//  once. Their tokens come back interleaved; the request's id in each output tells whose they are.
//
//  Run:   build/router_dealer/frontend in one terminal, build/router_dealer/engine in another
//  vLLM:  vllm/v1/engine/core_client.py MPClient.__init__, SyncMPClient._send_input,
//         SyncMPClient.__init__: process_outputs_socket

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
        fprintf (stderr, "frontend: bad outputs: malformed, or not for our requests\n");
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

int main (int argc, char **argv)
{
    const char *input = "tcp://127.0.0.1:5570", *output = "tcp://127.0.0.1:5571";
    args_read (argc, argv, "ROUTER and PULL: sends requests to an engine and gathers its tokens",
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

    //  1. An engine registers: from its message the ROUTER learns its identity
    int engine = -1;
    while (engine < 0 && !zsys_interrupted) {
        zmsg_t *message = zmsg_recv (router);
        engine = message ? handshake_engine (message, ENGINES_MAX) : -1;
        if (engine >= 0)
            printf ("engine %d registered\n", engine);
        else if (message)
            fprintf (stderr, "frontend: bad registration\n");
        zmsg_destroy (&message);
    }

    //  2. Send all requests, and wait for nothing in between
    for (int r = 0; engine >= 0 && r < requests; r++) {
        zmsg_t *message = engine_core_add (engine, r, max_tokens);
        zmsg_send (&message, router);
        printf ("r%d -> engine %d\n", r, engine);
    }

    //  3. Gather outputs until all requests have ended
    tokens = zmalloc ((size_t) requests * sizeof *tokens);
    while (ended < requests && !zsys_interrupted) {
        zmsg_t *message = zmsg_recv (pull);
        if (message)
            s_outputs (message);
        zmsg_destroy (&message);
    }
    printf ("frontend: %d of %d requests complete, %ld token%s\n", complete, requests, total,
            total == 1 ? "" : "s");
    free (tokens);
    zsock_destroy (&router);
    zsock_destroy (&pull);
    return complete == requests ? EXIT_SUCCESS : EXIT_FAILURE;
}
