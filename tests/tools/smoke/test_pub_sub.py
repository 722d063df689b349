# SPDX-License-Identifier: MIT
"""PUB/SUB: topics and late joiners, then Demo 3, numbered KV events with a replay."""

import signal

import pytest
import zmq

WIRES = ["v0.26", "v0.24", "v0.9"]
SEQ_LINE = r"^seq (\d+)( replayed)?: BlockStored 1 block 16 tokens(, BlockRemoved 1 block)?$"


def seqs(subscriber):
    return [int(seq) for seq, _, _ in subscriber.lines(SEQ_LINE)]


# --- topics


@pytest.mark.valgrind
def test_overlapping_prefixes(start, ipc):
    endpoint = ipc()
    expected = {  # A topic is a prefix, and two that match bring a message only once
        "a": ["a 0", "ab 0", "a 1", "ab 1", "a 2", "ab 2"],
        "ab": ["ab 0", "ab 1", "ab 2"],
        "": ["a 0", "ab 0", "b 0", "a 1", "ab 1", "b 1", "a 2", "ab 2", "b 2"],
        ("ab", "a"): ["a 0", "ab 0", "a 1", "ab 1", "a 2", "ab 2"],
    }
    # Five subscriptions of four subscribers
    publisher = start(
        "topic_publisher",
        endpoint=endpoint,
        topics="a,ab,b",
        wait_subscribers=5,
        interval_ms=1,
        count=9,
    )
    subscribers = {
        topic: start("topic_subscriber", endpoint=endpoint, topic=topic, count=len(lines))
        for topic, lines in expected.items()
    }
    assert publisher.wait() == 0
    for topic, lines in expected.items():
        assert subscribers[topic].wait() == 0
        assert subscribers[topic].lines(r"^\w+ \d+$") == lines
        assert subscribers[topic].summary() == f"{len(lines)} received, 0 bad"
        assert not subscribers[topic].lines("joined late")
    assert sorted(publisher.lines('^subscribed: "(.*)"$')) == ["", "a", "a", "ab", "ab"]
    assert publisher.summary() == "9 published"


def test_who_joins_late_has_missed_the_beginning(start, ipc):
    endpoint = ipc()
    publisher = start("topic_publisher", endpoint=endpoint, topics="a", interval_ms=10)
    publisher.wait_line("^a 2$")
    subscriber = start("topic_subscriber", endpoint=endpoint, topic="a", count=3)
    assert subscriber.wait() == 0
    missed = int(subscriber.lines(r"^joined late: missed (\d+) of topic a$")[0])
    assert missed >= 3
    assert subscriber.lines(r"^a \d+$") == [f"a {missed + n}" for n in range(3)]
    assert publisher.stop() == 0


def test_subscriber_comes_first(start, ipc):
    """It subscribes when the publisher comes; until then it waits."""
    endpoint = ipc()
    subscriber = start("topic_subscriber", endpoint=endpoint, count=4)
    subscriber.wait_line("subscribed to")
    publisher = start(
        "topic_publisher", endpoint=endpoint, wait_subscribers=1, count=4, interval_ms=0
    )
    assert subscriber.wait() == publisher.wait() == 0
    assert subscriber.lines(r"^\w \d$") == ["a 0", "b 0", "a 1", "b 1"]


def test_who_leaves_does_not_count(start, ipc):
    endpoint = ipc()
    publisher = start("topic_publisher", endpoint=endpoint, wait_subscribers=2, count=2)
    first = start("topic_subscriber", endpoint=endpoint)
    publisher.wait_line('^subscribed: ""$')
    assert first.stop() == 0
    publisher.wait_line('^left: ""$')
    others = [start("topic_subscriber", endpoint=endpoint, count=2) for _ in range(2)]
    assert publisher.wait() == 0
    assert [other.wait() for other in others] == [0, 0]


# --- replay


@pytest.mark.parametrize("socket", ["req", "dealer"])
@pytest.mark.parametrize("wire", [pytest.param(WIRES[0], marks=pytest.mark.valgrind), *WIRES[1:]])
def test_every_batch_once_and_in_order(start, ipc, socket, wire):
    live, replay = ipc(), ipc()
    publisher = start(
        "replay_publisher", endpoint=live, replay_endpoint=replay, wire=wire, interval_ms=10
    )
    publisher.wait_line("^seq 2:")  # So the first ones are missed in earnest
    subscriber = start(
        "replay_subscriber",
        endpoint=live,
        replay_endpoint=replay,
        replay_socket=socket,
        skip="13-16",  # And these in play
        count=20,
    )
    assert subscriber.wait() == 0
    assert seqs(subscriber) == list(range(20))
    replayed = [int(seq) for seq, how, _ in subscriber.lines(SEQ_LINE) if how]
    assert {0, 1, 13, 14, 15, 16} <= set(replayed)
    removed = [int(seq) for seq, _, removed in subscriber.lines(SEQ_LINE) if removed]
    assert removed == [4, 9, 14, 19]
    assert subscriber.summary() == f"20 received, {len(replayed)} replayed, 0 lost, 0 bad"
    assert subscriber.err == []
    assert publisher.stop() == 0
    assert publisher.err == []


@pytest.mark.parametrize("skip", ["0-0", "3-3", "0-6", "2-9"])
def test_skip(start, ipc, skip):
    live, replay = ipc(), ipc()
    first, last = map(int, skip.split("-"))
    subscriber = start(
        "replay_subscriber", endpoint=live, replay_endpoint=replay, skip=skip, count=last + 2
    )
    publisher = start("replay_publisher", endpoint=live, replay_endpoint=replay, interval_ms=10)
    assert subscriber.wait() == 0
    assert seqs(subscriber) == list(range(last + 2))
    for seq in range(first, last + 1):
        assert any(line.startswith(f"seq {seq} replayed") for line in subscriber.out)
    assert publisher.stop() == 0


def test_from_live(start, ipc):
    live, replay = ipc(), ipc()
    publisher = start("replay_publisher", endpoint=live, replay_endpoint=replay, interval_ms=10)
    publisher.wait_line("^seq 2:")
    subscriber = start(
        "replay_subscriber", endpoint=live, replay_endpoint=replay, from_seq="live", count=3
    )
    assert subscriber.wait() == 0
    first = seqs(subscriber)[0]
    assert first >= 3 and seqs(subscriber) == [first, first + 1, first + 2]
    assert subscriber.summary() == "3 received, 0 replayed, 0 lost, 0 bad"
    assert publisher.stop() == 0
    assert not publisher.lines("^replay from")


def test_from_a_number(start, ipc):
    live, replay = ipc(), ipc()
    publisher = start("replay_publisher", endpoint=live, replay_endpoint=replay, interval_ms=10)
    publisher.wait_line("^seq 5:")
    subscriber = start(
        "replay_subscriber", endpoint=live, replay_endpoint=replay, from_seq=2, count=5
    )
    assert subscriber.wait() == 0
    assert seqs(subscriber) == [2, 3, 4, 5, 6]
    assert publisher.stop() == 0


@pytest.mark.parametrize(
    "hwm, name",
    [(100, "replay_subscriber"), (100, "kv_subscriber"), (0, "kv_subscriber")],
)
def test_a_replay_that_does_not_fit(start, ipc, hwm, name):
    """A ROUTER drops what is above its mark: asked for again, not lost. Without one all fits."""
    live, replay = ipc(), ipc()
    publisher = start(
        "replay_publisher",
        endpoint=live,
        replay_endpoint=replay,
        prefill=250,
        replay_hwm=hwm,
        blocks=64,
        interval_ms=50,
    )
    # An answer whose end was dropped is waited for; replay_subscriber gives it 2 s
    more = {"replay_timeout_ms": 500} if name == "kv_subscriber" else {"replay_socket": "dealer"}
    subscriber = start(
        name, endpoint=live, replay_endpoint=replay, from_seq=0, count=251, **more
    )
    assert subscriber.wait(30) == 0
    came = [int(seq) for seq in subscriber.lines(r"^seq (\d+)")]
    assert came == list(range(251))
    assert " 0 lost" in subscriber.summary()
    requests = len(publisher.lines(r"^replay from (\d+)"))
    assert requests > 1 if hwm else requests == 1
    assert publisher.stop() == 0


@pytest.mark.parametrize("socket", ["req", "dealer"])
def test_what_is_not_kept_is_lost_and_counted(start, ipc, socket):
    live, replay = ipc(), ipc()
    publisher = start(
        "replay_publisher", endpoint=live, replay_endpoint=replay, buffer_steps=4, interval_ms=20
    )
    publisher.wait_line("^seq 8:")  # 0 to 4 are gone
    subscriber = start(
        "replay_subscriber",
        endpoint=live,
        replay_endpoint=replay,
        replay_socket=socket,
        count=6,
    )
    assert subscriber.wait() == 0
    losses = subscriber.lines(
        r"^replay_subscriber: lost (\d+)-(\d+): the publisher has not kept these$", "err"
    )
    assert losses[0][0] == "0" and int(losses[0][1]) >= 4
    lost = {seq for first, last in losses for seq in range(int(first), int(last) + 1)}
    # Between them, what was lost and what was received make a whole
    assert sorted([*lost, *seqs(subscriber)]) == list(range(len(lost) + 6))
    assert f" {len(lost)} lost" in subscriber.summary()
    assert publisher.stop() == 0


def test_the_buffer_is_bounded_in_bytes(start, ipc, peer):
    """Batches of 256 blocks are 23 kB: the last 1 MiB of them is kept, and no more of 200."""
    replay = ipc()
    publisher = start(
        "replay_publisher",
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


def test_publisher_comes_late(start, ipc):
    live, replay = ipc(), ipc()
    subscriber = start("replay_subscriber", endpoint=live, replay_endpoint=replay, count=4)
    subscriber.wait_line("subscribed to")
    publisher = start("replay_publisher", endpoint=live, replay_endpoint=replay, interval_ms=20)
    assert subscriber.wait() == 0
    assert seqs(subscriber) == [0, 1, 2, 3]
    assert publisher.stop() == 0


@pytest.mark.valgrind
def test_a_restart_of_the_publisher_is_noticed(start, ipc):
    live, replay = ipc(), ipc()
    publisher = start("replay_publisher", endpoint=live, replay_endpoint=replay, interval_ms=5)
    subscriber = start("replay_subscriber", endpoint=live, replay_endpoint=replay)
    subscriber.wait_line("^seq 60")
    subscriber.wait_line(r"^seq \d+: ")  # A live one: no replay is under way
    assert publisher.stop() == 0
    # Slow enough to be heard again before it has come to 60
    publisher = start("replay_publisher", endpoint=live, replay_endpoint=replay, interval_ms=50)
    subscriber.wait_line("^the publisher has started anew$")
    subscriber.wait_line("^seq 0", nth=2)
    subscriber.wait_line("^seq 3", nth=2)
    assert subscriber.stop() == publisher.stop() == 0
    again = seqs(subscriber)
    newest = again.index(0, 1)
    assert again[:newest] == list(range(newest))
    assert again[newest:] == list(range(len(again) - newest))
    assert ", 0 lost, 0 bad" in subscriber.summary()


LONG = "x" * 60000  # A connection holds four such messages


@pytest.mark.parametrize(
    "name, options, first, last",
    [
        ("topic", {"topics": LONG, "wait_subscribers": 1}, "^x+ 0$", "^x+ 29$"),
        ("replay", {"topic": LONG}, "^seq [0-9]+:", "^seq 29:"),
    ],
    ids=["topic", "replay"],
)
def test_the_last_message_arrives(start, ipc, name, options, first, last):
    """Though the publisher was done before its subscriber had taken it: the socket lingers."""
    endpoints = {"endpoint": ipc()}
    if name == "replay":
        endpoints["replay_endpoint"] = ipc()
    subscriber = start(f"{name}_subscriber", topic="x", **endpoints)
    subscriber.wait_line("subscribed to")
    publisher = start(f"{name}_publisher", interval_ms=10, count=30, **options, **endpoints)
    subscriber.wait_line(first)
    subscriber.send_signal(signal.SIGSTOP)
    publisher.wait_line("^.*_publisher: 30 published$")
    subscriber.send_signal(signal.SIGCONT)
    subscriber.wait_line(last)
    assert publisher.wait() == subscriber.stop() == 0
