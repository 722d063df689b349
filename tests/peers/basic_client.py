#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Demo 1: a REQ socket that sends a request and waits for the reply. In C: req_rep/basic_client.c"""

import argparse
import sys

import zmq

import wire


def main():
    parser = argparse.ArgumentParser(description="REQ: sends a message and prints the reply")
    parser.add_argument("--endpoint", default="tcp://127.0.0.1:5555", help="where the server listens")
    parser.add_argument("--message", default="ping", help="what to send")
    parser.add_argument("--count", type=int, default=1, help="requests; 0: until Ctrl-C")
    args = wire.start(parser)
    answered = 0

    client = zmq.Context.instance().socket(zmq.REQ)
    client.connect(args.endpoint)
    try:
        while args.count == 0 or answered < args.count:
            client.send(wire.pack(args.message))
            print(wire.printable(wire.read(client.recv_multipart(), str)))
            answered += 1
    except ValueError as why:
        wire.complain(f"bad reply: {why}")
    except KeyboardInterrupt:
        pass
    print(f"basic_client: {answered} answered")
    client.close(linger=0)
    sys.exit(0 if answered > 0 and answered >= args.count else 1)


if __name__ == "__main__":
    main()
