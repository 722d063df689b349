#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""PUB + ROUTER: KV events, and a replay of missed ones. In C: pub_sub/replay_publisher.c"""

import argparse
import time
from collections import deque

import zmq

import wire


def serve_replay(router, kept):
    """Answers one request with the kept batches from the asked number on, and the end."""
    client, *request = router.recv_multipart()
    if len(request) != 2 or len(request[1]) != 8:
        wire.complain("bad replay request: not [empty][8 bytes]")
        return
    start = int.from_bytes(request[1], "big")
    replies = [message for seq, message in kept if seq >= start]
    for message in [*replies, [b"", wire.END_SEQ, b""]]:
        router.send_multipart([client, b"", *message])
    print(f"replay from {start}: {len(replies)} batch{'' if len(replies) == 1 else 'es'}")


def main():
    parser = argparse.ArgumentParser(description="PUB + ROUTER: KV events, and a replay of them")
    parser.add_argument("--endpoint", default="tcp://127.0.0.1:5557", help="where to publish")
    parser.add_argument("--replay-endpoint", default="tcp://127.0.0.1:5657", help="where to replay")
    parser.add_argument("--topic", default="kv-events", help="first frame of each message")
    parser.add_argument("--interval-ms", type=int, default=200, help="time between batches, ms")
    parser.add_argument("--buffer-steps", type=int, default=10000, help="batches kept for a replay")
    parser.add_argument("--count", type=int, default=0, help="batches; 0: until Ctrl-C")
    args = wire.start(parser)

    context = zmq.Context.instance()
    pub, router = context.socket(zmq.PUB), context.socket(zmq.ROUTER)
    wire.bind(pub, args.endpoint)
    wire.bind(router, args.replay_endpoint)
    kept, seq, due = deque(maxlen=args.buffer_steps), 0, time.monotonic()
    try:
        while args.count == 0 or seq < args.count:
            due += args.interval_ms / 1000
            while router.poll(max(0, (due - time.monotonic()) * 1000)):
                serve_replay(router, kept)
            batch = wire.toy_batch(seq)
            message = [args.topic.encode(), wire.as_seq(seq), wire.pack(batch)]
            pub.send_multipart(message)
            kept.append((seq, message))
            print(f"seq {seq}: {wire.describe(batch)}")
            seq += 1
    except KeyboardInterrupt:
        pass
    print(f"replay_publisher: {seq} published")
    pub.close(linger=500)
    router.close(linger=500)


if __name__ == "__main__":
    main()
