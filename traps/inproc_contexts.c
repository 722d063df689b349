//  SPDX-License-Identifier: MIT
//  inproc_contexts.c - inproc joins the threads of one context, not of one process
//
//  Run:   build/traps/inproc_contexts
//  vLLM:  vllm/v1/engine/core_client.py SyncMPClient
//         The two ends of its inproc socket for shutdown are made in one context.

#include "trap.h"

//  Binds in one context and connects in another; CZMQ has only one, so this is libzmq's API. True
//  when a message gets through in 100 ms, which inside a process is long.
static bool s_gets_through (void *context, void *other, bool *connected)
{
    void *pull = zmq_socket (context, ZMQ_PULL), *push = zmq_socket (other, ZMQ_PUSH);
    int timeout_ms = 100, linger_ms = 0;
    char text[8];
    zmq_setsockopt (pull, ZMQ_RCVTIMEO, &timeout_ms, sizeof timeout_ms);
    zmq_setsockopt (push, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    *connected = zmq_bind (pull, "inproc://wake-up") == 0 &&
                 zmq_connect (push, "inproc://wake-up") == 0 && zmq_send (push, "wake", 4, 0) == 4;
    bool got = zmq_recv (pull, text, sizeof text, 0) == 4 && memcmp (text, "wake", 4) == 0;
    zmq_close (push);
    zmq_close (pull);
    return got;
}

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "inproc_contexts", "inproc does not join two contexts");

    void *one = zmq_ctx_new (), *two = zmq_ctx_new ();
    bool connected, got = s_gets_through (one, two, &connected);
    trap_shown (connected && !got, "two contexts: connect and send are fine, and nothing arrives");
    zmq_ctx_term (two);
    zmq_ctx_term (one);

    one = zmq_ctx_new ();
    got = s_gets_through (one, one, &connected);
    trap_cured (connected && got, "one context: the message arrives");
    zmq_ctx_term (one);

    return trap_end (
        "An inproc name belongs to its context. To connect before anybody has bound is",
        "allowed, so in the wrong context it is no error: it waits without an end.");
}
