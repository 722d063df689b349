//  SPDX-License-Identifier: MIT
//  trace.h - what a program sends and receives, written down for other programs: --trace FILE
//
//  One JSON object a line, each appended with one write(2), so that several processes can share a
//  file. docs/trace.md says what is in an object. scripts/trace_demo.py draws a diagram of them.
//  As show.h, nothing here sends or receives anything.

#pragma once

#include <czmq.h>

//  Of a frame, so many bytes are written as hex, and so many of what they mean; of a message, so
//  many frames. What a peer sends is bounded here.
#define TRACE_HEX_MAX 1024
#define TRACE_TEXT_MAX 2048
#define TRACE_FRAMES_MAX 64

//  Where the trace goes; NULL: nothing is traced, and a call costs no more than to look here
extern const char *trace_path;

//  Opens (or creates) the file to append to it, and writes that this program has started; when it
//  ends, that is written too. `instance` tells several of one program apart; NULL: nothing does.
//  The path must live as long as the program. Returns 0, or -1 with errno set.
//  A write that fails later is complained of once, and ends the trace, not the program.
int trace_open (const char *path, const char *instance);

//  What log_send and log_recv (show.h) trace
typedef enum { TRACE_SEND, TRACE_RECV } trace_dir_t;
void trace_message (trace_dir_t dir, const char *peer, zsock_t *socket, zmsg_t *message);

//  A subscription is a message too, 01 and the topic, but libzmq sends it by itself. To be called
//  when the socket has subscribed and connected, so that it is known where to.
void trace_subscribe (const char *peer, zsock_t *socket, const char *topic);

//  Something that is in no message: a timeout, a peer that is gone. One line.
void trace_note (const char *format, ...) CHECK_PRINTF (1);
