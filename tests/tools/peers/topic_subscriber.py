#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SUB: prints "<topic> <seq>" for each message of its topics. Several can run.

    python3 topic_publisher.py --topics a,b
    python3 topic_subscriber.py --topic a
    python3 topic_subscriber.py                    (no topic: all of them)

A subscription is a prefix: "a" also brings "ab". The filter works on the first frame only,
that is why the topic has a frame of its own.
"""

import msgspec
import zmq

import common
from structs import UNREADABLE, TopicSeq


def main():
    options = common.Options(__doc__)
    options.connect("--endpoint", "tcp://127.0.0.1:5556", "the publisher")
    options.text("--topic", None, "a prefix; can be repeated; none: all", action="append")
    options.number("--count", 0, "end after so many messages, 0: when stopped")
    args = options.parse()
    stop = common.Stop()
    payloads = msgspec.msgpack.Decoder(TopicSeq)
    received = bad = 0

    with zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
        subscriber.linger = 0
        for topic in args.topic or [""]:
            subscriber.subscribe(topic)
            common.say(f'topic_subscriber: subscribed to "{topic}" at {args.endpoint}')
        subscriber.connect(args.endpoint)
        while not stop and (args.count == 0 or received < args.count):
            if not subscriber.poll(common.SLICE_MS):
                continue
            try:
                frames = subscriber.recv_multipart()
                if len(frames) != 2:
                    raise ValueError(f"{len(frames)} frames that are not [topic][payload]")
                topic, seq = frames[0].decode(), payloads.decode(frames[1]).seq
            except UNREADABLE as why:
                common.complain(f"bad message: {why}")
                bad += 1
                continue
            if received == 0 and seq > 0:
                common.say(f"joined late: missed {seq} of topic {topic}")
            common.say(f"{topic} {seq}")
            received += 1

    common.summary(f"{received} received, {bad} bad")


if __name__ == "__main__":
    common.run(main)
