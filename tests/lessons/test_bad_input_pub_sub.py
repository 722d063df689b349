# SPDX-License-Identifier: MIT
"""Bad messages at each receiver of pub_sub: it prints one line on stderr for each, and continues."""

import random
import re
import time

import msgspec
import pytest
import zmq

import wire
from harness import UNREADABLE, WAIT_S

pack = msgspec.msgpack.encode
REPLAYS = pytest.mark.parametrize("name", ["replay_subscriber", "replay_dealer_subscriber"])


def as_seq(number):
    return number.to_bytes(8, "big")


def stored(seq):
    event = wire.BlockStored([seq, b"\xff" * 32], None, [1, 2], 16, None, "GPU", None)
    return pack(wire.KVEventBatch(0.0, [event], 0))


def changed(**fields):
    """A batch of one BlockStored of which some fields are something else."""
    event = {"type": "BlockStored", "block_hashes": [1], "token_ids": [2], **fields}
    return pack([0.0, [event], 0])


#: msgpack, but no batch
NO_BATCH = [pack(value) for value in (1, None, {}, [], [0.0], [0.0, 1], [0.0, {}, 0], [0.0, [1], 0])]
NO_BATCH += [pack([0.0, [event], 0]) for event in ({}, [], {"type": 1}, {"type": None}, {1: "type"})]
NO_BATCH += [changed(type=b"BlockStored"), changed(block_hashes=1), changed(token_ids={"a": 1})]


# --- topics


@pytest.mark.valgrind
def test_topic_subscriber(start, ipc, peer):
    publisher = peer(zmq.XPUB, bind=(at := ipc()))
    subscriber = start("topic_subscriber", endpoint=at)
    assert publisher.recv() == b"\x01"
    no_seq = [pack(value) for value in (1, [], {}, {"seq": -1}, {"seq": "1"}, {"Seq": 1})]
    messages = [[b"a", bad] for bad in UNREADABLE + no_seq]
    messages += [[b"a"], [b""], [b"a", pack({"seq": 1}), b""]]
    for message in messages:
        publisher.send_multipart(message)
    for topic, seq in [(b"a", 2**64 - 1), (b"\x1b[31m", 7), (b"", 0)]:
        publisher.send_multipart([topic, pack({"seq": seq, "more": [1]})])
    subscriber.wait_line(rf"^a {2**64 - 1}$")
    subscriber.wait_line(r"^\?\[31m 7$")
    subscriber.wait_line("^ 0$")
    assert subscriber.stop() == 0
    assert subscriber.err == ['topic_subscriber: bad message: not [topic][{"seq": n}]'] * len(messages)
    assert subscriber.summary() == f"3 received, {len(messages)} bad"


def test_topic_publisher(start, ipc, peer):
    """An XSUB can send anything to an XPUB."""
    publisher = start("topic_publisher", wait_subscribers=1, count=2, endpoint=(at := ipc()))
    stranger = peer(zmq.XSUB, connect=at)
    for message in ([b""], [b"\x02a"], [b"hello"], [b"\xff", b"x", b""]):
        stranger.send_multipart(message)
    stranger.send(b"\x01a\x1b")
    stranger.send(b"\x01a")
    assert stranger.recv_multipart() == [b"a", pack({"seq": 0})]
    assert publisher.wait() == 0
    assert 'subscribed: "a?"' in publisher.out
    assert set(publisher.err) == {"topic_publisher: bad message: not a subscription"}


# --- replay


@pytest.mark.valgrind
def test_replay_publisher(start, ipc, peer):
    endpoints = {"endpoint": ipc(), "replay_endpoint": ipc()}
    publisher = start("replay_publisher", interval_ms=5, **endpoints)
    publisher.wait_line("^seq 3:")
    stranger = peer(zmq.DEALER, connect=endpoints["replay_endpoint"])
    messages = [[b""], [as_seq(0)], [b"", b""], [b"", b"1234567"], [b"", bytes(9)]]
    messages += [[b"", as_seq(0), b""], [b"x"] * 50, [b"", b"x" * 1_000_000]]
    for message in messages:
        stranger.send_multipart(message)
    stranger.send_multipart([b"", as_seq(2)])
    assert stranger.recv_multipart()[:3] == [b"", b"kv-events", as_seq(2)]
    stranger.send_multipart([b"", as_seq(2**64 - 1)])
    publisher.wait_line(rf"^replay from {2**64 - 1}: 0 batches$")
    assert publisher.stop() == 0
    want = "replay_publisher: bad replay request: not [empty][8 bytes]"
    assert publisher.err == [want] * len(messages)


@pytest.fixture
def follow(start, ipc, peer):
    """Starts a subscriber. Returns it, its publisher's socket, and the ROUTER that it asks."""

    def follow(name, **options):
        live, replay = ipc(), ipc()
        publisher, router = peer(zmq.XPUB, bind=live), peer(zmq.ROUTER, bind=replay)
        subscriber = start(name, endpoint=live, replay_endpoint=replay, **options)
        publisher.recv()
        return subscriber, lambda *frames: publisher.send_multipart(frames), router

    return follow


@pytest.mark.valgrind
@REPLAYS
def test_live_messages(follow, name):
    subscriber, publish, _ = follow(name, topic="")
    messages = [[b"t"], [b""], [b"t", as_seq(0)], [as_seq(0), stored(0)], [b""] * 4]
    messages += [[b"t", seq, stored(0)] for seq in (b"", b"1234567", bytes(9), b"\xff" * 8)]
    messages += [[b"t", as_seq(0), stored(0), b""]]
    for message in messages:
        publish(*message)
    batches = NO_BATCH + UNREADABLE
    for seq, bad in enumerate(batches):
        publish(b"t", as_seq(seq), bad)
    number = len(batches)
    publish(b"t", as_seq(number), stored(number))
    # Newer fields and events are not errors
    publish(b"t", as_seq(number + 1), pack([0.0, [{"type": "New"}, {"type": "\x1bX"}], 0, 1]))
    publish(b"t", as_seq(number + 2), pack([0.0, []]))
    subscriber.wait_line(rf"^seq {number}: BlockStored 2 blocks 2 tokens$")
    subscriber.wait_line(rf"^seq {number + 1}: New, \?X$")
    subscriber.wait_line(rf"^seq {number + 2}: no events$")
    assert subscriber.stop() == 0
    assert subscriber.err == [f"{name}: bad message: not [topic][seq][batch]"] * len(messages) + [
        f"{name}: seq {seq}: bad batch" for seq in range(number)
    ]
    bad = len(messages) + number
    assert subscriber.summary() == f"{number + 3} received, 0 replayed, 0 lost, {bad} bad"


BAD_REPLIES = [[b"x"], [as_seq(0)], [b"1234567", b"x"], [b""] * 3, [b"t", b"", b"x"], [b"x"] * 50]


@pytest.mark.valgrind
def test_replies_to_a_dealer(follow):
    """It reads on after a bad reply."""
    subscriber, publish, router = follow("replay_dealer_subscriber")
    publish(b"kv-events", as_seq(4), stored(4))
    client, *asked = router.recv_multipart()
    assert asked == [b"", as_seq(0)]
    replies = [
        *BAD_REPLIES,
        [b"kv-events", as_seq(0), stored(0)],
        [as_seq(1), stored(1)],  # Without its topic, as before v0.26
        [b"kv-events", as_seq(0), stored(0)],  # Again
        [b"kv-events", as_seq(2), b"\xc1"],
        [b"kv-events", as_seq(3), stored(3)],
    ]
    for reply in replies:
        router.send_multipart([client, b"", *reply])
    subscriber.wait_line("^seq 4: BlockStored 2 blocks 2 tokens$")
    assert subscriber.stop() == 0
    assert subscriber.lines("^seq .*") == [
        "seq 0 replayed: BlockStored 2 blocks 2 tokens",
        "seq 1 replayed: BlockStored 2 blocks 2 tokens",
        "seq 2 replayed: unreadable",
        "seq 3 replayed: BlockStored 2 blocks 2 tokens",
        "seq 4: BlockStored 2 blocks 2 tokens",
    ]
    bad = len(BAD_REPLIES) + 1
    assert len(subscriber.lines("bad reply: .", "err")) == bad
    assert subscriber.err[-1] == "replay_dealer_subscriber: seq 2: bad batch"
    assert subscriber.summary() == f"5 received, 4 replayed, 0 lost, {bad + 1} bad"


@pytest.mark.valgrind
def test_replies_to_a_req(follow):
    """A REQ takes one reply. If that cannot be read, the hole is lost."""
    subscriber, publish, router = follow("replay_subscriber")
    too_old = [b"kv-events", as_seq(0), stored(0)]
    replies = [*BAD_REPLIES, too_old]
    for hole in range(0, 2 * len(replies), 2):
        publish(b"kv-events", as_seq(hole + 1), stored(hole + 1))
        client, *asked = router.recv_multipart()
        assert asked == [b"", as_seq(hole)]
        reply = replies[hole // 2] if hole else [b"kv-events"]
        router.send_multipart([client, b"", *reply])
        subscriber.wait_line(f"^seq {hole + 1}: BlockStored")
    last = 2 * len(replies)
    publish(b"kv-events", as_seq(last + 1), stored(last + 1))
    client = router.recv_multipart()[0]
    router.send_multipart([client, b"", b"kv-events", as_seq(last), stored(0)])
    subscriber.wait_line(f"^seq {last + 1}: BlockStored")
    assert subscriber.stop() == 0
    lost = subscriber.lines(r"lost (\S+): the reply cannot be read$", "err")
    assert lost == [f"{seq}-{seq}" for seq in range(0, last, 2)]
    assert len(subscriber.err) == 2 * len(lost)
    assert f"seq {last} replayed: BlockStored 2 blocks 2 tokens" in subscriber.out


@REPLAYS
def test_the_end_of_a_replay(follow, name):
    """The end may come early, or the replay may begin later than asked."""
    subscriber, publish, router = follow(name)
    end, later = [b"", b"\xff" * 8, b""], [b"kv-events", as_seq(9), stored(9)]
    for seq, replies in [
        (2, [end]),
        (5, [[b"kv-events", as_seq(4), stored(4)], end]),
        (8, [later]),
        (10, [later, end]),
    ]:
        publish(b"kv-events", as_seq(seq), stored(seq))
        client = router.recv_multipart()[0]
        for reply in replies:
            router.send_multipart([client, b"", *reply])
        subscriber.wait_line(f"^seq {seq}: BlockStored")
    assert subscriber.stop() == 0
    assert subscriber.lines(rf"^{name}: lost (\S+): the publisher has not kept these$", "err") == [
        "0-1",
        "3-3",
        "6-7",
    ]
    assert len(subscriber.err) == 3
    assert subscriber.summary() == "6 received, 2 replayed, 5 lost, 0 bad"


# --- a flood


def mutants(number, seed):
    """Good messages with some bytes changed, cut off, or repeated."""
    chance = random.Random(seed)
    for _ in range(number):
        seq = chance.randrange(40)
        frames = [b"kv-events", as_seq(seq), stored(seq)]
        for _ in range(chance.randrange(4)):
            at = chance.randrange(len(frames))
            frame = bytearray(frames[at])
            what = chance.randrange(5)
            if what == 0 and frame:
                frame[chance.randrange(len(frame))] = chance.randrange(256)
            elif what == 1:
                frame = frame[: chance.randrange(len(frame) + 1)]
            elif what == 2:
                frame += chance.randbytes(chance.randrange(20))
            elif what == 3:
                frames.insert(at, chance.randbytes(chance.randrange(20)))
            elif len(frames) > 1:
                del frames[at]
                continue
            frames[at] = bytes(frame)
        yield frames


def answer(router, milliseconds):
    """If a replay was asked for, answers with its end, without a batch."""
    if router.poll(milliseconds):
        client = router.recv_multipart()[0]
        router.send_multipart([client, b"", b"", b"\xff" * 8, b""])


@REPLAYS
def test_flood_of_live_messages(follow, name):
    """After 2,000 bad messages it still delivers a good one."""
    subscriber, publish, router = follow(name, topic="")
    for frames in mutants(2000, seed=1):
        publish(*frames)
        answer(router, 0)
    last = f"seq {2**64 - 2}: BlockStored 2 blocks 2 tokens"
    deadline = time.monotonic() + WAIT_S
    while last not in subscriber.out:
        publish(b"t", as_seq(2**64 - 2), stored(0))  # More than once: the PUB drops when it is full
        answer(router, 20)
        assert subscriber.running() and time.monotonic() < deadline
    assert subscriber.stop() == 0
    bad = r"bad message: not \[topic\]\[seq\]\[batch\]|seq \d+: bad batch"
    known = re.compile(rf"{name}: ({bad}|lost \d+-\d+: the publisher has not kept these)")
    assert [line for line in subscriber.err if not known.fullmatch(line)] == []


def test_flood_of_replies(follow):
    subscriber, publish, router = follow("replay_dealer_subscriber")
    publish(b"kv-events", as_seq(40), stored(40))
    client = router.recv_multipart()[0]
    for frames in mutants(2000, seed=2):
        router.send_multipart([client, b"", *frames])
    router.send_multipart([client, b"", b"", b"\xff" * 8, b""])
    subscriber.wait_line("^seq 40: BlockStored 2 blocks 2 tokens$")
    assert subscriber.stop() == 0
    assert seqs_are_increasing(subscriber)


def seqs_are_increasing(subscriber):
    seqs = [int(seq) for seq in subscriber.lines(r"^seq (\d+)")]
    return seqs == sorted(set(seqs))


def test_flood_of_requests(start, ipc, peer):
    endpoints = {"endpoint": ipc(), "replay_endpoint": ipc()}
    publisher = start("replay_publisher", interval_ms=20, **endpoints)
    stranger = peer(zmq.DEALER, connect=endpoints["replay_endpoint"])
    for frames in mutants(2000, seed=3):
        stranger.send_multipart(frames)
    publisher.wait_line("^seq 0: ")
    client = peer(zmq.DEALER, connect=endpoints["replay_endpoint"])
    client.send_multipart([b"", as_seq(0)])
    assert client.recv_multipart()[:3] == [b"", b"kv-events", as_seq(0)]
    assert publisher.stop() == 0
