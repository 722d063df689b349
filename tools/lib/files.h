//  SPDX-License-Identifier: MIT
//  files.h - what happens when the process has no file descriptors left
//
//  Each connection takes one, each socket one to three. Without one libzmq and CZMQ abort, or
//  libzmq's I/O thread tries to accept the same connection again and again. So a program raises its
//  limit to what the system allows. When none is left all the same it says so and exits with 1:
//
//  - before it opens a socket, if there are fewer than FILES_MIN;
//  - when a library aborts and none is left: from the handler of SIGABRT;
//  - when none is free in two looks, a second apart: a thread looks.

#pragma once

//  Enough for libzmq itself, for CURVE, and for a few sockets
#define FILES_MIN 32

//  Sets all of this up. Ends the program when there are too few. options_read calls it.
void files_prepare (void);
