//  SPDX-License-Identifier: MIT
//  dealer_delimiter.c - a DEALER asks a REP, without the empty frame that a REQ would have added
//
//  Run:   build/traps/dealer_delimiter
//  vLLM:  vllm/distributed/kv_events.py ZmqEventPublisher._service_replay
//         A ROUTER that was written for REQs and counts frames: it warns and does not answer.

#include "trap.h"

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "dealer_delimiter", "a REP drops a request without an empty frame");

    zsock_t *rep = zsock_new_rep ("@inproc://server");
    zsock_t *dealer = zsock_new_dealer (">inproc://server");

    int bare = zstr_send (dealer, "bare");
    zstr_sendx (dealer, "", "behind an empty frame", NULL);

    char *request = zstr_recv (rep);  //  They came one behind the other, on the same connection
    trap_shown (bare == 0 && request && streq (request, "behind an empty frame"),
                "two requests were sent, the server's first is the one %s",
                request ? request : "that never came");
    zstr_send (rep, "answer");

    char *empty = zstr_recv (dealer), *reply = zstr_recv (dealer);
    trap_cured (empty && streq (empty, "") && reply && streq (reply, "answer"),
                "that one is answered, and the answer has an empty frame too: [][%s]",
                reply ? reply : "none");
    zstr_free (&request);
    zstr_free (&empty);
    zstr_free (&reply);

    zsock_destroy (&dealer);
    zsock_destroy (&rep);
    return trap_end (
        "An empty frame ends the envelope. REQ adds it and takes it off, REP wants it,",
        "DEALER and ROUTER do neither: there it is up to you, and both have to agree.");
}
