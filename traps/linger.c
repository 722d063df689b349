//  SPDX-License-Identifier: MIT
//  linger.c - a socket is closed right after its last message, and the message is lost
//
//  Run:   build/traps/linger
//  vLLM:  vllm/v1/engine/core.py EngineCoreProc.process_output_sockets
//         An engine's last message, ENGINE_CORE_DEAD, gets 4 seconds.

#include "trap.h"

//  Sends one message and closes the socket at once. In libzmq's API, since CZMQ ends its only
//  context with the program.
static void s_last_words (void *context, const char *words, int linger_ms)
{
    void *push = zmq_socket (context, ZMQ_PUSH);
    zmq_setsockopt (push, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    zmq_connect (push, trap_ipc ());
    zmq_send (push, words, strlen (words), 0);
    zmq_close (push);
}

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "linger", "a socket that is closed forgets what it has to send");

    //  CZMQ's sockets are libzmq's, with another default for one option
    zsock_t *socket = zsock_new (ZMQ_PUSH);
    void *context = zmq_ctx_new ();
    void *raw = zmq_socket (context, ZMQ_PUSH);
    int forever;
    size_t size = sizeof forever;
    zmq_getsockopt (raw, ZMQ_LINGER, &forever, &size);
    trap_shown (zsock_linger (socket) == 0 && forever == -1,
                "CZMQ's default is %d: forget at once; libzmq's is %d: wait without an end",
                zsock_linger (socket), forever);
    zmq_close (raw);
    zmq_ctx_term (context);
    zsock_destroy (&socket);

    //  Nobody listens yet. A context's end waits for its sockets, and they for their lingers.
    context = zmq_ctx_new ();
    s_last_words (context, "without linger", 0);
    zmq_ctx_term (context);
    context = zmq_ctx_new ();
    s_last_words (context, "with linger", 5000);

    zsock_t *pull = zsock_new (ZMQ_PULL);
    zsock_bind (pull, "%s", trap_ipc ());  //  Both are closed: who is still to be heard?
    char *heard = zstr_recv (pull);
    zmq_ctx_term (context);
    trap_shown (heard && !streq (heard, "without linger"), "linger 0: closed, and never heard");
    trap_cured (heard && streq (heard, "with linger"), "linger 5000 ms: closed, and heard");
    zstr_free (&heard);

    zsock_destroy (&pull);
    return trap_end (
        "To send is to queue, an I/O thread does the rest. When the socket is closed,",
        "linger is how long it may. Without an end it hangs if nobody is there: bound it.");
}
