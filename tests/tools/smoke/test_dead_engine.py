# SPDX-License-Identifier: MIT
"""Engines and workers that die without a word (kill -9): nobody waits for ever, nothing is hidden."""

import signal
import subprocess
import threading

import msgspec
import pytest
import zmq
from structs import EngineCoreOutputs, FinishReason, toy_request

from harness import PROGRAMS, WAIT_S, arguments

FAILED = r"^r(\d+) failed: engine (\d) is dead$"
AGAIN = r"^r(\d+) to be sent again: engine (\d) is dead$"
DONE = r"^r(\d+) <- engine (\d): (\d+) tokens, length$"
ENDLESS = 1000000


@pytest.fixture
def wire(ipc):
    return {"input": ipc(), "output": ipc()}


def kill(engine):
    engine.send_signal(signal.SIGKILL)
    assert engine.wait() == -signal.SIGKILL


@pytest.mark.parametrize("lang", ["c", "py"])
@pytest.mark.parametrize("name", ["frontend", "poller_frontend"])
def test_the_only_engine(start, wire, name, lang):
    frontend = start(name, requests=2, max_tokens=ENDLESS, lang=lang, **wire)
    engine = start("engine", **wire)
    frontend.wait_line("^r1 <- engine 0: token")
    kill(engine)
    assert frontend.wait() == 1
    assert frontend.err == [f"{name}: the engine is dead, 2 requests are lost"]
    assert frontend.lines(FAILED) == [("0", "0"), ("1", "0")]


@pytest.mark.parametrize("name", ["frontend", "poller_frontend"])
def test_the_only_engine_starts_anew(start, wire, name):
    """It registers, so it is there; but the requests were the old one's."""
    frontend = start(name, requests=2, max_tokens=ENDLESS, **wire)
    engine = start("engine", **wire)
    frontend.wait_line("^r1 <- engine 0: token")
    kill(engine)
    again = start("engine", **wire)
    assert frontend.wait() == 1
    assert frontend.err == [f"{name}: the engine is dead, 2 requests are lost"]
    assert again.stop() == 0


@pytest.mark.parametrize("lang", ["c", "py"])
def test_one_of_three_reroute(start, wire, lang):
    frontend = start(
        "round_robin_frontend",
        engines=3,
        requests=9,
        max_tokens=50,
        on_dead="reroute",
        lang=lang,
        **wire,
    )
    living = [start("engine", index=index, step_ms=1, **wire) for index in (0, 2)]
    dying = start("engine", index=1, step_ms=60000, **wire)
    dying.wait_line("^r7: 5 prompt tokens$")
    kill(dying)
    assert frontend.wait() == 0
    assert frontend.err == ["round_robin_frontend: engine 1 is dead, 3 requests were open"]
    assert frontend.lines(AGAIN) == [("1", "1"), ("4", "1"), ("7", "1")]
    done = sorted(frontend.lines(DONE))
    assert [(n, tokens) for n, _, tokens in done] == [(n, "50") for n in "012345678"]
    assert {engine for _, engine, _ in done} == {"0", "2"}
    assert frontend.summary() == "9 of 9 requests complete, 450 tokens"
    assert [engine.stop() for engine in living] == [0, 0]


def test_what_is_left_of_a_front_end_is_not_for_the_next(peer, wire):
    """The engine is late to hear that its front-end is gone: nobody reads what it prints, so it
    waits, while its PUSH is connected to the next one already. The r0 of that one is another."""
    router, pull = peer(zmq.ROUTER, bind=wire["input"]), peer(zmq.PULL, bind=wire["output"])
    command = [PROGRAMS["engine"], "--verbose", "--step-ms", "1", *arguments(wire)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as engine:
        reader = threading.Thread(target=engine.stdout.read)
        try:
            identity = router.recv_multipart()[0]

            def ask(max_tokens):
                request = msgspec.msgpack.encode(toy_request("r0", max_tokens))
                router.send_multipart([identity, b"\0", request])

            ask(ENDLESS)
            while pull.poll(1000):  # Until it waits
                pull.recv()
            router.close(0)
            pull.close(0)
            router, pull = peer(zmq.ROUTER, bind=wire["input"]), peer(zmq.PULL)
            connected = pull.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
            pull.bind(wire["output"])
            assert connected.poll(WAIT_S * 1000)
            reader.start()
            assert router.recv_multipart()[0] == identity
            ask(3)
            ends = []
            while FinishReason.LENGTH not in ends:
                outputs = msgspec.msgpack.decode(pull.recv(), type=EngineCoreOutputs).outputs
                ends += [each.finish_reason for each in outputs if each.finish_reason is not None]
            assert ends == [FinishReason.LENGTH]
            pull.disable_monitor()
        finally:
            engine.terminate()
            if not reader.is_alive():
                reader.start()
            assert engine.wait(WAIT_S) == 0
            reader.join()
