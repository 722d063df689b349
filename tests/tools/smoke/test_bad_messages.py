# SPDX-License-Identifier: MIT
"""Bad messages at each receiver: it prints one line on stderr for each, and serves the next good message.
The other ends are raw pyzmq sockets. What can be wrong in a message is tested in tests/tools/unit; these
tests check that the program goes on."""

import msgspec
import pytest
import zmq
from joined import join_engine

from harness import UNREADABLE

pack = msgspec.msgpack.encode
unpack = msgspec.msgpack.decode
ZERO = b"\0\0"
ADD, ABORT, WAVE, UTILITY = b"\0", b"\1", b"\2", b"\3"


def check_complaints(program, number, about="bad "):
    """The program has printed `number` lines on stderr, each about a message that it received."""
    program.wait_err(".", nth=number)
    assert len(program.err) == number, str(program)
    for line in program.err:
        assert line.startswith(f"{program.name}: {about}"), line
        assert line.isprintable(), line


@pytest.mark.valgrind
def test_replay_request(start, ipc, peer):
    """As in vLLM: what has not 3 frames is not answered, and a number may have any length."""
    endpoint = ipc()
    publisher = start(
        "kv_publisher", endpoint=ipc(), replay_endpoint=endpoint, interval_ms=3, buffer_steps=1000
    )
    publisher.wait_line("^seq 9")
    client = peer(zmq.DEALER, connect=endpoint)
    for request in [[b""], [bytes(8)], [b"", bytes(8), b""], [b"", b"", bytes(8), b""]]:
        client.send_multipart(request)
    client.send_multipart([b"", bytes(8)])
    for seq in range(10):
        assert client.recv_multipart()[:3] == [b"", b"kv-events", seq.to_bytes(8, "big")]
    lengths = {b"": 0, b"\x05": 5, b"\0" * 1000 + b"\x05": 5, b"\x01" + bytes(8): None}
    for number, first in lengths.items():
        client = peer(zmq.DEALER, connect=endpoint)
        client.send_multipart([b"", number])
        end = b"\xff" * 8  # At once, if the number is far in the future
        assert client.recv_multipart()[2] == (end if first is None else first.to_bytes(8, "big"))
    check_complaints(publisher, 4, "bad replay request: ")
    assert publisher.stop() == 0


def request(request_id="a", **fields):
    names = "request_id prompt_token_ids mm_features sampling_params pooling_params arrival_time"
    names += " lora_request cache_salt data_parallel_rank prompt_embeds prompt_is client_index"
    values = dict.fromkeys(names.split())
    values.update(request_id=request_id, prompt_token_ids=[1], sampling_params={"max_tokens": 1})
    values.update(arrival_time=0.0, client_index=0)
    values.update(fields)
    return pack(list(values.values()))


@pytest.mark.valgrind
def test_engine(start, ipc, peer):
    engine, router, pull, _ = join_engine(start, peer, ipc, step_ms=0)
    messages = [[ADD], [b""], [b"\xff"], [b"", request()], [ADD + ADD, request()]]
    messages += [[kind, request()] for kind in (b"\x04", b"\x05", b"\x80", b"\xff", b"0")]
    messages += [[kind, bad] for kind in (ADD, ABORT, UTILITY) for bad in UNREADABLE]
    messages += [[ADD, bad] for bad in map(pack, (None, 1, {}, [], ["a"] * 8))]
    messages += [[ADD, request(request_id=bad)] for bad in (1, None, "a\0b")]
    messages += [[ADD, request(prompt_token_ids=bad)] for bad in ("x", [-1], [2**32])]
    messages += [[ADD, request(sampling_params=bad)] for bad in ([], {"max_tokens": -1})]
    messages += [[ABORT, pack(bad)] for bad in (1, [1], ["a", None], ["a\0b"])]
    messages += [[UTILITY, pack(bad)] for bad in ([0, 1, "f"], [0, -1, "f", []], [0, 1, 2, []])]
    for message in messages:
        router.send_multipart([ZERO, *message])
    # What vLLM also sends is good: frames of tensors, aborts of what is over, a wave
    router.send_multipart([ZERO, ABORT, pack(["over"])])
    router.send_multipart([ZERO, WAVE, pack([1, 0])])
    router.send_multipart([ZERO, ADD, request("good"), b"tensor", b""])
    ended, error = [], 3
    while not ended or ended[-1][0] != "good":
        engine_index, outputs, *_ = unpack(pull.recv())
        assert engine_index == 0
        ended += [(output[0], output[5]) for output in outputs]
    # Of a bad request whose id can be read, somebody waits for the end
    assert ended == [("a", error)] * (len(ended) - 1) + [("good", 1)] and len(ended) > 5
    check_complaints(engine, len(messages), "bad message: ")
    assert engine.stop() == 0
    assert engine.summary() == f"1 finished, 0 aborted, {len(messages)} bad"


READY = {"max_model_len": 1, "num_gpu_blocks": 1, "block_size": 1}
NO_READY = [
    *UNREADABLE[1:],  # An empty one was good before v0.20
    *(pack(value) for value in (1, [], {}, {**READY, "block_size": -1}, {**READY, "world_size": ""})),
]


def outputs(*each, **fields):
    values = {"engine_index": 0, "outputs": list(each), "stats": None, "timestamp": 0.0}
    values.update(utility=None, finished=None, wave_complete=None, start_wave=None)
    values.update(fields)
    return pack(list(values.values()))


def output(request_id, tokens, reason=None):
    return [request_id, tokens, None, None, None, reason]


NO_OUTPUTS = [
    *UNREADABLE,
    outputs(engine_index=-1),
    outputs(outputs=None),
    outputs(["r0"]),
    outputs(output(0, [])),
    outputs(output("r0", [-1])),
    outputs(output("r0", [1], 5)),
    outputs(timestamp="now"),
    outputs(utility=[1, 2, None]),
    b"ENGINE_CORE_DEAD ",
]


@pytest.fixture
def stage(start, ipc, peer):
    """A front-end for two requests of one token, and how engines of any kind reach it."""

    wire = {"input": ipc(), "output": ipc()}
    frontend = start("mock_frontend", requests=2, max_tokens=1, **wire)

    def dealer(identity=None):
        named = {"routing_id": identity} if identity else {}
        return peer(zmq.DEALER, connect=wire["input"], **named)

    return frontend, dealer, peer(zmq.PUSH, connect=wire["output"])


@pytest.mark.valgrind
def test_front_end(stage):
    frontend, dealer, push = stage
    for number, identity in enumerate([None, b"\1", b"\1\0\0", b"engine", b"x" * 255], 1):
        dealer(identity).send(pack(READY))
        frontend.wait_err(r"^mock_frontend: .*identity has 2 bytes, this has \d+$", nth=number)
    engine = dealer(ZERO)
    registrations = [[bad] for bad in NO_READY] + [[pack(READY), b""], [b"", pack(READY)]]
    for message in registrations:
        engine.send_multipart(message)
    heard = 5 + len(registrations)
    frontend.wait_err(".", nth=heard)
    engine.send(b"")
    frontend.wait_line("^engine 0 registered")
    assert [engine.recv_multipart()[0] for _ in range(2)] == [ADD, ADD]

    bad_outputs = [[bad] for bad in NO_OUTPUTS] + [[b"ENGINE_CORE_DEAD", b""]]
    for message in bad_outputs:
        push.send_multipart(message)
    frontend.wait_err("bad outputs: .", nth=len(bad_outputs))
    strange = ["r2", "r-1", "r00", "r" + "9" * 30, "%s"]
    for request_id in strange:
        push.send(outputs(output(request_id, [1], 1)))
    frontend.wait_err("no open request has the id", nth=len(strange))

    # Good: one that has only what it must, frames of tensors, outputs of nothing, of both at once
    push.send_multipart([pack([])])
    push.send(outputs(utility=[2**64 - 1, None, None]))
    push.send_multipart([outputs(output("r1", [], None)), b"tensor"])
    push.send(pack([0, [["r0", [5]], output("r1", [6], 1)]]))
    push.send(outputs(output("r0", [7], 0)))
    assert frontend.wait() == 0
    assert len(frontend.err) == heard + len(bad_outputs) + len(strange)
    assert "r0 <- engine 0: 2 tokens, stop" in frontend.out
    assert "r1 <- engine 0: 1 token, length" in frontend.out
    assert frontend.summary() == "2 of 2 requests complete, 3 tokens"
    assert all(line.startswith("mock_frontend: ") and line.isprintable() for line in frontend.err)


def test_engine_core_dead(stage):
    frontend, dealer, push = stage
    dealer(ZERO).send(pack(READY))
    frontend.wait_line("^r1 -> engine 0$")
    push.send(outputs(output("r1", [6], 1)))
    push.send(b"ENGINE_CORE_DEAD")
    assert frontend.wait(30) == 1  # Its connection stays: it counts as dead after 10 s
    check_complaints(frontend, 1, "engine 0")
    assert " is dead, 1 request was " in frontend.err[0]
    assert "r0 failed: engine 0 is dead" in frontend.out
    assert frontend.summary() == "1 of 2 requests complete, 1 token"


def test_a_request_that_ends_badly(stage):
    frontend, dealer, push = stage
    dealer(ZERO).send(pack(READY))
    frontend.wait_line("^r1 -> engine 0$")
    push.send(outputs(output("r0", [6], 1), output("r1", [], 3)))
    assert frontend.wait() == 1
    assert "r1 <- engine 0: 0 tokens, error" in frontend.out
    assert frontend.summary() == "1 of 2 requests complete, 1 token"


def test_an_engine_that_registers_and_leaves(stage):
    """It says nothing, but sending to it is an error: the ROUTER is mandatory."""
    frontend, dealer, _ = stage
    with dealer(ZERO) as engine:
        engine.send(pack(READY))
        frontend.wait_line("^engine 0 registered")
        assert engine.recv_multipart()[0] == ADD
    assert frontend.wait() == 1
    assert frontend.summary() == "0 of 2 requests complete, 0 tokens"
    assert " is dead, 2 requests " in frontend.err[0]
