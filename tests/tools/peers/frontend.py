#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The front-end of one engine: ROUTER for requests, PULL for outputs, plain receives.

    python3 frontend.py --requests 3 --max-tokens 4
    python3 engine.py                              (the other end: DEALER and PUSH)

As MPClient of vllm/v1/engine/core_client.py: both sockets bind, the engine comes and registers,
then a request is [identity][type byte][msgpack]. It first reads the ROUTER, then the PULL; to
watch both at once see poller_frontend.py.
"""

import msgspec
import zmq

import common
from structs import ENGINE_CORE_DEAD, UNREADABLE, EngineCoreRequestType, Progress
from structs import read_outputs, read_registration, toy_request

ADD, ABORT = EngineCoreRequestType.ADD.value, EngineCoreRequestType.ABORT.value
ABORT_NOTHING = [ABORT, msgspec.msgpack.encode([])]


def receive(socket, stop):
    """The next message, or None when a signal ended the wait."""
    while not stop:
        try:
            return socket.recv_multipart()
        except zmq.Again:  # RCVTIMEO is short: time to look at the flag
            continue
    return None


def main():
    options = common.Options(__doc__)
    options.bind("--input", "tcp://127.0.0.1:5570", "where the engine's DEALER connects")
    options.bind("--output", "tcp://127.0.0.1:5571", "where the engine's PUSH connects")
    options.number("--requests", 3, "how many to send", least=1, most=1000000)
    options.number("--max-tokens", 4, "tokens to ask for, each", least=1)
    args = options.parse()
    stop = common.Stop()
    progress = Progress(args.requests)
    engine = None
    dead = False

    with zmq.Context() as context:
        with context.socket(zmq.ROUTER) as router, context.socket(zmq.PULL) as pull:
            router.router_mandatory = 1  # else what goes to an unknown identity is dropped
            router.sndhwm = router.rcvhwm = pull.rcvhwm = 0  # as vLLM: no limit
            router.linger, pull.linger = common.LINGER_MS, 0
            router.rcvtimeo = pull.rcvtimeo = common.SLICE_MS
            common.bind(router, args.input)
            common.bind(pull, args.output)

            while engine is None:
                frames = receive(router, stop)
                if not frames:
                    common.summary(progress)
                    return 1
                try:
                    engine = read_registration(frames)
                    common.say(f"engine {engine} registered")
                except UNREADABLE as why:
                    common.complain(f"bad registration: {why}")

            identity = engine.to_bytes(2, "little")
            for name in progress.open:
                request = msgspec.msgpack.encode(toy_request(name, args.max_tokens))
                router.send_multipart([identity, ADD, request])
                common.say(f"{name} -> engine {engine}")

            while not dead and progress.open and not stop:
                if not pull.poll(common.KNOCK_MS):  # Silence: is it still there?
                    dead = not stop and not common.answers(router, identity, ABORT_NOTHING)
                    continue
                frames = receive(pull, stop)
                if frames == [ENGINE_CORE_DEAD]:
                    dead = True
                    continue
                try:
                    for line in progress.take(read_outputs(frames), stream=True):
                        common.say(line)
                except UNREADABLE as why:
                    common.complain(f"bad outputs: {why}")

            if dead:
                lost = list(progress.lose(engine, [*progress.open]))
                for line in lost:
                    common.say(line)
                common.complain(f"the engine is dead, {len(lost)} requests are lost")
            if progress.open:  # Stopped: the engine need not go on for nobody
                common.say(f"aborting {len(progress.open)} requests at engine {engine}")
                router.send_multipart([identity, ABORT, msgspec.msgpack.encode([*progress.open])])

    common.summary(progress)
    return 0 if progress.complete == args.requests else 1


if __name__ == "__main__":
    common.run(main)
