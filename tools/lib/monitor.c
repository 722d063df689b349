//  SPDX-License-Identifier: MIT

#include "lib/monitor.h"
#include "lib/curve.h"

zsock_t *monitor_new (zsock_t *socket, int more)
{
    static uint64_t number = 0;  //  libzmq gives a name back only some time after its socket closed
    char where[64];
    snprintf (where, sizeof where, "inproc://events-%" PRIu64, number++);
    zmq_socket_monitor (zsock_resolve (socket), where,
                        ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED | CURVE_EVENTS |
                            more);
    zsock_t *events = zsock_new (ZMQ_PAIR);
    zsock_set_rcvhwm (events, 0);  //  Or libzmq's I/O thread would wait when it is full
    zsock_connect (events, "%s", where);
    return events;
}

uint16_t monitor_recv (zsock_t *socket, zsock_t *events, int32_t *value)
{
    uint16_t event = 0;
    zmsg_t *message = zmsg_recv (events);
    if (message) {
        const byte *frame = zframe_data (zmsg_first (message));
        memcpy (&event, frame, sizeof event);
        if (value)
            memcpy (value, frame + sizeof event, sizeof *value);
        curve_event (socket, message);
    }
    zmsg_destroy (&message);
    return event;
}

void monitor_stop (zsock_t *socket)
{
    zmq_socket_monitor (zsock_resolve (socket), NULL, 0);
}
