# SPDX-License-Identifier: MIT
"""mock_frontend: deals requests out, and copes with engines that die, restart, leave or never come.

Each with engines at fixed addresses (those of the lessons), and with mock_engines behind a
handshake.
"""

import signal

import msgspec
import pytest
import structs
import zmq

FAILED = r"^r(\d+) failed: engine (\d) is dead$"
AGAIN = r"^r(\d+) to be sent again: engine (\d) is dead$"
DONE = r"^r(\d+) <- engine (\d): (\d+) tokens?, length$"
ENDLESS = 1000000
HELLO = structs.EngineStatus("HELLO", local=False, headless=True)


class Cluster:
    def __init__(self, start, ipc, handshake):
        self.start, self.handshake = start, handshake
        self.wire = {"input": ipc(), "output": ipc()}
        if handshake:
            self.wire["handshake"] = ipc()

    def front(self, *args, engines=2, **options):
        return self.start("mock_frontend", *args, engines=engines, **options, **self.wire)

    def engine(self, index=0, **options):
        if self.handshake:
            at = self.wire["handshake"]
            return self.start("mock_engine", "--log-requests", handshake=at, index=index, **options)
        return self.start("engine", index=index, **options, **self.wire)


@pytest.fixture(params=["fixed", "handshake"])
def cluster(request, start, ipc):
    return Cluster(start, ipc, request.param == "handshake")


@pytest.fixture
def fixed(start, ipc):
    """Where an engine may restart: without a handshake it can register again."""
    return Cluster(start, ipc, handshake=False)


def kill(engine):
    engine.send_signal(signal.SIGKILL)
    assert engine.wait() == -signal.SIGKILL


# --- All is well


@pytest.mark.valgrind
def test_in_turn(cluster):
    engines = [cluster.engine(index) for index in (2, 0, 1)]
    front = cluster.front(engines=3, requests=11, max_tokens=2)
    assert front.wait() == 0
    dealt = {0: [0, 3, 6, 9], 1: [1, 4, 7, 10], 2: [2, 5, 8]}
    assert front.out[-4:] == [
        "engine 0: r0 r3 r6 r9",
        "engine 1: r1 r4 r7 r10",
        "engine 2: r2 r5 r8",
        "mock_frontend: 11 of 11 requests complete, 22 tokens",
    ]
    for index, numbers in dealt.items():
        for n in numbers:
            assert f"r{n} -> engine {index}" in front.out
            assert f"r{n} <- engine {index}: 2 tokens, length" in front.out
    for engine, index in zip(engines, (2, 0, 1)):
        assert engine.stop() == 0
        assert engine.lines(r"r(\d+): 5 prompt") == [str(n) for n in dealt[index]]
    assert front.err == []


@pytest.mark.parametrize("in_flight", [0, 1, 3])
def test_in_flight(cluster, in_flight):
    """Never more than `in_flight` requests are open at a time, and at some time that many."""
    engines = [cluster.engine(index, step_ms=1) for index in (0, 1)]
    front = cluster.front(requests=7, in_flight=in_flight)
    assert front.wait() == 0
    assert [engine.stop() for engine in engines] == [0, 0]
    open_now, most = 0, 0
    for way in front.lines(r"^r\d+ (->|<-) "):
        open_now += 1 if way == "->" else -1
        most = max(most, open_now)
    assert (open_now, most) == (0, in_flight or 7)
    assert front.out[-3:-1] == ["engine 0: r0 r2 r4 r6", "engine 1: r1 r3 r5"]


def test_many_requests(cluster):
    engines = [cluster.engine(index, step_ms=0) for index in (0, 1)]
    front = cluster.front("--quiet", requests=2000, max_tokens=3)
    assert front.wait() == 0
    assert front.summary() == "2000 of 2000 requests complete, 6000 tokens"
    for engine in engines:
        assert engine.stop() == 0
        assert engine.summary() == "1000 finished, 0 aborted, 0 bad"


def test_stopped_in_mid_stream(cluster):
    """It aborts its open requests; otherwise the engine would keep computing."""
    engine = cluster.engine(step_ms=20)
    front = cluster.front(engines=1, requests=2, max_tokens=ENDLESS)
    engine.wait_line("r1: 5 prompt tokens$")
    assert front.stop() == 1
    assert "aborting 2 requests at engine 0" in front.out
    assert front.summary().startswith("0 of 2 requests complete, ")
    engine.wait_line("r0: aborted")
    engine.wait_line("r1: aborted")
    assert engine.stop() == 0
    assert engine.summary() == "0 finished, 2 aborted, 0 bad"


@pytest.mark.parametrize("max_tokens", [1, 16, 127, 128, 65536, 2**31 - 1])
def test_max_tokens(fixed, peer, max_tokens):
    """16 is vLLM's default: what has its default is left out of a map."""
    front = fixed.front(engines=1, requests=1, max_tokens=max_tokens)
    engine = peer(zmq.DEALER, connect=fixed.wire["input"], routing_id=bytes(2))
    engine.send(b"")
    payload = engine.recv_multipart()[1]
    request = structs.exactly(payload, structs.EngineCoreRequest)
    assert request.sampling_params.max_tokens == max_tokens
    assert ("max_tokens" in msgspec.msgpack.decode(payload)[3]) == (max_tokens != 16)
    assert front.stop() == 1


# --- Engines die


@pytest.mark.parametrize("on_dead", ["fail", "reroute"])
def test_one_of_three(cluster, on_dead):
    front = cluster.front(engines=3, requests=9, max_tokens=50, on_dead=on_dead)
    living = [cluster.engine(index, step_ms=1) for index in (0, 2)]
    dying = cluster.engine(1, step_ms=60000)
    front.wait_line("^r7 -> engine 1$")
    kill(dying)
    status, told, done, shown = {
        "fail": (1, FAILED, "023568", "engine 1: r1 r4 r7"),
        "reroute": (0, AGAIN, "012345678", "engine 1:"),
    }[on_dead]
    assert front.wait() == status
    assert front.err == ["mock_frontend: engine 1 is dead, 3 requests were open"]
    assert front.lines(told) == [("1", "1"), ("4", "1"), ("7", "1")]
    ended = sorted(front.lines(DONE))
    assert [(n, tokens) for n, _, tokens in ended] == [(n, "50") for n in done]
    assert {engine for _, engine, _ in ended} == {"0", "2"}
    assert shown in [line.rstrip() for line in front.out]
    assert front.summary() == f"{len(done)} of 9 requests complete, {50 * len(done)} tokens"
    assert [engine.stop() for engine in living] == [0, 0]


@pytest.mark.parametrize("on_dead", ["fail", "reroute"])
def test_what_died_makes_room_for_the_next(cluster, on_dead):
    """--in-flight counts open requests, without those of a dead engine."""
    front = cluster.front(requests=6, max_tokens=2, in_flight=1, on_dead=on_dead)
    living, dying = cluster.engine(0, step_ms=1), cluster.engine(1, step_ms=60000)
    front.wait_line("^r1 -> engine 1$")
    kill(dying)
    assert front.wait() == (1 if on_dead == "fail" else 0)
    assert front.err == ["mock_frontend: engine 1 is dead, 1 request was open"]
    done = [n for n, _, _ in front.lines(DONE)]
    assert done == [n for n in "012345" if n != "1" or on_dead == "reroute"]
    assert living.stop() == 0


@pytest.mark.parametrize("on_dead", ["fail", "reroute"])
def test_all_of_them(cluster, on_dead):
    front = cluster.front(requests=4, max_tokens=ENDLESS, on_dead=on_dead)
    engines = [cluster.engine(index, step_ms=10) for index in (0, 1)]
    for n in range(4):
        engines[n % 2].wait_line(f"r{n}: 5 prompt tokens$")
    for engine in engines:
        kill(engine)
    assert front.wait() == 1
    assert len(front.lines(r"^r\d failed: ")) == 4
    assert front.summary().startswith("0 of 4 requests complete")


def test_killed_while_the_other_one_streams(cluster):
    """The other engine streams without a pause; the dead one is still detected."""
    front = cluster.front(requests=2, max_tokens=ENDLESS)
    living, dying = cluster.engine(0, step_ms=5), cluster.engine(1, step_ms=100)
    dying.wait_line("r1: 5 prompt tokens$")
    front.wait_line("^r1 -> engine 1$")
    kill(dying)
    front.wait_err("engine 1 is dead, 1 request was open$")
    front.wait_line(FAILED)
    assert front.lines(FAILED) == [("1", "1")]
    assert front.stop() == 1
    assert living.stop() == 0


@pytest.mark.parametrize("on_dead", ["fail", "reroute"])
def test_one_of_two_restarts(fixed, on_dead):
    """It is there, and gets new requests; what was open at the old one is handled as its death."""
    front = fixed.front(requests=4, max_tokens=50, on_dead=on_dead)
    living, dying = fixed.engine(0, step_ms=1), fixed.engine(1, step_ms=60000)
    front.wait_line("^r3 -> engine 1$")
    kill(dying)
    again = fixed.engine(1, step_ms=1)
    assert front.wait() == (1 if on_dead == "fail" else 0)
    assert front.lines(FAILED if on_dead == "fail" else AGAIN) == [("1", "1"), ("3", "1")]
    assert living.stop() == again.stop() == 0


def test_one_of_two_is_stopped(cluster):
    """Its requests end. ENGINE_CORE_DEAD names no engine, but the dead one is found; the other continues."""
    engines = [cluster.engine(index, step_ms=20) for index in (0, 1)]
    front = cluster.front(requests=4, max_tokens=ENDLESS)
    for n in range(4):
        engines[n % 2].wait_line(f"r{n}: 5 prompt tokens$")
    assert engines[1].stop() == 0
    front.wait_err("^mock_frontend: engine 1 is dead, 0 requests were open$")
    assert front.stop() == 1
    assert len(front.err) == 1
    assert sorted(front.lines(r"^r(\d) <- engine 1: \d+ tokens?, abort$")) == ["1", "3"]
    assert front.lines("^engine .: r.*") == ["engine 0: r0 r2", "engine 1: r1 r3"]
    engines[0].wait_line("r2: aborted")
    assert engines[0].stop() == 0


def test_last_words_of_one_that_is_known_to_be_dead(fixed, peer):
    """ENGINE_CORE_DEAD comes on another connection, maybe later. It must not end the living engines."""
    front = fixed.front(requests=2, max_tokens=120)
    front.wait_line("listening on .*", nth=2)
    living = fixed.engine(0, step_ms=20)
    dealer = peer(zmq.DEALER, connect=fixed.wire["input"], routing_id=b"\1\0")
    dealer.send(b"")
    front.wait_line("^r1 -> engine 1$")
    dealer.close()
    front.wait_line("^r1 failed: engine 1 is dead$")
    peer(zmq.PUSH, connect=fixed.wire["output"]).send(b"ENGINE_CORE_DEAD")
    front.wait_line("^r0 <- engine 0: 120 tokens, length$")
    assert front.wait() == 1
    assert front.err == ["mock_frontend: engine 1 is dead, 1 request was open"]
    assert living.stop() == 0


# --- Engines that cannot start, or do not come


@pytest.mark.parametrize("said", [[], [HELLO]], ids=["at once", "after HELLO"])
def test_an_engine_that_reports_failed(start, ipc, peer, said):
    """For example out of GPU memory: the line says which engine's log to open."""
    wire = {"handshake": ipc(), "input": ipc(), "output": ipc()}
    front = start("mock_frontend", "--quiet", engines=8, **wire)
    engine = peer(zmq.DEALER, connect=wire["handshake"], routing_id=b"\5\0")
    for status in said:
        engine.send(msgspec.msgpack.encode(status))
    engine.send(msgspec.msgpack.encode({"status": "FAILED", "local": False, "headless": True}))
    assert front.wait() == 1
    assert front.err == ["mock_frontend: engine 5: it has reported FAILED, its own log says why"]


def test_engines_that_do_not_come(cluster):
    engine = cluster.engine(0)
    engine.wait_line("waiting for a front-end")
    front = cluster.front(engines=3, timeout_s=1)
    assert front.wait() == 1
    missing = "engine 1: no HELLO" if cluster.handshake else "1 of 3 engines have registered"
    assert front.err == [f"mock_frontend: {missing}: it has not come in time (--timeout-s)"]
    assert front.summary() == "0 of 10 requests complete, 0 tokens"
    assert engine.stop() == 0


def test_spawn_needs_no_address(start):
    """Then engines say HELLO at a port that is free."""
    free = "tcp://127.0.0.1:*"
    front = start("mock_frontend", "--spawn", engines=2, requests=2, input=free, output=free)
    assert front.wait() == 0
    assert len(front.lines("listening on tcp://127.0.0.1:[1-9]")) == 3
    assert front.lines("^engine .: r.*") == ["engine 0: r0", "engine 1: r1"]
