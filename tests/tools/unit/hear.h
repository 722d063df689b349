//  SPDX-License-Identifier: MIT
//  hear.h - what a call of a unit test printed

#pragma once

#include "unit.h"

//  On stdout and stderr, between the last hear_begin and hear_end
static char *said, *complained;

static inline void hear_nothing (void)
{
    free (said);
    free (complained);
    said = complained = NULL;
}

//  While it is heard, a stream goes to a file
static FILE *hear_files[2];
static int hear_saved[2];

//  No assertions until hear_end
static inline void hear_begin (void)
{
    hear_nothing ();
    fflush (NULL);
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++) {
        FILE *file = hear_files[fd - STDOUT_FILENO] = tmpfile ();
        assert_non_null (file);
        hear_saved[fd - STDOUT_FILENO] = dup (fd);
        dup2 (fileno (file), fd);
    }
}

static inline void hear_end (void)
{
    char *texts[2];
    fflush (NULL);
    for (int i = 0; i < 2; i++) {
        dup2 (hear_saved[i], STDOUT_FILENO + i);
        close (hear_saved[i]);
    }
    for (int i = 0; i < 2; i++) {
        fseek (hear_files[i], 0, SEEK_END);
        size_t size = (size_t) ftell (hear_files[i]);
        rewind (hear_files[i]);
        texts[i] = calloc (1, size + 1);
        assert_non_null (texts[i]);
        assert_int_equal (fread (texts[i], 1, size, hear_files[i]), size);
        fclose (hear_files[i]);
    }
    said = texts[0];
    complained = texts[1];
}

static inline int hear_teardown (void **state)
{
    hear_nothing ();
    return 0;
}
