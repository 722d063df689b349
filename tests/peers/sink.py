#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""PULL: gathers the results of all workers and reports who did how many.

    python3 sink.py --count 100
    python3 ventilator.py --count 100 --workers 2
    python3 worker.py --name w1                    (run it twice: w1, w2)

A PULL reads fairly from all that push and cannot tell one from the other: the names in the
payload do.
"""

from collections import Counter

import msgspec
import zmq

import common
from structs import UNREADABLE, BatchStart, Result, one_frame


def main():
    options = common.Options(__doc__)
    options.bind("--endpoint", "tcp://127.0.0.1:5561", "where to bind")
    options.number("--count", 100, "end after so many results, 0: when stopped")
    args = options.parse()
    stop = common.Stop()
    workers = Counter()
    bad = 0

    with zmq.Context() as context, context.socket(zmq.PULL) as results:
        results.linger = 0
        common.bind(results, args.endpoint)
        while not stop and (args.count == 0 or sum(workers.values()) < args.count):
            if not results.poll(common.SLICE_MS):
                continue
            try:
                message = msgspec.msgpack.decode(one_frame(results.recv_multipart()))
                if isinstance(message, dict) and "tasks" in message:
                    tasks = msgspec.convert(message, BatchStart).tasks
                    common.say(f"the ventilator announces {tasks} tasks")
                    continue
                result = msgspec.convert(message, Result)
            except UNREADABLE as why:
                common.complain(f"bad result: {why}")
                bad += 1
                continue
            workers[result.worker] += 1
            common.say(f"task {result.task} <- {result.worker}: {result.value}")

    for name in sorted(workers):
        print(f"{name}: {workers[name]} tasks")
    common.summary(f"{sum(workers.values())} results from {len(workers)} workers, {bad} bad")


if __name__ == "__main__":
    common.run(main)
