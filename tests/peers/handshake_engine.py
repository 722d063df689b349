#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Demo 2.3: as engine.py, but it knows one address only, where it says HELLO.
In C: router_dealer/handshake_engine.c"""

import argparse
import time

import zmq
import wire


def main():
    parser = argparse.ArgumentParser(description="a toy engine that is told where to connect")
    parser.add_argument("--handshake", default="tcp://127.0.0.1:29550", help="where to say HELLO")
    parser.add_argument("--index", type=int, default=0, help="which engine it is")
    parser.add_argument("--step-ms", type=int, default=10, help="ms that a step takes")
    args = wire.start(parser)
    requests, stopped, context = {}, wire.stop_signals(), zmq.Context.instance()
    print(f"waiting for a front-end at {args.handshake}")
    while not stopped:
        handshake, push, dealer = map(context.socket, (zmq.DEALER, zmq.PUSH, zmq.DEALER))
        handshake.routing_id = dealer.routing_id = wire.identity(args.index)
        handshake.connect(args.handshake)
        push.reconnect_ivl, dealer.reconnect_ivl = 300, -1  # ms: by then it has been closed
        push.sndhwm = 0
        monitor = dealer.get_monitor_socket(zmq.EVENT_CLOSED | zmq.EVENT_DISCONNECTED)
        poller, ready, asked = zmq.Poller(), {}, time.monotonic()
        handshake.send(wire.pack(wire.EngineStatus("HELLO", local=False, headless=True)))
        # After 30 s it may be another front-end: ask again
        while not stopped and not poller.sockets and time.monotonic() - asked < 30:
            if not handshake.poll(1000):
                continue
            frames = handshake.recv_multipart()
            try:
                addresses = wire.read(frames, wire.EngineHandshakeMetadata).addresses
                push.connect(addresses.outputs[0])
                dealer.connect(addresses.inputs[0])
                poller.register(dealer, zmq.POLLIN)
            except (ValueError, IndexError, zmq.ZMQError) as why:
                wire.complain(f"bad INIT: {why}")
        if poller.sockets:
            poller.register(monitor, zmq.POLLIN)
            print(f"registering as engine {args.index}")
            dealer.send(wire.pack(wire.ready(args.index)))
            handshake.send(wire.pack(wire.EngineStatus("READY", local=False, headless=True)))
            handshake.close(linger=500)
            while monitor not in ready and not stopped:
                ready = dict(poller.poll(0 if requests else 1000))
                if dealer in ready:
                    wire.take_request(dealer.recv_multipart(), requests)
                elif requests:
                    time.sleep(args.step_ms / 1000)
                    wire.step(args.index, requests, push)
            if monitor in ready:
                print("the front-end has disconnected")
            else:  # It counts on us
                push.send(wire.ENGINE_CORE_DEAD)
        push.close(linger=500 if handshake.closed and monitor not in ready else 0)
        requests.clear()
        dealer.disable_monitor()
        handshake.close(linger=0)
        dealer.close(linger=0)


if __name__ == "__main__":
    main()
