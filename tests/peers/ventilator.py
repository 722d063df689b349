#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A PUSH socket that hands out tasks to workers, in turn. In C: push_pull/ventilator.c"""

import argparse

import zmq
from zmq.utils.monitor import recv_monitor_message

import wire


def main():
    parser = argparse.ArgumentParser(description="PUSH: hands out tasks to workers, in turn")
    parser.add_argument("--endpoint", default="tcp://127.0.0.1:5560", help="where workers connect")
    parser.add_argument("--sink", default="tcp://127.0.0.1:5561", help="where the sink listens")
    parser.add_argument("--count", type=int, default=100, help="tasks; 0: until Ctrl-C")
    parser.add_argument("--workers", type=int, default=1, help="workers to wait for")
    args = wire.start(parser)
    sent, linger = 0, -1  # Wait until the last task has left, as long as it takes

    context = zmq.Context.instance()
    tasks, to_sink = context.socket(zmq.PUSH), context.socket(zmq.PUSH)
    monitor = tasks.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    to_sink.connect(args.sink)
    wire.bind(tasks, args.endpoint)
    try:
        to_sink.send(wire.pack({"tasks": args.count}))
        for connected in range(args.workers):
            recv_monitor_message(monitor)
            print(f"{connected + 1} of {args.workers} workers connected")
        tasks.disable_monitor()
        while args.count == 0 or sent < args.count:
            tasks.send(wire.pack({"task": sent, "value": sent}))  # Waits while all queues are full
            print(f"task {sent} ->")
            sent += 1
    except KeyboardInterrupt:
        linger = 0
    print(f"ventilator: {wire.some(sent, 'task')} handed out")
    tasks.close(linger)
    to_sink.close(linger=500)


if __name__ == "__main__":
    main()
