//  SPDX-License-Identifier: MIT
//
//  One function for each watched call and each copy of libzmq. They have the signatures of
//  libzmq's, and do nothing but say which copy is meant.

#include "calls.h"
#include "watch.h"

#include <string.h>

zmq_copy_t copies[COPIES_MAX];

#define CALL_STRING(name) "zmq_" #name,
static const char *const names[] = {WATCHED_CALLS (CALL_STRING) NEEDED_CALLS (CALL_STRING)};

const char *call_name (call_t call)
{
    return names[call];
}

call_t call_find (const char *name)
{
    if (strncmp (name, "zmq_", 4) != 0)
        return WATCHED;
    size_t call = 0;
    while (call < WATCHED && strcmp (name, names[call]) != 0)
        call++;
    return (call_t) call;
}

#define WRAPPERS(n)                                                                                \
    static void *s_socket_##n (void *context, int type)                                            \
    {                                                                                              \
        return watch_socket (&copies[n], context, type);                                           \
    }                                                                                              \
    static int s_close_##n (void *socket)                                                          \
    {                                                                                              \
        return watch_close (&copies[n], socket);                                                   \
    }                                                                                              \
    static int s_bind_##n (void *socket, const char *endpoint)                                     \
    {                                                                                              \
        return watch_endpoint (&copies[n], CALL_bind, socket, endpoint);                           \
    }                                                                                              \
    static int s_connect_##n (void *socket, const char *endpoint)                                  \
    {                                                                                              \
        return watch_endpoint (&copies[n], CALL_connect, socket, endpoint);                        \
    }                                                                                              \
    static int s_unbind_##n (void *socket, const char *endpoint)                                   \
    {                                                                                              \
        return watch_endpoint (&copies[n], CALL_unbind, socket, endpoint);                         \
    }                                                                                              \
    static int s_disconnect_##n (void *socket, const char *endpoint)                               \
    {                                                                                              \
        return watch_endpoint (&copies[n], CALL_disconnect, socket, endpoint);                     \
    }                                                                                              \
    static int s_setsockopt_##n (void *socket, int option, const void *value, size_t size)         \
    {                                                                                              \
        return watch_setsockopt (&copies[n], socket, option, value, size);                         \
    }                                                                                              \
    static int s_send_##n (void *socket, const void *data, size_t size, int flags)                 \
    {                                                                                              \
        return watch_send (&copies[n], CALL_send, socket, data, size, flags);                      \
    }                                                                                              \
    static int s_send_const_##n (void *socket, const void *data, size_t size, int flags)           \
    {                                                                                              \
        return watch_send (&copies[n], CALL_send_const, socket, data, size, flags);                \
    }                                                                                              \
    static int s_recv_##n (void *socket, void *data, size_t size, int flags)                       \
    {                                                                                              \
        return watch_recv (&copies[n], socket, data, size, flags);                                 \
    }                                                                                              \
    static int s_msg_send_##n (zmq_msg_t *frame, void *socket, int flags)                          \
    {                                                                                              \
        return watch_msg_send (&copies[n], CALL_msg_send, frame, socket, flags);                   \
    }                                                                                              \
    static int s_msg_recv_##n (zmq_msg_t *frame, void *socket, int flags)                          \
    {                                                                                              \
        return watch_msg_recv (&copies[n], CALL_msg_recv, frame, socket, flags);                   \
    }                                                                                              \
    static int s_sendmsg_##n (void *socket, zmq_msg_t *frame, int flags)                           \
    {                                                                                              \
        return watch_msg_send (&copies[n], CALL_sendmsg, frame, socket, flags);                    \
    }                                                                                              \
    static int s_recvmsg_##n (void *socket, zmq_msg_t *frame, int flags)                           \
    {                                                                                              \
        return watch_msg_recv (&copies[n], CALL_recvmsg, frame, socket, flags);                    \
    }                                                                                              \
    static int s_sendiov_##n (void *socket, struct iovec *parts, size_t count, int flags)          \
    {                                                                                              \
        return watch_sendiov (&copies[n], socket, parts, count, flags);                            \
    }                                                                                              \
    static int s_recviov_##n (void *socket, struct iovec *parts, size_t *count, int flags)         \
    {                                                                                              \
        return watch_recviov (&copies[n], socket, parts, count, flags);                            \
    }                                                                                              \
    static int s_proxy_##n (void *frontend, void *backend, void *capture)                          \
    {                                                                                              \
        return watch_proxy (&copies[n], frontend, backend, capture);                               \
    }                                                                                              \
    static int s_proxy_steerable_##n (void *frontend, void *backend, void *capture, void *control) \
    {                                                                                              \
        return watch_proxy_steerable (&copies[n], frontend, backend, capture, control);            \
    }                                                                                              \
    static int s_device_##n (int type, void *frontend, void *backend)                              \
    {                                                                                              \
        return watch_device (&copies[n], type, frontend, backend);                                 \
    }

WRAPPERS (0)
WRAPPERS (1)
WRAPPERS (2)
WRAPPERS (3)

#define WRAPPERS_OF(n)                                                                             \
    {                                                                                              \
        WATCHED_CALLS (WRAPPER_##n)                                                                \
    }
#define WRAPPER_0(name) (function_t *) s_##name##_0,
#define WRAPPER_1(name) (function_t *) s_##name##_1,
#define WRAPPER_2(name) (function_t *) s_##name##_2,
#define WRAPPER_3(name) (function_t *) s_##name##_3,

function_t *call_wrapper (size_t copy, call_t call)
{
    static function_t *const wrappers[COPIES_MAX][WATCHED] = {WRAPPERS_OF (0), WRAPPERS_OF (1),
                                                              WRAPPERS_OF (2), WRAPPERS_OF (3)};
    return wrappers[copy][call];
}
