# SPDX-License-Identifier: MIT
"""Messages of vLLM, and what both decoders say of them: trace_labels.py, and ztrace --decode vllm."""

import msgspec

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

#: Type of the socket, frames, what ztrace says; and what an arrow says, if it is something else
MESSAGES = [
    ("DEALER", [b"\x00", REQUEST], "ADD r3, 5 tokens"),
    ("ROUTER", [ENGINE, b"\x00", REQUEST], "ADD r3, 5 tokens", "[01 00] ADD r3, 5 tokens"),
    ("ROUTER", [ENGINE, b"\x00", REQUEST, bytes(10**6)], "ADD r3, 5 tokens", "[01 00] ADD r3, 5 tokens"),
    ("DEALER", [b"\x00", pack(["r", list(range(9000))])], "ADD r, 9000 tokens", "ADD"),
    ("DEALER", [b"\x01", pack(["r0", "r2"])], "ABORT r0 r2"),
    ("DEALER", [b"\x02", pack([0, 1])], "START_DP_WAVE"),
    ("DEALER", [b"\x03", pack([0, 7, "is_sleeping", []])], "UTILITY is_sleeping"),
    ("PUSH", [outputs(output("r3"))], "EngineCoreOutputs r3 +1 token", "r3: +1 token"),
    ("PUSH", [outputs(output("r3", [], 1))], "EngineCoreOutputs r3 length", "r3: length"),
    (
        "PUSH",
        [outputs(output("r0"), output("r2"), output("r4", [1, 2], 0)), b"a tensor"],
        "EngineCoreOutputs r0 +1 token; r2 +1 token; r4 +2 tokens, stop",
        "r0 r2: +1 token; r4: +2 tokens, stop, 8 byt…",
    ),
    (
        "PUSH",
        [outputs(utility=[7, None, [None, False]])],
        "EngineCoreOutputs answer to UTILITY call 7",
        "no output",
    ),
    ("PUSH", [outputs()], "EngineCoreOutputs", "no output"),
    ("PUSH", [b"ENGINE_CORE_DEAD"], "ENGINE_CORE_DEAD"),
    ("DEALER", [pack({"status": "HELLO", "local": False, "headless": True})], "HELLO"),
    ("ROUTER", [ENGINE, pack({"status": "READY"})], "READY", "[01 00] READY"),
    ("DEALER", [pack({"addresses": {"inputs": ["a"]}, "parallel_config": {}})], "INIT", "INIT 1 front-end"),
    ("DEALER", [pack({"max_model_len": 8192, "dtype": "bf16"})], "registration"),
    ("PUB", [b"kv", seq(7), batch("BlockStored")], "seq 7 BlockStored", "seq 7: BlockStored"),
    ("PUB", [b"", seq(8), batch("A", "B")], "seq 8 A, B", "seq 8: A, B"),
    ("PUB", [b"kv", seq(7), pack([1.5, [["C", [1]]]])], "seq 7 C", "seq 7: C"),
    ("PUB", [b"kv", seq(7), batch()], "seq 7 no events", "seq 7: no event"),
    ("REQ", [seq(3)], "replay request from 3", "replay from 3"),
    ("DEALER", [b"", seq(3)], "replay request from 3", "replay from 3"),
    ("ROUTER", [ENGINE, b"", b"kv", seq(3), batch("A")], "seq 3 A", "[01 00] seq 3: A"),
    ("ROUTER", [ENGINE, b"", seq(3), batch("A")], "seq 3 A", "[01 00] seq 3: A"),
    ("ROUTER", [ENGINE, b"", b"", b"\xff" * 8, b""], "end of replay", "[01 00] END"),
    ("PUSH", [pack("ping")], None, "ping"),
    ("PUSH", [pack({"task": 1, "value": 1})], None, "task 1"),
    ("PUSH", [b"hello"], None, "5 bytes"),
    ("PUSH", [b"\x09", b"hello"], None, "1 byte, 5 bytes"),
    ("PUB", [b"topic", b"payload"], None, "5 bytes, 7 bytes"),
    ("PUSH", [pack([0, []])], None, "no output"),
]
