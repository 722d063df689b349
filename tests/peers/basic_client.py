#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""REQ: sends a message and prints the reply.

    python3 basic_server.py                        (the other end, a REP)
    python3 basic_client.py --message ping

It waits for its reply as long as it takes. What to do when that is too long:
timeout_retry_client.py and poller_client.py.
"""

import msgspec
import zmq

import common
from structs import UNREADABLE, read_reply


def main():
    options = common.Options(__doc__)
    options.connect("--endpoint", "tcp://127.0.0.1:5555", "the server")
    options.text("--message", "ping", "what to send")
    options.number("--count", 1, "how many times, 0: until stopped")
    args = options.parse()
    stop = common.Stop()
    answered = 0

    with zmq.Context() as context, context.socket(zmq.REQ) as client:
        client.linger = 0
        client.connect(args.endpoint)
        while not stop and (args.count == 0 or answered < args.count):
            client.send(msgspec.msgpack.encode(args.message))
            while not stop and not client.poll(common.SLICE_MS):
                pass
            if stop:
                break
            try:
                common.say(read_reply(client.recv_multipart()))
                answered += 1
            except UNREADABLE as why:
                common.complain(f"bad reply: {why}")
                break

    common.summary(f"{answered} answered")
    return 0 if answered and answered >= args.count else 1


if __name__ == "__main__":
    common.run(main)
