//  SPDX-License-Identifier: MIT

#include "lib/monitor.h"
#include "lib/curve.h"

zsock_t *monitor_new (zsock_t *socket)
{
    static uint64_t number = 0;  //  libzmq gives a name back only some time after its socket closed
    char where[64];
    snprintf (where, sizeof where, "inproc://events-%" PRIu64, number++);
    zmq_socket_monitor (zsock_resolve (socket), where,
                        ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED | CURVE_EVENTS);
    zsock_t *events = zsock_new (ZMQ_PAIR);
    zsock_connect (events, "%s", where);
    return events;
}

uint16_t monitor_recv (zsock_t *socket, zsock_t *events)
{
    uint16_t event = 0;  //  The first two bytes; see zmq_socket_monitor(3)
    zmsg_t *message = zmsg_recv (events);
    if (message) {
        memcpy (&event, zframe_data (zmsg_first (message)), sizeof event);
        curve_event (socket, message);
    }
    zmsg_destroy (&message);
    return event;
}

void monitor_stop (zsock_t *socket)
{
    zmq_socket_monitor (zsock_resolve (socket), NULL, 0);
}
