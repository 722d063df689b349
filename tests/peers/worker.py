#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""PULL and PUSH: takes tasks from the ventilator, sends results to the sink. In C: push_pull/worker.c"""

import argparse
import os
import time

import zmq

import wire


def main():
    parser = argparse.ArgumentParser(description="PULL and PUSH: squares the numbers that it gets")
    parser.add_argument("--source", default="tcp://127.0.0.1:5560", help="where the ventilator listens")
    parser.add_argument("--sink", default="tcp://127.0.0.1:5561", help="where the sink listens")
    parser.add_argument("--name", default=f"worker-{os.getpid()}", help="goes into each result")
    parser.add_argument("--work-ms", type=int, default=0, help="duration of a task, ms")
    parser.add_argument("--count", type=int, default=0, help="tasks to do; 0: until Ctrl-C")
    args = wire.start(parser)
    done = bad = 0
    linger = -1  # Wait until the last result has left, as long as it takes

    context = zmq.Context.instance()
    tasks, results = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    tasks.connect(args.source)
    results.connect(args.sink)
    print(f"worker {args.name}: pulling from {args.source}")
    try:
        while args.count == 0 or done < args.count:
            frames = tasks.recv_multipart()
            try:
                task = wire.read(frames, wire.Task)
            except ValueError as why:
                wire.complain(f"bad task: {why}")
                bad += 1
                continue
            time.sleep(args.work_ms / 1000)  # Simulates work
            square = task.value * task.value
            results.send(wire.pack(wire.Result(task.task, args.name, square)))
            print(f"task {task.task}: {task.value} squared is {square}")
            done += 1
    except KeyboardInterrupt:
        linger = 500
    print(f"worker: {args.name} did {wire.some(done, 'task')}, {bad} bad")
    tasks.close()
    results.close(linger)


if __name__ == "__main__":
    main()
