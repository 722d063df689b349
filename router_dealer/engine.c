//  SPDX-License-Identifier: MIT
//  engine.c - Demo 2: a toy engine: takes requests from a DEALER, streams tokens out of a PUSH
//
//  A ROUTER cannot send to a peer before their handshake. A first message proves that it is done,
//  so the engine registers. In each step every request gets a token, and one message takes them all
//  to the front-end. The next front-end gets new sockets: the old ones may still hold messages.
//
//  Run:   build/router_dealer/engine in one terminal, build/router_dealer/frontend in another
//  vLLM:  vllm/v1/engine/core.py EngineCoreProc.process_input_sockets, run_busy_loop,
//         process_output_sockets: three threads with queues between them

#include "args.h"
#include "engine_core.h"
#include "handshake.h"

static int engine_index = 0, step_ms = 10, count = 0, finished = 0, aborted = 0, bad = 0;
static zsock_t *dealer, *push, *monitor;
static zlistx_t *requests;  //  Those that are running

static void s_connect (const char *input, const char *output)
{
    push = zsock_new (ZMQ_PUSH), dealer = zsock_new (ZMQ_DEALER);
    handshake_set_identity (dealer, engine_index);
    zsock_set_reconnect_ivl (push, 300);    //  ms. Until then we notice that the front-end
    zsock_set_reconnect_ivl (dealer, 300);  //  has disconnected, and replace the sockets.
    zsock_set_unbounded (push);             //  No high-water mark, as in vLLM: sending never waits
    monitor = handshake_watch_new (dealer, ZMQ_EVENT_DISCONNECTED);
    if (zsock_connect (push, "%s", output) == -1 || zsock_connect (dealer, "%s", input) == -1)
        args_fail (1, "cannot connect to %s or %s: %s", input, output, zmq_strerror (zmq_errno ()));
    printf ("registering as engine %d\n", engine_index);
    zframe_t *ready = handshake_registration (engine_index);
    zframe_send (&ready, dealer, 0);  //  Waits in the DEALER until a front-end is there
}

//  A token for each request, or its end
static void s_step (void)
{
    zframe_t *outputs = engine_core_step (engine_index, requests);
    zframe_send (&outputs, push, 0);
    for (engine_core_request_t *r = zlistx_first (requests); r; r = zlistx_next (requests)) {
        if (r->tokens == 1 && !r->aborted)
            printf ("%s: %u prompt token%s\n", r->name, r->prompt_tokens,
                    r->prompt_tokens == 1 ? "" : "s");
        if (r->aborted)
            printf ("%s: aborted\n", r->name);
        else if (r->tokens == r->max_tokens)
            printf ("%s: %u token%s, length\n", r->name, r->tokens, r->tokens == 1 ? "" : "s");
        else
            continue;
        *(r->aborted ? &aborted : &finished) += 1;
        zlistx_detach_cur (requests);
        engine_core_request_destroy (&r);
    }
}

int main (int argc, char **argv)
{
    const char *input = "tcp://127.0.0.1:5570", *output = "tcp://127.0.0.1:5571";
    args_read (argc, argv, "a toy engine: DEALER for requests, PUSH for tokens",
               (arg_t[]){{"index", "which engine it is", .number = &engine_index, .max = 65535},
                         {"input", "the front-end's ROUTER", .text = &input},
                         {"output", "the front-end's PULL", .text = &output},
                         {"step-ms", "ms that a step takes", .number = &step_ms, .max = 60000},
                         {"count", "requests to serve; 0: until Ctrl-C", .number = &count},
                         {0}});
    requests = zlistx_new ();
    printf ("waiting for a front-end at %s\n", input);
    bool done = false;
    while (!done) {
        s_connect (input, output);
        zpoller_t *poller = zpoller_new (dealer, monitor, NULL);
        void *ready = NULL;
        while (ready != monitor && !done) {
            //  Take what has come, then do a step. Wait only if there is nothing to work on.
            ready = zpoller_wait (poller, zlistx_size (requests) > 0 ? 0 : -1);
            zmsg_t *message = ready ? zmsg_recv (ready) : NULL;
            if (message && ready == dealer && !engine_core_take (message, requests))
                fprintf (stderr, "engine: bad request: it is no ADD and no ABORT\n"), bad++;
            if (!ready && zlistx_size (requests) > 0) {
                zmq_poll (NULL, 0, step_ms);  //  The model computes
                s_step ();
            }
            zmsg_destroy (&message);
            done = zsys_interrupted || (count > 0 && finished + aborted >= count);
        }
        for (engine_core_request_t *r = zlistx_first (requests); r; r = zlistx_next (requests))
            r->aborted = true;
        if (zlistx_size (requests) > 0)
            s_step ();
        if (ready == monitor)
            printf ("the front-end has disconnected\n");
        if (zsys_interrupted)
            zstr_send (push, ENGINE_CORE_DEAD);
        zsock_set_linger (push, ready == monitor ? 0 : 500);  //  ms for the last messages to leave
        zpoller_destroy (&poller);
        handshake_watch_destroy (&monitor, dealer);
        zsock_destroy (&dealer);
        zsock_destroy (&push);
    }
    printf ("engine: %d finished, %d aborted, %d bad\n", finished, aborted, bad);
    zlistx_destroy (&requests);
    return EXIT_SUCCESS;
}
