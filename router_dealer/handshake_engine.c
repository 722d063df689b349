//  SPDX-License-Identifier: MIT
//  handshake_engine.c - Demo 2.3: as engine, but it knows one address only, where it says HELLO
//
//  INIT, the answer to HELLO, has the addresses. The engine registers there, and says READY.
//
//  Run:   build/router_dealer/handshake_frontend in one terminal, this program in another
//  vLLM:  vllm/v1/engine/core.py EngineCoreProc._perform_handshake, startup_handshake

#include "args.h"
#include "engine_core.h"
#include "handshake.h"

static int engine_index = 0, step_ms = 10;
static zsock_t *dealer, *push, *monitor;
static zlistx_t *requests;  //  Those that are running

static bool s_connect (const char *input, const char *output)
{
    push = zsock_new (ZMQ_PUSH), dealer = zsock_new (ZMQ_DEALER);
    handshake_set_identity (dealer, engine_index);
    zsock_set_reconnect_ivl (push, 300);   //  ms. By then it has been replaced.
    zsock_set_reconnect_ivl (dealer, -1);  //  If it cannot connect, the front-end has gone already
    zsock_set_unbounded (push);            //  No high-water mark, as in vLLM: sending never waits
    monitor = handshake_watch_new (dealer, ZMQ_EVENT_CLOSED | ZMQ_EVENT_DISCONNECTED);
    return zsock_connect (push, "%s", output) == 0 && zsock_connect (dealer, "%s", input) == 0;
}

static void s_disconnect (void)
{
    handshake_watch_destroy (&monitor, dealer);
    zsock_destroy (&dealer);
    zsock_destroy (&push);
}

//  HELLO, INIT, the registration, READY. Returns false if there was no INIT.
static bool s_join (const char *endpoint)
{
    zsock_t *handshake = zsock_new (ZMQ_DEALER);
    handshake_set_identity (handshake, engine_index);
    zsock_set_rcvtimeo (handshake, 30000);  //  ms. Then it may be another front-end: ask again
    if (zsock_connect (handshake, "%s", endpoint) == -1)
        args_fail (1, "cannot connect to %s: %s", endpoint, zmq_strerror (zmq_errno ()));
    zframe_t *frame = handshake_status ("HELLO");
    zframe_send (&frame, handshake, 0);  //  Waits in the DEALER until a front-end is there
    bool joined = false;
    for (zmsg_t *message; !joined && (message = zmsg_recv (handshake));) {
        char *input, *output;
        frame = zmsg_size (message) == 1 ? zmsg_first (message) : NULL;
        bool good = handshake_read_init (frame, &input, &output);
        joined = good && s_connect (input, output);
        if (good && !joined)
            s_disconnect ();
        if (!joined)
            fprintf (stderr, "handshake_engine: bad INIT\n");
        zmsg_destroy (&message);
        zstr_free (&input);
        zstr_free (&output);
    }
    if (joined) {
        printf ("registering as engine %d\n", engine_index);
        frame = handshake_registration (engine_index);
        zframe_send (&frame, dealer, 0);
        frame = handshake_status ("READY");
        zframe_send (&frame, handshake, 0);
        zsock_set_linger (handshake, 500);  //  ms for it to leave
    }
    zsock_destroy (&handshake);
    return joined;
}

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
        zlistx_detach_cur (requests);
        engine_core_request_destroy (&r);
    }
}

int main (int argc, char **argv)
{
    const char *endpoint = "tcp://127.0.0.1:29550";
    args_read (argc, argv, "a toy engine that is told where to connect",
               (arg_t[]){{"handshake", "where to say HELLO", .text = &endpoint},
                         {"index", "which engine it is", .number = &engine_index, .max = 65535},
                         {"step-ms", "ms that a step takes", .number = &step_ms, .max = 60000},
                         {0}});
    requests = zlistx_new ();
    printf ("waiting for a front-end at %s\n", endpoint);
    while (!zsys_interrupted) {  //  Each front-end gets a HELLO
        if (!s_join (endpoint))
            continue;
        zpoller_t *poller = zpoller_new (dealer, monitor, NULL);
        void *ready = NULL;
        while (ready != monitor && !zsys_interrupted) {
            ready = zpoller_wait (poller, zlistx_size (requests) > 0 ? 0 : -1);
            zmsg_t *message = ready ? zmsg_recv (ready) : NULL;
            if (message && ready == dealer && !engine_core_take (message, requests))
                fprintf (stderr, "handshake_engine: bad request: it is no ADD and no ABORT\n");
            if (!ready && zlistx_size (requests) > 0) {
                zmq_poll (NULL, 0, step_ms);  //  The model computes
                s_step ();
            }
            zmsg_destroy (&message);
        }
        for (engine_core_request_t *r = zlistx_first (requests); r; r = zlistx_next (requests))
            r->aborted = true;
        if (zlistx_size (requests) > 0)
            s_step ();
        if (ready == monitor)
            printf ("the front-end has disconnected\n");
        else
            zstr_send (push, ENGINE_CORE_DEAD);
        zsock_set_linger (push, ready == monitor ? 0 : 500);  //  ms for the last messages to leave
        zpoller_destroy (&poller);
        s_disconnect ();
    }
    zlistx_destroy (&requests);
    return EXIT_SUCCESS;
}
