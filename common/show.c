//  SPDX-License-Identifier: MIT

#include "show.h"
#include "mp.h"

#include <ctype.h>
#include <stdarg.h>

//  Of a frame, so many bytes are printed as hex, and so many characters as text
#define HEX_MAX 24
#define TEXT_MAX 400

const char *show_program = "program";
show_level_t show_level = SHOW_LINES;
FILE *show_out = NULL;

//  True when text[0..size) may go to a terminal as it is: one UTF-8 character, and none that
//  commands it (C0, DEL, C1)
static bool s_is_harmless (const char *text, size_t size)
{
    const unsigned char *c = (const unsigned char *) text;
    return size > 0 && !iscntrl (c[0]) && !(c[0] == 0xc2 && c[1] < 0xa0);
}

//  What else there is comes out as '?', so that what a peer has sent, or an argument, can neither
//  forge a line nor command the terminal
void show_line (FILE *out, bool named, const char *format, va_list args)
{
    char *line = zsys_vprintf (format, args);
    if (!line)
        return;
    if (named)
        fprintf (out, "%s: ", show_program);
    for (size_t at = 0, left = strlen (line), size; left > 0; at += size, left -= size) {
        size = mp_utf8_size (line + at, left);
        if (s_is_harmless (line + at, size)) {
            fwrite (line + at, 1, size, out);
        } else {
            fputc ('?', out);
            size = size ? size : 1;
        }
    }
    fputc ('\n', out);
    zstr_free (&line);
}

static FILE *s_out (void)
{
    return show_out ? show_out : stdout;
}

void say (const char *format, ...)
{
    if (show_level == SHOW_QUIET)
        return;
    va_list args;
    va_start (args, format);
    show_line (s_out (), false, format, args);
    va_end (args);
}

void say_summary (const char *format, ...)
{
    va_list args;
    va_start (args, format);
    show_line (s_out (), true, format, args);
    va_end (args);
}

void say_result (const char *format, ...)
{
    va_list args;
    va_start (args, format);
    show_line (s_out (), false, format, args);
    va_end (args);
}

void complain (const char *format, ...)
{
    va_list args;
    va_start (args, format);
    show_line (stderr, true, format, args);
    va_end (args);
}

//  False, and the reason on stderr unless that is a Ctrl-C
static bool s_cannot (const char *what, const char *endpoint)
{
    int reason = zmq_errno ();
    if (!zsys_interrupted)
        complain ("cannot %s %s: %s%s", what, endpoint, zmq_strerror (reason),
                  reason == ENODEV ? " (an address or an interface is wanted)" : "");
    return false;
}

bool say_connecting (const char *endpoint, int connected)
{
    return connected == 0 || s_cannot ("connect to", endpoint);
}

bool say_listening (zsock_t *socket, const char *endpoint, int bound)
{
    if (bound == -1)
        return s_cannot ("listen on", endpoint);
    char *resolved = zsock_last_endpoint (socket);
    say_summary ("listening on %s", resolved ? resolved : endpoint);
    zstr_free (&resolved);
    return true;
}

static bool s_is_text (const byte *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (!isprint (data[i]))
            return false;
    return size > 0;
}

//  What the frame holds: text, or a msgpack value, or nothing that can be said
static void s_print_meaning (const byte *data, size_t size)
{
    if (s_is_text (data, size)) {
        fprintf (s_out (), "  %.*s%s", (int) (size < TEXT_MAX ? size : TEXT_MAX),
                 (const char *) data, size > TEXT_MAX ? "..." : "");
        return;
    }
    msgpack_unpacked doc;
    if (mp_decode (&doc, data, size, "frame", NULL) == -1)
        return;
    char *text = NULL;
    size_t text_size = 0;
    FILE *memory = open_memstream (&text, &text_size);
    if (memory) {
        mp_print (memory, &doc.data);
        fclose (memory);
        size_t shown = 0;  //  Whole characters, TEXT_MAX bytes of them at the most
        for (size_t step; shown < text_size; shown += step) {
            step = mp_utf8_size (text + shown, text_size - shown);
            if (step == 0 || shown + step > TEXT_MAX)
                break;
        }
        fprintf (s_out (), "  %.*s%s", (int) shown, text, shown < text_size ? "..." : "");
        free (text);
    }
    msgpack_unpacked_destroy (&doc);
}

bool show_frames (void)
{
    return show_level == SHOW_FRAMES;
}

static void s_show (const char *arrow, const char *peer, zsock_t *socket, zmsg_t *message)
{
    if (!show_frames ())
        return;
    fprintf (s_out (), "  %s %s (%s here), %zu frame%s\n", arrow, peer, zsock_type_str (socket),
             zmsg_size (message), zmsg_size (message) == 1 ? "" : "s");
    for (zframe_t *frame = zmsg_first (message); frame; frame = zmsg_next (message)) {
        const byte *data = zframe_data (frame);
        size_t size = zframe_size (frame);
        fprintf (s_out (), "     [%zu]%s", size, size > 0 ? " " : "");
        for (size_t i = 0; i < size && i < HEX_MAX; i++)
            fprintf (s_out (), "%02x", data[i]);
        if (size > HEX_MAX)
            fprintf (s_out (), "...");
        s_print_meaning (data, size);
        fputc ('\n', s_out ());
    }
}

void show_send (const char *peer, zsock_t *socket, zmsg_t *message)
{
    s_show ("to", peer, socket, message);
}

void show_recv (const char *peer, zsock_t *socket, zmsg_t *message)
{
    s_show ("from", peer, socket, message);
}
