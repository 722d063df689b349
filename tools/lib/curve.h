//  SPDX-License-Identifier: MIT
//  curve.h - CURVE: with --curve-dir, a peer without a key on the list can neither connect nor read
//
//  CURVE is libzmq's own encryption. A program that binds is the CURVE server and a program that
//  connects is the client, in every pair of programs. A client has to know the server's public key.
//  The server checks whether the public key of a client is on its list. --curve-dir names a folder:
//
//      server.key          public   for programs that connect: the server's key
//      server.key_secret   secret   for programs that bind
//      client.key_secret   secret   for programs that connect
//      clients/*.key       public   for programs that bind: the list of clients
//
//  `make keys` makes such a folder. The files are CZMQ's certificates (zcert), and pyzmq's as well.
//  A program reads those that it needs. It refuses secrets that others can read, and a list or a
//  key that others can write. The list is read again for each client: a change counts at once,
//  but not for clients that are connected already.
//
//  A thread decides which clients may connect (ZAP, RFC 27), and logs each refused address once. It
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
//  that wants its own starts it after this call, and hands the events over with curve_event.
void curve_server (zsock_t *socket);
void curve_client (zsock_t *socket);

//  For the mask of zmq_socket_monitor: what curve_event wants to know of, beside the events
//  HANDSHAKE_SUCCEEDED and DISCONNECTED
#define CURVE_EVENTS                                                                               \
    (ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |                                   \
     ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH)

//  Something that a program's own monitor has told of `socket`. The message stays the caller's.
//  Without --curve-dir it says, once, that somebody wants a key.
void curve_event (zsock_t *socket, zmsg_t *event);
