//  SPDX-License-Identifier: MIT
//  bind_returns_port.c - zsock_bind returns a port where zsock_connect returns 0
//
//  Run:   build/traps/bind_returns_port

#include "trap.h"

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "bind_returns_port", "a bind that went well does not return 0");

    zsock_t *rep = zsock_new (ZMQ_REP);
    int port = zsock_bind (rep, "tcp://127.0.0.1:!");
    zsock_t *req = zsock_new (ZMQ_REQ);
    zsock_connect (req, "tcp://127.0.0.1:%d", port);
    zstr_send (req, "anybody there?");
    char *text = zstr_recv (rep);
    trap_shown (port > 0 && text,
                "if (zsock_bind (...)) would report an error, and it listens on a port");
    zstr_free (&text);

    zsock_t *other = zsock_new (ZMQ_REP);
    int failed = zsock_bind (other, "tcp://127.0.0.1:%d", port);
    trap_cured (port != -1 && failed == -1 && zmq_errno () == EADDRINUSE,
                "compare with -1: it returns %d when it failed: %s", failed,
                zmq_strerror (EADDRINUSE));

    zsock_destroy (&other);
    zsock_destroy (&req);
    zsock_destroy (&rep);
    return trap_end (
        "zsock_bind returns the port of a tcp endpoint, which may be one that it chose,",
        "0 for ipc and inproc, and -1 for an error. zmq_bind, below it, returns 0 or -1.");
}
