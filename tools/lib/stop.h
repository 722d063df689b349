//  SPDX-License-Identifier: MIT
//  stop.h - a Ctrl-C that cannot be missed
//
//  CZMQ catches SIGINT and SIGTERM: it sets zsys_interrupted, and the blocking call that is under
//  way returns NULL or -1. But a signal that comes just before the call, after the loop has looked
//  at zsys_interrupted, interrupts nothing, and the call then waits for ever. So here the first
//  signal also starts a timer that interrupts whatever blocks next. That is why the demos can use
//  plain blocking calls and still stop at once.
//
//  On exit CZMQ waits for the last messages to leave, up to the linger of each socket. After a
//  signal it waits half a second at the most, however long the lingers are.

#pragma once

//  Catches SIGINT and SIGTERM as said above. options_read calls it; once is enough.
void stop_catch_signals (void);
