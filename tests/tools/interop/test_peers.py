# SPDX-License-Identifier: MIT
"""Each demo with one end in C and the other in Python (tests/peers), both ways round."""

import pytest

MIXED = [("c", "py"), ("py", "c")]
WIRES = ["v0.26", "v0.24", "v0.9"]
BOTH_WAYS = pytest.mark.parametrize("server, client", MIXED, ids=["c-py", "py-c"])


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
