# SPDX-License-Identifier: MIT
"""kv_publisher: what it sends, its ranks, its replays, what leaves when it ends. Every payload is
decoded strictly into vLLM's structs, and encoded again by msgspec it has to come out byte for byte.
"""

import random
import re
import signal
import socket
import time

import pytest
import structs
import zmq

from harness import FACTOR, WAIT_S

END = b"\xff" * 8


def decode(frames):
    """topic, number and batch of a live message."""
    topic, seq, payload = frames
    return topic, int.from_bytes(seq, "big"), structs.exactly(payload, structs.KVEventBatch)


def collect(subscribers, count):
    """`count` messages of each subscriber, decoded. All are polled together: a SUB sends its subscription
    from the thread that uses it, so a SUB that is not polled never subscribes."""
    got = [[] for _ in subscribers]
    deadline = time.monotonic() + WAIT_S
    while any(len(each) < count for each in got):
        assert time.monotonic() < deadline, got
        for subscriber, each in zip(subscribers, got):
            if subscriber.poll(1):
                each.append(decode(subscriber.recv_multipart()))
    return got


def replayed(client, start):
    """The messages of a whole replay, without the empty frame, and its end."""
    client.send_multipart([b"", start.to_bytes(8, "big")])
    found = []
    while True:
        empty, *frames = client.recv_multipart()
        assert empty == b""
        if frames[-2] == END:
            return found, frames
        found.append(frames)


def ports(count):
    """The first of so many free ports in a row, below those that the system hands out."""
    for _ in range(1000):
        port = random.randrange(10000, 32000)
        sockets = [socket.socket() for _ in range(count)]
        try:
            for number, each in enumerate(sockets):
                each.bind(("127.0.0.1", port + number))
            return port
        except OSError:
            continue
        finally:
            for each in sockets:
                each.close()
    raise AssertionError("no free ports")


@pytest.fixture
def publish(start, ipc):
    """Starts a publisher; its endpoints."""

    def publish(*args, **options):
        ends = {"endpoint": ipc(), "replay_endpoint": ipc()}
        program = start("kv_publisher", *args, **{"interval_ms": 5, **ends, **options})
        return program, *ends.values()

    return publish


# --- messages


@pytest.mark.parametrize(
    "wire, topic",
    [
        pytest.param("v0.33", "kv-events", marks=pytest.mark.valgrind),
        ("v0.26", ""),
        ("v0.24", "kv@pod-1@model"),
        ("v0.9", "Grüße"),
    ],
)
def test_messages(publish, peer, wire, topic):
    """Live, and as a DEALER gets them in a replay: before v0.26 without the topic."""
    publisher, live, replay = publish(wire=wire, topic=topic)
    subscriber = peer(zmq.SUB, connect=live)
    subscriber.subscribe(topic.encode()[:3])
    heard = [subscriber.recv_multipart() for _ in range(8)]
    first = int.from_bytes(heard[0][1], "big")
    brought, end = replayed(peer(zmq.DEALER, connect=replay), 0)
    topics = [topic.encode()] if wire in ("v0.26", "v0.33") else []
    assert end == [b"" for _ in topics] + [END, b""]
    parent = None
    for n, frames in enumerate(brought):
        seq, payload = frames[-2:]
        assert frames[:-1] == [*topics, n.to_bytes(8, "big")]
        if first <= n < first + 8:
            assert heard[n - first] == [topic.encode(), seq, payload]
        batch = structs.exactly(payload, structs.KV[wire]["KVEventBatch"])
        assert abs(batch.ts - time.time()) < 3600
        stored, *removed = batch.events
        assert stored.parent_block_hash == parent
        (parent,) = stored.block_hashes
        assert len(stored.token_ids) == stored.block_size == 16
        kinds = [type(event).__struct_config__.tag for event in batch.events]
        assert kinds == ["BlockStored", "BlockRemoved"][: 1 + (n % 5 == 4)]
        if wire != "v0.9":
            assert batch.data_parallel_rank == 0
            assert (stored.medium, stored.group_idx) == ("GPU", 0)
    assert n >= first + 7
    assert publisher.stop() == 0


def test_a_req_gets_one_reply_of_many(publish, peer):
    publisher, _, replay = publish()
    publisher.wait_line("^seq 4:")
    for seq in (3, 0, 2):
        client = peer(zmq.REQ, connect=replay)  # In the old one replies may still arrive
        client.send(seq.to_bytes(8, "big"))
        assert decode(client.recv_multipart())[:2] == (b"kv-events", seq)
    assert publisher.stop() == 0


# --- ranks


def test_ranks(publish, peer):
    """Rank n has both ports, n higher, numbers of its own, its number in each batch, other blocks."""
    first = ports(6)
    live, replay = f"tcp://127.0.0.1:{first}", f"tcp://127.0.0.1:{first + 3}"
    options = {"wait_subscribers": 1, "drop": "2-3", "count": 6}
    publisher, *_ = publish(ranks=3, endpoint=live, replay_endpoint=replay, **options)
    subscribers = []
    for rank in range(3):
        subscribers.append(peer(zmq.SUB, connect=f"tcp://127.0.0.1:{first + rank}"))
        subscribers[-1].subscribe(b"kv")
    hashes = set()
    for rank, got in enumerate(collect(subscribers, 4)):
        for number, (topic, seq, batch) in zip((0, 1, 4, 5), got):
            assert (topic, seq, batch.data_parallel_rank) == (b"kv-events", number, rank)
            hashes.update(batch.events[0].block_hashes)
    assert len(hashes) == 12
    assert publisher.wait() == 0
    assert publisher.lines(r"^rank (\d) seq 5: BlockStored") == ["0", "1", "2"]
    assert publisher.summary() == "18 published"
    assert publisher.out[:6] == [
        f"kv_publisher: listening on tcp://127.0.0.1:{first + n}" for n in (0, 3, 1, 4, 2, 5)
    ]


def test_ranks_of_one_restart(publish, peer):
    publisher, live, _ = publish(ranks=2, wait_subscribers=1, restart_after=2, count=4)
    both = [peer(zmq.SUB, connect=live + suffix) for suffix in ("", "_dp1")]
    for subscriber in both:
        subscriber.subscribe(b"")
    for rank, got in enumerate(collect(both, 4)):
        numbers = [(seq, batch.data_parallel_rank) for _, seq, batch in got]
        assert numbers == [(0, rank), (1, rank)] * 2
    assert publisher.wait() == 0
    assert publisher.lines("^restarting from 0$") == ["restarting from 0"]


def test_connect_before_the_subscriber_is_there(publish, peer):
    """Over tcp, where nobody listens yet."""
    at = f"tcp://127.0.0.1:{ports(1)}"
    publisher, *_ = publish("--connect", endpoint=at, wait_subscribers=1, count=3)
    publisher.wait_line("^kv_publisher: connecting to ")
    subscriber = peer(zmq.SUB, bind=at)
    subscriber.subscribe(b"")
    assert [decode(subscriber.recv_multipart())[1] for _ in range(3)] == [0, 1, 2]
    assert publisher.wait() == 0


def test_kv_subscriber_follows_both(start, publish, ipc):
    """Two ranks, each with a hole, to a subscriber that binds and has a replay of each. As a vLLM whose
    endpoint has neither * nor ::, the PUB connects and the ROUTER binds."""
    live, replay = ipc(), ipc()
    ends = [live, live + "_dp1"], [replay, replay + "_dp1"]
    subscriber = start(
        "kv_subscriber", "--bind", endpoint=ends[0], replay_endpoint=ends[1], count=20
    )
    subscriber.endpoint(2)
    options = {"ranks": 2, "wait_subscribers": 1, "interval_ms": 20 * FACTOR, "drop": "3-5"}
    publisher, *_ = publish("--connect", endpoint=live, replay_endpoint=replay, **options)
    assert subscriber.wait() == 0
    assert re.match(
        r"\d+ received, 20 delivered, 6 replayed, \d duplicates, 2 gaps, 0 lost, 0 malformed",
        subscriber.summary(),
    )
    for end in ends[0]:
        numbers = subscriber.lines(rf"^{end} seq (\d+)")
        assert numbers == [str(n) for n in range(len(numbers))] and len(numbers) > 6
    assert publisher.stop() == 0
    told = [[f"connecting to {live}", f"listening on {replay}"] for live, replay in zip(*ends)]
    assert publisher.out[:4] == [f"kv_publisher: {line}" for pair in told for line in pair]


def test_curve_when_it_connects(start, publish, keys):
    """Then it is the PUB that needs the key of the other end."""
    ends = {"endpoint": f"tcp://127.0.0.1:{ports(1)}", "curve_dir": str(keys)}
    subscriber = start("kv_subscriber", "--bind", count=3, **ends)
    subscriber.endpoint()
    publisher, *_ = publish(
        "--connect", replay_endpoint="tcp://127.0.0.1:*", wait_subscribers=1, **ends
    )
    assert subscriber.wait() == publisher.stop() == 0
    assert subscriber.err == publisher.err == []


@pytest.mark.parametrize(
    "wrong, names",
    [
        ({"endpoint": "tcp://127.0.0.1:65534", "ranks": 3}, "--endpoint: 'tcp://127.0.0.1:65534'"),
        ({"replay_endpoint": "tcp://127.0.0.1:65535", "ranks": 2}, "--replay-endpoint: "),
        ({"endpoint": "tcp://*:5557", "connect": True}, "--endpoint: 'tcp://*:5557'"),
        ({"endpoint": "ipc:///tmp/" + "x" * 99, "ranks": 2}, "--endpoint: 'ipc://"),
    ],
)
def test_endpoints_that_cannot_be(start, wrong, names):
    publisher = start("kv_publisher", **wrong)
    assert (publisher.wait(), publisher.out, len(publisher.err)) == (2, [], 1)
    assert publisher.err[0].startswith(f"kv_publisher: {names}")


# --- what it keeps for a replay, and what leaves when it ends


@pytest.mark.parametrize("hwm, history", [(100, 250), (0, 1200)])
def test_a_replay_that_does_not_fit(start, publish, hwm, history):
    """A ROUTER drops what is above its mark: asked for again, not lost. Without one all fits."""
    publisher, live, replay = publish(prefill=history, replay_hwm=hwm, blocks=64, interval_ms=50)
    # An answer whose end was dropped is waited for
    options = {"endpoint": live, "replay_endpoint": replay, "replay_timeout_ms": 500}
    subscriber = start("kv_subscriber", from_seq=0, count=history + 1, **options)
    assert subscriber.wait(30) == 0
    came = [int(seq) for seq in subscriber.lines(r"^seq (\d+)")]
    assert came == list(range(history + 1))
    assert " 0 lost" in subscriber.summary()
    requests = len(publisher.lines(r"^replay from (\d+)"))
    assert requests > 1 if hwm else requests == 1
    assert publisher.stop() == 0


def test_the_buffer_is_bounded_in_bytes(publish, peer):
    """Batches of 256 blocks are 23 kB: the last 1 MiB of them is kept, and no more of 200."""
    publisher, _, replay = publish(blocks=256, prefill=200, buffer_mb=1, interval_ms=3600000)
    found, _ = replayed(peer(zmq.DEALER, connect=replay), 0)
    numbers = [int.from_bytes(seq, "big") for _, seq, _ in found]
    assert numbers == list(range(200 - len(found), 200))
    sizes = [len(payload) for _, _, payload in found]
    assert sum(sizes) <= 2**20 < sum(sizes) + max(sizes)
    assert publisher.stop() == 0


def test_the_last_message_arrives(start, ipc):
    """The socket lingers: the last message arrives although the publisher had finished before."""
    long = "x" * 60000  # A connection holds four such messages
    endpoints = {"endpoint": ipc(), "replay_endpoint": ipc()}
    subscriber = start("kv_subscriber", topic="x", **endpoints)
    subscriber.wait_line("waiting for")
    publisher = start("kv_publisher", interval_ms=10, count=30, topic=long, **endpoints)
    subscriber.wait_line("^seq [0-9]+:")
    subscriber.send_signal(signal.SIGSTOP)
    publisher.wait_line("^kv_publisher: 30 published$")
    subscriber.send_signal(signal.SIGCONT)
    subscriber.wait_line("^seq 29:")
    assert publisher.wait() == subscriber.stop() == 0
