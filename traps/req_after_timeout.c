//  SPDX-License-Identifier: MIT
//  req_after_timeout.c - a REQ whose reply did not come in time cannot ask again
//
//  Run:   build/traps/req_after_timeout
//  vLLM:  vllm/distributed/kv_transfer/kv_connector/v1/nixl/base_worker.py NixlBaseConnectorWorker
//         Its _nixl_handshake uses a REQ for one exchange, and throws it away.

#include "trap.h"

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "req_after_timeout", "a REQ that had no reply cannot ask again");

    zsock_t *rep = zsock_new_rep ("@inproc://server");
    zsock_t *req = zsock_new_req (">inproc://server");
    zsock_set_rcvtimeo (req, 20);

    zstr_send (req, "question");
    char *reply = zstr_recv (req);  //  NULL: the server takes longer than 20 ms
    int refused = zstr_send (req, "question");
    trap_shown (!reply && refused == -1 && zmq_errno () == EFSM,
                "after a timeout the REQ may not send: %s", zmq_strerror (EFSM));
    zstr_free (&reply);

    zsock_destroy (&req);  //  With it goes whatever the server still answers to it
    req = zsock_new_req (">inproc://server");
    zstr_send (req, "question again");
    for (int i = 0; i < 2; i++) {  //  The server has both, and answers both
        char *request = zstr_recv (rep);
        zstr_sendf (rep, "answer to %s", request ? request : "nobody");
        zstr_free (&request);
    }
    reply = zstr_recv (req);
    trap_cured (reply && streq (reply, "answer to question again"),
                "a new REQ asks, and gets its own reply: %s", reply ? reply : "none");
    zstr_free (&reply);

    zsock_destroy (&req);
    zsock_destroy (&rep);
    return trap_end (
        "A REQ that has sent must receive. A timeout does not end its turn,",
        "so if the reply was lost it waits without an end. Only a new socket can send.");
}
