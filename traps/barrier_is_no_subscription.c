//  SPDX-License-Identifier: MIT
//  barrier_is_no_subscription.c - the subscriber says that it is ready, and its subscription is not
//
//  Run:   build/traps/barrier_is_no_subscription
//  vLLM:  vllm/distributed/device_communicators/shm_broadcast.py MessageQueue.wait_until_ready

#include "trap.h"

#define TRIES 20

//  True when the subscriber gets the message that is published behind the barrier, or behind its
//  subscription
static bool s_gets_it (zsock_t *rep, zsock_t *req, bool wait_for_subscription)
{
    zsock_t *pub = zsock_new_xpub ("@tcp://127.0.0.1:*");  //  Until it receives, as good as a PUB
    zsock_t *sub = zsock_new_sub (zsock_endpoint (pub), "");

    zstr_send (req, "I have subscribed");  //  The barrier
    char *ready = zstr_recv (rep);
    zstr_send (rep, "then let us begin");
    char *begin = zstr_recv (req);

    if (wait_for_subscription) {
        zframe_t *subscription = zframe_recv (pub);
        zframe_destroy (&subscription);
    }
    zstr_send (pub, "first");
    if (!wait_for_subscription) {  //  Now it comes, and so at least the next message gets through
        zframe_t *subscription = zframe_recv (pub);
        zframe_destroy (&subscription);
        zstr_send (pub, "second");
    }
    char *got = zstr_recv (sub);
    bool gets_it = ready && begin && got && streq (got, "first");
    zstr_free (&ready);
    zstr_free (&begin);
    zstr_free (&got);
    zsock_destroy (&sub);
    zsock_destroy (&pub);
    return gets_it;
}

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "barrier_is_no_subscription",
                "a barrier does not prove a subscription");

    zsock_t *rep = zsock_new_rep ("@inproc://barrier");
    zsock_t *req = zsock_new_req (">inproc://barrier");
    int behind_barrier = 0, behind_subscription = 0;
    for (int i = 0; i < TRIES; i++) {
        behind_barrier += s_gets_it (rep, req, false);
        behind_subscription += s_gets_it (rep, req, true);
    }
    trap_shown (behind_barrier < TRIES / 2, "behind a REQ/REP barrier: mostly the first is lost");
    trap_cured (behind_subscription == TRIES, "behind the subscription itself: %d of %d arrive",
                behind_subscription, TRIES);
    zsock_destroy (&req);
    zsock_destroy (&rep);
    return trap_end (
        "The barrier and the subscription take different connections, and nothing says",
        "which is quicker. What proves a subscription is to receive it, with an XPUB.");
}
