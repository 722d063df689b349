//  SPDX-License-Identifier: MIT
//  identity_zero_bytes.c - an identity with a zero byte in it does not fit into a C string
//
//  Run:   build/traps/identity_zero_bytes
//  vLLM:  vllm/v1/engine/core.py EngineCoreProc
//         An engine's identity is its index in two bytes, low byte first: 01 00, and 00 00.

#include "trap.h"

//  Lets the DEALER send, and returns the identity that the ROUTER sees; to be destroyed
static zframe_t *s_seen (zsock_t *dealer)
{
    zsock_t *router = zsock_new_router ("@tcp://127.0.0.1:!");
    zsock_connect (dealer, "%s", zsock_endpoint (router));
    zstr_send (dealer, "here I am");
    zframe_t *identity = zframe_recv (router);
    zsock_destroy (&dealer);
    zsock_destroy (&router);
    return identity;
}

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "identity_zero_bytes", "an engine's identity is bytes, not a string");

    zsock_t *dealer = zsock_new (ZMQ_DEALER);
    zsock_set_identity (dealer, "\x01\x00");
    zframe_t *seen = s_seen (dealer);
    trap_shown (seen && zframe_size (seen) == 1,
                "engine 1, zsock_set_identity (\"\\x01\\x00\"): the front-end sees 1 byte");
    zframe_destroy (&seen);

    //  What zsock_set_identity does with engine 0's; it would then abort, so by hand here
    dealer = zsock_new (ZMQ_DEALER);
    void *handle = zsock_resolve (dealer);
    int refused = zmq_setsockopt (handle, ZMQ_ROUTING_ID, "\x00\x00", strlen ("\x00\x00"));
    trap_shown (refused == -1 && zmq_errno () == EINVAL, "engine 0, a string of length 0: %s",
                zmq_strerror (EINVAL));

    //  CZMQ has no call that takes a size: this is libzmq's
    int taken = zmq_setsockopt (handle, ZMQ_ROUTING_ID, "\x00\x00", 2);
    seen = s_seen (dealer);
    trap_cured (taken == 0 && seen && zframe_size (seen) == 2 &&
                    memcmp (zframe_data (seen), "\x00\x00", 2) == 0,
                "engine 0, zmq_setsockopt (\"\\x00\\x00\", 2): the front-end sees 2 bytes, 00 00");
    zframe_destroy (&seen);

    return trap_end (
        "A C string ends at its first zero byte. Identities, topics and payloads are",
        "bytes with a size: zmq_setsockopt, zframe_t and memcmp, not strlen and streq.");
}
