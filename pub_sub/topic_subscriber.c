//  SPDX-License-Identifier: MIT
//  topic_subscriber.c - SUB socket: receives what begins with its topics
//
//  Connects to topic_publisher. A topic is a prefix: "a" gets "a" and "ab", and "" gets everything.
//  The subscription travels to the publisher, which does the filtering; what is published before it
//  arrives is not for us. The number in the message tells how much that was.
//  Run:   build/pub_sub/topic_subscriber --topic a
//  vLLM:  examples/features/kv_events/kv_events_subscriber.py main

#include "lib/curve.h"
#include "lib/keepalive.h"
#include "lib/options.h"
#include "lib/log.h"
#include "lib/trace.h"
#include "lib/mp.h"

//  Reads [topic][{"seq": n}]. False with `error` set when it is something else.
static bool s_read (zmsg_t *message, uint64_t *seq, mp_error_t *error)
{
    if (zmsg_size (message) != 2)
        return mp_wrong (error, "message", "want topic and payload, got %zu frames",
                         zmsg_size (message));
    zframe_t *payload = zmsg_last (message);
    msgpack_unpacked doc;
    const msgpack_object_map *map;
    if (mp_decode (&doc, zframe_data (payload), zframe_size (payload), "payload", error) == -1)
        return false;
    bool ok = mp_get_map (&doc.data, "payload", &map, error) &&
              mp_get_uint (mp_find (map, "seq"), "seq", UINT64_MAX, seq, error);
    msgpack_unpacked_destroy (&doc);
    return ok;
}

int main (int argc, char **argv)
{
    const char *endpoint = "tcp://127.0.0.1:5556";
    option_list_t topics = {.fallback = ""};
    int count = 0;
    const option_t options[] = {
        OPTION_CONNECT ("endpoint", &endpoint, "where the publisher listens"),
        OPTION_LIST ("topic", &topics, "what messages must begin with; \"\": anything"),
        OPTION_INT ("count", &count, 0, INT_MAX, "messages to receive; 0: until stopped"),
        OPTION_END,
    };
    const about_t about = {
        .name = "topic_subscriber",
        .purpose = "SUB: prints the messages of its topics",
        .example = "  build/pub_sub/topic_publisher --topics a,b\n"
                   "  build/pub_sub/topic_subscriber --topic a",
    };
    options_read (argc, argv, &about, options);

    zsock_t *sub = zsock_new (ZMQ_SUB);
    curve_client (sub);
    zsock_set_maxmsgsize (sub, MP_MAX_FRAME);
    keepalive_probe (sub);  //  A publisher whose machine has vanished is missed after 12 s
    for (size_t i = 0; i < topics.count; i++) {
        zsock_set_subscribe (sub, topics.items[i]);  //  Without one, a SUB gets nothing at all
        print_line ("topic_subscriber: subscribed to \"%s\" at %s", topics.items[i], endpoint);
    }
    if (!log_connected (endpoint, zsock_connect (sub, "%s", endpoint))) {
        zsock_destroy (&sub);
        return EXIT_STOPPED_OR_FAILED;
    }
    for (size_t i = 0; i < topics.count; i++)
        trace_subscribe ("publisher", sub, topics.items[i]);

    int received = 0, bad = 0;
    while (!zsys_interrupted && (count == 0 || received < count)) {
        zmsg_t *message = zmsg_recv (sub);
        if (!message)
            break;  //  A signal came
        log_recv ("publisher", sub, message);
        uint64_t seq = 0;
        mp_error_t error;
        if (s_read (message, &seq, &error)) {
            char *topic = zframe_strdup (zmsg_first (message));
            if (received == 0 && seq > 0)
                print_note ("joined late: missed %" PRIu64 " of topic %s", seq, topic);
            print_line ("%s %" PRIu64, topic, seq);
            zstr_free (&topic);
            received++;
        } else {
            warn_line ("bad message: %s", error.text);
            bad++;
        }
        zmsg_destroy (&message);
    }
    print_summary ("%d received, %d bad", received, bad);
    zsock_destroy (&sub);
    return EXIT_SUCCESS;
}
