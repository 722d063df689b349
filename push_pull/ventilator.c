//  SPDX-License-Identifier: MIT
//  ventilator.c - PUSH socket: hands tasks out to its workers, one after the other
//
//  Binds a PUSH that the workers' PULLs connect to. A PUSH gives each message to one of its peers,
//  in turn. To the worker that connects first it would give everything, so we wait for all of them.
//  Run:   build/push_pull/ventilator --workers 2    (beside two workers and a sink)
//  vLLM:  vllm/v1/engine/core.py EngineCoreProc.process_output_sockets PUSHes the outputs. It keeps
//         one PUSH for each front-end, since one PUSH for all would deal them out like this.

#include "lib/curve.h"
#include "lib/keepalive.h"
#include "lib/options.h"
#include "lib/log.h"
#include "tasks.h"

//  Waits until `count` peers are connected to the socket. False when a signal came first.
static bool s_wait_workers (zsock_t *push, int count)
{
    //  A PUSH does not know its peers, but it can be watched: what happens to its connections comes
    //  as events on a PAIR. A peer that fails in the handshake is no worker, and will disconnect
    //  too.
    zsock_t *events = zsock_new_pair (">inproc://push-events");
    int connected = 0, failed = 0;
    while (connected < count) {
        zmsg_t *message = zmsg_recv (events);
        if (!message)
            break;       //  A signal came
        uint16_t event;  //  The first two bytes; see zmq_socket_monitor(3)
        memcpy (&event, zframe_data (zmsg_first (message)), sizeof event);
        curve_event (push, message);
        zmsg_destroy (&message);
        if (event == ZMQ_EVENT_ACCEPTED)
            continue;  //  For curve_event only
        if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED)
            connected++;
        else if (event != ZMQ_EVENT_DISCONNECTED)
            failed++;
        else if (failed > 0)
            failed--;
        else
            connected--;
        if (failed == 0)
            print_note ("%d of %d workers connected", connected, count);
    }
    zmq_socket_monitor (zsock_resolve (push), NULL, 0);  //  Seen enough
    zsock_destroy (&events);
    curve_watch (push);
    return connected == count;
}

int main (int argc, char **argv)
{
    const char *endpoint = "tcp://127.0.0.1:5560", *sink_endpoint = "tcp://127.0.0.1:5561";
    int count = 100, workers = 1;
    const option_t options[] = {
        OPTION_BIND ("endpoint", &endpoint, "where the workers connect"),
        OPTION_CONNECT ("sink", &sink_endpoint, "where the sink listens"),
        OPTION_INT ("count", &count, 0, INT_MAX, "tasks to hand out; 0: until stopped"),
        OPTION_INT ("workers", &workers, 0, INT_MAX, "workers to wait for"),
        OPTION_END,
    };
    const about_t about = {
        .name = "ventilator",
        .purpose = "PUSH: hands out tasks to workers, in turn",
        .example = "  build/push_pull/sink --count 100\n"
                   "  build/push_pull/worker --name w1\n"
                   "  build/push_pull/worker --name w2\n"
                   "  build/push_pull/ventilator --workers 2 --count 100",
        .at_risk = "the tasks",
    };
    options_read (argc, argv, &about, options);

    zsock_t *push = zsock_new (ZMQ_PUSH), *sink = zsock_new (ZMQ_PUSH);
    curve_server (push);
    curve_client (sink);
    zsock_set_maxmsgsize (push, MP_MAX_SMALL_FRAME);
    zsock_set_maxmsgsize (sink, MP_MAX_FRAME);
    keepalive_probe (push);  //  Whose machine has vanished is missed after 12 s
    keepalive_probe (sink);
    //  CZMQ's linger of 0 would throw the last tasks away when we exit. -1 waits until they have
    //  left for the workers, however long that takes; a Ctrl-C ends it. The sink gets a second.
    //  Over tcp they arrive then. Over ipc they may not: a worker whose queue is full drops what it
    //  has not read from the connection, as soon as that is closed.
    zsock_set_linger (push, -1);
    zsock_set_linger (sink, 1000);
    zmq_socket_monitor (zsock_resolve (push), "inproc://push-events",
                        ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED | CURVE_EVENTS);
    if (!log_connected (sink_endpoint, zsock_connect (sink, "%s", sink_endpoint)) ||
        !log_bound (push, endpoint, zsock_bind (push, "%s", endpoint))) {
        zsock_destroy (&push);
        zsock_destroy (&sink);
        return EXIT_STOPPED_OR_FAILED;
    }

    if (count > 0) {
        zframe_t *batch = task_batch_new ((uint32_t) count);
        log_send_frame ("sink", sink, batch);
        zframe_send (&batch, sink, 0);
        zframe_destroy (&batch);  //  NULL by now, unless a signal came
    }

    uint32_t sent = 0;
    bool ready = s_wait_workers (push, workers);
    while (ready && !zsys_interrupted && (count == 0 || sent < (uint32_t) count)) {
        task_t task = {.id = sent, .value = sent};
        zframe_t *frame = task_new (&task);
        log_send_frame ("worker", push, frame);
        if (zframe_send (&frame, push, 0) == 0) {  //  Blocks while all queues are full: ours, the
                                                   //  workers', and what TCP has in between
            print_line ("task %u ->", task.id);
            sent++;
        }
        zframe_destroy (&frame);  //  NULL by now, unless a signal came
    }
    print_summary ("%u tasks handed out", sent);
    zsock_destroy (&push);
    zsock_destroy (&sink);
    return EXIT_SUCCESS;
}
