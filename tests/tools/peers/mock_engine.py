#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A toy EngineCore that an unmodified vLLM v0.33.0 front-end takes for its own, or several.

    python3 mock_frontend.py --engines 2
    python3 mock_engine.py --engine-count 2

As EngineCoreProc in vllm/v1/engine/core.py: HELLO, INIT, then for each API server a DEALER that
registers and a PUSH, the coordinator's two sockets if there is one, and READY. Outputs go to the
PUSH of the request's client_index. Tokens are made of the prompt and the seed.
"""

import time
from dataclasses import dataclass
from typing import Optional

import msgspec
import zmq

import common
from structs import COORDINATOR_READY, ENGINE_CORE_DEAD, SUBSCRIBE_ALL, UNREADABLE
from structs import EngineCoreEvent, EngineCoreEventType, EngineCoreOutput, EngineCoreOutputs
from structs import EngineCoreRequest, EngineCoreRequestType, EngineHandshakeMetadata
from structs import EngineStatus, FinishReason, PrefillStats, PrefixCacheStats, SamplingParams
from structs import SchedulerStats, StartDPWave, UtilityCall, UtilityOutput, token_limit, toy_ready

pack = msgspec.msgpack.encode
BLOCK_SIZE = toy_ready().block_size

# What the calls return that a front-end makes. As vLLM: for any other a failure
UTILITIES = {
    "get_supported_tasks": ["generate"],
    "is_sleeping": False,
    "is_scheduler_paused": False,
    "reset_prefix_cache": True,
    "add_lora": True,
    "remove_lora": True,
    "pin_lora": True,
    "list_loras": [],
    "wake_up": True,
    "get_weight_version": "default",
    "compute_weight_checksums": [{}],
    **dict.fromkeys(["pause_generation", "set_weight_version", "release_kv_cache_memory"]),
    **dict.fromkeys(["reset_mm_cache", "reset_encoder_cache", "profile", "sleep"]),
    **dict.fromkeys(["execute_dummy_batch", "pause_scheduler", "resume_scheduler"]),
    **dict.fromkeys(["save_sharded_state", "collective_rpc"]),
}


@dataclass
class Running:
    """A request, and how far it has come."""

    client_index: int
    params: SamplingParams
    prompt_tokens: int
    limit: int
    state: int  # of the token maker
    queued: float
    tokens: int = 0
    stop_reason: Optional[int] = None

    def next_token(self, vocab_size):
        self.state = (self.state * 48271 + 11) % (2**31 - 1)
        self.tokens += 1
        return self.state % vocab_size

    def finish_reason(self, token):
        """Whether this token is the last: vLLM's check_stop."""
        if self.tokens >= self.params.min_tokens:
            if token == self.params._eos_token_id:
                return FinishReason.STOP
            if token in (self.params.stop_token_ids or ()):
                self.stop_reason = token
                return FinishReason.STOP
        return FinishReason.LENGTH if self.tokens >= self.limit else None

    def first(self):
        """What goes with the first output only: events, and prefill_stats."""
        events = [
            EngineCoreEvent(EngineCoreEventType.QUEUED, self.queued),
            EngineCoreEvent(EngineCoreEventType.SCHEDULED, time.monotonic()),
        ]
        n = self.prompt_tokens
        stats = PrefillStats(n, n, num_cache_creation_tokens=n // BLOCK_SIZE * BLOCK_SIZE)
        return {"events": events, "prefill_stats": stats}


class Engine:
    def __init__(self, index, args, context):
        self.index, self.args, self.context = index, args, context
        self.running = {}  # request id -> Running
        self.finished = self.aborted = self.bad = self.steps = 0
        self.prefix_cache = PrefixCacheStats()
        self.counts = (0, 0)
        self.inputs, self.outputs, self.sockets = [], [], []
        self.coordinator_input = self.coordinator_output = None
        self.handshake = self.connect(zmq.DEALER, args.handshake, 5000)
        self.say_status("HELLO")

    def connect(self, kind, endpoint, linger):
        socket = self.context.socket(kind)
        self.sockets.append(socket)
        if kind in (zmq.DEALER, zmq.XSUB):
            socket.routing_id = self.index.to_bytes(2, "little")
        if kind != zmq.XSUB:
            socket.sndhwm = socket.rcvhwm = 0  # as vLLM: no limit
        socket.linger = linger
        socket.connect(endpoint)
        return socket

    def say_status(self, status):
        self.handshake.send(pack(EngineStatus(status, local=False, headless=True)))

    def join(self, init):
        """Connects to all that INIT names, and registers."""
        addresses = msgspec.msgpack.decode(init, type=EngineHandshakeMetadata).addresses
        if not addresses.inputs or len(addresses.inputs) != len(addresses.outputs):
            raise ValueError(f"{len(addresses.inputs)} inputs, {len(addresses.outputs)} outputs")
        ready = toy_ready()
        ready.dp_stats_address = addresses.frontend_stats_publish_address
        self.outputs = [self.connect(zmq.PUSH, each, 4000) for each in addresses.outputs]
        self.inputs = [self.connect(zmq.DEALER, each, 0) for each in addresses.inputs]
        for dealer in self.inputs:
            dealer.send(pack(ready))
        if addresses.coordinator_output:
            self.coordinator_output = self.connect(zmq.PUSH, addresses.coordinator_output, 4000)
        if addresses.coordinator_input:  # Then READY comes after its own
            self.coordinator_input = self.connect(zmq.XSUB, addresses.coordinator_input, 0)
            self.coordinator_input.send(SUBSCRIBE_ALL)
        else:
            self.ready()

    def ready(self):
        self.say_status("READY")
        self.handshake.close()  # It lingers
        self.handshake = None
        common.say(f"engine {self.index}: ready, {len(self.inputs)} front-ends")

    def receive(self):
        """Takes one message from each socket that has one. True when there was any."""
        some = False
        for socket in [self.handshake, self.coordinator_input, *self.inputs]:
            if socket is None or socket.closed or not socket.poll(0):
                continue
            some, frames = True, socket.recv_multipart()
            try:
                if socket is self.handshake:
                    if self.inputs:
                        raise ValueError("a second INIT")
                    (init,) = frames
                    self.join(init)
                elif frames == [COORDINATOR_READY] and socket is self.coordinator_input:
                    if self.handshake:  # Later ones are for engines that have joined late
                        self.ready()
                else:
                    self.handle(frames)
            except UNREADABLE as why:
                if self.handshake:
                    common.fail(f"engine {self.index}: bad handshake: {why}")
                common.complain(f"engine {self.index}: bad message: {why}")
                self.bad += 1
        return some

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
            self.call(*msgspec.msgpack.decode(payload, type=UtilityCall))
        else:
            wave, _ = msgspec.msgpack.decode(payload, type=StartDPWave)
            common.say(f"engine {self.index}: START_DP_WAVE {wave} ignored: no experts here")

    def add(self, request):
        name, limit, now = request.request_id, token_limit(request), time.monotonic()
        self.client(request.client_index)
        prompt = request.prompt_token_ids or []
        if name in self.running or limit < 1:
            self.send(
                request.client_index, EngineCoreOutput(name, [], finish_reason=FinishReason.ERROR)
            )
            wrong = "is running already" if name in self.running else "generates nothing"
            common.complain(f"engine {self.index}: {name}: a request of that id {wrong}")
            return
        self.running[name] = Running(
            request.client_index,
            request.sampling_params,
            len(prompt),
            limit,
            sum(prompt) + self.args.seed,
            now,
        )
        self.prefix_cache.requests += 1
        self.prefix_cache.queries += len(prompt)
        if self.args.log_requests:
            common.say(f"engine {self.index}: {name}: {len(prompt)} prompt tokens")

    def call(self, client_index, call_id, method, _):
        output = UtilityOutput(call_id)
        if method in UTILITIES:
            output.result = (None, UTILITIES[method])
        else:
            output.failure_message = f"Call to {method} method failed: there is no such method"
        self.send(client_index, utility=output)

    def client(self, index):
        if not 0 <= index < len(self.outputs):
            raise ValueError(f"client_index {index} of {len(self.outputs)} front-ends")
        return self.outputs[index]

    def send(self, client_index, *outputs, utility=None, stats=None):
        """All outputs of a step for one front-end; it names once more what has finished."""
        finished = {out.request_id for out in outputs if out.finish_reason is not None} or None
        now = time.monotonic()
        message = EngineCoreOutputs(self.index, list(outputs), stats, now, utility, finished)
        self.client(client_index).send(pack(message))

    def step(self):
        """A chunk of tokens for each running request. One front-end gets the scheduler's stats."""
        outputs = {}  # client index -> its outputs
        for name, running in list(self.running.items()):
            tokens, reason = [], None
            more = {} if running.tokens else running.first()
            while len(tokens) < self.args.output_token_chunk_size and reason is None:
                tokens.append(running.next_token(self.args.vocab_size))
                reason = running.finish_reason(tokens[-1])
            output = EngineCoreOutput(
                name, tokens, finish_reason=reason, stop_reason=running.stop_reason, **more
            )
            outputs.setdefault(running.client_index, []).append(output)
            if reason is not None:
                del self.running[name]
                self.finished += 1
                if self.args.log_requests:
                    many = f"{running.tokens} token{'s' * (running.tokens != 1)}"
                    common.say(f"engine {self.index}: {name}: {many}, {reason.name.lower()}")
        self.steps += 1
        stats = SchedulerStats(len(self.running), prefix_cache_stats=self.prefix_cache)
        self.prefix_cache = PrefixCacheStats()
        for client_index, each in outputs.items():
            self.send(client_index, *each, stats=stats)
            stats = None

    def tell_coordinator(self):
        """How many requests there are, when that has changed."""
        counts = (len(self.running), 0)
        if self.coordinator_output and counts != self.counts:
            self.counts = counts
            stats = SchedulerStats(*counts, step_counter=self.steps)
            message = EngineCoreOutputs(self.index, [], stats, time.monotonic())
            self.coordinator_output.send(pack(message))

    def drop(self, name):
        del self.running[name]
        self.aborted += 1
        if self.args.log_requests:
            common.say(f"engine {self.index}: {name}: aborted")

    def die(self):
        for name, running in list(self.running.items()):
            self.drop(name)
            abort = EngineCoreOutput(name, [], finish_reason=FinishReason.ABORT)
            self.send(running.client_index, abort)
        for push in self.outputs:
            push.linger = common.LINGER_MS  # The last words have to arrive, within a second
            push.send(ENGINE_CORE_DEAD)


def main():
    options = common.Options(__doc__)
    options.connect("--handshake", "tcp://127.0.0.1:29550", "where the front-end waits")
    options.number("--index", 0, "number of the first engine", most=65535)
    options.number("--engine-count", 1, "how many engines", least=1, most=65536)
    options.number("--output-token-chunk-size", 1, "tokens a step", least=1)
    options.number("--vocab-size", 32000, "tokens are below", least=1)
    options.number("--seed", 0, "of the tokens")
    options.number("--step-ms", 0, "milliseconds for each step", most=60000)
    options.add_argument("--log-requests", action="store_true", help="a line for each request")
    args = options.parse()
    if args.index + args.engine_count > 65536:
        options.error("argument --engine-count: an index has 2 bytes")
    stop, due = common.Stop(), 0

    with zmq.Context() as context:
        numbers = range(args.index, args.index + args.engine_count)
        engines = [Engine(index, args, context) for index in numbers]
        common.say(f"waiting for a front-end at {args.handshake}")
        while not stop:
            poller = zmq.Poller()
            for engine in engines:
                for socket in [engine.handshake, engine.coordinator_input, *engine.inputs]:
                    if socket:
                        poller.register(socket, zmq.POLLIN)
            busy = any(engine.running for engine in engines)
            left_ms = (due - time.monotonic()) * 1000 if busy else common.SLICE_MS
            poller.poll(max(0, min(left_ms, common.SLICE_MS)))
            while any([engine.receive() for engine in engines]):
                pass
            for engine in engines:
                engine.tell_coordinator()
            if time.monotonic() >= due:
                for engine in engines:
                    if engine.running:
                        engine.step()
                        engine.tell_coordinator()
                due = time.monotonic() + args.step_ms / 1000
        for engine in engines:
            engine.die()
            for socket in engine.sockets:
                socket.close(common.LINGER_MS)

    finished, aborted = sum(e.finished for e in engines), sum(e.aborted for e in engines)
    common.summary(f"{finished} finished, {aborted} aborted, {sum(e.bad for e in engines)} bad")


if __name__ == "__main__":
    common.run(main)
