//  SPDX-License-Identifier: MIT
//  curve.h - closed doors: with --curve-dir, who has no key gets in nowhere and reads nothing
//
//  CURVE is libzmq's own encryption. Who binds is its server, who connects its client, whatever the
//  two are to each other otherwise. A client has to know the server's public key; the server asks
//  of each client that comes whether its public key is on the list. --curve-dir names a folder:
//
//      server.key          public   for who connects: whom to talk to
//      server.key_secret   secret   for who binds
//      client.key_secret   secret   for who connects
//      clients/*.key       public   for who binds: the list
//
//  `make keys` makes such a folder. The files are CZMQ's certificates (zcert), and pyzmq's as well.
//  A program reads those that it needs. It refuses secrets that others can read, and a list or a
//  key that others can write. The list is read again for each client: a change counts at once,
//  though not for who is in already.
//
//  A thread decides who is let in (ZAP, RFC 27), and says once for each address who was not. It
//  ends with the program. Without --curve-dir there is no such thread, and nothing here does
//  anything, but for a word of curve_event.
//  vLLM:  nothing. It sets no CURVE option anywhere; see docs/security.md.

#pragma once

#include <czmq.h>

//  The folder; NULL without --curve-dir. Set by options_read.
extern const char *curve_dir;

//  Which of the keys a program needs
typedef enum {
    CURVE_SERVER,  //  To bind
    CURVE_CLIENT   //  To connect
} curve_role_t;

//  Reads the keys for a role from curve_dir, unless that was done or it is NULL. False, and the
//  reason on stderr, when one of them is missing or no good. options_read calls it for a program's
//  endpoint options; before curve_server or curve_client somebody must have.
bool curve_load (curve_role_t role);

//  Makes of a socket a CURVE server, before it is bound; or a client, before it is connected. The
//  thread then monitors it, for the news of who was refused. A socket has one monitor: a program
//  that wants its own starts it after this call, hands the events over with curve_event, and may
//  give the socket back with curve_watch.
void curve_server (zsock_t *socket);
void curve_client (zsock_t *socket);
void curve_watch (zsock_t *socket);

//  For the mask of zmq_socket_monitor: what curve_event wants to know of, beside the events
//  HANDSHAKE_SUCCEEDED and DISCONNECTED
#define CURVE_EVENTS                                                                               \
    (ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |                                   \
     ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)

//  Something that a program's own monitor has told of `socket`. The message stays the caller's.
//  Without --curve-dir it says, once, that somebody wants a key.
void curve_event (zsock_t *socket, zmsg_t *event);
