//  SPDX-License-Identifier: MIT
//  ztrace.c - shows the messages of any ZeroMQ program
//
//  Becomes the program that it is to trace, with libztrace.so (audit.c) in its LD_AUDIT: so stdin,
//  stdout, signals and the exit status are the program's own.

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"
#include "program.h"

//  As the shell and env have it
#define EXIT_USAGE 2
#define EXIT_CANNOT_RUN 126
#define EXIT_NOT_FOUND 127

static const char usage[] =
    "Usage: ztrace [OPTIONS] PROGRAM [ARGUMENTS]\n"
    "\n"
    "Runs a program and shows each message that it sends and receives through libzmq. What strace "
    "is\n"
    "for system calls, this is for ZeroMQ. The program needs no preparation; it must use a shared\n"
    "libzmq, as C programs, pyzmq and vLLM do.\n"
    "\n"
    "  -o, --output FILE   append the text to FILE (default: stderr, or none with --json)\n"
    "  -j, --json FILE     append one JSON object a message to FILE (docs/trace.md)\n"
    "  -f, --follow        trace the processes that it starts as well\n"
    "  -d, --decode vllm   name the messages of vLLM\n"
    "  -i, --inproc        show inproc:// and unconnected PAIR sockets, too\n"
    "  -h, --help          this text\n"
    "\n"
    "Exit status: that of the program; 2 wrong usage, 1 the trace cannot be written,\n"
    "126 or 127 the program cannot be run or found.\n";

typedef struct {
    const char *output, *json;
    char flags[8];
} options_t;

static void s_fail (int status, const char *what, const char *why)
{
    fprintf (stderr, "ztrace: %s: %s\n", what, why);
    exit (status);
}

static void s_set (const char *name, const char *value)
{
    if (setenv (name, value, 1) == -1)
        s_fail (EXIT_FAILURE, name, strerror (errno));
}

static void s_add_flag (options_t *self, char flag)
{
    size_t size = strlen (self->flags);
    if (!strchr (self->flags, flag) && size + 1 < sizeof self->flags)
        self->flags[size] = flag;
}

static options_t s_read_options (int argc, char *argv[])
{
    static const struct option known[] = {
        {"output", required_argument, NULL, 'o'},
        {"json", required_argument, NULL, 'j'},
        {"follow", no_argument, NULL, 'f'},
        {"decode", required_argument, NULL, 'd'},
        {"inproc", no_argument, NULL, 'i'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    options_t self = {0};
    int option;
    static char name[] = "ztrace";
    argv[0] = name;  //  What getopt_long says begins with it
    while ((option = getopt_long (argc, argv, "+o:j:fd:ih", known, NULL)) != -1) {
        if (option == 'o')
            self.output = optarg;
        else if (option == 'j')
            self.json = optarg;
        else if (option == 'f')
            s_add_flag (&self, FLAG_FOLLOW);
        else if (option == 'i')
            s_add_flag (&self, FLAG_INPROC);
        else if (option == 'd' && strcmp (optarg, "vllm") == 0)
            s_add_flag (&self, FLAG_VLLM);
        else if (option == 'd')
            s_fail (EXIT_USAGE, "--decode", "can only be vllm");
        else if (option == 'h') {
            fputs (usage, stdout);
            exit (EXIT_SUCCESS);
        } else
            exit (EXIT_USAGE);  //  getopt_long has said why
    }
    if (optind == argc)
        s_fail (EXIT_USAGE, "PROGRAM", "missing; see ztrace --help");
    if (!self.output && !self.json)
        s_add_flag (&self, FLAG_STDERR);
    return self;
}

//  Tells the library about a file that can be opened, by its full path: the program may go
//  elsewhere
static void s_set_file (const char *variable, const char *path)
{
    unsetenv (variable);
    if (!path)
        return;
    int fd = open (path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    char folder[PATH_MAX], full[2 * PATH_MAX];
    if (fd == -1 || (path[0] != '/' && !getcwd (folder, sizeof folder)))
        s_fail (EXIT_FAILURE, path, strerror (errno));
    close (fd);
    bool is_full = path[0] == '/';
    snprintf (full, sizeof full, "%s%s%s", is_full ? "" : folder, is_full ? "" : "/", path);
    s_set (variable, full);
}

//  Our stderr under a number that the program does not use, and what file it is
static void s_set_stderr (void)
{
    struct stat file;
    char told[80];
    int fd = fcntl (STDERR_FILENO, F_DUPFD, 901);
    if (fd == -1)
        fd = fcntl (STDERR_FILENO, F_DUPFD, 51);
    if (fd == -1)
        fd = STDERR_FILENO;
    unsetenv (CONFIG_STDERR);
    if (fstat (fd, &file) == -1)
        return;
    snprintf (told, sizeof told, "%d:%llu:%llu", fd, (unsigned long long) file.st_dev,
              (unsigned long long) file.st_ino);
    s_set (CONFIG_STDERR, told);
}

//  libztrace.so stands beside this program
static void s_set_library (void)
{
    static const char name[] = "libztrace.so";
    char path[PATH_MAX + sizeof name], list[2 * PATH_MAX];
    ssize_t size = readlink ("/proc/self/exe", path, PATH_MAX);
    while (size > 0 && path[size - 1] != '/')
        size--;
    memcpy (path + (size > 0 ? size : 0), name, sizeof name);
    if (size <= 0 || access (path, R_OK) == -1)
        s_fail (EXIT_FAILURE, name, "not found beside ztrace");
    if (strchr (path, ':'))
        s_fail (EXIT_FAILURE, path, "LD_AUDIT cannot have a path with a colon in it");
    const char *others = getenv ("LD_AUDIT");
    snprintf (list, sizeof list, "%s%s%s", path, others && *others ? ":" : "",
              others ? others : "");
    s_set (CONFIG_LIBRARY, path);
    s_set ("LD_AUDIT", list);
}

int main (int argc, char *argv[])
{
    options_t options = s_read_options (argc, argv);
    char **program = argv + optind;
    char path[PATH_MAX], pid[24];
    if (!program_find (program[0], path, sizeof path))
        s_fail (errno == EACCES ? EXIT_CANNOT_RUN : EXIT_NOT_FOUND, program[0], strerror (errno));
    const char *obstacle = program_obstacle (path);
    if (obstacle)
        fprintf (stderr, "ztrace: %s runs without a trace: %s\n", program[0], obstacle);
    s_set_file (CONFIG_TEXT, options.output);
    s_set_file (CONFIG_JSON, options.json);
    s_set (CONFIG_FLAGS, options.flags);
    snprintf (pid, sizeof pid, "%ld", (long) getpid ());
    s_set (CONFIG_PID, pid);
    if (!obstacle) {
        s_set_stderr ();
        s_set_library ();
    }
    execvp (program[0], program);
    s_fail (EXIT_CANNOT_RUN, program[0], strerror (errno));
}
