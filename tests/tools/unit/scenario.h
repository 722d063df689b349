//  SPDX-License-Identifier: MIT
//  scenario.h - tests as scenarios: lines of "commands -> all that comes of them"
//
//  Between commands there is "; ", between the things that come of them " | ": first what `print`
//  tells, then "> LINE" for each line on stdout and "! LINE" on stderr, without "PROGRAM: ". A line
//  without an arrow wants nothing to come.

#pragma once

#include "hear.h"
#include "lib/log.h"

//  Does a command. No assertions in it.
typedef void scenario_do_fn (char *command);

//  Adds what has come besides lines, each with " | " before it. NULL: nothing does.
typedef void scenario_print_fn (FILE *into);

static inline void scenario_lines (FILE *into, const char *mark, const char *text)
{
    size_t program = strlen (log_program);
    for (size_t size; *text; text += size + 1) {
        bool named = strncmp (text, log_program, program) == 0 && text[program] == ':';
        size_t skip = named ? program + 2 : 0;
        size = strcspn (text, "\n");
        fprintf (into, " | %s %.*s", mark, (int) (size - skip), text + skip);
    }
}

static inline void scenario_line (const char *line, scenario_do_fn *act, scenario_print_fn *print)
{
    char *commands = strdup (line), *arrow = strstr (commands, " -> "), *came = NULL;
    const char *want = arrow ? arrow + 4 : "";
    size_t size;
    if (arrow)
        *arrow = 0;
    hear_begin ();
    for (char *command = commands, *next; command; command = next) {
        next = strstr (command, "; ");
        if (next) {
            *next = 0;
            next += 2;
        }
        act (command);
    }
    hear_end ();
    FILE *into = open_memstream (&came, &size);
    assert_non_null (into);
    if (print)
        print (into);
    scenario_lines (into, ">", said);
    scenario_lines (into, "!", complained);
    fclose (into);
    const char *text = size ? came + 3 : "";
    if (!streq (text, want))
        fail_msg ("%s\ncame:  %s", line, text);
    free (came);
    free (commands);
}

static inline void scenario_play (const char *script, scenario_do_fn *act, scenario_print_fn *print)
{
    char *copy = strdup (script), *rest;
    for (char *line = strtok_r (copy, "\n", &rest); line; line = strtok_r (NULL, "\n", &rest))
        scenario_line (line, act, print);
    free (copy);
}
