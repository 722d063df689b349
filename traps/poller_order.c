//  SPDX-License-Identifier: MIT
//  poller_order.c - a busy socket that a poller has first starves the others
//
//  Run:   build/traps/poller_order
//  vLLM:  vllm/v1/engine/coordinator.py DPCoordinatorProc.process_input_socket
//         After a poll it looks at each of its sockets.

#include "trap.h"

#define ROUNDS 100

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "poller_order", "a poller's first socket may starve the others");

    zsock_t *outputs = zsock_new_pull ("@inproc://outputs"),
            *aborts = zsock_new_pull ("@inproc://aborts");
    zsock_t *busy = zsock_new_push (">inproc://outputs"),
            *rare = zsock_new_push (">inproc://aborts");
    zpoller_t *poller = zpoller_new (outputs, aborts, NULL);
    zstr_send (rare, "stop!");

    int stops = 0;
    for (int i = 0; i < ROUNDS; i++) {
        zstr_send (busy, "output");  //  The next one is always there
        zsock_t *ready = zpoller_wait (poller, 1000);
        char *text = ready ? zstr_recv (ready) : NULL;
        stops += text && streq (text, "stop!");
        zstr_free (&text);
    }
    trap_shown (stops == 0 && zsock_events (aborts) & ZMQ_POLLIN,
                "%d rounds, and one socket has always something: the other still waits", ROUNDS);

    zstr_send (busy, "output");
    zpoller_wait (poller, 1000);  //  That something is to be done: then look at each of them
    zsock_t *sockets[] = {outputs, aborts};
    int served = 0;
    for (int i = 0; i < 2; i++)
        if (zsock_events (sockets[i]) & ZMQ_POLLIN) {
            char *text = zstr_recv (sockets[i]);
            served += text != NULL;
            stops += text && streq (text, "stop!");
            zstr_free (&text);
        }
    trap_cured (served == 2 && stops == 1,
                "look at each socket in every round: both are served in one");

    zpoller_destroy (&poller);
    zsock_destroy (&rare);
    zsock_destroy (&busy);
    zsock_destroy (&aborts);
    zsock_destroy (&outputs);
    return trap_end (
        "zpoller_wait returns one socket, the first that is ready in the order given.",
        "That is a priority, if you mean it: put the urgent first, or serve all in turn.");
}
