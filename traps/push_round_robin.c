//  SPDX-License-Identifier: MIT
//  push_round_robin.c - one PUSH and two PULLs: each message goes to one of them
//
//  Run:   build/traps/push_round_robin
//  vLLM:  vllm/v1/engine/core.py EngineCoreProc.process_output_sockets
//         An engine has one PUSH for each front-end, and says that it is dead on each.

#include "trap.h"

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "push_round_robin", "a PUSH deals its messages out in turn");

    zsock_t *a = zsock_new_pull ("@inproc://frontend-a"),
            *b = zsock_new_pull ("@inproc://frontend-b");
    zsock_t *push = zsock_new_push (">inproc://frontend-a,>inproc://frontend-b");
    zstr_send (push, "I am dead");
    zstr_send (push, "really");
    char *to_a = zstr_recv (a), *to_b = zstr_recv (b);
    trap_shown (to_a && streq (to_a, "I am dead") && to_b && streq (to_b, "really"),
                "one PUSH to both: a hears \"%s\", b hears only \"%s\"", to_a ? to_a : "nothing",
                to_b ? to_b : "nothing");
    zstr_free (&to_a);
    zstr_free (&to_b);
    zsock_destroy (&push);

    zsock_t *pushes[] = {zsock_new_push (">inproc://frontend-a"),
                         zsock_new_push (">inproc://frontend-b")};
    for (int i = 0; i < 2; i++)
        zstr_send (pushes[i], "I am dead");
    to_a = zstr_recv (a), to_b = zstr_recv (b);
    trap_cured (to_a && streq (to_a, "I am dead") && to_b && streq (to_b, "I am dead"),
                "one PUSH for each: a and b hear \"%s\"", to_b ? to_b : "nothing");
    zstr_free (&to_a);
    zstr_free (&to_b);

    zsock_destroy (&pushes[0]);
    zsock_destroy (&pushes[1]);
    zsock_destroy (&a);
    zsock_destroy (&b);
    return trap_end (
        "PUSH shares work out, PUB sends to all. To choose the receiver, use one socket",
        "for each peer, or a ROUTER.");
}
