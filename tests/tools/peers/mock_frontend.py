#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The front-end of several engines that it knows only by number: HELLO, INIT, READY, and then the
work.

    python3 mock_frontend.py --engines 2
    python3 mock_engine.py --engine-count 2

An engine knows one address, that of this ROUTER. It says HELLO, is told in INIT where to connect,
registers there, and says READY. As vLLM's wait_for_engine_startup in vllm/v1/engine/utils.py,
with data_parallel_size_local 0: engines are remote, and headless.
"""

import enum
import time

import msgspec
import zmq

import common
from serve import serve
from structs import UNREADABLE, EngineHandshakeMetadata, EngineStatus, EngineZmqAddresses
from structs import Progress, read_registration


class State(enum.Enum):
    NEW = "HELLO"  # What is awaited
    CONNECTED = "READY"
    READY = "registration"


def receive(socket, awaited, deadline, stop):
    """One message, or None after a signal. Raises an error if nothing comes before the deadline."""
    while not stop:
        if time.monotonic() >= deadline:
            missing = (f"engine {engine}: no {what}" for engine, what in awaited())
            common.fail(f"{', '.join(missing)} in time (--timeout-s)")
        if socket.poll(common.SLICE_MS):
            return socket.recv_multipart()
    return None


def shake_hands(router, addresses, count, deadline, stop):
    """Until every engine is ready. Anything that is not the next step of an engine is an error."""
    states = dict.fromkeys(range(count), State.NEW)
    decoder = msgspec.msgpack.Decoder(EngineStatus)
    init = msgspec.msgpack.encode(EngineHandshakeMetadata(addresses, {}))

    def awaited():
        return [(engine, state.value) for engine, state in states.items() if state != State.READY]

    while awaited():
        frames = receive(router, awaited, deadline, stop)
        if frames is None:
            return False
        engine = int.from_bytes(frames[0], "little") if len(frames[0]) == 2 else None
        if engine not in states:
            common.fail(f"unexpected engine {frames[0].hex() if engine is None else engine}")
        try:
            (payload,) = frames[1:]
            message = decoder.decode(payload)
        except UNREADABLE as why:
            common.fail(f"engine {engine}: bad handshake: {why}")
        state = states[engine]
        if message.local or not message.headless:
            common.fail(f"engine {engine}: {message.status} of one that is local or not headless")
        if message.status != state.value:
            common.fail(f"engine {engine}: unexpected {message.status}, its state is {state.name}")
        common.say(f"engine {engine}: {message.status}")
        if state == State.NEW:
            router.send_multipart([frames[0], init])
            states[engine] = State.CONNECTED
        else:
            states[engine] = State.READY
    return True


def register(router, count, deadline, stop):
    """Until the ROUTER of the requests knows every engine, too."""
    missing = set(range(count))
    while missing:
        frames = receive(
            router,
            lambda: [(engine, State.READY.value) for engine in sorted(missing)],
            deadline,
            stop,
        )
        if frames is None:
            return False
        try:
            engine = read_registration(frames)
        except UNREADABLE as why:
            common.fail(f"bad registration from {frames[0].hex()}: {why}")
        if engine not in missing:
            common.fail(f"unexpected registration of engine {engine}")
        missing.remove(engine)
        common.say(f"engine {engine} registered")
    return True


def main():
    options = common.Options(__doc__)
    options.bind("--handshake", "tcp://127.0.0.1:29550", "where engines say HELLO")
    options.bind("--input", "tcp://127.0.0.1:5570", "where an engine's DEALER connects")
    options.bind("--output", "tcp://127.0.0.1:5571", "where an engine's PUSH connects")
    options.number("--engines", 1, "how many there are, from 0 on", least=1, most=65535)
    options.number("--requests", 10, "how many to send", least=1, most=1000000)
    options.number("--max-tokens", 4, "tokens to ask for, each", least=1)
    options.number("--timeout-s", 60, "seconds that all engines have to come", least=1, most=86400)
    args = options.parse()
    stop = common.Stop()
    progress = Progress(args.requests)
    routed = {}

    with zmq.Context() as context:
        with (
            context.socket(zmq.ROUTER) as handshake,
            context.socket(zmq.ROUTER) as router,
            context.socket(zmq.PULL) as pull,
        ):
            for socket in (handshake, router):
                socket.router_mandatory = 1  # else what goes to an unknown identity is dropped
                socket.sndhwm = socket.rcvhwm = 0  # as vLLM: no limit
                socket.linger = common.LINGER_MS
            pull.rcvhwm = pull.linger = 0
            common.bind(handshake, args.handshake)
            common.bind(router, args.input)
            common.bind(pull, args.output)
            deadline = time.monotonic() + args.timeout_s
            addresses = EngineZmqAddresses(
                [router.getsockopt_string(zmq.LAST_ENDPOINT)],
                [pull.getsockopt_string(zmq.LAST_ENDPOINT)],
            )
            if shake_hands(handshake, addresses, args.engines, deadline, stop) and register(
                router, args.engines, deadline, stop
            ):
                engines = range(args.engines)
                routed = serve(router, pull, engines, progress, args.max_tokens, stop)

    for engine, names in routed.items():
        print(f"engine {engine}: {' '.join(names)}")
    common.summary(progress)
    return 0 if progress.complete == args.requests else 1


if __name__ == "__main__":
    common.run(main)
