//  SPDX-License-Identifier: MIT
//  sockets.h - the sockets of the traced process, and what is known of each
//
//  socket_find is called for each message, by any thread, and takes no lock. Everything else about
//  one socket is done by the thread that uses it, as ZeroMQ demands of the program.

#pragma once

#include "message.h"

struct zmq_copy;

typedef struct {
    void *socket;           //  The program's
    struct zmq_copy *copy;  //  The libzmq that it belongs to
    int type;               //  ZMQ_DEALER, ...
    unsigned number;        //  #1 is the process's first, counted for each type
    char endpoint
        [256];  //  Where it was bound or connected last, wildcards resolved; "": nowhere yet
    unsigned endpoints;  //  How many there are that are not inproc
    unsigned inprocs;    //  And that are
    unsigned char identity[255];
    unsigned char identity_size;
    message_t *sent, *received;  //  Up to the last frame that has passed; NULL: none has
} socket_t;

//  NULL: it is not known
socket_t *socket_find (void *socket);

//  Adds a socket, as the next of its type. NULL: there are too many.
socket_t *socket_add (void *socket, struct zmq_copy *copy, int type);

void socket_remove (socket_t *self);

//  Forgets all of them: in a child after fork they are the parent's
void sockets_forget (void);

//  The message to which the frame belongs that is sent or received now: self->sent or
//  self->received, which is made when it is NULL. NULL: there is no memory.
message_t *socket_message (message_t **message);

//  "DEALER"; "socket type 99" is "?"
const char *socket_type_name (int type);
