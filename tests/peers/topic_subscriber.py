#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SUB: prints the messages of a topic. In C: pub_sub/topic_subscriber.c"""

import argparse

import zmq

import wire


def main():
    parser = argparse.ArgumentParser(description="SUB: prints the messages of a topic")
    parser.add_argument("--endpoint", default="tcp://127.0.0.1:5556", help="the publisher")
    parser.add_argument("--topic", default="", help="what a message must begin with")
    parser.add_argument("--count", type=int, default=0, help="messages; 0: until Ctrl-C")
    args = wire.start(parser)
    received = bad = 0

    sub = zmq.Context.instance().socket(zmq.SUB)
    sub.subscribe(args.topic)  # Without a subscription a SUB receives nothing
    sub.connect(args.endpoint)
    print(f'topic_subscriber: subscribed to "{args.topic}" at {args.endpoint}')
    try:
        while args.count == 0 or received < args.count:
            topic, *payload = sub.recv_multipart()
            try:
                seq = wire.read(payload, wire.TopicSeq).seq
            except ValueError:
                wire.complain('bad message: not [topic][{"seq": n}]')
                bad += 1
                continue
            topic = wire.printable(topic.decode(errors="backslashreplace"))
            if received == 0 and seq > 0:
                print(f"joined late: missed {seq} of topic {topic}")
            print(topic, seq)
            received += 1
    except KeyboardInterrupt:
        pass
    print(f"topic_subscriber: {received} received, {bad} bad")
    sub.close()


if __name__ == "__main__":
    main()
