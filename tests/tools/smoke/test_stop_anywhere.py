# SPDX-License-Identifier: MIT
"""Each tool ends within a second of a signal, also where it cannot look at it: before it has begun,
within bind and connect, while nobody reads its stdout, under a flood, with a child that is stopped.
"""

import contextlib
import fcntl
import os
import signal
import struct
import subprocess
import termios
import threading
import time
from pathlib import Path

import pytest
import zmq
import zmtp
from joined import join_engine

from harness import FACTOR, NAMES, PROGRAMS, STOP_S, UNDER_VALGRIND, WAIT_S, arguments
from programs import Bind, Connect, endpoints, of_kind

ENDLESS = 1000000
FORCED = 3  # STOP_FORCED of tools/lib/stop.h
#: How long beyond the second of the contract: the program has STOP_FORCED_MS for an orderly end
LATER_S = 0.5 * FACTOR

pytestmark = pytest.mark.skipif(UNDER_VALGRIND, reason="too slow under valgrind")


@pytest.fixture
def run():
    """Starts a process; what is left of it after a test is killed."""
    started = []

    def run(name, *args, **kwargs):
        command = [PROGRAMS[name], *map(str, args)]
        started.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, **kwargs))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
@pytest.mark.parametrize("name", NAMES)
def test_in_the_first_milliseconds(run, ipc, name, number):
    """At 60 moments of its start. Before it handles signals it is ended by one, as any program."""
    for moment in range(60):
        ends = arguments(endpoints(name, ipc))
        process = run(name, *ends, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(moment * 0.0004 * FACTOR)
        process.send_signal(number)
        _, err = process.communicate(timeout=STOP_S["c"])
        assert process.returncode in (0, 1, -number), err
        assert err == b"" and not (process.returncode == 1 and name != "mock_frontend")


INTERRUPTED = """
#include <errno.h>
#include <signal.h>
int CALL (void *socket, const char *endpoint)
{
    (void) socket, (void) endpoint;
    raise (SIGINT);
    errno = EINTR;
    return -1;
}
"""


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """Libraries in which a signal comes within a call, and libzmq gives up with EINTR."""
    folder = tmp_path_factory.mktemp("interrupted")

    def library(call):
        path = folder / f"{call}.so"
        if not path.exists():
            compiler = [os.environ.get("CC", "cc"), "-shared", "-fPIC", f"-DCALL={call}", "-xc", "-", "-o", path]
            subprocess.run(compiler, input=INTERRUPTED, text=True, check=True, timeout=WAIT_S)
        return path

    return library


CALLS = [(name, "zmq_bind") for name in NAMES if of_kind(name, Bind)]
CALLS += [(name, "zmq_connect") for name in NAMES if of_kind(name, Connect)]


@pytest.mark.skipif(FACTOR > 1, reason="a sanitizer wants to be the first library")
@pytest.mark.parametrize("name, call", CALLS + [("kv_subscriber --bind", "zmq_bind")])
def test_within_bind_and_connect(run, ipc, interrupted, name, call):
    name, *more = name.split()
    environment = {**os.environ, "LD_PRELOAD": str(interrupted(call))}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = run(name, *more, *arguments(endpoints(name, ipc)), env=environment, **pipes)
    _, err = process.communicate(timeout=STOP_S["c"] + LATER_S)
    assert (process.returncode, err) == (int(name == "mock_frontend"), b"")


def wait_full(reader):
    """Until a pipe of 64 KiB takes no more."""
    deadline, before, now = time.monotonic() + WAIT_S, -1, 0
    while now < 60000 or now != before:
        assert time.monotonic() < deadline, f"{now} bytes in the pipe"
        before = now
        time.sleep(0.05)
        now = struct.unpack("i", fcntl.ioctl(reader, termios.FIONREAD, bytes(4)))[0]


#: A tool that prints, its options, and who gives it reason to
TALKERS = {
    "kv_publisher": ({"interval_ms": 0}, None, {}),
    "kv_subscriber": ({}, "kv_publisher", {"interval_ms": 0, "quiet": True}),
    "mock_engine": ({"log_requests": True}, "mock_frontend", {"requests": 100000, "quiet": True}),
    "mock_frontend": ({"requests": 100000}, "mock_engine", {"quiet": True}),
}


@pytest.mark.parametrize("which", ["stdout", "both"])
@pytest.mark.parametrize("name", NAMES)
def test_while_nobody_reads(start, run, ipc, name, which):
    """Then an end by force is right: there may be no other."""
    options, other, others = TALKERS[name]
    ends = {option: ipc() for option in ("endpoint", "replay-endpoint", "handshake", "input", "output")}

    def placed(tool):
        wanted = of_kind(tool, Bind, Connect)
        return {option: end for option, end in ends.items() if option in wanted}

    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 65536)
    err = writer if which == "both" else subprocess.PIPE
    process = run(name, *arguments({**options, **placed(name)}), stdout=writer, stderr=err)
    os.close(writer)
    if other:
        start(other, **others, **placed(other))
    wait_full(reader)
    process.send_signal(signal.SIGINT)
    process.wait(STOP_S["c"] + LATER_S)
    assert process.returncode in (0, 1, FORCED)
    if which == "stdout" and process.returncode != FORCED:
        told = process.stderr.read().decode()
        assert told.endswith(f"{name}: stdout: not all was taken, lines are missing\n")
    os.close(reader)
    for each in start.programs:
        each.kill()


@contextlib.contextmanager
def flooded_engine(start, peer, ipc):
    engine, router, _, _ = join_engine(start, peer, ipc)
    over = threading.Event()

    def send():
        with contextlib.suppress(zmq.ZMQError):  # It has ended
            while not over.is_set():
                router.send_multipart([b"\0\0", b"\xff", b"rubbish"])

    stranger = threading.Thread(target=send)
    stranger.start()
    yield engine
    over.set()
    stranger.join()


@contextlib.contextmanager
def flooded(start, peer, ipc, name):
    """A tool that somebody floods."""
    at = "tcp://127.0.0.1:*"
    if name == "kv_publisher":
        program, nth = start(name, "--quiet", endpoint=at, replay_endpoint=at, interval_ms=0), 2
        kind, frames = b"DEALER", (b"", bytes(8))
    elif name == "kv_subscriber":
        program, nth = start(name, "--quiet", "--bind", endpoint=at), 1
        kind, frames = b"PUB", (b"t", bytes(8), b"\xc0")
    else:
        program, nth = start(name, input=at, output=at), 2
        engine = peer(zmq.DEALER, routing_id=b"\0\0", connect=program.endpoint(1))
        engine.send(b"")
        program.wait_line("^r9 -> engine 0$")
        kind, frames = b"PUSH", (b"rubbish",)
    with zmtp.flooded(program.endpoint(nth), kind, *frames):
        yield program


def ticks(pid):
    """The time that it has computed."""
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))


@pytest.mark.parametrize("name", NAMES)
def test_under_a_flood(start, peer, ipc, name):
    engine = name == "mock_engine"
    flood = flooded_engine(start, peer, ipc) if engine else flooded(start, peer, ipc, name)
    with flood as program:
        begun, deadline = ticks(program.pid), time.monotonic() + WAIT_S
        while ticks(program.pid) < begun + 30:  # 0.3 s: it is at it
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert program.stop(signal.SIGINT) == (name == "mock_frontend")
        assert program.summary()


@pytest.mark.parametrize("when", ["in the handshake", "in mid-stream"])
def test_with_a_child_that_is_stopped(start, ipc, when):
    """It cannot end by SIGTERM. An orderly end all the same, and nothing is left behind."""
    engines = 1 if when == "in mid-stream" else 2
    wire = {"handshake": ipc(), "input": ipc(), "output": ipc()}
    program = start("mock_frontend", "--spawn", engines=engines, max_tokens=ENDLESS, **wire)
    children = Path(f"/proc/{program.pid}/task/{program.pid}/children")
    deadline = time.monotonic() + WAIT_S
    while len(children.read_text().split()) < engines:
        assert time.monotonic() < deadline
    pids = [int(pid) for pid in children.read_text().split()]
    while Path(f"/proc/{pids[-1]}/comm").read_text() != "mock_engine\n":
        assert time.monotonic() < deadline  # Until then its parent waits for it: posix_spawn
    if when == "in mid-stream":
        program.wait_line("^r9 -> engine 0$")
    os.kill(pids[-1], signal.SIGSTOP)
    assert program.stop(signal.SIGINT) == 1
    # An engine that ended by itself may have had the last line: it has the same stdout
    assert program.lines("^mock_frontend: 0 of 10 requests complete")
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
