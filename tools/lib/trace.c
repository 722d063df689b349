//  SPDX-License-Identifier: MIT

#include "lib/trace.h"
#include "lib/mp.h"
#include "lib/log.h"

#include <fcntl.h>
#include <stdarg.h>
#include <time.h>
#include <unistd.h>

const char *trace_path = NULL;

static char *own_instance;  //  A copy
static int file = -1;

//  Any bytes as a JSON string
static void s_print_str (FILE *out, const char *data, size_t size)
{
    msgpack_object text = {.type = MSGPACK_OBJECT_STR};
    text.via.str.ptr = data;
    text.via.str.size = (uint32_t) size;
    mp_print_json (out, &text);
}

static void s_print_hex (FILE *out, const byte *data, size_t size)
{
    fputc ('"', out);
    for (size_t i = 0; i < size; i++)
        fprintf (out, "%02x", data[i]);
    fputc ('"', out);
}

//  An object that is being written: `text` is complete when `out` is closed
typedef struct {
    FILE *out;
    char *text;
    size_t size;
} object_t;

//  Begins an object with when and who. False when there is no memory for it.
static bool s_begin (object_t *self)
{
    struct timespec now;
    clock_gettime (CLOCK_MONOTONIC, &now);  //  The same clock for all processes
    self->out = open_memstream (&self->text, &self->size);
    if (!self->out)
        return false;
    fprintf (self->out, "{\"t\":%lld.%06ld,\"program\":", (long long) now.tv_sec,
             now.tv_nsec / 1000);
    s_print_str (self->out, log_program, strlen (log_program));
    if (own_instance) {
        fputs (",\"instance\":", self->out);
        s_print_str (self->out, own_instance, strlen (own_instance));
    }
    fprintf (self->out, ",\"pid\":%ld", (long) getpid ());
    return true;
}

//  Ends it, and writes it as a whole: what is appended at once stays in one piece, whoever else
//  writes to the file
static void s_end (object_t *self)
{
    fputs ("}\n", self->out);
    bool whole = fclose (self->out) == 0;
    ssize_t written = (ssize_t) self->size;  //  Memory that is out costs an object, no more
    if (whole)
        do
            written = write (file, self->text, self->size);
        while (written == -1 && errno == EINTR && !zsys_interrupted);
    if (written != (ssize_t) self->size && !zsys_interrupted) {
        const char *path = trace_path;
        trace_path = NULL;  //  First: complaints are traced as well
        warn_line ("cannot write the trace %s: %s", path,
                   written == -1 ? strerror (errno) : "there is no room for it");
    }
    free (self->text);
}

static void s_write_life (const char *what)
{
    object_t object;
    if (!trace_path || !s_begin (&object))
        return;
    fprintf (object.out, ",\"life\":\"%s\"", what);
    s_end (&object);
}

static void s_on_exit (void)
{
    s_write_life ("end");
    zstr_free (&own_instance);
}

int trace_open (const char *path, const char *instance)
{
    static bool ending_is_told = false;
    int opened = open (path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (opened == -1)
        return -1;
    if (file != -1)
        close (file);
    file = opened;
    trace_path = path;
    zstr_free (&own_instance);
    own_instance = instance ? strdup (instance) : NULL;
    s_write_life ("start");
    if (!ending_is_told)
        atexit (s_on_exit);
    ending_is_told = true;
    return 0;
}

static void s_print_socket (FILE *out, const char *peer, zsock_t *socket, trace_dir_t dir)
{
    fprintf (out, ",\"socket\":\"%s\"", zsock_type_str (socket));
    char *endpoint = zsock_last_endpoint (socket);
    if (endpoint && *endpoint) {
        fputs (",\"endpoint\":", out);
        s_print_str (out, endpoint, strlen (endpoint));
    }
    zstr_free (&endpoint);
    byte identity[255];
    size_t size = sizeof identity;
    if (zmq_getsockopt (zsock_resolve (socket), ZMQ_ROUTING_ID, identity, &size) == 0 && size > 0) {
        fputs (",\"identity\":", out);
        s_print_hex (out, identity, size);
    }
    fputs (",\"peer\":", out);
    s_print_str (out, peer, strlen (peer));
    fprintf (out, ",\"dir\":\"%s\",\"frames\":[", dir == TRACE_SEND ? "send" : "recv");
}

static void s_print_frame (FILE *out, const byte *data, size_t size)
{
    bool cut = size > TRACE_HEX_MAX;
    fprintf (out, "{\"size\":%zu,\"hex\":", size);
    s_print_hex (out, data, cut ? TRACE_HEX_MAX : size);
    if (cut)
        fputs (",\"cut\":true", out);
    char *text = log_meaning (data, size, TRACE_TEXT_MAX);
    if (text) {
        fputs (",\"text\":", out);
        s_print_str (out, text, strlen (text));
        free (text);
    }
    fputc ('}', out);
}

void trace_message (trace_dir_t dir, const char *peer, zsock_t *socket, zmsg_t *message)
{
    object_t object;
    if (!trace_path || !s_begin (&object))
        return;
    s_print_socket (object.out, peer, socket, dir);
    size_t count = 0;
    for (zframe_t *frame = zmsg_first (message); frame; frame = zmsg_next (message), count++) {
        if (count >= TRACE_FRAMES_MAX)
            continue;
        if (count > 0)
            fputc (',', object.out);
        s_print_frame (object.out, zframe_data (frame), zframe_size (frame));
    }
    fputc (']', object.out);
    if (count > TRACE_FRAMES_MAX)
        fprintf (object.out, ",\"left_out\":%zu", count - TRACE_FRAMES_MAX);
    s_end (&object);
}

void trace_subscribe (const char *peer, zsock_t *socket, const char *topic)
{
    if (!trace_path)
        return;
    zmsg_t *message = zmsg_new ();
    zframe_t *frame = zframe_new (NULL, strlen (topic) + 1);
    zframe_data (frame)[0] = 1;
    memcpy (zframe_data (frame) + 1, topic, strlen (topic));
    zmsg_append (message, &frame);
    trace_message (TRACE_SEND, peer, socket, message);
    zmsg_destroy (&message);
}

void trace_note (const char *format, ...)
{
    if (!trace_path)
        return;
    va_list args;
    va_start (args, format);
    char *text = zsys_vprintf (format, args);
    va_end (args);
    object_t object;
    if (text && s_begin (&object)) {
        fputs (",\"note\":", object.out);
        s_print_str (object.out, text, strlen (text));
        s_end (&object);
    }
    zstr_free (&text);
}
