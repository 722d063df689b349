//  SPDX-License-Identifier: MIT
//  poller_order.c - a poller serves the first of its sockets first, and a busy one may starve the rest
//
//  Run:   build/traps/poller_order
//  vLLM:  vllm/v1/engine/coordinator.py DPCoordinatorProc.process_input_socket
//         After a poll it looks at each of its sockets.

#include "trap.h"

#define ROUNDS 100

//  Receives one message, and lets the sender have the next one ready at once, if there is one
static void s_serve (zsock_t *pull, zsock_t *sender)
{
    char *text = zstr_recv (pull);
    if (text && sender)
        zstr_send (sender, "and another");
    zstr_free (&text);
}

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "poller_order", "a poller's first socket may starve the others");

    zsock_t *outputs = zsock_new_pull ("@inproc://outputs"),
            *aborts = zsock_new_pull ("@inproc://aborts");
    zsock_t *busy = zsock_new_push (">inproc://outputs"),
            *rare = zsock_new_push (">inproc://aborts");
    zpoller_t *poller = zpoller_new (outputs, aborts, NULL);
    zstr_send (busy, "the first of many");
    zstr_send (rare, "stop!");

    int stopped = 0;  //  How often the rare message was served
    for (int i = 0; i < ROUNDS; i++) {
        zsock_t *ready = zpoller_wait (poller, 1000);
        if (ready == aborts) {
            s_serve (aborts, NULL);
            stopped++;
        } else if (ready == outputs) {
            s_serve (outputs, busy);
        }
    }
    bool waits = zsock_events (aborts) & ZMQ_POLLIN;
    trap_shown (stopped == 0 && waits,
                "%d rounds, one socket is always ready: the other waits still", ROUNDS);

    int round = 0;
    while (stopped == 0 && round < ROUNDS) {
        round++;
        if (!zpoller_wait (poller, 1000))  //  It says that there is something to do
            break;
        if (zsock_events (outputs) & ZMQ_POLLIN)
            s_serve (outputs, busy);
        if (zsock_events (aborts) & ZMQ_POLLIN) {
            s_serve (aborts, NULL);
            stopped++;
        }
    }
    trap_cured (stopped == 1 && round == 1,
                "look at each socket in every round: served in round %d", round);

    zpoller_destroy (&poller);
    zsock_destroy (&rare);
    zsock_destroy (&busy);
    zsock_destroy (&aborts);
    zsock_destroy (&outputs);
    return trap_end (
        "zpoller_wait returns one socket, the first that is ready in the order given.",
        "That is a priority, if you mean it: put the urgent first, or serve all in turn.");
}
