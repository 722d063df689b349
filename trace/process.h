//  SPDX-License-Identifier: MIT
//  process.h - the process that is traced: what it was told, its name, and where the trace goes

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "output.h"
#include "turn.h"

typedef struct {
    bool follow;  //  Children are traced too
    bool inproc;  //  inproc is shown
    bool vllm;    //  --decode vllm
    output_t text, json, stderr_;
    bool is_root;      //  It is the process that ztrace became
    char program[64];  //  A script's name when an interpreter runs it
    long pid;
    int engine_index;  //  By an identity as vLLM gives them; -1: none, or without --decode vllm
    struct timespec started;  //  When this library was loaded
    bool has_sockets;         //  It has opened one, if only for inproc
    bool told_start;          //  The trace says that it has started
    bool told_end;            //  And that it has ended
    turn_t turn;              //  For everything that is written
} process_t;

extern process_t process;

//  Reads the environment. False: this process is not to be traced, and its environment is cleaned.
bool process_start (void);

//  To be called before each wrapped call does anything else. False: this is a child after fork, and
//  children are not traced. One that is traced begins here.
bool process_is_traced (void);

//  Finds out what the program is called. What it calls itself later (setproctitle) is not seen.
void process_read_name (void);

//  One line on stderr, "ztrace: ...", from parts, the last of which is NULL
void process_say (const char *const *parts);
#define SAY(...) process_say ((const char *const[]){__VA_ARGS__, NULL})

//  Appends to one of the outputs. When that fails, says so once.
void process_write (output_t *output, const char *data, size_t size);
