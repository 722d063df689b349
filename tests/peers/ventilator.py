#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""PUSH: hands out tasks, in turn, to the workers that are there.

    python3 sink.py --count 100
    python3 ventilator.py --count 100 --workers 2
    python3 worker.py --name w1                    (run it twice: w1, w2)

A PUSH gives each task to one worker. The first worker to connect would get them all, so it
waits until the handshakes with --workers of them are over: its socket's monitor tells.
"""

import msgspec
import zmq
from zmq.utils.monitor import recv_monitor_message

import common
from structs import BatchStart, Task

FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


def wait_for_workers(tasks, monitor, wanted, stop):
    connected = strangers = 0
    while not stop and connected < wanted:
        if not monitor.poll(common.SLICE_MS):
            continue
        event = recv_monitor_message(monitor)["event"]
        if event & FAILED:
            strangers += 1  # Its DISCONNECTED is still to come
        elif event == zmq.EVENT_DISCONNECTED and strangers:
            strangers -= 1
        else:
            connected += 1 if event == zmq.EVENT_HANDSHAKE_SUCCEEDED else -1
            common.say(f"{connected} of {wanted} workers connected")
    tasks.disable_monitor()  # Seen enough


def main():
    options = common.Options(__doc__)
    options.bind("--endpoint", "tcp://127.0.0.1:5560", "where the workers connect")
    options.connect("--sink", "tcp://127.0.0.1:5561", "who is told how many tasks come")
    options.number("--count", 100, "how many tasks, 0: until stopped")
    options.number("--workers", 1, "wait for so many")
    args = options.parse()
    stop = common.Stop()
    sent = 0

    with zmq.Context() as context:
        with context.socket(zmq.PUSH) as tasks, context.socket(zmq.PUSH) as sink:
            events = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | FAILED
            with tasks.get_monitor_socket(events) as monitor:
                common.bind(tasks, args.endpoint)
                sink.connect(args.sink)
                sink.send(msgspec.msgpack.encode(BatchStart(args.count)))
                wait_for_workers(tasks, monitor, args.workers, stop)
            while not stop and (args.count == 0 or sent < args.count):
                # Not writable: all workers have as much as they hold (HWM), or none is there
                if tasks.poll(common.SLICE_MS, zmq.POLLOUT):
                    tasks.send(msgspec.msgpack.encode(Task(sent, sent)))
                    common.say(f"task {sent} ->")
                    sent += 1
            # -1: for ever. A task that nobody has taken would be lost
            tasks.linger = sink.linger = common.LINGER_MS if stop else -1
            common.summary(f"{sent} tasks handed out")
        common.hand_over(context, stop)


if __name__ == "__main__":
    common.run(main)
