//  SPDX-License-Identifier: MIT
//  watch.h - what happens in each watched call: the call itself, and a record of what it did
//
//  Each calls libzmq's function exactly once, with the arguments of the program, and returns what
//  that returned, with errno as that left it.

#pragma once

#include "calls.h"

void *watch_socket (zmq_copy_t *copy, call_t call, void *context, int type);
int watch_close (zmq_copy_t *copy, call_t call, void *socket);

//  bind, connect, unbind and disconnect
int watch_endpoint (zmq_copy_t *copy, call_t call, void *socket, const char *endpoint);
int watch_setsockopt (zmq_copy_t *copy, call_t call, void *socket, int option, const void *value,
                      size_t size);

int watch_send (zmq_copy_t *copy, call_t call, void *socket, const void *data, size_t size,
                int flags);
int watch_recv (zmq_copy_t *copy, call_t call, void *socket, void *data, size_t size, int flags);
int watch_msg_send (zmq_copy_t *copy, call_t call, zmq_msg_t *frame, void *socket, int flags);
int watch_msg_recv (zmq_copy_t *copy, call_t call, zmq_msg_t *frame, void *socket, int flags);

//  Says once that messages pass inside this call that are not seen. The wrapper makes the call.
void watch_unseen (call_t call);

//  Where the program's errno is: the tracer has another one. Looked up by audit.c.
extern int *(*watch_errno_location) (void);
