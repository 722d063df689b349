//  SPDX-License-Identifier: MIT
//  spawned.h - processes that somebody starts and has to know the end of
//
//  Each child holds one end of a socket pair, and never uses it. When the child ends, in whatever
//  way, the kernel closes that end, and the other one becomes readable. (A child that has children
//  of its own would have to close it there: our engines have none.) So a poller can wait for
//  messages and for deaths at once: what vLLM does with multiprocessing's sentinels.
//  It works in the other direction too. Killed with kill -9, a parent ends nobody; but its children
//  can notice. vLLM gives each of its workers a "death pipe" for that.
//  vLLM:  vllm/v1/engine/utils.py CoreEngineProcManager.sentinels
//         vllm/v1/engine/utils.py CoreEngineProcManager.finished_procs
//         vllm/v1/executor/multiproc_executor.py WorkerProc.monitor_death_pipe

#pragma once

#include <stdbool.h>
#include <stddef.h>

//  Where a child has its end: a socket that is readable from the end of its parent on. Of the
//  descriptors behind stdin, stdout and stderr a child gets this one and no other.
#define SPAWNED_DEATH_PIPE 3

typedef struct spawned spawned_t;

//  For `max` of them
spawned_t *spawned_new (size_t max);

//  Ends those that still run with SIGTERM, and after SPAWNED_END_MS with SIGKILL: one that is
//  stopped (SIGSTOP) would never end. That is less than what a program has after a Ctrl-C.
#define SPAWNED_END_MS 700
void spawned_destroy (spawned_t **self_p);

//  Starts a program, with argv as execv has it. Returns its sentinel, a file descriptor that is
//  readable from the program's end on and stays the children's; or -1 with errno set.
int spawned_start (spawned_t *self, char *const argv[]);

//  How the i-th that was started has ended: "exit status 1", "signal 9". To be asked when its
//  sentinel is readable; waits for the end, if need be. The caller's to free with zstr_free.
char *spawned_ending (spawned_t *self, size_t i);
