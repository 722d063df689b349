//  SPDX-License-Identifier: MIT
//  xpub_verbose.c - three subscribers come, and the XPUB hears of one
//
//  Run:   build/traps/xpub_verbose
//  vLLM:  vllm/utils/network_utils.py make_zmq_socket
//         Each XPUB there is verbose, since its owner counts subscribers before it begins.

#include "trap.h"

//  Three subscribe to "news" and then one to "end". How often the XPUB hears of "news".
static int s_heard (bool verbose)
{
    zsock_t *xpub = zsock_new (ZMQ_XPUB);
    zsock_set_xpub_verbose (xpub, verbose);
    zsock_bind (xpub, "inproc://publisher-%d", verbose);
    zsock_t *subs[4];
    for (int i = 0; i < 4; i++)
        subs[i] = zsock_new_sub (zsock_endpoint (xpub), i < 3 ? "news" : "end");

    int heard = 0;
    bool ended = false;
    while (!ended && !zsys_interrupted) {
        char *subscription = zstr_recv (xpub);  //  01, and the topic
        ended = subscription && streq (subscription, "\x01"
                                                     "end");
        heard += subscription && streq (subscription, "\x01"
                                                      "news");
        zstr_free (&subscription);
    }
    for (int i = 0; i < 4; i++)
        zsock_destroy (&subs[i]);
    zsock_destroy (&xpub);
    return heard;
}

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "xpub_verbose", "an XPUB hears of a topic's first subscriber only");

    int heard = s_heard (false);
    trap_shown (heard == 1, "3 subscribe to the same topic, the XPUB hears of %d", heard);
    heard = s_heard (true);
    trap_cured (heard == 3, "with XPUB_VERBOSE it hears of %d", heard);

    return trap_end ("An XPUB passes on what is new to it, as a proxy has to, and a topic that",
                     "somebody has already is not. To count subscribers, ask for all of them.");
}
