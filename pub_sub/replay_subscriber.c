//  SPDX-License-Identifier: MIT
//  replay_subscriber.c - Demo 3: a SUB finds holes in the numbers, a REQ asks to fill them
//
//  The publisher answers one request with many replies. A REQ takes the first and never sees the
//  others, so this program asks for each missing batch, each time with a new REQ.
//
//  Run:   build/pub_sub/replay_subscriber --skip 3-6, and build/pub_sub/replay_publisher
//  vLLM:  examples/features/kv_events/kv_events_subscriber.py main

#include "args.h"
#include "kv_events.h"

static uint64_t due, lost;  //  The number of the next batch, and how many are lost
static int count, received, replayed, bad;

//  Opens a socket and asks for all batches from `due` on
static zsock_t *s_ask (const char *endpoint)
{
    zsock_t *req = zsock_new (ZMQ_REQ);
    zsock_set_rcvtimeo (req, 2000);  //  ms; a busy vLLM may take 100 to look at a request
    if (zsock_connect (req, "%s", endpoint) == -1)
        args_fail (1, "cannot connect to %s: %s", endpoint, zmq_strerror (zmq_errno ()));
    zframe_t *start = kv_seq_frame (due);
    zsock_send (req, "f", start);  //  One frame. The empty frame in front of it is the REQ's work.
    zframe_destroy (&start);
    return req;
}

static bool s_is_done (void)
{
    return zsys_interrupted || (count > 0 && received == count);
}

static void s_deliver (uint64_t seq, zframe_t *batch, bool again)
{
    char *text = kv_batch_describe (batch);
    if (!text)
        fprintf (stderr, "%s: seq %" PRIu64 ": bad batch\n", args_program, seq);
    printf ("seq %" PRIu64 "%s: %s\n", seq, again ? " replayed" : "", text ? text : "unreadable");
    received++, replayed += again, bad += !text;
    due = seq + 1;
    zstr_free (&text);
}

//  Gives up what is missing before `end`, unless the program is to stop here
static void s_lose (uint64_t end, const char *why)
{
    if (end <= due || s_is_done ())
        return;
    fprintf (stderr, "%s: lost %" PRIu64 "-%" PRIu64 ": %s\n", args_program, due, end - 1, why);
    lost += end - due;
    due = end;
}

//  Takes [topic][seq][batch]. False if the reply is something else.
static bool s_take_reply (zmsg_t *reply, uint64_t end)
{
    uint64_t seq;
    zframe_t *batch = kv_message_read (reply, &seq);
    if (!batch || seq < due) {
        fprintf (stderr, "%s: bad reply: not [topic][seq][batch], or too old\n", args_program);
        bad++;
        return false;
    }
    s_lose (seq < end ? seq : end, "the publisher has not kept these");
    if (seq < end)
        s_deliver (seq, batch, true);
    return true;
}

//  Gets the batches from `due` to the one before `end`
static void s_fill_hole (const char *endpoint, uint64_t end)
{
    printf ("missed %" PRIu64 "-%" PRIu64 ", asking for replay\n", due, end - 1);
    while (due < end && !s_is_done ()) {
        zsock_t *req = s_ask (endpoint);
        zmsg_t *reply = zmsg_recv (req);  //  [topic][seq][batch]
        if (!reply || !s_take_reply (reply, end))
            s_lose (end, reply ? "the reply cannot be read" : "no reply within 2 s");
        zmsg_destroy (&reply);
        zsock_destroy (&req);  //  And with it the other replies to this request
    }
}

int main (int argc, char **argv)
{
    const char *endpoint = "tcp://127.0.0.1:5557", *replay_endpoint = "tcp://127.0.0.1:5657";
    const char *topic = "kv-events";
    uint64_t skip[2] = {1, 0};
    args_read (argc, argv, "SUB + REQ: prints KV events in order, and asks for missed ones",
               (arg_t[]){{"endpoint", "where the publisher listens", .text = &endpoint},
                         {"replay-endpoint", "where to ask", .text = &replay_endpoint},
                         {"topic", "what a message must begin with", .text = &topic},
                         {"skip", "numbers A-B: act as if they were missed", .range = skip},
                         {"count", "batches to receive; 0: until Ctrl-C", .number = &count},
                         {0}});

    zsock_t *sub = zsock_new (ZMQ_SUB);
    zsock_set_subscribe (sub, topic);
    if (zsock_connect (sub, "%s", endpoint) == -1)
        args_fail (1, "cannot connect to %s: %s", endpoint, zmq_strerror (zmq_errno ()));
    printf ("%s: subscribed to \"%s\" at %s\n", args_program, topic, endpoint);

    while (!s_is_done ()) {
        zmsg_t *message = zmsg_recv (sub);
        if (!message)
            break;  //  Ctrl-C
        uint64_t seq;
        zframe_t *batch = zmsg_size (message) == 3 ? kv_message_read (message, &seq) : NULL;
        if (!batch || seq == KV_SEQ_END) {
            fprintf (stderr, "%s: bad message: not [topic][seq][batch]\n", args_program);
            bad++;
        } else if (seq < skip[0] || seq > skip[1]) {
            if (seq < due) {
                printf ("the publisher has restarted\n");
                due = 0;
            }
            if (seq > due)
                s_fill_hole (replay_endpoint, seq);  //  What was missed comes before this batch
            if (!s_is_done ())
                s_deliver (seq, batch, false);
        }
        zmsg_destroy (&message);
    }
    printf ("%s: %d received, %d replayed, %" PRIu64 " lost, %d bad\n", args_program, received,
            replayed, lost, bad);
    zsock_destroy (&sub);
    return EXIT_SUCCESS;
}
