//  SPDX-License-Identifier: MIT
//  router_drops.c - to somebody unknown a ROUTER sends nothing, and that is no error
//
//  Run:   build/traps/router_drops
//  vLLM:  vllm/v1/engine/core_client.py SyncMPClient._send_input

#include "trap.h"

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "router_drops", "a ROUTER drops a message to an unknown identity");

    zsock_t *router = zsock_new_router ("@inproc://frontend");
    int lost = zstr_sendx (router, "engine-7", "request", NULL);
    trap_shown (lost == 0,
                "sending to engine-7, which has never connected, returns %d: all is well", lost);

    //  The first request waits nowhere: engine-7 comes, and gets only what is sent from then on
    zsock_t *dealer = zsock_new (ZMQ_DEALER);
    zsock_set_identity (dealer, "engine-7");
    zsock_connect (dealer, "inproc://frontend");
    zstr_send (dealer, "registration");
    zmsg_t *registration = zmsg_recv (router);
    zmsg_destroy (&registration);
    zstr_sendx (router, "engine-7", "another", NULL);
    char *first = zstr_recv (dealer);
    trap_shown (first && streq (first, "another"), "engine-7 comes, and its first message is: %s",
                first ? first : "none");
    zstr_free (&first);

    zsock_set_router_mandatory (router, 1);
    int refused = zstr_sendx (router, "engine-8", "request", NULL);
    trap_cured (refused == -1 && zmq_errno () == EHOSTUNREACH,
                "with ROUTER_MANDATORY, sending to engine-8 returns %d: %s", refused,
                zmq_strerror (EHOSTUNREACH));

    zsock_destroy (&dealer);
    zsock_destroy (&router);
    return trap_end ("An identity is all that a ROUTER has of an address. It keeps nothing for one",
                     "that it does not know, and says so only when it is told to.");
}
