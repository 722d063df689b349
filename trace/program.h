//  SPDX-License-Identifier: MIT
//  program.h - looks at a program before it is started: can it be traced?

#pragma once

#include <stdbool.h>
#include <stddef.h>

//  Finds the file that execvp would run. False: there is none, and errno says why.
bool program_find (const char *name, char *path, size_t room);

//  Why messages of this program cannot be seen, in words; NULL: nothing speaks against it. Of a
//  script its interpreter is looked at.
const char *program_obstacle (const char *path);
