//  SPDX-License-Identifier: MIT
//  record.h - writes what has happened: a block of text, and an object of JSON (docs/trace.md)

#pragma once

#include <time.h>

#include "sockets.h"

typedef enum { SEND, RECV } direction_t;

//  A whole message, at the time `t`
void record_message (const socket_t *socket, direction_t direction, const message_t *message,
                     const struct timespec *t);

//  Something else that a socket did: "connect" with "endpoint", "subscribe" with "topic". `key` may
//  be NULL when there is nothing to add.
void record_event (const socket_t *socket, const char *event, const char *key, const void *value,
                   size_t size);

//  A call that failed
void record_error (const socket_t *socket, const char *call, const char *name, const char *why);

//  The process ends. Does nothing when it has not done anything, or when its end was written.
void record_end (void);
