//  SPDX-License-Identifier: MIT
//  handshake_frontend.c - Demo 2.3: as round_robin_frontend, but engines know only one address
//
//  An engine says HELLO to the handshake ROUTER. INIT, the answer, has the endpoints of the two
//  other sockets. The engine connects to them, registers, and says READY.
//
//  Run:   build/router_dealer/handshake_frontend in one terminal,
//         build/router_dealer/handshake_engine or build/tools/mock_engine in another
//  vLLM:  vllm/v1/engine/utils.py launch_core_engines, wait_for_engine_startup, CoreEngineState

#include "args.h"
#include "engine_core.h"
#include "handshake.h"

enum { NEW, CONNECTED, READY, REGISTERED };  //  States of an engine
static int engines = 1, requests = 10, max_tokens = 4, ended = 0, complete = 0;
static long total = 0, *tokens;  //  Tokens of all requests, and of each; -1: it has ended

static void s_outputs (zmsg_t *message)
{
    if (zmsg_size (message) == 1 && zframe_streq (zmsg_first (message), ENGINE_CORE_DEAD))
        args_fail (1, "an engine has died: %d requests have not ended", requests - ended);
    int engine;
    msgpack_unpacked doc;
    const msgpack_object *outputs = engine_core_outputs (&doc, message, requests, &engine);
    if (!outputs)
        fprintf (stderr, "handshake_frontend: bad outputs: malformed, or not for our requests\n");
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
    const char *hello = "tcp://127.0.0.1:29550";
    const char *input = "tcp://127.0.0.1:5570", *output = "tcp://127.0.0.1:5571";
    args_read (argc, argv, "tells engines where to connect, then sends them requests in turn",
               (arg_t[]){{"handshake", "where engines say HELLO", .text = &hello},
                         {"input", "where the engines' DEALERs connect", .text = &input},
                         {"output", "where the engines' PUSHes connect", .text = &output},
                         {"engines", "how many", .number = &engines, .min = 1, .max = 65536},
                         {"requests", "how many", .number = &requests, .min = 1, .max = 1000000},
                         {"max-tokens", "tokens for each", .number = &max_tokens, .min = 1},
                         {0}});

    zsock_t *handshake = zsock_new (ZMQ_ROUTER);
    zsock_t *router = zsock_new (ZMQ_ROUTER), *pull = zsock_new (ZMQ_PULL);
    zsock_set_unbounded (router);  //  As in vLLM. At a high-water mark, a ROUTER drops messages.
    if (zsock_bind (pull, "%s", output) == -1)
        args_fail (1, "cannot listen on %s: %s", output, zmq_strerror (zmq_errno ()));
    if (zsock_bind (router, "%s", input) == -1)
        args_fail (1, "cannot listen on %s: %s", input, zmq_strerror (zmq_errno ()));
    if (zsock_bind (handshake, "%s", hello) == -1)
        args_fail (1, "cannot listen on %s: %s", hello, zmq_strerror (zmq_errno ()));
    args_print_listening (handshake);
    args_print_listening (router);
    args_print_listening (pull);

    //  1. Answer each HELLO, and wait until engines 0 to N - 1 are ready
    int *states = zmalloc ((size_t) engines * sizeof *states);
    int count = 0;
    while (count < engines && !zsys_interrupted) {
        zmsg_t *message = zmsg_recv (handshake);
        int engine = message ? handshake_engine (message, engines) : -1;
        zframe_t *status = engine >= 0 ? zmsg_last (message) : NULL;
        if (handshake_is (status, "HELLO") && states[engine] != READY) {
            printf ("engine %d: HELLO\n", engine);
            zmsg_t *init = handshake_init (engine, router, pull);
            zmsg_send (&init, handshake);
            states[engine] = CONNECTED;
        } else if (handshake_is (status, "READY") && states[engine] == CONNECTED) {
            printf ("engine %d: READY\n", engine);
            states[engine] = READY;
            count++;
        } else if (message)
            fprintf (stderr, "handshake_frontend: bad handshake, or unknown engine\n");
        zmsg_destroy (&message);
    }
    zsock_destroy (&handshake);  //  It is for the start only

    //  2. Read their registrations, which may have come before READY: they are at another socket
    for (count = 0; count < engines && !zsys_interrupted;) {
        zmsg_t *message = zmsg_recv (router);
        int engine = message ? handshake_engine (message, engines) : -1;
        if (engine >= 0 && states[engine] == READY) {
            printf ("engine %d registered\n", engine);
            states[engine] = REGISTERED;
            count++;
        } else if (message)
            fprintf (stderr, "handshake_frontend: bad registration, or unknown engine\n");
        zmsg_destroy (&message);
    }

    //  3. Send all requests, to one engine after the other
    for (int r = 0; count > 0 && count == engines && r < requests; r++) {
        zmsg_t *message = engine_core_add (r % engines, r, max_tokens);
        zmsg_send (&message, router);
        printf ("r%d -> engine %d\n", r, r % engines);
    }

    //  4. Gather outputs until all requests have ended
    tokens = zmalloc ((size_t) requests * sizeof *tokens);
    while (ended < requests && !zsys_interrupted) {
        zmsg_t *message = zmsg_recv (pull);
        if (message)
            s_outputs (message);
        zmsg_destroy (&message);
    }
    printf ("handshake_frontend: %d of %d requests complete, %ld token%s\n", complete, requests,
            total, total == 1 ? "" : "s");
    free (states);
    free (tokens);
    zsock_destroy (&router);
    zsock_destroy (&pull);
    return complete == requests ? EXIT_SUCCESS : EXIT_FAILURE;
}
