//  SPDX-License-Identifier: MIT
//  show.h - what a reader sees of a program: its lines, its errors, and the frames on the wire
//
//  None of these sends or receives anything: the sockets stay in the demos.

#pragma once

#include <czmq.h>

#if CZMQ_VERSION < CZMQ_MAKE_VERSION(4, 2, 0) || ZMQ_VERSION < ZMQ_MAKE_VERSION(4, 3, 0)
#error "CZMQ 4.2 and libzmq 4.3 or newer are needed"
#endif

typedef enum {
    SHOW_QUIET,  //  The summary only
    SHOW_LINES,  //  A line for what happens
    SHOW_FRAMES  //  And each frame of each message
} show_level_t;

//  Set by options_read
extern const char *show_program;
extern const char *show_exposes;  //  See about_t; NULL: nothing is known
extern show_level_t show_level;

//  Where lines and frames go; NULL is stdout. For a program whose stdout is for other programs.
extern FILE *show_out;

//  What a peer has sent may go into any of these lines: its control bytes are printed as '?'.

//  One line on stdout about something that happened; silent with --quiet
void say (const char *format, ...) CHECK_PRINTF (1);

//  The same about something that is in no message, such as a timeout: it goes to the trace as well
//  (trace.h), even with --quiet
void note (const char *format, ...) CHECK_PRINTF (1);

//  One line on stdout, `<program>: ...`, printed even with --quiet: the summary
void say_summary (const char *format, ...) CHECK_PRINTF (1);

//  A line of the summary that does not begin with the program's name: printed even with --quiet
void say_result (const char *format, ...) CHECK_PRINTF (1);

//  For what may take over two seconds while --quiet keeps a program silent: tells somebody at
//  a terminal how far it is, on stderr, twice a second in the same place. Nothing in a pipe. NULL:
//  it is over, and the line is taken away.
void show_busy (const char *format, ...) CHECK_PRINTF (1);

//  Tells how a zsock_bind of `endpoint` went, from what it returned. Well: prints
//  `<program>: listening on <endpoint>` with the endpoint as bound (the wildcard port resolved),
//  even with --quiet, since others connect to it; true. When they can do so from other machines,
//  and the socket is no CURVE server, a line on stderr warns of what they get at. Not well (-1):
//  complains; false.
bool say_listening (zsock_t *socket, const char *endpoint, int bound);

//  Tells how a zsock_connect to `endpoint` went, from what it returned. Well (0): says nothing,
//  since nobody need be there yet; true. Not well: complains; false.
bool say_connecting (const char *endpoint, int connected);

//  What main returns when one of the two was false: a Ctrl-C in the middle of a bind or connect
//  makes it fail too, and that is not the program's failure
#define EXIT_STOPPED_OR_FAILED (zsys_interrupted ? EXIT_SUCCESS : EXIT_FAILURE)

//  One line on stderr, `<program>: ...`: what failed, and why. It goes to the trace as well.
void complain (const char *format, ...) CHECK_PRINTF (1);

//  To be called before anything is printed. When the program ends and stdout has not taken all
//  (the disk is full, nobody reads the pipe, a signal came while a full pipe made us wait), that is
//  told on stderr, and the exit status is EXIT_FAILURE.
void show_check_stdout (void);

//  What all of the above end in: one line on `out`, with the program's name in front if `named`
void show_line (FILE *out, bool named, const char *format, va_list args);

//  To be called right before a message is sent, and right after one was received. With --verbose it
//  prints each frame: length, bytes in hex, and the text or the msgpack value that they hold. With
//  --trace the message is traced (trace.h). `peer` is who is at the other end ("server"). The
//  message stays the caller's.
bool show_frames (void);  //  False: these two do nothing, and need no message to be made for them
void show_send (const char *peer, zsock_t *socket, zmsg_t *message);
void show_recv (const char *peer, zsock_t *socket, zmsg_t *message);

//  The same for a message of one frame that is in no zmsg_t
void show_send_frame (const char *peer, zsock_t *socket, zframe_t *frame);
void show_recv_frame (const char *peer, zsock_t *socket, zframe_t *frame);

//  What a frame holds: text, or a msgpack value as text, cut to `max` bytes and "..."; NULL when
//  nothing can be said. To be freed by the caller.
char *show_meaning (const byte *data, size_t size, size_t max);
