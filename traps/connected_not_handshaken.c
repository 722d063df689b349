//  SPDX-License-Identifier: MIT
//  connected_not_handshaken.c - CONNECTED says that TCP is up, not that a peer is there
//
//  Run:   build/traps/connected_not_handshaken
//  vLLM:  vllm/utils/network_utils.py make_zmq_listener
//         A plain socket listens, and a process adopts it later. Until then the system accepts
//         connections and nobody answers: an engine's connection is cut after 30 s.

#include "trap.h"

#include <arpa/inet.h>
#include <sys/socket.h>

//  The next event of a monitor, or 0
static int s_event (zsock_t *monitor)
{
    uint16_t event = 0;
    zmsg_t *message = zmsg_recv (monitor);  //  [event, 2 bytes; value, 4 bytes][endpoint]
    if (message)
        memcpy (&event, zframe_data (zmsg_first (message)), sizeof event);
    zmsg_destroy (&message);
    return event;
}

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "connected_not_handshaken", "a connection is not yet a peer");

    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl (INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    int fd = socket (AF_INET, SOCK_STREAM, 0);  //  It listens, and nobody accepts
    bind (fd, (struct sockaddr *) &at, length);
    listen (fd, 10);
    getsockname (fd, (struct sockaddr *) &at, &length);

    zsock_t *dealer = zsock_new (ZMQ_DEALER);
    int timeout = 100;  //  ms for the peer to answer; 30 s is the default
    zmq_setsockopt (zsock_resolve (dealer), ZMQ_HANDSHAKE_IVL, &timeout, sizeof timeout);
    zmq_socket_monitor (zsock_resolve (dealer), "inproc://monitor",
                        ZMQ_EVENT_CONNECTED | ZMQ_EVENT_DISCONNECTED |
                            ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
    zsock_t *monitor = zsock_new_pair (">inproc://monitor");
    zsock_set_rcvtimeo (monitor, 5000);
    zsock_connect (dealer, "tcp://127.0.0.1:%d", ntohs (at.sin_port));
    zstr_send (dealer, "hello");
    int first = s_event (monitor), second = s_event (monitor);
    trap_shown (first == ZMQ_EVENT_CONNECTED && second == ZMQ_EVENT_DISCONNECTED,
                "CONNECTED, then DISCONNECTED: nobody came, and nobody left");

    zsock_t *router = zsock_new (ZMQ_ROUTER);
    zsock_set_use_fd (router, fd);  //  Adopts the listener, and answers its connections
    zsock_bind (router, "tcp://127.0.0.1:%d", ntohs (at.sin_port));
    int event;
    while ((event = s_event (monitor)) && event != ZMQ_EVENT_HANDSHAKE_SUCCEEDED)
        continue;
    zsock_set_rcvtimeo (router, 5000);
    zmsg_t *message = zmsg_recv (router);  //  [identity][hello]
    trap_cured (event && message && zframe_streq (zmsg_last (message), "hello"),
                "HANDSHAKE_SUCCEEDED: now a peer is there, and gets what was sent before");
    zmsg_destroy (&message);
    zsock_destroy (&monitor);
    zsock_destroy (&dealer);
    zsock_destroy (&router);
    return trap_end (
        "TCP connects as soon as the system listens. Wait for HANDSHAKE_SUCCEEDED. Keep the",
        "socket at a DISCONNECTED before it: libzmq dials again, and keeps what is queued.");
}
