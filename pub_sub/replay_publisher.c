//  SPDX-License-Identifier: MIT
//  replay_publisher.c - Demo 3: a PUB numbers its messages, a ROUTER sends them again on request
//
//  A PUB drops what a subscriber is too late or too slow for, and tells nobody. So each batch has a
//  number, and the last ones are kept here. A subscriber that finds a hole in the numbers asks the
//  ROUTER for all batches from there on.
//
//  Run:   build/pub_sub/replay_publisher, and build/pub_sub/replay_subscriber --skip 3-6
//  vLLM:  vllm/distributed/kv_events.py ZmqEventPublisher._publisher_thread
//         vllm/distributed/kv_events.py ZmqEventPublisher._service_replay

#include "args.h"
#include "kv_events.h"

static zsock_t *s_listen (int type, const char *endpoint)
{
    zsock_t *socket = zsock_new (type);
    if (zsock_bind (socket, "%s", endpoint) == -1)
        args_fail (1, "cannot listen on %s: %s", endpoint, zmq_strerror (zmq_errno ()));
    args_print_listening (socket);
    zsock_set_linger (socket, 500);  //  ms for the last messages to leave; CZMQ's default is none
    return socket;
}

//  Sends [client][empty][topic][seq][batch]. The ROUTER takes the first frame off: the identity of
//  the client that gets the rest.
static void s_reply (zsock_t *router, zframe_t *client, zmsg_t *message)
{
    zframe_t *identity = zframe_dup (client);
    zmsg_pushmem (message, NULL, 0);
    zmsg_prepend (message, &identity);
    zmsg_send (&message, router);  //  Never waits: beyond 1000 waiting replies a ROUTER drops
}

//  Answers one request with the kept batches from the asked number on, and the end
static void s_serve_replay (zsock_t *router, zlist_t *kept, uint64_t next)
{
    zmsg_t *request = zmsg_recv (router);  //  [client][empty][start]
    uint64_t start, batches = 0, seq = next - zlist_size (kept);
    if (request && zmsg_size (request) == 3 && kv_seq_read (zmsg_last (request), &start)) {
        zframe_t *client = zmsg_first (request);
        for (zmsg_t *batch = zlist_first (kept); batch; batch = zlist_next (kept), seq++)
            if (seq >= start) {
                s_reply (router, client, zmsg_dup (batch));
                batches++;
            }
        s_reply (router, client, kv_message ("", KV_SEQ_END, NULL));
        printf ("replay from %" PRIu64 ": %" PRIu64 " batch%s\n", start, batches,
                batches == 1 ? "" : "es");
    } else if (request)
        fprintf (stderr, "replay_publisher: bad replay request: not [empty][8 bytes]\n");
    zmsg_destroy (&request);
}

int main (int argc, char **argv)
{
    const char *endpoint = "tcp://127.0.0.1:5557", *replay_endpoint = "tcp://127.0.0.1:5657";
    const char *topic = "kv-events";
    int interval_ms = 200, buffer_steps = 10000, count = 0;
    args_read (
        argc, argv, "PUB + ROUTER: numbered KV events, and a replay of missed ones",
        (arg_t[]){{"endpoint", "where subscribers connect", .text = &endpoint},
                  {"replay-endpoint", "where they ask again", .text = &replay_endpoint},
                  {"topic", "first frame of each message", .text = &topic},
                  {"interval-ms", "time between batches, ms", .number = &interval_ms},
                  {"buffer-steps", "batches kept for a replay", .number = &buffer_steps, .min = 1},
                  {"count", "batches to publish; 0: until Ctrl-C", .number = &count},
                  {0}});

    zsock_t *pub = s_listen (ZMQ_PUB, endpoint), *router = s_listen (ZMQ_ROUTER, replay_endpoint);
    zpoller_t *poller = zpoller_new (router, NULL);
    zlist_t *kept = zlist_new ();  //  The messages of the last batches, the oldest first
    uint64_t next = 0;             //  The number of the next batch
    int64_t due = zclock_mono () + interval_ms;
    while (!zsys_interrupted && (count == 0 || next < (uint64_t) count)) {
        int64_t left = due - zclock_mono ();
        if (zpoller_wait (poller, left > 0 ? (int) left : 0))
            s_serve_replay (router, kept, next);
        if (zsys_interrupted || zclock_mono () < due)
            continue;

        zframe_t *batch = kv_batch_new (next);
        char *text = kv_batch_describe (batch);
        zmsg_t *message = kv_message (topic, next, &batch);
        zlist_append (kept, zmsg_dup (message));
        zmsg_send (&message, pub);  //  Never waits: what a subscriber cannot take is dropped
        printf ("seq %" PRIu64 ": %s\n", next, text);
        zstr_free (&text);
        if (zlist_size (kept) > (size_t) buffer_steps) {
            zmsg_t *oldest = zlist_pop (kept);
            zmsg_destroy (&oldest);
        }
        next++;
        due += interval_ms;
    }
    printf ("replay_publisher: %" PRIu64 " published\n", next);
    for (zmsg_t *message; (message = zlist_pop (kept));)
        zmsg_destroy (&message);
    zlist_destroy (&kept);
    zpoller_destroy (&poller);
    zsock_destroy (&pub);
    zsock_destroy (&router);
    return EXIT_SUCCESS;
}
