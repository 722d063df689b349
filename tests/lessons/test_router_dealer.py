# SPDX-License-Identifier: MIT
"""ROUTER/DEALER: each pair of Demos 2 to 2.4, in C and in Python: the order of messages, one front-end after
another, engines that are stopped, killed and restarted; and each program with the tools."""

import os
import signal
import subprocess
import sys

import msgspec
import pytest
import zmq

import wire as vllm

pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode
PAIRS = pytest.mark.parametrize("front, back", [("c", "c"), ("c", "py"), ("py", "c")])
SINGLE = ["frontend", "poller_frontend"]
DEAD = b"ENGINE_CORE_DEAD"
LONG = 1_000_000  # Tokens: such a request does not end while a test runs


@pytest.fixture
def wire(ipc):
    """The two endpoints of a front-end, as options for it and for its engines."""
    return {"input": ipc(), "output": ipc()}


def check_tokens(frontend, requests, max_tokens, engine):
    """The front-end has printed each token of each request, in order."""
    for n in range(requests):
        tokens = frontend.lines(rf"^r{n} <- engine {engine}: token (\d+)$")
        assert tokens == [str(token + 1) for token in range(max_tokens)]
        assert f"r{n} -> engine {engine}" in frontend.out
        assert f"r{n} <- engine {engine}: {max_tokens} tokens, length" in frontend.out


def add(name, max_tokens):
    request = vllm.EngineCoreRequest(
        name, [1, 2], None, vllm.SamplingParams(max_tokens=max_tokens), None, 0.0, None, None, None
    )
    return [vllm.ADD, pack(request)]


def outputs(pull):
    """The next (request_id, tokens, finish_reason) of an engine, until it says that it has died."""
    while (frames := pull.recv_multipart()) != [DEAD]:
        (frame,) = frames
        for out in unpack(frame, type=vllm.EngineCoreOutputs).outputs:
            yield out.request_id, out.new_token_ids, out.finish_reason


# --- Demos 2, 2.1, 2.2


@PAIRS
@pytest.mark.parametrize("name", SINGLE)
def test_one_engine(start, wire, name, front, back):
    frontend = start(name, lang=front, requests=5, max_tokens=7, **wire)
    engine = start("engine", lang=back, index=3, step_ms=1, count=5, **wire)
    assert frontend.wait() == engine.wait() == 0
    assert "engine 3 registered" in frontend.out
    check_tokens(frontend, 5, 7, engine=3)
    assert frontend.summary() == "5 of 5 requests complete, 35 tokens"
    assert engine.lines(r"^(r\d): 5 prompt tokens$") == ["r0", "r1", "r2", "r3", "r4"]
    assert sorted(engine.lines("^(.*): 7 tokens, length$")) == ["r0", "r1", "r2", "r3", "r4"]
    assert engine.summary() == "5 finished, 0 aborted, 0 bad"
    assert frontend.err == engine.err == []


@PAIRS
def test_round_robin(start, wire, front, back):
    engines = [start("engine", lang=back, index=index, step_ms=1, **wire) for index in (2, 0, 1)]
    frontend = start(
        "round_robin_frontend", lang=front, engines=3, requests=11, max_tokens=2, **wire
    )
    assert frontend.wait() == 0
    dealt = {0: [0, 3, 6, 9], 1: [1, 4, 7, 10], 2: [2, 5, 8]}
    assert frontend.out[-4:] == [
        "engine 0: r0 r3 r6 r9",
        "engine 1: r1 r4 r7 r10",
        "engine 2: r2 r5 r8",
        "round_robin_frontend: 11 of 11 requests complete, 22 tokens",
    ]
    for index, numbers in dealt.items():
        for n in numbers:
            assert f"r{n} -> engine {index}" in frontend.out
            assert f"r{n} <- engine {index}: 2 tokens, length" in frontend.out
    for engine, index in zip(engines, (2, 0, 1)):
        assert engine.stop() == 0
        assert engine.lines(r"^r(\d+): 5 prompt") == [str(n) for n in dealt[index]]
        assert engine.summary() == f"{len(dealt[index])} finished, 0 aborted, 0 bad"
        assert engine.err == []


@pytest.mark.valgrind
@pytest.mark.parametrize("name", [*SINGLE, "round_robin_frontend", "failover_frontend"])
def test_ports_of_the_system(start, name):
    one = {} if name in SINGLE else {"engines": 1}
    frontend = start(
        name, input="tcp://127.0.0.1:*", output="tcp://127.0.0.1:*", requests=3, **one
    )
    wire = {"input": frontend.endpoint(1), "output": frontend.endpoint(2)}
    engine = start("engine", **wire)
    assert frontend.wait() == engine.stop() == 0
    assert frontend.summary() == "3 of 3 requests complete, 12 tokens"


def test_one_token(start, wire):
    engine = start("engine", count=1, **wire)
    frontend = start("frontend", requests=1, max_tokens=1, **wire)
    assert frontend.wait() == engine.wait() == 0
    assert frontend.out[-2:] == [
        "r0 <- engine 0: 1 token, length",
        "frontend: 1 of 1 requests complete, 1 token",
    ]
    assert "r0: 1 token, length" in engine.out


def test_engines_come_before_and_after(start, wire):
    early = start("engine", index=1, count=2, **wire)
    frontend = start("round_robin_frontend", requests=4, **wire)
    frontend.wait_line("^engine 1 registered")
    late = start("engine", index=0, count=2, **wire)
    assert frontend.wait() == early.wait() == late.wait() == 0
    assert frontend.out[-3:-1] == ["engine 0: r0 r2", "engine 1: r1 r3"]


@pytest.mark.parametrize("name", ["round_robin_frontend", "failover_frontend"])
def test_many_requests(start, wire, name):
    """More than a high-water mark of 1000: a ROUTER would drop what is above it."""
    engines = [start("engine", index=index, step_ms=0, **wire) for index in (0, 1)]
    frontend = start(name, requests=5000, max_tokens=3, **wire)
    assert frontend.wait() == 0
    assert frontend.summary() == "5000 of 5000 requests complete, 15000 tokens"
    for engine in engines:
        assert engine.stop() == 0
        assert engine.summary() == "2500 finished, 0 aborted, 0 bad"


@pytest.mark.parametrize("name", ["round_robin_frontend", "failover_frontend"])
def test_an_engine_that_is_not_expected(start, wire, name):
    frontend = start(name, engines=2, **wire)
    stranger = start("engine", index=2, **wire)
    frontend.wait_err("bad registration, or unknown engine$")
    assert frontend.stop() == 1
    assert stranger.stop() == 0
    assert "engine 2 registered" not in frontend.out


# --- an engine and its front-ends


@pytest.mark.parametrize("back", ["c", "py"])
@pytest.mark.parametrize("name", [*SINGLE, "round_robin_frontend", "failover_frontend"])
def test_one_front_end_after_the_other(start, wire, name, back):
    one = {} if name in SINGLE else {"engines": 1}
    engine = start("engine", lang=back, step_ms=0, **wire)
    for run in (1, 2, 3):
        frontend = start(name, requests=4, **one, **wire)
        assert frontend.wait() == 0
        assert frontend.summary() == "4 of 4 requests complete, 16 tokens"
        engine.wait_line("^the front-end has disconnected$", nth=run)
    engine.wait_line("^registering as engine 0$", nth=4)
    assert engine.stop() == 0
    assert engine.summary() == "12 finished, 0 aborted, 0 bad"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("name", [*SINGLE, "round_robin_frontend", "failover_frontend"])
def test_front_end_ends_in_mid_stream(start, wire, name, number):
    """With an ABORT (failover_frontend) or without, the engine stops computing."""
    one = {} if name in SINGLE else {"engines": 1}
    engine = start("engine", step_ms=1, **wire)
    frontend = start(name, requests=2, max_tokens=LONG, **one, **wire)
    engine.wait_line("^r1: 5 prompt tokens$")
    frontend.send_signal(number)
    assert frontend.wait() == (1 if number == signal.SIGTERM else -9)
    engine.wait_line("^the front-end has disconnected$")
    assert engine.stop() == 0
    assert engine.lines(r"^(r\d): aborted$") == ["r0", "r1"]
    assert engine.summary() == "0 finished, 2 aborted, 0 bad"


@pytest.mark.parametrize("back", ["c", "py"])
def test_an_abort_after_the_first_token(start, peer, wire, back):
    """A request that began before it was aborted begins once."""
    router, pull = peer(zmq.ROUTER, bind=wire["input"]), peer(zmq.PULL, bind=wire["output"])
    engine = start("engine", lang=back, step_ms=200, **wire)
    identity = router.recv_multipart()[0]
    router.send_multipart([identity, *add("first", LONG)])
    pull.recv()
    router.send_multipart([identity, *add("second", LONG)])  # While the engine is at its next step
    pull.recv()
    router.send_multipart([identity, vllm.ABORT, pack(["second"])])
    engine.wait_line("^second: aborted$")
    assert len(engine.lines("^second: 2 prompt tokens$")) <= 1
    assert engine.stop() == 0


@pytest.mark.parametrize("back", ["c", "py"])
def test_outputs_for_one_front_end_do_not_reach_the_next(start, peer, wire, back):
    """The front-end closes its PULL first, so the engine still has outputs when it learns that the
    front-end has disconnected. The next front-end has an r0 too."""
    router, pull = peer(zmq.ROUTER, bind=wire["input"]), peer(zmq.PULL, bind=wire["output"])
    engine = start("engine", lang=back, step_ms=1, **wire)
    identity = router.recv_multipart()[0]
    router.send_multipart([identity, *add("r0", LONG)])
    pull.recv()
    pull.close()
    router.send_multipart([identity, *add("later", 30)])
    engine.wait_line("^later: 30 tokens, length$")  # The outputs of 30 steps that were not received
    router.close()
    engine.wait_line("^the front-end has disconnected$")
    frontend = start("frontend", requests=2, **wire)
    assert frontend.wait() == 0
    assert engine.stop() == 0
    check_tokens(frontend, 2, 4, engine=0)
    assert frontend.err == []


def test_requests_of_one_front_end_do_not_reach_the_next(start, peer, wire):
    """They arrive while the engine does a step, and the front-end has disconnected since."""
    router, pull = peer(zmq.ROUTER, bind=wire["input"]), peer(zmq.PULL, bind=wire["output"])
    engine = start("engine", step_ms=500, **wire)
    identity = router.recv_multipart()[0]
    router.send_multipart([identity, *add("first", LONG)])
    pull.recv()
    for n in range(100):
        router.send_multipart([identity, *add(f"r{n}", LONG)])
    router.close(linger=1000)
    pull.close()
    engine.wait_line("^the front-end has disconnected$")
    frontend = start("frontend", requests=1, max_tokens=2, **wire)
    assert frontend.wait() == 0
    check_tokens(frontend, 1, 2, engine=0)
    assert engine.stop() == 0
    assert engine.summary().startswith("1 finished, ")


@pytest.mark.parametrize("back", ["c", "py"])
def test_abort(start, peer, wire, back):
    """Only the named requests are aborted. An engine takes any id, and returns it unchanged."""
    ids = ["r0", "", "x" * 100_000, "Grüße 你好", "a\x1b[2Jb", "same", "r1"]
    router, pull = peer(zmq.ROUTER, bind=wire["input"]), peer(zmq.PULL, bind=wire["output"])
    engine = start("engine", lang=back, step_ms=1, **wire)
    identity = router.recv_multipart()[0]
    for name in ids:
        router.send_multipart([identity, *add(name, LONG)])
    stream = outputs(pull)
    seen = set()
    while seen != set(ids):
        seen.add(next(stream)[0])
    router.send_multipart([identity, vllm.ABORT, pack(ids[:-1] + ["unknown", "r0"])])
    ended = {}
    while len(ended) < len(ids) - 1:
        name, tokens, reason = next(stream)
        if reason is not None:
            ended[name] = (tokens, reason)
    assert ended == {name: ([], vllm.FinishReason.ABORT) for name in ids[:-1]}
    assert {next(stream)[0] for _ in range(20)} == {"r1"}  # That one goes on
    assert engine.stop() == 0
    assert engine.summary() == f"0 finished, {len(ids)} aborted, 0 bad"
    assert "r0: aborted" in engine.out and "a?[2Jb: aborted" in engine.out


@pytest.mark.parametrize("back", ["c", "py"])
def test_max_tokens(start, peer, wire, back):
    """max_tokens left out means 16, nil means no limit, 0 is refused."""
    router, pull = peer(zmq.ROUTER, bind=wire["input"]), peer(zmq.PULL, bind=wire["output"])
    engine = start("engine", lang=back, step_ms=0, **wire)
    identity = router.recv_multipart()[0]
    stream = outputs(pull)

    def run(name, max_tokens):
        router.send_multipart([identity, *add(name, max_tokens)])
        got = []
        for out_name, tokens, reason in stream:
            assert out_name == name
            got += tokens
            if reason is not None or len(got) == 300:
                return got, reason

    assert run("default", 16) == (list(range(1, 17)), vllm.FinishReason.LENGTH)
    assert run("one", 1) == ([1], vllm.FinishReason.LENGTH)
    router.send_multipart([identity, *add("none", 0)])
    engine.wait_err("bad request")
    assert run("unlimited", None) == (list(range(1, 301)), None)
    assert engine.stop() == 0


@pytest.mark.valgrind
@pytest.mark.parametrize("back", ["c", "py"])
@pytest.mark.parametrize("option", [{"count": 1}, {}], ids=["count", "signal"])
def test_engine_that_leaves_ends_what_is_open(start, peer, wire, back, option):
    """The engine ends by --count or by a signal, and first sends a last output for each open request."""
    router, pull = peer(zmq.ROUTER, bind=wire["input"]), peer(zmq.PULL, bind=wire["output"])
    engine = start("engine", lang=back, step_ms=1, **option, **wire)
    identity = router.recv_multipart()[0]
    router.send_multipart([identity, *add("long", LONG)])
    router.send_multipart([identity, *add("short", 1)])
    engine.wait_line("^short: 1 token, length$")
    if not option:
        engine.send_signal(signal.SIGTERM)
    finished = {}
    for name, _, reason in outputs(pull):
        if reason is not None:
            finished[name] = reason
        if option and len(finished) == 2:
            break  # It does not send ENGINE_CORE_DEAD: it has reached its --count
    assert finished == {"long": vllm.FinishReason.ABORT, "short": vllm.FinishReason.LENGTH}
    assert engine.wait() == 0


@pytest.mark.parametrize("back", ["c", "py"])
def test_last_words_of_an_idle_engine(start, peer, wire, back):
    router, pull = peer(zmq.ROUTER, bind=wire["input"]), peer(zmq.PULL, bind=wire["output"])
    engine = start("engine", lang=back, **wire)
    router.recv_multipart()
    assert engine.stop() == 0
    assert pull.recv_multipart() == [DEAD]


@pytest.mark.parametrize("name", ["engine", "handshake_engine"])
def test_an_engine_that_waits_is_stopped(start, ipc, name):
    where = {"handshake": ipc()} if name == "handshake_engine" else {"input": ipc(), "output": ipc()}
    engine = start(name, **where)
    engine.wait_line("^waiting for a front-end at")
    assert engine.stop() == 0


@PAIRS
@pytest.mark.parametrize("name", SINGLE)
def test_the_only_engine_is_stopped_in_mid_stream(start, wire, name, front, back):
    engine = start("engine", lang=back, step_ms=10, **wire)
    frontend = start(name, lang=front, requests=2, max_tokens=LONG, **wire)
    frontend.wait_line("^r1 <- engine 0: token 5$")
    engine.wait_line("^r1: 5 prompt tokens$")
    assert engine.stop() == 0
    assert frontend.wait() == 1
    assert engine.lines(r"^(r\d): aborted$") == ["r0", "r1"]
    for n in (0, 1):
        assert frontend.lines(rf"^r{n} <- engine 0: \d+ tokens?, abort$")
    assert frontend.summary().startswith("0 of 2 requests complete, ")


@PAIRS
def test_one_of_two_engines_dies(start, wire, front, back):
    """In Demo 2.2 the front-end ends then, as vLLM's does."""
    engines = [start("engine", lang=back, index=index, step_ms=1, **wire) for index in (0, 1)]
    frontend = start("round_robin_frontend", lang=front, requests=4, max_tokens=LONG, **wire)
    for n in range(4):
        engines[n % 2].wait_line(f"^r{n}: 5 prompt tokens$")
    assert engines[1].stop() == 0
    assert frontend.wait() == 1
    assert len(frontend.err) == 1 and "an engine has died" in frontend.err[0]
    engines[0].wait_line("^the front-end has disconnected$")
    assert engines[0].stop() == 0


# --- Demo 2.3


@pytest.fixture
def three(ipc):
    return {"handshake": ipc(), "input": ipc(), "output": ipc()}


@PAIRS
@pytest.mark.parametrize("engines", [1, 3])
def test_handshake(start, three, front, back, engines):
    serving = [
        start("handshake_engine", lang=back, index=n, handshake=three["handshake"])
        for n in range(engines)
    ]
    for run in (1, 2):
        frontend = start("handshake_frontend", lang=front, engines=engines, requests=7, **three)
        assert frontend.wait() == 0
        assert frontend.err == []
        for n in range(engines):
            at = [frontend.out.index(f"engine {n}{what}") for what in (": HELLO", ": READY")]
            assert at == sorted(at)
            assert frontend.out.index(f"engine {n} registered") > at[1]
        for n in range(7):
            assert f"r{n} -> engine {n % engines}" in frontend.out
            assert f"r{n} <- engine {n % engines}: 4 tokens, length" in frontend.out
        assert frontend.summary() == "7 of 7 requests complete, 28 tokens"
        for engine in serving:
            engine.wait_line("^the front-end has disconnected$", nth=run)
    for engine in serving:
        assert engine.stop() == 0
        assert engine.err == []
    assert sum(len(e.lines(r"^r\d: 4 tokens, length$")) for e in serving) == 14


@pytest.mark.valgrind
def test_init_has_the_endpoints_as_bound(start):
    any_port = "tcp://127.0.0.1:*"
    frontend = start("handshake_frontend", handshake=any_port, input=any_port, output=any_port)
    engine = start("handshake_engine", handshake=frontend.endpoint(1))
    assert frontend.wait() == engine.stop() == 0


def test_handshake_out_of_turn(start, three, peer):
    """READY counts after HELLO only, and each engine once. An unexpected peer disturbs no other."""
    frontend = start("handshake_frontend", engines=2, **three)
    engine = peer(zmq.DEALER, routing_id=b"\0\0", connect=three["handshake"])
    status = {"status": "READY", "local": False, "headless": True}
    engine.send(pack(status))
    frontend.wait_err("bad handshake", nth=1)
    peer(zmq.DEALER, routing_id=b"\2\0", connect=three["handshake"]).send(
        pack({**status, "status": "HELLO"})
    )
    frontend.wait_err("bad handshake", nth=2)
    engine.send(pack({**status, "status": "HELLO"}))
    assert unpack(engine.recv())["addresses"]["inputs"] == [three["input"]]
    engine.send(pack(status))
    frontend.wait_line("^engine 0: READY$")
    engine.send(pack({**status, "status": "HELLO"}))
    frontend.wait_err("bad handshake", nth=3)
    second = start("handshake_engine", index=1, handshake=three["handshake"])
    frontend.wait_line("^engine 1: READY$")
    assert frontend.stop() == 1
    assert second.stop() == 0


@PAIRS
def test_front_end_dies_during_the_start(start, three, front, back):
    """The front-end dies while it waits for engine 1. The next one gets a new HELLO from engine 0."""
    engine = start("handshake_engine", lang=back, handshake=three["handshake"])
    dying = start("handshake_frontend", lang=front, engines=2, **three)
    dying.wait_line("^engine 0: READY$")
    dying.kill()
    engine.wait_line("^the front-end has disconnected$")
    frontend = start("handshake_frontend", lang=front, **three)
    assert frontend.wait() == engine.stop() == 0


@pytest.mark.parametrize("back", ["c", "py"])
def test_bad_init(start, three, peer, back):
    router = peer(zmq.ROUTER, bind=three["handshake"])
    engine = start("handshake_engine", lang=back, handshake=three["handshake"])
    identity, hello = router.recv_multipart()
    assert unpack(hello) == {"status": "HELLO", "local": False, "headless": True}
    for inputs in ([], [1], ["nonsense"], {}, None):
        addresses = {"inputs": inputs, "outputs": [three["output"]]}
        router.send_multipart([identity, pack({"addresses": addresses, "parallel_config": {}})])
    router.send_multipart([identity, b"\xc1"])
    engine.wait_err("bad INIT", nth=6)
    assert engine.stop() == 0


# --- Demo 2.4


def failover(start, wire, back="c", slow=None, **options):
    """Two engines. A slow one takes a minute for a token, so it has all its requests when it dies."""
    engines = [
        start("engine", lang=back, index=n, step_ms=60_000 if n == slow else 1, **wire) for n in (0, 1)
    ]
    return start("failover_frontend", **options, **wire), engines


def check_failover(frontend, requests, max_tokens):
    assert frontend.wait() == 0
    ends = frontend.lines(r"^(r\d+) <- engine \d: (\d+) tokens?, length$")
    assert sorted(ends) == sorted((f"r{n}", str(max_tokens)) for n in range(requests))
    assert frontend.summary() == (
        f"{requests} of {requests} requests complete, {requests * max_tokens} tokens"
    )
    assert frontend.err == []


@pytest.mark.parametrize("back", ["c", "py"])
def test_failover_without_a_death(start, wire, back):
    frontend, engines = failover(start, wire, back=back)
    check_failover(frontend, 10, 4)
    assert frontend.lines(r"^r\d -> engine (\d)$") == list("01" * 5)
    for engine in engines:
        assert engine.stop() == 0
        assert engine.summary() == "5 finished, 0 aborted, 0 bad"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_one_dies(start, wire, number):
    """It is killed, or sends ENGINE_CORE_DEAD: the other one gets its requests, from the start."""
    frontend, engines = failover(start, wire, slow=1, requests=4, max_tokens=20)
    frontend.wait_line("^r3 -> engine 1$")
    engines[1].send_signal(number)
    engines[1].wait()
    frontend.wait_line("^engine 1 has died$")
    check_failover(frontend, 4, 20)
    assert frontend.lines(r"^(r\d) -> engine 0$") == ["r0", "r2", "r1", "r3"]
    assert engines[0].stop() == 0
    assert engines[0].summary() == "4 finished, 0 aborted, 0 bad"


@pytest.mark.valgrind
def test_one_restarts(start, wire):
    """It registers again, usually before a probe finds it dead, and has lost its requests."""
    engines = [start("engine", index=n, step_ms=60_000, **wire) for n in (0, 1)]
    frontend = start("failover_frontend", requests=4, max_tokens=20, **wire)
    frontend.wait_line("^r3 -> engine 1$")
    engines[1].kill()
    again = start("engine", index=1, step_ms=1, **wire)
    frontend.wait_line("^engine 1 registered$", nth=2)
    engines[0].kill()
    check_failover(frontend, 4, 20)
    assert again.stop() == 0
    assert again.summary() == "4 finished, 0 aborted, 0 bad"


def test_all_die_and_one_comes(start, wire):
    frontend, engines = failover(start, wire, requests=4, max_tokens=LONG)
    frontend.wait_line("^r3 -> engine 1$")
    for engine in engines:
        engine.kill()
    for n in (0, 1):
        frontend.wait_line(f"^engine {n} has died$")
    again = start("engine", index=1, step_ms=1, **wire)
    again.wait_line("^r3: 5 prompt tokens$")
    assert frontend.stop() == 1
    assert frontend.lines(r"^(r\d) -> engine 1$")[-4:] == ["r0", "r1", "r2", "r3"]
    again.wait_line("^the front-end has disconnected$")
    assert again.stop() == 0
    assert again.summary() == "0 finished, 4 aborted, 0 bad"


def test_dead_before_all_have_come(start, wire):
    """Nothing is sent until both live at the same time."""
    frontend = start("failover_frontend", **wire)
    first = start("engine", index=0, **wire)
    frontend.wait_line("^engine 0 registered$")
    first.kill()
    frontend.wait_line("^engine 0 has died$")
    engines = [start("engine", index=n, **wire) for n in (1, 0)]
    check_failover(frontend, 10, 4)
    assert [engine.stop() for engine in engines] == [0, 0]


def test_a_stream_of_last_words_does_not_hold_the_probe_up(start, wire, peer):
    """A peer keeps sending ENGINE_CORE_DEAD; engine 1 is killed meanwhile."""
    frontend, engines = failover(start, wire, requests=4, max_tokens=LONG)
    frontend.wait_line("^r3 -> engine 1$")
    push = peer(zmq.PUSH, connect=wire["output"])
    engines[1].kill()
    for _ in range(100_000):
        if "engine 1 has died" in frontend.out:
            break
        push.send(DEAD)
    frontend.wait_line("^r3 -> engine 0$")
    assert "engine 0 has died" not in frontend.out
    assert frontend.stop() == 1
    assert engines[0].stop() == 0


def test_late_outputs_of_a_dead_engine_do_not_count(start, wire, peer):
    first = peer(zmq.DEALER, routing_id=b"\0\0")
    push = peer(zmq.PUSH, connect=wire["output"])
    frontend = start("failover_frontend", requests=2, max_tokens=4, **wire)
    first.connect(wire["input"])
    first.send(pack(vllm.ready(0)))
    second = start("engine", index=1, **wire)
    assert first.recv_multipart()[0] == vllm.ADD
    second.wait_line("^r1: 4 tokens, length$")
    first.close()
    frontend.wait_line("^engine 0 has died$")
    late = vllm.EngineCoreOutput("r0", [9] * 100, finish_reason=vllm.FinishReason.LENGTH)
    push.send(pack(vllm.EngineCoreOutputs(0, [late])))
    check_failover(frontend, 2, 4)
    assert second.stop() == 0


def test_abort_of_failover_frontend(start, wire, peer):
    engine = peer(zmq.DEALER, routing_id=b"\0\0", connect=wire["input"])
    engine.send(b"")
    frontend = start("failover_frontend", engines=1, requests=2, **wire)
    assert [unpack(engine.recv_multipart()[1])[0] for _ in range(2)] == ["r0", "r1"]
    assert engine.recv_multipart() == [vllm.ABORT, pack([])]  # The probe
    assert frontend.stop() == 1
    assert frontend.lines("^aborting .*") == ["aborting r0 at engine 0", "aborting r1 at engine 0"]
    got = [unpack(engine.recv_multipart()[1]) for _ in range(2)]
    assert got == [["r0"], ["r1"]]


def abort_scene(start, wire):
    engine = start("engine", step_ms=1, **wire)
    frontend = start("failover_frontend", engines=1, requests=2, max_tokens=LONG, **wire)
    engine.wait_line("^r1: 5 prompt tokens$")
    frontend.send_signal(signal.SIGINT)
    assert frontend.wait() == 1
    engine.wait_line("^r0: aborted$")
    engine.wait_line("^r1: aborted$")
    engine.wait_line("^the front-end has disconnected$")
    after = start("failover_frontend", engines=1, requests=3, **wire)
    check_failover(after, 3, 4)
    engine.send_signal(signal.SIGTERM)
    assert engine.wait() == 0
    assert engine.summary() == "3 finished, 2 aborted, 0 bad"


@pytest.mark.parametrize(
    "times", [pytest.param(3, id="few"), pytest.param(200, marks=pytest.mark.slow, id="many")]
)
def test_abort_beside_busy_cores(start, ipc, times):
    """The ABORT arrives even if other processes use all cores."""
    spin = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(spin) for _ in range(os.cpu_count() or 2)]
    try:
        for _ in range(times):
            abort_scene(start, {"input": ipc(), "output": ipc()})
    finally:
        for each in busy:
            each.kill()
            each.wait()


# --- with the tools


@pytest.mark.parametrize("lang", ["c", "py"])
def test_mock_engine_with_handshake_frontend(start, three, lang):
    frontend = start("handshake_frontend", lang=lang, engines=3, requests=9, max_tokens=5, **three)
    engine = start("mock_engine", engine_count=3, handshake=three["handshake"])
    assert frontend.wait() == 0
    assert frontend.summary() == "9 of 9 requests complete, 45 tokens"
    assert frontend.err == []
    assert engine.stop() == 0
    assert engine.summary() == "9 finished, 0 aborted, 0 bad"


@pytest.mark.parametrize("lang", ["c", "py"])
@pytest.mark.parametrize("name", ["engine", "handshake_engine"])
def test_mock_frontend_with_engines(start, three, name, lang):
    shake = name == "handshake_engine"
    two = {"input": three["input"], "output": three["output"]}
    where = {"handshake": three["handshake"]} if shake else two
    engines = [start(name, lang=lang, index=n, **where) for n in range(2)]
    frontend = start(
        "mock_frontend", engines=2, requests=8, max_tokens=3, **(three if shake else two)
    )
    assert frontend.wait() == 0
    assert frontend.summary() == "8 of 8 requests complete, 24 tokens"
    for engine in engines:
        engine.wait_line("^the front-end has disconnected$")
        assert engine.stop() == 0
        assert engine.err == []


def test_mock_frontend_gives_requests_to_another_engine(start, wire):
    engines = [start("engine", index=n, step_ms=60_000 * n, **wire) for n in range(2)]
    options = {"engines": 2, "requests": 4, "max_tokens": 20, "on_dead": "reroute"}
    frontend = start("mock_frontend", **options, **wire)
    frontend.wait_line("^r3 -> engine 1$")
    engines[1].kill()
    assert frontend.wait() == 0
    assert frontend.summary() == "4 of 4 requests complete, 80 tokens"
    assert engines[0].stop() == 0
