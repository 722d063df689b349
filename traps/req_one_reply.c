//  SPDX-License-Identifier: MIT
//  req_one_reply.c - a server that answers once with many messages: a REQ gets the first of them
//
//  Run:   build/traps/req_one_reply
//  vLLM:  vllm/distributed/kv_events.py ZmqEventPublisher._service_replay

#include "trap.h"

//  The other end of a replay: one request in, two batches and an end marker out
static void s_serve (zsock_t *router)
{
    char *client, *empty, *request;
    if (zstr_recvx (router, &client, &empty, &request, NULL) != 3)
        return;
    zstr_sendx (router, client, "", "batch 1", NULL);
    zstr_sendx (router, client, "", "batch 2", NULL);
    zstr_sendx (router, client, "", "end", NULL);
    zstr_free (&client);
    zstr_free (&empty);
    zstr_free (&request);
}

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "req_one_reply", "a REQ gets one reply, however many there are");

    zsock_t *router = zsock_new_router ("@inproc://replay");
    zsock_t *req = zsock_new (ZMQ_REQ);
    zsock_set_identity (req, "req");  //  A name that C can print, for s_serve
    zsock_connect (req, "inproc://replay");
    zstr_send (req, "from 1");
    s_serve (router);
    char *first = zstr_recv (req);
    char *second = zstr_recv (req);
    trap_shown (first && streq (first, "batch 1") && !second && zmq_errno () == EFSM,
                "REQ: batch 1, then: %s", zmq_strerror (EFSM));
    zstr_free (&first);
    zstr_free (&second);

    zsock_t *dealer = zsock_new (ZMQ_DEALER);
    zsock_set_identity (dealer, "dealer");
    zsock_connect (dealer, "inproc://replay");
    zstr_sendx (dealer, "", "from 1", NULL);  //  The empty frame that a REQ puts there itself
    s_serve (router);
    int got = 0;
    bool ended = false;
    while (!ended && !zsys_interrupted) {
        char *empty = zstr_recv (dealer), *reply = zstr_recv (dealer);
        ended = reply && streq (reply, "end");
        got++;
        zstr_free (&empty);
        zstr_free (&reply);
    }
    trap_cured (got == 3, "DEALER: batch 1, batch 2, end");

    zsock_destroy (&dealer);
    zsock_destroy (&req);
    zsock_destroy (&router);
    return trap_end ("One request, one reply: that is what a REQ is. It drops what else has come",
                     "before its next request. A DEALER has no turns, and receives all there is.");
}
