#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The same as frontend.py with one poller over both sockets: what comes first is served first.

    python3 poller_frontend.py --requests 3 --max-tokens 4
    python3 engine.py                              (the other end: DEALER and PUSH)

So it notices an engine that dies before it has registered, or registers again. vLLM's
SyncMPClient.process_outputs_socket polls its PULL beside a PAIR that tells it to stop.
"""

import msgspec
import zmq

import common
from structs import ENGINE_CORE_DEAD, UNREADABLE, EngineCoreRequestType, Progress
from structs import read_outputs, read_registration, toy_request

ADD, ABORT = EngineCoreRequestType.ADD.value, EngineCoreRequestType.ABORT.value
ABORT_NOTHING = [ABORT, msgspec.msgpack.encode([])]


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
    poller = zmq.Poller()

    with zmq.Context() as context:
        with context.socket(zmq.ROUTER) as router, context.socket(zmq.PULL) as pull:
            router.router_mandatory = 1  # else what goes to an unknown identity is dropped
            router.sndhwm = router.rcvhwm = pull.rcvhwm = 0  # as vLLM: no limit
            router.linger, pull.linger = common.LINGER_MS, 0
            common.bind(router, args.input)
            common.bind(pull, args.output)
            poller.register(router, zmq.POLLIN)
            poller.register(pull, zmq.POLLIN)

            while not dead and progress.open and not stop:
                readable = dict(poller.poll(common.KNOCK_MS))
                if not readable and engine is not None and not stop:  # Silence: is it still there?
                    dead = not common.answers(router, identity, ABORT_NOTHING)
                try:
                    if router in readable:
                        index = read_registration(router.recv_multipart())
                        common.say(f"engine {index} registered")
                        dead = index == engine  # Started anew: it knows of no requests
                        if engine is None:
                            engine, identity = index, index.to_bytes(2, "little")
                            for name in progress.open:
                                request = msgspec.msgpack.encode(toy_request(name, args.max_tokens))
                                router.send_multipart([identity, ADD, request])
                                common.say(f"{name} -> engine {engine}")
                    if pull in readable:
                        frames = pull.recv_multipart()
                        if frames == [ENGINE_CORE_DEAD]:
                            dead = True
                            continue
                        for line in progress.take(read_outputs(frames), stream=True):
                            common.say(line)
                except UNREADABLE as why:
                    common.complain(f"bad message: {why}")

            if dead:
                lost = list(progress.lose(engine, [*progress.open]))
                for line in lost:
                    common.say(line)
                common.complain(f"the engine is dead, {len(lost)} requests are lost")
            if progress.open and engine is not None:  # Stopped
                common.say(f"aborting {len(progress.open)} requests at engine {engine}")
                router.send_multipart([identity, ABORT, msgspec.msgpack.encode([*progress.open])])

    common.summary(progress)
    return 0 if progress.complete == args.requests else 1


if __name__ == "__main__":
    common.run(main)
