#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The front-end of several engines: one ROUTER sends to each in turn, one PULL gathers.

    python3 round_robin_frontend.py --engines 2 --requests 10
    python3 engine.py --index 0
    python3 engine.py --index 1

A ROUTER sends to whom the first frame names. On the way back nobody is named, so the payload
carries engine_index. vLLM's DPLBAsyncMPClient picks the engine with the least to do instead.
"""

import contextlib

import msgspec
import zmq

import common
from structs import ENGINE_CORE_DEAD, UNREADABLE, EngineCoreRequestType, Progress
from structs import read_outputs, read_registration, toy_request

ADD, ABORT = EngineCoreRequestType.ADD.value, EngineCoreRequestType.ABORT.value


def serve(router, pull, engines, progress, max_tokens, stop):
    """Deals the requests out, and gathers until all are finished. Returns who got which."""
    routed = {engine: [] for engine in sorted(engines)}
    dead = False
    for n, name in enumerate(progress.open):
        engine = list(routed)[n % len(routed)]
        request = msgspec.msgpack.encode(toy_request(name, max_tokens))
        router.send_multipart([engine.to_bytes(2, "little"), ADD, request])
        routed[engine].append(name)
        common.say(f"{name} -> engine {engine}")

    while not dead and progress.open and not stop:
        if not pull.poll(common.SLICE_MS):
            continue
        frames = pull.recv_multipart()
        if frames == [ENGINE_CORE_DEAD]:
            common.complain(f"an engine is dead, {len(progress.open)} requests are open")
            dead = True
            continue
        try:
            for line in progress.take(read_outputs(frames)):
                common.say(line)
        except UNREADABLE as why:
            common.complain(f"bad outputs: {why}")

    for engine, names in routed.items():  # Stopped, or one engine of several is dead
        names = [name for name in names if name in progress.open]
        if names:
            common.say(f"aborting {len(names)} requests at engine {engine}")
            with contextlib.suppress(zmq.ZMQError):  # That one cannot be reached
                abort = msgspec.msgpack.encode(names)
                router.send_multipart([engine.to_bytes(2, "little"), ABORT, abort])
    return routed


def main():
    options = common.Options(__doc__)
    options.bind("--input", "tcp://127.0.0.1:5570", "where the engine's DEALER connects")
    options.bind("--output", "tcp://127.0.0.1:5571", "where the engine's PUSH connects")
    options.number("--engines", 2, "wait for so many", least=1, most=65535)
    options.number("--requests", 10, "how many to send", least=1, most=1000000)
    options.number("--max-tokens", 4, "tokens to ask for, each", least=1)
    args = options.parse()
    stop = common.Stop()
    progress = Progress(args.requests)
    engines, routed = set(), {}

    with zmq.Context() as context:
        with context.socket(zmq.ROUTER) as router, context.socket(zmq.PULL) as pull:
            router.router_mandatory = 1  # else what goes to an unknown identity is dropped
            router.sndhwm = router.rcvhwm = pull.rcvhwm = 0  # as vLLM: no limit
            router.linger, pull.linger = common.LINGER_MS, 0
            common.bind(router, args.input)
            common.bind(pull, args.output)

            while len(engines) < args.engines and not stop:
                if not router.poll(common.SLICE_MS):
                    continue
                try:
                    engine = read_registration(router.recv_multipart())
                    engines.add(engine)
                    common.say(f"engine {engine} registered")
                except UNREADABLE as why:
                    common.complain(f"bad registration: {why}")
            if len(engines) == args.engines:
                routed = serve(router, pull, engines, progress, args.max_tokens, stop)

    for engine, names in routed.items():
        print(f"engine {engine}: {' '.join(names)}")
    common.summary(progress)
    return 0 if progress.complete == args.requests else 1


if __name__ == "__main__":
    common.run(main)
