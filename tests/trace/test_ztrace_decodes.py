# SPDX-License-Identifier: MIT
"""ztrace: what it says of frames, whatever is in them; and --decode vllm."""

import random
import re
import subprocess

import msgspec
import pytest
import zmq

from traced import PYTHON, WAIT_S, ZTRACE, frames, messages

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
    given = msgspec.msgpack.encode([(int(kind), parts) for kind, parts in wanted])
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


@pytest.mark.parametrize("value", [0, -1, 2**63, 1.5, -2.5e-3, 1e300, True, None, "a\nb", b"\x01", [], {}])
def test_msgpack_is_shown_as_text(value, ipc, trace):
    send_all([(zmq.PUSH, [msgspec.msgpack.encode([value, {"k": value}])])], "--json", trace, endpoint=ipc())
    (message,) = messages(trace)
    shown = message["frames"][0]["text"].replace("h'01'", '"AQ=="')
    assert msgspec.json.decode(shown) == msgspec.json.decode(msgspec.json.encode([value, {"k": value}]))


@pytest.mark.parametrize(
    "data, text",
    [
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
    ],
)
def test_what_a_frame_holds(data, text, ipc, trace):
    send_all([(zmq.PUSH, [data])], "--json", trace, endpoint=ipc())
    (message,) = messages(trace)
    assert message["frames"][0].get("text") == text


# --- --decode vllm

pack = msgspec.msgpack.encode
ENGINE = b"\x01\x00"


def output(name, tokens=(7,), reason=None):
    return [name, list(tokens), None, None, None, reason, *[None] * 13]


def outputs(*of, utility=None):
    return pack([0, of, None, 1.5, utility, None, None, None, None])


def seq(number):
    return number.to_bytes(8, "big")


def batch(*tags):
    return pack([1.5, [{"type": tag, "block_hashes": [2**64 - 1]} for tag in tags], 0])


REQUEST = pack(["r3", [1, 2, 3, 4, 5], None, {"max_tokens": 4}, *[None] * 18])


@pytest.mark.parametrize(
    "kind, parts, means",
    [
        (zmq.DEALER, [b"\x00", REQUEST], "ADD r3, 5 tokens"),
        (zmq.ROUTER, [ENGINE, b"\x00", REQUEST], "ADD r3, 5 tokens"),
        (zmq.ROUTER, [ENGINE, b"\x00", REQUEST, bytes(10**6)], "ADD r3, 5 tokens"),
        (zmq.ROUTER, [ENGINE, b"\x00", pack(["r", list(range(9000))])], "ADD r, 9000 tokens"),
        (zmq.DEALER, [b"\x01", pack(["r0", "r2"])], "ABORT r0 r2"),
        (zmq.DEALER, [b"\x02", pack([0, 1])], "START_DP_WAVE"),
        (zmq.DEALER, [b"\x03", pack([0, 7, "is_sleeping", []])], "UTILITY is_sleeping"),
        (zmq.PUSH, [outputs(output("r3"))], "EngineCoreOutputs r3 +1 token"),
        (zmq.PUSH, [outputs(output("r3", [], 1))], "EngineCoreOutputs r3 length"),
        (
            zmq.PUSH,
            [outputs(output("r0"), output("r2", [1, 2], 0)), b"a tensor"],
            "EngineCoreOutputs r0 +1 token; r2 +2 tokens, stop",
        ),
        (zmq.PUSH, [outputs(utility=[7, None, [None, False]])], "EngineCoreOutputs answer to UTILITY call 7"),
        (zmq.PUSH, [outputs()], "EngineCoreOutputs"),
        (zmq.PUSH, [b"ENGINE_CORE_DEAD"], "ENGINE_CORE_DEAD"),
        (zmq.DEALER, [pack({"status": "HELLO", "local": False, "headless": True})], "HELLO"),
        (zmq.ROUTER, [ENGINE, pack({"status": "READY"})], "READY"),
        (zmq.ROUTER, [ENGINE, pack({"addresses": {"inputs": ["a"]}, "parallel_config": {}})], "INIT"),
        (zmq.DEALER, [pack({"max_model_len": 8192, "dtype": "bf16"})], "registration"),
        (zmq.PUB, [b"kv", seq(7), batch("BlockStored")], "seq 7 BlockStored"),
        (zmq.PUB, [b"", seq(8), batch("BlockStored", "BlockRemoved")], "seq 8 BlockStored, BlockRemoved"),
        (zmq.PUB, [b"kv", seq(7), pack([1.5, [["BlockRemoved", [1]]]])], "seq 7 BlockRemoved"),
        (zmq.PUB, [b"kv", seq(7), batch()], "seq 7 no events"),
        (zmq.REQ, [seq(3)], "replay request from 3"),
        (zmq.DEALER, [b"", seq(3)], "replay request from 3"),
        (zmq.ROUTER, [ENGINE, b"", b"kv", seq(3), batch("AllBlocksCleared")], "seq 3 AllBlocksCleared"),
        (zmq.ROUTER, [ENGINE, b"", seq(3), batch("BlockStored")], "seq 3 BlockStored"),
        (zmq.ROUTER, [ENGINE, b"", b"", b"\xff" * 8, b""], "end of replay"),
        (zmq.PUSH, [pack("ping")], None),
        (zmq.PUSH, [pack({"task": 1, "value": 1})], None),
        (zmq.PUSH, [b"hello"], None),
        (zmq.PUSH, [b"\x09", b"hello"], None),
        (zmq.PUB, [b"topic", b"payload"], None),
        (zmq.PUSH, [pack([0, []])], None),
    ],
)
def test_vllm_is_decoded(kind, parts, means, ipc, trace):
    text = send_all([(kind, parts)], "--json", trace, "-o", "/dev/stderr", "-d", "vllm", endpoint=ipc())
    (message,) = messages(trace, dir="send")
    assert message.get("means") == means
    if kind == zmq.DEALER:
        assert text.startswith(b"python 1: DEALER #1 (identity 0100)") or b"\npython 1: DEALER" in text
    if means:
        assert f"frames: {means}\n" in text.decode() or f"frame: {means}\n" in text.decode()
