#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SUB + DEALER: KV events in order, missed ones too. In C: pub_sub/replay_dealer_subscriber.c"""

import argparse
from itertools import chain

import zmq

import wire


def replay(args, start, end):
    """The batches from start to end - 1. A DEALER takes all replies, and sends the empty frame."""
    if start == end:
        return
    with zmq.Context.instance().socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.connect(args.replay_endpoint)
        dealer.send_multipart([b"", wire.as_seq(start)])
        while start < end and dealer.poll(2000):
            seq, payload = wire.read_seq(dealer.recv_multipart()[1:])
            if seq < end:
                yield seq, payload
            start = seq + 1


def main():
    parser = argparse.ArgumentParser(description="SUB + DEALER: prints KV events in order")
    parser.add_argument("--endpoint", default="tcp://127.0.0.1:5557", help="the publisher")
    parser.add_argument("--replay-endpoint", default="tcp://127.0.0.1:5657", help="where to ask")
    parser.add_argument("--topic", default="kv-events", help="what a message must begin with")
    parser.add_argument("--skip", default="1-0", help="numbers A-B: act as if they were missed")
    parser.add_argument("--count", type=int, default=0, help="batches; 0: until Ctrl-C")
    args = wire.start(parser)
    skip_first, skip_last = map(int, args.skip.split("-"))
    due = received = replayed = lost = 0

    sub = zmq.Context.instance().socket(zmq.SUB)
    sub.subscribe(args.topic)
    sub.connect(args.endpoint)
    print(f'replay_dealer_subscriber: subscribed to "{args.topic}" at {args.endpoint}')
    try:
        while args.count == 0 or received < args.count:
            live, payload = wire.read_seq(sub.recv_multipart())
            if skip_first <= live <= skip_last:
                continue
            if live < due:
                print("the publisher has restarted")
                due = 0
            if live > due:
                print(f"missed {due}-{live - 1}, asking for replay")
            for seq, payload in chain(replay(args, due, live), [(live, payload)]):
                if seq > due:
                    wire.complain(f"lost {due}-{seq - 1}: they were not replayed")
                    lost += seq - due
                again = " replayed" if seq < live else ""
                print(f"seq {seq}{again}: {wire.describe(wire.read([payload], wire.KVEventBatch))}")
                due, received, replayed = seq + 1, received + 1, replayed + bool(again)
                if received == args.count:
                    break
    except KeyboardInterrupt:
        pass
    print(f"replay_dealer_subscriber: {received} received, {replayed} replayed, {lost} lost, 0 bad")
    sub.close()


if __name__ == "__main__":
    main()
