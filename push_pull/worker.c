//  SPDX-License-Identifier: MIT
//  worker.c - PULL and PUSH: takes tasks from the ventilator, sends results to the sink
//
//  The worker connects to both of them, so workers can come and go while those two stay. A PULL
//  does not tell who sent a message: the result carries the worker's name.
//
//  Run:   build/push_pull/sink in one terminal, build/push_pull/ventilator in another,
//         build/push_pull/worker --name w1 in a third
//  vLLM:  vllm/v1/engine/__init__.py EngineCoreOutputs.engine_index, for the same reason

#include "args.h"
#include "mp.h"

int main (int argc, char **argv)
{
    const char *source = "tcp://127.0.0.1:5560", *sink = "tcp://127.0.0.1:5561";
    char own_name[32];
    snprintf (own_name, sizeof own_name, "worker-%d", (int) getpid ());
    const char *name = own_name;
    int work_ms = 0, count = 0, done = 0, bad = 0;
    args_read (argc, argv, "PULL and PUSH: squares the numbers that it gets",
               (arg_t[]){{"source", "where the ventilator listens", .text = &source},
                         {"sink", "where the sink listens", .text = &sink},
                         {"name", "goes into each result", .text = &name},
                         {"work-ms", "duration of a task, ms", .number = &work_ms},
                         {"count", "tasks to do; 0: until Ctrl-C", .number = &count},
                         {0}});

    zsock_t *tasks = zsock_new (ZMQ_PULL), *results = zsock_new (ZMQ_PUSH);
    if (zsock_connect (tasks, "%s", source) == -1)
        args_fail (1, "cannot connect to %s: %s", source, zmq_strerror (zmq_errno ()));
    if (zsock_connect (results, "%s", sink) == -1)
        args_fail (1, "cannot connect to %s: %s", sink, zmq_strerror (zmq_errno ()));
    printf ("worker %s: pulling from %s\n", name, source);

    while (!zsys_interrupted && (count == 0 || done < count)) {
        zmsg_t *message = zmsg_recv (tasks);
        if (!message)
            break;  //  Ctrl-C
        msgpack_unpacked doc;
        const msgpack_object *map =
            mp_open (&doc, zmsg_size (message) == 1 ? zmsg_first (message) : NULL);
        uint64_t task = mp_uint (mp_get (map, "task"), UINT64_MAX);
        uint64_t value = mp_uint (mp_get (map, "value"), UINT64_MAX);
        if (task <= UINT32_MAX && value <= UINT32_MAX) {
            zmq_poll (NULL, 0, work_ms);  //  Simulates work; Ctrl-C ends it
            msgpack_sbuffer out = {0};
            mp_put (&out, "{susssu", 3, "task", task, "worker", name, "value", value * value);
            zframe_t *frame = mp_frame (&out);
            if (!zsys_interrupted && zframe_send (&frame, results, 0) == 0) {
                printf ("task %" PRIu64 ": %" PRIu64 " squared is %" PRIu64 "\n", task, value,
                        value * value);
                done++;
            }
            zframe_destroy (&frame);
        } else {
            fprintf (stderr, "worker: bad task: not a map with task and value below 2^32\n");
            bad++;
        }
        msgpack_unpacked_destroy (&doc);
        zmsg_destroy (&message);
    }
    printf ("worker: %s did %d task%s, %d bad\n", name, done, done == 1 ? "" : "s", bad);
    //  ms for the last results to leave; -1: as long as it takes. CZMQ's default is none.
    zsock_set_linger (results, zsys_interrupted ? 500 : -1);
    zsock_destroy (&tasks);
    zsock_destroy (&results);
    return EXIT_SUCCESS;
}
