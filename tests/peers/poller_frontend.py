#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Demo 2.1: as frontend.py, with one poller that watches both sockets.
In C: router_dealer/poller_frontend.c"""

import argparse
import sys

import zmq

import wire


def main():
    parser = argparse.ArgumentParser(description="ROUTER and PULL: requests out, tokens in")
    parser.add_argument("--input", default="tcp://127.0.0.1:5570", help="for the engine's DEALER")
    parser.add_argument("--output", default="tcp://127.0.0.1:5571", help="for the engine's PUSH")
    parser.add_argument("--requests", type=int, default=3, help="how many")
    parser.add_argument("--max-tokens", type=int, default=4, help="tokens for each")
    args = wire.start(parser)
    tokens = {f"r{n}": 0 for n in range(args.requests)}  # How many each request has
    ended, engine = {}, None  # ended[r]: whether r is complete

    context = zmq.Context.instance()
    router, pull = context.socket(zmq.ROUTER), context.socket(zmq.PULL)
    router.set_hwm(0)
    wire.bind(router, args.input)
    wire.bind(pull, args.output)
    poller = zmq.Poller()
    poller.register(pull, zmq.POLLIN)
    poller.register(router, zmq.POLLIN)
    try:
        while len(ended) < args.requests:
            for socket, _ in poller.poll():
                if socket == pull:
                    wire.take_outputs(pull.recv_multipart(), tokens, ended)
                    continue
                try:
                    registered = wire.registered(router.recv_multipart())
                    print(f"engine {registered} registered")
                except ValueError as why:
                    wire.complain(f"bad registration: {why}")
                    continue
                for n in range(args.requests if engine is None else 0):  # The first gets them all
                    request = wire.request(n, args.max_tokens)
                    router.send_multipart([wire.identity(registered), *request])
                    print(f"r{n} -> engine {registered}")
                engine = registered
    except KeyboardInterrupt:
        pass
    complete, some = sum(ended.values()), wire.some(sum(tokens.values()), "token")
    print(f"poller_frontend: {complete} of {args.requests} requests complete, {some}")
    context.destroy(linger=0)
    sys.exit(complete < args.requests)


if __name__ == "__main__":
    main()
