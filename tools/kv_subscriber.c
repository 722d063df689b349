//  SPDX-License-Identifier: MIT
//  kv_subscriber.c - follows the KV events of a real vLLM: every batch once, in order, or reported
//
//  A SUB for what is published, a DEALER for what was missed. The DEALER gets a whole replay for
//  one request, which a REQ would not; it is a new one each time, so that what is left of an older
//  replay dies with its socket. A monitor tells when the SUB is cut off and when it is back: the
//  two moments at which batches go missing without a hole in the numbers. What order all this comes
//  in is the business of kv_sequence.h.
//  Run:   build/tools/kv_subscriber --replay-endpoint tcp://127.0.0.1:5657 --from-seq 0
//         (beside a vLLM, or build/tools/kv_publisher)
//  vLLM:  vllm/distributed/kv_events.py ZmqEventPublisher, which is at the other end
//         vllm/config/kv_events.py KVEventsConfig, which has its defaults

#include "lib/curve.h"
#include "lib/keepalive.h"
#include "lib/options.h"
#include "lib/log.h"
#include "lib/trace.h"
#include "kv/kv_json.h"
#include "kv/kv_sequence.h"

//  In one go a stream is served so many messages, then it is the others' turn
#define SERVE_MAX 1000

//  So many batches are received for one look at the news: a look is a system call, taking a batch
//  is none
#define RECEIVE_MAX 64

//  As many as vLLM's PUB keeps for us
#define SUB_HWM 100000

//  Ten times what vLLM keeps for a replay by default. A mark that is reached costs a part of it: of
//  what has to wait in the publisher, its ROUTER drops all beyond 1000. None at all would cost our
//  memory, if somebody sends and sends.
#define REPLAY_HWM 100000

typedef struct {
    bool json;
    const char *topic;
    bool exact_topic;
    uint64_t wanted;  //  Stop after so many batches; 0: go on
    uint64_t delivered, malformed;
    uint64_t unreadable;  //  Of the malformed, batches in their turn whose payload is no good
    int replay_timeout_ms;
    zpoller_t *poller;
    bool many;  //  More than one stream, so each line says of which
} subscriber_t;

//  One publisher, which in vLLM is one data-parallel rank
typedef struct {
    subscriber_t *all;
    const char *endpoint, *replay_endpoint;
    zsock_t *sub, *events;    //  `events`: what the monitor tells of the SUB's connections
    kv_frames_t **late;       //  Messages: from `first` to `end` received and not used yet, the
    size_t first, end, room;  //  others to receive into
    kv_frames_t *reply;       //  The same for a reply
    zsock_t *dealer;          //  NULL: no replay is under way
    int64_t deadline;         //  When the replay counts as stuck, by zclock_mono; INT64_MAX: none
    char *topic;              //  Of the newest live message; NULL: none has come
    kv_sequence_t *sequence;
} stream_t;

//  With nobody to read them, batches are not for us to take
static bool s_is_done (const subscriber_t *all)
{
    return zsys_interrupted || ferror (stdout) ||
           (all->wanted > 0 && all->delivered >= all->wanted);
}

//  Our endpoint, for lines that have to say of which stream they are
static const char *s_name (const stream_t *self)
{
    return self->all->many ? self->endpoint : NULL;
}

//  The three below are what a reader gets to see: JSON objects for a program, or lines for people

static void s_notice (void *owner, kv_notice_t notice, uint64_t first, uint64_t last)
{
    const stream_t *self = owner;
    const char *name = kv_notice_name (notice), *meaning = kv_notice_meaning (notice);
    char *text = first == last
                     ? zsys_sprintf ("%s %" PRIu64 ": %s", name, first, meaning)
                     : zsys_sprintf ("%s %" PRIu64 "-%" PRIu64 ": %s", name, first, last, meaning);
    if (self->all->json && log_level != LOG_QUIET)
        kv_notice_print_json (stdout, name, s_name (self), first, last, meaning);
    else
        print_line ("%s", text);
    trace_note ("%s", text);
    zstr_free (&text);
}

//  Counts and reports what cannot be read: batch `seq`, or a message of no number, KV_SEQ_END
static void s_malformed (stream_t *self, const char *what, uint64_t seq, const mp_error_t *error)
{
    uint64_t last = seq == KV_SEQ_END ? 0 : seq;  //  Below `seq`: about no batch
    self->all->malformed++;
    warn_line ("bad %s from %s: %s", what, self->endpoint, error->text);
    if (self->all->json && log_level != LOG_QUIET)
        kv_notice_print_json (stdout, "malformed", s_name (self), seq, last, error->text);
}

//  The batch whose turn it is
static void s_deliver (void *owner, const kv_numbered_t *batch)
{
    stream_t *self = owner;
    subscriber_t *all = self->all;
    if (all->wanted > 0 && all->delivered >= all->wanted)
        return;  //  More came at once than was wanted
    bool readable;
    mp_error_t error;
    if (all->json && log_level != LOG_QUIET) {
        kv_numbered_t named = *batch;
        //  A replay of before v0.26: its topic is what live ones have, or else what we subscribe to
        const char *topic = self->topic ? self->topic : *all->topic ? all->topic : NULL;
        if (!named.topic.data && topic)
            named.topic = (mp_slice_t){topic, strlen (topic)};
        readable = kv_batch_print_json (stdout, &named, s_name (self), &error);
    } else {
        kv_batch_t *read = kv_batch_decode (batch->payload, &error);
        readable = read != NULL;
        if (readable && log_level != LOG_QUIET) {
            char *text = kv_batch_describe (read);
            print_line ("%s%sseq %" PRIu64 "%s: %s", all->many ? self->endpoint : "",
                        all->many ? " " : "", batch->seq, batch->replayed ? " replayed" : "",
                        text ? text : "");
            zstr_free (&text);
        }
        kv_batch_destroy (&read);
    }
    if (readable) {
        all->delivered++;
    } else {
        all->unreadable++;
        s_malformed (self, "batch", batch->seq, &error);
    }
}

//  False for a topic that only begins like ours
static bool s_is_our_topic (const subscriber_t *all, mp_slice_t topic)
{
    return !all->exact_topic || !topic.data ||
           (topic.size == strlen (all->topic) && memcmp (topic.data, all->topic, topic.size) == 0);
}

//  -- Sockets

static void s_close_replay (stream_t *self)
{
    self->deadline = INT64_MAX;
    if (!self->dealer)
        return;
    zpoller_remove (self->all->poller, self->dealer);
    zsock_destroy (&self->dealer);
    print_progress (NULL);
}

//  Does about replays what the sequence wants done
static void s_follow (stream_t *self)
{
    uint64_t start;
    kv_replay_t replay = kv_sequence_replay (self->sequence, &start);
    if (replay != KV_REPLAY_RUNNING)
        s_close_replay (self);
    if (replay != KV_REPLAY_ASK)
        return;
    self->dealer = zsock_new (ZMQ_DEALER);
    curve_client (self->dealer);
    zsock_set_maxmsgsize (self->dealer, MP_MAX_FRAME);
    zsock_set_rcvtimeo (self->dealer, 0);  //  As with the SUB
    zsock_set_rcvhwm (self->dealer, REPLAY_HWM);
    self->deadline = zclock_mono () + self->all->replay_timeout_ms;
    if (!log_connected (self->replay_endpoint,
                        zsock_connect (self->dealer, "%s", self->replay_endpoint))) {
        zsock_destroy (&self->dealer);
        return;  //  Comes to a timeout
    }
    zpoller_add (self->all->poller, self->dealer);
    zmsg_t *request = kv_replay_request (start);
    zmsg_pushmem (request, NULL, 0);  //  The empty frame that vLLM's ROUTER wants
    log_send ("publisher", self->dealer, request);
    zmsg_send (&request, self->dealer);
    zmsg_destroy (&request);  //  NULL by now, unless a signal came
}

static void s_serve_live (stream_t *self, kv_frames_t *message)
{
    kv_numbered_t batch;
    mp_error_t error;
    if (!kv_frames_read (message, false, &batch, &error)) {
        s_malformed (self, "message", KV_SEQ_END, &error);
    } else if (!s_is_our_topic (self->all, batch.topic)) {
        //  Not for us: another publisher's, with numbers of its own
    } else {
        if (!self->topic || strlen (self->topic) != batch.topic.size ||
            memcmp (self->topic, batch.topic.data, batch.topic.size) != 0) {
            zstr_free (&self->topic);
            self->topic = strndup (batch.topic.data, batch.topic.size);
        }
        kv_sequence_live (self->sequence, &batch);
    }
    kv_frames_clear (message);
    s_follow (self);
}

static bool s_has_input (const stream_t *self, zsock_t *socket)
{
    return !s_is_done (self->all) && (zsock_events (socket) & ZMQ_POLLIN);
}

//  False when nothing is there
static bool s_recv (zsock_t *socket, kv_frames_t *message)
{
    zmsg_t *copy = log_frames () ? zmsg_new () : NULL;
    bool there = kv_frames_recv (message, socket, copy);
    if (there && copy)
        log_recv ("publisher", socket, copy);
    zmsg_destroy (&copy);
    return there;
}

//  Receives what is there to be used later, up to RECEIVE_MAX messages; or one whose frames are
//  shown, as that is done here. False when there is none.
static bool s_receive (stream_t *self)
{
    size_t end = self->end, most = end + (log_frames () ? 1 : RECEIVE_MAX);
    if (most > self->room) {
        self->late = realloc (self->late, 2 * most * sizeof *self->late);
        assert (self->late);
        for (; self->room < 2 * most; self->room++)
            self->late[self->room] = NULL;
    }
    for (; self->end < most; self->end++) {
        kv_frames_t **into = &self->late[self->end];
        if (!*into)
            *into = kv_frames_new ();
        if (!s_recv (self->sub, *into))
            break;
    }
    return self->end > end;
}

//  The SUB has been cut off, or is connected again
static void s_serve_event (stream_t *self)
{
    zmsg_t *message = zmsg_recv (self->events);
    if (!message)
        return;
    uint16_t event;  //  The first two bytes; see zmq_socket_monitor(3)
    memcpy (&event, zframe_data (zmsg_first (message)), sizeof event);
    curve_event (self->sub, message);
    zmsg_destroy (&message);
    if (event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED) {
        kv_sequence_connected (self->sequence);
    } else if (event == ZMQ_EVENT_DISCONNECTED) {
        kv_sequence_disconnected (self->sequence);
        //  Takes out all that it has brought, before there is a new connection, in 100 ms or later.
        //  With --bind others may go on sending: so no more than a SUB can have had.
        bool drained = false;
        while (self->end < SUB_HWM && !(drained = !s_receive (self)) &&
               !s_has_input (self, self->events))
            ;
        if (drained && !s_has_input (self, self->events))
            kv_sequence_drained (self->sequence);
    }
    s_follow (self);
}

//  False when there is no reply
static bool s_serve_replay (stream_t *self)
{
    kv_frames_t *reply = self->reply;
    kv_numbered_t batch;
    mp_error_t error;
    if (!s_recv (self->dealer, reply))
        return false;
    if (!kv_frames_read (reply, true, &batch, &error)) {
        s_malformed (self, "reply", KV_SEQ_END, &error);
    } else if (batch.seq == KV_SEQ_END) {
        kv_sequence_end (self->sequence);
    } else if (!s_is_our_topic (self->all, batch.topic)) {
        //  Not for us: another publisher's, with numbers of its own
    } else if (kv_sequence_reply (self->sequence, &batch)) {
        print_progress ("replay: at seq %" PRIu64, batch.seq);
        self->deadline = zclock_mono () + self->all->replay_timeout_ms;
    }
    kv_frames_clear (reply);
    s_follow (self);
    return true;
}

//  All that has come by now, up to SERVE_MAX of each kind. What a connection brings comes after the
//  news of it. So the news is looked at between receiving batches and using them.
static void s_serve (stream_t *self)
{
    int left = SERVE_MAX;
    bool drained = false;
    while (!drained && left > 0 && !s_is_done (self->all)) {
        if (self->first == self->end) {
            self->first = self->end = 0;
            drained = !s_receive (self);
            for (; s_has_input (self, self->events); drained = false)
                s_serve_event (self);
        }
        for (; left > 0 && !s_is_done (self->all) && self->first < self->end; left--)
            s_serve_live (self, self->late[self->first++]);
    }
    if (drained) {
        kv_sequence_drained (self->sequence);
        s_follow (self);
    }
    for (left = SERVE_MAX; left > 0 && self->dealer && !s_is_done (self->all); left--)
        if (!s_serve_replay (self))
            break;
    if (!s_is_done (self->all) && zclock_mono () >= self->deadline) {
        kv_sequence_timeout (self->sequence);
        s_follow (self);
    }
}

//  False when an endpoint is no good
static bool s_open (stream_t *self, size_t number, bool bind, const kv_sequence_limits_t *limits)
{
    kv_sequence_limits_t own = *limits;
    own.can_replay = self->replay_endpoint != NULL;
    kv_sequence_handler_t handler = {.deliver = s_deliver, .notice = s_notice, .owner = self};
    self->sequence = kv_sequence_new (&own, &handler);
    self->reply = kv_frames_new ();
    self->sub = zsock_new (ZMQ_SUB);
    if (bind)
        curve_server (self->sub);
    else
        curve_client (self->sub);
    zsock_set_rcvtimeo (self->sub, 0);  //  A receive does not wait: the poller does
    zsock_set_maxmsgsize (self->sub, MP_MAX_FRAME);
    zsock_set_rcvhwm (self->sub, SUB_HWM);
    keepalive_probe (self->sub);  //  A publisher whose machine has vanished is missed after 12 s
    zsock_set_subscribe (self->sub, self->all->topic);

    char where[64];
    snprintf (where, sizeof where, "inproc://sub-events-%zu", number);
    zmq_socket_monitor (zsock_resolve (self->sub), where,
                        ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED | CURVE_EVENTS);
    self->events = zsock_new (ZMQ_PAIR);
    zsock_connect (self->events, "%s", where);
    zpoller_add (self->all->poller, self->sub);
    zpoller_add (self->all->poller, self->events);
    if (bind)
        return log_bound (self->sub, self->endpoint, zsock_bind (self->sub, "%s", self->endpoint));
    print_line ("kv_subscriber: subscribed to \"%s\" at %s", self->all->topic, self->endpoint);
    if (!log_connected (self->endpoint, zsock_connect (self->sub, "%s", self->endpoint)))
        return false;
    trace_subscribe ("publisher", self->sub, self->all->topic);
    return true;
}

static void s_close (stream_t *self)
{
    s_close_replay (self);
    kv_sequence_destroy (&self->sequence);
    zstr_free (&self->topic);
    for (size_t i = 0; i < self->room; i++)
        kv_frames_destroy (&self->late[i]);
    free (self->late);
    kv_frames_destroy (&self->reply);
    //  No more events, or libzmq's I/O thread might wait for ever for somebody to take one
    zmq_socket_monitor (zsock_resolve (self->sub), NULL, 0);
    zsock_destroy (&self->events);
    zsock_destroy (&self->sub);
}

//  -1, or how many ms it is to the first replay that counts as stuck; 0 when there is work left
static int s_patience (const stream_t *streams, size_t count)
{
    int64_t least = -1;
    for (size_t i = 0; i < count; i++) {
        if (streams[i].first < streams[i].end)
            return 0;
        int64_t left = streams[i].deadline - zclock_mono ();
        if (streams[i].deadline != INT64_MAX && (least == -1 || left < least))
            least = left > 0 ? left : 0;
    }
    return (int) least;
}

static void s_say_summary (const subscriber_t *all, const stream_t *streams, size_t count)
{
    kv_sequence_counts_t sum = {.received = 0};
    for (size_t i = 0; i < count; i++) {
        const kv_sequence_counts_t *counts = kv_sequence_counts (streams[i].sequence);
        sum.received += counts->received;
        sum.replayed += counts->replayed;
        sum.duplicates += counts->duplicates;
        sum.gaps += counts->gaps;
        sum.lost += counts->lost;
        sum.restarts += counts->restarts;
    }
    print_summary ("%" PRIu64 " received, %" PRIu64 " delivered, %" PRIu64 " replayed, %" PRIu64
                   " duplicates, %" PRIu64 " gaps, %" PRIu64 " lost, %" PRIu64
                   " malformed, %" PRIu64 " restarts",
                   sum.received - all->unreadable, all->delivered, sum.replayed, sum.duplicates,
                   sum.gaps, sum.lost, all->malformed, sum.restarts);
}

int main (int argc, char **argv)
{
    option_list_t endpoints = {.fallback = "tcp://127.0.0.1:5557"}, replay_endpoints = {.count = 0};
    subscriber_t all = {.topic = ""};
    uint64_t from_seq = KV_FROM_LIVE;
    bool bind = false;
    int count = 0, max_held = 10000, max_held_mb = 64;
    //  An idle vLLM answers one request each 100 ms, and there may be thirty who have asked
    all.replay_timeout_ms = 3000;
    const option_t options[] = {
        OPTION_ENDPOINTS ("endpoint", &endpoints, "a vLLM's PUB, one for each rank"),
        OPTION_ENDPOINTS ("replay-endpoint", &replay_endpoints, "their ROUTERs, in the same order"),
        OPTION_FLAG ("bind", &bind, "bind --endpoint, for a PUB that connects"),
        OPTION_TEXT ("topic", &all.topic, "what messages must begin with; \"\": anything"),
        OPTION_FLAG ("exact-topic", &all.exact_topic, "the topic must be just that"),
        OPTION_FROM ("from-seq", &from_seq, "number to start with; live: what comes first"),
        OPTION_INT ("replay-timeout-ms", &all.replay_timeout_ms, 1, 3600000,
                    "a replay that is silent for so long is asked for again, ms"),
        OPTION_INT ("max-held", &max_held, 1, 10000000, "batches held back during a replay"),
        OPTION_INT ("max-held-mb", &max_held_mb, 1, 100000, "and their size, MiB"),
        OPTION_FLAG ("json", &all.json, "one JSON object a line on stdout, the rest on stderr"),
        OPTION_INT ("count", &count, 0, INT_MAX, "batches to deliver; 0: until stopped"),
        OPTION_END,
    };
    const about_t about = {
        .name = "kv_subscriber",
        .purpose = "SUB + DEALER: follows a vLLM's KV events, every batch once and in order",
        .example = "  build/tools/kv_publisher\n"
                   "  build/tools/kv_subscriber --replay-endpoint tcp://127.0.0.1:5657 "
                   "--from-seq 0",
        .at_risk = "what it takes for KV events",
    };
    options_read (argc, argv, &about, options);
    for (size_t i = 0; i < endpoints.count; i++) {
        const char *why = options_endpoint_error (endpoints.items[i], bind);
        if (why) {
            warn_line ("--endpoint: '%s': %s", endpoints.items[i], why);
            return OPTIONS_WRONG;
        }
    }
    for (size_t i = 0; i < replay_endpoints.count; i++) {
        const char *why = i >= endpoints.count
                              ? "it has no --endpoint"
                              : options_endpoint_error (replay_endpoints.items[i], false);
        if (why) {
            warn_line ("--replay-endpoint: '%s': %s", replay_endpoints.items[i], why);
            return OPTIONS_WRONG;
        }
    }
    bool connects = !bind || replay_endpoints.count > 0;
    if ((bind && !curve_load (CURVE_SERVER)) || (connects && !curve_load (CURVE_CLIENT)))
        return EXIT_FAILURE;
    //  A closed socket counts until libzmq's reaper has it, and each replay has one of its own.
    //  With CZMQ's limit of 1024 who makes us ask and ask could end the program.
    zsys_set_max_sockets (0);
    if (all.json)
        log_out = stderr;
    all.wanted = (uint64_t) count;
    all.many = endpoints.count > 1;
    all.poller = zpoller_new (NULL, NULL);
    kv_sequence_limits_t limits = {.from_seq = from_seq,
                                   .max_held = (size_t) max_held,
                                   .max_bytes = (size_t) max_held_mb << 20};

    stream_t streams[OPTION_LIST_MAX];
    bool ok = true;
    for (size_t i = 0; i < endpoints.count; i++) {
        streams[i] = (stream_t){.all = &all, .endpoint = endpoints.items[i], .deadline = INT64_MAX};
        if (i < replay_endpoints.count)
            streams[i].replay_endpoint = replay_endpoints.items[i];
        ok = s_open (&streams[i], i, bind, &limits) && ok;
    }
    while (ok && !s_is_done (&all)) {
        zpoller_wait (all.poller, s_patience (streams, endpoints.count));
        for (size_t i = 0; i < endpoints.count && !s_is_done (&all); i++)
            s_serve (&streams[i]);
    }
    for (size_t i = 0; i < endpoints.count && zsys_interrupted; i++)
        kv_sequence_flush (streams[i].sequence);
    if (ok)
        s_say_summary (&all, streams, endpoints.count);
    for (size_t i = 0; i < endpoints.count; i++)
        s_close (&streams[i]);
    zpoller_destroy (&all.poller);
    return ok ? EXIT_SUCCESS : EXIT_STOPPED_OR_FAILED;
}
