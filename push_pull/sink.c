//  SPDX-License-Identifier: MIT
//  sink.c - PULL socket: gathers the results of all workers
//
//  Binds a PULL that the workers' PUSHes, and the ventilator's, connect to. It takes from all of
//  them in turn. Which result comes first says nothing about which task was handed out first. And
//  whether one will come at all, nobody says: the ventilator tells us how many tasks there are, so
//  at the end we know which are missing.
//  Run:   build/push_pull/sink --count 100
//  vLLM:  vllm/v1/engine/core_client.py MPClient.__init__: output_socket gathers what all engines
//         PUSH

#include "lib/curve.h"
#include "lib/keepalive.h"
#include "lib/options.h"
#include "lib/log.h"
#include "tasks.h"
#include "ledger.h"

//  So many workers are counted by name: who makes names up shall not fill our memory
#define WORKERS_MAX 1000

//  One more result of this worker. False when the table has no room for its name.
static bool s_count (zhash_t *workers, const char *worker)
{
    uint64_t *results = zhash_lookup (workers, worker);
    if (!results && zhash_size (workers) == WORKERS_MAX)
        return false;
    if (!results) {
        results = zmalloc (sizeof *results);
        zhash_insert (workers, worker, results);
        zhash_freefn (workers, worker, free);  //  From now on it is the table's
    }
    (*results)++;
    return true;
}

static int s_by_name (void *a, void *b)
{
    return strcmp (a, b);
}

//  `w1: 50 tasks` for each worker, by name; and how many are of those that had no room
static void s_report (zhash_t *workers, uint64_t others)
{
    zlist_t *names = zhash_keys (workers);
    zlist_sort (names, s_by_name);
    for (const char *name = zlist_first (names); name; name = zlist_next (names))
        print_result ("%s: %" PRIu64 " tasks", name, *(uint64_t *) zhash_lookup (workers, name));
    zlist_destroy (&names);
    if (others > 0)
        print_result ("other workers: %" PRIu64 " tasks", others);
}

//  `missing: 3 5-7`. A worker that was killed had taken these.
static void s_report_missing (const ledger_t *ledger)
{
    if (ledger_missing (ledger) == 0)
        return;
    char *tasks = ledger_describe (ledger);
    print_result ("missing: %s", tasks ? tasks : "");
    free (tasks);
}

int main (int argc, char **argv)
{
    const char *endpoint = "tcp://127.0.0.1:5561";
    int count = 100, timeout_s = 0;
    const option_t options[] = {
        OPTION_BIND ("endpoint", &endpoint, "where to listen"),
        OPTION_INT ("count", &count, 0, INT_MAX, "results to gather; 0: until stopped"),
        OPTION_INT ("timeout-s", &timeout_s, 0, 86400,
                    "give up when tasks are out and none comes back for so long, s; 0: never"),
        OPTION_END,
    };
    const about_t about = {
        .name = "sink",
        .purpose = "PULL: gathers results and counts them per worker",
        .example = "  build/push_pull/sink --count 100\n"
                   "  build/push_pull/worker --name w1\n"
                   "  build/push_pull/worker --name w2\n"
                   "  build/push_pull/ventilator --workers 2 --count 100",
        .at_risk = "what it takes for results",
    };
    options_read (argc, argv, &about, options);

    zsock_t *pull = zsock_new (ZMQ_PULL);
    curve_server (pull);
    zsock_set_maxmsgsize (pull, MP_MAX_SMALL_FRAME);
    keepalive_probe (pull);  //  A worker whose machine has vanished is missed after 12 s
    if (!log_bound (pull, endpoint, zsock_bind (pull, "%s", endpoint))) {
        zsock_destroy (&pull);
        return EXIT_STOPPED_OR_FAILED;
    }

    zhash_t *workers = zhash_new ();
    uint64_t gathered = 0, others = 0, bad = 0;
    ledger_t *ledger = ledger_new ();
    bool late = false;
    while (!zsys_interrupted && (count == 0 || gathered < (uint64_t) count)) {
        zframe_t *frame = zframe_recv (pull);
        if (!frame) {
            late = !zsys_interrupted;
            break;
        }
        log_recv_frame ("worker", pull, frame);

        uint32_t tasks;
        task_result_t result;
        mp_error_t error;
        if (task_result_read (frame, &result, &error)) {
            print_line ("task %u <- %s: %" PRIu64, result.id, result.worker, result.value);
            if (!s_count (workers, result.worker) && others++ == 0)
                warn_line ("more than %d workers: the others are not counted by name", WORKERS_MAX);
            ledger_mark (ledger, result.id);
            zstr_free (&result.worker);
            gathered++;
        } else if (task_batch_read (frame, &tasks)) {
            print_line ("the ventilator announces %u tasks", tasks);
            ledger_expect (ledger, tasks);
            if (timeout_s > 0)
                zsock_set_rcvtimeo (pull, timeout_s * 1000);
        } else {
            warn_line ("bad result: %s", error.text);
            bad++;
            zsock_flush (pull);  //  Of its further frames, if it has any
        }
        zframe_destroy (&frame);
    }
    s_report (workers, others);
    s_report_missing (ledger);
    if (late)
        warn_line ("no result for %d s: gave up", timeout_s);
    print_summary ("%" PRIu64 " results from %zu workers, %" PRIu64 " bad", gathered,
                   zhash_size (workers), bad);
    zhash_destroy (&workers);
    ledger_destroy (&ledger);
    zsock_destroy (&pull);
    return late ? EXIT_STOPPED_OR_FAILED : EXIT_SUCCESS;
}
