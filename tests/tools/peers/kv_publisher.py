#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A vLLM publisher of KV events with faults on demand, to test a subscriber.

    python3 kv_publisher.py --wire v0.23
    ../../../build/tools/kv_subscriber --replay-endpoint tcp://127.0.0.1:5657 --json

As ZmqEventPublisher in vllm/distributed/kv_events.py: a PUB, and a ROUTER that is served by the
same thread, one request at a time. The generations:

    v0.9    batches [ts, events], events are arrays, hashes are signed     a replay has no topic
    v0.10   a rank, a medium, hashes are bytes                             (v0.10.2)
    v0.23   arrays of all the fields there were, hashes are unsigned
    v0.24   maps
    v0.26   maps; may say a locality                                       a replay has the topic
    v0.33   maps; may say an ownership, a session, tokens to come          a replay has the topic

Tests use the class, and drive it step by step. In place of a PUB it has an XPUB, which is the same
on the wire, and hears of its subscribers: so nobody has to guess when one is there.
"""

import argparse
import signal
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Optional

import msgspec
import zmq

from structs import END_SEQ, KV

PATIENCE_MS = 10000
SLICE_MS = 250  # The longest wait in which a signal may go unnoticed
LINGER_MS = 500  # What a program that is stopped grants its last messages
WITH_TOPIC = ("v0.26", "v0.33")  # In a replay
BLOCK_SIZE = 16
GARBAGE = (  # Behind the empty frame: what no replay may be
    [],
    [b"\0"],
    [b"", b""],
    [b"\0" * 7, b"\x93"],
    [b"kv-events", b"\0" * 9, b"\x93"],
    [b"kv-events", bytes(8), b"\x93", b"one too many"],
)


def block_hash(n, wire):
    """Over the whole range of the generation."""
    number = (n + 1) * 0x9E3779B97F4A7C15 % 2**64
    if wire == "v0.9":
        return number - 2**63
    return number.to_bytes(8, "big") * 4 if wire == "v0.10" else number


def make_batch(n, wire, ts=None, rank=0):
    """A batch that no other n has: it stores one block, of tokens that are its own; each third one
    removes a block as well, each seventh clears all."""
    names = ("KVEventBatch", "BlockStored", "BlockRemoved", "AllBlocksCleared")
    batch, stored, removed, cleared = (KV[wire][name] for name in names)
    hashes, parent = [block_hash(n, wire)], block_hash(n - 1, wire) if n else None
    tokens = [n * BLOCK_SIZE + i for i in range(BLOCK_SIZE)]
    more = {} if wire == "v0.9" else {"medium": "GPU"}
    group = {} if wire in ("v0.9", "v0.10") else {"group_idx": 0}
    events = [stored(hashes, parent, tokens, BLOCK_SIZE, None, **more, **named(stored), **group)]
    if n % 3 == 2:
        events.append(removed([block_hash(n - 2, wire)], **more, **group))
    if n % 7 == 6:
        events.append(cleared())
    ts = time.time() if ts is None else ts
    return batch(ts, events) if wire == "v0.9" else batch(ts, events, rank)


def named(stored):
    """What else a BlockStored of this generation says, as vLLM does by default."""
    values = {"lora_name": None, "extra_keys": [None], "kv_cache_spec_kind": "full_attention"}
    return {name: values[name] for name in values if name in stored.__struct_fields__}


@dataclass
class Plan:
    """How a replay goes. As it is here: as vLLM does it."""

    drop: set = field(default_factory=set)  # Numbers that are left out
    late: int = 0  # How many to leave out at the beginning
    early: int = 0  # and at the end
    whole: bool = False  # Begin with the first one kept, not with the number asked for
    times: int = 1  # How often to send each reply
    garbage: tuple = ()  # Goes between the replies, in turn
    stall_after: Optional[int] = None  # Stop after this many replies
    end: Optional[int] = None  # Frames of the end: 2 or 3, 0 is none; None: as the generation


@dataclass
class Request:
    client: bytes
    start: int
    replies: int = 0


class KvPublisher:
    def __init__(self, context, wire, live, replay=None, topic="kv-events", **more):
        """more: connect=True makes the PUB connect, as vLLM does when its endpoint is no wildcard;
        buffer_steps; seq, the first number; rank."""
        self.context, self.wire, self.topic = context, wire, topic.encode()
        self.live, self.replay = live, replay
        self.connects = more.get("connect", False)
        self.rank = more.get("rank", 0)
        self.buffer_steps = more.get("buffer_steps", 10000)
        self.pub = self.router = None
        self.requests = []  # All that were served, or ignored
        self.restart(new_sockets=True, seq=more.get("seq", 0))

    def restart(self, new_sockets=False, seq=0):
        """Forgets everything and counts from `seq`. A new process would have new sockets, too."""
        self.seq, self.buffer = seq, deque(maxlen=self.buffer_steps)
        if new_sockets:
            self.close()
            self.open()

    def open(self):
        self.pub = self.context.socket(zmq.XPUB)
        self.pub.xpub_verbose = 1  # Each of several subscribers counts
        self.pub.set_hwm(100000)
        if self.connects:
            self.pub.connect(self.live)
        else:
            self.pub.bind(self.live)
        if self.replay:
            self.router = self.context.socket(zmq.ROUTER)  # With its HWM of 1000, as in vLLM
            self.router.bind(self.replay)

    def close(self):
        for socket in (self.pub, self.router):
            if socket:
                socket.close(0)
        self.pub = self.router = None

    def wait_subscribed(self, timeout_ms=PATIENCE_MS):
        """Until somebody has subscribed. Returns to what."""
        while self.pub.poll(timeout_ms):
            message = self.pub.recv()
            if message[:1] == b"\1":
                return message[1:]
        raise TimeoutError("nobody has subscribed")

    def publish(self, batch=None, live=True, n=None):
        """The next batch, a Struct or bytes; without live it can only be replayed. None makes one,
        with n in place of its number. Returns its number."""
        seq, self.seq = self.seq, self.seq + 1
        if batch is None:
            batch = make_batch(seq if n is None else n, self.wire, rank=self.rank)
        payload = batch if isinstance(batch, bytes) else msgspec.msgpack.encode(batch)
        if live:
            self.send(self.topic, seq.to_bytes(8, "big"), payload)
        self.buffer.append((seq, payload))
        return seq

    def send(self, *frames):
        self.pub.send_multipart(frames)

    def get_request(self, timeout_ms=PATIENCE_MS):
        """The next request for a replay, or None. As in vLLM, one that has not 3 frames is dropped
        and any length will do for the number."""
        while self.router.poll(timeout_ms):
            frames = self.router.recv_multipart()
            if len(frames) != 3:
                print(f"kv_publisher: invalid replay request: {frames}", file=sys.stderr)
                continue
            request = Request(frames[0], int.from_bytes(frames[2], "big"))
            self.requests.append(request)
            return request
        return None

    def serve_replay(self, plan=None, timeout_ms=PATIENCE_MS):
        """Answers one request, or returns None when none comes."""
        request, plan = self.get_request(timeout_ms), plan or Plan()
        if request is None:
            return None
        wanted = [each for each in self.buffer if plan.whole or each[0] >= request.start]
        wanted = [each for each in wanted[: len(wanted) - plan.early] if each[0] not in plan.drop]
        garbage = 0
        for seq, payload in wanted[plan.late :]:
            if request.replies == plan.stall_after:
                return request
            for _ in range(plan.times):
                self.reply(request, seq.to_bytes(8, "big"), payload)
            if plan.garbage:
                self.reply_raw(request, *plan.garbage[garbage % len(plan.garbage)])
                garbage += 1
            request.replies += 1
        if request.replies != plan.stall_after:
            self.reply_end(request, plan.end)
        return request

    def reply(self, request, seq, payload):
        topic = [self.topic] if self.wire in WITH_TOPIC else []
        self.reply_raw(request, *topic, seq, payload)

    def reply_end(self, request, frames=None):
        if frames is None:
            frames = 3 if self.wire in WITH_TOPIC else 2
        if frames:
            self.reply_raw(request, *[b""] * (frames - 2), END_SEQ, b"")

    def reply_raw(self, request, *frames):
        self.router.send_multipart([request.client, b"", *frames])


def main():
    parser = argparse.ArgumentParser(description="a vLLM publisher of KV events")
    parser.add_argument("--endpoint", default="tcp://127.0.0.1:5557")
    parser.add_argument("--replay-endpoint", default="tcp://127.0.0.1:5657")
    parser.add_argument("--wire", default="v0.33", choices=list(KV))
    parser.add_argument("--interval-ms", type=int, default=200)
    parser.add_argument("--buffer-steps", type=int, default=10000)
    args = parser.parse_args()
    stopped = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.append(True))
    sys.stdout.reconfigure(line_buffering=True)
    with zmq.Context() as context:
        publisher = KvPublisher(
            context, args.wire, args.endpoint, args.replay_endpoint, buffer_steps=args.buffer_steps
        )
        for socket in (publisher.pub, publisher.router):
            print(f"kv_publisher: listening on {socket.getsockopt_string(zmq.LAST_ENDPOINT)}")
        due = time.monotonic() + args.interval_ms / 1000
        while not stopped:
            left_ms = max(0, (due - time.monotonic()) * 1000)
            publisher.serve_replay(timeout_ms=min(left_ms, SLICE_MS))
            if time.monotonic() >= due:
                print(f"seq {publisher.publish()}: published")
                due += args.interval_ms / 1000
        publisher.pub.close(LINGER_MS)
        publisher.close()


if __name__ == "__main__":
    main()
