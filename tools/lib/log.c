//  SPDX-License-Identifier: MIT

#include "lib/log.h"
#include "lib/mp.h"

#include <ctype.h>
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <unistd.h>

//  A person begins to wonder after so long, and wants to see it move so often
#define BUSY_AFTER_MS 2000
#define BUSY_EACH_MS 500

const char *log_program = "program";
const char *log_at_risk = NULL;
log_level_t log_level = LOG_LINES;
FILE *log_out = NULL;

//  True when text[0..size) may go to a terminal as it is: one UTF-8 character, and none that
//  commands it (C0, DEL, C1)
static bool s_is_harmless (const char *text, size_t size)
{
    const unsigned char *c = (const unsigned char *) text;
    return size > 0 && !iscntrl (c[0]) && !(c[0] == 0xc2 && c[1] < 0xa0);
}

//  Held while a line is written: the ZAP thread (curve.h) prints as well as the main thread
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

//  When what takes so long has begun, and when its line was last written; 0: not
static int64_t busy_since, busy_told;

//  Takes the line of print_progress away, so that another can be written
static void s_clear_busy (void)
{
    if (busy_told)
        fputs ("\r\033[K", stderr);
    busy_told = 0;
}

void print_progress (const char *format, ...)
{
    static int at_a_terminal = -1;
    if (at_a_terminal == -1)
        at_a_terminal = isatty (STDERR_FILENO);
    if (!at_a_terminal || log_level != LOG_QUIET)
        return;
    int64_t now = zclock_mono ();
    pthread_mutex_lock (&turn);
    if (!format)
        s_clear_busy ();
    if (!format || !busy_since)
        busy_since = format ? now : 0;
    if (format && now - busy_since >= BUSY_AFTER_MS && now - busy_told >= BUSY_EACH_MS) {
        s_clear_busy ();
        va_list args;
        va_start (args, format);
        vfprintf (stderr, format, args);
        va_end (args);
        busy_told = now;
    }
    pthread_mutex_unlock (&turn);
}

//  What else there is comes out as '?', so that what a peer has sent, or an argument, can neither
//  forge a line nor command the terminal
void log_line (FILE *out, bool named, const char *format, va_list args)
{
    char *line = zsys_vprintf (format, args);
    if (!line)
        return;
    pthread_mutex_lock (&turn);
    s_clear_busy ();
    if (named)
        fprintf (out, "%s: ", log_program);
    size_t written = 0, at = 0, end = strlen (line);
    for (size_t size; at < end; at += size ? size : 1) {
        size = mp_utf8_size (line + at, end - at);
        if (s_is_harmless (line + at, size))
            continue;
        fwrite (line + written, 1, at - written, out);
        fputc ('?', out);
        written = at + (size ? size : 1);
    }
    fwrite (line + written, 1, end - written, out);
    fputc ('\n', out);
    pthread_mutex_unlock (&turn);
    zstr_free (&line);
}

void log_print (bool named, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    log_line (log_out ? log_out : stdout, named, format, args);
    va_end (args);
    if (ferror (stdout) && !zsys_interrupted)
        raise (SIGTERM);
}

void warn_line (const char *format, ...)
{
    va_list args;
    va_start (args, format);
    log_line (stderr, true, format, args);
    va_end (args);
}

static void s_check_stdout (void)
{
    if (fflush (stdout) == 0 && !ferror (stdout))
        return;
    warn_line ("stdout: not all was taken, lines are missing");
    _exit (EXIT_FAILURE);
}

void log_check_stdout (void)
{
    atexit (s_check_stdout);
}

//  False, and the reason on stderr unless that is a Ctrl-C
static bool s_cannot (const char *what, const char *endpoint)
{
    int reason = zmq_errno ();
    if (!zsys_interrupted)
        warn_line ("cannot %s %s: %s%s", what, endpoint, zmq_strerror (reason),
                   reason == ENODEV ? " (an address or an interface is wanted)" : "");
    return false;
}

bool log_connected (const char *endpoint, int connected)
{
    return connected == 0 || s_cannot ("connect to", endpoint);
}

//  True for an endpoint, as bound, that only this machine can reach
static bool s_is_local (const char *endpoint)
{
    if (strncmp (endpoint, "tcp://", 6) != 0)
        return true;
    char host[INET6_ADDRSTRLEN + 1] = "";
    const char *address = endpoint + 6 + (endpoint[6] == '[');
    size_t size = endpoint[6] == '[' ? strcspn (address, "]") : strcspn (address, ":");
    if (size < sizeof host)
        memcpy (host, address, size);
    struct in6_addr ip6;
    struct in_addr ip4;
    if (inet_pton (AF_INET6, host, &ip6) == 1)
        return IN6_IS_ADDR_LOOPBACK (&ip6) ||
               (IN6_IS_ADDR_V4MAPPED (&ip6) && ip6.s6_addr[12] == 127);
    return inet_pton (AF_INET, host, &ip4) == 1 && ntohl (ip4.s_addr) >> 24 == 127;
}

bool log_bound (zsock_t *socket, const char *endpoint, int bound)
{
    if (bound == -1)
        return s_cannot ("listen on", endpoint);
    char *resolved = zsock_last_endpoint (socket);
    print_summary ("listening on %s", resolved ? resolved : endpoint);
    if (!s_is_local (resolved ? resolved : endpoint) && zsock_mechanism (socket) != ZMQ_CURVE)
        warn_line ("warning: without CURVE (--curve-dir) other machines get in at %s: to %s",
                   resolved ? resolved : endpoint, log_at_risk ? log_at_risk : "all of it");
    zstr_free (&resolved);
    return true;
}
