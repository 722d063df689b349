//  SPDX-License-Identifier: MIT
//  topic_publisher.c - PUB socket: says everything to everybody who is there, by topic
//
//  Binds for any number of topic_subscriber. A PUB sends a message to those who have subscribed to
//  the beginning of its first frame, and to nobody else. Who comes later has missed it. The cure:
//  --wait-subscribers makes it an XPUB, which can receive what a PUB hides, the subscriptions.
//  Run:   build/pub_sub/topic_publisher --topics a,b
//  vLLM:  vllm/distributed/device_communicators/shm_broadcast.py MessageQueue.wait_until_ready
//         vllm/v1/engine/coordinator.py DPCoordinatorProc.process_input_socket
//         Both wait for subscriptions on an XPUB like this.

#include "lib/curve.h"
#include "lib/keepalive.h"
#include "lib/options.h"
#include "lib/log.h"
#include "lib/mp.h"

//  So many subscriptions are read in one go, which is more than come in meanwhile: what is not read
//  waits behind a mark of 1000
#define DRAIN_MAX 10000

//  Receives subscriptions until there are `count`. False when a signal came first.
static bool s_wait_subscriptions (zsock_t *xpub, int count)
{
    while (count > 0) {
        zmsg_t *message = zmsg_recv (xpub);
        if (!message)
            return false;
        log_recv ("subscriber", xpub, message);
        //  01 and the topic: somebody has subscribed. 00 and the topic: somebody has left.
        zframe_t *frame = zmsg_first (message);
        byte *data = zframe_data (frame);
        int length = (int) zframe_size (frame) - 1;
        if (length >= 0 && data[0] <= 1) {
            print_line ("%s \"%.*s\"", data[0] ? "subscribed:" : "left:", length,
                        (char *) data + 1);
            count += data[0] ? -1 : 1;
        }
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

//  [topic][{"seq": n}]
static zmsg_t *s_message (const char *topic, uint64_t seq)
{
    mp_writer_t writer;
    msgpack_packer *packer = mp_begin (&writer);
    msgpack_pack_map (packer, 1);
    mp_pack_str (packer, "seq");
    msgpack_pack_uint64 (packer, seq);
    zframe_t *payload = mp_end (&writer);
    zmsg_t *message = zmsg_new ();
    zmsg_addstr (message, topic);
    zmsg_append (message, &payload);
    return message;
}

int main (int argc, char **argv)
{
    const char *endpoint = "tcp://127.0.0.1:5556", *topics = "a,b";
    int interval_ms = 200, wait_subscribers = 0, count = 0;
    const option_t options[] = {
        OPTION_BIND ("endpoint", &endpoint, "where to listen"),
        OPTION_TEXT ("topics", &topics, "topics to publish in turn, separated by commas"),
        OPTION_INT ("interval-ms", &interval_ms, 0, 3600000, "time between messages, ms"),
        OPTION_INT ("wait-subscribers", &wait_subscribers, 0, INT_MAX,
                    "subscriptions to wait for first; each --topic of a subscriber is one"),
        OPTION_INT ("count", &count, 0, INT_MAX, "messages to publish; 0: until stopped"),
        OPTION_END,
    };
    const about_t about = {
        .name = "topic_publisher",
        .purpose = "PUB: publishes on several topics; as XPUB it can wait for its subscribers",
        .example = "  build/pub_sub/topic_publisher --topics a,b\n"
                   "  build/pub_sub/topic_subscriber --topic a",
        .at_risk = "all that is published",
    };
    options_read (argc, argv, &about, options);

    zsock_t *pub = zsock_new (wait_subscribers > 0 ? ZMQ_XPUB : ZMQ_PUB);
    curve_server (pub);
    zsock_set_maxmsgsize (pub, MP_MAX_SMALL_FRAME);
    //  A subscriber whose machine has vanished is missed after 12 s, and so is one that takes
    //  nothing for so long
    keepalive_probe (pub);
    if (wait_subscribers > 0)
        zsock_set_xpub_verbose (pub, 1);  //  Show each subscription, not only the first of its kind
    zsock_set_linger (pub,
                      10000);  //  Slow subscribers get so many ms to take the rest when we exit
    if (!log_bound (pub, endpoint, zsock_bind (pub, "%s", endpoint))) {
        zsock_destroy (&pub);
        return EXIT_STOPPED_OR_FAILED;
    }
    bool ready = s_wait_subscriptions (pub, wait_subscribers);

    zlist_t *names = zlist_new ();
    zlist_autofree (names);
    for (const char *name = topics; name;
         name = strchr (name, ',') ? strchr (name, ',') + 1 : NULL) {
        char *copy = strndup (name, strcspn (name, ","));
        zlist_append (names, copy);  //  Copies it once more
        free (copy);
    }
    uint64_t published = 0, topic_count = zlist_size (names);
    const char *topic = zlist_first (names);
    while (ready && !zsys_interrupted && (count == 0 || published < (uint64_t) count)) {
        uint64_t seq = published / topic_count;  //  Of this topic
        zmsg_t *message = s_message (topic, seq);
        log_send ("subscriber", pub, message);
        zmsg_send (&message, pub);  //  Never blocks: a PUB drops what a slow subscriber cannot take
        s_drain (pub);
        print_line ("%s %" PRIu64, topic, seq);
        published++;
        topic = zlist_next (names);
        if (!topic)
            topic = zlist_first (names);
        if (count == 0 || published < (uint64_t) count)
            zmq_poll (NULL, 0, interval_ms);  //  The pace of the show
    }
    print_summary ("%" PRIu64 " published", published);
    zlist_destroy (&names);
    zsock_destroy (&pub);
    return EXIT_SUCCESS;
}
