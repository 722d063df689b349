//  SPDX-License-Identifier: MIT
//  immediate_drops.c - with IMMEDIATE, the end of a connection drops what was received and not read
//
//  Run:   build/traps/immediate_drops
//  vLLM:  vllm/v1/engine/core.py EngineCoreProc.process_input_sockets
//         Its DEALER is without IMMEDIATE: an ABORT just before the front-end leaves counts.

#include "trap.h"

//  A front-end sends ABORT to an engine and leaves. The engine looks when the connection has ended.
//  Returns what it finds, NULL for nothing in 200 ms; to be freed.
static char *s_find (bool immediate)
{
    zsock_t *router = zsock_new (ZMQ_ROUTER);
    zsock_set_linger (router, 1000);  //  ABORT does leave
    zsock_bind (router, "tcp://127.0.0.1:!");
    zsock_t *dealer = zsock_new (ZMQ_DEALER);
    zsock_set_immediate (dealer, immediate);
    zsock_set_rcvtimeo (dealer, 200);

    //  The next attempt to connect is reported when libzmq has ended the last connection
    char events_at[32];
    snprintf (events_at, sizeof events_at, "inproc://events-%d", immediate);
    zmq_socket_monitor (zsock_resolve (dealer), events_at, ZMQ_EVENT_CONNECT_RETRIED);
    zsock_t *events = zsock_new (ZMQ_PAIR);
    zsock_connect (events, "%s", events_at);

    zsock_connect (dealer, "%s", zsock_endpoint (router));
    zstr_send (dealer, "registration");
    zmsg_t *message = zmsg_recv (router);  //  [identity]["registration"]
    zsock_events (dealer);                 //  The engine has looked, as a poller does: nothing yet
    if (message) {
        zframe_t *text = zmsg_last (message);
        zframe_reset (text, "ABORT", 5);
        zmsg_send (&message, router);
    }
    zmsg_destroy (&message);
    zsock_destroy (&router);

    zmsg_t *event = zmsg_recv (events);
    zmsg_destroy (&event);
    char *found = zstr_recv (dealer);

    zmq_socket_monitor (zsock_resolve (dealer), NULL, 0);
    zsock_destroy (&events);
    zsock_destroy (&dealer);
    return found;
}

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "immediate_drops",
                "with IMMEDIATE a DEALER loses what it has received when its peer leaves");

    char *found = s_find (true);
    trap_shown (!found, "IMMEDIATE: ABORT was sent and received, then the peer left: it is gone");
    zstr_free (&found);

    found = s_find (false);
    trap_cured (found && streq (found, "ABORT"), "without it, the engine still finds: %s",
                found ? found : "nothing");
    zstr_free (&found);

    return trap_end (
        "IMMEDIATE ties the queues to the connection, that of received messages as well.",
        "To leave nothing for the next peer, open a new socket for it.");
}
