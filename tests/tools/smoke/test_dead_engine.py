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
def test_one_of_two_fail(start, wire, lang):
    frontend = start("round_robin_frontend", requests=6, max_tokens=200, lang=lang, **wire)
    living = start("engine", index=0, step_ms=1, **wire)
    dying = start("engine", index=1, step_ms=60000, **wire)
    dying.wait_line("^r5: 5 prompt tokens$")
    kill(dying)
    assert frontend.wait() == 1
    assert frontend.err == ["round_robin_frontend: engine 1 is dead, 3 requests were open"]
    assert frontend.lines(FAILED) == [("1", "1"), ("3", "1"), ("5", "1")]
    assert sorted(frontend.lines(DONE)) == [(n, "0", "200") for n in "024"]
    assert "engine 1: r1 r3 r5" in frontend.out
    assert frontend.summary() == "3 of 6 requests complete, 600 tokens"
    assert living.stop() == 0


@pytest.mark.parametrize("on_dead", ["fail", "reroute"])
def test_what_died_makes_room_for_the_next(start, wire, on_dead):
    """--in-flight counts what is open, and no longer what was at a dead engine."""
    frontend = start(
        "round_robin_frontend", requests=6, max_tokens=2, in_flight=1, on_dead=on_dead, **wire
    )
    living = start("engine", index=0, step_ms=1, **wire)
    dying = start("engine", index=1, step_ms=60000, **wire)
    dying.wait_line("^r1: 5 prompt tokens$")
    kill(dying)
    assert frontend.wait() == (1 if on_dead == "fail" else 0)
    assert frontend.err == ["round_robin_frontend: engine 1 is dead, 1 requests were open"]
    done = [n for n, _, _ in frontend.lines(DONE)]
    assert done == [n for n in "012345" if n != "1" or on_dead == "reroute"]
    assert living.stop() == 0


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
    assert "engine 1:" in [line.rstrip() for line in frontend.out]
    assert frontend.summary() == "9 of 9 requests complete, 450 tokens"
    assert [engine.stop() for engine in living] == [0, 0]


@pytest.mark.parametrize("mode", ["fail", "reroute"])
def test_all_of_them(start, wire, mode):
    frontend = start(
        "round_robin_frontend", requests=4, max_tokens=ENDLESS, on_dead=mode, **wire
    )
    engines = [start("engine", index=index, **wire) for index in (0, 1)]
    for n in range(4):
        engines[n % 2].wait_line(f"^r{n}: 5 prompt tokens$")
    for engine in engines:
        kill(engine)
    assert frontend.wait() == 1
    assert len(frontend.lines(r"^r\d failed: ")) == 4
    assert frontend.summary().startswith("0 of 4 requests complete")


@pytest.mark.parametrize("mode", ["fail", "reroute"])
def test_one_of_two_starts_anew(start, wire, mode):
    """It is there, and gets new requests; what was open at the old one is handled as its death."""
    frontend = start("round_robin_frontend", requests=4, max_tokens=50, on_dead=mode, **wire)
    living = start("engine", index=0, step_ms=1, **wire)
    dying = start("engine", index=1, step_ms=60000, **wire)
    dying.wait_line("^r3: 5 prompt tokens$")
    kill(dying)
    again = start("engine", index=1, step_ms=1, **wire)
    assert frontend.wait() == (1 if mode == "fail" else 0)
    assert frontend.lines(FAILED if mode == "fail" else AGAIN) == [("1", "1"), ("3", "1")]
    assert living.stop() == again.stop() == 0


@pytest.mark.parametrize("lang", ["c", "py"])
def test_last_words_of_one_that_is_buried(start, peer, wire, lang):
    """They come on another connection, maybe later. Whoever lives is not to be given up for them."""
    frontend = start("round_robin_frontend", requests=2, max_tokens=120, lang=lang, **wire)
    frontend.wait_line("listening on .*", nth=2)
    living = start("engine", index=0, step_ms=20, **wire)
    dealer = peer(zmq.DEALER, connect=wire["input"], routing_id=b"\1\0")
    dealer.send(b"")
    frontend.wait_line("^r1 -> engine 1$")
    dealer.close()
    frontend.wait_line("^r1 failed: engine 1 is dead$")
    peer(zmq.PUSH, connect=wire["output"]).send(b"ENGINE_CORE_DEAD")
    frontend.wait_line("^r0 <- engine 0: 120 tokens, length$")
    assert frontend.wait() == 1
    assert frontend.err == ["round_robin_frontend: engine 1 is dead, 1 requests were open"]
    assert living.stop() == 0


def test_an_engine_behind_a_handshake(start, ipc, wire):
    """It is no child of the front-end; as vLLM, this one gives up all when one is dead."""
    hello = ipc()
    frontend = start(
        "handshake_frontend", engines=2, requests=4, max_tokens=ENDLESS, handshake=hello, **wire
    )
    engines = [
        start("mock_engine", "--log-requests", index=index, step_ms=10000, handshake=hello)
        for index in (0, 1)
    ]
    frontend.wait_line("^r3 -> engine 1$")
    kill(engines[1])
    assert frontend.wait() == 1
    assert frontend.err == ["handshake_frontend: engine 1 is dead"]
    assert "aborting 2 requests at engine 0" in frontend.out
    engines[0].wait_line("the front-end is gone")
    assert engines[0].stop() == 0


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


@pytest.mark.parametrize("lang", ["c", "py"])
def test_a_worker(start, ipc, lang):
    """What it had taken is not done by anybody: the sink says which tasks those were."""
    tasks, results = ipc(), ipc()
    sink = start("sink", endpoint=results, count=12, timeout_s=1, lang=lang)
    sink.endpoint()
    working = start("worker", source=tasks, sink=results, name="w1")
    dying = start("worker", "--verbose", source=tasks, sink=results, name="w2", work_ms=60000)
    ventilator = start("ventilator", endpoint=tasks, sink=results, workers=2, count=12)
    assert ventilator.wait() == 0
    dying.wait_line("from ventilator")
    kill(dying)
    assert sink.wait() == 1
    assert sink.err == ["sink: no result for 1 s: gave up"]
    assert sink.summary() == "6 results from 1 workers, 0 bad"
    done = {int(task) for task in sink.lines(r"^task (\d+) <- w1: ")}
    missing = sink.lines(r"^missing: (.*)$")[0]
    assert missing == " ".join(str(task) for task in range(12) if task not in done)
    assert working.stop() == 0
