//  SPDX-License-Identifier: MIT
//  replay_subscriber.c - Demo 3: SUB finds the holes in the numbers, and asks a ROUTER to fill them
//
//  One request is answered by many replies, and here is the trap: a REQ takes one reply and never
//  sees the others. So with --replay-socket req each missing batch costs a request, and a new REQ;
//  with dealer one request brings all. What order the batches come in is the business of
//  kv_sequence.h.
//  Run:   build/pub_sub/replay_subscriber --skip 3-6   (beside build/pub_sub/replay_publisher)
//  vLLM:  examples/features/kv_events/kv_events_subscriber.py main, which has a REQ for this
//         tests/distributed/conftest.py MockSubscriber, which was changed to a DEALER

#include "lib/curve.h"
#include "lib/keepalive.h"
#include "lib/options.h"
#include "lib/log.h"
#include "lib/trace.h"
#include "kv/kv_events.h"
#include "kv/kv_sequence.h"

//  A replay may wait for the publisher's next batch (in vLLM up to 100 ms), not much longer
#define REPLAY_TIMEOUT_MS 2000

typedef struct {
    const char *replay_endpoint;
    bool by_dealer;
    uint64_t wanted;  //  Stop after so many batches; 0: go on
    uint64_t received;
    int bad;
    kv_sequence_t *sequence;
} subscriber_t;

static bool s_is_done (const subscriber_t *self)
{
    return zsys_interrupted || (self->wanted > 0 && self->received >= self->wanted);
}

//  The batch whose turn it is
static void s_deliver (void *owner, const kv_numbered_t *numbered)
{
    subscriber_t *self = owner;
    if (s_is_done (self))
        return;  //  More came at once than was wanted
    mp_error_t error;
    kv_batch_t *batch = kv_batch_decode (numbered->payload, &error);
    if (!batch) {
        warn_line ("seq %" PRIu64 ": bad batch: %s", numbered->seq, error.text);
        self->bad++;
    }
    char *text = batch ? kv_batch_describe (batch) : NULL;
    print_line ("seq %" PRIu64 "%s: %s", numbered->seq, numbered->replayed ? " replayed" : "",
                text ? text : "unreadable");
    zstr_free (&text);
    kv_batch_destroy (&batch);
    self->received++;
}

static void s_notice (void *owner, kv_notice_t notice, uint64_t first, uint64_t last)
{
    (void) owner;
    if (notice == KV_GAP)
        print_note ("missed %" PRIu64 "-%" PRIu64 ", asking for replay", first, last);
    else if (notice == KV_HISTORY_LOST || notice == KV_LOST)
        warn_line ("lost %" PRIu64 "-%" PRIu64 ": %s", first, last, kv_notice_meaning (notice));
    else if (notice == KV_RESTART)
        print_note ("%s", kv_notice_meaning (notice));
    else if (notice == KV_REPLAY_TIMEOUT)
        trace_note ("%s", kv_notice_meaning (notice));
}

//  A new socket with a request for all from `start` on. New for each request, so that what is left
//  of an older replay dies with its socket. NULL when the endpoint is no good.
static zsock_t *s_ask (const subscriber_t *self, uint64_t start)
{
    zsock_t *socket = zsock_new (self->by_dealer ? ZMQ_DEALER : ZMQ_REQ);
    curve_client (socket);
    zsock_set_maxmsgsize (socket, MP_MAX_FRAME);
    zsock_set_rcvhwm (socket, 100000);  //  Ten times what vLLM keeps: of what has to wait in the
                                        //  publisher, its ROUTER drops all beyond 1000 messages
    zsock_set_rcvtimeo (socket, REPLAY_TIMEOUT_MS);
    if (!log_connected (self->replay_endpoint,
                        zsock_connect (socket, "%s", self->replay_endpoint))) {
        zsock_destroy (&socket);
        return NULL;
    }
    zmsg_t *request = kv_replay_request (start);
    if (self->by_dealer)
        zmsg_pushmem (request, NULL, 0);  //  The empty frame that a REQ adds by itself
    log_send ("publisher", socket, request);
    zmsg_send (&request, socket);
    zmsg_destroy (&request);  //  NULL by now, unless a signal came
    return socket;
}

//  Gets what is missing, if anything is
static void s_recover (subscriber_t *self)
{
    zsock_t *socket = NULL;
    uint64_t start;
    kv_replay_t replay;
    while (!s_is_done (self) &&
           (replay = kv_sequence_replay (self->sequence, &start)) != KV_REPLAY_NONE) {
        if (replay == KV_REPLAY_ASK) {
            zsock_destroy (&socket);
            socket = s_ask (self, start);
        }
        zmsg_t *reply = socket ? zmsg_recv (socket) : NULL;
        if (!reply) {
            if (!zsys_interrupted)
                kv_sequence_timeout (self->sequence);
            continue;
        }
        log_recv ("publisher", socket, reply);
        kv_numbered_t batch;
        mp_error_t error;
        bool end = !self->by_dealer;  //  There are more replies, but a REQ is done after one
        if (!kv_replay_reply_read (reply, &batch, &error)) {
            warn_line ("bad reply: %s", error.text);
            self->bad++;
        } else if (batch.seq == KV_SEQ_END) {
            end = true;
        } else {
            print_progress ("replay: at seq %" PRIu64, batch.seq);
            kv_sequence_reply (self->sequence, &batch);
        }
        if (end)
            kv_sequence_end (self->sequence);
        zmsg_destroy (&reply);
    }
    zsock_destroy (&socket);
    print_progress (NULL);
}

int main (int argc, char **argv)
{
    const char *endpoint = "tcp://127.0.0.1:5557", *topic = "kv-events", *replay_socket = "req";
    subscriber_t self = {.replay_endpoint = "tcp://127.0.0.1:5657"};
    option_range_t skip = {.set = false};
    kv_sequence_limits_t limits = {.can_replay = true, .max_held = 1, .max_bytes = SIZE_MAX};
    int count = 0;
    const option_t options[] = {
        OPTION_CONNECT ("endpoint", &endpoint, "where the publisher listens"),
        OPTION_CONNECT ("replay-endpoint", &self.replay_endpoint, "where it repeats"),
        OPTION_TEXT ("topic", &topic, "what messages must begin with"),
        OPTION_CHOICE ("replay-socket", &replay_socket, "req|dealer", "what to ask with"),
        OPTION_RANGE ("skip", &skip, "pretend to have missed these numbers"),
        OPTION_FROM ("from-seq", &limits.from_seq, "number to start with; live: what comes first"),
        OPTION_INT ("count", &count, 0, INT_MAX, "batches to receive; 0: until stopped"),
        OPTION_END,
    };
    const about_t about = {
        .name = "replay_subscriber",
        .purpose = "SUB: prints numbered KV events, and asks for those that it missed",
        .example = "  build/pub_sub/replay_publisher\n"
                   "  build/pub_sub/replay_subscriber --skip 3-6 --count 12",
    };
    options_read (argc, argv, &about, options);
    self.by_dealer = streq (replay_socket, "dealer");
    self.wanted = (uint64_t) count;

    zsock_t *sub = zsock_new (ZMQ_SUB);
    curve_client (sub);
    zsock_set_maxmsgsize (sub, MP_MAX_FRAME);
    keepalive_probe (sub);           //  A publisher whose machine has vanished is missed after 12 s
    zsock_set_rcvhwm (sub, 100000);  //  Live batches wait here while a replay goes on
    zsock_set_subscribe (sub, topic);
    if (!log_connected (endpoint, zsock_connect (sub, "%s", endpoint))) {
        zsock_destroy (&sub);
        return EXIT_STOPPED_OR_FAILED;
    }
    trace_subscribe ("publisher", sub, topic);
    print_line ("replay_subscriber: subscribed to \"%s\" at %s", topic, endpoint);

    kv_sequence_handler_t handler = {.deliver = s_deliver, .notice = s_notice, .owner = &self};
    self.sequence = kv_sequence_new (&limits, &handler);
    while (!s_is_done (&self)) {
        zmsg_t *message = zmsg_recv (sub);
        if (!message)
            break;  //  A signal came
        log_recv ("publisher", sub, message);
        kv_numbered_t batch;
        mp_error_t error;
        if (!kv_message_read (message, &batch, &error)) {
            warn_line ("bad message: %s", error.text);
            self.bad++;
        } else if (!skip.set || batch.seq < skip.first || batch.seq > skip.last) {
            kv_sequence_live (self.sequence, &batch);
            s_recover (&self);
        }
        zmsg_destroy (&message);
    }
    const kv_sequence_counts_t *counts = kv_sequence_counts (self.sequence);
    print_summary ("%" PRIu64 " received, %" PRIu64 " replayed, %" PRIu64 " lost, %d bad",
                   self.received, counts->replayed, counts->lost, self.bad);
    kv_sequence_destroy (&self.sequence);
    zsock_destroy (&sub);
    return EXIT_SUCCESS;
}
