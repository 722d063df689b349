//  SPDX-License-Identifier: MIT
//  output.h - where a trace goes: a file to which several processes append, or stderr
//
//  The program may close or reuse any descriptor, so each write first checks that it still is the
//  file. A file that takes no more ends the trace, not the program.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int fd;            //  -1: nothing is written
    const char *path;  //  NULL: stderr
    uint64_t device, inode;
    bool may_signal;  //  A pipe or a socket, whose other end may be gone: SIGPIPE
} output_t;

#define OUTPUT_NONE ((output_t){.fd = -1})

//  Opens (or creates) a file to append to it. Returns 0, or -1 with errno set.
int output_open (output_t *self, const char *path);

//  Takes `fd`, which must be the file with this device and inode; 0, 0: whichever it is.
//  False: it is another one.
bool output_take (output_t *self, int fd, uint64_t device, uint64_t inode);

//  Appends in one piece. False: this failed, and nothing more will be written; errno has the
//  reason.
bool output_write (output_t *self, const char *data, size_t size);
