#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Demos 1.1 and 1.2: a REP socket that delays its first answers. In C: req_rep/slow_server.c"""

import argparse
import time

import zmq

import wire


def main():
    parser = argparse.ArgumentParser(description="REP: delays its first answers")
    parser.add_argument("--endpoint", default="tcp://127.0.0.1:5555", help="where clients connect")
    parser.add_argument("--delay-s", type=float, default=1.5, help="delay of an answer, s")
    parser.add_argument("--delay-first-n", type=int, default=2, help="answers to delay")
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
                if answered + bad < args.delay_first_n:
                    print(f"got: {wire.printable(text)}, answering in {args.delay_s:g} s")
                    time.sleep(args.delay_s)  # Simulates work
                else:
                    print(f"got: {wire.printable(text)}, answering now")
                server.send(wire.pack(f"pong: {text}"))
                answered += 1
            except ValueError as why:  # A REP must answer, whatever it got
                wire.complain(f"bad request: {why}")
                server.send(wire.pack({"error": str(why)}))
                bad += 1
    except KeyboardInterrupt:
        pass
    print(f"slow_server: {answered} answered, {bad} bad")
    server.close(linger=500)


if __name__ == "__main__":
    main()
