//  SPDX-License-Identifier: MIT
//  opened.c - a program for ztrace to watch that opens libzmq by itself: opened LIBRARY ENDPOINT

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

static void *library;

static uintptr_t s_call (const char *name)
{
    return (uintptr_t) dlsym (library, name);
}

int main (int argc, char *argv[])
{
    library = argc == 3 ? dlopen (argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!library)
        return 2;
    void *context = ((void *(*) (void) ) s_call ("zmq_ctx_new")) ();
    void *(*make) (void *, int) = (void *(*) (void *, int) ) s_call ("zmq_socket");
    int (*bind) (void *, const char *) = (int (*) (void *, const char *)) s_call ("zmq_bind");
    int (*connect) (void *, const char *) = (int (*) (void *, const char *)) s_call ("zmq_connect");
    int (*send) (void *, const void *, size_t, int) =
        (int (*) (void *, const void *, size_t, int)) s_call ("zmq_send");
    int (*recv) (void *, void *, size_t, int) =
        (int (*) (void *, void *, size_t, int)) s_call ("zmq_recv");
    void *push = make (context, ZMQ_PUSH), *pull = make (context, ZMQ_PULL);
    char data[8] = "";
    if (bind (pull, argv[2]) == -1 || connect (push, argv[2]) == -1 ||
        send (push, "hello", 5, 0) == -1 || recv (pull, data, sizeof data, 0) == -1)
        return 1;
    puts (data);
    return strcmp (data, "hello") != 0;
}
