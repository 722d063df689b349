# SPDX-License-Identifier: MIT
"""Each demo with one end in C and the other in Python (tests/peers), both ways round."""

import pytest

MIXED = [("c", "py"), ("py", "c")]
WIRES = ["v0.26", "v0.24", "v0.9"]
BOTH_WAYS = pytest.mark.parametrize("server, client", MIXED, ids=["c-py", "py-c"])


@BOTH_WAYS
def test_topics(start, ipc, server, client):
    endpoint = ipc()
    publisher = start(
        "topic_publisher",
        lang=server,
        endpoint=endpoint,
        topics="a,ab,b",
        wait_subscribers=4,
        interval_ms=1,
        count=6,
    )
    expected = {
        "a": ["a 0", "ab 0", "a 1", "ab 1"],
        ("ab", "b"): ["ab 0", "b 0", "ab 1", "b 1"],
        "": ["a 0", "ab 0", "b 0", "a 1", "ab 1", "b 1"],
    }
    subscribers = [
        start("topic_subscriber", lang=client, endpoint=endpoint, topic=topic, count=len(lines))
        for topic, lines in expected.items()
    ]
    assert publisher.wait() == 0
    for subscriber, lines in zip(subscribers, expected.values()):
        assert subscriber.wait() == 0
        assert subscriber.lines(r"^\w+ \d+$") == lines
    assert sorted(publisher.lines('^subscribed: "(.*)"$')) == ["", "a", "ab", "b"]


@BOTH_WAYS
@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("socket", ["req", "dealer"])
def test_replay(start, ipc, server, client, wire, socket):
    live, replay = ipc(), ipc()
    publisher = start(
        "replay_publisher",
        lang=server,
        endpoint=live,
        replay_endpoint=replay,
        wire=wire,
        interval_ms=10,
    )
    publisher.wait_line("^seq 2:")  # The first ones are missed in earnest, others in play
    subscriber = start(
        "replay_subscriber",
        lang=client,
        endpoint=live,
        replay_endpoint=replay,
        replay_socket=socket,
        skip="33-36",
        count=40,
    )
    assert subscriber.wait() == 0
    assert publisher.stop() == 0
    got = subscriber.lines(r"^seq (\d+)( replayed)?: (.*)$")
    assert [int(seq) for seq, _, _ in got] == list(range(40))
    assert {"0", "1", "33", "34", "35", "36"} <= {seq for seq, how, _ in got if how}
    sent = publisher.lines(r"^seq (\d+): (.*)$")
    assert [(seq, text) for seq, _, text in got] == sent[:40]
    assert ", 0 lost" in subscriber.summary()
    assert publisher.err == subscriber.err == []


@BOTH_WAYS
def test_loss(start, ipc, server, client):
    live, replay = ipc(), ipc()
    publisher = start(
        "replay_publisher",
        lang=server,
        endpoint=live,
        replay_endpoint=replay,
        buffer_steps=3,
        interval_ms=30,
    )
    publisher.wait_line("^seq 6:")
    subscriber = start(
        "replay_subscriber",
        lang=client,
        endpoint=live,
        replay_endpoint=replay,
        replay_socket="dealer",
        count=4,
    )
    assert subscriber.wait() == 0
    assert publisher.stop() == 0
    first = int(subscriber.lines(r"^seq (\d+)")[0])
    assert first >= 4  # 3 were kept of 7
    told = subscriber.lines(r"lost (\d+-\d+)", "err") + subscriber.lines(r"lost (\d+-\d+)")
    assert told[0] == f"0-{first - 1}"


@pytest.fixture
def wire(ipc):
    return {"input": ipc(), "output": ipc()}


@BOTH_WAYS
@pytest.mark.parametrize("name", ["frontend", "poller_frontend"])
def test_engine(start, wire, server, client, name):
    frontend = start(name, lang=server, requests=3, max_tokens=5, **wire)
    engine = start("engine", lang=client, index=258, step_ms=1, count=3, **wire)
    assert frontend.wait() == engine.wait() == 0
    assert "engine 258 registered" in frontend.out
    for n in range(3):
        assert f"r{n} <- engine 258: 5 tokens, length" in frontend.out
        assert f"r{n}: 5 prompt tokens" in engine.out
    assert frontend.summary() == "3 of 3 requests complete, 15 tokens"
    assert engine.summary() == "3 finished, 0 aborted, 0 bad"
    assert frontend.err == engine.err == []


@BOTH_WAYS
@pytest.mark.parametrize("name", ["frontend", "poller_frontend", "round_robin_frontend"])
def test_stopped_in_mid_stream(start, wire, server, client, name):
    """The ABORT of the one is understood by the other."""
    engine = start("engine", lang=client, step_ms=20, **wire)
    several = {"engines": 1} if name == "round_robin_frontend" else {}
    frontend = start(name, lang=server, requests=2, max_tokens=1000000, **several, **wire)
    engine.wait_line("^r1: 5 prompt tokens$")
    assert frontend.stop() == 1
    engine.wait_line("^r0: aborted")
    engine.wait_line("^r1: aborted")
    assert engine.stop() == 0
    assert engine.summary() == "0 finished, 2 aborted, 0 bad"


@BOTH_WAYS
def test_engine_core_dead(start, wire, server, client):
    """Engine 1 is in the language of the front-end, engine 0, which dies, in the other. It goes on."""
    name = "mock_frontend" if server == "c" else "round_robin_frontend"
    frontend = start(name, lang=server, engines=2, requests=4, max_tokens=1000000, **wire)
    dying = start("engine", lang=client, index=0, step_ms=20, **wire)
    living = start("engine", lang=server, index=1, step_ms=20, **wire)
    dying.wait_line("^r2: 5 prompt")
    living.wait_line("^r3: 5 prompt")
    assert dying.stop() == 0
    frontend.wait_err(f"^{name}: engine 0 is dead, 0 requests were open$")
    assert frontend.stop() == 1
    assert {"engine 0: r0 r2", "engine 1: r1 r3"} <= set(frontend.out)
    assert sorted(frontend.lines(r"^r(\d) <- engine 0: \d+ tokens, abort$")) == ["0", "2"]
    assert len(frontend.err) == 1
    living.wait_line("^r3: aborted")
    assert living.stop() == 0


@pytest.mark.parametrize("lang", ["c", "py"])
def test_mixed_engines(start, wire, lang):
    engines = [
        start("engine", lang=each, index=index, step_ms=1, **wire)
        for index, each in ((0, "c"), (1, "py"), (256, "c"))
    ]
    frontend = start("round_robin_frontend", lang=lang, engines=3, requests=11, **wire)
    assert frontend.wait() == 0
    assert frontend.out[-4:] == [
        "engine 0: r0 r3 r6 r9",
        "engine 1: r1 r4 r7 r10",
        "engine 256: r2 r5 r8",
        "round_robin_frontend: 11 of 11 requests complete, 44 tokens",
    ]
    for n in range(11):
        assert f"r{n} <- engine {(0, 1, 256)[n % 3]}: 4 tokens, length" in frontend.out
    assert [engine.stop() for engine in engines] == [0, 0, 0]
