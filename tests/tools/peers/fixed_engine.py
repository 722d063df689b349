#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A toy EngineCore: DEALER for its requests, PUSH for its outputs, one token per step.

    python3 fixed_engine.py --index 0       (beside build/tools/mock_frontend)

On the wire it is EngineCoreProc of vllm/v1/engine/core.py, process_input_sockets and
process_output_sockets: the DEALER's identity is the index in 2 bytes, little-endian; its first
message registers it, since a ROUTER can address only whom it has heard; a request is
[type byte][msgpack], without an empty frame; outputs say their engine_index, since a PULL cannot
tell; the last words are ENGINE_CORE_DEAD.
"""

import time

import msgspec
import zmq
from zmq.utils.monitor import recv_monitor_message

import common
from structs import ENGINE_CORE_DEAD, UNREADABLE, EngineCoreOutput, EngineCoreOutputs
from structs import EngineCoreRequest, EngineCoreRequestType, FinishReason
from structs import UtilityCall, UtilityOutput, token_limit, toy_ready


class Engine:
    def __init__(self, index, push):
        self.index, self.push = index, push
        self.running = {}  # request id -> [tokens so far, limit, state of the token maker]
        self.finished = self.aborted = 0

    def send(self, *outputs, utility=None):
        """All outputs of a step in one message; it names once more what has finished."""
        finished = {out.request_id for out in outputs if out.finish_reason is not None} or None
        now = time.monotonic()
        message = EngineCoreOutputs(self.index, list(outputs), None, now, utility, finished)
        self.push.send(msgspec.msgpack.encode(message))

    def handle(self, frames):
        if len(frames) < 2:
            raise ValueError("no type byte and payload")
        kind, payload = EngineCoreRequestType(frames[0]), frames[1]  # then raw tensors, if any
        if kind is EngineCoreRequestType.ADD:
            self.add(msgspec.msgpack.decode(payload, type=EngineCoreRequest))
        elif kind is EngineCoreRequestType.ABORT:
            for name in msgspec.msgpack.decode(payload, type=list[str]):
                if name in self.running:  # No output, as vLLM's abort_requests
                    self.drop(name)
        elif kind is EngineCoreRequestType.UTILITY:
            _, call_id, method, _ = msgspec.msgpack.decode(payload, type=UtilityCall)
            self.send(utility=UtilityOutput(call_id, f"no such method: {method}"))
        else:
            common.say(f"{kind.name} ignored: this toy works alone")

    def add(self, request):
        name, limit = request.request_id, token_limit(request)
        prompt = request.prompt_token_ids or []
        if name in self.running or limit < 1:
            self.send(EngineCoreOutput(name, [], finish_reason=FinishReason.ERROR))
            wrong = "is running already" if name in self.running else "generates nothing"
            common.complain(f"{name}: a request of that id {wrong}")
        else:
            self.running[name] = [0, limit, sum(prompt)]
            common.say(f"{name}: {len(prompt)} prompt tokens")

    def step(self):
        """One token for each running request."""
        outputs = []
        for name, state in list(self.running.items()):
            state[0] += 1
            state[2] = (state[2] * 48271 + 11) % (2**31 - 1)  # The same prompt, the same tokens
            outputs.append(EngineCoreOutput(name, [state[2] % 32000]))
            if state[0] == state[1]:
                outputs[-1].finish_reason = FinishReason.LENGTH
                del self.running[name]
                self.finished += 1
                common.say(f"{name}: {state[0]} token{'s' * (state[0] != 1)}, length")
        self.send(*outputs)

    def drop(self, name):
        del self.running[name]
        self.aborted += 1
        common.say(f"{name}: aborted")

    def drop_all(self):
        names = list(self.running)
        for name in names:
            self.drop(name)
        return [EngineCoreOutput(name, [], finish_reason=FinishReason.ABORT) for name in names]

    def die(self):
        outputs = self.drop_all()
        if outputs:
            self.send(*outputs)
        self.push.send(ENGINE_CORE_DEAD)

    def ended(self):
        return self.finished + self.aborted


def main():
    options = common.Options(__doc__)
    options.number("--index", 0, "which engine", most=65535)
    options.connect("--input", "tcp://127.0.0.1:5570", "the front-end's ROUTER")
    options.connect("--output", "tcp://127.0.0.1:5571", "the front-end's PULL")
    options.number("--step-ms", 10, "milliseconds for each step", most=60000)
    options.number("--count", 0, "end after so many requests, 0: when stopped")
    args = options.parse()
    stop, poller = common.Stop(), zmq.Poller()
    registered, due, bad = False, 0, 0

    with zmq.Context() as context:
        with context.socket(zmq.DEALER) as dealer, context.socket(zmq.PUSH) as push:
            engine = Engine(args.index, push)
            dealer.routing_id = args.index.to_bytes(2, "little")
            dealer.sndhwm = dealer.rcvhwm = push.sndhwm = 0  # as vLLM: no limit
            dealer.linger, push.linger = 0, common.LINGER_MS  # the last words have to arrive
            events = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
            with dealer.get_monitor_socket(events) as monitor:
                poller.register(dealer, zmq.POLLIN)
                poller.register(monitor, zmq.POLLIN)
                push.connect(args.output)
                dealer.connect(args.input)
                common.say(f"waiting for a front-end at {args.input}")
                while not stop and (args.count == 0 or engine.ended() < args.count):
                    left_ms = (due - time.monotonic()) * 1000 if engine.running else 250
                    readable = dict(poller.poll(max(0, min(left_ms, common.SLICE_MS))))
                    while dealer.poll(0):  # Before the monitor: an ABORT, then the goodbye
                        try:
                            engine.handle(dealer.recv_multipart())
                        except UNREADABLE as why:
                            common.complain(f"bad message: {why}")
                            bad += 1
                    if monitor in readable:
                        event = recv_monitor_message(monitor)["event"]
                        registered = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
                        if registered:
                            common.say(f"registering as engine {args.index}")
                            dealer.send(msgspec.msgpack.encode(toy_ready()))
                        else:
                            common.say("the front-end is gone")
                            engine.drop_all()
                            push.linger = 0  # What it has not taken is not for the next one
                            push.disconnect(args.output)
                            push.connect(args.output)
                            push.linger = common.LINGER_MS
                    if engine.running and time.monotonic() >= due:
                        engine.step()
                        due = time.monotonic() + args.step_ms / 1000
                dealer.disable_monitor()
            if stop and registered:
                engine.die()

    common.summary(f"{engine.finished} finished, {engine.aborted} aborted, {bad} bad")


if __name__ == "__main__":
    common.run(main)
