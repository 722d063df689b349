//  SPDX-License-Identifier: MIT
//  kv_publisher.c - plays a vLLM that publishes KV events: several ranks, every wire, faults
//
//  Each rank has a PUB for its numbered batches and a ROUTER that repeats the last ones for those
//  who missed some. Rank n adds n to both ports, as in vLLM. With --connect the PUBs connect, to
//  subscribers that bind. The options below --wire inject faults, to test a subscriber.
//  Run:   build/tools/kv_publisher            (beside build/tools/kv_subscriber)
//  vLLM:  vllm/distributed/kv_events.py ZmqEventPublisher._publisher_thread
//         vllm/distributed/kv_events.py ZmqEventPublisher._service_replay
//         vllm/distributed/kv_events.py ZmqEventPublisher.offset_endpoint_port
//         Its ROUTER has a high-water mark of 2 * (buffer_steps + 1). Before v0.33 it had libzmq's
//         1000: a reader that takes a long replay slowly loses part of it, and no error tells.
//         --replay-hwm 1000 does that.

#include "lib/curve.h"
#include "lib/keepalive.h"
#include "lib/log.h"
#include "lib/options.h"
#include "kv/kv_events.h"
#include "kv/rank.h"
#include "kv/toy_cache.h"

//  How many subscriptions are read at a time, more than arrive meanwhile. The others wait in a
//  queue with a high-water mark of 1000.
#define DRAIN_MAX 10000

//  Options
typedef struct {
    const char *endpoint, *replay_endpoint, *topic, *wire_name;
    kv_wire_t wire;
    bool connect, withhold_end, every_field;
    int ranks, interval_ms, buffer_steps, buffer_mb, hwm, replay_hwm;
    int restart_after, blocks, prefill, wait_subscribers, count;
    option_range_t drop;
} settings_t;

//  The last batches, up to `steps` of them and up to max_bytes: that of number seq is at
//  payloads [seq % steps]
typedef struct {
    zframe_t **payloads;
    uint64_t steps;
    size_t bytes, max_bytes;
    uint64_t oldest;  //  The first that is kept,
    uint64_t next;    //  and the number of the next batch
} history_t;

//  One rank, which in vLLM is a process of its own
typedef struct {
    const settings_t *settings;
    char name[24];  //  "rank 1 " begins its lines; empty when there is only one
    zsock_t *pub, *router;
    history_t history;
    toy_cache_t cache;
} rank_t;

//  Makes up the next batch of a rank; returns its payload
static zframe_t *s_make (rank_t *self)
{
    return toy_cache_batch (&self->cache, self->history.next, (double) zclock_time () / 1000);
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

//  -- Sockets

//  Binds a socket, or connects it, to this rank's endpoint. False, and it is told why, when that
//  fails.
static bool s_attach (rank_t *self, zsock_t *socket, const char *endpoint, bool connect)
{
    char *own = kv_rank_endpoint (endpoint, self->cache.rank);
    bool good;
    if (connect) {
        print_summary ("connecting to %s", own);
        good = log_connected (own, zsock_connect (socket, "%s", own));
    } else {
        good = log_bound (socket, own, zsock_bind (socket, "%s", own));
    }
    zstr_free (&own);
    return good;
}

//  True when both sockets of the rank are open
static bool s_open (rank_t *self, const settings_t *settings, int number)
{
    self->settings = settings;
    self->cache = (toy_cache_t){.wire = settings->wire,
                                .rank = number,
                                .blocks = (uint32_t) settings->blocks,
                                .every_field = settings->every_field};
    if (settings->ranks > 1)
        snprintf (self->name, sizeof self->name, "rank %d ", number);
    self->history.steps = (uint64_t) settings->buffer_steps;
    self->history.max_bytes = (size_t) settings->buffer_mb << 20;
    self->history.payloads = zmalloc (self->history.steps * sizeof *self->history.payloads);
    //  A PUB does not tell who subscribes, an XPUB does
    self->pub = zsock_new (settings->wait_subscribers > 0 ? ZMQ_XPUB : ZMQ_PUB);
    if (settings->wait_subscribers > 0)
        zsock_set_xpub_verbose (self->pub,
                                1);  //  Each subscription, not only the first of its kind
    self->router = zsock_new (ZMQ_ROUTER);
    if (settings->connect)
        curve_client (self->pub);
    else
        curve_server (self->pub);
    curve_server (self->router);
    zsock_set_maxmsgsize (self->pub, MP_MAX_SMALL_FRAME);
    zsock_set_maxmsgsize (self->router, MP_MAX_SMALL_FRAME);
    keepalive_probe (self->pub);
    keepalive_probe (self->router);
    zsock_set_sndhwm (self->pub, settings->hwm);
    zsock_set_sndhwm (self->router, settings->replay_hwm);
    //  On exit, wait up to 10 s for slow subscribers to take the rest
    zsock_set_linger (self->pub, 10000);
    zsock_set_linger (self->router, 10000);
    return s_attach (self, self->pub, settings->endpoint, settings->connect) &&
           s_attach (self, self->router, settings->replay_endpoint, false);
}

static void s_close (rank_t *self)
{
    s_forget (&self->history);
    free (self->history.payloads);
    zsock_destroy (&self->pub);
    zsock_destroy (&self->router);
}

//  Receives subscriptions until there are `count`. False when a signal came first.
static bool s_wait_subscribers (zsock_t *xpub, int count)
{
    while (count > 0) {
        zmsg_t *message = zmsg_recv (xpub);
        if (!message)
            return false;
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

//  -- Replay

//  Sends a reply, or without a payload the end. Never blocks: a ROUTER drops what its peer cannot
//  take.
static void s_send_reply (rank_t *self, zframe_t *client, uint64_t seq, zframe_t *payload)
{
    const settings_t *settings = self->settings;
    kv_replay_send (self->router, client, settings->topic, seq, payload, settings->wire);
}

//  Answers one request: all kept batches from the asked number on, then the end
static void s_serve_replay (rank_t *self)
{
    const history_t *history = &self->history;
    zmsg_t *request = zmsg_recv (self->router);
    if (!request)
        return;  //  A signal came
    zframe_t *client;
    uint64_t start;
    if (!kv_replay_request_read (request, &client, &start)) {
        warn_line ("bad replay request: want 3 frames (client, empty and seq), got %zu",
                   zmsg_size (request));
        zmsg_destroy (&request);
        return;
    }
    uint64_t batches = 0, seq = start > history->oldest ? start : history->oldest;
    for (; seq < history->next && !zsys_interrupted; seq++) {
        s_send_reply (self, client, seq, history->payloads[seq % history->steps]);
        batches++;
    }
    if (!self->settings->withhold_end)
        s_send_reply (self, client, 0, NULL);
    print_line ("%sreplay from %" PRIu64 ": %" PRIu64 " batches", self->name, start, batches);
    zmsg_destroy (&request);
}

//  -- Publish

//  Publishes the next batch of a rank, unless it is one to drop, and keeps it
static void s_publish (rank_t *self)
{
    const settings_t *settings = self->settings;
    uint64_t seq = self->history.next;
    zframe_t *payload = s_make (self);
    bool dropped = settings->drop.set && seq >= settings->drop.first && seq <= settings->drop.last;
    if (!dropped)
        kv_publish (self->pub, settings->topic, seq, payload);  //  Never blocks: a PUB drops
    if (log_level != LOG_QUIET) {
        char *text = toy_cache_describe (&self->cache, seq);
        print_line ("%sseq %" PRIu64 "%s: %s", self->name, seq, dropped ? " dropped" : "", text);
        zstr_free (&text);
    }
    s_keep (&self->history, payload);
}

//  Serves replays until `due`, or takes one look when it is past
static void s_serve (rank_t *ranks, int count, zpoller_t *poller, int64_t due)
{
    int64_t left = due - zclock_mono ();
    for (int i = 0; i < count; i++)
        s_drain (ranks[i].pub);
    zsock_t *router = zpoller_wait (poller, left > 0 ? (int) left : 0);
    for (int i = 0; router && i < count; i++)
        if (ranks[i].router == router)
            s_serve_replay (&ranks[i]);
}

//  Returns how many batches were published
static int s_run (rank_t *ranks, const settings_t *settings)
{
    zpoller_t *poller = zpoller_new (NULL);
    for (int i = 0; i < settings->ranks; i++)
        zpoller_add (poller, ranks[i].router);
    int64_t due = zclock_mono () + settings->interval_ms, looked = 0;
    int steps = 0;
    while (!zsys_interrupted && (settings->count == 0 || steps < settings->count)) {
        int64_t now = zclock_mono ();
        //  With no time left it looks once a millisecond: a look takes longer than a small batch
        if (now < due || now > looked) {
            s_serve (ranks, settings->ranks, poller, due);
            looked = now;
            if (zsys_interrupted || zclock_mono () < due)
                continue;
        }
        bool restart = settings->restart_after > 0 && steps == settings->restart_after;
        if (restart)
            print_line ("restarting from 0");
        for (int i = 0; i < settings->ranks; i++) {
            if (restart)
                s_forget (&ranks[i].history);
            s_publish (&ranks[i]);
        }
        steps++;
        due += settings->interval_ms;
    }
    zpoller_destroy (&poller);
    return steps * settings->ranks;
}

static void s_read_options (settings_t *self, int argc, char **argv)
{
    const option_t options[] = {
        OPTION_BIND ("endpoint", &self->endpoint, "where subscribers connect"),
        OPTION_FLAG ("connect", &self->connect, "connect to --endpoint, for a SUB that binds"),
        OPTION_BIND ("replay-endpoint", &self->replay_endpoint, "where they ask for a replay"),
        OPTION_INT ("ranks", &self->ranks, 1, 256, "data-parallel ranks: rank n adds n to both"),
        OPTION_TEXT ("topic", &self->topic, "first frame of each message"),
        OPTION_INT ("interval-ms", &self->interval_ms, 0, 3600000, "time between batches, ms"),
        OPTION_INT ("buffer-steps", &self->buffer_steps, 1, 10000000, "batches kept for a replay"),
        OPTION_INT ("buffer-mb", &self->buffer_mb, 1, 100000, "and their size, MiB"),
        OPTION_INT ("hwm", &self->hwm, 0, INT_MAX, "messages queued per subscriber; 0: no limit"),
        OPTION_INT ("replay-hwm", &self->replay_hwm, 0, INT_MAX,
                    "the same for each reader of a replay; vLLM before v0.33: 1000"),
        OPTION_CHOICE ("wire", &self->wire_name, "v0.33|v0.26|v0.24|v0.9",
                       "release of vLLM whose format to use"),
        OPTION_FLAG ("every-field", &self->every_field,
                     "events of each kind, with all fields that this vLLM has"),
        OPTION_RANGE ("drop", &self->drop, "numbers not to publish, only to replay"),
        OPTION_INT ("restart-after", &self->restart_after, 0, INT_MAX,
                    "batches after which it restarts from 0, once; 0: never"),
        OPTION_FLAG ("withhold-end", &self->withhold_end, "never send the end of a replay"),
        OPTION_INT ("blocks", &self->blocks, 1, TOY_CACHE_MAX_BLOCKS,
                    "blocks of 16 tokens that a batch stores"),
        OPTION_INT ("prefill", &self->prefill, 0, 10000000,
                    "batches made before it starts: kept for a replay, not published"),
        OPTION_INT ("wait-subscribers", &self->wait_subscribers, 0, INT_MAX,
                    "subscriptions to wait for before the first batch"),
        OPTION_INT ("count", &self->count, 0, INT_MAX, "batches of a rank; 0: until stopped"),
        OPTION_END,
    };
    const about_t about = {
        .name = "kv_publisher",
        .purpose = "PUB + ROUTER: numbered KV events, and a replay of those that were missed",
        .example = "  build/tools/kv_publisher\n"
                   "  build/tools/kv_subscriber --replay-endpoint tcp://127.0.0.1:5657 "
                   "--from-seq 0",
        .at_risk = "KV events, which carry the token ids of prompts",
    };
    options_read (argc, argv, &about, options);
    self->wire = kv_wire_from_name (self->wire_name);
}

//  What no single option can tell: endpoints for all ranks, and whether one can connect there.
//  False, and it is told, when it is wrong.
static bool s_check (const settings_t *self)
{
    const char *endpoints[] = {self->endpoint, self->replay_endpoint};
    const char *names[] = {"endpoint", "replay-endpoint"};
    for (size_t i = 0; i < 2; i++) {
        const char *why = options_endpoint_error (endpoints[i], !self->connect || i == 1);
        char *last = kv_rank_endpoint (endpoints[i], self->ranks - 1);
        if (!why)
            why = last ? options_endpoint_error (last, true) : "not every rank has a port there";
        zstr_free (&last);
        if (why) {
            warn_line ("--%s: '%s': %s", names[i], endpoints[i], why);
            return false;
        }
    }
    return true;
}

int main (int argc, char **argv)
{
    settings_t settings = {
        .endpoint = "tcp://127.0.0.1:5557",
        .replay_endpoint = "tcp://127.0.0.1:5657",
        .topic = "kv-events",
        .wire_name = "v0.33",
        .ranks = 1,
        .interval_ms = 200,
        .buffer_steps = 10000,
        .buffer_mb = 256,  //  10000 batches of 256 blocks, our largest, are 230 MiB
        .hwm = 100000,
        .replay_hwm = 20002,  //  2 * (buffer_steps + 1), as vLLM has it
        .blocks = 1,
    };
    s_read_options (&settings, argc, argv);
    if (!s_check (&settings))
        return OPTIONS_WRONG;
    if (settings.connect && !curve_load (CURVE_CLIENT))
        return EXIT_FAILURE;

    zsys_set_max_sockets (0);  //  As many as there can be: CZMQ's limit is 1024
    rank_t *ranks = zmalloc ((size_t) settings.ranks * sizeof *ranks);
    bool ready = true;
    for (int i = 0; ready && i < settings.ranks; i++)
        ready = s_open (&ranks[i], &settings, i);
    for (int i = 0; ready && i < settings.ranks; i++)
        while (ranks[i].history.next < (uint64_t) settings.prefill && !zsys_interrupted)
            s_keep (&ranks[i].history, s_make (&ranks[i]));
    bool heard = ready;
    for (int i = 0; heard && i < settings.ranks; i++)
        heard = s_wait_subscribers (ranks[i].pub, settings.wait_subscribers);
    if (ready)
        print_summary ("%d published", heard ? s_run (ranks, &settings) : 0);
    for (int i = 0; i < settings.ranks; i++)
        s_close (&ranks[i]);
    free (ranks);
    return ready ? EXIT_SUCCESS : EXIT_STOPPED_OR_FAILED;
}
