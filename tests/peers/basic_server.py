#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Demo 1: a REP socket that answers each request. In C: req_rep/basic_server.c"""

import argparse

import zmq

import wire


def main():
    parser = argparse.ArgumentParser(description='REP: answers each request with "pong: <message>"')
    parser.add_argument("--endpoint", default="tcp://127.0.0.1:5555", help="where clients connect")
    parser.add_argument("--count", type=int, default=0, help="requests to answer; 0: until Ctrl-C")
    args = wire.start(parser)
    answered = bad = 0

    server = zmq.Context.instance().socket(zmq.REP)
    wire.bind(server, args.endpoint)
    try:
        while args.count == 0 or answered + bad < args.count:
            frames = server.recv_multipart()
            try:
                text = wire.read(frames, str)
                print(f"got: {wire.printable(text)}")
                server.send(wire.pack(f"pong: {text}"))
                answered += 1
            except ValueError as why:  # A REP must answer, whatever it got
                wire.complain(f"bad request: {why}")
                server.send(wire.pack({"error": str(why)}))
                bad += 1
    except KeyboardInterrupt:
        pass
    print(f"basic_server: {answered} answered, {bad} bad")
    server.close(linger=500)


if __name__ == "__main__":
    main()
