//  SPDX-License-Identifier: MIT
//  xsub_payload_01.c - what an XSUB sends is a message, unless it begins with 00 or 01
//
//  Run:   build/traps/xsub_payload_01
//  vLLM:  vllm/v1/engine/coordinator.py DPCoordinatorProc.process_input_socket
//         Front-ends send to its XPUB through their XSUBs. Msgpack arrays: they begin with 9x.

#include "trap.h"

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "xsub_payload_01", "a message that begins with 01 is a subscription");

    zsock_t *xpub = zsock_new_xpub ("@inproc://coordinator");
    zsock_t *xsub = zsock_new_xsub (">inproc://coordinator");

    zstr_send (xsub, "\x01wake");
    zstr_send (xsub, "\x01wake");
    zstr_send (xsub, "end");
    char *first = zstr_recv (xpub), *second = zstr_recv (xpub);
    trap_shown (first && streq (first, "\x01wake") && second && streq (second, "end"),
                "01 wake is sent twice, and comes once");
    zstr_free (&first);
    zstr_free (&second);

    zstr_send (xpub, "wake up, all who want to know");
    char *news = zstr_recv (xsub);
    trap_shown (news && strncmp (news, "wake", 4) == 0, "and its sender has subscribed to: wake");
    zstr_free (&news);

    zstr_send (xsub, "\x91wake");
    zstr_send (xsub, "\x91wake");
    first = zstr_recv (xpub), second = zstr_recv (xpub);
    trap_cured (first && streq (first, "\x91wake") && second && streq (second, "\x91wake"),
                "91 wake is sent twice, and comes twice");
    zstr_free (&first);
    zstr_free (&second);

    zsock_destroy (&xsub);
    zsock_destroy (&xpub);
    return trap_end ("To an XPUB 01 is subscribe and 00 is unsubscribe, from any peer, and it",
                     "passes on only what is new. Let payloads begin with another byte, always.");
}
