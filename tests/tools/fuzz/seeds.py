# SPDX-License-Identifier: MIT
"""The inputs that fuzzing starts from. Seeds: vLLM's vectors, and inputs of other harnesses, as each
harness wants them. The committed corpus: what else has been found, one input a line in hex.

    .venv/bin/python tests/tools/fuzz/seeds.py unpack HARNESS FOLDER   into FOLDER/seeds and FOLDER/corpus
    .venv/bin/python tests/tools/fuzz/seeds.py pack HARNESS FOLDER     FOLDER/least, but for the seeds,
                                                                       is the corpus from now on
"""

import hashlib
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TESTS / "tools" / "vectors"))

from make_vectors import vectors  # noqa: E402

STEP = b"\0\0"
SEQ = (7).to_bytes(8, "big")
#: The first byte of an input of engine_core: which of its decoders it is for
ENGINE_CORE = {"REQUEST": 0, "ABORT": 1, "UTILITY": 2, "OUTPUTS": 3, "READY": 4}
ENGINE_CORE |= {"HANDSHAKE_HELLO": 5, "HANDSHAKE_READY": 5, "HANDSHAKE_INIT": 6}


def corpus_file(harness):
    (source,) = TESTS.glob(f"*/fuzz/{harness}.c")
    return source.parent / "corpus" / f"{harness}.hex"


def corpus(harness):
    return [bytes.fromhex(line) for line in corpus_file(harness).read_text().splitlines()]


def frames(*each):
    """As fuzz_message reads them."""
    body = b"".join(bytes([min(len(frame), 254)]) + frame[:254] for frame in each[:-1])
    return body + bytes([min(len(each[-1]), 255)]) + each[-1]


def chunk(*each):
    """As toy_engine.c reads messages."""
    body = frames(*each)
    return len(body).to_bytes(2, "big") + body


def traced(kind, *each):
    """As ztrace.c reads frames: of fewer than 240 bytes, or of some times 256."""
    body = bytes([kind])
    for frame in each:
        kept = len(frame) if len(frame) < 0xF0 else len(frame) // 256 * 256
        body += bytes([kept if kept < 0xF0 else 0xEF + kept // 256, 0]) + frame[:kept]
    return body


def seeds():
    """(harness, input)"""
    every = vectors()
    batches, payloads = corpus("kv_events"), corpus("engine_core")
    for name, data in every.items():
        if name.startswith("KV_"):
            batches.append(data)
            yield "kv_events", data
        for prefix, number in ENGINE_CORE.items():
            if name.startswith(prefix):
                payloads.append(bytes([number]) + data)
                yield "engine_core", payloads[-1]
    for data in batches:
        yield "messages", b"\0" + frames(b"kv-events", SEQ, data)
        yield "messages", b"\1" + frames(b"", b"kv-events", SEQ, data)
        yield "messages", b"\1" + frames(b"", SEQ, data)
        yield "ztrace", traced(2, b"kv-events", SEQ, data)
    for number, data in ((each[0] % 7, each[1:]) for each in payloads):
        if number == ENGINE_CORE["REQUEST"]:
            add = chunk(b"\0", data) + 2 * STEP
            yield "toy_engine", add + add
            yield "toy_engine", add + chunk(b"\1", every["ABORT_TWO"])
        elif number == ENGINE_CORE["UTILITY"]:
            yield "toy_engine", chunk(b"\3", data) + STEP
        elif number == ENGINE_CORE["OUTPUTS"]:
            yield "messages", b"\4" + frames(data)
        elif number == ENGINE_CORE["READY"]:
            yield "messages", b"\4" + frames(b"\1\0", data)
        elif number >= ENGINE_CORE["HANDSHAKE_HELLO"]:
            yield "messages", b"\3" + frames(b"\0\0", data)
        yield "ztrace", traced(5, b"\0\0", bytes([number]), data)
    for data in [*every.values(), *batches, *(each[1:] for each in payloads)]:
        yield "mp", data
        yield "lesson_mp", data
        yield "ztrace", traced(8, data)


def seeds_of(harness):
    return {data for name, data in seeds() if name == harness}


def unpack(harness, folder):
    for name, inputs in (("seeds", seeds_of(harness)), ("corpus", corpus(harness))):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for data in inputs:
            (folder / name / hashlib.sha1(data).hexdigest()).write_bytes(data)


def pack(harness, folder):
    inputs = {path.read_bytes() for path in (folder / "least").iterdir()} - seeds_of(harness)
    lines = [data.hex() + "\n" for data in sorted(inputs, key=lambda data: (len(data), data))]
    corpus_file(harness).write_text("".join(lines))


if __name__ == "__main__":
    {"unpack": unpack, "pack": pack}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
