//  SPDX-License-Identifier: MIT
//  monitor.h - the connections of a socket, as events on a PAIR

#pragma once

#include <czmq.h>

//  A PAIR that receives an event for each connection of `socket` that is made
//  (ZMQ_EVENT_HANDSHAKE_SUCCEEDED) or lost (ZMQ_EVENT_DISCONNECTED), what CURVE wants to know, and
//  `more` events. To be called after curve_server or curve_client. The caller's; monitor_stop comes
//  first.
zsock_t *monitor_new (zsock_t *socket, int more);

//  What has happened to a connection of `socket`, and the event's value, which may be NULL: see
//  zmq_socket_monitor(3). 0 when nothing has, or a signal came.
uint16_t monitor_recv (zsock_t *socket, zsock_t *events, int32_t *value);

//  No more events. To be called before the PAIR is closed: otherwise libzmq's I/O thread may wait
//  forever for an event to be read.
void monitor_stop (zsock_t *socket);
