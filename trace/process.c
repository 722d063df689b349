//  SPDX-License-Identifier: MIT

#include "process.h"
#include "config.h"
#include "sockets.h"
#include "text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

process_t process = {.text = {.fd = -1}, .json = {.fd = -1}, .stderr_ = {.fd = -1}};

//  A page that the kernel clears in a child: 0 there. NULL when the kernel cannot.
static volatile char *own_page;
static bool dropped;  //  A child that is not traced

//  The library runs in a namespace of its own, see audit.c: strtol, strerror and the like look at
//  the locale, which is there in the main thread only

static uint64_t s_number (const char **digits)
{
    uint64_t number = 0;
    for (; **digits >= '0' && **digits <= '9'; ++*digits)
        number = number * 10 + (uint64_t) (**digits - '0');
    return number;
}

static const char *s_reason (int fault)
{
    static const struct {
        int fault;
        const char *why;
    } known[] = {
        {ENOSPC, "no space left on device"},  {EPIPE, "nobody reads the pipe any more"},
        {EDQUOT, "disk quota exceeded"},      {EFBIG, "file too large"},
        {EACCES, "permission denied"},        {ENOENT, "no such file or directory"},
        {EBADF, "its descriptor was closed"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].fault == fault)
            return known[i].why;
    return "input/output error";
}

//  Strings of the environment that has gone by then
static char text_path[4096], json_path[4096];

static void s_watch_fork (void)
{
    void *page = mmap (NULL, 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page != MAP_FAILED && madvise (page, 1, MADV_WIPEONFORK) == 0) {
        own_page = page;
        *own_page = 1;
    }
}

//  Takes our library out of LD_AUDIT, and leaves those of others there
static void s_clean_environment (void)
{
    const char *library = getenv (CONFIG_LIBRARY);
    char *list = getenv ("LD_AUDIT");
    if (library && list) {
        size_t size = strlen (library);
        char *found = strstr (list, library);
        if (found && found[size] == ':')
            memmove (found, found + size + 1, strlen (found + size + 1) + 1);
        else if (found)
            found[found > list ? -1 : 0] = '\0';
        if (!*list)
            unsetenv ("LD_AUDIT");
    }
    static const char *const ours[] = {CONFIG_PID,  CONFIG_FLAGS,  CONFIG_TEXT,
                                       CONFIG_JSON, CONFIG_STDERR, CONFIG_LIBRARY};
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        unsetenv (ours[i]);
}

//  The stderr that ztrace had: the program may have closed it or sent it elsewhere. CONFIG_STDERR
//  is fd:device:inode.
static void s_take_stderr (void)
{
    process.stderr_ = OUTPUT_NONE;
    const char *told = getenv (CONFIG_STDERR);
    if (!told)
        return;
    int fd = (int) s_number (&told);
    told += *told == ':';
    uint64_t device = s_number (&told);
    told += *told == ':';
    uint64_t inode = s_number (&told);
    if (!output_take (&process.stderr_, fd, device, inode))
        output_take (&process.stderr_, STDERR_FILENO, device, inode);
    //  A child that goes on when all others have ended must not keep a pipe open
    if (process.stderr_.fd > STDERR_FILENO && !process.follow)
        fcntl (process.stderr_.fd, F_SETFD, FD_CLOEXEC);
}

static void s_open (output_t *output, const char *variable, char *copy, size_t room)
{
    const char *path = getenv (variable);
    if (!path || strlen (path) >= room)
        return;
    memcpy (copy, path, strlen (path) + 1);
    if (output_open (output, copy) == -1)
        SAY ("cannot open ", copy, ": ", s_reason (errno));
}

bool process_start (void)
{
    const char *pid = getenv (CONFIG_PID), *flags = getenv (CONFIG_FLAGS);
    if (!pid || !flags)
        return false;
    process.pid = (long) getpid ();
    process.follow = strchr (flags, FLAG_FOLLOW);
    process.is_root = (long) s_number (&pid) == process.pid;
    if (!process.follow && !process.is_root) {
        s_clean_environment ();
        return false;
    }
    process.inproc = strchr (flags, FLAG_INPROC);
    process.vllm = strchr (flags, FLAG_VLLM);
    process.engine_index = -1;
    clock_gettime (CLOCK_MONOTONIC, &process.started);
    s_watch_fork ();
    s_take_stderr ();
    s_open (&process.text, CONFIG_TEXT, text_path, sizeof text_path);
    s_open (&process.json, CONFIG_JSON, json_path, sizeof json_path);
    if (strchr (flags, FLAG_STDERR))
        process.text = process.stderr_;
    return true;
}

//  What a child has from its parent after fork, and must not have
static void s_begin_child (void)
{
    process.pid = (long) getpid ();
    process.has_sockets = process.told_start = process.told_end = process.is_root = false;
    process.engine_index = -1;
    clock_gettime (CLOCK_MONOTONIC, &process.started);
    turn_reset (&process.turn);
    sockets_forget ();
}

bool process_is_traced (void)
{
    if (own_page ? *own_page : (long) getpid () == process.pid)
        return !dropped;
    if (own_page)
        *own_page = 1;
    dropped = !process.follow;
    if (!dropped)
        s_begin_child ();
    else
        process.pid = (long) getpid ();
    return !dropped;
}

//  The next of the strings that data[0..size) holds; NULL: there is none
static const char *s_next (const char *string, const char *data, size_t size)
{
    const char *next = string ? string + strlen (string) + 1 : data;
    return next < data + size ? next : NULL;
}

static const char *s_base (const char *path)
{
    const char *slash = strrchr (path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

void process_read_name (void)
{
    char line[4096];
    long fd = syscall (SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t size = fd == -1 ? -1 : syscall (SYS_read, fd, line, sizeof line - 1);
    if (fd != -1)
        syscall (SYS_close, fd);
    line[size > 0 ? size : 0] = '\0';
    const char *name = size > 0 ? s_base (s_next (NULL, line, (size_t) size)) : "?";
    if (strncmp (name, "python", strlen ("python")) == 0) {
        const char *script = name;  //  The first argument that is no option
        do
            script = s_next (script, line, (size_t) size);
        while (script && script[0] == '-' && strcmp (script, "-c") != 0 &&
               strcmp (script, "-m") != 0);
        if (script && strcmp (script, "-m") == 0)
            script = s_next (script, line, (size_t) size);
        if (script && script[0] && script[0] != '-')
            name = s_base (script);
    }
    text_t text = text_on (process.program, sizeof process.program - 1);
    for (const char *c = name; *c && *c != ' '; c++)
        text_char (&text, *c);
    text.data[text.size] = '\0';
}

void process_say (const char *const *parts)
{
    char line[1024];
    text_t text = text_on (line, sizeof line - 1);
    text_add (&text, "ztrace: ");
    for (; *parts; parts++)
        text_escaped (&text, *parts, strlen (*parts), false);
    line[text.size] = '\n';
    output_t own = process.stderr_;  //  When this line fails, there is nobody to tell
    output_write (&own, line, text.size + 1);
}

void process_write (output_t *output, const char *data, size_t size)
{
    bool is_stderr = output->fd == process.stderr_.fd;
    if (output_write (output, data, size) || is_stderr)
        return;
    SAY ("cannot write ", output->path, ": ", s_reason (errno), "; ", process.program,
         " goes on without a trace");
}
