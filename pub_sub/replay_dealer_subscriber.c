//  SPDX-License-Identifier: MIT
//  replay_dealer_subscriber.c - Demo 3: the same with a DEALER, which asks once for a whole hole
//
//  The publisher answers one request with many replies. A DEALER takes all of them. It adds nothing
//  to what it sends: the empty frame, which a REQ puts in front of a request, is sent here.
//
//  Run:   build/pub_sub/replay_dealer_subscriber --skip 3-6, and build/pub_sub/replay_publisher
//  vLLM:  tests/distributed/conftest.py MockSubscriber

#include "args.h"
#include "kv_events.h"

static uint64_t due, lost;  //  The number of the next batch, and how many are lost
static int count, received, replayed, bad;

//  Opens a socket and asks for all batches from `due` on
static zsock_t *s_ask (const char *endpoint)
{
    zsock_t *dealer = zsock_new (ZMQ_DEALER);
    zsock_set_rcvtimeo (dealer, 2000);  //  ms; a busy vLLM may take 100 to look at a request
    if (zsock_connect (dealer, "%s", endpoint) == -1)
        args_fail (1, "cannot connect to %s: %s", endpoint, zmq_strerror (zmq_errno ()));
    zframe_t *start = kv_seq_frame (due);
    zsock_send (dealer, "zf", start);  //  An empty frame, and this one
    zframe_destroy (&start);
    return dealer;
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
    zsock_t *dealer = s_ask (endpoint);
    zmsg_t *reply;  //  [empty][topic][seq][batch]
    while (due < end && !s_is_done () && (reply = zmsg_recv (dealer))) {
        s_take_reply (reply, end);
        zmsg_destroy (&reply);
    }
    s_lose (end, "no reply within 2 s");
    zsock_destroy (&dealer);
}

int main (int argc, char **argv)
{
    const char *endpoint = "tcp://127.0.0.1:5557", *replay_endpoint = "tcp://127.0.0.1:5657";
    const char *topic = "kv-events";
    uint64_t skip[2] = {1, 0};
    args_read (argc, argv, "SUB + DEALER: prints KV events in order, and asks for missed ones",
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
