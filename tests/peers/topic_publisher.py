#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""PUB: publishes on several topics in turn. In C: pub_sub/topic_publisher.c"""

import argparse
import time

import zmq

import wire


def recv_subscription(xpub):
    """1 for a new subscription, -1 for one that has ended."""
    message = xpub.recv()  # 01 and the topic, or 00 and the topic
    if message[:1] not in (b"\x00", b"\x01"):
        wire.complain("bad message: not a subscription")
        return 0
    topic = wire.printable(message[1:].decode(errors="backslashreplace"))
    print(f'{"subscribed" if message[0] else "left"}: "{topic}"')
    return 1 if message[0] else -1


def main():
    parser = argparse.ArgumentParser(description="PUB: publishes on several topics in turn")
    parser.add_argument("--endpoint", default="tcp://127.0.0.1:5556", help="where to listen")
    parser.add_argument("--topics", default="a,b", help="topics, separated by commas")
    parser.add_argument("--interval-ms", type=int, default=200, help="time between messages, ms")
    parser.add_argument("--wait-subscribers", type=int, default=0, help="subscriptions to wait for")
    parser.add_argument("--count", type=int, default=0, help="messages; 0: until Ctrl-C")
    args = wire.start(parser)
    topics, published, subscribers = args.topics.split(","), 0, 0

    pub = zmq.Context.instance().socket(zmq.XPUB if args.wait_subscribers else zmq.PUB)
    if args.wait_subscribers:
        pub.xpub_verbose = True  # Show equal subscriptions too, not only the first
    wire.bind(pub, args.endpoint)
    try:
        while subscribers < args.wait_subscribers:
            subscribers += recv_subscription(pub)
        while args.count == 0 or published < args.count:
            seq, at = divmod(published, len(topics))
            pub.send_multipart([topics[at].encode(), wire.pack({"seq": seq})])
            print(topics[at], seq)
            published += 1
            if published != args.count:
                time.sleep(args.interval_ms / 1000)
    except KeyboardInterrupt:
        pass
    print(f"topic_publisher: {published} published")
    pub.close(linger=500)


if __name__ == "__main__":
    main()
