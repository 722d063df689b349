#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Demo 2.3: as round_robin_frontend.py, but engines know only one address.
In C: router_dealer/handshake_frontend.c"""

import argparse
import sys

import zmq

import wire


def main():
    parser = argparse.ArgumentParser(description="tells engines where to connect, sends requests")
    parser.add_argument("--handshake", default="tcp://127.0.0.1:29550", help="for engines' HELLO")
    parser.add_argument("--input", default="tcp://127.0.0.1:5570", help="for the engines' DEALERs")
    parser.add_argument("--output", default="tcp://127.0.0.1:5571", help="for the engines' PUSHes")
    parser.add_argument("--engines", type=int, default=1, help="how many")
    parser.add_argument("--requests", type=int, default=10, help="how many")
    parser.add_argument("--max-tokens", type=int, default=4, help="tokens for each")
    args = wire.start(parser)
    tokens = {f"r{n}": 0 for n in range(args.requests)}  # How many each request has
    ended, states, registered = {}, {}, set()  # ended[r]: whether r is complete

    context = zmq.Context.instance()
    handshake, router, pull = map(context.socket, (zmq.ROUTER, zmq.ROUTER, zmq.PULL))
    router.set_hwm(0)
    for socket, endpoint in (handshake, args.handshake), (router, args.input), (pull, args.output):
        wire.bind(socket, endpoint)
    try:
        ends = [socket.getsockopt_string(zmq.LAST_ENDPOINT) for socket in (router, pull)]
        init = wire.EngineHandshakeMetadata(wire.EngineZmqAddresses(ends[:1], ends[1:]), {})
        while list(states.values()).count("READY") < args.engines:  # 1. Answer each HELLO
            try:
                frames = handshake.recv_multipart()
                engine = wire.registered(frames, args.engines)
                status = wire.read(frames[1:], wire.EngineStatus).status
                if states.get(engine) == "READY" or (status == "READY" and engine not in states):
                    raise ValueError(f"{status} of engine {engine}")
                print(f"engine {engine}: {status}")
                states[engine] = status
                if status == "HELLO":
                    handshake.send_multipart([frames[0], wire.pack(init)])
            except ValueError as why:
                wire.complain(f"bad handshake: {why}")
        handshake.close()  # It is for the start only
        while len(registered) < args.engines:  # 2. They have registered, too
            try:
                engine = wire.registered(router.recv_multipart(), args.engines)
                print(f"engine {engine} registered")
                registered.add(engine)
            except ValueError as why:
                wire.complain(f"bad registration: {why}")
        for n in range(args.requests):  # 3. Send all requests, to one engine after the other
            engine = n % args.engines
            router.send_multipart([wire.identity(engine), *wire.request(n, args.max_tokens)])
            print(f"r{n} -> engine {engine}")
        while len(ended) < args.requests:  # 4. Gather outputs until all requests have ended
            wire.take_outputs(pull.recv_multipart(), tokens, ended, stream=False)
    except KeyboardInterrupt:
        pass
    complete, some = sum(ended.values()), wire.some(sum(tokens.values()), "token")
    print(f"handshake_frontend: {complete} of {args.requests} requests complete, {some}")
    context.destroy(linger=0)
    sys.exit(complete < args.requests)


if __name__ == "__main__":
    main()
