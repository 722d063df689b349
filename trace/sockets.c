//  SPDX-License-Identifier: MIT

#include "sockets.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "turn.h"

//  A power of two. libzmq itself has 1,023 for each context if nobody asks for more.
#define SOCKETS_MAX 4096
#define TYPES_MAX 32

//  Pointers are spread over the table by their bits; a removed one leaves GONE, so that those
//  behind it are still found
#define GONE ((void *) &gone)
static char gone;

static void *_Atomic keys[SOCKETS_MAX];
static socket_t sockets[SOCKETS_MAX];
static unsigned counts[TYPES_MAX];
static turn_t turn;

static size_t s_place (const void *socket)
{
    uint64_t bits = (uint64_t) (uintptr_t) socket * 0x9e3779b97f4a7c15u;
    return (size_t) (bits >> 40) % SOCKETS_MAX;
}

socket_t *socket_find (void *socket)
{
    size_t at = s_place (socket);
    for (size_t i = 0; i < SOCKETS_MAX; i++, at = (at + 1) % SOCKETS_MAX) {
        void *key = atomic_load_explicit (&keys[at], memory_order_acquire);
        if (key == socket)
            return &sockets[at];
        if (!key)
            break;
    }
    return NULL;
}

//  A place in the table that is free; SOCKETS_MAX: there is none
static size_t s_free_place (const void *socket)
{
    size_t at = s_place (socket);
    for (size_t i = 0; i < SOCKETS_MAX; i++, at = (at + 1) % SOCKETS_MAX) {
        void *key = atomic_load_explicit (&keys[at], memory_order_relaxed);
        if (!key || key == GONE)
            return at;
    }
    return SOCKETS_MAX;
}

socket_t *socket_add (void *socket, struct zmq_copy *copy, int type)
{
    turn_take (&turn);
    size_t at = s_free_place (socket);
    if (at < SOCKETS_MAX) {
        unsigned *count = &counts[type >= 0 && type < TYPES_MAX ? type : TYPES_MAX - 1];
        sockets[at] = (socket_t){.socket = socket, .copy = copy, .type = type, .number = ++*count};
        atomic_store_explicit (&keys[at], socket, memory_order_release);
    }
    turn_give (&turn);
    return at < SOCKETS_MAX ? &sockets[at] : NULL;
}

static void s_free (message_t **message)
{
    if (*message)
        munmap (*message, sizeof **message);
    *message = NULL;
}

void socket_remove (socket_t *self)
{
    s_free (&self->sent);
    s_free (&self->received);
    atomic_store_explicit (&keys[self - sockets], GONE, memory_order_release);
}

void sockets_forget (void)
{
    turn_reset (&turn);
    for (size_t i = 0; i < SOCKETS_MAX; i++) {
        if (keys[i] && keys[i] != GONE) {
            s_free (&sockets[i].sent);
            s_free (&sockets[i].received);
        }
        keys[i] = NULL;
    }
    memset (counts, 0, sizeof counts);
}

//  Untouched pages of it take no memory
message_t *socket_message (message_t **message)
{
    if (!*message) {
        void *memory = mmap (NULL, sizeof **message, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        *message = memory == MAP_FAILED ? NULL : memory;
    }
    return *message;
}

const char *socket_type_name (int type)
{
    static const char *const names[] = {
        "PAIR",  "PUB",  "SUB",    "REQ",     "REP",    "DEALER", "ROUTER",
        "PULL",  "PUSH", "XPUB",   "XSUB",    "STREAM", "SERVER", "CLIENT",
        "RADIO", "DISH", "GATHER", "SCATTER", "DGRAM",  "PEER",   "CHANNEL",
    };
    bool known = type >= 0 && (size_t) type < sizeof names / sizeof *names;
    return known ? names[type] : "?";
}
