//  SPDX-License-Identifier: MIT
//  topic_prefix.c - a subscription is a prefix: other topics that begin alike come too
//
//  Run:   build/traps/topic_prefix
//  vLLM:  vllm/distributed/kv_events.py ZmqEventPublisher

#include "trap.h"

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "topic_prefix", "a SUB gets all topics that begin as its own");

    zsock_t *pub = zsock_new_xpub ("@inproc://events");
    zsock_t *sub = zsock_new_sub (">inproc://events", "kv");
    char *subscription = zstr_recv (pub);
    zstr_free (&subscription);

    zstr_sendx (pub, "kv-of-another-model", "not for us", NULL);
    zstr_sendx (pub, "kv", "for us", NULL);

    char *taken = NULL;
    int came = 0;
    while (!taken && !zsys_interrupted) {
        zmsg_t *message = zmsg_recv (sub);
        char *topic = message ? zmsg_popstr (message) : NULL;
        came += topic != NULL;
        if (topic && streq (topic, "kv"))  //  The cure: look at the topic, all of it
            taken = zmsg_popstr (message);
        zstr_free (&topic);
        zmsg_destroy (&message);
    }
    trap_shown (came == 2, "subscribed to kv, and got kv-of-another-model as well");
    trap_cured (taken && streq (taken, "for us"),
                "compare the whole first frame, and take only: %s", taken ? taken : "none");
    zstr_free (&taken);

    zsock_destroy (&sub);
    zsock_destroy (&pub);
    return trap_end (
        "A SUB compares as many bytes as its subscription has, so \"\" gets everything.",
        "To get one topic only, compare the whole of frame 0 yourself.");
}
