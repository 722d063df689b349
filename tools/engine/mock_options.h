//  SPDX-License-Identifier: MIT
//  mock_options.h - the options of mock_engine, and what all engines of its process share
//
//  vLLM:  rust/src/mock-engine/src/lib.rs Opt, whose options these are

#pragma once

#include "engine/toy_engine.h"

//  What all engines of this process have in common
typedef struct {
    const char *handshake;
    const char *parallel_config_hash;
    int index, count, step_ms;
    int death_pipe;              //  A file descriptor; 0: none
    char version[16];            //  Of vLLM, which vllm-rs shows as its own
    toy_engine_config_t config;  //  But for the index and the number of clients
    zpoller_t *poller;
    size_t sockets, socket_limit;  //  Open ones; and how many the system lets us have
    toy_engine_counts_t counts;    //  Of those that have left a front-end
} mock_shared_t;

//  Reads the command line into what is shared. The defaults are what the caller has set. A wrong
//  command line, or options that make no sense together, end the program with OPTIONS_WRONG.
void mock_options_read (mock_shared_t *shared, int argc, char **argv);
