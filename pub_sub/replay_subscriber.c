//  SPDX-License-Identifier: MIT
//  replay_subscriber.c - Demo 3: SUB finds the holes in the numbers, and asks a ROUTER to fill them
//
//  One request is answered by many replies, and here is the trap: a REQ takes one reply and never
//  sees the others. So with --replay-socket req each missing batch costs a request, and a new REQ;
//  with dealer one request brings all.
//  Run:   build/pub_sub/replay_subscriber --skip 3-6   (beside build/pub_sub/replay_publisher)
//  vLLM:  examples/features/kv_events/kv_events_subscriber.py main, which has a REQ for this
//         tests/distributed/conftest.py MockSubscriber, which was changed to a DEALER

#include "options.h"
#include "show.h"
#include "kv_events.h"

//  A replay may wait for the publisher's next batch (in vLLM up to 100 ms), not much longer
#define REPLAY_TIMEOUT_MS 2000

typedef struct {
    const char *replay_endpoint;
    bool by_dealer;
    uint64_t wanted;  //  Stop after so many batches; 0: go on
    uint64_t next;    //  Number of the batch that is due
    uint64_t received, replayed, lost;
    int bad;
} subscriber_t;

static bool s_is_done (const subscriber_t *self)
{
    return zsys_interrupted || (self->wanted > 0 && self->received >= self->wanted);
}

//  Takes batch `seq`, which is the one that is due
static void s_deliver (subscriber_t *self, uint64_t seq, zframe_t *payload, bool replayed)
{
    mp_error_t error;
    kv_batch_t *batch = kv_batch_decode (payload, &error);
    if (!batch) {
        complain ("seq %" PRIu64 ": bad batch: %s", seq, error.text);
        self->bad++;
    }
    char *text = batch ? kv_batch_describe (batch) : NULL;
    say ("seq %" PRIu64 "%s: %s", seq, replayed ? " replayed" : "", text ? text : "unreadable");
    zstr_free (&text);
    kv_batch_destroy (&batch);
    self->received++;
    self->replayed += replayed;
    self->next = seq + 1;
}

//  Batches up to the one before `end` are not to be had
static void s_give_up (subscriber_t *self, uint64_t end, const char *why)
{
    if (self->next >= end)
        return;
    complain ("lost %" PRIu64 "-%" PRIu64 ": %s", self->next, end - 1, why);
    self->lost += end - self->next;
    self->next = end;
}

//  Sends one request for all from self->next on, and delivers what comes, up to the one before
//  `end`. Returns when that is there, when one reply has come (REQ), at the end of the replay, at a
//  hole in it, or after a timeout; self->next tells how far it got.
static void s_ask (subscriber_t *self, uint64_t end)
{
    //  New for each request, so that what is left of an older replay dies with its socket
    zsock_t *socket = zsock_new (self->by_dealer ? ZMQ_DEALER : ZMQ_REQ);
    zsock_set_rcvhwm (socket, 0);  //  Take a long replay as fast as it comes: of what waits in the
                                   //  publisher, its ROUTER drops all beyond 1000 messages
    zsock_set_rcvtimeo (socket, REPLAY_TIMEOUT_MS);
    if (!say_connecting (self->replay_endpoint,
                         zsock_connect (socket, "%s", self->replay_endpoint))) {
        zsock_destroy (&socket);
        return;
    }
    zmsg_t *request = kv_replay_request (self->next);
    if (self->by_dealer)
        zmsg_pushmem (request, NULL, 0);  //  The empty frame that a REQ adds by itself
    show_send ("publisher", socket, request);
    zmsg_send (&request, socket);
    zmsg_destroy (&request);  //  NULL by now, unless a signal came

    bool first = true, more = true;
    while (more && self->next < end && !s_is_done (self)) {
        zmsg_t *reply = zmsg_recv (socket);
        if (!reply)
            break;  //  Timeout, or a signal
        show_recv ("publisher", socket, reply);
        uint64_t seq;  //  KV_SEQ_END, above all others, ends the replay
        zframe_t *payload;
        mp_error_t error;
        more = self->by_dealer;  //  There are more replies, but a REQ is done after one
        if (!kv_replay_reply_read (reply, &seq, &payload, &error)) {
            complain ("bad reply: %s", error.text);
            self->bad++;
        } else {
            if (first)  //  A replay begins with the oldest that is kept
                s_give_up (self, seq < end ? seq : end, "the publisher has not kept them");
            first = false;
            if (seq == self->next)
                s_deliver (self, seq, payload, true);
            else if (seq > self->next)
                more = false;  //  A hole: the ROUTER has dropped some, so ask again from there on
        }
        zmsg_destroy (&reply);
    }
    zsock_destroy (&socket);
}

//  Gets the batches from self->next to the one before `end`
static void s_recover (subscriber_t *self, uint64_t end)
{
    say ("missed %" PRIu64 "-%" PRIu64 ", asking for replay", self->next, end - 1);
    while (self->next < end && !s_is_done (self)) {
        uint64_t asked = self->next;
        s_ask (self, end);
        if (self->next == asked && !s_is_done (self))
            s_give_up (self, end, "no reply that makes sense");
    }
}

int main (int argc, char **argv)
{
    const char *endpoint = "tcp://127.0.0.1:5557", *topic = "kv-events", *replay_socket = "req";
    subscriber_t self = {.replay_endpoint = "tcp://127.0.0.1:5657"};
    option_range_t skip = {.set = false};
    uint64_t from_seq = 0;
    int count = 0;
    const option_t options[] = {
        OPTION_CONNECT ("endpoint", &endpoint, "where the publisher listens"),
        OPTION_CONNECT ("replay-endpoint", &self.replay_endpoint, "where it repeats"),
        OPTION_TEXT ("topic", &topic, "what messages must begin with"),
        OPTION_CHOICE ("replay-socket", &replay_socket, "req|dealer", "what to ask with"),
        OPTION_RANGE ("skip", &skip, "pretend to have missed these numbers"),
        OPTION_FROM ("from-seq", &from_seq, "number to start with; live: what comes first"),
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
    self.next = from_seq == UINT64_MAX ? 0 : from_seq;

    zsock_t *sub = zsock_new (ZMQ_SUB);
    zsock_set_rcvhwm (sub, 100000);  //  Live batches wait here while a replay goes on
    zsock_set_subscribe (sub, topic);
    if (!say_connecting (endpoint, zsock_connect (sub, "%s", endpoint))) {
        zsock_destroy (&sub);
        return EXIT_STOPPED_OR_FAILED;
    }
    say ("replay_subscriber: subscribed to \"%s\" at %s", topic, endpoint);

    bool first = true;
    uint64_t newest = 0;
    while (!s_is_done (&self)) {
        zmsg_t *message = zmsg_recv (sub);
        if (!message)
            break;  //  A signal came
        show_recv ("publisher", sub, message);
        uint64_t seq;
        zframe_t *payload;
        mp_error_t error;
        if (!kv_message_read (message, &seq, &payload, &error)) {
            complain ("bad message: %s", error.text);
            self.bad++;
        } else if (!skip.set || seq < skip.first || seq > skip.last) {
            if (first && from_seq == UINT64_MAX)
                self.next = seq;
            if (!first && seq <= newest) {
                //  A PUB never repeats itself: this is a new one, which counts from 0 again
                say ("the publisher has started anew");
                self.next = 0;
            }
            first = false;
            newest = seq;
            if (seq > self.next)
                s_recover (&self, seq);
            if (seq == self.next && !s_is_done (&self))
                s_deliver (&self, seq, payload, false);
        }
        zmsg_destroy (&message);
    }
    say_summary ("%" PRIu64 " received, %" PRIu64 " replayed, %" PRIu64 " lost, %d bad",
                 self.received, self.replayed, self.lost, self.bad);
    zsock_destroy (&sub);
    return EXIT_SUCCESS;
}
