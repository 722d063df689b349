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

static capture_t hear_out, hear_err;

//  No assertions until hear_end
static inline void hear_begin (void)
{
    hear_nothing ();
    hear_out = unit_catch (stdout);
    hear_err = unit_catch (stderr);
}

static inline void hear_end (void)
{
    complained = unit_caught (&hear_err);
    said = unit_caught (&hear_out);
}

static inline int hear_teardown (void **state)
{
    hear_nothing ();
    return 0;
}
