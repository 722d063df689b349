# SPDX-License-Identifier: MIT
"""Peers that are in the right, or look so, and ask for more than their share: the cost of a message
grows with its size and not faster, and everybody else is served meanwhile.
"""

import shutil
import subprocess
import time

import msgspec
import pytest
import structs
import zmq
import zmtp
from joined import join_engine

from harness import FACTOR, PROGRAMS, UNDER_VALGRIND, WAIT_S, Program, arguments

pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode
ZERO, ADD = b"\0\0", b"\0"
ENDLESS = 1000000

pytestmark = pytest.mark.skipif(UNDER_VALGRIND, reason="too slow under valgrind")


def request(name, client_index=0, **params):
    values = [name, [1], None, params, None, 0.0, None, None, None, None, None, client_index]
    return [ZERO, ADD, pack(values)]


def ended(pull, name):
    """Reads outputs until this request has come to its end."""
    while True:
        if any(output[0] == name and output[5] is not None for output in unpack(pull.recv())[1]):
            return


# --- mock_engine


def hashed(number, text):
    """As CZMQ's zhashx hashes a string: no secret is in it."""
    for byte in text.encode():
        number = number * 33 % 2**64 ^ byte
    return number


def colliding(count):
    """Ids of one hash: the same start, then one of two endings, then one of two, and so on."""
    ids, before = ["req-"], hashed(0, "req-")
    while len(ids) < count:
        known = {}
        for pair in (chr(a) + chr(b) for a in range(48, 123) for b in range(48, 123)):
            after = hashed(before, pair)
            if after in known:
                break
            known[after] = pair
        ids, before = [each + end for each in ids for end in (known[after], pair)], after
    assert len({hashed(0, each) for each in ids}) == 1 < len(set(ids)) == len(ids)
    return ids


def test_ids_that_collide(start, ipc, peer):
    engine, router, pull, _ = join_engine(start, peer, ipc, step_ms=20)
    before = engine.rss_mb()
    for number, name in enumerate(colliding(256)):
        router.send_multipart(request(name, max_tokens=ENDLESS))
        engine.wait_line(": 1 prompt token$", nth=number + 1)
        assert engine.rss_mb() - before < 50 * FACTOR, f"after {number + 1} requests"
    router.send_multipart(request("good", max_tokens=1))
    ended(pull, "good")
    assert engine.stop() == 0


@pytest.mark.parametrize("stops", ["every token", "every second token", "one, again and again"])
def test_a_million_stop_tokens(start, ipc, peer, stops):
    """Because of min_tokens the engine avoids them all, or finds that it cannot. It cannot avoid every token."""
    ids = {
        "every token": [2**32 - 1] * (ENDLESS - 32000) + list(range(31999, -1, -1)),
        "every second token": list(range(0, 2 * ENDLESS, 2)),
        "one, again and again": [5] * ENDLESS,
    }[stops]
    engine, router, pull, _ = join_engine(start, peer, ipc, step_ms=1)
    for number in range(5):
        greedy = {"max_tokens": ENDLESS, "min_tokens": ENDLESS - 1, "stop_token_ids": ids}
        router.send_multipart(request(f"greedy-{number}", **greedy))
    router.send_multipart(request("good", max_tokens=200))
    ended(pull, "good")
    assert engine.stop() == 0


def test_logprobs_of_a_long_prompt(start, ipc, peer):
    """A request of a megabyte whose answer would be one of a gigabyte is refused; the next one is not."""
    engine, router, pull, _ = join_engine(start, peer, ipc, step_ms=1)
    values = unpack(request("greedy", max_tokens=1, prompt_logprobs=100)[2])
    router.send_multipart([ZERO, ADD, pack([values[0], [5] * ENDLESS, *values[2:]])])
    ended(pull, "greedy")
    router.send_multipart([ZERO, ADD, pack(["good", [5] * 20000, *values[2:]])])
    ended(pull, "good")
    assert engine.err == ["mock_engine: greedy: no room for one more request"]
    assert engine.stop() == 0


def join_several(start, peer, ipc, count, **options):
    """An engine with several front-ends: its program, the greeter, the ROUTERs, the PULLs."""
    at, inputs, outputs = ipc(), [ipc() for _ in range(count)], [ipc() for _ in range(count)]
    greeter = peer(zmq.ROUTER, bind=at)
    routers = [peer(zmq.ROUTER, bind=each, router_mandatory=1) for each in inputs]
    pulls = [peer(zmq.PULL, bind=each, rcvhwm=0) for each in outputs]
    engine = start("mock_engine", "--log-requests", "--disable-log-stats", handshake=at, **options)
    addresses = structs.EngineZmqAddresses(inputs, outputs)
    greeter.recv_multipart()
    greeter.send_multipart([ZERO, pack(structs.EngineHandshakeMetadata(addresses, {}))])
    for router in routers:
        assert router.recv_multipart()[0] == ZERO
    assert unpack(greeter.recv_multipart()[1])["status"] == "READY"
    return engine, greeter, routers, pulls


def test_one_front_end_of_three_vanishes(start, ipc, peer):
    """Its requests end with it. The others' go on, and what is new of them is served; when the last
    one has gone too, the engine looks for the next."""
    engine, greeter, routers, pulls = join_several(start, peer, ipc, 3, step_ms=5)
    names = [{f"{client}-{number}" for number in range(50)} for client in range(3)]
    for client, router in enumerate(routers):
        for name in sorted(names[client]):
            router.send_multipart(request(name, client, max_tokens=ENDLESS))
    engine.wait_line(": 1 prompt token$", nth=150)
    routers[1].close()
    pulls[1].close()
    engine.wait_line("^engine 0: front-end 1 of 3 is gone$")
    engine.wait_line("^1-.*: aborted$", nth=50)
    for client in (0, 2):
        routers[client].send_multipart(request(f"new-{client}", client, max_tokens=1))
        ended(pulls[client], f"new-{client}")
        heard = set()
        while heard != names[client]:
            for output in unpack(pulls[client].recv())[1]:
                assert output[0] in names[client] and output[5] is None
                heard.add(output[0])
    for client in (2, 0):
        assert greeter.poll(0) == 0
        routers[client].close()
        pulls[client].close()
    engine.wait_line("^engine 0: the front-end is gone$")
    assert unpack(greeter.recv_multipart()[1])["status"] == "HELLO"
    assert engine.stop() == 0
    assert engine.summary() == "2 finished, 150 aborted, 0 bad"


# --- mock_frontend


def test_a_spawned_engine_that_ends_behind_a_flood(ipc, tmp_path):
    """In the handshake. The end of a process is seen by its sentinel, which is polled behind the socket.
    A line is read in a millisecond: so there is always more rubbish than the front-end can tell of."""
    shutil.copy(PROGRAMS["mock_frontend"], tmp_path)
    (tmp_path / "mock_engine").write_text(f"#!/bin/sh\nuntil [ -e {tmp_path}/go ]; do sleep 0.1; done; exit 3\n")
    (tmp_path / "mock_engine").chmod(0o755)
    wire = {"handshake": ipc(), "input": ipc(), "output": ipc()}
    command = [tmp_path / "mock_frontend", "--spawn", *arguments(wire)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as frontend:
        for _ in wire:
            assert "listening on" in frontend.stdout.readline()
        with zmtp.flooded(wire["handshake"], b"DEALER", b"rubbish"):
            begun = None
            while (begun is None or time.monotonic() - begun < WAIT_S) and (line := frontend.stderr.readline()):
                if begun is None:
                    (tmp_path / "go").touch()
                    begun = time.monotonic()
                last = line
                time.sleep(0.001)
            frontend.kill()
    assert last == "mock_frontend: engine 0: no HELLO: engine 0 is dead: exit status 3\n"
    assert frontend.returncode == 1


def test_an_engine_that_restarts_behind_a_flood(start, ipc, peer):
    """Its registration comes by the ROUTER, which is polled behind the PULL."""
    wire = {"input": ipc(), "output": ipc()}
    options = {"engines": 2, "on_dead": "reroute", "requests": 2, "max_tokens": ENDLESS, **wire}
    frontend = Program("mock_frontend", arguments(options), keep=200)
    start.programs.append(frontend)
    ready = pack({"max_model_len": 1, "num_gpu_blocks": 1, "block_size": 1})
    engines = [peer(zmq.DEALER, connect=wire["input"], routing_id=bytes([n, 0])) for n in range(2)]
    for number, engine in enumerate(engines):
        engine.send(ready)
        frontend.wait_line(f"^engine {number} registered$")
    with zmtp.flooded(wire["output"], b"PUSH", b"rubbish"):
        frontend.wait_err("bad outputs")
        engines[0].close()
        frontend.wait_line("to be sent again: engine 0 is dead")
        peer(zmq.DEALER, connect=wire["input"], routing_id=ZERO).send(ready)
        frontend.wait_line("^engine 0 registered$", nth=2)
    assert frontend.stop() == 1
