//  SPDX-License-Identifier: MIT
//  zero_copy_reuse.c - a buffer sent without a copy is written to before libzmq has let go of it
//
//  Run:   build/traps/zero_copy_reuse
//  vLLM:  vllm/v1/engine/core.py EngineCoreProc.process_output_sockets
//         It fills a buffer again when pyzmq's tracker says that the message is done. In v0.26.0
//         that tracker knows of the last frame only.

#include "trap.h"

//  libzmq calls this when it is done with the buffer, from whatever thread that is in
static void s_released (void *buffer, void *released)
{
    (void) buffer;
    *(bool *) released = true;
}

//  CZMQ copies what it is given: only libzmq sends a buffer as it is
static void s_send (zsock_t *socket, char *buffer, bool *released)
{
    zmq_msg_t message;
    *released = false;
    zmq_msg_init_data (&message, buffer, strlen (buffer), s_released, released);
    if (zmq_msg_send (&message, zsock_resolve (socket), 0) == -1)
        zmq_msg_close (&message);
}

int main (int argc, char **argv)
{
    trap_begin (argc, argv, "zero_copy_reuse", "a buffer is touched while it is on its way");

    zsock_t *pull = zsock_new_pull ("@inproc://frontend");
    zsock_t *push = zsock_new_push (">inproc://frontend");
    char buffers[2][16] = {"outputs 1", ""};
    bool released[2] = {true, true};

    s_send (push, buffers[0], &released[0]);
    snprintf (buffers[0], sizeof buffers[0], "outputs 2");  //  It was sent, was it not?
    zframe_t *frame = zframe_recv (pull);
    trap_shown (frame && zframe_streq (frame, "outputs 2"),
                "outputs 1 is sent, the buffer filled again, and what arrives is: outputs 2");
    zframe_destroy (&frame);

    //  Both ends are in one process here: libzmq lets go when the receiver does
    bool ok = released[0];
    snprintf (buffers[0], sizeof buffers[0], "outputs 1");
    s_send (push, buffers[0], &released[0]);
    char *next = released[0] ? buffers[0] : buffers[1];  //  The other one, while this is under way
    snprintf (next, sizeof buffers[0], "outputs 2");
    s_send (push, next, &released[1]);
    for (int i = 0; i < 2; i++) {
        frame = zframe_recv (pull);
        ok = ok && frame && zframe_streq (frame, i == 0 ? "outputs 1" : "outputs 2");
        zframe_destroy (&frame);
        ok = ok && released[i];
    }
    trap_cured (ok, "two buffers, each used again when it was released: outputs 1, outputs 2");

    zsock_destroy (&push);
    zsock_destroy (&pull);
    return trap_end (
        "Sent means queued. Without a copy the queue has your buffer itself, and it is",
        "yours again when the free callback ran, in a thread of libzmq's choice.");
}
