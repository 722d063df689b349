# SPDX-License-Identifier: MIT
"""ztrace: what it says of frames, whatever is in them; and --decode vllm."""

import random
import re
import subprocess

import msgspec
import pytest
import zmq

from traced import PYTHON, WAIT_S, ZTRACE, frames, messages
from vllm_messages import MESSAGES, pack

pytestmark = pytest.mark.skipif(not ZTRACE.exists(), reason="ztrace needs glibc")


# --- What peers send may be anything

SEND_ALL = """
import sys, zmq, msgspec
context = zmq.Context()
for kind, frames in msgspec.msgpack.decode(sys.stdin.buffer.read()):
    socket = context.socket(kind)
    socket.connect(sys.argv[1])  # Nobody is there
    if kind == zmq.DEALER:
        socket.setsockopt(zmq.IDENTITY, b"\\x01\\x00")
    socket.send_multipart(frames)
    socket.close(linger=0)
"""


def send_all(wanted, *options, endpoint):
    """Sends messages, each (socket type, frames), to nobody, under ztrace."""
    given = pack([(int(kind), parts) for kind, parts in wanted])
    argv = list(map(str, [ZTRACE, *options, PYTHON, "-c", SEND_ALL, endpoint]))
    done = subprocess.run(argv, input=given, capture_output=True, timeout=WAIT_S * 3)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_any_bytes_are_valid_json_and_harmless_text(ipc, trace):
    dice = random.Random(13)
    hostile = [
        [b""],
        [b"\xa4\"\\\n\x1b"],
        [b'"}\n{"t":0'],
        [b"\x1b[2J\x9b2J\xc2\x9b2J"],
        [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff\x01", b"\xc9\xff\xff\xff\xff"],
        [b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00"],
        [b"\x91" * 5000, b"\x81\xa1k" * 5000],
        [bytes([byte]) for byte in range(100)],
        [b"x" * 1024, b"x" * 1025, b"\xda\xff\xff" + b"\xe4\xbd\xa0" * 21845],
        [b"\x00", b"\x93"],
        [b"a" * 16383 + b"\xff" + b"a" * 9, b"a" * 16383 + "é".encode() + b"a" * 9],  # Cut there
        [b"\x00" * 8, b"\x92\xcb"],
        *([dice.randbytes(dice.choice([1, 2, 8, 30, 300])) for _ in range(4)] for _ in range(500)),
        *([b"\x00", b"\x94" + dice.randbytes(40)] for _ in range(100)),
        *([b"kv", bytes(8), b"\x93\x01" + dice.randbytes(40)] for _ in range(100)),
        *([b"\x92\x00\x93" + dice.randbytes(60)] for _ in range(100)),
    ]
    wanted = [(zmq.PUSH, message) for message in hostile]
    text = send_all(wanted, "--json", trace, "-o", "/dev/stderr", "--decode", "vllm", endpoint=ipc())
    told = messages(trace)
    assert [len(message["frames"]) for message in told] == [min(64, len(m)) for m in hostile]
    assert [message.get("left_out", 0) for message in told] == [max(0, len(m) - 64) for m in hostile]
    for message, parts in zip(told, hostile):
        assert [frame["size"] for frame in message["frames"]] == [len(each) for each in parts[:64]]
        assert frames(message) == [each[:1024] for each in parts[:64]]
        assert all(len(frame.get("text", "")) <= 2048 for frame in message["frames"])
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]", text)
    text.decode("utf-8")


def shown(frames, endpoint, trace):
    """How ztrace shows each of these frames."""
    send_all([(zmq.PUSH, [data]) for data in frames], "--json", trace, endpoint=endpoint)
    return [message["frames"][0].get("text") for message in messages(trace)]


def test_msgpack_is_shown_as_text(ipc, trace):
    values = [0, -1, 2**63, 1.5, -2.5e-3, 1e300, True, None, "a\nb", b"\x01", [], {}]
    values = [[value, {"k": value}] for value in values]
    told = [text.replace("h'01'", '"AQ=="') for text in shown(map(pack, values), ipc(), trace)]
    encoded = [msgspec.json.encode(value) for value in values]
    assert [msgspec.json.decode(text) for text in told] == [msgspec.json.decode(text) for text in encoded]


def test_what_a_frame_holds(ipc, trace):
    wanted = [
        (b"hello", "hello"),
        (b"hello\n", "hello\\n"),
        (b"C string\0", "C string\\u0000"),
        ("你好 é".encode(), "你好 é"),
        (b"\x00", "0"),
        (b"\xa5hello", '"hello"'),
        (b"\xa5hello!", None),
        (b"\xc4\x03abc", "h'616263'"),
        (b"\xd4\x05\x01", "ext(5,h'01')"),
        (b"\x81\x01\xc2", "{1:false}"),
        (b"\xca\x3f\x80\x00\x00", "1.0"),
        (b"\xc1", None),
        (b"\xff\xfe", None),
    ]
    told = shown([data for data, _ in wanted], ipc(), trace)
    assert list(zip([data for data, _ in wanted], told)) == wanted


# --- --decode vllm


def test_vllm_is_decoded(ipc, trace):
    sent = [(getattr(zmq, kind), parts) for kind, parts, *_ in MESSAGES]
    text = send_all(sent, "--json", trace, "-o", "/dev/stderr", "-d", "vllm", endpoint=ipc()).decode()
    wanted = [(kind, means) for kind, _, means, *_ in MESSAGES]
    assert [(m["socket"], m.get("means")) for m in messages(trace, dir="send")] == wanted
    # An engine has the identity of its DEALER
    lines = re.findall(r"^python 1: (\w+) #\d+ (\(identity 0100\) )?send, \S+, \d+ frames?(?:: (.*))?$", text, re.M)
    assert lines == [
        (kind, "(identity 0100) " if kind == "DEALER" else "", means or "") for kind, means in wanted
    ]
