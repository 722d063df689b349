//  SPDX-License-Identifier: MIT
//  late_joiner.c - a SUB has connected, and the next messages of the PUB are still lost
//
//  Run:   build/traps/late_joiner
//  vLLM:  vllm/distributed/device_communicators/shm_broadcast.py MessageQueue.wait_until_ready

#include "trap.h"

#define TRIES 20

//  The number of the first message that the SUB gets, when the publisher counts 1, 2, 3, ...
static int s_first (int type, bool wait)
{
    zsock_t *pub = zsock_new (type);
    zsock_bind (pub, "tcp://127.0.0.1:!");
    zsock_t *sub = zsock_new_sub (zsock_endpoint (pub), "");
    zsock_set_rcvtimeo (sub, 1);
    if (wait) {
        zframe_t *joined = zframe_recv (pub);  //  01: a subscription, to all topics
        zframe_destroy (&joined);
    }
    char *first = NULL;
    for (int number = 1; !first && !zsys_interrupted; number++) {
        zstr_sendf (pub, "%d", number);
        first = zstr_recv (sub);  //  NULL: nothing came in 1 ms
    }
    int number = first ? (int) strtol (first, NULL, 10) : 0;
    zstr_free (&first);
    zsock_destroy (&sub);
    zsock_destroy (&pub);
    return number;
}

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "late_joiner", "a PUB sends before the subscription has arrived");

    int lost = 0;
    for (int i = 0; i < TRIES; i++)
        lost += s_first (ZMQ_PUB, false) > 1;
    trap_shown (lost > 1, "%d times PUB sends right after the SUB's connect: starts are lost",
                TRIES);

    int whole = 0;
    for (int i = 0; i < TRIES; i++)
        whole += s_first (ZMQ_XPUB, true) == 1;
    trap_cured (whole == TRIES, "XPUB waits for the subscription: %d of %d begin with the first",
                whole, TRIES);

    return trap_end (
        "connect only begins to connect, and a PUB drops what nobody has subscribed to.",
        "An XPUB is a PUB that can receive: it gets each subscription as a message.");
}
