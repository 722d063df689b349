#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""REQ with a receive timeout: throws the socket away, makes a new one and asks again.

    python3 slow_server.py --delay-s 1.5 --delay-first-n 2
    python3 timeout_retry_client.py --timeout-ms 1000 --retries 5

A REQ sends, receives, sends, receives; a second send in a row is EFSM. So after a timeout the
old socket is of no use any more. vLLM does the same: NIXL's handshake has a REQ, RCVTIMEO and a
context for each try.
"""

import msgspec
import zmq

import common
from structs import UNREADABLE, read_reply


def ask(context, args, stop):
    """One try on one socket: the frames of the reply, or None when the time is over."""
    with context.socket(zmq.REQ) as client:
        client.linger = 0  # The request goes with its socket
        client.connect(args.endpoint)
        client.send(msgspec.msgpack.encode(args.message))
        for milliseconds in stop.slices(args.timeout_ms):
            client.rcvtimeo = milliseconds
            try:
                return client.recv_multipart()
            except zmq.Again:
                continue
    return None


def main():
    options = common.Options(__doc__)
    options.connect("--endpoint", "tcp://127.0.0.1:5555", "the server")
    options.text("--message", "ping", "what to send")
    options.number("--timeout-ms", 1000, "milliseconds to wait for each reply", least=1)
    options.number("--retries", 5, "how often to try again")
    args = options.parse()
    stop = common.Stop()
    answered = retry = 0

    with zmq.Context() as context:
        frames = ask(context, args, stop)
        while not frames and not stop and retry < args.retries:
            retry += 1
            common.say(
                f"timeout after {args.timeout_ms} ms, rebuilding the REQ socket, "
                f"retry {retry} of {args.retries}"
            )
            frames = ask(context, args, stop)

    if frames:
        try:
            common.say(read_reply(frames))
            answered = 1
        except UNREADABLE as why:
            common.complain(f"bad reply: {why}")
    elif not stop:
        common.complain(f"no reply from {args.endpoint}: gave up after {args.retries} retries")
    common.summary(f"{answered} answered")
    return 0 if answered else 1


if __name__ == "__main__":
    common.run(main)
