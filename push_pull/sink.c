//  SPDX-License-Identifier: MIT
//  sink.c - a PULL socket that gathers the results of all workers
//
//  A PULL takes from all its peers in turn, so results come in another order than tasks went out.
//  PUSH and PULL acknowledge nothing: if a worker dies, its tasks are lost and nobody is told. The
//  sink can only compare what has come with the number that the ventilator has announced.
//
//  Run:   build/push_pull/sink in one terminal, build/push_pull/ventilator in another,
//         build/push_pull/worker --name w1 in a third
//  vLLM:  vllm/v1/engine/core_client.py MPClient.__init__: output_socket gathers from all engines

#include "args.h"
#include "mp.h"

static int s_by_name (void *a, void *b)
{
    return strcmp (a, b);
}

int main (int argc, char **argv)
{
    const char *endpoint = "tcp://127.0.0.1:5561";
    int count = 100, gathered = 0, bad = 0;
    args_read (argc, argv, "PULL: gathers results, and counts them for each worker",
               (arg_t[]){{"endpoint", "where workers and ventilator connect", .text = &endpoint},
                         {"count", "results to gather; 0: until Ctrl-C", .number = &count},
                         {0}});

    zsock_t *results = zsock_new (ZMQ_PULL);
    if (zsock_bind (results, "%s", endpoint) == -1)
        args_fail (1, "cannot listen on %s: %s", endpoint, zmq_strerror (zmq_errno ()));
    args_print_listening (results);

    zhash_t *workers = zhash_new ();  //  Name -> number of results
    uint64_t announced = 0;
    while (!zsys_interrupted && (count == 0 || gathered < count)) {
        zmsg_t *message = zmsg_recv (results);
        if (!message)
            break;  //  Ctrl-C
        msgpack_unpacked doc;
        const msgpack_object *map =
            mp_open (&doc, zmsg_size (message) == 1 ? zmsg_first (message) : NULL);
        uint64_t task = mp_uint (mp_get (map, "task"), UINT64_MAX);
        uint64_t value = mp_uint (mp_get (map, "value"), UINT64_MAX);
        uint64_t tasks = mp_uint (mp_get (map, "tasks"), UINT64_MAX);
        char *worker = mp_text (mp_get (map, "worker"));
        if (worker && task <= UINT32_MAX && value < UINT64_MAX) {
            mp_printable (worker);
            printf ("task %" PRIu64 " <- %s: %" PRIu64 "\n", task, worker, value);
            int *own = zhash_lookup (workers, worker);
            if (!own) {
                own = zmalloc (sizeof *own);
                zhash_insert (workers, worker, own);
                zhash_freefn (workers, worker, free);
            }
            (*own)++;
            gathered++;
        } else if (tasks <= UINT32_MAX) {
            printf ("the ventilator announces %" PRIu64 " task%s\n", tasks, tasks == 1 ? "" : "s");
            announced += tasks;
        } else {
            fprintf (stderr, "sink: bad result: not a map with task, worker and value\n");
            bad++;
        }
        zstr_free (&worker);
        msgpack_unpacked_destroy (&doc);
        zmsg_destroy (&message);
    }
    zlist_t *names = zhash_keys (workers);
    zlist_sort (names, s_by_name);
    for (const char *name = zlist_first (names); name; name = zlist_next (names)) {
        int own = *(int *) zhash_lookup (workers, name);
        printf ("%s: %d task%s\n", name, own, own == 1 ? "" : "s");
    }
    if (announced > (uint64_t) gathered)
        printf ("missing: %" PRIu64 " of %" PRIu64 "\n", announced - (uint64_t) gathered,
                announced);
    size_t known = zhash_size (workers);
    printf ("sink: %d result%s from %zu worker%s, %d bad\n", gathered, gathered == 1 ? "" : "s",
            known, known == 1 ? "" : "s", bad);
    zlist_destroy (&names);
    zhash_destroy (&workers);
    zsock_destroy (&results);
    return EXIT_SUCCESS;
}
