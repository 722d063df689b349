# SPDX-License-Identifier: MIT
"""Writes the inputs that fuzzing starts from: the vectors of vLLM's wire, as each harness wants them.

    python3 tests/tools/fuzz/seeds.py FOLDER      one folder a harness in it, one file an input
"""

import re
import sys
from pathlib import Path

VECTORS = Path(__file__).resolve().parent.parent / "vectors" / "vectors.h"


def vectors():
    text = VECTORS.read_text()
    found = re.findall(r"unsigned char (\w+)\[\] = \{(.*?)\};", text, re.S)
    return {name: bytes(int(byte, 16) for byte in re.findall(r"0x(\w\w)", body)) for name, body in found}


def frames(*each):
    """As fuzz_message reads them."""
    body = b""
    for number, frame in enumerate(each, 1):
        assert len(frame) < 255 or number == len(each)
        body += bytes([min(len(frame), 255)]) + frame
    return body


def chunk(*each):
    body = frames(*each)
    return len(body).to_bytes(2, "big") + body


def call(method, *words):
    """A utility call of front-end 0."""
    args = bytes([0x90 + len(words)]) + b"".join(map(text, words))
    return chunk(b"\3", b"\x94\x00\x01" + text(method) + args)


def text(word):
    return (bytes([0xA0 + len(word)]) if len(word) < 32 else bytes([0xD9, len(word)])) + word.encode()


METHODS = ["sleep", "wake_up", "pause_scheduler", "list_loras", "collective_rpc", "profile"]
METHODS += ["get_supported_tasks", "is_sleeping", "is_scheduler_paused", "reset_prefix_cache"]
METHODS += ["get_kv_cache_group_metadata", "reset_mm_cache", "save_sharded_state"]
STEP = b"\0\0"
SEQ = (7).to_bytes(8, "big")


def seeds():
    """(harness, name, input)"""
    every = vectors()
    kinds = [  # By the order in which engine_core.c has its decoders
        ("REQUEST", 0),
        ("ABORT", 1),
        ("UTILITY", 2),
        ("OUTPUTS", 3),
        ("READY", 4),
        ("HANDSHAKE_HELLO", 5),
        ("HANDSHAKE_READY", 5),
        ("HANDSHAKE_INIT", 6),
    ]
    for name, data in every.items():
        yield "mp", name, data
        yield "lesson_mp", name, data
        if name.startswith("KV_"):
            yield "kv_events", name, data
            yield "messages", "live_" + name, b"\0\0" + frames(b"kv-events", SEQ, data)
            yield "messages", "reply_" + name, b"\1\0" + frames(b"", b"kv-events", SEQ, data)
            yield "messages", "old_reply_" + name, b"\1\0" + frames(b"", SEQ, data)
        for prefix, number in kinds:
            if name.startswith(prefix):
                yield "engine_core", name, bytes([number]) + data
        if name.startswith("HANDSHAKE"):
            yield "messages", name, b"\5\0" + frames(b"\0\0", data)
        if name.startswith("OUTPUTS"):
            yield "messages", name, b"\6\0" + frames(data)
        if name.startswith("READY"):
            yield "messages", name, b"\6\0" + frames(b"\1\0", data)
        yield "messages", "show_" + name, b"\7\0" + frames(b"", data[:254], data)
        if name.startswith("REQUEST"):
            add = chunk(b"\0", data) + 2 * STEP
            yield "toy_engine", name, add + add
            yield "toy_engine", "abort_" + name, add + chunk(b"\1", every["ABORT_TWO"])
        if name.startswith("UTILITY"):
            yield "toy_engine", name, chunk(b"\3", data) + STEP
    add = chunk(b"\0", every["REQUEST_R3"])
    for method in METHODS:
        yield "toy_engine", method, add + call(method) + STEP
    wait = call("pause_scheduler", "wait")
    yield "toy_engine", "pause_wait", add + wait + add + 6 * STEP + call("resume_scheduler") + 6 * STEP
    yield "toy_engine", "pause_doze", add + call("pause_scheduler", "doze") + STEP
    yield "toy_engine", "pause_at_the_end", add + wait + STEP
    yield "toy_engine", "loras", chunk(b"\3", every["UTILITY_ADD_LORA"]) + call("list_loras")
    yield "messages", "replay_request", b"\2\0" + frames(b"client", b"", SEQ)
    yield "messages", "replay_end", b"\1\0" + frames(b"", b"", b"\xff" * 8, b"")
    for number, line in enumerate(
        [
            "--endpoint tcp://127.0.0.1:* --connect tcp://[::1]:5555 --count 7 --flag",
            "--endpoint=ipc:///tmp/x --choice dealer --delay-s 0.5 --topic a --topic=b",
            "--skip 3-7 --from-seq 18446744073709551614 --peer tcp://*:1 --peer ipc://@x",
            "--from-seq live --quiet --text",
            "--curve-dir / --seed 18446744073709551615",
            "--curve-dir=/nowhere",
            "--from-seq 7 --help",
            " ".join(["--topic x"] * 15),
            "--help",
            "--connect inproc://x",
            "--count 1001",
            "--unknown",
        ]
    ):
        yield "options", f"line_{number}", line.replace(" ", "\0").encode()
    for number, run in enumerate(
        [  # live, live, gap, reply, reply, end, cut, joined, restart
            "c1 00 00 00 00 01 00 00 05 00 80 02 00 80 03 00 80 04 00 d0",
            "80 00 00 00 00 01 00 e8 e0 00 05 00 80 05 00 80 04 00 d8 00 00 01 00 01 01",
            "00 00 07 00 00 03 00 ff",
            "84 e0 00 09 01 80 02 01 e8 00 03 02 e0 00 05 02 80 04 02 d0 ff",
            # joined, live 5 and 6, cut, joined, drained, asked for 6: nothing; asked for all: 3, 6
            "81 e0 00 05 80 00 06 80 e8 e0 f0 d0 80 03 81 80 06 80 d0 d0 00 07 00",
        ]
    ):
        yield "kv_sequence", f"run_{number}", bytes.fromhex(run)


if __name__ == "__main__":
    for harness, name, data in seeds():
        folder = Path(sys.argv[1]) / harness
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
