#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The same as timeout_retry_client.py, with a poller in place of the receive timeout.

    python3 slow_server.py --delay-s 1.5 --delay-first-n 2
    python3 poller_client.py --timeout-ms 1000 --retries 5

A receive timeout watches one socket, a poller as many as there are: vLLM's front-ends and
engines wait on their input, output and control sockets at once. The poller holds the socket, so
a new socket has to be registered and the old one taken out.
"""

import msgspec
import zmq

import common
from structs import UNREADABLE, read_reply


def ask(context, poller, args, stop):
    """One try on one socket: the frames of the reply, or None when the time is over."""
    with context.socket(zmq.REQ) as client:
        client.linger = 0  # The request goes with its socket
        client.connect(args.endpoint)
        client.send(msgspec.msgpack.encode(args.message))
        poller.register(client, zmq.POLLIN)
        ready = any(poller.poll(milliseconds) for milliseconds in stop.slices(args.timeout_ms))
        poller.unregister(client)
        return client.recv_multipart() if ready else None


def main():
    options = common.Options(__doc__)
    options.connect("--endpoint", "tcp://127.0.0.1:5555", "the server")
    options.text("--message", "ping", "what to send")
    options.number("--timeout-ms", 1000, "milliseconds to wait for each reply", least=1)
    options.number("--retries", 5, "how often to try again")
    args = options.parse()
    stop = common.Stop()
    poller = zmq.Poller()
    answered = retry = 0

    with zmq.Context() as context:
        frames = ask(context, poller, args, stop)
        while not frames and not stop and retry < args.retries:
            retry += 1
            common.say(
                f"poll timeout after {args.timeout_ms} ms, retrying... ({retry} of {args.retries})"
            )
            frames = ask(context, poller, args, stop)

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
