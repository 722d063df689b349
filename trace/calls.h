//  SPDX-License-Identifier: MIT
//  calls.h - the calls of libzmq that are watched, and what is called instead of them
//
//  A process may have several copies of libzmq: CZMQ's, and one that pyzmq brings along. Each has
//  addresses of its own for the same names, so each has its own set of wrappers.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <zmq.h>

//  Copies that can be told apart
#define COPIES_MAX 4

//  Each call: its name, its result, its parameters; its arguments in the order in which a function
//  of watch.h takes them, after the copy and the call; and that function. `n` is the copy.
#define ENDPOINT_CALL(CALL, n, name)                                                               \
    CALL (n, name, int, (void *socket, const char *endpoint), (socket, endpoint), watch_endpoint)
#define SEND_CALL(CALL, n, name)                                                                   \
    CALL (n, name, int, (void *socket, const void *data, size_t size, int flags),                  \
          (socket, data, size, flags), watch_send)
#define SEEN_CALLS(CALL, n)                                                                        \
    CALL (n, socket, void *, (void *context, int type), (context, type), watch_socket)             \
    CALL (n, close, int, (void *socket), (socket), watch_close)                                    \
    ENDPOINT_CALL (CALL, n, bind)                                                                  \
    ENDPOINT_CALL (CALL, n, connect)                                                               \
    ENDPOINT_CALL (CALL, n, unbind)                                                                \
    ENDPOINT_CALL (CALL, n, disconnect)                                                            \
    CALL (n, setsockopt, int, (void *socket, int option, const void *value, size_t size),          \
          (socket, option, value, size), watch_setsockopt)                                         \
    SEND_CALL (CALL, n, send)                                                                      \
    SEND_CALL (CALL, n, send_const)                                                                \
    CALL (n, recv, int, (void *socket, void *data, size_t size, int flags),                        \
          (socket, data, size, flags), watch_recv)                                                 \
    CALL (n, msg_send, int, (zmq_msg_t * frame, void *socket, int flags), (frame, socket, flags),  \
          watch_msg_send)                                                                          \
    CALL (n, msg_recv, int, (zmq_msg_t * frame, void *socket, int flags), (frame, socket, flags),  \
          watch_msg_recv)                                                                          \
    CALL (n, sendmsg, int, (void *socket, zmq_msg_t *frame, int flags), (frame, socket, flags),    \
          watch_msg_send)                                                                          \
    CALL (n, recvmsg, int, (void *socket, zmq_msg_t *frame, int flags), (frame, socket, flags),    \
          watch_msg_recv)
//  Messages pass inside these, where they are not seen
#define UNSEEN_CALLS(CALL, n)                                                                      \
    CALL (n, sendiov, int, (void *socket, struct iovec *parts, size_t count, int flags),           \
          (socket, parts, count, flags))                                                           \
    CALL (n, recviov, int, (void *socket, struct iovec *parts, size_t *count, int flags),          \
          (socket, parts, count, flags))                                                           \
    CALL (n, proxy, int, (void *front, void *back, void *capture), (front, back, capture))         \
    CALL (n, proxy_steerable, int, (void *front, void *back, void *capture, void *control),        \
          (front, back, capture, control))                                                         \
    CALL (n, device, int, (int type, void *front, void *back), (type, front, back))
//  What the wrappers themselves need
#define NEEDED_CALLS(CALL, n)                                                                      \
    CALL (n, getsockopt, int, (void *, int, void *, size_t *), ())                                 \
    CALL (n, errno, int, (void), ())                                                               \
    CALL (n, strerror, const char *, (int), ())                                                    \
    CALL (n, msg_data, void *, (zmq_msg_t *), ())                                                  \
    CALL (n, msg_size, size_t, (const zmq_msg_t *), ())                                            \
    CALL (n, msg_more, int, (const zmq_msg_t *), ())
#define ALL_CALLS(CALL, n) SEEN_CALLS (CALL, n) UNSEEN_CALLS (CALL, n) NEEDED_CALLS (CALL, n)

#define CALL_INDEX(n, name, ...) CALL_##name,
typedef enum { ALL_CALLS (CALL_INDEX, ) CALLS, WATCHED = CALL_getsockopt } call_t;

//  Any function; to be cast to what it is
typedef void function_t (void);

#define CALL_POINTER(n, name, result, parameters, ...) result (*zmq_##name) parameters;
typedef struct zmq_copy {
    bool used;
    //  In this libzmq, by index and by name; NULL: it has no such call
    union {
        function_t *real[CALLS];
        struct {
            ALL_CALLS (CALL_POINTER, )
        };
    };
} zmq_copy_t;

extern zmq_copy_t copies[COPIES_MAX];

//  "zmq_msg_send"
const char *call_name (call_t call);

//  The watched call of this name; WATCHED: there is none
call_t call_find (const char *name);

//  What is to be called instead of copies[copy].real[call]
function_t *call_wrapper (size_t copy, call_t call);
