//  SPDX-License-Identifier: MIT
//  connect_to_nobody.c - without a peer, neither connect nor send reports an error
//
//  Run:   build/traps/connect_to_nobody
//  vLLM:  vllm/v1/engine/core_client.py MPClient.__init__
//         It polls with a timeout for its engines, because nothing reports that none has come.

#include "trap.h"

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "connect_to_nobody", "connect succeeds where nobody listens");

    zsock_t *push = zsock_new (ZMQ_PUSH);
    int connected = zsock_connect (push, "%s", trap_ipc ());
    int sent = zstr_send (push, "hello?");
    trap_shown (connected == 0 && sent == 0, "nobody listens: connect returns %d, send returns %d",
                connected, sent);

    zsock_t *wary = zsock_new (ZMQ_PUSH);
    zsock_set_immediate (wary, 1);  //  Queue only for connected peers; set before connecting
    zsock_set_sndtimeo (wary, 50);
    zsock_connect (wary, "%s", trap_ipc ());
    int refused = zstr_send (wary, "hello?");
    trap_cured (refused == -1 && zmq_errno () == EAGAIN,
                "with IMMEDIATE and a timeout, send returns %d: %s", refused,
                zmq_strerror (EAGAIN));

    //  The message that was sent before is kept until a peer connects
    zsock_t *pull = zsock_new (ZMQ_PULL);
    zsock_bind (pull, "%s", trap_ipc ());
    char *text = zstr_recv (pull);
    trap_cured (text && streq (text, "hello?"), "somebody comes late, and gets: %s",
                text ? text : "nothing");
    zstr_free (&text);

    zsock_destroy (&pull);
    zsock_destroy (&wary);
    zsock_destroy (&push);
    return trap_end (
        "connect only says where; an I/O thread tries, again and again, until it succeeds.",
        "That nobody is there shows in a timeout, a heartbeat or a monitor, nowhere else.");
}
