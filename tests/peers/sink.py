#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A PULL socket that gathers the results of all workers. In C: push_pull/sink.c"""

import argparse
from collections import Counter

import zmq

import wire


def main():
    parser = argparse.ArgumentParser(description="PULL: gathers results, counts them for each worker")
    parser.add_argument(
        "--endpoint", default="tcp://127.0.0.1:5561", help="where workers and ventilator connect"
    )
    parser.add_argument("--count", type=int, default=100, help="results; 0: until Ctrl-C")
    args = wire.start(parser)
    gathered = bad = announced = 0
    workers = Counter()

    results = zmq.Context.instance().socket(zmq.PULL)
    wire.bind(results, args.endpoint)
    try:
        while args.count == 0 or gathered < args.count:
            frames = results.recv_multipart()
            try:
                message = wire.read(frames, dict)
                if isinstance(message.get("tasks"), int):
                    announced += message["tasks"]
                    print(f"the ventilator announces {wire.some(message['tasks'], 'task')}")
                    continue
                result = wire.read(frames, wire.Result)
            except ValueError as why:
                wire.complain(f"bad result: {why}")
                bad += 1
                continue
            name = wire.printable(result.worker)
            print(f"task {result.task} <- {name}: {result.value}")
            workers[name] += 1
            gathered += 1
    except KeyboardInterrupt:
        pass
    for name in sorted(workers):
        print(f"{name}: {wire.some(workers[name], 'task')}")
    if announced > gathered:
        print(f"missing: {announced - gathered} of {announced}")
    known = wire.some(len(workers), "worker")
    print(f"sink: {wire.some(gathered, 'result')} from {known}, {bad} bad")
    results.close()


if __name__ == "__main__":
    main()
