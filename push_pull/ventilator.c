//  SPDX-License-Identifier: MIT
//  ventilator.c - a PUSH socket that hands out tasks to workers, in turn
//
//  A PUSH gives each message to the next one of the peers that are connected at that moment. The
//  first worker would get all tasks, so we wait until all workers are there. A PUSH cannot receive,
//  but libzmq reports what happens to its connections on another socket, its monitor.
//
//  Run:   build/push_pull/sink in one terminal, build/push_pull/ventilator --workers 2 in another,
//         build/push_pull/worker --name w1 and build/push_pull/worker --name w2 in two more
//  vLLM:  vllm/v1/engine/core.py EngineCoreProc.process_output_sockets has a PUSH for each
//         front-end, because one PUSH for all of them would hand the outputs out like this

#include "args.h"
#include "mp.h"

int main (int argc, char **argv)
{
    const char *endpoint = "tcp://127.0.0.1:5560", *sink = "tcp://127.0.0.1:5561";
    int count = 100, workers = 1, sent = 0;
    args_read (argc, argv, "PUSH: hands out tasks to workers, in turn",
               (arg_t[]){{"endpoint", "where workers connect", .text = &endpoint},
                         {"sink", "where the sink listens", .text = &sink},
                         {"count", "tasks to hand out; 0: until Ctrl-C", .number = &count},
                         {"workers", "workers to wait for", .number = &workers},
                         {0}});

    zsock_t *tasks = zsock_new (ZMQ_PUSH), *to_sink = zsock_new (ZMQ_PUSH);
    zmq_socket_monitor (zsock_resolve (tasks), "inproc://tasks", ZMQ_EVENT_HANDSHAKE_SUCCEEDED);
    zsock_t *monitor = zsock_new_pair (">inproc://tasks");
    if (zsock_connect (to_sink, "%s", sink) == -1)
        args_fail (1, "cannot connect to %s: %s", sink, zmq_strerror (zmq_errno ()));
    if (zsock_bind (tasks, "%s", endpoint) == -1)
        args_fail (1, "cannot listen on %s: %s", endpoint, zmq_strerror (zmq_errno ()));
    args_print_listening (tasks);

    msgpack_sbuffer out = {0};
    mp_put (&out, "{si", 1, "tasks", count);
    zframe_t *frame = mp_frame (&out);
    zframe_send (&frame, to_sink, 0);

    //  A handshake succeeds only with a peer of the right type, a PULL
    for (int connected = 0; connected < workers && !zsys_interrupted;) {
        zmsg_t *event = zmsg_recv (monitor);
        if (event)
            printf ("%d of %d workers connected\n", ++connected, workers);
        zmsg_destroy (&event);
    }
    zmq_socket_monitor (zsock_resolve (tasks), NULL, 0);  //  No further events
    zsock_destroy (&monitor);

    while (!zsys_interrupted && (count == 0 || sent < count)) {
        mp_put (&out, "{sisi", 2, "task", sent, "value", sent);
        frame = mp_frame (&out);
        if (zframe_send (&frame, tasks, 0) == 0)  //  Waits while all queues are full
            printf ("task %d ->\n", sent++);
        zframe_destroy (&frame);
    }
    printf ("ventilator: %d task%s handed out\n", sent, sent == 1 ? "" : "s");
    //  ms for the last tasks to leave; -1: as long as it takes. CZMQ's default is none.
    zsock_set_linger (tasks, zsys_interrupted ? 0 : -1);
    zsock_set_linger (to_sink, 500);
    zsock_destroy (&tasks);
    zsock_destroy (&to_sink);
    return EXIT_SUCCESS;
}
