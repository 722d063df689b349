# SPDX-License-Identifier: MIT
"""All demos together for a long time, with faults all the while. Of each pair one side keeps running
while the other is killed and restarted. The side that keeps running must not use more memory or
more descriptors as time goes on.

    .venv/bin/python tests/tools/faults/soak.py 10 --seed 1         (make soak MINUTES=10)

Flat means: the median of the last third of the time is no more than 1 MiB (VmRSS) and no more than
one descriptor above the median of the second third. Both are measured every half second.
"""

import argparse
import multiprocessing
import statistics
import sys
import threading
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import reliability
from engine_loop import Handshake, RoundRobin
from kv_stream import KvStream
from schedule import Schedule, patience

GROWTH_KB, GROWTH_FDS = 1024, 1
LOOK_S = 0.5


class Lasting(Schedule):
    """A pair: `begin` starts the programs that keep running, `round` is repeated around them, and `end`
    checks what must hold then."""

    def __init__(self, seed, seconds):
        super().__init__(seed)
        self.until_s = time.monotonic() + seconds
        self.lasting, self.samples = {}, []  # By name; for each look, memory and descriptors of each

    def watch(self, done):
        while not done.wait(LOOK_S):
            if all(each.running() for each in self.lasting.values()):
                self.samples.append({name: usage(each) for name, each in self.lasting.items()})

    def finish(self, program):
        """Removes a program that has ended."""
        wrong = program.close()
        self.demand(not wrong, "\n".join(wrong))
        self.programs.remove(program)

    def run(self):
        done = threading.Event()
        watcher = threading.Thread(target=self.watch, args=[done])
        try:
            self.begin()
            watcher.start()
            while time.monotonic() < self.until_s:
                self.round()
                del self.story[:-20]
        finally:
            done.set()
            if watcher.is_alive():
                watcher.join()
        self.end()
        for name, program in self.lasting.items():
            if program.running():
                self.stop(program)
            else:
                self.demand(program.wait() == 0, f"{name} has ended before its time")

    def growth(self):
        """name -> [KB, KB, descriptors, descriptors]: medians of the second and the last third."""
        third = len(self.samples) // 3
        grown = {}
        for name in self.lasting:
            second = [each[name] for each in self.samples[third : 2 * third]]
            last = [each[name] for each in self.samples[2 * third :]]
            grown[name] = [
                int(statistics.median(look[what] for look in part))
                for what in (0, 1)
                for part in (second, last)
            ]
        return grown


def usage(program):
    """Memory in KB, and open descriptors."""
    process = Path(f"/proc/{program.pid}")
    memory = (process / "status").read_text().split("VmRSS:")[1].split()[0]
    return int(memory), len(list((process / "fd").iterdir()))


class Stream(Lasting, KvStream):
    def begin(self):
        self.lang = "c"
        self.keeps = {"interval_ms": 2, "hwm": 1000, "buffer_steps": 1000, "blocks": 4}
        self.bind(behind_proxies=True)
        super().begin()
        self.lasting = self.who()

    def round(self):
        self.pace(0.2, 2)
        self.fault()
        self.look()
        self.programs = [each for each in self.programs if each.running()]

    def end(self):
        self.catch_up()
        for proxy in self.proxies:
            proxy.close()


class PublisherLasts(Stream):
    kind = "kv, the publisher lasts"
    faults = ("subscriber", "pause", "pause", "stall")

    def who(self):
        return {"kv_publisher": self.publisher}


class SubscriberLasts(Stream):
    kind = "kv, the subscriber lasts"
    faults = ("publisher", "pause", "pause", "stall")

    def who(self):
        return {"kv_subscriber": self.subscriber}


class Engines(Lasting, RoundRobin):
    kind = "engines"

    def begin(self):
        self.setup()
        self.tokens = 40
        self.engines = [self.engine(index, keep=20) for index in range(3)]
        self.lasting = {f"engine {index}": self.engines[index] for index in (0, 1)}

    def round(self):
        pick = self.random
        self.dead, self.terms = set(), 0
        self.requests, self.how = pick.randint(5, 100), pick.choice(["fail", "reroute"])
        self.options = {
            "engines": 3,
            "requests": self.requests,
            "max_tokens": self.tokens,
            "on_dead": self.how,
        }
        frontend = self.front()
        fault = pick.choice(["none", "front-end", "engine", "engine", "pause"])
        self.pace(0, 0.3)
        if fault == "front-end":
            self.lose_frontend(frontend)
            self.finish(frontend)
            return
        if fault == "pause":
            self.pause(pick.choice(self.engines), pick.uniform(0.1, 0.5))
        elif fault == "engine":
            self.dead.add(2)
            self.kill(self.engines[2])
            self.finish(self.engines[2])
            self.engines[2] = self.engine(2, keep=20)
        failed = self.settle(frontend, frontend.wait(patience(10)))
        self.demand(self.how == "fail" or failed == 0, "failed although there was another engine")
        self.counts["rerouted"] += len(frontend.lines("^r.* to be sent again: "))
        self.finish(frontend)

    def end(self):
        self.stop(self.engines[2])


class Joining(Lasting, Handshake):
    kind = "handshakes"

    def begin(self):
        self.setup()
        self.wire["handshake"] = self.ipc()
        self.spawn, self.tokens, self.requests = False, 40, 20
        self.engines = [self.engine(index, keep=20, quiet=True) for index in range(2)]
        self.lasting = {"mock_engine 0": self.engines[0]}

    def round(self):
        frontend = self.front()
        self.pace(0, 0.5)
        fault = self.random.choice(["none", "front-end", "engine"])
        self.dead = set()
        if fault == "engine":
            self.dead.add(1)
            self.kill(self.engines[1])
            self.finish(self.engines[1])
            self.engines[1] = self.engine(1, keep=20, quiet=True)
        if fault == "front-end":
            self.lose_frontend(frontend)
        else:
            status = frontend.wait(patience(10))
            answered, _ = self.ended(frontend)
            self.demand(status == 0 or frontend.err, "not all answered, and no word on stderr")
            self.count(answered, self.requests - answered)
        self.finish(frontend)

    def end(self):
        self.stop(self.engines[1])


ROOMS = [
    PublisherLasts,
    SubscriberLasts,
    Engines,
    Joining,
]


def play(number, seed, seconds):
    """Its kind, its counts, the growth of the programs that kept running, and the failure or None."""
    room = ROOMS[number](seed, seconds)
    wrong = None
    try:
        room()
    except AssertionError as error:
        wrong = str(error)
    except Exception:  # A mistake of ours, and the others go on
        wrong = f"{room.kind}\n{traceback.format_exc()}"
    return room.kind, room.counts, room.growth() if room.samples else {}, wrong


def main():
    parser = argparse.ArgumentParser(description="All demos together, with faults")
    parser.add_argument("minutes", type=float)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", action="store_true", help="write docs/reliability.md")
    options = parser.parse_args()
    rooms, grown, wrong = {}, {}, []
    with ProcessPoolExecutor(len(ROOMS), multiprocessing.get_context("spawn")) as pool:
        jobs = [
            pool.submit(play, number, options.seed, options.minutes * 60)
            for number in range(len(ROOMS))
        ]
        for job in jobs:
            kind, counts, growth, failure = job.result()
            counts.pop("schedules", None)
            rooms[kind] = dict(sorted(counts.items()))
            print(f"{kind}: {reliability.figures(counts)}")
            grown |= growth
            wrong += [failure] if failure else []
    total = reliability.balance(rooms.values())
    print(f"all: {reliability.figures(total)}")
    if not wrong and total["sent"] != sum(total.values()) - total["sent"]:
        wrong.append("what was sent is not what has become of it")
    for name, (before, after, fds_before, fds_after) in grown.items():
        print(f"{name}: {before} -> {after} KB, {fds_before} -> {fds_after} descriptors")
        if after > before + GROWTH_KB or fds_after > fds_before + GROWTH_FDS:
            wrong.append(f"{name} grows")
    print("\n\n".join([*wrong, f"{len(wrong)} failures"]))
    if options.record:
        text = reliability.soak(options.minutes, options.seed, len(wrong), rooms, grown)
        reliability.record("soak", text)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
