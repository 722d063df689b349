//  SPDX-License-Identifier: MIT
//  pub_hwm.c - a PUB drops what a slow subscriber does not take, and only for that one
//
//  Run:   build/traps/pub_hwm
//  vLLM:  vllm/distributed/kv_events.py ZmqEventPublisher
//         Its hwm makes this rare, and the number in each message shows what was lost.

#include "trap.h"

#define MESSAGES 100

//  Receives what is there; the last number, and how many there were
static int s_drain (zsock_t *sub, int *count)
{
    int last = 0;
    for (*count = 0; zsock_events (sub) & ZMQ_POLLIN; (*count)++) {
        char *number = zstr_recv (sub);
        last = number ? (int) strtol (number, NULL, 10) : 0;
        zstr_free (&number);
    }
    return last;
}

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "pub_hwm", "a PUB drops messages for a slow subscriber");

    zsock_t *pub = zsock_new (ZMQ_PUB);
    zsock_set_sndhwm (pub, 10);
    zsock_bind (pub, "inproc://events");
    zsock_t *slow = zsock_new (ZMQ_SUB), *quick = zsock_new (ZMQ_SUB);
    zsock_t *subs[] = {slow, quick};
    for (int i = 0; i < 2; i++) {
        zsock_set_rcvhwm (subs[i], 10);
        zsock_set_subscribe (subs[i], "");
        zsock_connect (subs[i], "inproc://events");
    }

    int got = 0, count;
    for (int number = 1; number <= MESSAGES; number++) {
        //  Asking a socket for its events makes libzmq process the commands of its peers now
        zsock_events (pub);
        zstr_sendf (pub, "%d", number);
        s_drain (quick, &count);
        got += count;
    }
    int last = s_drain (slow, &count);
    trap_shown (got == MESSAGES && count == 20 && last == 20,
                "of %d messages the quick one got %d, the slow one %d: HWM 10 here and 10 there",
                MESSAGES, got, count);

    zsock_events (pub);
    zstr_sendf (pub, "%d", MESSAGES + 1);
    int next = s_drain (slow, &count);
    trap_cured (count == 1 && next == MESSAGES + 1,
                "numbers: after %d comes %d, so %d are missing, and can be asked for", last, next,
                next - last - 1);

    zsock_destroy (&quick);
    zsock_destroy (&slow);
    zsock_destroy (&pub);
    return trap_end (
        "A PUB never waits: what does not fit a subscriber's queue is dropped for that one,",
        "and nobody is told. Only a number in the message can tell. HWM 0 is no limit.");
}
