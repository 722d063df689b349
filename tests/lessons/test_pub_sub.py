# SPDX-License-Identifier: MIT
"""pub_sub: each pair in C, C with Python, and Python with C; and the contract of the lessons."""

import signal
import time

import pytest
import zmq

import wire

PAIRS = pytest.mark.parametrize(
    "server, client", [("c", "c"), ("c", "py"), ("py", "c")], ids=["c-c", "c-py", "py-c"]
)
REPLAYS = pytest.mark.parametrize("name", ["replay_subscriber", "replay_dealer_subscriber"])
SEQ_LINE = r"^seq (\d+)( replayed)?: (.*)$"


def seqs(program):
    return [int(seq) for seq, _, _ in program.lines(SEQ_LINE)]


# --- topics


@pytest.mark.valgrind
@PAIRS
def test_topics(start, ipc, server, client):
    endpoint = ipc()
    options = {"topics": "a,ab,b", "wait_subscribers": 3, "interval_ms": 1, "count": 6}
    publisher = start("topic_publisher", lang=server, endpoint=endpoint, **options)
    expected = {
        "a": ["a 0", "ab 0", "a 1", "ab 1"],
        "ab": ["ab 0", "ab 1"],
        "": ["a 0", "ab 0", "b 0", "a 1", "ab 1", "b 1"],
    }
    for topic, lines in expected.items():
        count = {"count": len(lines)}
        subscriber = start("topic_subscriber", lang=client, endpoint=endpoint, topic=topic, **count)
        publisher.wait_line(f'^subscribed: "{topic}"$')
        expected[topic] = (subscriber, lines)
    assert publisher.wait() == 0
    assert publisher.summary() == "6 published"
    for topic, (subscriber, lines) in expected.items():
        assert subscriber.wait() == 0
        assert subscriber.out == [
            f'topic_subscriber: subscribed to "{topic}" at {endpoint}',
            *lines,
            f"topic_subscriber: {len(lines)} received, 0 bad",
        ]


@PAIRS
def test_late_joiner(start, ipc, server, client):
    endpoint = ipc()
    options = {"endpoint": endpoint, "topics": "a", "interval_ms": 20}
    publisher = start("topic_publisher", lang=server, **options)
    publisher.wait_line("^a 2$")
    subscriber = start("topic_subscriber", lang=client, endpoint=endpoint, topic="a", count=3)
    assert subscriber.wait() == 0
    missed = int(subscriber.lines(r"^joined late: missed (\d+) of topic a$")[0])
    assert missed >= 3
    assert subscriber.lines(r"^a \d+$") == [f"a {missed + n}" for n in range(3)]
    assert publisher.stop() == 0


def test_the_subscriber_comes_first(start, ipc):
    endpoint = ipc()
    subscriber = start("topic_subscriber", endpoint=endpoint, count=4)
    subscriber.wait_line("subscribed to")
    options = {"endpoint": endpoint, "wait_subscribers": 1, "count": 4, "interval_ms": 0}
    publisher = start("topic_publisher", **options)
    assert subscriber.wait() == publisher.wait() == 0
    assert subscriber.lines(r"^\w \d$") == ["a 0", "b 0", "a 1", "b 1"]


@pytest.mark.parametrize("lang", ["c", "py"])
def test_a_subscriber_that_leaves_does_not_count(start, ipc, lang):
    endpoint = ipc()
    options = {"endpoint": endpoint, "wait_subscribers": 2, "count": 2}
    publisher = start("topic_publisher", lang=lang, **options)
    first = start("topic_subscriber", endpoint=endpoint)
    publisher.wait_line('^subscribed: ""$')
    assert first.stop() == 0
    publisher.wait_line('^left: ""$')
    others = [start("topic_subscriber", endpoint=endpoint, count=2) for _ in range(2)]
    assert publisher.wait() == 0
    assert [other.wait() for other in others] == [0, 0]


# --- replay


@pytest.fixture
def replay(ipc):
    """The two endpoints of a publisher, as options."""
    return {"endpoint": ipc(), "replay_endpoint": ipc()}


@REPLAYS
@PAIRS
def test_every_batch_once_and_in_order(start, replay, server, client, name):
    publisher = start("replay_publisher", lang=server, interval_ms=10, **replay)
    publisher.wait_line("^seq 2:")  # So the first ones are really missed
    subscriber = start(name, lang=client, skip="43-46", count=50, **replay)
    assert subscriber.wait() == 0
    assert publisher.stop() == 0
    got = subscriber.lines(SEQ_LINE)
    assert seqs(subscriber) == list(range(50))
    replayed = [int(seq) for seq, how, _ in got if how]
    assert {0, 1, 43, 44, 45, 46} <= set(replayed)
    assert [(seq, text) for seq, _, text in got] == publisher.lines(r"^seq (\d+): (.*)$")[:50]
    assert got[3][2] == "BlockStored 1 block 16 tokens"
    assert got[4][2] == "BlockStored 1 block 16 tokens, BlockRemoved 1 block"
    assert subscriber.summary() == f"50 received, {len(replayed)} replayed, 0 lost, 0 bad"
    assert publisher.err == subscriber.err == []


@REPLAYS
def test_requests(start, replay, name):
    """A REQ asks for each batch, a DEALER once for each hole."""
    publisher = start("replay_publisher", interval_ms=20, **replay)
    publisher.wait_line("^seq 2:")
    subscriber = start(name, skip="53-56", count=60, **replay)
    assert subscriber.wait() == 0
    assert publisher.stop() == 0
    holes = [int(first) for first, _ in subscriber.lines(r"^missed (\d+)-(\d+), asking for replay$")]
    batches = [int(seq) for seq, how, _ in subscriber.lines(SEQ_LINE) if how]
    requests = [int(seq) for seq in publisher.lines(r"^replay from (\d+): \d+ batch(?:es)?$")]
    assert holes[0] == 0
    assert requests == (batches if name == "replay_subscriber" else holes)


@REPLAYS
@pytest.mark.parametrize("skip, count", [("0-0", 2), ("0-6", 8), ("3-3", 5), ("3-6", 5), ("2-5", 3)])
def test_count_is_exact(start, replay, name, skip, count):
    """--count is exact, even if it is reached during a replay."""
    subscriber = start(name, skip=skip, count=count, **replay)
    publisher = start("replay_publisher", interval_ms=20, **replay)
    assert subscriber.wait() == 0
    assert seqs(subscriber) == list(range(count))
    assert subscriber.summary().startswith(f"{count} received, ")
    assert publisher.stop() == 0


@pytest.mark.valgrind
@REPLAYS
@PAIRS
def test_short_history(start, replay, server, client, name):
    """Batches that are no longer kept are named and counted; the others are replayed."""
    publisher = start("replay_publisher", lang=server, buffer_steps=4, interval_ms=50, **replay)
    publisher.wait_line("^seq 8:")  # 0 to 4 are not kept any more
    subscriber = start(name, lang=client, count=6, **replay)
    assert subscriber.wait() == 0
    assert publisher.stop() == 0
    losses = subscriber.lines(r"lost (\d+)-(\d+): ", "err")
    lost = [seq for first, last in losses for seq in range(int(first), int(last) + 1)]
    assert lost[:5] == [0, 1, 2, 3, 4]
    assert sorted(lost + seqs(subscriber)) == list(range(len(lost) + 6))
    assert f", {len(lost)} lost, 0 bad" in subscriber.summary()
    if client == "c":
        assert subscriber.err[0].endswith(": the publisher has not kept these")


@REPLAYS
def test_the_publisher_has_restarted(start, replay, name):
    publisher = start("replay_publisher", interval_ms=5, **replay)
    subscriber = start(name, **replay)
    subscriber.wait_line("^seq 60")
    subscriber.wait_line(r"^seq \d+: ")  # A live one: no replay is under way
    assert publisher.stop() == 0
    # Slow enough to be heard again before it has come to 60
    publisher = start("replay_publisher", interval_ms=50, **replay)
    subscriber.wait_line("^the publisher has restarted$")
    subscriber.wait_line("^seq 3( replayed)?:", nth=2)
    assert subscriber.stop() == publisher.stop() == 0
    again = seqs(subscriber)
    restart = again.index(0, 1)
    assert again[:restart] == list(range(restart))
    assert again[restart:] == list(range(len(again) - restart))
    assert subscriber.summary().endswith(", 0 lost, 0 bad")


@REPLAYS
@pytest.mark.parametrize("router", ["silent", "not there"])
def test_a_replay_that_never_comes(start, replay, peer, name, router):
    """The replay is given up after 2 s, once for the hole, and the live batches continue."""
    publisher = peer(zmq.XPUB, bind=replay["endpoint"])
    if router == "silent":
        peer(zmq.ROUTER, bind=replay["replay_endpoint"])
    subscriber = start(name, count=3, **replay)
    assert publisher.recv() == b"\x01kv-events"
    began = time.monotonic()
    for seq in (0, 3, 4):
        batch = wire.pack(wire.toy_batch(seq))
        publisher.send_multipart([b"kv-events", wire.as_seq(seq), batch])
    assert subscriber.wait() == 0
    assert time.monotonic() - began > 1.9
    assert subscriber.err == [f"{name}: lost 1-2: no reply within 2 s"]
    assert subscriber.out[1:] == [
        "seq 0: BlockStored 1 block 16 tokens",
        "missed 1-2, asking for replay",
        "seq 3: BlockStored 1 block 16 tokens",
        "seq 4: BlockStored 1 block 16 tokens, BlockRemoved 1 block",
        f"{name}: 3 received, 0 replayed, 2 lost, 0 bad",
    ]


@REPLAYS
def test_ctrl_c_while_it_waits_for_a_replay(start, replay, peer, name):
    publisher = peer(zmq.XPUB, bind=replay["endpoint"])
    router = peer(zmq.ROUTER, bind=replay["replay_endpoint"])
    subscriber = start(name, **replay)
    assert publisher.recv() == b"\x01kv-events"
    publisher.send_multipart([b"kv-events", wire.as_seq(5), b"\xc0"])
    assert router.recv_multipart()[1:] == [b"", wire.as_seq(0)]
    assert subscriber.stop() == 0
    assert subscriber.err == []  # Nothing is lost: it was stopped
    assert subscriber.summary() == "0 received, 0 replayed, 0 lost, 0 bad"


# --- with the tools


@pytest.mark.parametrize("lang", ["c", "py"])
def test_kv_subscriber_follows_the_lesson(start, replay, lang):
    publisher = start("replay_publisher", lang=lang, interval_ms=10, **replay)
    publisher.wait_line("^seq 3:")
    subscriber = start("kv_subscriber", count=20, **replay, from_seq=0)
    assert subscriber.wait() == 0
    assert [int(seq) for seq in subscriber.lines(r"^seq (\d+)")] == list(range(20))
    assert " 0 lost" in subscriber.summary()
    assert publisher.stop() == 0


@REPLAYS
def test_the_lessons_follow_kv_publisher(start, replay, name):
    options = {"interval_ms": 10, "drop": "12-14", "prefill": 5}
    publisher = start("kv_publisher", **options, **replay)
    subscriber = start(name, count=20, **replay)
    assert subscriber.wait() == 0
    assert seqs(subscriber) == list(range(20))
    assert {"0", "4", "12", "13", "14"} <= {seq for seq, how, _ in subscriber.lines(SEQ_LINE) if how}
    assert subscriber.err == []
    assert publisher.stop() == 0


# --- Ctrl-C

STATES = {}


def state(function):
    STATES[function.__name__] = function
    return function


@state
def topic_publisher_waits_for_subscribers(start, replay, peer):
    program = start("topic_publisher", wait_subscribers=2, endpoint=replay["endpoint"])
    peer(zmq.SUB, connect=replay["endpoint"]).subscribe(b"a")
    program.wait_line("^subscribed")
    return program


@state
def topic_publisher_sleeps(start, replay, peer):
    program = start("topic_publisher", interval_ms=3600000, endpoint=replay["endpoint"])
    program.wait_line("^a 0$")
    return program


@state
def topic_publisher_flat_out(start, replay, peer):
    program = start("topic_publisher", interval_ms=0, endpoint=replay["endpoint"])
    program.wait_line("^a 100$")
    return program


@state
def topic_publisher_with_a_deaf_subscriber(start, replay, peer):
    program = start("topic_publisher", interval_ms=0, endpoint=replay["endpoint"])
    subscriber = peer(zmq.SUB, connect=replay["endpoint"], rcvhwm=1, rcvbuf=4096)
    subscriber.subscribe(b"")
    subscriber.recv_multipart()
    return program


@state
def topic_subscriber_waits(start, replay, peer):
    program = start("topic_subscriber", endpoint=replay["endpoint"])
    program.wait_line("subscribed to")
    return program


@state
def replay_publisher_asked_all_the_time(start, replay, peer):
    program = start("replay_publisher", interval_ms=1, **replay)
    program.wait_line("^seq 100")
    client = peer(zmq.DEALER, connect=replay["replay_endpoint"], rcvhwm=0)
    for _ in range(300):
        client.send_multipart([b"", bytes(8)])
    program.wait_line("^replay from 0")
    return program


@state
def replay_subscriber_flat_out(start, replay, peer):
    start("replay_publisher", interval_ms=1, **replay)
    program = start("replay_subscriber", **replay)
    program.wait_line("^seq", nth=50)
    return program


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop(start, replay, peer, name, number):
    """Within a second, with its summary, and with status 0."""
    program = STATES[name](start, replay, peer)
    assert program.stop(number) == 0
    assert program.summary()
    for other in start.programs:
        other.kill()
