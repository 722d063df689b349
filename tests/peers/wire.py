# SPDX-License-Identifier: MIT
"""What the lessons in Python share: how a program starts, and how a message is read.

The programs here are the C lessons again, with pyzmq and msgspec: the same options, the same lines.
Read them side by side.
"""

import re
import signal
import sys
from pathlib import Path
from typing import Annotated

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
