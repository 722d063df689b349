//  SPDX-License-Identifier: MIT
//  replay_publisher.c - PUB numbers its messages, and a ROUTER repeats those that somebody missed
//
//  A PUB drops what a subscriber is too late or too slow for, and says nothing. So each message has
//  a number, the last ones are kept, and who finds a hole in the numbers asks the ROUTER to fill
//  it.
//  Run:   build/pub_sub/replay_publisher            (beside build/pub_sub/replay_subscriber)
//  vLLM:  vllm/distributed/kv_events.py ZmqEventPublisher._publisher_thread
//         vllm/distributed/kv_events.py ZmqEventPublisher._service_replay
//         It also leaves the ROUTER at libzmq's mark of 1000 messages: a reader that is slow to
//         take a long replay loses part of it, without a word. So do we, without --replay-hwm.

#include "lib/curve.h"
#include "lib/keepalive.h"
#include "lib/options.h"
#include "lib/log.h"
#include "lib/trace.h"
#include "kv/kv_events.h"
#include "kv/toy_cache.h"

//  So many subscriptions are read in one go, which is more than come in meanwhile: what is not read
//  waits behind a mark of 1000
#define DRAIN_MAX 10000

//  The last batches, up to `steps` of them and up to max_bytes: that of number seq is at
//  payloads [seq % steps]
typedef struct {
    zframe_t **payloads;
    uint64_t steps;
    size_t bytes, max_bytes;
    uint64_t oldest;  //  The first that is kept,
    uint64_t next;    //  and the number of the next batch
} history_t;

//  How the end of a replay misbehaves, for subscribers to be tried out
typedef struct {
    bool withheld;
    int delay_ms;
} end_t;

//  Makes batch `seq` up; returns its payload
static zframe_t *s_make (toy_cache_t *cache, uint64_t seq, uint32_t blocks, kv_wire_t wire)
{
    toy_cache_fill (cache, 0, seq, blocks, (double) zclock_time () / 1000);
    return kv_batch_encode (&cache->batch, wire);
}

static void s_drop_oldest (history_t *self)
{
    zframe_t **payload = &self->payloads[self->oldest++ % self->steps];
    self->bytes -= zframe_size (*payload);
    zframe_destroy (payload);
}

//  Takes the payload over as that of the next batch. The oldest make room.
static void s_keep (history_t *self, zframe_t *payload)
{
    self->bytes += zframe_size (payload);
    while (self->oldest < self->next &&
           (self->next - self->oldest == self->steps || self->bytes > self->max_bytes))
        s_drop_oldest (self);
    self->payloads[self->next++ % self->steps] = payload;
}

static void s_forget (history_t *self)
{
    while (self->oldest < self->next)
        s_drop_oldest (self);
    self->oldest = self->next = 0;
}

//  Sends a reply, or without a payload the end. Never blocks: a ROUTER drops what its peer cannot
//  take.
static void s_send_reply (zsock_t *router, zframe_t *client, const char *topic, uint64_t seq,
                          zframe_t *payload, kv_wire_t wire)
{
    if (log_frames ()) {
        zmsg_t *reply = kv_replay_reply (client, topic, seq, payload, wire);
        log_send ("subscriber", router, reply);
        zmsg_destroy (&reply);
    }
    kv_replay_send (router, client, topic, seq, payload, wire);
}

//  Answers one request: all kept batches from the asked number on, then the end
static void s_serve_replay (zsock_t *router, const history_t *history, const char *topic,
                            kv_wire_t wire, const end_t *how)
{
    zmsg_t *request = zmsg_recv (router);
    if (!request)
        return;  //  A signal came
    log_recv ("subscriber", router, request);
    zframe_t *client;
    uint64_t start;
    if (!kv_replay_request_read (request, &client, &start)) {
        warn_line ("bad replay request: want client, empty and seq, got %zu frames",
                   zmsg_size (request));
        zmsg_destroy (&request);
        return;
    }
    uint64_t batches = 0, seq = start > history->oldest ? start : history->oldest;
    for (; seq < history->next && !zsys_interrupted; seq++) {
        zframe_t *payload = history->payloads[seq % history->steps];
        s_send_reply (router, client, topic, seq, payload, wire);
        batches++;
    }
    zclock_sleep (how->delay_ms);  //  Nobody is served meanwhile, as in a vLLM that is busy
    if (!how->withheld)
        s_send_reply (router, client, topic, 0, NULL, wire);
    print_line ("replay from %" PRIu64 ": %" PRIu64 " batches", start, batches);
    zmsg_destroy (&request);
}

//  Receives subscriptions until there are `count`. False when a signal came first.
static bool s_wait_subscribers (zsock_t *xpub, int count)
{
    while (count > 0) {
        zmsg_t *message = zmsg_recv (xpub);
        if (!message)
            return false;
        log_recv ("subscriber", xpub, message);
        zframe_t *frame = zmsg_first (message);  //  01 and the topic; 00 from one who leaves
        if (zframe_size (frame) > 0 && zframe_data (frame)[0] <= 1)
            count += zframe_data (frame)[0] ? -1 : 1;
        zmsg_destroy (&message);
    }
    return true;
}

//  Drops what subscribers say later: an XPUB keeps it until it is read. A PUB has nothing to read.
static void s_drain (zsock_t *pub)
{
    for (int left = DRAIN_MAX; left > 0 && zsock_events (pub) & ZMQ_POLLIN; left--) {
        zmsg_t *message = zmsg_recv (pub);
        zmsg_destroy (&message);
    }
}

int main (int argc, char **argv)
{
    const char *endpoint = "tcp://127.0.0.1:5557", *replay_endpoint = "tcp://127.0.0.1:5657";
    const char *topic = "kv-events", *wire_name = "v0.26";
    int interval_ms = 200, buffer_steps = 10000, hwm = 100000, replay_hwm = 1000;
    int count = 0, restart_after = 0, blocks = 1, prefill = 0, wait_subscribers = 0;
    int buffer_mb = 256;  //  10000 batches of 256 blocks, our largest, are 230 MiB
    option_range_t drop = {.set = false};
    end_t end = {.withheld = false};
    const option_t options[] = {
        OPTION_BIND ("endpoint", &endpoint, "where subscribers connect"),
        OPTION_BIND ("replay-endpoint", &replay_endpoint, "where they ask for a replay"),
        OPTION_TEXT ("topic", &topic, "first frame of each message"),
        OPTION_INT ("interval-ms", &interval_ms, 0, 3600000, "time between batches, ms"),
        OPTION_INT ("buffer-steps", &buffer_steps, 1, 10000000, "batches kept for a replay"),
        OPTION_INT ("buffer-mb", &buffer_mb, 1, 100000, "and their size, MiB"),
        OPTION_INT ("hwm", &hwm, 0, INT_MAX, "messages queued per subscriber; 0: no limit"),
        OPTION_INT ("replay-hwm", &replay_hwm, 0, INT_MAX,
                    "likewise for each that wants a replay; vLLM leaves libzmq's 1000"),
        OPTION_CHOICE ("wire", &wire_name, "v0.26|v0.24|v0.9", "as which vLLM to speak"),
        OPTION_RANGE ("drop", &drop, "numbers not to publish, only to replay"),
        OPTION_INT ("restart-after", &restart_after, 0, INT_MAX,
                    "batches, then it starts anew from 0, once; 0: never"),
        OPTION_FLAG ("withhold-end", &end.withheld, "never send the end of a replay"),
        OPTION_INT ("end-delay-ms", &end.delay_ms, 0, 600000, "be busy before that end, ms"),
        OPTION_INT ("blocks", &blocks, 1, TOY_CACHE_MAX_BLOCKS,
                    "blocks of 16 tokens that a batch stores"),
        OPTION_INT ("prefill", &prefill, 0, 10000000,
                    "batches made before it starts: kept for a replay, not published"),
        OPTION_INT ("wait-subscribers", &wait_subscribers, 0, INT_MAX,
                    "subscriptions to wait for before the first batch"),
        OPTION_INT ("count", &count, 0, INT_MAX, "batches to publish; 0: until stopped"),
        OPTION_END,
    };
    const about_t about = {
        .name = "replay_publisher",
        .purpose = "PUB + ROUTER: numbered KV events, and a replay of those that were missed",
        .example = "  build/pub_sub/replay_publisher\n"
                   "  build/pub_sub/replay_subscriber --skip 3-6 --count 12",
        .at_risk = "KV events, which carry the token ids of prompts",
    };
    options_read (argc, argv, &about, options);
    kv_wire_t wire = kv_wire_from_name (wire_name);

    //  A PUB does not tell who subscribes, an XPUB does
    zsock_t *pub = zsock_new (wait_subscribers > 0 ? ZMQ_XPUB : ZMQ_PUB);
    if (wait_subscribers > 0)
        zsock_set_xpub_verbose (pub, 1);  //  Each subscription, not only the first of its kind
    zsock_t *router = zsock_new (ZMQ_ROUTER);
    curve_server (pub);
    curve_server (router);
    zsock_set_maxmsgsize (pub, MP_MAX_SMALL_FRAME);
    zsock_set_maxmsgsize (router, MP_MAX_SMALL_FRAME);
    //  Not in vLLM: a subscriber whose machine has vanished is missed after 12 s, and so is one
    //  that takes nothing for so long
    keepalive_probe (pub);
    keepalive_probe (router);
    zsock_set_sndhwm (pub, hwm);
    zsock_set_sndhwm (router, replay_hwm);
    //  Slow subscribers get so many ms to take the rest when we exit
    zsock_set_linger (pub, 10000);
    zsock_set_linger (router, 10000);
    if (!log_bound (pub, endpoint, zsock_bind (pub, "%s", endpoint)) ||
        !log_bound (router, replay_endpoint, zsock_bind (router, "%s", replay_endpoint))) {
        zsock_destroy (&pub);
        zsock_destroy (&router);
        return EXIT_STOPPED_OR_FAILED;
    }

    history_t history = {.steps = (uint64_t) buffer_steps, .max_bytes = (size_t) buffer_mb << 20};
    history.payloads = zmalloc (history.steps * sizeof *history.payloads);
    toy_cache_t cache;
    while (history.next < (uint64_t) prefill && !zsys_interrupted)
        s_keep (&history, s_make (&cache, history.next, (uint32_t) blocks, wire));
    bool ready = s_wait_subscribers (pub, wait_subscribers);
    zpoller_t *poller = zpoller_new (router, NULL);
    int64_t due = zclock_mono () + interval_ms, looked = 0;
    int published = 0;
    while (ready && !zsys_interrupted && (count == 0 || published < count)) {
        int64_t now = zclock_mono (), left = due - now;
        //  With no time left it looks once a millisecond: a look takes longer than a small batch
        if (left > 0 || now > looked) {
            s_drain (pub);
            if (zpoller_wait (poller, left > 0 ? (int) left : 0))
                s_serve_replay (router, &history, topic, wire, &end);
        }
        looked = now;
        if (zsys_interrupted || zclock_mono () < due)
            continue;
        if (restart_after > 0 && published == restart_after) {
            s_forget (&history);
            print_note ("starting anew");
        }

        zframe_t *payload = s_make (&cache, history.next, (uint32_t) blocks, wire);
        bool dropped = drop.set && history.next >= drop.first && history.next <= drop.last;
        if (!dropped && log_frames ()) {
            zmsg_t *message = kv_message (topic, history.next, payload);
            log_send ("subscriber", pub, message);
            zmsg_destroy (&message);
        }
        if (!dropped)
            kv_publish (pub, topic, history.next, payload);  //  Never blocks: a PUB drops instead
        else
            trace_note ("seq %" PRIu64 " is not published", history.next);
        if (log_level != LOG_QUIET) {
            char *text = kv_batch_describe (&cache.batch);
            print_line ("seq %" PRIu64 "%s: %s", history.next, dropped ? " dropped" : "", text);
            zstr_free (&text);
        }
        s_keep (&history, payload);
        published++;
        due += interval_ms;
    }
    print_summary ("%d published", published);
    s_forget (&history);
    free (history.payloads);
    zpoller_destroy (&poller);
    zsock_destroy (&pub);
    zsock_destroy (&router);
    return EXIT_SUCCESS;
}
