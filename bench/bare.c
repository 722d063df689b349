//  SPDX-License-Identifier: MIT
//  bare.c - what libzmq itself costs: the demos' sockets and frames, and nothing else
//
//  Each role moves frames of the sizes that the demos move, in a loop of plain libzmq calls:
//  nothing is packed, unpacked, put in order or printed. So no program over libzmq can be much
//  cheaper. Some roles are also the other end of a demo that is measured alone: `pub` feeds any
//  subscriber with real batches, and `sub` drains any publisher.
//  Run:   build/bench/bare ROLE ARGUMENT...         (no arguments: lists the roles)
//  libzmq: its own perf/local_lat.cpp and perf/remote_lat.cpp are `rep` and `req`

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

//  Whoever hears nothing for so long gives up
#define PATIENCE_MS 20000

static void s_fail (const char *what)
{
    fprintf (stderr, "bare: %s: %s\n", what, zmq_strerror (zmq_errno ()));
    exit (EXIT_FAILURE);
}

static void *context;
static volatile sig_atomic_t stopped;

static void s_on_signal (int signal)
{
    (void) signal;
    stopped = 1;
}

//  A socket with high-water marks of `hwm`
static void *s_socket (int type, int hwm)
{
    void *socket = zmq_socket (context, type);
    int patience = PATIENCE_MS, linger = type == ZMQ_SUB || type == ZMQ_PULL ? 0 : PATIENCE_MS;
    if (!socket || zmq_setsockopt (socket, ZMQ_RCVTIMEO, &patience, sizeof patience) == -1 ||
        zmq_setsockopt (socket, ZMQ_SNDTIMEO, &patience, sizeof patience) == -1 ||
        zmq_setsockopt (socket, ZMQ_LINGER, &linger, sizeof linger) == -1 ||
        zmq_setsockopt (socket, ZMQ_RCVHWM, &hwm, sizeof hwm) == -1 ||
        zmq_setsockopt (socket, ZMQ_SNDHWM, &hwm, sizeof hwm) == -1)
        s_fail ("socket");
    return socket;
}

//  Binds, and says where in the words of the demos
static void s_bind (void *socket, const char *endpoint)
{
    char resolved[256];
    size_t size = sizeof resolved;
    if (zmq_bind (socket, endpoint) == -1 ||
        zmq_getsockopt (socket, ZMQ_LAST_ENDPOINT, resolved, &size) == -1)
        s_fail (endpoint);
    printf ("bare: listening on %s\n", resolved);
    fflush (stdout);
}

static void s_connect (void *socket, const char *endpoint)
{
    if (zmq_connect (socket, endpoint) == -1)
        s_fail (endpoint);
}

static void s_send (void *socket, const void *data, size_t size, int flags)
{
    if (zmq_send (socket, data, size, flags) == -1)
        s_fail ("send");
}

//  Receives a whole message into `frame`, which is left with its last frame
static void s_recv (void *socket, zmq_msg_t *frame)
{
    do
        if (zmq_msg_recv (frame, socket, 0) == -1)
            s_fail ("receive");
    while (zmq_msg_more (frame));
}

static uint64_t s_number (const char *text)
{
    char *end;
    uint64_t number = strtoull (text, &end, 10);
    if (*text < '0' || *text > '9' || *end) {
        fprintf (stderr, "bare: '%s': want a number\n", text);
        exit (2);
    }
    return number;
}

//  -- Publish, subscribe

//  The content of a file
static unsigned char *s_load (const char *path, size_t *size)
{
    FILE *file = fopen (path, "rb");
    long length = -1;
    unsigned char *bytes = NULL;
    if (file && fseek (file, 0, SEEK_END) == 0 && (length = ftell (file)) > 0) {
        rewind (file);
        bytes = malloc ((size_t) length);
    }
    if (!bytes || fread (bytes, 1, (size_t) length, file) != (size_t) length) {
        fprintf (stderr, "bare: %s: cannot be read\n", path);
        exit (EXIT_FAILURE);
    }
    fclose (file);
    *size = (size_t) length;
    return bytes;
}

//  [topic][seq][payload], once a subscriber is there. It drops what is above its high-water mark,
//  as the demo does; with a mark of 0 it waits instead, and the subscriber gets all. The file has a
//  size of 4 bytes, little-endian, before each payload, and is sent again and again.
static void s_pub (char **argv)
{
    size_t size, at = 0;
    unsigned char *payloads = s_load (argv[1], &size);
    uint64_t count = s_number (argv[2]);
    int hwm = (int) s_number (argv[3]), waits = hwm == 0;
    void *socket = s_socket (ZMQ_XPUB, waits ? 1000 : hwm);
    if (zmq_setsockopt (socket, ZMQ_XPUB_NODROP, &waits, sizeof waits) == -1)
        s_fail ("socket");
    s_bind (socket, argv[0]);
    zmq_msg_t frame;
    zmq_msg_init (&frame);
    s_recv (socket, &frame);
    zmq_msg_close (&frame);
    for (uint64_t seq = 0; seq < count; seq++) {
        unsigned char number[8];
        for (int i = 0; i < 8; i++)
            number[i] = (unsigned char) (seq >> (56 - 8 * i));
        const unsigned char *head = payloads + at;
        size_t length = head[0] | (size_t) head[1] << 8 | (size_t) head[2] << 16;
        s_send (socket, "kv-events", 9, ZMQ_SNDMORE);
        s_send (socket, number, sizeof number, ZMQ_SNDMORE);
        s_send (socket, head + 4, length, 0);
        at = (at + 4 + length) % size;
    }
    free (payloads);
    zmq_close (socket);
}

static void s_sub (char **argv)
{
    uint64_t count = s_number (argv[1]);
    void *socket = s_socket (ZMQ_SUB, 100000);
    if (zmq_setsockopt (socket, ZMQ_SUBSCRIBE, "", 0) == -1)
        s_fail ("subscribe");
    s_connect (socket, argv[0]);
    zmq_msg_t frame;
    zmq_msg_init (&frame);
    for (uint64_t i = 0; i < count; i++)
        s_recv (socket, &frame);
    zmq_msg_close (&frame);
    zmq_close (socket);
}

//  -- An engine and its front-end. A request has the size of an EngineCoreRequest with five tokens
//  of prompt; a step's message that of EngineCoreOutputs with one token for each running request.
//  The first four bytes of that are what the front-end counts by: how many requests it ends.

#define REQUEST_SIZE 62
#define OUTPUTS_SIZE 17
#define OUTPUT_SIZE 25

static const unsigned char identity[] = {0, 0};

static void s_frontend (char **argv)
{
    uint64_t requests = s_number (argv[2]), in_flight = s_number (argv[3]), sent = 0, ended = 0;
    char request[REQUEST_SIZE] = {0};
    void *router = s_socket (ZMQ_ROUTER, 0), *pull = s_socket (ZMQ_PULL, 0);
    s_bind (router, argv[0]);
    s_bind (pull, argv[1]);
    zmq_msg_t frame;
    zmq_msg_init (&frame);
    s_recv (router, &frame);
    while (ended < requests) {
        for (; sent < requests && sent - ended < in_flight; sent++) {
            s_send (router, identity, sizeof identity, ZMQ_SNDMORE);
            s_send (router, "", 1, ZMQ_SNDMORE);
            s_send (router, request, sizeof request, 0);
        }
        s_recv (pull, &frame);
        uint32_t count;
        memcpy (&count, zmq_msg_data (&frame), sizeof count);
        ended += count;
    }
    zmq_msg_close (&frame);
    zmq_close (router);
    zmq_close (pull);
}

//  Takes whatever has come, makes a step, and so on until it is stopped. Requests end in the order
//  in which they came, so per step that makes its first token a number is all there is to remember.
static void s_engine (char **argv)
{
    uint64_t tokens = s_number (argv[2]), step = 0;
    uint32_t *started = calloc (tokens, sizeof *started), running = 0;
    void *dealer = s_socket (ZMQ_DEALER, 0), *push = s_socket (ZMQ_PUSH, 0);
    zmq_setsockopt (dealer, ZMQ_ROUTING_ID, identity, sizeof identity);
    s_connect (push, argv[1]);
    s_connect (dealer, argv[0]);
    s_send (dealer, "", 0, 0);
    zmq_msg_t frame;
    zmq_msg_init (&frame);
    while (!stopped) {
        //  With requests running it only looks, otherwise it waits
        uint32_t more = 0;
        while (zmq_msg_recv (&frame, dealer, running + more > 0 ? ZMQ_DONTWAIT : 0) != -1)
            more += !zmq_msg_more (&frame);
        if (zmq_errno () != EAGAIN || running + more == 0)
            break;
        started[step % tokens] = more;
        running += more;
        uint32_t ends = started[(step + 1) % tokens];
        size_t size = OUTPUTS_SIZE + (size_t) running * OUTPUT_SIZE;
        zmq_msg_t outputs;
        if (zmq_msg_init_size (&outputs, size) == -1)
            s_fail ("step");
        memset (zmq_msg_data (&outputs), 0, size);
        memcpy (zmq_msg_data (&outputs), &ends, sizeof ends);
        if (zmq_msg_send (&outputs, push, 0) == -1)
            s_fail ("step");
        running -= ends;
        step++;
    }
    zmq_msg_close (&frame);
    free (started);
    zmq_close (dealer);
    zmq_close (push);
}

//  -- Main

static const struct {
    const char *name, *arguments;
    int count;
    void (*run) (char **argv);
} roles[] = {
    {"pub", "ENDPOINT PAYLOADS COUNT HWM", 4, s_pub},
    {"sub", "ENDPOINT COUNT", 2, s_sub},
    {"frontend", "INPUT OUTPUT REQUESTS IN-FLIGHT", 4, s_frontend},
    {"engine", "INPUT OUTPUT TOKENS", 3, s_engine},
};

int main (int argc, char **argv)
{
    size_t count = sizeof roles / sizeof roles[0];
    for (size_t i = 0; argc > 1 && i < count; i++)
        if (strcmp (argv[1], roles[i].name) == 0 && argc - 2 == roles[i].count) {
            struct sigaction action = {.sa_handler = s_on_signal};
            sigaction (SIGTERM, &action, NULL);
            sigaction (SIGINT, &action, NULL);
            context = zmq_ctx_new ();
            roles[i].run (argv + 2);
            zmq_ctx_term (context);
            return EXIT_SUCCESS;
        }
    for (size_t i = 0; i < count; i++)
        fprintf (stderr, "usage: bare %s %s\n", roles[i].name, roles[i].arguments);
    return 2;
}
