#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Demo 2: a toy engine: takes requests from a DEALER, streams tokens out of a PUSH.
In C: router_dealer/engine.c"""

import argparse
import time

import zmq

import wire


def main():
    parser = argparse.ArgumentParser(description="a toy engine: DEALER in, PUSH out")
    parser.add_argument("--index", type=int, default=0, help="which engine it is")
    parser.add_argument("--input", default="tcp://127.0.0.1:5570", help="the front-end's ROUTER")
    parser.add_argument("--output", default="tcp://127.0.0.1:5571", help="the front-end's PULL")
    parser.add_argument("--step-ms", type=int, default=10, help="ms that a step takes")
    parser.add_argument("--count", type=int, default=0, help="requests; 0: until Ctrl-C")
    args = wire.start(parser)
    requests, counts, stopped = {}, {"finished": 0, "aborted": 0, "bad": 0}, wire.stop_signals()

    def done():
        return args.count and counts["finished"] + counts["aborted"] >= args.count

    context = zmq.Context.instance()
    print(f"waiting for a front-end at {args.input}")
    while not stopped and not done():
        push, dealer = context.socket(zmq.PUSH), context.socket(zmq.DEALER)  # For one front-end
        push.reconnect_ivl = dealer.reconnect_ivl = 300  # ms: by then they have been closed
        push.sndhwm = 0
        dealer.routing_id = wire.identity(args.index)
        monitor = dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        poller, ready = zmq.Poller(), {}
        poller.register(dealer, zmq.POLLIN)
        poller.register(monitor, zmq.POLLIN)
        push.connect(args.output)
        dealer.connect(args.input)
        print(f"registering as engine {args.index}")
        dealer.send(wire.pack(wire.ready(args.index)))
        while monitor not in ready and not stopped and not done():
            ready = dict(poller.poll(0 if requests else 1000))  # ms; a signal only ends the loop
            if dealer in ready:
                counts["bad"] += not wire.take_request(dealer.recv_multipart(), requests)
            elif requests:
                time.sleep(args.step_ms / 1000)
                wire.step(args.index, requests, push, counts)
        for request in requests.values():
            request.aborted = True
        if requests:
            wire.step(args.index, requests, push, counts)
        if monitor in ready:
            print("the front-end has disconnected")
        if stopped:
            push.send(wire.ENGINE_CORE_DEAD)
        dealer.disable_monitor()
        dealer.close(linger=0)
        push.close(linger=0 if monitor in ready else 500)
    print("engine: " + ", ".join(f"{number} {what}" for what, number in counts.items()))


if __name__ == "__main__":
    main()
