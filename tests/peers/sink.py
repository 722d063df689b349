#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""PULL: gathers the results of all workers and reports who did how many.

    python3 sink.py --count 100
    python3 ventilator.py --count 100 --workers 2
    python3 worker.py --name w1                    (run it twice: w1, w2)

A PULL reads fairly from all that push and cannot tell one from the other: the names in the
payload do.
"""

import time
from collections import Counter
from itertools import groupby

import msgspec
import zmq

import common
from structs import UNREADABLE, BatchStart, Result, one_frame


LEDGER_MAX = 4000000  # an announcement of more is not believed


def runs(tasks, most=10):
    """{3, 5, 6, 7} -> 3 5-7"""
    found = []
    for _, run in groupby(enumerate(sorted(tasks)), lambda pair: pair[1] - pair[0]):
        numbers = [task for _, task in run]
        found.append(f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else f"{numbers[0]}")
    return " ".join(found[:most] + ["..."] * (len(found) > most))


def main():
    options = common.Options(__doc__)
    options.bind("--endpoint", "tcp://127.0.0.1:5561", "where to bind")
    options.number("--count", 100, "end after so many results, 0: when stopped")
    options.number("--timeout-s", 0, "give up when none comes back for so long, 0: never", most=86400)
    args = options.parse()
    stop = common.Stop()
    workers = Counter()
    bad = 0
    missing, last, late = None, None, False

    with zmq.Context() as context, context.socket(zmq.PULL) as results:
        results.linger = 0
        common.bind(results, args.endpoint)
        while not stop and (args.count == 0 or sum(workers.values()) < args.count):
            if not results.poll(common.SLICE_MS):
                late = args.timeout_s and last and time.monotonic() - last >= args.timeout_s
                if late:
                    break
                continue
            last = time.monotonic() if missing is not None else None
            try:
                message = msgspec.msgpack.decode(one_frame(results.recv_multipart()))
                if isinstance(message, dict) and "tasks" in message:
                    tasks = msgspec.convert(message, BatchStart).tasks
                    common.say(f"the ventilator announces {tasks} tasks")
                    missing, last = set(range(min(tasks, LEDGER_MAX))), time.monotonic()
                    continue
                result = msgspec.convert(message, Result)
            except UNREADABLE as why:
                common.complain(f"bad result: {why}")
                bad += 1
                continue
            workers[result.worker] += 1
            if missing is not None:
                missing.discard(result.task)
            common.say(f"task {result.task} <- {result.worker}: {result.value}")

    for name in sorted(workers):
        print(f"{name}: {workers[name]} tasks")
    if missing:
        print(f"missing: {runs(missing)}")
    if late:
        common.complain(f"no result for {args.timeout_s} s: gave up")
    common.summary(f"{sum(workers.values())} results from {len(workers)} workers, {bad} bad")
    return 1 if late else 0


if __name__ == "__main__":
    common.run(main)
