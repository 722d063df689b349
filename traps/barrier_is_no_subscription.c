//  SPDX-License-Identifier: MIT
//  barrier_is_no_subscription.c - the subscriber says that it is ready, and its subscription is not
//
//  Run:   build/traps/barrier_is_no_subscription
//  vLLM:  vllm/distributed/device_communicators/shm_broadcast.py MessageQueue.wait_until_ready

#include "trap.h"

#define TRIES 20

//  Receives one message, whose content does not matter
static bool s_came (zsock_t *socket)
{
    char *text = zstr_recv (socket);
    bool came = text != NULL;
    zstr_free (&text);
    return came;
}

//  True when the subscriber gets what is published first: behind the barrier alone, or behind its
//  subscription too
static bool s_gets_first (zsock_t *rep, zsock_t *req, bool wait_for_subscription)
{
    zsock_t *pub = zsock_new_xpub ("@tcp://127.0.0.1:!");  //  Until it receives, as good as a PUB
    zsock_t *sub = zsock_new_sub (zsock_endpoint (pub), "");

    zstr_send (req, "I have subscribed");  //  The barrier
    bool ready = s_came (rep) && zstr_send (rep, "then let us begin") == 0 && s_came (req);

    if (wait_for_subscription)
        ready = s_came (pub) && ready;
    zstr_send (pub, "first");
    if (!wait_for_subscription)
        ready = s_came (pub) && ready;  //  By now it has come: the next message gets through
    zstr_send (pub, "second");
    char *got = zstr_recv (sub);
    bool gets_first = ready && got && streq (got, "first");
    zstr_free (&got);
    zsock_destroy (&sub);
    zsock_destroy (&pub);
    return gets_first;
}

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "barrier_is_no_subscription",
                "a barrier does not prove a subscription");

    zsock_t *rep = zsock_new_rep ("@inproc://barrier");
    zsock_t *req = zsock_new_req (">inproc://barrier");
    int behind_barrier = 0, behind_subscription = 0;
    for (int i = 0; i < TRIES; i++) {
        behind_barrier += s_gets_first (rep, req, false);
        behind_subscription += s_gets_first (rep, req, true);
    }
    trap_shown (behind_barrier < TRIES - 1, "%d times behind a REQ/REP barrier: messages are lost",
                TRIES);
    trap_cured (behind_subscription == TRIES, "behind the subscription itself: %d of %d arrive",
                behind_subscription, TRIES);
    zsock_destroy (&req);
    zsock_destroy (&rep);
    return trap_end (
        "The barrier and the subscription take different connections, and nothing says",
        "which is quicker. What proves a subscription is to receive it, with an XPUB.");
}
