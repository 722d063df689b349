//  SPDX-License-Identifier: MIT

#include "lib/options.h"
#include "lib/curve.h"
#include "lib/files.h"
#include "lib/log.h"
#include "lib/stop.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

//  What every program has beside its own, --quiet and --help
static const option_t common_options[] = {
    OPTION_DIR ("curve-dir", &curve_dir, "keys for CURVE; only clients on their list may connect"),
    OPTION_END,
};

//  sockaddr_un.sun_path has 108 bytes with its NUL; libzmq refuses a longer ipc path
#define IPC_PATH_MAX 107

//  Digits only, up to text[size], no sign, no blanks, not above `max`. Returns false otherwise.
static bool s_parse_uint (const char *text, size_t size, uint64_t max, uint64_t *value)
{
    errno = 0;
    uint64_t number = strtoumax (text, NULL, 10);
    bool ok = size > 0 && strspn (text, "0123456789") == size && errno != ERANGE && number <= max;
    if (ok)
        *value = number;
    return ok;
}

static const char *s_tcp_error (const char *address, bool to_bind)
{
    //  An IPv6 literal has colons of its own: it stands in brackets
    const char *colon = *address == '[' ? strstr (address, "]:") : strrchr (address, ':');
    if (colon && *address == '[')
        colon++;
    if (!colon || colon == address || strncmp (address, "[]", 2) == 0)
        return "want tcp://HOST:PORT";
    size_t host_size = (size_t) (colon - address);
    bool wildcard = host_size == 1 && *address == '*';
    if (*address == '['
            ? strcspn (address, " /@;*") < host_size || strchr (address, ']') + 1 != colon
            : !wildcard &&
                  (!isalnum ((unsigned char) *address) || strcspn (address, " /@;*:") < host_size))
        return "the host is malformed (an IPv6 address goes in brackets)";
    if (!to_bind && wildcard)
        return "cannot connect to the wildcard host *";

    const char *port = colon + 1;
    if (to_bind && strcmp (port, "*") == 0)
        return NULL;
    uint64_t number;
    if (!s_parse_uint (port, strlen (port), UINT16_MAX, &number))
        return to_bind ? "the port must be a number up to 65535, or *"
                       : "the port must be a number from 1 to 65535";
    if (number == 0 && !to_bind)
        return "cannot connect to port 0";
    return NULL;
}

const char *options_endpoint_error (const char *endpoint, bool to_bind)
{
    if (strncmp (endpoint, "tcp://", 6) == 0)
        return s_tcp_error (endpoint + 6, to_bind);
    if (strncmp (endpoint, "ipc://", 6) == 0) {
        size_t size = strlen (endpoint + 6);
        if (size == 0 || streq (endpoint + 6, "@"))
            return "want ipc://PATH";
        if (size > IPC_PATH_MAX)
            return "an ipc path has at most 107 bytes";
        if (!to_bind && strcmp (endpoint + 6, "*") == 0)
            return "cannot connect to a wildcard";
        return NULL;
    }
    if (strncmp (endpoint, "inproc://", 9) == 0)
        return "inproc joins the threads of one process, and the other end is another process";
    return "want tcp://HOST:PORT or ipc://PATH";
}

//  The range "A-B". Returns false when it is not one.
static bool s_parse_range (const char *text, option_range_t *range)
{
    option_range_t read = {.set = true};
    size_t size = strcspn (text, "-");
    const char *last = text + size + (text[size] == '-');
    if (size > 20 ||  //  The digits that 64 bits have
        !s_parse_uint (text, size, UINT64_MAX - 1, &read.first) ||
        !s_parse_uint (last, strlen (last), UINT64_MAX - 1, &read.last) || read.first > read.last)
        return false;
    *range = read;
    return true;
}

static bool s_is_choice (const char *choices, const char *text)
{
    size_t size = strlen (text);
    for (const char *word = choices; *word;) {
        size_t word_size = strcspn (word, "|");
        if (word_size == size && memcmp (word, text, size) == 0)
            return true;
        word += word_size + (word[word_size] == '|');
    }
    return false;
}

//  What a value that is refused should have been; false
#define WANT_MAX 120
#define S_WANT(...) (snprintf (want, WANT_MAX, __VA_ARGS__), false)

static bool s_add (option_list_t *list, const char *text, char *want)
{
    if (list->count == OPTION_LIST_MAX)
        return S_WANT ("at most %d of them", OPTION_LIST_MAX);
    list->items[list->count++] = text;
    return true;
}

static bool s_store_endpoint (const option_t *option, const char *text, char *want)
{
    const char *why = options_endpoint_error (text, option->kind != OPTION_KIND_CONNECT);
    if (why)
        return S_WANT ("%s", why);
    //  libzmq takes an IPv6 address only from a socket that has IPv6 turned on
    if (strchr (text, '['))
        zsys_set_ipv6 (1);
    if (option->kind == OPTION_KIND_ENDPOINTS)
        return s_add (option->value.list, text, want);
    *option->value.text = text;
    return true;
}

//  Stores the value of one option; returns true, or false with what was wanted in want[WANT_MAX]
static bool s_store (const option_t *option, const char *text, char *want)
{
    uint64_t number;
    struct stat status;
    switch (option->kind) {
    case OPTION_KIND_BIND:
    case OPTION_KIND_CONNECT:
    case OPTION_KIND_ENDPOINTS:
        return s_store_endpoint (option, text, want);
    case OPTION_KIND_DIR:
        if (stat (text, &status) == -1 || !S_ISDIR (status.st_mode))
            return S_WANT ("want a folder that is there");
        break;
    case OPTION_KIND_CHOICE:
        if (!s_is_choice (option->choices, text))
            return S_WANT ("want one of %s", option->choices);
        break;
    case OPTION_KIND_INT:
        if (!s_parse_uint (text, strlen (text), (uint64_t) option->max, &number) ||
            number < (uint64_t) option->min)
            return S_WANT ("want a whole number from %d to %d", option->min, option->max);
        *option->value.number = (int) number;
        return true;
    case OPTION_KIND_UINT64:
        return s_parse_uint (text, strlen (text), UINT64_MAX, option->value.uint64) ||
               S_WANT ("want a whole number up to %" PRIu64, UINT64_MAX);
    case OPTION_KIND_LIST:
        return s_add (option->value.list, text, want);
    case OPTION_KIND_RANGE:
        return s_parse_range (text, option->value.range) ||
               S_WANT ("want FIRST-LAST, two whole numbers");
    case OPTION_KIND_FROM:
        if (streq (text, "live"))
            number = UINT64_MAX;
        else if (!s_parse_uint (text, strlen (text), UINT64_MAX - 1, &number))
            return S_WANT ("want a sequence number, or live");
        *option->value.uint64 = number;
        return true;
    default:
        break;
    }
    *option->value.text = text;
    return true;
}

static void s_print_default (FILE *out, const option_t *option)
{
    const char *text = "none", *more = "";
    char number[24];
    switch (option->kind) {
    case OPTION_KIND_FLAG:
        return;
    case OPTION_KIND_RANGE:
        break;
    case OPTION_KIND_INT:
        snprintf (number, sizeof number, "%d", *option->value.number);
        text = number;
        break;
    case OPTION_KIND_UINT64:
    case OPTION_KIND_FROM:
        snprintf (number, sizeof number, "%" PRIu64, *option->value.uint64);
        text = option->kind == OPTION_KIND_FROM && *option->value.uint64 == UINT64_MAX ? "live"
                                                                                       : number;
        break;
    case OPTION_KIND_LIST:
    case OPTION_KIND_ENDPOINTS:
        if (option->value.list->fallback)
            text = *option->value.list->fallback ? option->value.list->fallback : "\"\"";
        more = "; repeatable";
        break;
    default:
        text = *option->value.text ? *option->value.text : "none";
    }
    fprintf (out, " (default %s%s)", text, more);
}

static void s_print_options (FILE *out, const option_t *options)
{
    //  What stands behind the name
    static const char *const metavars[] = {[OPTION_KIND_BIND] = "ENDPOINT",
                                           [OPTION_KIND_CONNECT] = "ENDPOINT",
                                           [OPTION_KIND_TEXT] = "TEXT",
                                           [OPTION_KIND_DIR] = "DIR",
                                           [OPTION_KIND_INT] = "N",
                                           [OPTION_KIND_UINT64] = "N",
                                           [OPTION_KIND_FLAG] = "",
                                           [OPTION_KIND_LIST] = "TEXT",
                                           [OPTION_KIND_RANGE] = "FIRST-LAST",
                                           [OPTION_KIND_ENDPOINTS] = "ENDPOINT",
                                           [OPTION_KIND_FROM] = "SEQ|live"};
    for (const option_t *option = options; option->kind != OPTION_KIND_END; option++) {
        char usage[80];
        const char *metavar = option->choices ? option->choices : metavars[option->kind];
        snprintf (usage, sizeof usage, "--%s%s%s", option->name, *metavar ? " " : "", metavar);
        fprintf (out, "  %-28s %s", usage, option->help);
        s_print_default (out, option);
        fputc ('\n', out);
    }
}

static void s_print_help (FILE *out, const about_t *about, const option_t *options)
{
    fprintf (out, "%s - %s\n\nUsage: %s [options]\n\n", about->name, about->purpose, about->name);
    s_print_options (out, options);
    s_print_options (out, common_options);
    fprintf (out, "  %-28s %s\n", "--quiet",
             "print only the endpoints bound, errors and the summary");
    fprintf (out, "  %-28s %s\n", "--help", "print this text");
    fprintf (
        out,
        "\nENDPOINT is tcp://ADDRESS:PORT or ipc://PATH; to listen, PORT may be * for a free one.\n"
        "Exit status: 0 done or stopped, 1 failed, or stopped without the answer that a client\n"
        "waits for, 2 wrong usage.\n");
    fprintf (out, "\nExample:\n%s\n", about->example);
}

static const option_t *s_find (const option_t *options, const char *name, size_t size)
{
    for (; options->kind != OPTION_KIND_END; options++)
        if (strlen (options->name) == size && memcmp (options->name, name, size) == 0)
            return options;
    return NULL;
}

//  The one line that tells what is wrong
static int s_wrong (FILE *err, const char *format, ...) CHECK_PRINTF (2);

static int s_wrong (FILE *err, const char *format, ...)
{
    va_list args;
    va_start (args, format);
    log_line (err, true, format, args);
    va_end (args);
    return OPTIONS_WRONG;
}

int options_parse (int argc, char **argv, const about_t *about, const option_t *options, FILE *out,
                   FILE *err)
{
    log_program = about->name;
    log_at_risk = about->at_risk;
    log_level_t level = LOG_LINES;

    //  First of all, while the variables still have their defaults
    for (int i = 1; i < argc; i++)
        if (streq (argv[i], "--help") || streq (argv[i], "-h")) {
            s_print_help (out, about, options);
            return OPTIONS_HELP;
        }

    for (int i = 1; i < argc; i++) {
        if (strncmp (argv[i], "--", 2) != 0 || !argv[i][2])
            return s_wrong (err, "'%s': not an option (see --help)", argv[i]);
        const char *name = argv[i] + 2;
        if (streq (name, "quiet")) {
            level = LOG_QUIET;
            continue;
        }
        size_t size = strcspn (name, "=");
        const option_t *option = s_find (options, name, size);
        if (!option)
            option = s_find (common_options, name, size);
        if (!option)
            return s_wrong (err, "--%.*s: unknown option (see --help)", (int) size, name);
        if (option->kind == OPTION_KIND_FLAG) {
            if (name[size])
                return s_wrong (err, "--%s: it takes no value", option->name);
            *option->value.flag = true;
            continue;
        }
        const char *value = name[size] == '=' ? name + size + 1 : argv[++i];
        if (!value)
            return s_wrong (err, "--%s: a value is missing", option->name);
        char want[WANT_MAX];
        if (!s_store (option, value, want))
            return s_wrong (err, "--%s: '%s': %s", option->name, value, want);
    }
    for (const option_t *option = options; option->kind != OPTION_KIND_END; option++)
        if ((option->kind == OPTION_KIND_LIST || option->kind == OPTION_KIND_ENDPOINTS) &&
            option->value.list->count == 0 && option->value.list->fallback)
            option->value.list->items[option->value.list->count++] = option->value.list->fallback;
    log_level = level;
    return OPTIONS_RUN;
}

//  Reads the keys for what the endpoint options say. What OPTION_ENDPOINTS are for, binding or
//  connecting, only their program knows.
static bool s_load_keys (const option_t *options)
{
    for (const option_t *option = options; option->kind != OPTION_KIND_END; option++) {
        if (option->kind == OPTION_KIND_BIND && !curve_load (CURVE_SERVER))
            return false;
        if (option->kind == OPTION_KIND_CONNECT && !curve_load (CURVE_CLIENT))
            return false;
    }
    return true;
}

void options_read (int argc, char **argv, const about_t *about, const option_t *options)
{
    //  A line is seen when it is printed, in a pipe too
    setvbuf (stdout, NULL, _IOLBF, 0);
    log_check_stdout ();
    int status = options_parse (argc, argv, about, options, stdout, stderr);
    if (status != OPTIONS_RUN)
        exit (status);
    files_prepare ();
    stop_catch_signals ();
    if (!s_load_keys (options))
        exit (EXIT_FAILURE);
}
