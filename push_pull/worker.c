//  SPDX-License-Identifier: MIT
//  worker.c - PULL tasks from the ventilator, PUSH results to the sink
//
//  Connects to both, so workers come and go and the fixed points stay. A PULL cannot say where a
//  message came from, and neither can the sink's: so the result carries the worker's name.
//  Run:   build/push_pull/worker --name w1
//  vLLM:  vllm/v1/engine/__init__.py EngineCoreOutputs.engine_index is there for the same reason

#include "lib/curve.h"
#include "lib/keepalive.h"
#include "lib/options.h"
#include "lib/log.h"
#include "tasks.h"

#include <unistd.h>

int main (int argc, char **argv)
{
    char pid_name[32];
    snprintf (pid_name, sizeof pid_name, "worker-%ld", (long) getpid ());
    const char *source = "tcp://127.0.0.1:5560", *sink = "tcp://127.0.0.1:5561";
    const char *name = pid_name;
    int work_ms = 0, count = 0;
    const option_t options[] = {
        OPTION_CONNECT ("source", &source, "where the ventilator listens"),
        OPTION_CONNECT ("sink", &sink, "where the sink listens"),
        OPTION_TEXT ("name", &name, "goes with each result"),
        OPTION_INT ("work-ms", &work_ms, 0, 60000, "time that a task takes, ms"),
        OPTION_INT ("count", &count, 0, INT_MAX, "tasks to do; 0: until stopped"),
        OPTION_END,
    };
    const about_t about = {
        .name = "worker",
        .purpose = "PULL + PUSH: squares the numbers it gets",
        .example = "  build/push_pull/sink --count 100\n"
                   "  build/push_pull/worker --name w1\n"
                   "  build/push_pull/worker --name w2\n"
                   "  build/push_pull/ventilator --workers 2 --count 100",
        .instance = "name",
    };
    options_read (argc, argv, &about, options);
    if (strlen (name) > TASK_WORKER_MAX) {
        warn_line ("--name: want at most %d bytes", TASK_WORKER_MAX);
        return OPTIONS_WRONG;
    }

    zsock_t *pull = zsock_new (ZMQ_PULL), *push = zsock_new (ZMQ_PUSH);
    curve_client (pull);
    curve_client (push);
    zsock_set_maxmsgsize (pull, MP_MAX_SMALL_FRAME);
    zsock_set_maxmsgsize (push, MP_MAX_FRAME);
    keepalive_probe (pull);  //  Whose machine has vanished is missed after 12 s
    keepalive_probe (push);
    zsock_set_linger (push, -1);  //  The last results wait for the sink when we exit, however long
    if (!log_connected (source, zsock_connect (pull, "%s", source)) ||
        !log_connected (sink, zsock_connect (push, "%s", sink))) {
        zsock_destroy (&pull);
        zsock_destroy (&push);
        return EXIT_STOPPED_OR_FAILED;
    }
    print_line ("worker %s: pulling from %s", name, source);

    uint64_t done = 0, bad = 0;
    while (!zsys_interrupted && (count == 0 || done < (uint64_t) count)) {
        zframe_t *frame = zframe_recv (pull);
        if (!frame)
            break;  //  A signal came
        log_recv_frame ("ventilator", pull, frame);

        task_t task;
        mp_error_t error;
        if (task_read (frame, &task, &error)) {
            zmq_poll (NULL, 0, work_ms);  //  The hard work. A Ctrl-C in it leaves the task undone.
            if (zsys_interrupted) {
                zframe_destroy (&frame);
                break;
            }
            task_result_t result = {task.id, (char *) name, (uint64_t) task.value * task.value};
            zframe_t *reply = task_result_new (&result);
            log_send_frame ("sink", push, reply);
            if (zframe_send (&reply, push, 0) == 0) {
                print_line ("task %u: %u squared is %" PRIu64, task.id, task.value, result.value);
                done++;
            }
            zframe_destroy (&reply);  //  NULL by now, unless a signal came
        } else {
            warn_line ("bad task: %s", error.text);
            bad++;
            zsock_flush (pull);  //  Of its further frames, if it has any
        }
        zframe_destroy (&frame);
    }
    print_summary ("%s did %" PRIu64 " tasks, %" PRIu64 " bad", name, done, bad);
    zsock_destroy (&pull);
    zsock_destroy (&push);
    return EXIT_SUCCESS;
}
