//  SPDX-License-Identifier: MIT
//  handshake_engine.c - Demo 2.3: as engine, but it knows one address only, where it says HELLO
//
//  INIT, the answer to HELLO, has the two addresses that engine.c is told by options. The engine
//  connects to them, registers, and says READY. The next front-end gets a new HELLO.
//
//  Run:   build/router_dealer/handshake_frontend in one terminal, this program in another
//  vLLM:  vllm/v1/engine/core.py EngineCoreProc._perform_handshake, startup_handshake

#include "args.h"
#include "engine_core.h"
#include "handshake.h"

static int engine_index = 0, step_ms = 10;
static zsock_t *handshake, *dealer, *push, *monitor;
static zlistx_t *requests;  //  Those that are running

//  Says HELLO. Returns true when INIT, the answer, has come.
static bool s_hello (const char *endpoint, char **input, char **output)
{
    zsock_destroy (&handshake);
    handshake = zsock_new (ZMQ_DEALER);
    handshake_set_identity (handshake, engine_index);
    zsock_set_rcvtimeo (handshake, 30000);  //  ms. Then it may be another front-end: ask again
    if (zsock_connect (handshake, "%s", endpoint) == -1)
        args_fail (1, "cannot connect to %s: %s", endpoint, zmq_strerror (zmq_errno ()));
    zframe_t *hello = handshake_status ("HELLO");
    zframe_send (&hello, handshake, 0);  //  Waits in the DEALER until a front-end is there
    zframe_t *init = zframe_recv (handshake);
    bool good = handshake_read_init (init, input, output);
    if (init && !good)
        fprintf (stderr, "handshake_engine: bad INIT\n");
    zframe_destroy (&init);
    return good;
}

static void s_connect (const char *input, const char *output)
{
    push = zsock_new (ZMQ_PUSH), dealer = zsock_new (ZMQ_DEALER);
    handshake_set_identity (dealer, engine_index);
    zsock_set_reconnect_ivl (push, 300);   //  ms. By then it has been replaced.
    zsock_set_reconnect_ivl (dealer, -1);  //  If it cannot connect, the front-end has gone already
    zsock_set_unbounded (push);            //  No high-water mark, as in vLLM: sending never waits
    static int front_ends = 0;
    char events[32];  //  A PAIR socket, to which the DEALER reports
    snprintf (events, sizeof events, "inproc://events-%d", front_ends++);
    zmq_socket_monitor (zsock_resolve (dealer), events, ZMQ_EVENT_CLOSED | ZMQ_EVENT_DISCONNECTED);
    monitor = zsock_new (ZMQ_PAIR);
    zsock_connect (monitor, "%s", events);
    if (zsock_connect (push, "%s", output) == -1 || zsock_connect (dealer, "%s", input) == -1)
        args_fail (1, "cannot connect to %s or %s: %s", input, output, zmq_strerror (zmq_errno ()));
    printf ("registering as engine %d\n", engine_index);
    zframe_t *ready = handshake_registration (engine_index);
    zframe_send (&ready, dealer, 0);
    zframe_t *status = handshake_status ("READY");
    zframe_send (&status, handshake, 0);
    zsock_set_linger (handshake, 500);  //  ms for READY to leave
    zsock_destroy (&handshake);
}

//  A token for each request, or its end
static void s_step (void)
{
    zframe_t *outputs = engine_core_step (engine_index, requests);
    zframe_send (&outputs, push, 0);
    for (engine_core_request_t *r = zlistx_first (requests); r; r = zlistx_next (requests)) {
        if (r->tokens == 1)
            printf ("%s: %u prompt tokens\n", r->name, r->prompt_tokens);
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
    char *input = NULL, *output = NULL;
    printf ("waiting for a front-end at %s\n", endpoint);
    while (!zsys_interrupted) {
        if (!s_hello (endpoint, &input, &output))
            continue;
        s_connect (input, output);
        zstr_free (&input);
        zstr_free (&output);
        zpoller_t *poller = zpoller_new (dealer, monitor, NULL);
        void *ready = NULL;
        while (ready != monitor && !zsys_interrupted) {
            //  Take what has come, then do a step. Wait only if there is nothing to work on.
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
        if (zsys_interrupted)
            zstr_send (push, ENGINE_CORE_DEAD);
        zsock_set_linger (push, ready == monitor ? 0 : 4000);  //  ms for the last messages to leave
        zpoller_destroy (&poller);
        zmq_socket_monitor (zsock_resolve (dealer), NULL, 0);
        zsock_destroy (&monitor);
        zsock_destroy (&dealer);
        zsock_destroy (&push);
    }
    zsock_destroy (&handshake);
    zlistx_destroy (&requests);
    return EXIT_SUCCESS;
}
