#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""REP that is slow at first: what a client with a timeout has to live with.

    python3 slow_server.py --delay-s 1.5 --delay-first-n 2
    python3 timeout_retry_client.py                (or poller_client.py)

While it is busy the next requests wait in its socket. By the time they are answered their
clients may be gone; the REP then drops the reply without a word.
"""

import msgspec
import zmq

import common
from structs import ErrorReply, read_text


def main():
    options = common.Options(__doc__)
    options.bind("--endpoint", "tcp://127.0.0.1:5555", "where to bind")
    options.matching("--delay-s", "1.5", r"\d{1,4}(\.\d{1,9})?", "SECONDS", "for a slow answer")
    options.number("--delay-first-n", 2, "how many answers are slow")
    options.number("--count", 0, "end after so many requests, 0: when stopped")
    args = options.parse()
    delay_s = float(args.delay_s)
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
            if answered + bad < args.delay_first_n:
                common.say(f"got: {message}, answering in {delay_s:g} s")
                stop.sleep(delay_s)
                if stop:
                    break
            else:
                common.say(f"got: {message}, answering now")
            server.send(msgspec.msgpack.encode(f"pong: {message}"))
            answered += 1

    common.summary(f"{answered} answered, {bad} bad")


if __name__ == "__main__":
    common.run(main)
