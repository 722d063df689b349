//  SPDX-License-Identifier: MIT
//
//  Calls in which messages pass that the tracer cannot see: it says so

#include "process.h"
#include "watch.h"

static void s_say_once (call_t call)
{
    static bool told[WATCHED];
    if (!told[call] && process_is_traced ()) {
        told[call] = true;
        SAY (call_name (call), ": the messages that pass inside this call are not shown");
    }
}

int watch_proxy (zmq_copy_t *copy, void *frontend, void *backend, void *capture)
{
    int (*real) (void *, void *, void *) =
        (int (*) (void *, void *, void *)) copy->real[CALL_proxy];
    s_say_once (CALL_proxy);
    return real (frontend, backend, capture);
}

int watch_proxy_steerable (zmq_copy_t *copy, void *frontend, void *backend, void *capture,
                           void *control)
{
    int (*real) (void *, void *, void *, void *) =
        (int (*) (void *, void *, void *, void *)) copy->real[CALL_proxy_steerable];
    s_say_once (CALL_proxy_steerable);
    return real (frontend, backend, capture, control);
}

int watch_device (zmq_copy_t *copy, int type, void *frontend, void *backend)
{
    int (*real) (int, void *, void *) = (int (*) (int, void *, void *)) copy->real[CALL_device];
    s_say_once (CALL_device);
    return real (type, frontend, backend);
}

int watch_sendiov (zmq_copy_t *copy, void *socket, struct iovec *parts, size_t count, int flags)
{
    int (*real) (void *, struct iovec *, size_t, int) =
        (int (*) (void *, struct iovec *, size_t, int)) copy->real[CALL_sendiov];
    s_say_once (CALL_sendiov);
    return real (socket, parts, count, flags);
}

int watch_recviov (zmq_copy_t *copy, void *socket, struct iovec *parts, size_t *count, int flags)
{
    int (*real) (void *, struct iovec *, size_t *, int) =
        (int (*) (void *, struct iovec *, size_t *, int)) copy->real[CALL_recviov];
    s_say_once (CALL_recviov);
    return real (socket, parts, count, flags);
}
