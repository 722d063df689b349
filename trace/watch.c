//  SPDX-License-Identifier: MIT

#include "watch.h"
#include "process.h"
#include "record.h"
#include "sockets.h"
#include "vllm.h"

#include <errno.h>
#include <string.h>

int *(*watch_errno_location) (void);

//  True in a thread that is in a watched call: what libzmq then calls itself is no call of the
//  program
static _Thread_local bool inside;

//  False: the call is to be made, and nothing else to be done
static bool s_enter (void)
{
    if (inside || !process_is_traced ())
        return false;
    inside = true;
    return true;
}

static int s_leave (int result, int fault)
{
    if (watch_errno_location)
        *watch_errno_location () = fault;
    inside = false;
    return result;
}

//  errno as the program would find it now
static int s_errno (const zmq_copy_t *copy)
{
    return watch_errno_location ? *watch_errno_location () : copy->zmq_errno ();
}

//  The endpoint that a bind or a connect has made of what it was given: the port for tcp://*:*
static void s_read_endpoint (const zmq_copy_t *copy, void *socket, char *endpoint, size_t room)
{
    size_t size = room;
    if (copy->zmq_getsockopt (socket, ZMQ_LAST_ENDPOINT, endpoint, &size) == -1)
        endpoint[0] = '\0';
}

//  True for what is left out unless asked for: inproc, and PAIR sockets that are nowhere
static bool s_is_hidden (const socket_t *socket)
{
    bool is_inside = socket->endpoints == 0 && (socket->inprocs > 0 || socket->type == ZMQ_PAIR);
    return is_inside && !process.inproc;
}

static void s_count_endpoint (socket_t *socket, const char *endpoint)
{
    if (strncmp (endpoint, "inproc:", 7) == 0)
        socket->inprocs++;
    else
        socket->endpoints++;
}

static socket_t *s_add (zmq_copy_t *copy, void *socket, int type)
{
    static bool told = false;
    socket_t *added = socket_add (socket, copy, type);
    if (!added && !told) {
        told = true;
        SAY (process.program, " has too many sockets: the next ones are not shown");
    }
    return added;
}

//  The socket, also when its making was not seen. NULL: it is none, or too much.
static socket_t *s_find (zmq_copy_t *copy, void *socket)
{
    socket_t *found = socket ? socket_find (socket) : NULL;
    int type;
    size_t size = sizeof type;
    if (found || !socket || copy->zmq_getsockopt (socket, ZMQ_TYPE, &type, &size) == -1)
        return found;
    found = s_add (copy, socket, type);
    if (found) {
        s_read_endpoint (copy, socket, found->endpoint, sizeof found->endpoint);
        if (found->endpoint[0])
            s_count_endpoint (found, found->endpoint);
    }
    return found;
}

static const char *s_error_name (int fault)
{
#define NAMED(fault)                                                                               \
    {                                                                                              \
        fault, #fault                                                                              \
    }
    static const struct {
        int fault;
        const char *name;
    } known[] = {NAMED (EFSM),   NAMED (EHOSTUNREACH), NAMED (ENOTSUP), NAMED (EADDRINUSE),
                 NAMED (EINVAL), NAMED (ENOTSOCK),     NAMED (EFAULT)};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].fault == fault)
            return known[i].name;
    return "error";
}

//  A call that has failed is worth a line, but when it only means that there is nothing to do yet,
//  that a signal came, or that the context was closed
static void s_record_fault (const zmq_copy_t *copy, call_t call, const socket_t *socket, int fault)
{
    if (fault == EAGAIN || fault == EINTR || fault == ETERM)
        return;
    record_error (socket, call_name (call), s_error_name (fault), copy->zmq_strerror (fault));
}

void *watch_socket (zmq_copy_t *copy, call_t call, void *context, int type)
{
    (void) call;
    if (!s_enter ())
        return copy->zmq_socket (context, type);
    void *socket = copy->zmq_socket (context, type);
    int fault = s_errno (copy);
    socket_t *stale = socket ? socket_find (socket) : NULL;
    if (stale)  //  Closed in a way that was not seen
        socket_remove (stale);
    if (socket)
        s_add (copy, socket, type);
    process.has_sockets = process.has_sockets || socket;
    s_leave (0, fault);
    return socket;
}

int watch_close (zmq_copy_t *copy, call_t call, void *socket)
{
    if (!s_enter ())
        return copy->zmq_close (socket);
    socket_t *found = socket ? socket_find (socket) : NULL;
    if (found && !s_is_hidden (found))
        record_event (found, call_name (call) + strlen ("zmq_"), NULL, NULL, 0);
    //  Now: as soon as it is closed, another thread may get the same address
    if (found)
        socket_remove (found);
    int result = copy->zmq_close (socket);
    return s_leave (result, s_errno (copy));
}

static void s_record_endpoint (socket_t *found, call_t call, bool is_new, const char *endpoint)
{
    if (is_new) {
        s_count_endpoint (found, endpoint);
        size_t size = strlen (endpoint) < sizeof found->endpoint ? strlen (endpoint) : 0;
        memcpy (found->endpoint, endpoint, size);
        found->endpoint[size] = '\0';
    }
    if (!s_is_hidden (found))
        record_event (found, call_name (call) + strlen ("zmq_"), "endpoint", endpoint,
                      strlen (endpoint));
}

int watch_endpoint (zmq_copy_t *copy, call_t call, void *socket, const char *endpoint)
{
    int (*real) (void *, const char *) = (int (*) (void *, const char *)) copy->real[call];
    if (!s_enter ())
        return real (socket, endpoint);
    socket_t *found = s_find (copy, socket);
    int result = real (socket, endpoint);
    int fault = s_errno (copy);
    bool is_new = call == CALL_bind || call == CALL_connect;
    char resolved[256] = "";
    if (found && result == 0 && is_new)
        s_read_endpoint (copy, socket, resolved, sizeof resolved);
    if (found && result == 0)
        s_record_endpoint (found, call, is_new, resolved[0] ? resolved : endpoint);
    else if (found)
        s_record_fault (copy, call, found, fault);
    return s_leave (result, fault);
}

static void s_keep_identity (socket_t *socket, const void *value, size_t size)
{
    if (size > sizeof socket->identity)
        return;
    memcpy (socket->identity, value, size);
    socket->identity_size = (unsigned char) size;
    if (process.vllm && socket->type == ZMQ_DEALER && vllm_engine_index (value, size) >= 0)
        process.engine_index = vllm_engine_index (value, size);
}

int watch_setsockopt (zmq_copy_t *copy, call_t call, void *socket, int option, const void *value,
                      size_t size)
{
    (void) call;
    if (!s_enter ())
        return copy->zmq_setsockopt (socket, option, value, size);
    socket_t *found = s_find (copy, socket);
    int result = copy->zmq_setsockopt (socket, option, value, size);
    int fault = s_errno (copy);
    if (found && result == 0 && option == ZMQ_ROUTING_ID)
        s_keep_identity (found, value, size);
    else if (found && result == 0 && (option == ZMQ_SUBSCRIBE || option == ZMQ_UNSUBSCRIBE) &&
             !s_is_hidden (found))
        record_event (found, option == ZMQ_SUBSCRIBE ? "subscribe" : "unsubscribe", "topic", value,
                      size);
    return s_leave (result, fault);
}

//  The socket whose message is to be recorded; NULL: it is not known, or left out
static socket_t *s_shown (zmq_copy_t *copy, void *socket)
{
    socket_t *found = s_find (copy, socket);
    return found && !s_is_hidden (found) ? found : NULL;
}

//  A send of which the frame is read before the socket can take it
typedef struct {
    socket_t *socket;
    message_t *message;  //  NULL: it is not to be shown
    struct timespec before;
} sending_t;

static sending_t s_begin_send (zmq_copy_t *copy, void *socket)
{
    sending_t self = {.socket = s_shown (copy, socket)};
    self.message = self.socket ? socket_message (&self.socket->sent) : NULL;
    if (self.message)
        clock_gettime (CLOCK_MONOTONIC, &self.before);
    return self;
}

static int s_end_send (sending_t *self, zmq_copy_t *copy, call_t call, int flags, int result)
{
    int fault = s_errno (copy);
    if (self->message && result == -1) {
        message_remove (self->message);
        s_record_fault (copy, call, self->socket, fault);
    } else if (self->message && !(flags & ZMQ_SNDMORE)) {
        record_message (self->socket, SEND, self->message, &self->before);
        message_clear (self->message);
    }
    return s_leave (result, fault);
}

int watch_send (zmq_copy_t *copy, call_t call, void *socket, const void *data, size_t size,
                int flags)
{
    int (*real) (void *, const void *, size_t, int) =
        call == CALL_send ? copy->zmq_send : copy->zmq_send_const;
    if (!s_enter ())
        return real (socket, data, size, flags);
    sending_t sending = s_begin_send (copy, socket);
    if (sending.message)
        message_add (sending.message, data, size, size);
    return s_end_send (&sending, copy, call, flags, real (socket, data, size, flags));
}

//  The bytes of a zmq_msg_t are asked of the libzmq that made it
static void s_add_frame (const zmq_copy_t *copy, message_t *message, zmq_msg_t *frame)
{
    size_t size = copy->zmq_msg_size (frame);
    message_add (message, copy->zmq_msg_data (frame), size, size);
}

static int s_real_msg_send (zmq_copy_t *copy, call_t call, zmq_msg_t *frame, void *socket,
                            int flags)
{
    return call == CALL_sendmsg ? copy->zmq_sendmsg (socket, frame, flags)
                                : copy->zmq_msg_send (frame, socket, flags);
}

int watch_msg_send (zmq_copy_t *copy, call_t call, zmq_msg_t *frame, void *socket, int flags)
{
    if (!s_enter ())
        return s_real_msg_send (copy, call, frame, socket, flags);
    sending_t sending = s_begin_send (copy, socket);
    if (sending.message)
        s_add_frame (copy, sending.message, frame);
    int result = s_real_msg_send (copy, call, frame, socket, flags);
    return s_end_send (&sending, copy, call, flags, result);
}

//  After a receive: the message that its frame belongs to. NULL: it has failed, or is not shown.
static message_t *s_receiving (zmq_copy_t *copy, call_t call, socket_t *socket, int result,
                               int fault)
{
    if (socket && result == -1)
        s_record_fault (copy, call, socket, fault);
    return socket && result != -1 ? socket_message (&socket->received) : NULL;
}

//  After a frame was received
static void s_received (const socket_t *socket, message_t *message, bool more)
{
    if (more)
        return;
    struct timespec now;
    clock_gettime (CLOCK_MONOTONIC, &now);
    record_message (socket, RECV, message, &now);
    message_clear (message);
}

int watch_recv (zmq_copy_t *copy, call_t call, void *socket, void *data, size_t size, int flags)
{
    if (!s_enter ())
        return copy->zmq_recv (socket, data, size, flags);
    socket_t *found = s_shown (copy, socket);
    int result = copy->zmq_recv (socket, data, size, flags);
    int fault = s_errno (copy);
    message_t *message = s_receiving (copy, call, found, result, fault);
    if (message) {
        int more = 0;
        size_t room = sizeof more, length = (size_t) result;
        message_add (message, data, length, length < size ? length : size);
        copy->zmq_getsockopt (socket, ZMQ_RCVMORE, &more, &room);
        s_received (found, message, more);
    }
    return s_leave (result, fault);
}

static int s_real_msg_recv (zmq_copy_t *copy, call_t call, zmq_msg_t *frame, void *socket,
                            int flags)
{
    return call == CALL_recvmsg ? copy->zmq_recvmsg (socket, frame, flags)
                                : copy->zmq_msg_recv (frame, socket, flags);
}

int watch_msg_recv (zmq_copy_t *copy, call_t call, zmq_msg_t *frame, void *socket, int flags)
{
    if (!s_enter ())
        return s_real_msg_recv (copy, call, frame, socket, flags);
    socket_t *found = s_shown (copy, socket);
    int result = s_real_msg_recv (copy, call, frame, socket, flags);
    int fault = s_errno (copy);
    message_t *message = s_receiving (copy, call, found, result, fault);
    if (message) {
        s_add_frame (copy, message, frame);
        s_received (found, message, copy->zmq_msg_more (frame));
    }
    return s_leave (result, fault);
}

void watch_unseen (call_t call)
{
    static bool told[WATCHED];
    if (!told[call] && process_is_traced ()) {
        told[call] = true;
        SAY (call_name (call), ": the messages that pass inside this call are not shown");
    }
}
