//  SPDX-License-Identifier: MIT
//  pub_connects.c - both sides connect: neither listens, and neither gets an error
//
//  Run:   build/traps/pub_connects
//  vLLM:  vllm/distributed/kv_events.py ZmqEventPublisher._socket_setup
//         It binds if the address has a wildcard in it, and else connects: tcp://0.0.0.0 too.

#include "trap.h"

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "pub_connects", "two peers that both connect never meet");

    zsock_t *sub = zsock_new (ZMQ_SUB);
    zsock_set_subscribe (sub, "");
    int there = zsock_connect (sub, "%s", trap_ipc ());
    zsock_t *pub = zsock_new (ZMQ_XPUB);
    int here = zsock_connect (pub, "%s", trap_ipc ());

    zsock_set_rcvtimeo (pub, 200);  //  Twice as long as libzmq takes to try again
    zframe_t *subscription = zframe_recv (pub);
    trap_shown (here == 0 && there == 0 && !subscription,
                "both connect, both calls return %d, and no subscription comes", here);
    zframe_destroy (&subscription);
    zsock_destroy (&pub);

    pub = zsock_new (ZMQ_XPUB);
    int bound = zsock_bind (pub, "%s", trap_ipc ());
    subscription = zframe_recv (pub);  //  The SUB is the same: it has been trying all the time
    zstr_send (pub, "news");
    char *news = zstr_recv (sub);
    trap_cured (bound != -1 && subscription && news && streq (news, "news"),
                "the publisher binds, the same subscriber gets: %s", news ? news : "nothing");
    zstr_free (&news);
    zframe_destroy (&subscription);

    zsock_destroy (&pub);
    zsock_destroy (&sub);
    return trap_end ("Any socket type may bind, and any may connect, but one of two has to bind.",
                     "Which one is for you to agree on: usually the one whose address is known.");
}
