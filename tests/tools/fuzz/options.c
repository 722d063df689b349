//  SPDX-License-Identifier: MIT
//  options.c - fuzzes tools/lib/options: a command line, its arguments with a NUL between them

#include "fuzz.h"
#include "lib/curve.h"
#include "lib/options.h"
#include "lib/log.h"

#define ARGS_MAX 32

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
    const char *bind = "tcp://127.0.0.1:5555", *connect = bind, *text = "ping", *choice = "req";
    int count = 5;
    bool flag = false;
    option_list_t list = {.fallback = ""}, endpoints = {.count = 0};
    option_range_t range = {.set = false};
    uint64_t from = UINT64_MAX, seed = 0;
    const option_t options[] = {
        OPTION_BIND ("endpoint", &bind, "where to listen"),
        OPTION_CONNECT ("connect", &connect, "where to connect"),
        OPTION_TEXT ("text", &text, "any text"),
        OPTION_CHOICE ("choice", &choice, "req|dealer", "one of two"),
        OPTION_INT ("count", &count, 1, 1000, "how many"),
        OPTION_FLAG ("flag", &flag, "or not"),
        OPTION_LIST ("topic", &list, "topics"),
        OPTION_ENDPOINTS ("peer", &endpoints, "endpoints"),
        OPTION_RANGE ("skip", &range, "numbers"),
        OPTION_FROM ("from-seq", &from, "a number"),
        OPTION_UINT64 ("seed", &seed, "any number"),
        OPTION_END,
    };
    const about_t about = {.name = "fuzz", .purpose = "takes anything", .example = "  fuzz"};

    char *line = malloc (size + 1);
    DEMAND (line);
    memcpy (line, data, size);
    line[size] = 0;
    char *argv[ARGS_MAX + 1] = {"fuzz"};
    int argc = 1;
    for (size_t at = 0; at < size && argc < ARGS_MAX; at += strlen (line + at) + 1)
        argv[argc++] = line + at;
    argv[argc] = NULL;

    curve_dir = NULL;  //  What an input before has left: it was in that input's memory

    char *help, *wrong;
    size_t help_size, wrong_size;
    FILE *out = open_memstream (&help, &help_size), *err = open_memstream (&wrong, &wrong_size);
    DEMAND (out && err);
    int status = options_parse (argc, argv, &about, options, out, err);
    fclose (out);
    fclose (err);
    DEMAND (status == OPTIONS_RUN || status == OPTIONS_HELP || status == OPTIONS_WRONG);
    DEMAND ((status == OPTIONS_HELP) == (help_size > 0));
    DEMAND ((status == OPTIONS_WRONG) == (wrong_size > 0));
    if (status == OPTIONS_WRONG) {
        //  One line, with the program's name, that may go to a terminal
        DEMAND (strncmp (wrong, "fuzz: ", 6) == 0 && wrong[wrong_size - 1] == '\n');
        DEMAND (fuzz_is_clean (wrong, wrong_size - 1));
    } else {
        DEMAND (!options_endpoint_error (bind, true) && !options_endpoint_error (connect, false));
        DEMAND (streq (choice, "req") || streq (choice, "dealer"));
        DEMAND (count >= 1 && count <= 1000);
        DEMAND (list.count <= OPTION_LIST_MAX && endpoints.count <= OPTION_LIST_MAX);
        DEMAND (list.count >= 1 || status == OPTIONS_HELP);
        for (size_t i = 0; i < endpoints.count; i++)
            DEMAND (!options_endpoint_error (endpoints.items[i], true));
        DEMAND (!range.set || range.first <= range.last);
    }
    free (help);
    free (wrong);
    free (line);
    return 0;
}
