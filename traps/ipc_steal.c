//  SPDX-License-Identifier: MIT
//  ipc_steal.c - a second bind of an ipc path succeeds, and takes the path from the first
//
//  Run:   build/traps/ipc_steal
//  vLLM:  vllm/utils/network_utils.py get_open_zmq_ipc_path
//         A new name for each, so that no two ever meet.

#include "trap.h"

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "ipc_steal", "a second bind of an ipc path is no error");

    zsock_t *first = zsock_new (ZMQ_PULL), *second = zsock_new (ZMQ_PULL);
    int first_bound = zsock_bind (first, "%s", trap_ipc ());
    int second_bound = zsock_bind (second, "%s", trap_ipc ());
    zsock_t *push = zsock_new_push (trap_ipc ());
    zstr_send (push, "hello");
    zsock_set_rcvtimeo (second, 1000);
    char *stolen = zstr_recv (second);
    trap_shown (first_bound == 0 && second_bound == 0 && stolen && streq (stolen, "hello"),
                "ipc: both binds return %d, and the second gets what is sent", second_bound);
    zstr_free (&stolen);
    zsock_destroy (&push);
    zsock_destroy (&second);
    zsock_destroy (&first);

    first = zsock_new_pull ("@tcp://127.0.0.1:!");
    second = zsock_new (ZMQ_PULL);
    second_bound = zsock_bind (second, "%s", zsock_endpoint (first));
    trap_cured (second_bound == -1 && zmq_errno () == EADDRINUSE,
                "tcp: the second bind returns %d: %s", second_bound, zmq_strerror (EADDRINUSE));
    zsock_destroy (&second);
    zsock_destroy (&first);
    return trap_end (
        "libzmq removes what is left of a path before it binds it, in case its owner died.",
        "It does not ask whether it did. Use a path that is yours alone, or tcp.");
}
