//  SPDX-License-Identifier: MIT

#include "record.h"
#include "meaning.h"
#include "process.h"
#include "vllm.h"

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

//  What is shown of a frame. In text a line should be readable, in JSON enough for a drawing.
#define TEXT_HEX 24
#define TEXT_MEANING 400
#define JSON_HEX 1024
#define JSON_MEANING 2048
#define LABEL_MAX 200

//  How long the end of a process waits for another thread that writes
#define END_WAIT_MS 100

//  One record at a time is written, with process.turn taken. The largest message fits: 64 frames of
//  2,048 digits and 2 * 2,048 bytes of meaning.
static char record_buffer[512 * 1024];

static void s_add_key (text_t *out, const char *key)
{
    TEXT (out, ",\"", key, "\":");
}

static void s_add_number (text_t *out, const char *key, uint64_t number)
{
    s_add_key (out, key);
    text_number (out, number);
}

static void s_add_string (text_t *out, const char *key, const void *value, size_t size)
{
    s_add_key (out, key);
    text_json (out, value, size);
}

static void s_add_word (text_t *out, const char *key, const char *word)
{
    s_add_string (out, key, word, strlen (word));
}

static void s_add_bytes (text_t *out, const char *key, const void *value, size_t size)
{
    s_add_key (out, key);
    text_char (out, '"');
    text_hex (out, value, size);
    text_char (out, '"');
}

//  {"t":12.345678,"program":"engine","pid":77
static text_t s_open_object (const struct timespec *t)
{
    text_t out = text_on (record_buffer, sizeof record_buffer);
    text_add (&out, "{\"t\":");
    text_seconds (&out, t->tv_sec, t->tv_nsec);
    s_add_word (&out, "program", process.program);
    s_add_number (&out, "pid", (uint64_t) process.pid);
    return out;
}

static void s_close_object (text_t *out)
{
    text_add (out, "}\n");
    if (!out->cut)
        process_write (&process.json, out->data, out->size);
}

static void s_write_life (const char *what, const struct timespec *t)
{
    if (process.json.fd == -1)
        return;
    text_t out = s_open_object (t);
    s_add_word (&out, "life", what);
    s_close_object (&out);
}

static struct timespec s_now (void)
{
    struct timespec now;
    clock_gettime (CLOCK_MONOTONIC, &now);
    return now;
}

//  Ends with turn_give. The first record of a process follows its name and when it started.
static void s_begin_record (void)
{
    turn_take (&process.turn);
    if (process.told_start)
        return;
    process.told_start = true;
    process_read_name ();
    s_write_life ("start", &process.started);
}

static text_t s_open_socket_object (const struct timespec *t, const socket_t *socket)
{
    text_t out = s_open_object (t);
    long tid = syscall (SYS_gettid);
    if (tid != process.pid)
        s_add_number (&out, "tid", (uint64_t) tid);
    s_add_word (&out, "socket", socket_type_name (socket->type));
    s_add_number (&out, "number", socket->number);
    return out;
}

//  "engine 0[77]: DEALER #1 (identity 0000)": how each line of text begins
static text_t s_open_text (const socket_t *socket)
{
    text_t out = text_on (record_buffer, sizeof record_buffer);
    text_escaped (&out, process.program, strlen (process.program), false);
    if (process.engine_index >= 0) {
        text_char (&out, ' ');
        text_number (&out, (uint64_t) process.engine_index);
    }
    if (process.follow) {
        text_char (&out, '[');
        text_number (&out, (uint64_t) process.pid);
        text_char (&out, ']');
    }
    TEXT (&out, ": ", socket_type_name (socket->type), " #");
    text_number (&out, socket->number);
    if (socket->identity_size > 0) {
        text_add (&out, " (identity ");
        text_hex (&out, socket->identity, socket->identity_size);
        text_char (&out, ')');
    }
    text_char (&out, ' ');
    return out;
}

static void s_write_block (const socket_t *socket, direction_t direction, const message_t *message,
                           const text_t *label)
{
    text_t out = s_open_text (socket);
    text_add (&out, direction == SEND ? "send" : "recv");
    if (socket->endpoint[0]) {
        text_add (&out, ", ");
        text_escaped (&out, socket->endpoint, strlen (socket->endpoint), false);
    }
    text_add (&out, ", ");
    text_plural (&out, message->count, "frame");
    if (label->size > 0) {
        text_add (&out, ": ");
        text_bytes (&out, label->data, label->size);
    }
    text_char (&out, '\n');
    for (size_t i = 0; i < message_frames (message); i++) {
        kept_t frame = message_frame (message, i);
        char memory[TEXT_MEANING];
        text_t meaning = text_on (memory, sizeof memory);
        text_add (&out, "    [");
        text_number (&out, frame.size);
        text_add (&out, frame.size > 0 ? "] " : "]");
        text_hex (&out, frame.data, frame.kept < TEXT_HEX ? frame.kept : TEXT_HEX);
        if (frame.size > TEXT_HEX)
            text_add (&out, "...");
        if (meaning_add (&meaning, frame.data, frame.kept, frame.size)) {
            text_add (&out, "  ");
            text_bytes (&out, meaning.data, meaning.size);
        }
        text_char (&out, '\n');
    }
    if (message->count > message_frames (message)) {
        text_add (&out, "    and ");
        text_plural (&out, message->count - message_frames (message), "more frame");
        text_char (&out, '\n');
    }
    process_write (&process.text, out.data, out.size);
}

static void s_add_frame (text_t *out, kept_t frame)
{
    size_t shown = frame.kept < JSON_HEX ? frame.kept : JSON_HEX;
    text_add (out, "{\"size\":");
    text_number (out, frame.size);
    s_add_bytes (out, "hex", frame.data, shown);
    if (shown < frame.size)
        text_add (out, ",\"cut\":true");
    char memory[JSON_MEANING];
    text_t meaning = text_on (memory, sizeof memory);
    if (meaning_add (&meaning, frame.data, frame.kept, frame.size))
        s_add_string (out, "text", meaning.data, meaning.size);
    text_char (out, '}');
}

static void s_write_message (const socket_t *socket, direction_t direction,
                             const message_t *message, const text_t *label,
                             const struct timespec *t)
{
    text_t out = s_open_socket_object (t, socket);
    if (socket->endpoint[0])
        s_add_word (&out, "endpoint", socket->endpoint);
    if (socket->identity_size > 0)
        s_add_bytes (&out, "identity", socket->identity, socket->identity_size);
    s_add_word (&out, "dir", direction == SEND ? "send" : "recv");
    if (label->size > 0)
        s_add_string (&out, "means", label->data, label->size);
    text_add (&out, ",\"frames\":[");
    for (size_t i = 0; i < message_frames (message); i++) {
        if (i > 0)
            text_char (&out, ',');
        s_add_frame (&out, message_frame (message, i));
    }
    text_char (&out, ']');
    if (message->count > message_frames (message))
        s_add_number (&out, "left_out", message->count - message_frames (message));
    s_close_object (&out);
}

void record_message (const socket_t *socket, direction_t direction, const message_t *message,
                     const struct timespec *t)
{
    s_begin_record ();
    char memory[LABEL_MAX];
    text_t label = text_on (memory, sizeof memory);
    if (process.vllm)
        vllm_add (&label, socket->type, message);
    if (process.text.fd != -1)
        s_write_block (socket, direction, message, &label);
    if (process.json.fd != -1)
        s_write_message (socket, direction, message, &label, t);
    turn_give (&process.turn);
}

void record_event (const socket_t *socket, const char *event, const char *key, const void *value,
                   size_t size)
{
    struct timespec now = s_now ();
    bool is_topic = key && strcmp (key, "topic") == 0;  //  Any bytes
    s_begin_record ();
    if (process.text.fd != -1) {
        text_t out = s_open_text (socket);
        TEXT (&out, event, !key ? "" : is_topic ? " " : ", ");
        if (is_topic)
            text_json (&out, value, size);
        else if (key)
            text_escaped (&out, value, size, false);
        text_char (&out, '\n');
        process_write (&process.text, out.data, out.size);
    }
    if (process.json.fd != -1) {
        text_t out = s_open_socket_object (&now, socket);
        s_add_word (&out, "event", event);
        if (is_topic)
            s_add_bytes (&out, key, value, size);
        else if (key)
            s_add_string (&out, key, value, size);
        s_close_object (&out);
    }
    turn_give (&process.turn);
}

void record_error (const socket_t *socket, const char *call, const char *name, const char *why)
{
    struct timespec now = s_now ();
    s_begin_record ();
    if (process.text.fd != -1) {
        text_t out = s_open_text (socket);
        TEXT (&out, call, " failed: ", name, " (", why, ")\n");
        process_write (&process.text, out.data, out.size);
    }
    if (process.json.fd != -1) {
        text_t out = s_open_socket_object (&now, socket);
        s_add_word (&out, "event", "error");
        s_add_word (&out, "call", call);
        s_add_word (&out, "error", name);
        s_close_object (&out);
    }
    turn_give (&process.turn);
}

void record_end (void)
{
    if (!process.told_start || !turn_try (&process.turn, END_WAIT_MS))
        return;
    struct timespec now = s_now ();
    if (!process.told_end)
        s_write_life ("end", &now);
    process.told_end = true;
    turn_give (&process.turn);
}
