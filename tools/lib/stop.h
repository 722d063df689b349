//  SPDX-License-Identifier: MIT
//  stop.h - a Ctrl-C that cannot be missed, and that always ends the program
//
//  CZMQ catches SIGINT and SIGTERM: it sets zsys_interrupted, and the blocking call that is under
//  way returns NULL or -1. But a signal that comes just before the call, after the loop has looked
//  at zsys_interrupted, interrupts nothing, and the call then blocks. So here the first signal also
//  starts a timer that interrupts whatever blocks next. That is why the programs can use plain
//  blocking calls and still stop at once.
//
//  If the program has not ended STOP_FORCED_MS after the first signal, for whatever reason (a
//  thread that blocks, a message that takes long, a deadlock between libraries), the timer's
//  handler ends it: it writes one line to stderr, if stderr takes it, and exits with STOP_FORCED.
//  It uses only what a signal handler may use.
//
//  On exit CZMQ waits for the last messages to leave, up to the linger of each socket. After a
//  signal it waits half a second at the most, however long the lingers are.

#pragma once

//  Time for an orderly end, ms from the first signal
#define STOP_FORCED_MS 1000

//  The exit status of a program that had to be ended
#define STOP_FORCED 3

//  For a signal handler: writes a line to stderr, if stderr takes it, and ends the program
void stop_now (const char *line, int status);

//  Catches SIGINT and SIGTERM as said above. options_read calls it; once is enough.
void stop_catch_signals (void);
