#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The demos' work in Python, as fast as reasonable Python does it: pyzmq and msgspec.

    python3 bench/python.py ROLE ARGUMENT...        (no arguments: lists the roles)

The lessons in Python (tests/peers) are written to be read. Here a receive just blocks, Encoders and
Decoders are made once and typed by Structs, their methods are looked up once, and what need not be done
for each message is not. Frames come as bytes:
recv_multipart(copy=False) was no faster for batches of 4 KB, and slower for small ones.
The roles are those of bare.c, with the messages in place of frames of their size.
"""

import inspect
import signal
import sys
import time
from collections import deque
from pathlib import Path

import msgspec
import zmq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "tools" / "peers"))

import structs
from structs import END_SEQ, EngineCoreOutput, EngineCoreOutputs, EngineCoreRequest, FinishReason
from structs import toy_ready, toy_request

PATIENCE_MS = 20000
BLOCK_SIZE = 16
Batch, Stored = structs.KV["v0.26"]["KVEventBatch"], structs.KV["v0.26"]["BlockStored"]

context = zmq.Context()


def open_socket(kind, hwm=1000):
    socket = context.socket(kind)
    socket.rcvtimeo = socket.sndtimeo = PATIENCE_MS
    socket.linger = 0 if kind in (zmq.SUB, zmq.PULL) else PATIENCE_MS
    socket.set_hwm(hwm)
    return socket


def bind(socket, endpoint):
    socket.bind(endpoint)
    print(f"python: listening on {socket.getsockopt_string(zmq.LAST_ENDPOINT)}", flush=True)


def block_hash(n):
    return (n + 1) * 0x9E3779B97F4A7C15 % 2**64


def make_batches(blocks, count=16):
    """Batches to send again and again, each with `blocks` blocks of 16 tokens."""
    batches = []
    for n in range(count):
        hashes = [block_hash(n * blocks + i) for i in range(blocks)]
        first = n * blocks * BLOCK_SIZE
        tokens = [(first + i) * 7919 % 32000 for i in range(blocks * BLOCK_SIZE)]
        event = Stored(hashes, hashes[0], tokens, BLOCK_SIZE, None, "GPU", None)
        event.group_idx, event.kv_cache_spec_kind = 0, "full_attention"
        batches.append(Batch(0.0, [event], data_parallel_rank=0))
    return batches


def pub(endpoint, replay_endpoint, blocks, kept, hwm, count):
    """As kv_publisher: encodes, sends and keeps each batch, and looks once a millisecond whether
    a replay is wanted. The lists of tokens and hashes are made once."""
    batches, count = make_batches(int(blocks)), int(count)
    encode, kept = msgspec.msgpack.Encoder().encode, deque(maxlen=int(kept))
    publisher, router = open_socket(zmq.XPUB, int(hwm)), open_socket(zmq.ROUTER)
    bind(publisher, endpoint)
    bind(router, replay_endpoint)
    publisher.recv()  # A subscription
    send, topic, now, clock, more = publisher.send, b"kv-events", time.time, time.monotonic, zmq.SNDMORE
    looked = 0
    for seq in range(count):
        batch = batches[seq & 15]
        batch.ts = now()
        payload = encode(batch)
        send(topic, more)
        send(seq.to_bytes(8, "big"), more)
        send(payload)
        kept.append((seq, payload))
        if clock() > looked + 0.001:
            looked = clock()
            if router.poll(0):
                router.recv_multipart()
    router.linger = 0


def sub(endpoint, count, json):
    """As kv_subscriber: every batch read with its type, in order, or counted as a gap. With json=1 it is
    printed, and flushed."""
    count, json, gaps, events, due = int(count), int(json), 0, 0, 0
    decode, encode = msgspec.msgpack.Decoder(Batch).decode, msgspec.json.Encoder().encode
    write, flush = sys.stdout.buffer.write, sys.stdout.buffer.flush
    socket = open_socket(zmq.SUB, 100000)
    socket.subscribe("")
    socket.connect(endpoint)
    receive, from_bytes = socket.recv_multipart, int.from_bytes
    for _ in range(count):
        topic, number, payload = receive()
        seq = from_bytes(number, "big")
        if seq != due:
            gaps += 1
        due = seq + 1
        batch = decode(payload)
        events += len(batch.events)
        if json:
            line = {"seq": seq, "topic": topic.decode(), "ts": batch.ts,
                    "dp_rank": batch.data_parallel_rank, "replayed": False,
                    "events": batch.events}  # fmt: skip
            write(encode(line) + b"\n")
            flush()
    print(f"python: {count} received, {events} events, {gaps} gaps", file=sys.stderr)


def frontend(input, output, requests, in_flight, tokens):
    requests, in_flight = int(requests), int(in_flight)
    router, pull = open_socket(zmq.ROUTER, 0), open_socket(zmq.PULL, 0)
    bind(router, input)
    bind(pull, output)
    identity = router.recv_multipart()[0]
    encode = msgspec.msgpack.Encoder().encode
    decode = msgspec.msgpack.Decoder(EngineCoreOutputs).decode
    made, sent, ended, all_tokens = {}, 0, 0, 0
    while ended < requests:
        while sent < requests and sent - ended < in_flight:
            name = f"r{sent}"
            made[name] = 0
            request = encode(toy_request(name, int(tokens)))
            router.send_multipart([identity, b"\0", request])
            sent += 1
        for out in decode(pull.recv()).outputs:
            made[out.request_id] += len(out.new_token_ids)
            if out.finish_reason is not None:
                all_tokens += made.pop(out.request_id)
                ended += 1
    print(f"python: {ended} requests, {all_tokens} tokens")


def engine(input, output, _):
    """Takes what has come, makes a step, and so on until it is stopped."""
    dealer, push = open_socket(zmq.DEALER, 0), open_socket(zmq.PUSH, 0)
    dealer.routing_id = b"\0\0"
    push.connect(output)
    dealer.connect(input)
    encode = msgspec.msgpack.Encoder().encode
    decode = msgspec.msgpack.Decoder(EngineCoreRequest).decode
    dealer.send(encode(toy_ready()))
    running = {}  # request id -> [tokens so far, limit, state of the token maker]
    receive = dealer.recv_multipart
    while True:
        try:
            while True:
                frames = receive(zmq.DONTWAIT if running else 0)
                request = decode(frames[1])
                limit, seed = request.sampling_params.max_tokens, sum(request.prompt_token_ids)
                running[request.request_id] = [0, limit, seed]
        except zmq.Again:
            pass
        outputs, finished = [], set()
        for name, state in running.items():
            state[0] += 1
            state[2] = (state[2] * 48271 + 11) % 2147483647
            output = EngineCoreOutput(name, [state[2] % 32000])
            if state[0] == state[1]:
                output.finish_reason = FinishReason.LENGTH
                finished.add(name)
            outputs.append(output)
        for name in finished:
            del running[name]
        step = EngineCoreOutputs(0, outputs, None, time.monotonic(), None, finished or None)
        push.send(encode(step))


ROLES = {role.__name__: role for role in (pub, sub, frontend, engine)}


def main():
    role = ROLES.get(sys.argv[1]) if len(sys.argv) > 1 else None
    if not role or len(sys.argv) - 2 != len(inspect.signature(role).parameters):
        for name, each in ROLES.items():
            print(f"usage: python.py {name} {' '.join(inspect.signature(each).parameters).upper()}")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        role(*sys.argv[2:])
    except SystemExit:
        context.destroy(0)  # What is stopped has nothing left to say
        raise
    context.destroy(PATIENCE_MS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
