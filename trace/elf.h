//  SPDX-License-Identifier: MIT
//  elf.h - reads the symbols of an object that the dynamic linker has loaded

#pragma once

#include <link.h>
#include <stdbool.h>
#include <stdint.h>

//  The address of what an object defines under this name; 0: it does not
uintptr_t elf_symbol (const struct link_map *map, const char *name);

//  True when one of the libraries that an object asks for has this in its name
bool elf_needs (const struct link_map *map, const char *part);

//  False: the dynamic linker asks about each function that it binds at once, so elf_patch leaves
//  these out. True for glibc before 2.35, which only asks about those that it binds when they are
//  called.
extern bool elf_patches_plt;

//  Calls `patch` for each address of a function that was written into the object's tables, with its
//  name and where it stands.
//  Returns how many times `patch` returned true.
typedef bool elf_patch_t (uintptr_t *place, const char *name);
size_t elf_patch (const struct link_map *map, elf_patch_t *patch);

//  True when a file has these bytes in it
bool elf_has_bytes (const char *path, const void *bytes, size_t size);
