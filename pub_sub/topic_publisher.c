//  SPDX-License-Identifier: MIT
//  topic_publisher.c - Demo topics: a PUB socket sends to the subscribers that it has right now
//
//  A PUB sends a message to each subscriber whose topic is a prefix of the first frame. If there is
//  none, it drops the message without a word. With --wait-subscribers the socket is an XPUB, a PUB
//  that also receives the subscriptions: so the program can wait for them.
//
//  Run:   build/pub_sub/topic_publisher in one terminal, build/pub_sub/topic_subscriber in another
//  vLLM:  vllm/distributed/device_communicators/shm_broadcast.py MessageQueue.wait_until_ready

#include "args.h"
#include "mp.h"

//  Receives one subscription. Returns 1 for a new one, -1 for one that has ended, 0 otherwise.
static int s_recv_subscription (zsock_t *xpub)
{
    zmsg_t *message = zmsg_recv (xpub);
    if (!message)
        return 0;                            //  Ctrl-C
    zframe_t *frame = zmsg_first (message);  //  01 and the topic, or 00 and the topic
    size_t size = zframe_size (frame);
    byte first = size > 0 ? zframe_data (frame)[0] : 2;
    int change = first == 1 ? 1 : first == 0 ? -1 : 0;
    if (change) {
        char *topic = strndup ((char *) zframe_data (frame) + 1, size - 1);
        printf ("%s \"%s\"\n", change > 0 ? "subscribed:" : "left:", mp_printable (topic));
        zstr_free (&topic);
    } else
        fprintf (stderr, "topic_publisher: bad message: not a subscription\n");
    zmsg_destroy (&message);
    return change;
}

int main (int argc, char **argv)
{
    const char *endpoint = "tcp://127.0.0.1:5556", *topics = "a,b";
    int interval_ms = 200, wait_subscribers = 0, count = 0, subscribers = 0, published = 0;
    args_read (argc, argv, "PUB: publishes on several topics in turn",
               (arg_t[]){{"endpoint", "where subscribers connect", .text = &endpoint},
                         {"topics", "topics, separated by commas", .text = &topics},
                         {"interval-ms", "time between messages, ms", .number = &interval_ms},
                         {"wait-subscribers", "subscriptions to wait for first",
                          .number = &wait_subscribers},
                         {"count", "messages to publish; 0: until Ctrl-C", .number = &count},
                         {0}});

    zsock_t *pub = zsock_new (wait_subscribers > 0 ? ZMQ_XPUB : ZMQ_PUB);
    if (wait_subscribers > 0)
        zsock_set_xpub_verbose (pub, 1);  //  Show equal subscriptions too, not only the first
    if (zsock_bind (pub, "%s", endpoint) == -1)
        args_fail (1, "cannot listen on %s: %s", endpoint, zmq_strerror (zmq_errno ()));
    args_print_listening (pub);
    zsock_set_linger (pub, 500);  //  ms for the last messages to leave; CZMQ's default is none

    while (!zsys_interrupted && subscribers < wait_subscribers)
        subscribers += s_recv_subscription (pub);

    int seq = 0;  //  Each topic has its own numbers: all of them get 0, then all get 1
    for (const char *topic = topics; !zsys_interrupted && (count == 0 || published < count);) {
        int length = (int) strcspn (topic, ",");
        msgpack_sbuffer out = {0};
        mp_put (&out, "{si", 1, "seq", seq);
        zframe_t *payload = mp_frame (&out);
        zmsg_t *message = zmsg_new ();  //  [topic][{"seq": n}]
        zmsg_addstrf (message, "%.*s", length, topic);
        zmsg_append (message, &payload);
        zmsg_send (&message, pub);  //  Never waits: what a subscriber cannot take is dropped
        printf ("%.*s %d\n", length, topic, seq);
        published++;
        if (topic[length])
            topic += length + 1;
        else {
            topic = topics;
            seq++;
        }
        if (count == 0 || published < count)
            zmq_poll (NULL, 0, interval_ms);  //  A sleep that Ctrl-C interrupts
    }
    printf ("topic_publisher: %d published\n", published);
    zsock_destroy (&pub);
    return EXIT_SUCCESS;
}
