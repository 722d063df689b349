# SPDX-License-Identifier: MIT
"""What mock_frontend.py does when all engines are there: requests in turn, outputs, the dead."""

import time

import msgspec

import common
from structs import ENGINE_CORE_DEAD, UNREADABLE, EngineCoreRequestType
from structs import read_outputs, read_registration, toy_request

ADD, ABORT = EngineCoreRequestType.ADD.value, EngineCoreRequestType.ABORT.value
ABORT_NOTHING = [ABORT, msgspec.msgpack.encode([])]


def serve(router, pull, engines, progress, max_tokens, stop):
    """Deals the requests out, and gathers until all are finished. Returns who got which. The first
    death is the end, as it is for vLLM."""
    routed = {engine: [] for engine in sorted(engines)}
    living, turn = list(routed), 0
    waiting = list(progress.open)
    knock_at, soon = time.monotonic() + common.KNOCK_MS / 1000, 0
    last_words = deaths = 0

    def dead(engine):
        nonlocal deaths
        deaths += 1
        living.remove(engine)
        lines = list(progress.lose(engine, routed[engine]))
        for line in lines:
            common.say(line)
        were = "request was" if len(lines) == 1 else "requests were"
        common.complain(f"engine {engine} is dead, {len(lines)} {were} open")

    def send(engine, *frames):
        return common.answers(router, engine.to_bytes(2, "little"), frames)

    while len(living) == len(routed) and progress.open and not stop:
        while waiting and living:
            name, engine = waiting.pop(0), living[turn % len(living)]
            turn += 1
            routed[engine].append(name)
            common.say(f"{name} -> engine {engine}")
            request = msgspec.msgpack.encode(toy_request(name, max_tokens))
            if not send(engine, ADD, request):
                dead(engine)

        for socket in (pull, router):
            if socket.poll(common.KNOCK_SOON_MS if socket is pull else 0):
                frames = socket.recv_multipart()
                try:
                    if socket is router:
                        engine = read_registration(frames)
                        if engine in routed:  # It has restarted and knows of no requests
                            if engine in living:
                                dead(engine)
                            living.append(engine)
                            common.say(f"engine {engine} registered")
                    elif frames == [ENGINE_CORE_DEAD]:  # Whose words these are, nobody says
                        last_words += 1
                        knock_at, soon = time.monotonic(), common.KNOCK_SOON_TIMES
                    else:
                        for line in progress.take(read_outputs(frames)):
                            common.say(line)
                except UNREADABLE as why:
                    common.complain(f"bad message: {why}")

        if time.monotonic() >= knock_at:
            all_of_them = soon == 1 and last_words > deaths
            for engine in [e for e in living if all_of_them or not send(e, *ABORT_NOTHING)]:
                dead(engine)
            soon = soon - 1 if last_words > deaths else 0
            pause_ms = common.KNOCK_SOON_MS if soon else common.KNOCK_MS
            knock_at = time.monotonic() + pause_ms / 1000

    for name in waiting:
        common.say(f"{name} failed: no engine is left")
    for engine, names in routed.items():  # Stopped
        names = [name for name in names if name in progress.open]
        if names:
            common.say(f"aborting {len(names)} request{'s' * (len(names) != 1)} at engine {engine}")
            send(engine, ABORT, msgspec.msgpack.encode(names))
    return routed
