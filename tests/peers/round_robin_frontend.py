#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Demo 2.2: as frontend.py, with several engines that get requests in turn.
In C: router_dealer/round_robin_frontend.c"""

import argparse
import sys

import zmq

import wire


def main():
    parser = argparse.ArgumentParser(description="ROUTER and PULL: requests out, tokens in")
    parser.add_argument("--input", default="tcp://127.0.0.1:5570", help="for the engines' DEALERs")
    parser.add_argument("--output", default="tcp://127.0.0.1:5571", help="for the engines' PUSHes")
    parser.add_argument("--engines", type=int, default=2, help="how many")
    parser.add_argument("--requests", type=int, default=10, help="how many")
    parser.add_argument("--max-tokens", type=int, default=4, help="tokens for each")
    args = wire.start(parser)
    tokens = {f"r{n}": 0 for n in range(args.requests)}  # How many each request has
    ended, registered = {}, set()  # ended[r]: whether r is complete

    context = zmq.Context.instance()
    router, pull = context.socket(zmq.ROUTER), context.socket(zmq.PULL)
    router.set_hwm(0)
    wire.bind(router, args.input)
    wire.bind(pull, args.output)
    try:
        while len(registered) < args.engines:  # 1. Engines 0 to N - 1 register
            try:
                engine = wire.registered(router.recv_multipart(), args.engines)
                print(f"engine {engine} registered")
                registered.add(engine)
            except ValueError as why:
                wire.complain(f"bad registration: {why}")
        for n in range(args.requests):  # 2. Send all requests, to one engine after the other
            engine = n % args.engines
            router.send_multipart([wire.identity(engine), *wire.request(n, args.max_tokens)])
            print(f"r{n} -> engine {engine}")
        while len(ended) < args.requests:  # 3. Gather outputs until all requests have ended
            wire.take_outputs(pull.recv_multipart(), tokens, ended, stream=False)
    except KeyboardInterrupt:
        pass
    for engine in range(args.engines):
        print(f"engine {engine}:", *(f"r{n}" for n in range(engine, args.requests, args.engines)))
    complete, some = sum(ended.values()), wire.some(sum(tokens.values()), "token")
    print(f"round_robin_frontend: {complete} of {args.requests} requests complete, {some}")
    context.destroy(linger=0)
    sys.exit(complete < args.requests)


if __name__ == "__main__":
    main()
