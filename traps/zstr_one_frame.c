//  SPDX-License-Identifier: MIT
//  zstr_one_frame.c - zstr_recv takes one frame, and the rest of the message comes next time
//
//  Run:   build/traps/zstr_one_frame

#include "trap.h"

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "zstr_one_frame", "a message of two frames is two zstr_recv");

    zsock_t *pull = zsock_new_pull ("@inproc://here");
    zsock_t *push = zsock_new_push (">inproc://here");

    zstr_sendx (push, "topic", "first", NULL);
    zstr_sendx (push, "topic", "second", NULL);
    char *one = zstr_recv (pull), *two = zstr_recv (pull);
    trap_shown (one && streq (one, "topic") && two && streq (two, "first"),
                "two messages received, it seems: %s, %s", one ? one : "none", two ? two : "none");
    zstr_free (&one);
    zstr_free (&two);

    zmsg_t *message = zmsg_recv (pull);
    size_t frames = message ? zmsg_size (message) : 0;
    one = message ? zmsg_popstr (message) : NULL;
    two = message ? zmsg_popstr (message) : NULL;
    trap_cured (frames == 2 && one && streq (one, "topic") && two && streq (two, "second"),
                "zmsg_recv gets all of one: [%s][%s]", one ? one : "none", two ? two : "none");
    zstr_free (&one);
    zstr_free (&two);
    zmsg_destroy (&message);

    zsock_destroy (&push);
    zsock_destroy (&pull);
    return trap_end (
        "A peer that sends a frame too many would shift all that follows. Receive whole",
        "messages, look at the number of their frames, and only then at the frames.");
}
