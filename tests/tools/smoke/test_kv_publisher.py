# SPDX-License-Identifier: MIT
"""kv_publisher as a vLLM with several ranks, or one that connects, seen by subscribers in pyzmq."""

import random
import re
import signal
import socket
import time

import msgspec
import pytest
import structs
import zmq

from harness import FACTOR, WAIT_S

END = b"\xff" * 8


def decode(frames):
    """topic, number and batch of a live message, read as strictly as vLLM's own structs are."""
    topic, seq, payload = frames
    return topic, int.from_bytes(seq, "big"), msgspec.msgpack.decode(payload, type=structs.KVEventBatch)


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
    """The numbers and ranks of a whole replay."""
    client.send_multipart([b"", start.to_bytes(8, "big")])
    found = []
    while True:
        empty, topic, seq, payload = client.recv_multipart()
        assert empty == b""
        if seq == END:
            assert (topic, payload) == (b"", b"")
            return found
        found.append(decode([topic, seq, payload])[1:])


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


def test_ranks(start, peer):
    """Rank n has both ports, n higher, numbers of its own, its number in each batch, other blocks."""
    first = ports(6)
    publisher = start(
        "kv_publisher",
        ranks=3,
        endpoint=f"tcp://127.0.0.1:{first}",
        replay_endpoint=f"tcp://127.0.0.1:{first + 3}",
        wait_subscribers=1,
        interval_ms=5,
        drop="2-3",
        count=6,
    )
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


@pytest.mark.valgrind
def test_replay_of_each_rank(start, ipc, peer):
    live, replay = ipc(), ipc()
    publisher = start(
        "kv_publisher", ranks=2, endpoint=live, replay_endpoint=replay, prefill=5, interval_ms=60000
    )
    publisher.endpoint(4)
    for rank, suffix in ((0, ""), (1, "_dp1")):
        client = peer(zmq.DEALER, connect=replay + suffix)
        found = replayed(client, 2)
        assert [(seq, batch.data_parallel_rank) for seq, batch in found] == [
            (n, rank) for n in (2, 3, 4)
        ]
        publisher.wait_line(f"^rank {rank} replay from 2: 3 batches$")
    assert publisher.stop() == 0


def test_ranks_of_one_restart(start, ipc, peer):
    live = ipc()
    publisher = start(
        "kv_publisher",
        ranks=2,
        endpoint=live,
        replay_endpoint=ipc(),
        wait_subscribers=1,
        restart_after=2,
        interval_ms=5,
        count=4,
    )
    both = [peer(zmq.SUB, connect=live + suffix) for suffix in ("", "_dp1")]
    for subscriber in both:
        subscriber.subscribe(b"")
    for rank, got in enumerate(collect(both, 4)):
        assert [(seq, batch.data_parallel_rank) for _, seq, batch in got] == [
            (0, rank),
            (1, rank),
            (0, rank),
            (1, rank),
        ]
    assert publisher.wait() == 0
    assert publisher.lines("^restarting from 0$") == ["restarting from 0"]


@pytest.mark.parametrize("ranks", [1, 2])
def test_connect(start, ipc, peer, ranks):
    """As a vLLM whose endpoint has neither * nor ::, to subscribers that bind. The ROUTER binds."""
    live, replay = ipc(), ipc()
    suffixes = ["", "_dp1"][:ranks]
    subscribers = [peer(zmq.SUB, bind=live + suffix) for suffix in suffixes]
    for subscriber in subscribers:
        subscriber.subscribe(b"kv-events")
    publisher = start(
        "kv_publisher",
        "--connect",
        ranks=ranks,
        endpoint=live,
        replay_endpoint=replay,
        wait_subscribers=1,
        interval_ms=5,
        count=5,
    )
    for rank, got in enumerate(collect(subscribers, 5)):
        for number, (topic, seq, batch) in enumerate(got):
            assert (topic, seq, batch.data_parallel_rank) == (b"kv-events", number, rank)
    assert publisher.wait() == 0
    told = [[f"connecting to {live + each}", f"listening on {replay + each}"] for each in suffixes]
    assert publisher.out[: 2 * ranks] == [f"kv_publisher: {line}" for pair in told for line in pair]


def test_connect_before_the_subscriber_is_there(start, peer):
    """Over tcp, where nobody listens yet."""
    port = ports(1)
    publisher = start(
        "kv_publisher",
        "--connect",
        endpoint=f"tcp://127.0.0.1:{port}",
        replay_endpoint="tcp://127.0.0.1:*",
        wait_subscribers=1,
        interval_ms=5,
        count=3,
    )
    publisher.wait_line("^kv_publisher: connecting to ")
    subscriber = peer(zmq.SUB, bind=f"tcp://127.0.0.1:{port}")
    subscriber.subscribe(b"")
    assert [decode(subscriber.recv_multipart())[1] for _ in range(3)] == [0, 1, 2]
    assert publisher.wait() == 0


def test_kv_subscriber_follows_both(start, ipc):
    """Two ranks, each with a hole, to a subscriber that binds and has a replay of each."""
    live, replay = ipc(), ipc()
    ends = [live, live + "_dp1"], [replay, replay + "_dp1"]
    subscriber = start(
        "kv_subscriber", "--bind", endpoint=ends[0], replay_endpoint=ends[1], count=20
    )
    subscriber.endpoint(2)
    publisher = start(
        "kv_publisher",
        "--connect",
        ranks=2,
        endpoint=live,
        replay_endpoint=replay,
        wait_subscribers=1,
        interval_ms=20 * FACTOR,
        drop="3-5",
    )
    assert subscriber.wait() == 0
    assert re.match(
        r"\d+ received, 20 delivered, 6 replayed, \d duplicates, 2 gaps, 0 lost, 0 malformed",
        subscriber.summary(),
    )
    for end in ends[0]:
        numbers = subscriber.lines(rf"^{end} seq (\d+)")
        assert numbers == [str(n) for n in range(len(numbers))] and len(numbers) > 6
    assert publisher.stop() == 0


def test_curve_when_it_connects(start, peer, keys):
    """Then it is the PUB that needs the key of the other end."""
    port = ports(1)
    ends = {"endpoint": f"tcp://127.0.0.1:{port}", "curve_dir": str(keys)}
    subscriber = start("kv_subscriber", "--bind", count=3, **ends)
    subscriber.endpoint()
    publisher = start(
        "kv_publisher",
        "--connect",
        replay_endpoint="tcp://127.0.0.1:*",
        wait_subscribers=1,
        interval_ms=5,
        **ends,
    )
    assert subscriber.wait() == 0
    assert publisher.stop() == 0
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


@pytest.mark.parametrize("hwm", [100, 0])
def test_a_replay_that_does_not_fit(start, ipc, hwm):
    """A ROUTER drops what is above its mark: asked for again, not lost. Without one all fits."""
    live, replay = ipc(), ipc()
    publisher = start(
        "kv_publisher",
        endpoint=live,
        replay_endpoint=replay,
        prefill=250,
        replay_hwm=hwm,
        blocks=64,
        interval_ms=50,
    )
    # An answer whose end was dropped is waited for
    options = {"endpoint": live, "replay_endpoint": replay, "replay_timeout_ms": 500}
    subscriber = start("kv_subscriber", from_seq=0, count=251, **options)
    assert subscriber.wait(30) == 0
    came = [int(seq) for seq in subscriber.lines(r"^seq (\d+)")]
    assert came == list(range(251))
    assert " 0 lost" in subscriber.summary()
    requests = len(publisher.lines(r"^replay from (\d+)"))
    assert requests > 1 if hwm else requests == 1
    assert publisher.stop() == 0


def test_the_buffer_is_bounded_in_bytes(start, ipc, peer):
    """Batches of 256 blocks are 23 kB: the last 1 MiB of them is kept, and no more of 200."""
    replay = ipc()
    publisher = start(
        "kv_publisher",
        endpoint=ipc(),
        replay_endpoint=replay,
        blocks=256,
        prefill=200,
        buffer_mb=1,
        interval_ms=3600000,
    )
    client = peer(zmq.DEALER, connect=replay)
    client.send_multipart([b"", bytes(8)])
    replies = []
    while True:
        _, _, seq, payload = client.recv_multipart()
        if seq == b"\xff" * 8:
            break
        replies.append((int.from_bytes(seq, "big"), len(payload)))
    sizes = [size for _, size in replies]
    assert [seq for seq, _ in replies] == list(range(200 - len(replies), 200))
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
