#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""PUB on several topics: [topic][{"seq": k}], each topic counting for itself.

    python3 topic_publisher.py --topics a,b
    python3 topic_subscriber.py --topic a          (the other end, a SUB; several can run)

A PUB drops what nobody has subscribed to yet: whoever joins late misses the beginning. With
--wait-subscribers it is an XPUB, which hears of each subscription as a message, 0x01 + topic,
and starts when it has heard enough. vLLM's MessageQueue.wait_until_ready does that.
"""

import time
from collections import Counter

import msgspec
import zmq

import common
from structs import TopicSeq


def hear(publisher):
    """Reads what a subscriber says to an XPUB: +1 for one that came, -1 for one that left."""
    frames = publisher.recv_multipart()
    verb, topic = frames[0][:1], frames[0][1:].decode("utf-8", "backslashreplace")
    if len(frames) != 1 or verb not in (b"\x00", b"\x01"):
        common.complain(f"bad message: {len(frames)} frames that are not a subscription")
        return 0
    common.say(f'{"subscribed" if verb == bytes([1]) else "left"}: "{topic}"')
    return 1 if verb == b"\x01" else -1


def main():
    options = common.Options(__doc__)
    options.bind("--endpoint", "tcp://127.0.0.1:5556", "where to bind")
    options.text("--topics", "a,b", "served in turn")
    options.number("--interval-ms", 200, "milliseconds between messages", most=3600000)
    options.number("--wait-subscribers", 0, "start after so many subscriptions")
    options.number("--count", 0, "end after so many messages, 0: when stopped")
    args = options.parse()
    topics = args.topics.split(",")
    stop = common.Stop()
    subscribers = sent = 0
    seqs = Counter()

    with zmq.Context() as context:
        with context.socket(zmq.XPUB if args.wait_subscribers else zmq.PUB) as publisher:
            if args.wait_subscribers:
                publisher.setsockopt(zmq.XPUB_VERBOSE, 1)  # Equal subscriptions count too
            common.bind(publisher, args.endpoint)
            while not stop and subscribers < args.wait_subscribers:
                if publisher.poll(common.SLICE_MS):
                    subscribers += hear(publisher)

            due = time.monotonic()
            while not stop and (args.count == 0 or sent < args.count):
                left_ms = (due - time.monotonic()) * 1000
                if left_ms > 0:
                    # A PUB is never readable, so with a PUB this only waits
                    if publisher.poll(min(left_ms, common.SLICE_MS)):
                        hear(publisher)
                    continue
                topic = topics[sent % len(topics)]
                payload = msgspec.msgpack.encode(TopicSeq(seqs[topic]))
                publisher.send_multipart([topic.encode(), payload])
                common.say(f"{topic} {seqs[topic]}")
                seqs[topic] += 1
                sent += 1
                due += args.interval_ms / 1000
            publisher.linger = common.LINGER_MS if stop else common.PATIENCE_MS
            common.summary(f"{sent} published")
        common.hand_over(context, stop)


if __name__ == "__main__":
    common.run(main)
