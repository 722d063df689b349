#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""REP: prints what it gets and answers "pong: <message>".

    python3 basic_server.py
    python3 basic_client.py --message ping         (the other end, a REQ)

One frame each way, one msgpack str in it. A REP that owes a reply can do nothing else, so a
request that cannot be read is answered too: with the map {"error": why}.
"""

import msgspec
import zmq

import common
from structs import ErrorReply, read_text


def main():
    options = common.Options(__doc__)
    options.bind("--endpoint", "tcp://127.0.0.1:5555", "where to bind")
    options.number("--count", 0, "end after so many requests, 0: when stopped")
    args = options.parse()
    stop = common.Stop()
    answered = bad = 0

    with zmq.Context() as context, context.socket(zmq.REP) as server:
        server.linger = common.LINGER_MS
        common.bind(server, args.endpoint)
        while not stop and (args.count == 0 or answered + bad < args.count):
            if not server.poll(common.SLICE_MS):
                continue
            try:
                message = read_text(server.recv_multipart())
            except ValueError as why:
                common.complain(f"bad request: {why}")
                bad += 1
                server.send(msgspec.msgpack.encode(ErrorReply(str(why))))
                continue
            common.say(f"got: {message}")
            server.send(msgspec.msgpack.encode(f"pong: {message}"))
            answered += 1

    common.summary(f"{answered} answered, {bad} bad")


if __name__ == "__main__":
    common.run(main)
