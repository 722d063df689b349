//  SPDX-License-Identifier: MIT
//  fork_context.c - a socket from before a fork sends nothing in the child
//
//  Run:   build/traps/fork_context
//  vLLM:  vllm/v1/engine/core.py EngineCoreProc.process_output_sockets
//         Each child makes its own contexts.

#include "trap.h"

#include <sys/wait.h>

//  The child's part, in libzmq's API since CZMQ's only context is the parent's. In the end it
//  becomes another program, so that nothing of its parent's is cleaned up twice.
static void s_child (void *inherited, const char *endpoint)
{
    if (inherited) {
        zmq_send (inherited, "inherited", 9, ZMQ_DONTWAIT);
    } else {
        void *context = zmq_ctx_new (), *push = zmq_socket (context, ZMQ_PUSH);
        if (zmq_connect (push, endpoint) == 0)
            zmq_send (push, "its own", 7, ZMQ_DONTWAIT);
        zmq_close (push);
        zmq_ctx_term (context);  //  Waits until the message has left: libzmq's linger has no end
    }
    execlp ("true", "true", (char *) NULL);
    _exit (EXIT_FAILURE);
}

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "fork_context", "a context and its sockets do not survive a fork");

    zsock_t *pull = zsock_new_pull ("@tcp://127.0.0.1:!");
    zsock_t *push = zsock_new_push (zsock_endpoint (pull));
    zstr_send (push, "from the parent");
    char *text = zstr_recv (pull);
    bool works = text && streq (text, "from the parent");
    zstr_free (&text);

    for (int i = 0; i < 2; i++) {
        pid_t child = fork ();
        if (child == 0)
            s_child (i == 0 ? zsock_resolve (push) : NULL, zsock_endpoint (pull));
        if (child > 0)
            waitpid (child, NULL, 0);
    }
    //  The first child had ended before the second one was there
    text = zstr_recv (pull);
    bool own = text && streq (text, "its own");
    zstr_free (&text);
    zstr_send (push, "from the parent again");
    text = zstr_recv (pull);
    trap_shown (works && text && streq (text, "from the parent again"),
                "the child sends on its parent's socket: nothing arrives");
    trap_cured (own, "the child makes a context and a socket of its own: that arrives");
    zstr_free (&text);

    zsock_destroy (&push);
    zsock_destroy (&pull);
    return trap_end (
        "fork copies the memory, not the threads: there is no I/O thread in the child to",
        "send anything. Make contexts after the fork, and leave inherited ones alone.");
}
