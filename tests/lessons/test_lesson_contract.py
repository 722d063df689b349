# SPDX-License-Identifier: MIT
"""The contract of every lesson: its command line, and how it ends after Ctrl-C."""

import array
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import termios
import time

import msgspec
import pytest
import zmq
from harness import PROGRAMS, ROOT, WAIT_S

ANY = "tcp://127.0.0.1:*"
CLIENT = {"endpoint": "tcp://127.0.0.1:5555", "message": "ping"}
PATIENT = {**CLIENT, "timeout-ms": 1000, "retries": 5}
LIVE = {"endpoint": "tcp://127.0.0.1:5557", "replay-endpoint": "tcp://127.0.0.1:5657"}
SKIPPING = {**LIVE, "topic": "kv-events", "skip": None, "count": 0}
WIRE = {"input": "tcp://127.0.0.1:5570", "output": "tcp://127.0.0.1:5571"}
HANDSHAKE = {"handshake": "tcp://127.0.0.1:29550"}
SEVERAL = {**WIRE, "engines": 2, "requests": 10, "max-tokens": 4}

#: The options and their defaults; None: a range, which has none
LESSONS = {
    "req_rep": {
        "basic_server": {"endpoint": "tcp://127.0.0.1:5555", "count": 0},
        "basic_client": {**CLIENT, "count": 1},
        "slow_server": {
            "endpoint": "tcp://127.0.0.1:5555",
            "delay-s": 1.5,
            "delay-first-n": 2,
            "count": 0,
        },
        "timeout_retry_client": PATIENT,
        "poller_client": PATIENT,
        "secure_server": {"endpoint": "tcp://127.0.0.1:5555", "keys": "keys", "count": 0},
        "secure_client": {**CLIENT, "keys": "keys", "count": 1},
    },
    "push_pull": {
        "ventilator": {
            "endpoint": "tcp://127.0.0.1:5560",
            "sink": "tcp://127.0.0.1:5561",
            "count": 100,
            "workers": 1,
        },
        "worker": {
            "source": "tcp://127.0.0.1:5560",
            "sink": "tcp://127.0.0.1:5561",
            "name": re.compile(r"worker-\d+"),
            "work-ms": 0,
            "count": 0,
        },
        "sink": {"endpoint": "tcp://127.0.0.1:5561", "count": 100},
    },
    "pub_sub": {
        "topic_publisher": {
            "endpoint": "tcp://127.0.0.1:5556",
            "topics": "a,b",
            "interval-ms": 200,
            "wait-subscribers": 0,
            "count": 0,
        },
        "topic_subscriber": {"endpoint": "tcp://127.0.0.1:5556", "topic": '""', "count": 0},
        "replay_publisher": {
            **LIVE,
            "topic": "kv-events",
            "interval-ms": 200,
            "buffer-steps": 10000,
            "count": 0,
        },
        "replay_subscriber": SKIPPING,
        "replay_dealer_subscriber": SKIPPING,
    },
    "router_dealer": {
        "engine": {"index": 0, **WIRE, "step-ms": 10, "count": 0},
        "frontend": {**WIRE, "requests": 3, "max-tokens": 4},
        "poller_frontend": {**WIRE, "requests": 3, "max-tokens": 4},
        "round_robin_frontend": SEVERAL,
        "failover_frontend": SEVERAL,
        "handshake_frontend": {**HANDSHAKE, **SEVERAL, "engines": 1},
        "handshake_engine": {**HANDSHAKE, "index": 0, "step-ms": 10},
    },
}
OPTIONS = {
    name: options
    for room, programs in LESSONS.items()
    for name, options in programs.items()
}
PAIRS = [(name, option) for name, options in OPTIONS.items() for option in options]
BINDS = {
    **{name: ["endpoint"] for name in ("basic_server", "slow_server", "secure_server")},
    **{name: ["endpoint"] for name in ("ventilator", "sink", "topic_publisher")},
    "replay_publisher": ["endpoint", "replay-endpoint"],
    **{name: ["input", "output"] for name in ("frontend", "poller_frontend")},
    **{name: ["input", "output"] for name in ("round_robin_frontend", "failover_frontend")},
    "handshake_frontend": ["handshake", "input", "output"],
}


def test_every_lesson_is_in_the_table():
    lessons = {
        f"{path.parent.name}/{name}" for name, path in PROGRAMS.items() if path.parent.name in LESSONS
    }
    told = {f"{room}/{name}" for room, programs in LESSONS.items() for name in programs}
    assert lessons == told


@pytest.mark.parametrize("name", OPTIONS)
def test_help(start, name):
    program = start(name, "--help")
    assert (program.wait(), program.err) == (0, [])
    assert re.match(rf"{name} - \w", program.out[0]) and program.out[1] == ""
    shown = {line.split()[0][2:]: line for line in program.out[2:]}
    assert sorted(shown) == sorted([*OPTIONS[name], "help"])
    for option, default in OPTIONS[name].items():
        pattern = default.pattern if hasattr(default, "pattern") else re.escape(str(default))
        ending = "" if default is None else rf" \(default {pattern}\)"
        assert re.fullmatch(rf"  --{option} +\S.*{ending}", shown[option]), shown[option]
    assert all(len(line) <= 100 for line in program.out)


def check_wrong(program, names):
    assert (program.wait(), program.out, len(program.err)) == (2, [], 1), str(program)
    assert program.err[0].startswith(f"{program.name}: ") and names in program.err[0], str(program)


@pytest.mark.parametrize("name", OPTIONS)
def test_wrong_options(start, name):
    for arg in ("extra", "--no-such-option", "--no-such-option=1", "-q", "-", ""):
        check_wrong(start(name, arg), arg.split("=")[0].lstrip("-"))
    for option in OPTIONS[name]:
        check_wrong(start(name, f"--{option}"), option)


@pytest.mark.parametrize("name, option", PAIRS)
def test_wrong_values(start, name, option):
    default = OPTIONS[name][option]
    wrong = []
    if isinstance(default, (int, float)):
        wrong = ["", "x", "-1", "+1", " 1", "1x", "1e3", "0x1", "nan", "9" * 30]
        wrong += ["1.5"] if isinstance(default, int) else ["1.2.3", "."]
    elif default is None:
        wrong = ["", "3", "3-", "-6", "6-3", "a-b", "3-6-9", "3..6"]
    for value in wrong:
        check_wrong(start(name, f"--{option}={value}"), f"--{option}")


@pytest.mark.parametrize("name, option", [(n, o) for n in OPTIONS for o in BINDS.get(n, [])])
def test_port_in_use(start, ipc, keys, name, option):
    options = {other: ipc() for other, default in OPTIONS[name].items() if "://" in str(default)}
    options.update({"keys": keys} if "keys" in OPTIONS[name] else {})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        program = start(name, **{**options, option: endpoint})
        assert program.wait() == 1
    assert program.err == [f"{name}: cannot listen on {endpoint}: Address already in use"]


@pytest.mark.parametrize("name", BINDS)
def test_wildcards_are_resolved(start, ipc, keys, name):
    if name not in OPTIONS:
        return
    options = {other: ipc() for other, default in OPTIONS[name].items() if "://" in str(default)}
    options.update({option: ANY for option in BINDS[name]})
    options.update({"keys": keys} if "keys" in OPTIONS[name] else {})
    program = start(name, **options)
    for nth in range(1, len(BINDS[name]) + 1):
        endpoint = program.endpoint(nth)
        assert re.fullmatch(r"tcp://127\.0\.0\.1:[1-9]\d*", endpoint)
    assert program.stop() in (0, 1)  # 1: a client, or a front-end without its answers


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_at_once(start, ipc, keys, name, number):
    """Without a peer. Three times, because the signal may come at any moment of the start. During a bind
    or connect it makes the call fail, and the program says so."""
    for _ in range(3):
        ends = {other: ipc() for other, default in OPTIONS[name].items() if "://" in str(default)}
        program = start(name, **ends, **({"keys": keys} if "keys" in OPTIONS[name] else {}))
        program.wait_ready_for_signals()
        status = program.stop(number)
        if any(line.endswith(": Interrupted system call") for line in program.err):
            cannot = re.compile(rf"{name}: cannot (listen on|connect to) \S+: Interrupted system call")
            assert status == 1 and len(program.err) == 1 and cannot.fullmatch(program.err[0])
        else:
            assert status == (name.endswith(("client", "frontend"))) and not program.err


def test_python_sees_a_signal_that_came_just_before_it_waits():
    """Another thread takes SIGTERM here, so that it interrupts nothing, as when it comes a moment before
    recv waits."""
    code = """
import argparse, os, signal, threading, wire, zmq
wire.start(argparse.ArgumentParser())
threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
pull = zmq.Context.instance().socket(zmq.PULL)
pull.bind("inproc://nobody")
try:
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    pull.recv()
except KeyboardInterrupt:
    print("stopped")
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT / "tests/peers", stdout=subprocess.PIPE, timeout=WAIT_S)
    assert done.stdout == b"stopped\n"


def in_pipe(pipe):
    """The number of bytes that wait in the pipe."""
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


def test_second_ctrl_c_ends_a_program_that_nobody_reads(ipc, peer):
    """stdout is a pipe that is full. The first Ctrl-C cannot end the program while it has lines to
    print; the second one does."""
    endpoint = ipc()
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    command = [PROGRAMS["sink"], "--endpoint", endpoint, "--count", "0"]
    with subprocess.Popen(command, stdout=writer, stderr=subprocess.DEVNULL) as sink:
        try:
            os.close(writer)
            push = peer(zmq.PUSH, connect=endpoint, sndhwm=0)
            for n in range(1000):  # A line for each worker at the end, too
                push.send(msgspec.msgpack.encode({"task": n, "worker": f"w{n}", "value": n}))
            deadline = time.monotonic() + WAIT_S
            while in_pipe(reader) < 4096 - 40:  # Until the next line does not fit
                assert time.monotonic() < deadline and sink.poll() is None
            sink.send_signal(signal.SIGINT)
            with pytest.raises(subprocess.TimeoutExpired):
                sink.wait(0.5)  # It prints on
            sink.send_signal(signal.SIGINT)
            assert sink.wait(1) == -signal.SIGINT
        finally:
            os.close(reader)
            sink.kill()


def test_no_lesson_sees_the_tools():
    """A lesson includes only headers of common/ and of its own folder."""
    for path in [*ROOT.glob("common/*.h"), *(p for room in LESSONS for p in ROOT.glob(f"{room}/*.[ch]"))]:
        for header in re.findall(r'#include "(.*)"', path.read_text("utf-8")):
            assert "/" not in header, path
            assert any((ROOT / room / header).exists() for room in ("common", path.parent.name)), path
