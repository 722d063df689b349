#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""PUB [topic][seq][KV events], and a ROUTER that sends old batches again. As vLLM's
ZmqEventPublisher in vllm/distributed/kv_events.py, with --wire as one of its generations:

    v0.26   events are maps, a replayed batch is [topic][seq][payload]
    v0.24   events are maps, a replayed batch is [seq][payload]
    v0.9    the same, events are arrays

    python3 replay_publisher.py
    python3 replay_subscriber.py --skip 3-6        (the other end: SUB, and REQ or DEALER)
"""

import time
from collections import deque

import msgspec
import zmq

import common
from structs import BlockRemoved, BlockRemovedV9, BlockStored, BlockStoredV9
from structs import END_SEQ, KVEventBatch, KVEventBatchV9, describe

BLOCK_SIZE = 16


def block_hash(n, wire):
    """A number of 64 bits, often above 2**63; v0.9.0 had signed ones."""
    number = (n + 1) * 0x9E3779B97F4A7C15 % 2**64
    return number - 2**64 if wire == "v0.9" and number >= 2**63 else number


def make_batch(n, wire):
    """Batch n stores one block; each fifth one also removes the oldest."""
    hashes, parent = [block_hash(n, wire)], block_hash(n - 1, wire) if n else None
    removed = [[block_hash(n // 5, wire)]] if n % 5 == 4 else []
    tokens = [(n * BLOCK_SIZE + i) % 32000 for i in range(BLOCK_SIZE)]
    if wire == "v0.9":
        events = [BlockStoredV9(hashes, parent, tokens, BLOCK_SIZE, None)]
        return KVEventBatchV9(time.time(), events + [BlockRemovedV9(old) for old in removed])
    # v0.24.0 had no locality; since that is left out when it is None, the bytes are the same
    events = [BlockStored(hashes, parent, tokens, BLOCK_SIZE, None, "GPU", None)]
    events[0].extra_keys, events[0].group_idx = [None], 0
    events[0].kv_cache_spec_kind = "full_attention"
    events += [BlockRemoved(old, "GPU", group_idx=0) for old in removed]
    return KVEventBatch(time.time(), events, data_parallel_rank=0)


def serve_replay(router, args, buffer):
    """One request, many replies, one end. Anything but 3 frames gets no reply at all."""
    frames = router.recv_multipart()
    if len(frames) != 3:
        common.complain(f"bad replay request: {len(frames)} frames, not [id][][seq]")
        return
    client, start = frames[0], int.from_bytes(frames[2], "big")
    topic, no_topic = ([args.topic.encode()], [b""]) if args.wire == "v0.26" else ([], [])
    wanted = [(seq, payload) for seq, payload in buffer if seq >= start]
    for seq, payload in wanted:
        router.send_multipart([client, b"", *topic, seq.to_bytes(8, "big"), payload])
    router.send_multipart([client, b"", *no_topic, END_SEQ, b""])
    common.say(f"replay from {start}: {len(wanted)} batches")


def main():
    options = common.Options(__doc__)
    options.bind("--endpoint", "tcp://127.0.0.1:5557", "where to bind the PUB")
    options.bind("--replay-endpoint", "tcp://127.0.0.1:5657", "where to bind the ROUTER")
    options.text("--topic", "kv-events", "the first frame")
    options.number("--interval-ms", 200, "milliseconds between batches", most=3600000)
    options.number("--buffer-steps", 10000, "how many batches can be replayed", least=1)
    options.number("--hwm", 100000, "batches the PUB holds for a slow subscriber, then it drops")
    options.text("--wire", "v0.26", "a vLLM generation", choices=["v0.26", "v0.24", "v0.9"])
    options.number("--count", 0, "end after so many batches, 0: when stopped")
    args = options.parse()
    stop = common.Stop()
    buffer, seq = deque(maxlen=args.buffer_steps), 0

    with zmq.Context() as context:
        with context.socket(zmq.PUB) as publisher, context.socket(zmq.ROUTER) as router:
            publisher.set_hwm(args.hwm)
            # The ROUTER keeps its HWM of 1000, as in vLLM: what is above it is dropped silently
            common.bind(publisher, args.endpoint)
            common.bind(router, args.replay_endpoint)
            due = time.monotonic() + args.interval_ms / 1000
            while not stop and (args.count == 0 or seq < args.count):
                left_ms = max(0, (due - time.monotonic()) * 1000)
                if router.poll(min(left_ms, common.SLICE_MS)):
                    serve_replay(router, args, buffer)
                if time.monotonic() < due:
                    continue
                batch = make_batch(seq, args.wire)
                payload = msgspec.msgpack.encode(batch)
                publisher.send_multipart([args.topic.encode(), seq.to_bytes(8, "big"), payload])
                buffer.append((seq, payload))
                common.say(f"seq {seq}: {describe(batch)}")
                seq += 1
                due += args.interval_ms / 1000
            router.linger = common.LINGER_MS
            publisher.linger = common.LINGER_MS if stop else common.PATIENCE_MS
            common.summary(f"{seq} published")
        common.hand_over(context, stop)


if __name__ == "__main__":
    common.run(main)
