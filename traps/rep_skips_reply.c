//  SPDX-License-Identifier: MIT
//  rep_skips_reply.c - a REP that does not answer a bad request gets no other
//
//  Run:   build/traps/rep_skips_reply
//  vLLM:  vllm/distributed/kv_transfer/kv_connector/v1/mooncake/store/worker.py LookupKeyServer
//         It also answers requests that it does not understand.

#include "trap.h"

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "rep_skips_reply", "a REP has to answer, or it is stuck");

    zsock_t *rep = zsock_new_rep ("@inproc://server");
    zsock_t *bad = zsock_new_req (">inproc://server");
    zsock_t *good = zsock_new_req (">inproc://server");
    zstr_send (bad, "rubbish");
    zstr_send (good, "question");

    char *request = zstr_recv (rep);
    bool rubbish = request && streq (request, "rubbish");
    zstr_free (&request);
    char *next = zstr_recv (rep);  //  Let us ignore it and take the next one
    trap_shown (rubbish && !next && zmq_errno () == EFSM,
                "the server ignores a bad request, and cannot take the next: %s",
                zmq_strerror (EFSM));
    zstr_free (&next);

    zstr_send (rep, "I did not understand");
    next = zstr_recv (rep);
    trap_cured (next && streq (next, "question"),
                "it answers that it did not understand, and takes the next: %s",
                next ? next : "none");
    zstr_free (&next);

    zsock_destroy (&good);
    zsock_destroy (&bad);
    zsock_destroy (&rep);
    return trap_end ("A REP serves one request at a time, and is done with it when it has replied.",
                     "To stay silent, or to answer later, take a ROUTER.");
}
