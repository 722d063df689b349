# SPDX-License-Identifier: MIT
"""What the lessons in Python share: how a program starts, and how a message is read.

The programs here are the C lessons again, with pyzmq and msgspec: the same options, the same lines.
Read them side by side.
"""

import re
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Optional, Union

import msgspec
import zmq

PROGRAM = Path(sys.argv[0]).stem


# --- push_pull: maps, so that a reader can ignore a key that it does not know


class Task(msgspec.Struct):
    task: Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
    value: Annotated[int, msgspec.Meta(ge=0, lt=2**32)]


class Result(msgspec.Struct):
    task: Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
    worker: str
    value: Annotated[int, msgspec.Meta(ge=0)]


# --- pub_sub


class TopicSeq(msgspec.Struct):
    seq: Annotated[int, msgspec.Meta(ge=0)]


# --- KV events: the structs of vllm/distributed/kv_events.py at v0.33.0

END_SEQ = (-1).to_bytes(8, "big", signed=True)  # ends a replay
ExternalBlockHash = Union[bytes, int]


class EventBatch(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    ts: float
    events: list[Any]
    data_parallel_rank: Optional[int] = None


class KVCacheEvent(msgspec.Struct, omit_defaults=True, gc=False, tag=True):
    """A map whose first key is "type"."""


class BlockStored(KVCacheEvent):
    block_hashes: list[ExternalBlockHash]
    parent_block_hash: Optional[ExternalBlockHash]
    token_ids: list[int]
    block_size: int
    lora_id: Optional[int]
    medium: Optional[str]
    lora_name: Optional[str]
    extra_keys: Optional[list[Optional[tuple[Any, ...]]]] = None
    group_idx: Optional[int] = None
    kv_cache_spec_kind: Optional[str] = None
    kv_cache_spec_sliding_window: Optional[int] = None
    locality: Optional[str] = None
    ownership: Optional[str] = None
    session_id: Optional[str] = None
    lookahead_token_ids: Optional[list[list[int]]] = None


class BlockRemoved(KVCacheEvent):
    block_hashes: list[ExternalBlockHash]
    medium: Optional[str]
    group_idx: Optional[int] = None
    locality: Optional[str] = None
    ownership: Optional[str] = None


class AllBlocksCleared(KVCacheEvent):
    pass


class KVEventBatch(EventBatch):
    events: list[Union[BlockStored, BlockRemoved, AllBlocksCleared]]


def toy_batch(n):
    """A made-up batch: one block is stored, and in every fifth batch an old one removed."""
    tokens = [(n * 16 + i) % 32000 for i in range(16)]
    stored = BlockStored([_hash(n)], _hash(n - 1) if n else None, tokens, 16, None, "GPU", None)
    stored.extra_keys, stored.group_idx, stored.kv_cache_spec_kind = [None], 0, "full_attention"
    removed = [BlockRemoved([_hash(n // 5)], "GPU", 0)] if n % 5 == 4 else []
    return KVEventBatch(time.time(), [stored, *removed], 0)


def _hash(block):
    return (block + 1) * 0x9E3779B97F4A7C15 % 2**64


def describe(batch):
    """For people: "BlockStored 1 block 16 tokens, BlockRemoved 1 block"."""
    words = []
    for event in batch.events:
        word = event.__struct_config__.tag
        if hasattr(event, "block_hashes"):
            word += " " + some(len(event.block_hashes), "block")
        if hasattr(event, "token_ids"):
            word += " " + some(len(event.token_ids), "token")
        words.append(word)
    return ", ".join(words) or "no events"


def as_seq(number):
    return number.to_bytes(8, "big")


def read_seq(frames):
    """[topic][seq][payload], or without the topic as before v0.26 -> seq, payload."""
    if len(frames) not in (2, 3) or len(frames[-2]) != 8:
        raise ValueError("not [topic][seq][batch]")
    return int.from_bytes(frames[-2], "big"), frames[-1]


# --- all programs


def start(parser):
    """The options. From now on SIGTERM, like Ctrl-C, raises KeyboardInterrupt."""
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    return args


def complain(what):
    print(f"{PROGRAM}: {what}", file=sys.stderr)


def bind(socket, endpoint):
    """Binds and says where, or ends the program."""
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        complain(f"cannot listen on {endpoint}: {error.strerror}")
        sys.exit(1)
    print(f"{PROGRAM}: listening on {socket.getsockopt_string(zmq.LAST_ENDPOINT)}")


def pack(value):
    return msgspec.msgpack.encode(value)


def read(frames, kind):
    """The value of this type in a message of one frame; ValueError for anything else."""
    if len(frames) != 1:
        raise ValueError(f"{len(frames)} frames, not 1")
    try:
        return msgspec.msgpack.decode(frames[0], type=kind)
    except RecursionError:
        raise ValueError("too many arrays and maps in each other") from None


def printable(text):
    """Without control characters, which can move the cursor of a terminal."""
    return re.sub("[\x00-\x1f\x7f-\x9f]", "?", text)


def some(number, noun):
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
