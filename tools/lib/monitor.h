//  SPDX-License-Identifier: MIT
//  monitor.h - the connections of a socket, as events on a PAIR

#pragma once

#include <czmq.h>

//  A PAIR that receives an event for each connection of `socket` that is made
//  (ZMQ_EVENT_HANDSHAKE_SUCCEEDED) or lost (ZMQ_EVENT_DISCONNECTED), and what CURVE wants to know.
//  To be called after curve_server or curve_client. The caller's; monitor_stop comes first.
zsock_t *monitor_new (zsock_t *socket);

//  What has happened to a connection of `socket`; 0 when a signal came
uint16_t monitor_recv (zsock_t *socket, zsock_t *events);

//  No more events. To be called before the PAIR is closed: otherwise libzmq's I/O thread may wait
//  forever for an event to be read.
void monitor_stop (zsock_t *socket);
