//  SPDX-License-Identifier: MIT
//  topic_subscriber.c - Demo topics: a SUB socket receives what begins with its topic
//
//  The subscription goes to the publisher, which filters. What is published before it arrives there
//  is lost; the number in the first message tells how many messages that were.
//
//  Run:   build/pub_sub/topic_publisher in one terminal, build/pub_sub/topic_subscriber in another
//  vLLM:  examples/features/kv_events/kv_events_subscriber.py main

#include "args.h"
#include "mp.h"

int main (int argc, char **argv)
{
    const char *endpoint = "tcp://127.0.0.1:5556", *topic = "";
    int count = 0, received = 0, bad = 0;
    args_read (argc, argv, "SUB: prints the messages of a topic",
               (arg_t[]){{"endpoint", "where the publisher listens", .text = &endpoint},
                         {"topic", "what a message must begin with", .text = &topic},
                         {"count", "messages to receive; 0: until Ctrl-C", .number = &count},
                         {0}});

    zsock_t *sub = zsock_new (ZMQ_SUB);
    zsock_set_subscribe (sub, topic);  //  Without a subscription a SUB receives nothing
    if (zsock_connect (sub, "%s", endpoint) == -1)
        args_fail (1, "cannot connect to %s: %s", endpoint, zmq_strerror (zmq_errno ()));
    printf ("topic_subscriber: subscribed to \"%s\" at %s\n", topic, endpoint);

    while (!zsys_interrupted && (count == 0 || received < count)) {
        zmsg_t *message = zmsg_recv (sub);
        if (!message)
            break;                               //  Ctrl-C
        char *name = zmsg_popstr (message);      //  [topic]
        zframe_t *payload = zmsg_pop (message);  //  [{"seq": n}]
        msgpack_unpacked doc;
        const msgpack_object *seq = mp_get (mp_open (&doc, payload), "seq");
        if (seq && seq->type == MSGPACK_OBJECT_POSITIVE_INTEGER && zmsg_size (message) == 0) {
            mp_printable (name);
            uint64_t number = seq->via.u64;
            if (received == 0 && number > 0)
                printf ("joined late: missed %" PRIu64 " of topic %s\n", number, name);
            printf ("%s %" PRIu64 "\n", name, number);
            received++;
        } else {
            fprintf (stderr, "topic_subscriber: bad message: not [topic][{\"seq\": n}]\n");
            bad++;
        }
        msgpack_unpacked_destroy (&doc);
        zframe_destroy (&payload);
        zstr_free (&name);
        zmsg_destroy (&message);
    }
    printf ("topic_subscriber: %d received, %d bad\n", received, bad);
    zsock_destroy (&sub);
    return EXIT_SUCCESS;
}
