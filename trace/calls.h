//  SPDX-License-Identifier: MIT
//  calls.h - the calls of libzmq that are watched, and what is called instead of them
//
//  A process may have several copies of libzmq: CZMQ's, and one that pyzmq brings along. Each has
//  addresses of its own for the same names, so each has its own set of wrappers.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

//  Copies that can be told apart
#define COPIES_MAX 4

//  Watched calls, which have wrappers; then what the wrappers themselves need
#define WATCHED_CALLS(CALL)                                                                        \
    CALL (socket)                                                                                  \
    CALL (close)                                                                                   \
    CALL (bind)                                                                                    \
    CALL (connect)                                                                                 \
    CALL (unbind)                                                                                  \
    CALL (disconnect)                                                                              \
    CALL (setsockopt)                                                                              \
    CALL (send)                                                                                    \
    CALL (send_const)                                                                              \
    CALL (recv)                                                                                    \
    CALL (msg_send)                                                                                \
    CALL (msg_recv)                                                                                \
    CALL (sendmsg)                                                                                 \
    CALL (recvmsg)                                                                                 \
    CALL (sendiov)                                                                                 \
    CALL (recviov)                                                                                 \
    CALL (proxy)                                                                                   \
    CALL (proxy_steerable)                                                                         \
    CALL (device)
#define NEEDED_CALLS(CALL)                                                                         \
    CALL (getsockopt)                                                                              \
    CALL (errno)                                                                                   \
    CALL (strerror)                                                                                \
    CALL (msg_data)                                                                                \
    CALL (msg_size)                                                                                \
    CALL (msg_more)

#define CALL_INDEX(name) CALL_##name,
typedef enum {
    WATCHED_CALLS (CALL_INDEX) WATCHED,
    NEEDED_FROM = WATCHED - 1,
    NEEDED_CALLS (CALL_INDEX) CALLS
} call_t;

//  Any function; to be cast to what it is
typedef void function_t (void);

typedef struct zmq_copy {
    bool used;
    function_t *real[CALLS];  //  In this libzmq; NULL: it has no such call
} zmq_copy_t;

extern zmq_copy_t copies[COPIES_MAX];

//  "zmq_msg_send"
const char *call_name (call_t call);

//  The watched call of this name; WATCHED: there is none
call_t call_find (const char *name);

//  What is to be called instead of copies[copy].real[call]
function_t *call_wrapper (size_t copy, call_t call);
