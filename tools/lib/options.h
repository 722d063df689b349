//  SPDX-License-Identifier: MIT
//  options.h - command-line options: one line each, checked strictly, --help made from them
//
//      const char *endpoint = "tcp://127.0.0.1:5555";
//      int count = 0;
//      const option_t options [] = {
//          OPTION_BIND ("endpoint", &endpoint, "where to listen"),
//          OPTION_INT ("count", &count, 0, INT_MAX, "requests to answer; 0: until stopped"),
//          OPTION_END,
//      };
//      options_read (argc, argv, &about, options);
//
//  A variable's value before options_read is its default. --help, --quiet and --curve-dir
//  come with every program: --quiet sets how much tools/lib/log.h prints, --curve-dir is for
//  tools/lib/curve.h.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

//  What a program says of itself in --help
typedef struct {
    const char *name;     //  "basic_server"; begins each of its lines on stderr
    const char *purpose;  //  One sentence
    const char *example;  //  The commands of one pair, one a line
    const char *at_risk;  //  What anyone who can reach its port can read or send; NULL: it
                          //  does not bind
} about_t;

//  Values of a repeatable option, in the order given. The strings belong to argv. When none was
//  given and there is a fallback, that is the one.
#define OPTION_LIST_MAX 16
typedef struct {
    const char *items[OPTION_LIST_MAX];
    size_t count;
    const char *fallback;
} option_list_t;

//  A range of sequence numbers "A-B", both ends included; `set` is false when none was given
typedef struct {
    bool set;
    uint64_t first;
    uint64_t last;
} option_range_t;

typedef enum {
    OPTION_KIND_END,
    OPTION_KIND_BIND,     //  Endpoint to bind: tcp://HOST:PORT (PORT may be *), ipc://PATH
    OPTION_KIND_CONNECT,  //  Endpoint to connect to: a port number, no wildcard
    OPTION_KIND_TEXT,
    OPTION_KIND_DIR,        //  A folder that is there
    OPTION_KIND_CHOICE,     //  One of the words in `choices`, separated by '|'
    OPTION_KIND_INT,        //  Whole number from min to max
    OPTION_KIND_UINT64,     //  Whole number, all that 64 bits can be
    OPTION_KIND_FLAG,       //  No value
    OPTION_KIND_LIST,       //  Text, repeatable
    OPTION_KIND_ENDPOINTS,  //  Endpoint to bind or to connect to, repeatable
    OPTION_KIND_RANGE,      //  A-B
    OPTION_KIND_FROM        //  A sequence number, or the word live (UINT64_MAX)
} option_kind_t;

typedef struct {
    option_kind_t kind;
    const char *name;  //  Without the dashes
    const char *help;
    union {
        const char **text;
        int *number;
        bool *flag;
        option_list_t *list;
        option_range_t *range;
        uint64_t *uint64;
    } value;
    int min;
    int max;
    const char *choices;
} option_t;

// clang-format off
#define OPTION_(k, n, h) .kind = OPTION_KIND_##k, .name = (n), .help = (h)
#define OPTION_BIND(n, v, h) {OPTION_ (BIND, n, h), .value.text = (v)}
#define OPTION_CONNECT(n, v, h) {OPTION_ (CONNECT, n, h), .value.text = (v)}
#define OPTION_TEXT(n, v, h) {OPTION_ (TEXT, n, h), .value.text = (v)}
#define OPTION_DIR(n, v, h) {OPTION_ (DIR, n, h), .value.text = (v)}
#define OPTION_CHOICE(n, v, c, h) {OPTION_ (CHOICE, n, h), .value.text = (v), .choices = (c)}
#define OPTION_INT(n, v, lo, hi, h)                                                                \
    {OPTION_ (INT, n, h), .value.number = (v), .min = (lo), .max = (hi)}
#define OPTION_UINT64(n, v, h) {OPTION_ (UINT64, n, h), .value.uint64 = (v)}
#define OPTION_FLAG(n, v, h) {OPTION_ (FLAG, n, h), .value.flag = (v)}
#define OPTION_ENDPOINTS(n, v, h) {OPTION_ (ENDPOINTS, n, h), .value.list = (v)}
#define OPTION_LIST(n, v, h) {OPTION_ (LIST, n, h), .value.list = (v)}
#define OPTION_RANGE(n, v, h) {OPTION_ (RANGE, n, h), .value.range = (v)}
#define OPTION_FROM(n, v, h) {OPTION_ (FROM, n, h), .value.uint64 = (v)}
#define OPTION_END {.kind = OPTION_KIND_END}
// clang-format on

//  What options_parse found
#define OPTIONS_RUN (-1)  //  All well: go on
#define OPTIONS_HELP 0    //  --help was asked for and has been printed: exit with 0
#define OPTIONS_WRONG 2   //  Wrong usage, told in one line on `err`: exit with 2

//  Reads argv into the variables that `options` (ended by OPTION_END) names; --help goes to `out`.
//  Also sets log_program, log_at_risk and log_level (log.h) and curve_dir (curve.h), and
//  turns IPv6 on in CZMQ when an endpoint has an IPv6 literal in brackets, as
//  vLLM's make_zmq_socket does. Returns one of the three above.
int options_parse (int argc, char **argv, const about_t *about, const option_t *options, FILE *out,
                   FILE *err);

//  options_parse for a main(). Makes stdout line-buffered, exits itself unless the program is to
//  run, or when a key that the endpoint options ask for cannot be read (1), and catches Ctrl-C
//  (stop.h).
void options_read (int argc, char **argv, const about_t *about, const option_t *options);

//  NULL when `endpoint` is one that libzmq can bind (or connect to), else what is wrong with it.
//  The text is a constant.
const char *options_endpoint_error (const char *endpoint, bool to_bind);
