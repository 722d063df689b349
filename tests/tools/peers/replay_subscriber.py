#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""SUB that wants every batch, once and in order, and asks the ROUTER for what it missed.

    python3 replay_publisher.py
    python3 replay_subscriber.py --skip 3-6 --replay-socket dealer

With REQ it asks anew for each batch, since a REQ takes one reply and the ROUTER sends many. A
DEALER takes them all; it has to send the empty frame itself, and its own HWM is lifted, or a
long replay would lose its tail. What replay cannot bring is reported as lost.
"""

import zmq

import common
from structs import END_SEQ, describe, read_kv_batch, read_kv_frames

REPLAY_TIMEOUT_MS = 2000


def replay(context, args, first, stop):
    """Asks for all batches from first on. Yields the frames of a reply as long as some come: of
    one (REQ), or of all until the end (DEALER)."""
    with context.socket(zmq.DEALER if args.replay_socket == "dealer" else zmq.REQ) as socket:
        socket.linger, socket.rcvhwm = 0, 0
        socket.connect(args.replay_endpoint)
        empty = [b""] if socket.type == zmq.DEALER else []  # A REQ has it by itself
        socket.send_multipart([*empty, first.to_bytes(8, "big")])
        while any(socket.poll(ms) for ms in stop.slices(REPLAY_TIMEOUT_MS)):
            frames = socket.recv_multipart()
            if len(frames) > 1 and frames[-2] == END_SEQ:
                return
            yield frames[1:] if empty and frames[0] == b"" else frames
            if socket.type == zmq.REQ:
                return


class Follower:
    """Puts the batches in order. next_seq is the one that is due, None before the first."""

    def __init__(self, next_seq, count, ask):
        self.next_seq, self.count, self.ask = next_seq, count, ask
        self.newest = -1  # the highest seq seen live
        self.received = self.replayed = self.lost = self.bad = 0

    def full(self):
        return 0 < self.count <= self.received

    def read(self, frames, what):
        try:
            return read_kv_frames(frames)
        except ValueError as why:
            self.bad += 1
            common.complain(f"bad {what}: {why}")
            return -1, None

    def deliver(self, seq, payload, how=""):
        try:
            text = describe(read_kv_batch(payload))
        except ValueError as why:
            self.bad += 1
            text = "unreadable"
            common.complain(f"seq {seq}: bad batch: {why}")
        common.say(f"seq {seq}{how}: {text}")
        self.next_seq = seq + 1
        self.received += 1

    def give_up(self, end, why):
        if self.next_seq < end:
            common.complain(f"lost {self.next_seq}-{end - 1}: {why}")
            self.lost += end - self.next_seq
            self.next_seq = end

    def catch_up(self, end, stop):
        common.say(f"missed {self.next_seq}-{end - 1}, asking for replay")
        while self.next_seq < end and not self.full() and not stop:
            asked = self.next_seq
            for frames in self.ask(asked):
                seq, payload = self.read(frames, "reply")
                if seq >= self.next_seq:
                    self.give_up(min(seq, end), "the publisher has not kept them")
                if seq == self.next_seq < end:
                    self.deliver(seq, payload, " replayed")
                    self.replayed += 1
                if self.next_seq == end or self.full():
                    return
            if self.next_seq == asked and not stop:
                self.give_up(end, "no reply that makes sense")

    def live(self, seq, payload, stop):
        if seq <= self.newest:  # A PUB never repeats itself
            common.say("the publisher has started anew")
            self.next_seq = 0
        self.newest = seq
        if self.next_seq is None:
            self.next_seq = seq
        if self.next_seq < seq:
            self.catch_up(seq, stop)  # What was missed comes before this one
        if self.next_seq == seq and not self.full():
            self.deliver(seq, payload)


def main():
    options = common.Options(__doc__)
    options.connect("--endpoint", "tcp://127.0.0.1:5557", "the PUB")
    options.connect("--replay-endpoint", "tcp://127.0.0.1:5657", "the ROUTER")
    options.text("--topic", "kv-events", "a prefix")
    options.text("--replay-socket", "req", "how to ask", choices=["req", "dealer"])
    options.matching("--from-seq", "0", "live|[0-9]{1,18}", "SEQ|live", "the first batch wanted")
    options.matching("--skip", None, "[0-9]{1,18}-[0-9]{1,18}", "A-B", "pretend to miss these")
    options.number("--count", 0, "end after so many batches, 0: when stopped")
    args = options.parse()
    first, last = map(int, args.skip.split("-")) if args.skip else (0, -1)
    if args.skip and first > last:
        options.error(f"argument --skip: not A-B: {args.skip!r}")
    stop = common.Stop()

    with zmq.Context() as context, context.socket(zmq.SUB) as subscriber:
        subscriber.linger = 0
        subscriber.rcvhwm = 100000  # Live batches wait here while a replay goes on
        subscriber.subscribe(args.topic)
        subscriber.connect(args.endpoint)
        common.say(f'replay_subscriber: subscribed to "{args.topic}" at {args.endpoint}')
        follower = Follower(
            None if args.from_seq == "live" else int(args.from_seq),
            args.count,
            lambda seq: replay(context, args, seq, stop),
        )
        while not stop and not follower.full():
            if subscriber.poll(common.SLICE_MS):
                seq, payload = follower.read(subscriber.recv_multipart(), "message")
                if seq >= 0 and not first <= seq <= last:
                    follower.live(seq, payload, stop)

    common.summary(
        f"{follower.received} received, {follower.replayed} replayed, "
        f"{follower.lost} lost, {follower.bad} bad"
    )


if __name__ == "__main__":
    common.run(main)
