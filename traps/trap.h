//  SPDX-License-Identifier: MIT
//  trap.h - what every program of this room says, and what it returns
//
//      int main (int argc, char **argv)
//      {
//          trap_begin (argc, argv, "linger", "a socket that is closed forgets its messages");
//          ...                     the sockets
//          trap_shown (fact, "what was seen");
//          ...                     the same, done right
//          trap_cured (fact, "what is seen now");
//          return trap_end ("why, first line", "second line");
//      }
//
//  There are no sockets in here. A verdict is the check of all calls that came before it: if one of
//  them failed, what is claimed cannot be seen.

#pragma once

#include "lib/log.h"

//  Begins the one run of a program. It takes no argument: --help prints `purpose` and exits with 0,
//  any other exits with 2. From here on a signal, or the end of TRAP_SECONDS, interrupts whatever
//  waits, again and again: a wait that has no timeout of its own is bounded too. Both strings have
//  to live as long as the program.
#define TRAP_SECONDS 20
void trap_begin (int argc, char **argv, const char *name, const char *purpose);

//  An ipc endpoint that nobody else has, always the same one. Its folder goes with the program.
const char *trap_ipc (void);

//  Prints what was seen of the trap, and of its cure. When `happened` is false it was not seen: the
//  line goes to stderr instead, and trap_end will return EXIT_FAILURE.
void trap_shown (bool happened, const char *format, ...) CHECK_PRINTF (2);
void trap_cured (bool happened, const char *format, ...) CHECK_PRINTF (2);

//  Prints why, in two lines, if all was seen. Returns EXIT_SUCCESS when there was at least one
//  verdict of each kind, none was false, and no signal came; else EXIT_FAILURE.
int trap_end (const char *why, const char *and_more);
