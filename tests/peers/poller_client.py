#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Demo 1.2: the same as timeout_retry_client, and a poller does the waiting.
In C: req_rep/poller_client.c"""

import argparse
import sys

import zmq

import wire


def connect(args):
    client = zmq.Context.instance().socket(zmq.REQ)
    client.linger = 0
    client.connect(args.endpoint)
    return client


def main():
    parser = argparse.ArgumentParser(description="REQ: waits with a poller, and asks again over a new socket")
    parser.add_argument("--endpoint", default="tcp://127.0.0.1:5555", help="where the server listens")
    parser.add_argument("--message", default="ping", help="what to send")
    parser.add_argument("--timeout-ms", type=int, default=1000, help="wait for a reply, ms")
    parser.add_argument("--retries", type=int, default=5, help="how often to ask again")
    args = wire.start(parser)
    answered = retry = 0

    client = connect(args)
    poller = zmq.Poller()
    poller.register(client, zmq.POLLIN)
    try:
        while answered == 0:
            client.send(wire.pack(args.message))
            if poller.poll(args.timeout_ms):
                print(wire.printable(wire.read(client.recv_multipart(), str)))
                answered += 1
                break
            if retry == args.retries:
                wire.complain(f"no reply from {args.endpoint}: gave up after {retry} retries")
                break
            retry += 1
            print(
                f"poll timeout after {args.timeout_ms} ms, retrying... ({retry} of {args.retries})"
            )
            poller.unregister(client)
            client.close()
            client = connect(args)
            poller.register(client, zmq.POLLIN)
    except ValueError as why:
        wire.complain(f"bad reply: {why}")
    except KeyboardInterrupt:
        pass
    print(f"poller_client: {answered} answered")
    client.close()
    sys.exit(0 if answered > 0 else 1)


if __name__ == "__main__":
    main()
