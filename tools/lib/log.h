//  SPDX-License-Identifier: MIT
//  log.h - lines on stdout, warnings on stderr

#pragma once

#include <czmq.h>

#if CZMQ_VERSION < CZMQ_MAKE_VERSION(4, 2, 0) || ZMQ_VERSION < ZMQ_MAKE_VERSION(4, 3, 0)
#error "CZMQ 4.2 and libzmq 4.3 or newer are needed"
#endif

typedef enum {
    LOG_QUIET,  //  The summary only
    LOG_LINES   //  A line for what happens
} log_level_t;

//  Set by options_read
extern const char *log_program;
extern const char *log_at_risk;  //  See about_t; NULL: not known
extern log_level_t log_level;

//  Where lines are printed; NULL is stdout. For a program whose stdout is read by other
//  programs.
extern FILE *log_out;

//  Control bytes in any of these lines are printed as '?': the text may come from a peer.

//  One line on stdout. Not with --quiet.
#define print_line(...) (log_level == LOG_QUIET ? (void) 0 : log_print (false, __VA_ARGS__))

//  The summary: one line on stdout, `<program>: ...`, even with --quiet
#define print_summary(...) log_print (true, __VA_ARGS__)

//  A line of the summary without the program's name, even with --quiet
#define print_result(...) log_print (false, __VA_ARGS__)

//  For work that may take over 2 s while --quiet keeps a program silent: prints how far it is to
//  stderr, twice a second on the same line. Prints nothing when stderr is not a terminal. NULL: the
//  work is done, and the line is erased.
void print_progress (const char *format, ...) CHECK_PRINTF (1);

//  To be called with the result of a zsock_bind to `endpoint`. If it was bound: prints
//  `<program>: listening on <endpoint>` with the endpoint as bound (the wildcard port resolved),
//  even with --quiet, because other programs connect to it; returns true. If other machines can
//  reach it and the socket is not a CURVE server, a line on stderr warns what is at risk. If it
//  was not bound (-1): prints why on stderr; returns false.
bool log_bound (zsock_t *socket, const char *endpoint, int bound);

//  To be called with the result of a zsock_connect to `endpoint`. If that was 0: prints nothing,
//  because nobody need be listening yet; returns true. Otherwise prints why on stderr; returns
//  false.
bool log_connected (const char *endpoint, int connected);

//  What main returns when one of the two was false: a Ctrl-C in the middle of a bind or connect
//  makes it fail too, and that is not the program's failure
#define EXIT_STOPPED_OR_FAILED (zsys_interrupted ? EXIT_SUCCESS : EXIT_FAILURE)

//  One line on stderr, `<program>: what failed: why`
void warn_line (const char *format, ...) CHECK_PRINTF (1);

//  To be called before anything is printed. If stdout has not taken everything when the program
//  ends (disk full, pipe closed, a signal while a pipe was full), prints that on stderr and exits
//  with EXIT_FAILURE.
void log_check_stdout (void);

//  Used by all of the above: one line on stdout, and one on `out`, with the program's name in front
//  if `named`. When stdout takes no more the program ends as after Ctrl-C.
void log_print (bool named, const char *format, ...) CHECK_PRINTF (2);
void log_line (FILE *out, bool named, const char *format, va_list args);
