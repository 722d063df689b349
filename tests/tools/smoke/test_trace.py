# SPDX-License-Identifier: MIT
"""--trace: what every program writes down, and that this is what was on the wire."""

import json
import re
import signal
import time

import msgspec
import pytest
import zmq
from joined import join_engine

from harness import NAMES, WAIT_S
from programs import OPTIONS, Bind, Connect, of_kind


#: The keys of an object that is a message; those behind the bar may be left out
MESSAGE = ["t", "program", "pid", "socket", "peer", "dir", "frames"]
OPTIONAL = {"instance", "endpoint", "identity", "left_out"}


def objects(path):
    """The objects of a trace, each checked to be strict JSON and one line."""

    def no_constant(name):
        raise ValueError(name)

    lines = path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    return [json.loads(line.decode("utf-8"), parse_constant=no_constant) for line in lines]


def messages(path, **wanted):
    """The messages of a trace that have these values."""
    found = [each for each in objects(path) if "dir" in each]
    return [m for m in found if all(m.get(key) == value for key, value in wanted.items())]


def frames(message):
    return [bytes.fromhex(frame["hex"]) for frame in message["frames"]]


def nowhere(name, ipc):
    """Endpoints of its own for a program, so that it never touches the default ones."""
    return {option: ipc() for option in of_kind(name, Bind, Connect)}


@pytest.mark.parametrize("name", NAMES)
def test_every_program_tells_its_life(start, ipc, tmp_path, name):
    path = tmp_path / "trace"
    before = time.monotonic()
    program = start(name, trace=path, **nowhere(name, ipc))
    deadline = time.monotonic() + WAIT_S
    while not (path.exists() and b"\n" in path.read_bytes()):
        assert time.monotonic() < deadline, f"no trace\n{program}"
        time.sleep(0.01)
    # It may be told to stop before it listens to signals: the contract is about the trace here
    program.send_signal(signal.SIGTERM)
    program.wait()
    first, *_ = told = objects(path)
    assert first["life"] == "start"
    assert before < first["t"] < time.monotonic()
    assert {each["program"] for each in told} == {name}
    assert {each["pid"] for each in told} == {program.pid}
    instance = {"mock_engine": "0"}.get(name)
    assert {each.get("instance") for each in told} == {instance}


@pytest.mark.parametrize("name", NAMES)
def test_trace_that_cannot_be_opened(start, ipc, tmp_path, name):
    path = tmp_path / "no folder" / "trace"
    program = start(name, trace=path, **nowhere(name, ipc))
    assert program.wait() == 1
    told = f"{name}: cannot open the trace {path}: No such file or directory"
    assert (program.out, program.err) == ([], [told])
    missing = start(name, "--trace")
    assert missing.wait() == 2
    assert missing.err == [f"{name}: --trace: a value is missing"]


@pytest.mark.valgrind
def test_what_is_traced_is_what_is_sent(start, ipc, peer, tmp_path):
    """Raw sockets are the front-end: they know which bytes there were."""
    path = tmp_path / "trace"
    engine, router, pull, (identity, ready) = join_engine(start, peer, ipc, trace=path, index=256)
    wire = {"input": router.last_endpoint.decode(), "output": pull.last_endpoint.decode()}
    request = msgspec.msgpack.encode(["r0", [1], None, {"max_tokens": 1}, None, 1.5] + [None] * 3)
    router.send_multipart([identity, b"\x00", request])
    outputs = pull.recv()
    engine.wait_line("^r0: 1 token")
    assert engine.stop() == 0

    registered, added = messages(path, endpoint=wire["input"])
    answered = messages(path, endpoint=wire["output"])[0]
    for message in (registered, added, answered):
        assert set(MESSAGE) <= set(message) <= set(MESSAGE) | OPTIONAL
        assert (message["instance"], message["peer"]) == ("256", "front-end")
    assert (registered["dir"], added["dir"], answered["dir"]) == ("send", "recv", "send")
    assert [m["socket"] for m in (registered, added, answered)] == ["DEALER", "DEALER", "PUSH"]
    assert registered["identity"] == added["identity"] == identity.hex() == "0001"
    assert registered["endpoint"] == wire["input"] and answered["endpoint"] == wire["output"]
    assert frames(registered) == [ready]
    assert frames(added) == [b"\x00", request]
    assert frames(answered) == [outputs]
    assert added["frames"][1]["text"] == '["r0",[1],null,{"max_tokens":1},null,1.5,null,null,null]'
    assert [each["size"] for each in added["frames"]] == [1, len(request)]
    times = [each["t"] for each in objects(path)]
    assert times == sorted(times)
    assert re.match(r'{"t":\d+\.\d{6},"program":"mock_engine",', path.read_text())


HOSTILE = [
    [b""],
    [b"\xa4\"\\\n\x1b"],
    [b"\xa4\xff\xfe\xc3\x28"],
    [b"\xa3\xe2\x80\xa8"],
    [b'"}\n{"t":0'],
    [b"\xdd\xff\xff\xff\xff"],
    [b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00"],  # NaN, inf
    [b"\x81\x01\x02"],
    [b"\xc7\x03\x05\x00\xff\x0a"],
    [bytes(range(256))],
    [bytes([byte]) for byte in range(64)],
    [b"x" * 1024, b"x" * 1025, b"\xda\xff\xff" + b"\xe4\xbd\xa0" * 21845],
]


def test_published_batches_are_traced(start, ipc, peer, tmp_path):
    """They go out without a message being made of them, unless somebody wants to see it."""
    path, endpoint = tmp_path / "trace", ipc()
    publisher = start(
        "kv_publisher",
        "--quiet",
        endpoint=endpoint,
        replay_endpoint=ipc(),
        interval_ms=0,
        wait_subscribers=1,
        count=4,
        drop="1-2",
        trace=path,
    )
    sub = peer(zmq.SUB)
    sub.subscribe(b"kv")
    sub.connect(endpoint)
    batches = [sub.recv_multipart() for _ in range(2)]
    assert publisher.wait() == 0
    assert [frames(each) for each in messages(path, dir="recv")] == [[b"\x01kv"]]
    assert [frames(each) for each in messages(path, dir="send")] == batches
    assert [each["note"] for each in objects(path) if "note" in each] == [
        "seq 1 is not published",
        "seq 2 is not published",
    ]


def test_spawned_engines_are_traced_too(start, ipc, tmp_path):
    path = tmp_path / "trace"
    frontend = start(
        "mock_frontend",
        "--spawn",
        requests=1,
        max_tokens=1,
        trace=path,
        **nowhere("mock_frontend", ipc),
    )
    assert frontend.wait() == 0
    assert {each["program"] for each in messages(path)} == {"mock_frontend", "mock_engine"}


def test_no_program_calls_an_option_trace():
    """It is every program's, and would hide another one."""
    assert not [name for name in NAMES if "trace" in OPTIONS[name]]
