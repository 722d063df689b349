//  SPDX-License-Identifier: MIT
//  dead_session.c - after a protocol error a socket that has connected never dials again
//
//  Run:   build/traps/dead_session
//  vLLM:  vllm/distributed/kv_events.py ZmqEventPublisher
//         A SUB of it that limits the size of a frame gets nothing after the first larger batch.

#include "trap.h"

//  What a subscriber has told the publisher: 1 subscribed, 0 left, -1 nothing
static int s_told (zsock_t *xpub)
{
    zframe_t *frame = zframe_recv (xpub);
    int told = frame ? zframe_data (frame)[0] : -1;
    zframe_destroy (&frame);
    return told;
}

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "dead_session", "after a protocol error no connection comes back");

    zsock_t *xpub = zsock_new_xpub ("@tcp://127.0.0.1:!");
    zsock_set_rcvtimeo (xpub, 5000);
    zsock_t *sub = zsock_new_sub (NULL, "");
    zsock_set_reconnect_ivl (sub, 10);  //  ms: a connection that was cut would be back at once
    zsock_set_maxmsgsize (sub, 100);
    zsock_connect (sub, "%s", zsock_endpoint (xpub));
    int came = s_told (xpub);

    zstr_sendf (xpub, "%101s", "");  //  For libzmq a frame above MAXMSGSIZE is a protocol error
    int left = s_told (xpub);
    zsock_set_rcvtimeo (sub, 200);  //  ms: time for 20 attempts
    char *text = zstr_recv (sub);
    zsock_set_rcvtimeo (xpub, 0);
    int back = s_told (xpub);
    trap_shown (came == 1 && left == 0 && !text && back == -1,
                "a frame of 101 bytes, 100 are allowed: the SUB is cut off, and never dials again");

    zsock_disconnect (sub, "%s", zsock_endpoint (xpub));
    zsock_connect (sub, "%s", zsock_endpoint (xpub));
    zsock_set_rcvtimeo (xpub, 5000);
    zsock_set_rcvtimeo (sub, 5000);
    back = s_told (xpub);
    zstr_send (xpub, "short");
    text = zstr_recv (sub);
    trap_cured (back == 1 && text && streq (text, "short"),
                "disconnect and connect: it has subscribed again, and receives");
    zstr_free (&text);
    zsock_destroy (&sub);
    zsock_destroy (&xpub);
    return trap_end (
        "libzmq repairs a cut: it dials again. After a protocol error it does not. A monitor",
        "shows DISCONNECTED, and no CONNECT_RETRIED after it. Then disconnect and connect.");
}
