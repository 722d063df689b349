//  SPDX-License-Identifier: MIT
//  watch.h - what happens in each watched call: the call itself, and a record of what it did
//
//  Each calls libzmq's function exactly once, with the arguments of the program, and returns what
//  that returned, with errno as that left it.

#pragma once

#include <zmq.h>

#include "calls.h"

struct iovec;

void *watch_socket (zmq_copy_t *copy, void *context, int type);
int watch_close (zmq_copy_t *copy, void *socket);

//  bind, connect, unbind and disconnect
int watch_endpoint (zmq_copy_t *copy, call_t call, void *socket, const char *endpoint);
int watch_setsockopt (zmq_copy_t *copy, void *socket, int option, const void *value, size_t size);

int watch_send (zmq_copy_t *copy, call_t call, void *socket, const void *data, size_t size,
                int flags);
int watch_recv (zmq_copy_t *copy, void *socket, void *data, size_t size, int flags);
int watch_msg_send (zmq_copy_t *copy, call_t call, zmq_msg_t *frame, void *socket, int flags);
int watch_msg_recv (zmq_copy_t *copy, call_t call, zmq_msg_t *frame, void *socket, int flags);

//  Messages that pass inside these are not seen, and that is said once
int watch_proxy (zmq_copy_t *copy, void *frontend, void *backend, void *capture);
int watch_proxy_steerable (zmq_copy_t *copy, void *frontend, void *backend, void *capture,
                           void *control);
int watch_device (zmq_copy_t *copy, int type, void *frontend, void *backend);
int watch_sendiov (zmq_copy_t *copy, void *socket, struct iovec *parts, size_t count, int flags);
int watch_recviov (zmq_copy_t *copy, void *socket, struct iovec *parts, size_t *count, int flags);

//  Where the program's errno is: the tracer has another one. Looked up by audit.c.
extern int *(*watch_errno_location) (void);
