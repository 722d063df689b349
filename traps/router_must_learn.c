//  SPDX-License-Identifier: MIT
//  router_must_learn.c - the engine has connected, and the ROUTER cannot send to it yet
//
//  Run:   build/traps/router_must_learn
//  vLLM:  vllm/v1/engine/core.py EngineCoreProc.process_input_sockets
//         An engine registers: its first message tells the front-end that it can be sent to.

#include "trap.h"

#define TRIES 20

//  One engine and one request for it. True when the request could be sent, and has arrived.
static bool s_reached (int number, bool registers)
{
    char identity[24];
    snprintf (identity, sizeof identity, "engine-%d", number);
    zsock_t *router = zsock_new_router ("@tcp://127.0.0.1:!");
    zsock_set_router_mandatory (router, 1);  //  Else it would be dropped, and that no error
    zsock_t *dealer = zsock_new (ZMQ_DEALER);
    zsock_set_identity (dealer, identity);
    bool connected = zsock_connect (dealer, "%s", zsock_endpoint (router)) == 0;
    if (registers) {
        zstr_send (dealer, "here I am");
        zmsg_t *registration = zmsg_recv (router);
        zmsg_destroy (&registration);
    }
    bool sent = zstr_sendx (router, identity, "request", NULL) == 0;
    char *request = sent ? zstr_recv (dealer) : NULL;
    bool reached = connected && request && streq (request, "request");
    zstr_free (&request);
    zsock_destroy (&dealer);
    zsock_destroy (&router);
    return reached;
}

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "router_must_learn", "a ROUTER cannot send to whom it has not met");

    int early = 0, after = 0;
    for (int i = 0; i < TRIES; i++) {
        early += s_reached (i, false);
        after += s_reached (i, true);
    }
    trap_shown (early < TRIES - 1, "requests right after the engine's connect fail: %s",
                zmq_strerror (EHOSTUNREACH));
    trap_cured (after == TRIES, "a request after the engine's first message arrives, %d of %d",
                after, TRIES);

    return trap_end (
        "The front-end can compute an engine's identity, but its ROUTER knows no connection",
        "of that identity before the handshake. A received message proves that it does.");
}
