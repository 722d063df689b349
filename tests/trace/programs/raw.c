//  SPDX-License-Identifier: MIT
//  raw.c - programs for ztrace to watch, with libzmq's own calls: raw WHAT ENDPOINT [NUMBER]

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

static const char *program, *endpoint;
static int number;

//  Two sockets of these types that are connected. Each test program ends by itself, or is killed.
typedef struct {
    void *context, *a, *b;
} pair_t;

static pair_t s_pair (int a, int b, const char *where)
{
    pair_t self = {.context = zmq_ctx_new ()};
    self.a = zmq_socket (self.context, a);
    self.b = zmq_socket (self.context, b);
    if (zmq_bind (self.b, where) == -1 || zmq_connect (self.a, where) == -1) {
        fprintf (stderr, "raw: %s: %s\n", where, zmq_strerror (zmq_errno ()));
        exit (EXIT_FAILURE);
    }
    return self;
}

static void s_close (pair_t *self)
{
    zmq_close (self->a);
    zmq_close (self->b);
    zmq_ctx_term (self->context);
}

static void s_check (int result)
{
    if (result != -1)
        return;
    fprintf (stderr, "raw: %s\n", zmq_strerror (zmq_errno ()));
    exit (EXIT_FAILURE);
}

static zmq_msg_t s_frame (const void *data, size_t size)
{
    zmq_msg_t frame;
    zmq_msg_init_size (&frame, size);
    memcpy (zmq_msg_data (&frame), data, size);
    return frame;
}

//  Every call by which a message passes, and two that fail
static int s_calls (void)
{
    pair_t pair = s_pair (ZMQ_REQ, ZMQ_REP, endpoint);
    char data[16];
    zmq_msg_t frame;
    printf ("%d", zmq_recv (pair.a, data, sizeof data, 0));
    printf (" %d\n", errno == EFSM && zmq_errno () == EFSM);
    printf ("%d\n", zmq_send (pair.b, "refused", 7, 0));
    s_check (zmq_send (pair.a, "send", 4, ZMQ_SNDMORE));
    s_check (zmq_send_const (pair.a, "send_const", 10, ZMQ_SNDMORE));
    frame = s_frame ("msg_send", 8);
    s_check (zmq_msg_send (&frame, pair.a, ZMQ_SNDMORE));
    frame = s_frame ("sendmsg", 7);
    s_check (zmq_sendmsg (pair.a, &frame, 0));
    s_check (zmq_recv (pair.b, data, 2, 0));  //  Less than there is
    s_check (zmq_recv (pair.b, data, sizeof data, 0));
    zmq_msg_init (&frame);
    s_check (zmq_msg_recv (&frame, pair.b, 0));
    s_check (zmq_recvmsg (pair.b, &frame, 0));
    zmq_msg_close (&frame);
    s_check (zmq_send (pair.b, "", 0, 0));
    s_check (zmq_recv (pair.a, NULL, 0, 0));
    s_check (zmq_disconnect (pair.a, endpoint));
    s_check (zmq_unbind (pair.b, endpoint));
    s_close (&pair);
    return EXIT_SUCCESS;
}

static void *s_sender (void *arg)
{
    pair_t *pair = arg;
    void *push = zmq_socket (pair->context, ZMQ_PUSH);
    s_check (zmq_connect (push, endpoint));
    for (int i = 0; i < number; i++) {
        zmq_msg_t frame = s_frame (&i, sizeof i);
        s_check (zmq_msg_send (&frame, push, 0));
    }
    return push;  //  Over ipc libzmq may lose what was not received yet when this is closed
}

//  Waits for a sender and closes its socket
static void s_join (pthread_t sender)
{
    void *push;
    pthread_join (sender, &push);
    zmq_close (push);
}

//  Four threads send at a time, each on a socket of its own
static int s_threads (void)
{
    pair_t pair = s_pair (ZMQ_PUSH, ZMQ_PULL, endpoint);
    pthread_t senders[4];
    for (size_t i = 0; i < 4; i++)
        pthread_create (&senders[i], NULL, s_sender, &pair);
    for (int i = 0; i < 4 * number; i++) {
        int data;
        s_check (zmq_recv (pair.b, &data, sizeof data, 0));
    }
    for (size_t i = 0; i < 4; i++)
        s_join (senders[i]);
    s_close (&pair);
    return EXIT_SUCCESS;
}

static void s_say (const char *text, const char *where)
{
    pair_t pair = s_pair (ZMQ_PUSH, ZMQ_PULL, where);
    char data[16];
    s_check (zmq_send (pair.a, text, strlen (text), 0));
    s_check (zmq_recv (pair.b, data, sizeof data, 0));
    s_close (&pair);
}

//  Children by fork while another thread sends, and a grandchild by exec
static int s_fork (void)
{
    pair_t pair = s_pair (ZMQ_PUSH, ZMQ_PULL, endpoint);
    pthread_t sender;
    pthread_create (&sender, NULL, s_sender, &pair);
    for (int i = 0; i < 5; i++) {
        char where[200];
        snprintf (where, sizeof where, "%s-%d", endpoint, i);
        pid_t child = fork ();
        if (child == 0) {
            s_say ("child", where);
            if (i > 0)
                _exit (EXIT_SUCCESS);
            execl (program, program, "say", where, (char *) NULL);
        }
        waitpid (child, NULL, 0);
    }
    char data[sizeof number];
    for (int i = 0; i < number; i++)
        s_check (zmq_recv (pair.b, data, sizeof data, 0));
    s_join (sender);
    s_close (&pair);
    return EXIT_SUCCESS;
}

//  Sends and receives until a signal ends it
static int s_endless (void)
{
    pair_t pair = s_pair (ZMQ_PUSH, ZMQ_PULL, endpoint);
    char data[100] = "x";
    puts ("started");
    fflush (stdout);
    while (zmq_send (pair.a, data, sizeof data, 0) != -1)
        s_check (zmq_recv (pair.b, data, sizeof data, 0));
    return EXIT_FAILURE;
}

//  Takes all descriptors away from the tracer, and uses them for a file of its own
static int s_descriptors (void)
{
    int file = open (endpoint, O_RDWR | O_CREAT, 0600);
    for (int i = 3; i < 1024; i++)
        if (i != file)
            dup2 (file, i);
    for (int i = 10; i < 800; i++)
        close (i);
    char where[200];
    snprintf (where, sizeof where, "ipc://%s.ipc", endpoint);
    s_say ("hello", where);
    return EXIT_SUCCESS;
}

//  Resident memory in KiB
static long s_memory (void)
{
    char line[256];
    long pages = 0;
    FILE *file = fopen ("/proc/self/statm", "r");
    if (file && fgets (line, sizeof line, file))
        pages = strtol (strchr (line, ' '), NULL, 10);
    if (file)
        fclose (file);
    return pages * (sysconf (_SC_PAGESIZE) / 1024);
}

//  `number` messages, one after the other. Prints how much memory they took after the first tenth.
static int s_many (void)
{
    pair_t pair = s_pair (ZMQ_PUSH, ZMQ_PULL, endpoint);
    long before = 0;
    for (int i = 0, data; i < number; i++) {
        s_check (zmq_send (pair.a, &i, sizeof i, 0));
        s_check (zmq_recv (pair.b, &data, sizeof data, 0));
        if (data != i)
            return EXIT_FAILURE;
        if (i == number / 10)
            before = s_memory ();
    }
    printf ("%ld\n", s_memory () - before);
    s_close (&pair);
    return EXIT_SUCCESS;
}

static int s_say_hello (void)
{
    s_say ("hello", endpoint);
    return number;
}

static int s_exit (void)
{
    s_say ("hello", endpoint);
    _exit (number);
}

static int s_raise (void)
{
    s_say ("hello", endpoint);
    return raise (number);
}

int main (int argc, char *argv[])
{
    static const struct {
        const char *name;
        int (*run) (void);
    } known[] = {{"calls", s_calls},
                 {"threads", s_threads},
                 {"fork", s_fork},
                 {"endless", s_endless},
                 {"descriptors", s_descriptors},
                 {"many", s_many},
                 {"say", s_say_hello},
                 {"exit", s_exit},
                 {"raise", s_raise}};
    if (argc < 3)
        return 2;
    program = argv[0];
    endpoint = argv[2];
    number = argc > 3 ? (int) strtol (argv[3], NULL, 10) : 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp (argv[1], known[i].name) == 0)
            return known[i].run ();
    return 2;
}
