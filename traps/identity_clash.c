//  SPDX-License-Identifier: MIT
//  identity_clash.c - two peers with one identity: the second is ignored, without an error
//
//  Run:   build/traps/identity_clash
//  vLLM:  vllm/utils/network_utils.py make_zmq_socket
//         Its router_handover is for elastic expert parallelism, where a rank comes back.

#include "trap.h"

//  Two engines say that they are engine-0. Returns what the front-end hears of the second, NULL for
//  nothing in 100 ms; to be freed.
static char *s_second (bool handover)
{
    zsock_t *router = zsock_new (ZMQ_ROUTER);
    zsock_set_router_handover (router, handover);
    zsock_bind (router, "inproc://frontend-%d", handover);
    zsock_t *engines[2];
    char *identity, *text = NULL;
    for (int i = 0; i < 2; i++) {
        engines[i] = zsock_new (ZMQ_DEALER);
        zsock_set_identity (engines[i], "engine-0");
        zsock_connect (engines[i], "%s", zsock_endpoint (router));
        zstr_send (engines[i], i == 0 ? "the old one" : "the new one");
        zsock_set_rcvtimeo (router, i == 0 ? -1 : 100);
        zstr_free (&text);
        if (zstr_recvx (router, &identity, &text, NULL) != -1)
            zstr_free (&identity);
    }
    zsock_destroy (&engines[0]);
    zsock_destroy (&engines[1]);
    zsock_destroy (&router);
    return text;
}

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "identity_clash",
                "a ROUTER ignores a second peer of the same identity");

    char *heard = s_second (false);
    trap_shown (!heard, "two engines with one identity: of the second nothing is heard");
    zstr_free (&heard);

    heard = s_second (true);
    trap_cured (heard && streq (heard, "the new one"), "ROUTER_HANDOVER: the front-end hears: %s",
                heard ? heard : "nothing");
    zstr_free (&heard);

    return trap_end (
        "A ROUTER keeps the peer that it has, and leaves the newcomer's messages unread.",
        "With handover the newest wins. Two that are both alive then steal it in turn.");
}
