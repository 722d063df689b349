//  SPDX-License-Identifier: MIT
//  args.h - command-line options, and Ctrl-C
//
//      int count = 10;
//      args_read (argc, argv, "counts sheep", (arg_t[]){
//          {"count", "how many", .number = &count},
//          {0}});
//
//  The value of a variable before the call is its default. --help is made from the table. A wrong
//  command line ends the program with status 2.

#pragma once

#include <czmq.h>
#include <getopt.h>

typedef struct {
    const char *name, *help;
    //  Where the value goes: set one of these
    const char **text;
    int *number;
    double *decimal;
    bool *flag;       //  True if the option is given; it takes no value
    uint64_t *range;  //  Two integers: A-B, with A <= B
    int min, max;     //  What a number may be; max 0 stands for INT_MAX
} arg_t;

static const char *args_program;  //  Its name, without the path

//  Ends the program with one line on stderr, "program: what failed: why"
_Noreturn static inline void CHECK_PRINTF (2) args_fail (int status, const char *format, ...)
{
    va_list values;
    va_start (values, format);
    char *why = zsys_vprintf (format, values);
    fprintf (stderr, "%s: %s\n", args_program, why);
    zstr_free (&why);
    _exit (status);  //  With exit, CZMQ would complain about open sockets
}

//  Prints where a socket listens. Asks libzmq for it, so that tcp://127.0.0.1:* shows its port.
static inline void args_print_listening (zsock_t *socket)
{
    char *endpoint = zsock_last_endpoint (socket);
    printf ("%s: listening on %s\n", args_program, endpoint);
    zstr_free (&endpoint);
}

//  The first SIGINT or SIGTERM asks the program to end, the second one ends it. A signal does not
//  interrupt a call that is about to wait, so SIGALRM interrupts again, after 0.1 s and each 1.1 s.
static inline void args_on_signal (int number)
{
    if (number != SIGALRM && zsys_interrupted) {
        signal (number, SIG_DFL);
        raise (number);
    }
    zsys_interrupted = 1;
    struct itimerval again = {.it_value = {.tv_sec = number == SIGALRM, .tv_usec = 100000}};
    setitimer (ITIMER_REAL, &again, NULL);
}

//  When the program exits, CZMQ waits for the last messages to leave. SIGALRM would interrupt that.
static inline void args_on_exit (void)
{
    signal (SIGALRM, SIG_IGN);
}

//  Stores the value of an option. strto... would also accept signs, spaces and more.
static inline void args_set (const arg_t *arg, const char *value)
{
    char *end = NULL;
    if (arg->flag)
        *arg->flag = true;
    else if (arg->text)
        *arg->text = value;
    else if (arg->range) {
        arg->range[0] = strtoull (value, &end, 10);
        bool two = isdigit ((byte) *value) && *end == '-' && isdigit ((byte) end[1]);
        arg->range[1] = two ? strtoull (end + 1, &end, 10) : 0;
        if (!two || *end || arg->range[0] > arg->range[1] || arg->range[1] == UINT64_MAX)
            args_fail (2, "--%s: %s is not a range such as 3-6", arg->name, value);
    } else {
        int max = arg->max ? arg->max : INT_MAX;
        double number = strtod (value, &end);
        if (end == value || *end ||
            value[strspn (value, arg->number ? "0123456789" : ".0123456789")] ||
            number < arg->min || number > max)
            args_fail (2, "--%s: %s is not a number from %d to %d", arg->name, value, arg->min,
                       max);
        if (arg->number)
            *arg->number = (int) number;
        else
            *arg->decimal = number;
    }
}

static inline void args_help (const char *purpose, const arg_t *arg)
{
    printf ("%s - %s\n\n  --%-18s show this\n", args_program, purpose, "help");
    for (; arg->name; arg++) {
        printf ("  --%-18s %s", arg->name, arg->help);
        if (arg->text)
            printf (" (default %s)", **arg->text ? *arg->text : "\"\"");
        else if (arg->number)
            printf (" (default %d)", *arg->number);
        else if (arg->decimal)
            printf (" (default %g)", *arg->decimal);
        printf ("\n");
    }
}

static inline void args_read (int argc, char **argv, const char *purpose, const arg_t *args)
{
    struct option options[16] = {{"help", no_argument, NULL, 'h'}};  //  Room for 14 more
    args_program = argv[0] = strrchr (argv[0], '/') ? strrchr (argv[0], '/') + 1 : argv[0];
    for (int i = 0; i < 14 && args[i].name; i++)
        options[i + 1] =
            (struct option){args[i].name, args[i].flag ? no_argument : required_argument, NULL, i};
    for (int i; (i = getopt_long (argc, argv, "", options, NULL)) != -1;)
        if (i == '?')
            exit (2);  //  getopt_long has said why
        else if (i == 'h') {
            args_help (purpose, args);
            exit (EXIT_SUCCESS);
        } else
            args_set (&args[i], optarg);
    if (optind < argc)
        args_fail (2, "unexpected argument: %s", argv[optind]);

    setvbuf (stdout, NULL, _IOLBF, 0);  //  Print each line at once, also into a pipe
    zsys_init ();                       //  Installs CZMQ's signal handlers, which ours replace
    atexit (args_on_exit);              //  Before CZMQ's function, which waits
    for (const int *number = (int[]){SIGINT, SIGTERM, SIGALRM, 0}; *number; number++)
        sigaction (*number, &(struct sigaction){.sa_handler = args_on_signal}, NULL);
}
