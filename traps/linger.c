//  SPDX-License-Identifier: MIT
//  linger.c - a socket is closed right behind its last message: the message is lost, or is it
//
//  Run:   build/traps/linger
//  vLLM:  vllm/v1/engine/core.py EngineCoreProc.process_output_sockets
//         4 seconds for an engine's last words.

#include "trap.h"

#define TRIES 20

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "linger", "a socket that is closed forgets what it has to send");

    zsock_t *pull = zsock_new_pull ("@tcp://127.0.0.1:*");
    for (int i = 0; i < 2 * TRIES; i++) {
        zsock_t *push = zsock_new (ZMQ_PUSH);
        if (i % 2 == 1)
            zsock_set_linger (push, 2000);
        zsock_connect (push, "%s", zsock_endpoint (pull));
        zstr_send (push, i % 2 == 1 ? "linger 2000" : "linger 0");
        zsock_destroy (&push);
    }
    int lost = TRIES, kept = 0;
    while (kept < TRIES && !zsys_interrupted) {
        char *words = zstr_recv (pull);
        lost -= words && streq (words, "linger 0");
        kept += words && streq (words, "linger 2000");
        zstr_free (&words);
    }
    trap_shown (lost > TRIES / 2, "linger 0: most last words are lost");
    trap_cured (kept == TRIES, "linger 2000 ms: %d of %d arrive", kept, TRIES);

    //  Whose default is what? CZMQ's sockets are libzmq's, with one option changed.
    zsock_t *socket = zsock_new (ZMQ_PUSH);
    void *context = zmq_ctx_new (), *raw = zmq_socket (context, ZMQ_PUSH);
    int forever;
    size_t size = sizeof forever;
    zmq_getsockopt (raw, ZMQ_LINGER, &forever, &size);
    trap_shown (zsock_linger (socket) == 0 && forever == -1,
                "CZMQ's default is %d: forget at once; libzmq's is %d: wait for ever",
                zsock_linger (socket), forever);
    zmq_close (raw);
    zmq_ctx_term (context);
    zsock_destroy (&socket);
    zsock_destroy (&pull);
    return trap_end (
        "To send is to queue, an I/O thread does the rest. When the socket is closed,",
        "linger is how long it may. Waiting for ever hangs if nobody is there: bound it.");
}
