//  SPDX-License-Identifier: MIT
//  conflate_multipart.c - to keep only the last message is to keep only its last frame
//
//  Run:   build/traps/conflate_multipart
//  vLLM:  vllm/distributed/device_communicators/shm_broadcast.py SpinCondition
//         It conflates pings of one frame.

#include "trap.h"

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "conflate_multipart", "CONFLATE takes multipart messages apart");

    zsock_t *push = zsock_new_push ("@inproc://status");
    zsock_t *pull = zsock_new (ZMQ_PULL);
    zsock_set_conflate (pull, 1);  //  Before it connects
    zsock_connect (pull, "inproc://status");

    zstr_sendx (push, "load", "1", NULL);
    zstr_sendx (push, "load", "2", NULL);
    zmsg_t *message = zmsg_recv (pull);
    size_t frames = message ? zmsg_size (message) : 0;
    char *text = message ? zmsg_popstr (message) : NULL;
    trap_shown (frames == 1 && text && streq (text, "2"),
                "[load][1], [load][2] sent: the last message is [%s], without its first frame",
                text ? text : "none");
    zstr_free (&text);
    zmsg_destroy (&message);

    zstr_send (push, "load 1");
    zstr_send (push, "load 2");
    text = zstr_recv (pull);
    trap_cured (text && streq (text, "load 2"), "in one frame each: the last is [%s]",
                text ? text : "none");
    zstr_free (&text);

    zsock_destroy (&push);
    zsock_destroy (&pull);
    return trap_end ("The place for the last message has room for one frame, and each frame is put",
                     "there in turn. Pack what belongs together into one, msgpack for instance.");
}
