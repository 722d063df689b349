//  SPDX-License-Identifier: MIT
//  demand.h - what every fuzzing harness has: a property that must hold, and its entry point

#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

//  Ends the process, so that libFuzzer keeps the input, when `right` is false
#define DEMAND(right)                                                                              \
    do {                                                                                           \
        if (!(right)) {                                                                            \
            fprintf (stderr, "%s:%d: demand failed: %s\n", __FILE__, __LINE__, #right);            \
            abort ();                                                                              \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);
