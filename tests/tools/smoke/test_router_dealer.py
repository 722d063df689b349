# SPDX-License-Identifier: MIT
"""ROUTER/DEALER + PUSH/PULL: engines and front-ends of Demos 2, 2.1 and 2.2."""

import signal

import msgspec
import pytest
import structs
import zmq

SINGLE = ["frontend", "poller_frontend"]
ALL = [*SINGLE, "round_robin_frontend"]


@pytest.fixture
def wire(ipc):
    """The two endpoints of a front-end, as options for it and for its engines."""
    return {"input": ipc(), "output": ipc()}


def options_of(name, engines):
    return {"engines": engines} if name == "round_robin_frontend" else {}


def check_tokens(frontend, requests, max_tokens, engine):
    """Each token of each request in its turn; the same prompt gives the same tokens."""
    texts = set()
    for n in range(requests):
        tokens = frontend.lines(rf"^r{n} <- engine {engine}: token (\d+)$")
        assert len(tokens) == max_tokens
        texts.add(tuple(tokens))
        assert f"r{n} -> engine {engine}" in frontend.out
        assert f"r{n} <- engine {engine}: {max_tokens} tokens, length" in frontend.out
    assert len(texts) == 1


@pytest.mark.valgrind
@pytest.mark.parametrize("name", SINGLE)
def test_one_engine(start, wire, name):
    frontend = start(name, requests=5, max_tokens=7, **wire)
    engine = start("engine", index=3, step_ms=1, count=5, **wire)
    assert frontend.wait() == engine.wait() == 0
    assert "engine 3 registered" in frontend.out
    check_tokens(frontend, 5, 7, engine=3)
    assert frontend.summary() == "5 of 5 requests complete, 35 tokens"
    assert engine.lines(r"^(r\d): 5 prompt tokens$") == ["r0", "r1", "r2", "r3", "r4"]
    assert sorted(engine.lines("^(.*): 7 tokens, length$")) == ["r0", "r1", "r2", "r3", "r4"]
    assert engine.summary() == "5 finished, 0 aborted, 0 bad"
    assert frontend.err == engine.err == []


def test_over_tcp(start):
    frontend = start("frontend", input="tcp://127.0.0.1:*", output="tcp://127.0.0.1:*")
    wire = {"input": frontend.endpoint(1), "output": frontend.endpoint(2)}
    engine = start("engine", **wire)
    assert frontend.wait() == engine.stop() == 0
    check_tokens(frontend, 3, 4, engine=0)


@pytest.mark.valgrind
def test_round_robin(start, wire):
    """Index 256 is the identity 00 01, and 1 is 01 00: the byte order shows."""
    engines = [start("engine", index=index, step_ms=1, **wire) for index in (256, 0, 1)]
    for engine in engines:
        assert engine.running()
    frontend = start("round_robin_frontend", engines=3, requests=11, max_tokens=2, **wire)
    assert frontend.wait() == 0
    dealt = {0: [0, 3, 6, 9], 1: [1, 4, 7, 10], 256: [2, 5, 8]}
    assert frontend.out[-4:] == [
        "engine 0: r0 r3 r6 r9",
        "engine 1: r1 r4 r7 r10",
        "engine 256: r2 r5 r8",
        "round_robin_frontend: 11 of 11 requests complete, 22 tokens",
    ]
    for index, numbers in dealt.items():
        for n in numbers:
            assert f"r{n} -> engine {index}" in frontend.out
            assert f"r{n} <- engine {index}: 2 tokens, length" in frontend.out
    for engine, index in zip(engines, (256, 0, 1)):
        assert engine.stop() == 0
        assert engine.lines(r"^r(\d+): 5 prompt") == [str(n) for n in dealt[index]]
        assert engine.summary() == f"{len(dealt[index])} finished, 0 aborted, 0 bad"


@pytest.mark.parametrize("name", ALL)
def test_an_engine_serves_one_front_end_after_the_other(start, wire, name):
    engine = start("engine", step_ms=0, **wire)
    for run in (1, 2, 3):
        frontend = start(name, requests=4, **options_of(name, 1), **wire)
        assert frontend.wait() == 0
        assert frontend.summary() == "4 of 4 requests complete, 16 tokens"
        engine.wait_line("^the front-end is gone$", nth=run)
    assert engine.stop() == 0
    assert len(engine.lines("^registering as engine 0$")) == 3
    assert engine.summary() == "12 finished, 0 aborted, 0 bad"


@pytest.mark.parametrize("name", ALL)
def test_front_end_is_stopped_in_mid_stream(start, wire, name):
    """It says goodbye with an ABORT, so that the engine does not compute for nobody."""
    engine = start("engine", step_ms=20, **wire)
    frontend = start(name, requests=2, max_tokens=1000000, **options_of(name, 1), **wire)
    engine.wait_line("^r1: 5 prompt tokens$")
    if name != "round_robin_frontend":  # That one does not tell of single tokens
        frontend.wait_line("^r1 <- engine 0: token")
    assert frontend.stop() == 1
    assert "aborting 2 requests at engine 0" in frontend.out
    assert frontend.summary().startswith("0 of 2 requests complete, ")
    engine.wait_line("^r0: aborted")
    engine.wait_line("^r1: aborted")
    engine.wait_line("^the front-end is gone$")
    assert engine.stop() == 0
    # By the ABORT (test_frames.py has its bytes), not when the connection ended
    assert engine.out[-4:-1] == ["r0: aborted", "r1: aborted", "the front-end is gone"]
    assert engine.summary() == "0 finished, 2 aborted, 0 bad"


@pytest.mark.parametrize("name", ALL)
def test_front_end_is_killed(start, wire, name):
    """Nobody says goodbye: the engine notices that the connection is gone."""
    engine = start("engine", step_ms=20, **wire)
    frontend = start(name, max_tokens=1000000, requests=1, **options_of(name, 1), **wire)
    engine.wait_line("^r0: 5 prompt tokens$")
    frontend.send_signal(9)
    assert frontend.wait() == -9
    engine.wait_line("^the front-end is gone$")
    assert engine.stop() == 0
    assert engine.summary() == "0 finished, 1 aborted, 0 bad"


def test_outputs_for_one_that_is_gone_are_not_for_the_next(start, peer, wire):
    """Its PULL goes first, so the engine has outputs left over when it hears that nobody is there.
    The next front-end has an r0 of its own."""
    router, pull = peer(zmq.ROUTER, bind=wire["input"]), peer(zmq.PULL, bind=wire["output"])
    engine = start("engine", "--verbose", step_ms=1, **wire)
    identity = router.recv_multipart()[0]
    request = msgspec.msgpack.encode(structs.toy_request("r0", 1000000))
    router.send_multipart([identity, structs.EngineCoreRequestType.ADD.value, request])
    pull.recv()
    pull.close()
    engine.wait_line(r"to front-end \(PUSH here\)", nth=30)
    router.close()
    engine.wait_line("^the front-end is gone$")
    frontend = start("frontend", requests=2, **wire)
    assert frontend.wait() == 0
    assert engine.stop() == 0
    check_tokens(frontend, 2, 4, engine=0)
    assert frontend.err == []


@pytest.mark.parametrize("name", SINGLE)
def test_the_only_engine_is_stopped_in_mid_stream(start, wire, name):
    engine = start("engine", step_ms=20, **wire)
    frontend = start(name, requests=2, max_tokens=1000000, **wire)
    frontend.wait_line("^r1 <- engine 0: token")
    assert engine.stop() == 0
    assert frontend.wait() == 1
    for n in (0, 1):
        assert frontend.lines(rf"^r{n} <- engine 0: \d+ tokens, abort$")
        assert f"r{n}: aborted" in engine.out
    assert frontend.summary().startswith("0 of 2 requests complete, ")


@pytest.mark.parametrize("option, status", [({"count": 1}, 0), ({}, 0)], ids=["count", "signal"])
def test_engine_that_leaves_ends_what_is_open(start, peer, wire, option, status):
    """By --count or by a signal: nobody is left waiting for tokens that will not come."""
    router, pull = peer(zmq.ROUTER, bind=wire["input"]), peer(zmq.PULL, bind=wire["output"])
    engine = start("engine", step_ms=1, **option, **wire)
    identity = router.recv_multipart()[0]
    for request in (structs.toy_request("long", 1000000), structs.toy_request("short", 1)):
        add = structs.EngineCoreRequestType.ADD.value
        router.send_multipart([identity, add, msgspec.msgpack.encode(request)])
    engine.wait_line("^short: 1 tokens, length$")
    if not option:
        engine.send_signal(signal.SIGTERM)
    finished = {}
    while (frames := pull.recv_multipart()) != [b"ENGINE_CORE_DEAD"]:
        outputs = msgspec.msgpack.decode(frames[0], type=structs.EngineCoreOutputs)
        finished.update({out.request_id: out.finish_reason for out in outputs.outputs})
    assert finished == {"long": structs.FinishReason.ABORT, "short": structs.FinishReason.LENGTH}
    assert engine.wait() == status
