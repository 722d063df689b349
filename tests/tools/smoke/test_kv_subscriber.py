# SPDX-License-Identifier: MIT
"""kv_subscriber with a publisher that has faults on demand (tests/tools/peers/kv_publisher.py).

Every batch is delivered once and in order, or reported lost, and the stream goes on. Each batch has
different tokens, so that batches cannot be mixed up unnoticed. The sequence alone is played through
by tests/tools/explore, and the JSON alone by tests/tools/unit/kv_json.c: here are the sockets.
"""

import json
import os
import random
import re
import signal
import socket
import time

import msgspec
import pytest
import structs
import zmq
from kv_publisher import GARBAGE, KvPublisher, Plan, make_batch

from harness import FACTOR, WAIT_S, end_context

pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode
WIRES = list(structs.KV)
TOPIC = "kv-events"
COUNTS = "received delivered replayed duplicates gaps lost malformed restarts".split()
SUMMARY = re.compile("kv_subscriber: " + ", ".join(rf"(\d+) {name}" for name in COUNTS))
CONNECTIONS = ("connected", "disconnected", "handshake_failed")


class Follower:
    """A kv_subscriber with --json, and what it has printed."""

    def __init__(self, start, *publishers, **options):
        endpoints = {
            "endpoint": [each.live for each in publishers],
            "replay_endpoint": [each.replay for each in publishers if each.replay],
        }
        self.publishers = publishers
        self.program = start("kv_subscriber", "--json", **endpoints, **options)

    @property
    def story(self):
        """Without what is said of connections."""
        lines = map(json.loads, list(self.program.out))
        return [each for each in lines if each.get("notice") not in CONNECTIONS]

    @property
    def batches(self):
        return [each for each in self.story if "notice" not in each]

    @property
    def seqs(self):
        return [each["seq"] for each in self.batches]

    def notices(self, name=None):
        """(name, first, last) of each; or only (first, last) of those of a name."""
        found = [each for each in self.story if "notice" in each]
        if name is None:
            return [(each["notice"], each.get("first"), each.get("last")) for each in found]
        return [(each.get("first"), each.get("last")) for each in found if each["notice"] == name]

    def lost(self):
        return [
            seq
            for name, first, last in self.notices()
            if name in ("lost", "history_lost")
            for seq in range(first, last + 1)
        ]

    def wait(self, condition, plans=(), serve=True):
        """Serves replays, by these plans in turn and then well, until it is so."""
        plans, deadline = list(plans), time.monotonic() + WAIT_S
        while not condition():
            for publisher in self.publishers if serve else ():
                if publisher.router and publisher.serve_replay(plans[0] if plans else None, 1):
                    plans = plans[1:]
            time.sleep(0.002)
            late = time.monotonic() > deadline
            assert self.program.running() or condition(), str(self.program)
            assert not late, f"not in time: delivered {self.seqs}, {self.notices()}"

    def see(self, condition):
        """Waits, but no replay is served."""
        self.wait(condition, serve=False)

    def wait_seqs(self, *seqs, plans=()):
        self.wait(lambda: len(self.batches) >= len(seqs), plans)
        assert self.seqs == list(seqs), self.notices()

    def stop(self, number=signal.SIGTERM):
        """Ends it. Returns the counts of its summary, which is all it may have said on stderr but
        for complaints about malformed messages."""
        assert self.program.stop(number) == 0
        return self.counts()

    def counts(self):
        found = [SUMMARY.fullmatch(line) for line in self.program.err]
        (match,) = [each for each in found if each]
        return dict(zip(COUNTS, map(int, match.groups())))


@pytest.fixture
def publisher(ipc):
    """Makes publishers on endpoints that nobody else has."""
    context = zmq.Context()

    def publisher(wire="v0.26", replay=True, live=None, **more):
        return KvPublisher(context, wire, live or ipc(), ipc() if replay else None, **more)

    yield publisher
    end_context(context)


def tcp():
    """An endpoint: a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"tcp://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def follow(start):
    def follow(*publishers, settled=False, **options):
        """settled: it has asked for what there was before it was there. So it will not do that
        later on, at a moment that nobody knows, and the requests of a test can be counted."""
        if settled:
            options["from_seq"] = 0
        follower = Follower(start, *publishers, **options)
        for each in publishers:
            if each.pub:
                each.wait_subscribed()
            if settled:
                assert each.serve_replay().start == 0
                each.requests.clear()
        return follower

    return follow


def ids(follower):
    """Which batches came: what n of make_batch they are."""
    return [each["events"][0]["token_ids"][0] // 16 for each in follower.batches]


# --- what is shown of a batch


@pytest.mark.parametrize("wire", [pytest.param(WIRES[-1], marks=pytest.mark.valgrind), *WIRES[:-1]])
@pytest.mark.parametrize("end", [2, 3])
def test_every_generation(publisher, follow, wire, end):
    """0 to 6 come by a replay, 7 and 8 live, 9 is missed, 10 is live. With both forms of the end, in
    each generation. All fields of all releases are those of tests/tools/interop/test_layouts.py."""
    vllm = publisher(wire)
    for _ in range(7):
        vllm.publish(live=False)
    follower = follow(vllm, from_seq=0, topic=TOPIC)
    follower.wait_seqs(*range(7), plans=[Plan(end=end)])
    for n in (7, 8, 9, 10):
        vllm.publish(live=n != 9)
    follower.wait_seqs(*range(11), plans=[Plan(end=end)])
    assert ids(follower) == [*range(11)]
    for seq, found in enumerate(follower.batches):
        assert (found["topic"], found["ts"]) == (TOPIC, unpack(vllm.buffer[seq][1])[0])
        assert found["replayed"] == (seq < 7 or seq == 9)
        assert ("dp_rank" in found) == (wire != "v0.9")
    counts = follower.stop()
    assert counts["delivered"] == 11 and counts["replayed"] == 8 and counts["gaps"] == 1
    assert counts["lost"] == counts["malformed"] == counts["restarts"] == 0
    assert follower.notices() == [("gap", 9, 9)]
    assert [request.start for request in vllm.requests] == [0, 9]


def test_hashes_as_strings(publisher, follow):
    vllm = publisher(replay=False)
    follower = follow(vllm, hashes="string")
    vllm.publish(pack([1.5, [["BlockStored", [2**64 - 1, b"\1"], -5, [1], 1, None]], 0]))
    follower.wait_seqs(0)
    (event,) = follower.batches[0]["events"]
    assert event["block_hashes"] == ["18446744073709551615", "01"]
    assert event["parent_block_hash"] == "-5" and event["token_ids"] == [1]
    follower.stop()


def test_lines_do_not_wait_for_more(publisher, follow):
    """Each is there before the next batch is sent; and all are, when many came at once."""
    vllm = publisher(replay=False)
    follower = follow(vllm)
    for seq in range(3):
        vllm.publish()
        follower.wait_seqs(*range(seq + 1))
    for _ in range(3000):
        vllm.publish()
    follower.wait_seqs(*range(3003))
    follower.stop()


# --- gaps, and joining late


def test_without_a_replay_endpoint_a_gap_is_lost(publisher, follow):
    vllm = publisher(replay=False)
    follower = follow(vllm)
    for n in range(7):
        vllm.publish(live=n not in (1, 2, 5))
    follower.wait_seqs(0, 3, 4, 6)
    assert follower.lost() == [1, 2, 5]
    counts = follower.stop()
    assert (counts["gaps"], counts["lost"]) == (2, 3)


@pytest.mark.parametrize("first", [0, "live"])
def test_a_publisher_that_comes_late(publisher, follow, first):
    vllm = publisher()
    vllm.close()
    follower = follow(vllm, from_seq=first)
    follower.program.wait_line("waiting for", "err")
    vllm.publish(live=False)
    vllm.open()
    vllm.wait_subscribed()
    vllm.publish()
    vllm.publish()
    follower.wait_seqs(*([0, 1, 2] if first == 0 else [1, 2]))
    assert follower.lost() == []
    follower.stop()


# --- replays that go wrong


@pytest.fixture
def gap(publisher, follow):
    """A subscriber that has 0 (by a replay) and 1, has missed 2 to 5, and got 6."""

    def gap(wire="v0.26", **options):
        vllm = publisher(wire)
        vllm.publish(live=False)
        follower = follow(vllm, settled=True, **{"replay_timeout_ms": 300 * FACTOR, **options})
        vllm.publish()
        follower.wait(lambda: follower.seqs == [0, 1])  # It may have asked again: on a busy machine
        vllm.requests.clear()
        for n in range(2, 7):
            vllm.publish(live=n == 6)
        follower.see(lambda: follower.seqs == [0, 1] and follower.notices("gap") == [(2, 5)])
        return vllm, follower

    return gap


REPLAYS = {  # plan of each replay, then all is well: numbers asked for, what is lost, what is said
    "as vLLM": ([Plan()], [2], [], []),
    "END of 2 frames": ([Plan(end=2)], [2], [], []),
    "END of 3 frames": ([Plan(end=3)], [2], [], []),
    "no END, all there": ([Plan(end=0)], [2], [], []),
    "all history twice": ([Plan(whole=True, times=2)], [2], [], []),
    "a wide hole": ([Plan(drop={3, 4})], [2, 3], [], ["replay_hole", "replay_short"]),
    "two holes": ([Plan(drop={3, 5})], [2, 3], [], ["replay_hole", "replay_short"]),
    "ends early": ([Plan(early=2)], [2, 5], [], ["replay_short"]),
    "ends at once": ([Plan(early=5)], [2, 2], [], ["replay_short"]),
    "ends early without END": ([Plan(early=2, end=0)], [2, 5], [], ["replay_timeout"]),
    "stalls": ([Plan(stall_after=1)], [2, 3], [], ["replay_timeout"]),
    "stalls at once": ([Plan(stall_after=0)], [2, 2], [], ["replay_timeout"]),
    "begins with garbage, stalls": ([Plan(garbage=GARBAGE, stall_after=2)], [2, 4], [], None),
    "garbage between": ([Plan(garbage=GARBAGE[:3])], [2], [], ["malformed"] * 4),
    "begins late": ([Plan(late=2)], [2], [2, 3], ["history_lost"]),
    "a hole each time": ([Plan(drop={3})] * 9, None, [3], None),
    "holes each time": ([Plan(drop={2, 4, 5})] * 9, None, [2, 4, 5], None),
    "ends early each time": ([Plan(drop={5, 6})] * 9, None, [5], None),
    "never answers": ([Plan(stall_after=0)] * 9, None, [2, 3, 4, 5], None),
    "nothing but an end": ([Plan(early=5)] * 9, None, [2, 3, 4, 5], None),
}


@pytest.mark.parametrize("name", REPLAYS)
@pytest.mark.parametrize("wire", ["v0.24", "v0.26"])
def test_a_replay_that_goes_wrong(gap, wire, name):
    """If the next one is well nothing is lost. Batches that no replay brings are reported lost, and the
    stream goes on."""
    plans, starts, lost, notices = REPLAYS[name]
    stalls = any(plan.stall_after is not None or plan.end == 0 for plan in plans)
    vllm, follower = gap(wire, replay_timeout_ms=(500 if stalls else 3000) * FACTOR)
    expected = [seq for seq in range(7) if seq not in lost]
    follower.wait(lambda: 6 in follower.seqs, plans)
    assert follower.seqs == expected and follower.lost() == lost
    if starts is not None:
        assert [request.start for request in vllm.requests] == starts
        assert len({request.client for request in vllm.requests}) == len(starts)  # Fresh sockets
    if notices is not None:
        assert [each[0] for each in follower.notices()] == ["gap", *notices]
    vllm.publish()
    follower.wait(lambda: 7 in follower.seqs)
    vllm.publish(live=False)
    vllm.publish()
    follower.wait_seqs(*expected, 7, 8, 9)  # A later gap is filled as ever
    counts = follower.stop()
    assert (counts["delivered"], counts["lost"]) == (10 - len(lost), len(lost))
    if plans[0].whole:
        assert counts["duplicates"] > 0
    # Only in order and at most once, all that came was delivered or a duplicate
    assert counts["received"] == counts["delivered"] + counts["duplicates"]


@pytest.mark.parametrize("garbage", [*GARBAGE, None], ids=repr)
def test_no_sign_that_a_replay_goes_on(gap, garbage):
    """Messages without a new batch, or with an old one, do not extend the timeout of a replay."""
    vllm, follower = gap(replay_timeout_ms=200 * FACTOR)
    request = vllm.get_request()
    since = time.monotonic()
    while vllm.get_request(timeout_ms=20) is None:
        if garbage is None:
            vllm.reply(request, bytes(8), vllm.buffer[0][1])
        else:
            vllm.reply_raw(request, *garbage)
        assert time.monotonic() < since + WAIT_S, follower.notices()
    follower.see(lambda: follower.notices("replay_timeout"))
    assert follower.stop()["malformed"] >= (0 if garbage is None else 3)


def test_a_payload_that_is_garbage_in_a_replay(gap):
    """It is reported, and the rest is delivered."""
    vllm, follower = gap()
    vllm.buffer[3] = (3, b"\xc1 garbage")
    follower.wait(lambda: 6 in follower.seqs)
    assert follower.seqs == [0, 1, 2, 4, 5, 6]
    assert follower.notices("malformed")
    vllm.publish()
    follower.wait_seqs(0, 1, 2, 4, 5, 6, 7)
    counts = follower.stop()
    assert counts["malformed"] >= 1 and counts["delivered"] == 7


# --- live batches that wait for a replay


@pytest.mark.parametrize("limit, tokens", [({"max_held": 3}, 1), ({"max_held_mb": 1}, 500000)])
def test_so_many_are_held_and_no_more(publisher, follow, limit, tokens):
    """500,000 tokens are 500 kB."""
    vllm = publisher()
    follower = follow(vllm, replay_timeout_ms=5000, **limit)
    for n in range(12):
        batch = structs.BlockStored([n], None, [1] * tokens, 16, None, "GPU", None)
        vllm.publish(structs.KVEventBatch(1.5, [batch], 0), live=n != 1)
    follower.see(lambda: follower.notices("held_full"))
    follower.wait_seqs(*range(12))
    assert follower.lost() == []
    follower.stop()


def test_the_last_batch_that_had_no_room(publisher, follow):
    """It is asked for, although the replay that makes room does not have it and no other follows."""
    vllm = publisher()
    follower = follow(vllm, max_held=1, settled=True)
    for n in range(4):
        vllm.publish(live=n != 1)
    follower.wait_seqs(0, 1, 2, 3, plans=[Plan(early=1)])
    assert follower.stop()["lost"] == 0


# --- restarts


@pytest.mark.valgrind
def test_the_numbers_begin_anew(publisher, follow):
    vllm = publisher()
    follower = follow(vllm)
    for n in range(5):
        vllm.publish(n=n)
    vllm.restart()
    for n in range(3):
        vllm.publish(n=100 + n)
    follower.wait_seqs(*range(5), 0, 1, 2)
    assert ids(follower) == [*range(5), 100, 101, 102]
    assert [each[0] for each in follower.notices()] == ["restart"]
    assert follower.story[5]["notice"] == "restart" and follower.story[5]["seq"] == 0
    counts = follower.stop()
    assert counts["restarts"] == 1 and counts["lost"] == counts["duplicates"] == 0


@pytest.mark.parametrize("replay", [True, False])
@pytest.mark.parametrize("hidden, more", [(0, 2), (4, 0), (5, 2), (6, 0), (20, 2)])
def test_a_new_publisher(publisher, follow, hidden, more, replay):
    """The old one came to 4. The new one has published `hidden` batches when it is heard: fewer, just
    as many, or more. They come by a replay, even if nothing live shows them; without replays they are
    lost, and the stream goes on."""
    vllm = publisher(replay=replay)
    follower = follow(vllm)
    for n in range(5):
        vllm.publish(n=n)
    follower.wait_seqs(*range(5))
    vllm.close()
    vllm.restart()
    for n in range(hidden):
        vllm.publish(n=100 + n, live=False)
    vllm.open()
    vllm.wait_subscribed()
    for n in range(hidden, hidden + more):
        vllm.publish(n=100 + n)
    first = 0 if replay else hidden
    expected = [*range(first, hidden + more)]
    follower.wait(lambda: len(follower.batches) >= 5 + len(expected))
    assert ids(follower) == [*range(5), *(100 + n for n in expected)]
    assert follower.seqs == [*range(5), *expected]
    if replay:
        assert len(follower.notices("restart")) == 1 and follower.lost() == []
    follower.stop()


@pytest.mark.parametrize("hidden", [0, 3, 600])
def test_a_new_publisher_while_the_subscriber_was_stopped(publisher, follow, hidden):
    """It has much to read of the old one. If it has not read that before it hears of the new one,
    batches may count as lost, but none is without a word."""
    vllm = publisher()
    follower = follow(vllm, from_seq=0)
    vllm.publish()
    follower.wait_seqs(0)
    os.kill(follower.program.pid, signal.SIGSTOP)
    for _ in range(499):
        vllm.publish()
    vllm.pub.linger = int(WAIT_S * 1000)  # All of it is on its way
    vllm.pub.close()
    vllm.close()
    vllm.restart()
    for n in range(hidden):
        vllm.publish(n=1000 + n, live=False)
    vllm.open()
    os.kill(follower.program.pid, signal.SIGCONT)
    vllm.wait_subscribed()
    vllm.publish(n=1000 + hidden)
    follower.wait(lambda: ids(follower)[-1] == 1000 + hidden)
    old = [n for n in ids(follower) if n < 1000]
    assert ids(follower) == [*old, *range(1000, 1001 + hidden)] and old == sorted(set(old))
    assert {*old, *follower.lost()} >= set(range(500))
    assert len(follower.notices("restart")) == 1
    follower.stop()


# --- strays: one bad message changes nothing but its own fate


@pytest.mark.parametrize("payload", [None, b"\xc1 garbage"], ids=["good", "unreadable"])
@pytest.mark.parametrize("seq", [0, 2**64 - 256])
def test_a_stray_number(publisher, follow, seq, payload):
    """Far ahead; or 0, which looks like a restart, but the replay shows that there was none."""
    vllm = publisher()
    follower = follow(vllm, settled=True)
    for n in range(6):
        if n == 4:
            stray = payload or pack(make_batch(900, vllm.wire))
            vllm.send(vllm.topic, seq.to_bytes(8, "big"), stray)
        vllm.publish()
    follower.wait_seqs(*range(6))
    assert follower.notices() == [("stray", seq, seq)]
    assert follower.stop()["restarts"] == 0


def test_what_was_received_is_not_lost(publisher, follow):
    """The replay begins after batches that are still in our queue."""
    vllm = publisher(buffer_steps=3)
    follower = follow(vllm, settled=True)
    os.kill(follower.program.pid, signal.SIGSTOP)
    for n in range(40):
        vllm.publish(live=n != 5)
    os.kill(follower.program.pid, signal.SIGCONT)
    follower.wait(lambda: 39 in follower.seqs)
    assert follower.seqs == [n for n in range(40) if n != 5] and follower.lost() == [5]
    follower.stop()


# --- connections


def test_a_publisher_comes_and_goes(publisher, follow):
    vllm = publisher(replay=False)
    follower = follow(vllm)

    def said():
        return follower.program.lines(rf'"notice":"(\w+)".*"endpoint":"{vllm.live}"')

    follower.see(lambda: said() == ["connected"])
    vllm.close()
    follower.see(lambda: said() == ["connected", "disconnected"])
    vllm.open()
    follower.see(lambda: said() == ["connected", "disconnected", "connected"])
    follower.stop()


def test_a_frame_that_is_too_big(publisher, follow):
    """libzmq ends the connection and would not connect again."""
    vllm = publisher()
    follower = follow(vllm, settled=True, replay_timeout_ms=300 * FACTOR)
    vllm.publish()
    vllm.publish(bytes(65 << 20))
    vllm.wait_subscribed()
    vllm.buffer.pop()  # The replay would bring it again
    vllm.publish()
    vllm.publish()
    follower.wait(lambda: follower.seqs == [0, 2, 3])
    assert follower.lost() == [1]
    follower.stop()


def test_the_wrong_peer(start):
    """A ROUTER where the PUB should be: it is named, and the right one is found when it comes."""
    endpoint = tcp()
    with zmq.Context() as context:
        wrong = context.socket(zmq.ROUTER)
        wrong.bind(endpoint)
        program = start("kv_subscriber", "--json", endpoint=endpoint, count=1)
        program.wait_line('"handshake_failed"')
        wrong.close(linger=0)
    with zmq.Context() as context:  # The port is free now
        right = context.socket(zmq.XPUB)
        right.bind(endpoint)
        assert right.poll(WAIT_S * 1000)
        right.send_multipart([b"kv", bytes(8), pack([1.5, [], 0])])
        assert program.wait() == 0
        right.close(linger=0)


# --- several ranks, topics, binding


def test_two_ranks_behind_one_port(publisher, follow):
    """Each has its own numbers, also where the topic is the same."""
    vllm = publisher(replay=False)
    follower = follow(vllm)
    for seq in range(4):
        for rank in range(3):
            batch = pack(structs.KVEventBatch(rank + seq, [], rank))
            vllm.send(vllm.topic, (seq + 10 * rank).to_bytes(8, "big"), batch)
    follower.wait(lambda: len(follower.batches) == 12)
    for rank in range(3):
        found = [each["seq"] for each in follower.batches if each["dp_rank"] == rank]
        assert found == [seq + 10 * rank for seq in range(4)]
    assert follower.notices() == []
    follower.stop()


def test_a_stranger_hangs_up(publisher, follow):
    """Where we bind, anyone may connect and go: replays go on all the same."""
    vllm = publisher(live=tcp(), connect=True)
    follower = follow(vllm, bind=True)
    vllm.publish()
    follower.wait(lambda: follower.seqs == [0])
    host, port = vllm.live.removeprefix("tcp://").rsplit(":", 1)
    for _ in range(3):
        socket.create_connection((host, int(port))).close()
    vllm.publish(live=False)
    vllm.publish()
    follower.wait_seqs(0, 1, 2)
    follower.stop()


def test_pods_behind_one_port(publisher, follow):
    """llm-d's way: each pod connects with a topic of its own; one of them restarts."""
    options = {"replay": False, "live": tcp(), "connect": True}
    pods = [publisher(topic=f"kv@pod-{n}@m", **options) for n in range(3)]
    follower = follow(pods[0], bind=True, topic="kv@")
    for pod in pods[1:]:
        pod.wait_subscribed()
    for _ in range(4):
        for pod in pods:
            pod.publish()
    follower.wait(lambda: len(follower.batches) == 12)
    pods[1].restart()
    pods[1].publish()
    pods[1].publish()
    follower.wait(lambda: len(follower.batches) == 14)
    found = [each["seq"] for each in follower.batches if each["topic"] == "kv@pod-1@m"]
    assert found == [0, 1, 2, 3, 0, 1]
    (restart,) = [each for each in follower.story if "notice" in each]
    assert restart["notice"] == "restart" and restart["topic"] == "kv@pod-1@m"
    follower.stop()


@pytest.mark.valgrind
def test_two_ranks(publisher, follow):
    """Each has numbers of its own, and its own replay."""
    ranks = [publisher("v0.26", rank=0), publisher("v0.10", rank=1)]
    follower = follow(*ranks, settled=True)
    for n in range(10):
        for rank, vllm in enumerate(ranks):
            vllm.publish(n=n + 1000 * rank, live=n not in ((2, 3), (5,))[rank])
    follower.wait(lambda: len(follower.batches) >= 20)
    ranks[1].restart()
    ranks[1].publish(n=2000)
    follower.wait(lambda: len(follower.batches) >= 21)
    for rank, expected in ((0, [*range(10)]), (1, [*range(10), 0])):
        found = [each for each in follower.batches if each["dp_rank"] == rank]
        assert [each["seq"] for each in found] == expected
        assert {each["endpoint"] for each in found} == {ranks[rank].live}
    gaps = [each for each in follower.story if each.get("notice") == "gap"]
    assert sorted((each["first"], each["last"], each["endpoint"]) for each in gaps) == [
        (2, 3, ranks[0].live),
        (5, 5, ranks[1].live),
    ]
    assert [request.start for request in ranks[0].requests] == [2]
    # Then what the restart was known by: its last number, and what there is from 0 on
    assert [request.start for request in ranks[1].requests][:1] == [5]
    counts = follower.stop()
    assert counts["delivered"] == 21 and counts["restarts"] == 1 and counts["gaps"] == 2


def test_one_rank_that_stalls_does_not_hold_the_other(publisher, follow):
    stalled, other = publisher(), publisher()
    follower = follow(stalled, other, replay_timeout_ms=60000, settled=True)
    stalled.publish()
    stalled.publish(live=False)
    stalled.publish()
    assert stalled.get_request().start == 1
    for _ in range(5):
        other.publish()
    follower.wait(lambda: len(follower.batches) == 6)
    counts = follower.stop()
    assert counts["delivered"] >= 6


@pytest.mark.parametrize(
    "topic, heard",
    [("kv-", ["kv-events", "kv-other", "kv-"]), (["KV", "kv-o"], ["kv-other", "KV-events"])],
)
def test_topics(publisher, follow, topic, heard):
    """A topic is a prefix; and each is a stream of its own, with its own numbers."""
    vllm = publisher()
    follower = follow(vllm, topic=topic)
    empty = pack(structs.KVEventBatch(1.5, [], 0))
    for seq in range(2):
        for each in ("kv-events", "kv-other", "KV-events", "kv-"):
            vllm.send(each.encode(), seq.to_bytes(8, "big"), empty)
    follower.wait(lambda: len(follower.batches) >= 2 * len(heard))
    found = [(each["topic"], each["seq"]) for each in follower.batches]
    assert found == [(each, seq) for seq in range(2) for each in heard]
    assert follower.notices() == []
    follower.stop()


@pytest.mark.parametrize("topic", ["kv-events", ""])
def test_exact_topic(publisher, follow, topic):
    """Another model's batches have other numbers, on the same socket and in the same replay."""
    vllm = publisher(topic=topic)
    follower = follow(vllm, topic=topic, exact_topic=True, settled=True)
    other = pack(structs.KVEventBatch(1.5, [structs.AllBlocksCleared()], 0))
    for n in range(5):
        vllm.send(b"kv-events-other", (50 - n).to_bytes(8, "big"), other)
        vllm.publish(live=n != 2)
    request = vllm.get_request()
    vllm.reply_raw(request, b"kv-events-other", (2).to_bytes(8, "big"), other)
    for seq in (2, 3, 4):
        vllm.reply(request, seq.to_bytes(8, "big"), vllm.buffer[seq][1])
    vllm.reply_end(request)
    follower.wait_seqs(*range(5))
    assert {each["topic"] for each in follower.batches} == {topic}
    assert follower.notices() == [("gap", 2, 2)]
    counts = follower.stop()
    assert counts["delivered"] == 5 and counts["malformed"] == 0
    assert counts["received"] == 5 + counts["duplicates"]  # The other's are not counted


# --- malformed messages


def live_frames(seq=1, payload=b"\x92\xcb?\xf8\0\0\0\0\0\0\x90"):
    return [TOPIC.encode(), seq.to_bytes(8, "big"), payload]


BAD_FRAMES = {
    "no payload": live_frames()[:2],
    "topic only": live_frames()[:1],
    "four frames": [*live_frames(), b""],
    "empty frame after the topic": [TOPIC.encode(), b"", *live_frames()[1:]],
    "seq of 7 bytes": [TOPIC.encode(), bytes(7), live_frames()[2]],
    "seq of 9 bytes": [TOPIC.encode(), bytes(9), live_frames()[2]],
    "seq of no bytes": [TOPIC.encode(), b"", live_frames()[2]],
    "END_SEQ": [TOPIC.encode(), b"\xff" * 8, live_frames()[2]],
    "END_SEQ and nothing": [TOPIC.encode(), b"\xff" * 8, b""],
}


BAD_PAYLOADS = {
    "empty": b"",
    "no msgpack": b"\xc1",
    "cut short": pack([1.5, ["x" * 100]])[:-10],
    "trailing bytes": pack([1.5, []]) + b"\0",
    "nil": pack(None),
    "a map": pack({"ts": 1.5, "events": []}),
    "no events": pack([1.5]),
    "events are a map": pack([1.5, {}]),
    "events are nil": pack([1.5, None, 0]),
    "nested too deeply": b"\x92\xcb?\xf8\0\0\0\0\0\0" + b"\x91" * 100000 + b"\x90",
    "a length that lies": b"\x92\xcb?\xf8\0\0\0\0\0\0\xdd\xff\xff\xff\xff",
}


@pytest.mark.parametrize("replay", [True, False])
def test_what_is_no_batch(publisher, follow, replay):
    """A message without a number takes the place of none. Of a batch that cannot be read the number
    is known: it is reported, once, and is no gap that a replay could fill."""
    vllm = publisher(replay=replay)
    follower = follow(vllm, settled=replay)
    vllm.publish()
    for frames in BAD_FRAMES.values():
        vllm.send(*frames)
    vllm.publish()
    for payload in BAD_PAYLOADS.values():
        vllm.publish(payload)
    vllm.publish()
    last = len(BAD_PAYLOADS) + 2
    follower.wait(lambda: last in follower.seqs)
    assert follower.seqs == [0, 1, last]
    bad = len(BAD_FRAMES) + len(BAD_PAYLOADS)
    said = [each for each in follower.story if "notice" in each]
    assert [each["notice"] for each in said] == ["malformed"] * bad
    assert all(each["what"] for each in said)
    counts = follower.stop()
    assert counts["malformed"] == bad
    assert counts["received"] == counts["delivered"] == 3


# --- ends


def test_stopped_in_mid_replay(gap):
    """Within a second. What was held is delivered, what is missing is reported lost."""
    vllm, follower = gap(replay_timeout_ms=3600000)
    request = vllm.get_request()
    vllm.reply(request, (2).to_bytes(8, "big"), vllm.buffer[2][1])
    follower.wait_seqs(0, 1, 2)
    counts = follower.stop(signal.SIGINT)
    assert sorted(follower.seqs + follower.lost()) == list(range(7))
    assert counts["lost"] == len(follower.lost())


def test_count(publisher, follow):
    """In mid-replay, too, it ends after so many, and prints no more."""
    vllm = publisher()
    for _ in range(10):
        vllm.publish(live=False)
    follower = follow(vllm, from_seq=0, count=4)
    vllm.serve_replay()
    assert follower.program.wait() == 0
    assert follower.seqs == [0, 1, 2, 3] and follower.counts()["delivered"] == 4


def test_for_people(publisher, start):
    """Without --json: lines, and the summary is the last of them."""
    vllm = publisher()
    program = start(
        "kv_subscriber", endpoint=vllm.live, replay_endpoint=vllm.replay, topic=TOPIC, count=4
    )
    vllm.wait_subscribed()
    for n in range(4):
        vllm.publish(live=n != 1)
    while program.running():
        vllm.serve_replay(timeout_ms=10)
    assert program.wait() == 0
    assert [int(seq) for seq in program.lines(r"^seq (\d+)")] == [0, 1, 2, 3]
    assert any(re.search("gap.* 1", line) for line in program.out)
    assert SUMMARY.fullmatch(program.out[-1])
    assert program.err == []


# --- any schedule


class World:
    """What has been published: of each run, which batch has which number."""

    def __init__(self, vllm, rng, faults):
        self.vllm, self.rng, self.faults = vllm, rng, faults
        self.first = 0  # --from-seq
        self.runs = [{}]  # number -> n of make_batch
        self.heard = [-1]  # The last number of each run that was certainly heard, live
        self.proxy = rng.random() < 0.4
        self.log, self.n, self.bad = [], 0, 0
        self.connected_at = 0  # What came before was heard on another connection
        self.unchecked = False

    def publish(self, live):
        seq = self.vllm.publish(n=self.n, live=live)
        self.runs[-1][seq] = self.n
        self.n += 1
        if live:
            self.heard[-1] = seq

    def burst(self):
        for _ in range(self.rng.randint(1, 5)):
            self.publish(live=True)

    def drop(self):
        for _ in range(self.rng.randint(1, 5)):
            self.publish(live=False)

    def mixed(self):
        for _ in range(self.rng.randint(1, 10)):
            self.publish(live=self.rng.random() < 0.6)

    def again(self):
        """One of the last few comes twice. Never the first that is wanted, nor what was before it:
        that may be a restart."""
        seq = self.heard[-1] - self.rng.randint(0, 3)
        if seq > self.first and seq >= self.connected_at:
            self.vllm.send(self.vllm.topic, seq.to_bytes(8, "big"), dict(self.vllm.buffer)[seq])

    def garbage(self):
        self.vllm.send(*self.rng.choice(list(BAD_FRAMES.values())))
        self.bad += 1

    def let_it_read(self):
        """Until it has read what was sent to it, and knows of its connection."""
        self.garbage()
        self.follower.see(lambda: len(self.follower.notices("malformed")) >= self.bad)

    def cut(self):
        self.heard[-1] = -1  # What was on the way is gone
        self.vllm.close()
        for _ in range(self.rng.randint(0, 3)):
            self.publish(live=False)
        self.vllm.open()
        self.vllm.wait_subscribed()
        self.let_it_read()
        self.connected_at = self.vllm.seq

    def begin_anew(self):
        """On the same socket. The first one is heard, or a restart could not be seen; and what was
        asked of the old one is not answered by the new."""
        self.let_it_read()
        while self.vllm.get_request(timeout_ms=5):
            pass
        self.vllm.restart()
        self.connected_at = 0
        self.runs.append({})
        self.heard.append(-1)
        self.publish(live=True)
        self.let_it_read()

    def new_process(self):
        self.heard[-1] = -1
        self.vllm.close()
        self.vllm.restart()
        self.runs.append({})
        self.heard.append(-1)
        for _ in range(self.rng.choice([0, 1, 3, 12])):
            self.publish(live=False)
        self.vllm.open()
        self.vllm.wait_subscribed()
        self.let_it_read()
        self.connected_at = self.vllm.seq
        # Only by a replay can a subscriber tell the new one from the old: it has to get that
        self.unchecked = True
        self.serve(timeout_ms=3000)

    def plan(self):
        if not self.faults or self.unchecked or self.rng.random() < 0.3:
            return Plan(times=self.rng.randint(1, 2), whole=self.rng.random() < 0.2)
        choice, numbers = self.rng.randrange(8), range(self.vllm.seq)
        return [
            Plan(drop=set(self.rng.sample(numbers, len(numbers) // 4))),
            Plan(late=self.rng.randint(1, 3)),
            Plan(early=self.rng.randint(1, 3)),
            Plan(early=self.rng.randint(1, 3), end=0),
            Plan(end=0),
            Plan(stall_after=self.rng.randint(0, 3)),
            Plan(times=3, whole=True, early=1),
            Plan(end=self.rng.choice([2, 3]), whole=True),
        ][choice]

    def serve(self, timeout_ms=None):
        timeout_ms = self.rng.choice([0, 1, 20]) if timeout_ms is None else timeout_ms
        request = self.vllm.serve_replay(self.plan(), timeout_ms)
        if request and request.replies and self.heard[-1] >= 0:
            self.unchecked = False

    def play(self, steps):
        often = [self.burst, self.drop, self.mixed, self.serve, self.serve, self.serve, self.again]
        # Behind a proxy, a publisher that restarts is not seen to leave
        seldom = [self.garbage, self.begin_anew if self.proxy else self.new_process]
        if not self.faults:
            seldom.pop()
        if not self.proxy:
            seldom.append(self.cut)
        for _ in range(steps):
            step = self.rng.choice(often * 2 + seldom)
            self.log.append(step.__name__)
            step()

    def check(self, follower):
        """Once each, in order, or lost. A restart that is told parts two runs, and none is told
        within a run; a run of which nothing was heard is none to the subscriber. Where it says
        that it cannot tell runs apart, only the numbers have to be right."""
        certain = all(each.get("notice") != "unchecked" for each in follower.story)
        runs = {n: (run, seq) for run, seqs in enumerate(self.runs) for seq, n in seqs.items()}
        told, of_run, lost = [[]], [None], 0
        for each in follower.story:
            if each.get("notice") == "restart":
                told.append([])
                of_run.append(None)
            elif each.get("notice") in ("lost", "history_lost"):
                told[-1] += range(each["first"], each["last"] + 1)
                lost += each["last"] - each["first"] + 1
            elif "notice" not in each:
                run, seq = runs[each["events"][0]["token_ids"][0] // 16]
                mixed = certain and of_run[-1] not in (None, run)
                assert not mixed, f"{seq} of run {run} among those of {of_run[-1]}"
                assert seq == each["seq"]
                of_run[-1] = run
                told[-1].append(seq)
        known = [run for run in of_run if run is not None]
        assert not certain or known == sorted(set(known)), f"told restarts between the runs {of_run}"
        for number, (run, seqs) in enumerate(zip(of_run, told)):
            start = 0 if number else self.first
            assert seqs == list(range(start, start + len(seqs))), f"run {run}: {seqs}"
            if certain and run is not None:
                assert seqs[-1] >= self.heard[run], f"run {run}: {seqs}, heard {self.heard[run]}"
        return lost


@pytest.mark.parametrize("seed", range(45))
def test_any_schedule(publisher, follow, seed):
    """Of three schedules one has no faulty replay and no restart: that may lose nothing."""
    rng = random.Random(seed)
    faults = seed % 3 > 0
    vllm = publisher(rng.choice(WIRES))
    world = World(vllm, rng, faults)
    history, world.first = (0, 0) if world.proxy else rng.choice([(0, 0), (5, 0), (5, 3)])
    for _ in range(history):
        world.publish(live=False)
    follower = follow(
        vllm,
        from_seq=world.first,
        replay_timeout_ms=1000 if not faults else 100 if world.proxy else 400,
        max_held=rng.choice([2, 10000]),
    )
    world.follower = follower
    try:
        world.play(25)
        world.publish(live=True)
        last = world.n - 1
        follower.wait(lambda: last in ids(follower))
        lost = world.check(follower)
        counts = follower.stop()
        assert counts["delivered"] == len(follower.batches)
        assert counts["lost"] == lost and (faults or lost == 0)
        assert counts["malformed"] == world.bad
        assert counts["restarts"] == len(follower.notices("restart")) < len(world.runs)
    except (AssertionError, TimeoutError) as why:
        if follower.program.running():
            follower.program.kill()
        raise AssertionError(f"seed {seed}: {' '.join(world.log)}: {why}") from None
