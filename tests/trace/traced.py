# SPDX-License-Identifier: MIT
"""Runs a program under ztrace, and reads what that has written."""

import collections
import json
import subprocess

import pytest

from harness import BUILD, ROOT, WAIT_S, ZTRACE

RAW = BUILD / "tests" / "trace" / "programs" / "raw"
PYTHON = ROOT / ".venv" / "bin" / "python"


def run(*command, options=(), **more):
    """A program that ends by itself, under ztrace, with its stdout and stderr."""
    argv = list(map(str, [ZTRACE, *options, *command]))
    more = {"capture_output": True, "timeout": WAIT_S, "stdin": subprocess.DEVNULL, **more}
    return subprocess.run(argv, text=True, errors="backslashreplace", **more)


def traced(path, *command, told="", options=(), **more):
    """Runs a program that ends well, and prints no more than `told` on stderr, under ztrace. Returns its
    stdout and the messages in `path`."""
    done = run(*command, options=["--json", path, *options], **more)
    assert (done.returncode, done.stderr) == (0, told)
    return done.stdout, messages(path)


def objects(path):
    """The objects of a trace, in the order of time, each checked to be strict JSON and one line."""

    def no_constant(name):
        raise ValueError(name)

    lines = path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    found = [json.loads(line.decode("utf-8"), parse_constant=no_constant) for line in lines]
    return sorted(found, key=lambda each: each["t"])


def messages(path, **wanted):
    """The messages of a trace that have these values."""
    found = [each for each in objects(path) if "dir" in each]
    return [m for m in found if all(m.get(key) == value for key, value in wanted.items())]


def events(path, **wanted):
    found = [each for each in objects(path) if "event" in each]
    return [e for e in found if all(e.get(key) == value for key, value in wanted.items())]


def frames(message):
    return [bytes.fromhex(frame["hex"]) for frame in message["frames"]]


def contents(found):
    """How often each content was there."""
    return collections.Counter(tuple(frames(message)) for message in found)


def compiled(tmp_path, text, *options):
    """A C program or library of this text; skips the test where it cannot be built."""
    source, program = tmp_path / "program.c", tmp_path / "program"
    source.write_text(text)
    built = subprocess.run(["cc", source, "-o", program, *options], capture_output=True)
    if built.returncode != 0:
        pytest.skip(f"cannot be built here: cc {' '.join(options)}")
    return program
