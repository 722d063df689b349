#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""PULL tasks, PUSH results: squares numbers.

    python3 sink.py --count 100
    python3 ventilator.py --count 100 --workers 2
    python3 worker.py --name w1                    (run it twice: w1, w2)

Neither end says who it is: a result carries its worker's name, as a vLLM engine's outputs carry
their engine_index.
"""

import os

import msgspec
import zmq

import common
from structs import UNREADABLE, Result, Task, one_frame


def main():
    options = common.Options(__doc__)
    options.connect("--source", "tcp://127.0.0.1:5560", "the ventilator")
    options.connect("--sink", "tcp://127.0.0.1:5561", "the sink")
    options.text("--name", f"worker-{os.getpid()}", "who it is")
    options.number("--work-ms", 0, "milliseconds that each task takes", most=60000)
    options.number("--count", 0, "end after so many tasks, 0: when stopped")
    args = options.parse()
    stop = common.Stop()
    decoder = msgspec.msgpack.Decoder(Task)
    done = bad = 0

    with zmq.Context() as context:
        with context.socket(zmq.PULL) as source, context.socket(zmq.PUSH) as sink:
            sink.connect(args.sink)
            source.connect(args.source)
            common.say(f"worker {args.name}: pulling from {args.source}")
            while not stop and (args.count == 0 or done < args.count):
                if not source.poll(common.SLICE_MS):
                    continue
                try:
                    task = decoder.decode(one_frame(source.recv_multipart()))
                except UNREADABLE as why:
                    common.complain(f"bad task: {why}")
                    bad += 1
                    continue
                stop.sleep(args.work_ms / 1000)  # The hard work
                result = Result(task.task, args.name, task.value * task.value)
                while not stop and not sink.poll(common.SLICE_MS, zmq.POLLOUT):
                    pass
                if stop:
                    break
                sink.send(msgspec.msgpack.encode(result))
                common.say(f"task {task.task}: {task.value} squared is {result.value}")
                done += 1
            source.linger = 0
            sink.linger = common.LINGER_MS if stop else -1  # -1: until the sink has it all
            common.summary(f"{args.name} did {done} tasks, {bad} bad")
        common.hand_over(context, stop)


if __name__ == "__main__":
    common.run(main)
