//  SPDX-License-Identifier: MIT

#include "program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

//  The kernel follows so many interpreters of interpreters
#define SCRIPTS_MAX 4

static bool s_can_run (const char *path)
{
    struct stat file;
    if (stat (path, &file) == -1)
        return false;
    if (S_ISREG (file.st_mode) && access (path, X_OK) == 0)
        return true;
    errno = EACCES;
    return false;
}

bool program_find (const char *name, char *path, size_t room)
{
    if (strchr (name, '/')) {
        snprintf (path, room, "%s", name);
        return s_can_run (path);
    }
    const char *folder = getenv ("PATH");
    int fault = ENOENT;
    while (folder && *name) {
        size_t size = strcspn (folder, ":");
        int length = snprintf (path, room, "%.*s%s%s", (int) size, folder, size ? "/" : "", name);
        if (length > 0 && (size_t) length < room && s_can_run (path))
            return true;
        if (errno == EACCES)
            fault = EACCES;
        folder = folder[size] ? folder + size + 1 : NULL;
    }
    errno = fault;
    return false;
}

//  A program that runs with other rights than ours: the dynamic linker ignores LD_AUDIT then
static bool s_is_privileged (const char *path)
{
    struct stat file;
    if (stat (path, &file) == -1)
        return false;
    return ((file.st_mode & S_ISUID) && file.st_uid != getuid ()) ||
           ((file.st_mode & S_ISGID) && file.st_gid != getgid ()) ||
           (geteuid () != 0 && getxattr (path, "security.capability", NULL, 0) > 0);
}

//  What is wrong with an ELF file, of which head[0..size) is the beginning
static const char *s_obstacle_of_elf (const unsigned char *head, size_t size)
{
    Elf64_Ehdr file;
    if (size < sizeof file || head[EI_CLASS] != ELFCLASS64)
        return "it is no 64-bit program";
    memcpy (&file, head, sizeof file);
    for (size_t i = 0; i < file.e_phnum; i++) {
        Elf64_Phdr part;
        size_t at = (size_t) file.e_phoff + i * file.e_phentsize;
        if (at > size || size - at < sizeof part)
            return NULL;  //  Unusual, but that is for the kernel to judge
        memcpy (&part, head + at, sizeof part);
        if (part.p_type != PT_INTERP || part.p_offset > size ||
            part.p_filesz > size - part.p_offset)
            continue;
        const char *linker = (const char *) head + part.p_offset;
        bool is_musl = memmem (linker, part.p_filesz, "ld-musl", strlen ("ld-musl"));
        return is_musl ? "it uses musl's dynamic linker, which has no LD_AUDIT" : NULL;
    }
    return "it is linked statically, and so is its libzmq, if it has one";
}

//  The interpreter of a script, in head[0..size) behind "#!"
static const char *s_interpreter (char *head)
{
    char *name = head + strspn (head, " \t");
    name[strcspn (name, " \t\r\n")] = '\0';
    return name;
}

const char *program_obstacle (const char *path)
{
    static char head[65536];
    char script[4096];
    snprintf (script, sizeof script, "%s", path);
    for (int depth = 0; depth < SCRIPTS_MAX; depth++) {
        if (s_is_privileged (script))
            return "it runs with more rights than yours (setuid), and LD_AUDIT is ignored then";
        int fd = open (script, O_RDONLY | O_CLOEXEC);
        ssize_t size = fd == -1 ? -1 : read (fd, head, sizeof head - 1);
        if (fd != -1)
            close (fd);
        if (size <= 0)
            return NULL;
        head[size] = '\0';
        if (size >= SELFMAG && memcmp (head, ELFMAG, SELFMAG) == 0)
            return s_obstacle_of_elf ((const unsigned char *) head, (size_t) size);
        if (head[0] != '#' || head[1] != '!')
            return NULL;
        snprintf (script, sizeof script, "%s", s_interpreter (head + 2));
    }
    return NULL;
}
