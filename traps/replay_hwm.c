//  SPDX-License-Identifier: MIT
//  replay_hwm.c - a long replay, and the ROUTER drops a part of it with its end marker
//
//  Run:   build/traps/replay_hwm
//  vLLM:  vllm/distributed/kv_events.py ZmqEventPublisher._service_replay
//         Up to 10000 batches in one go. Before v0.33 its ROUTER had the default HWM of 1000.

#include "trap.h"

#define BATCHES 5000

//  The DEALER asks, and the ROUTER has the question
static void s_ask (zsock_t *dealer, zsock_t *router, const char *text)
{
    zstr_send (dealer, text);
    zmsg_t *question = zmsg_recv (router);
    zmsg_destroy (&question);
}

//  How many batches come when the DEALER begins to read after all of them were sent. The answer to
//  a last question comes behind them: what has not come before it does not come at all.
static int s_replay (int rcvhwm, bool *ended)
{
    zsock_t *router = zsock_new (ZMQ_ROUTER);
    zsock_bind (router, "inproc://replay-%d", rcvhwm);
    zsock_t *dealer = zsock_new (ZMQ_DEALER);
    zsock_set_identity (dealer, "reader");
    zsock_set_rcvhwm (dealer, rcvhwm);  //  Before it connects, or it counts for nothing
    zsock_connect (dealer, "%s", zsock_endpoint (router));

    s_ask (dealer, router, "from 0");
    for (int i = 0; i <= BATCHES; i++)
        zstr_sendx (router, "reader", i < BATCHES ? "batch" : "end", NULL);

    int batches = 0;
    bool done = false;
    for (*ended = false; !done && !zsys_interrupted;) {
        if (!(zsock_events (dealer) & ZMQ_POLLIN)) {  //  All is read that is there
            s_ask (dealer, router, "is that all?");
            zsock_events (router);  //  Lets it look at its peers now: there is room again
            zstr_sendx (router, "reader", "yes", NULL);
        }
        char *reply = zstr_recv (dealer);
        batches += reply && streq (reply, "batch");
        *ended = *ended || (reply && streq (reply, "end"));
        done = reply && streq (reply, "yes");
        zstr_free (&reply);
    }
    zsock_destroy (&dealer);
    zsock_destroy (&router);
    return batches;
}

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "replay_hwm", "a ROUTER drops a part of a long replay, and its end");

    bool ended;
    int batches = s_replay (1000, &ended);
    trap_shown (batches == 2000 && !ended, "RCVHWM 1000, the default: %d of %d batches, and no end",
                batches, BATCHES);
    batches = s_replay (0, &ended);
    trap_cured (batches == BATCHES && ended, "RCVHWM 0: %d of %d batches, and the end", batches,
                BATCHES);

    return trap_end (
        "A ROUTER never waits either: it drops what its peer has no room for. Make the",
        "room, and have a timeout as well: an end marker may be among what was dropped.");
}
