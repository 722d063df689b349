# SPDX-License-Identifier: MIT
"""Without a file descriptor a tool says so in one line and exits with 1: it does not abort, and does
not try to accept the same connection again and again."""

import resource
import socket
import subprocess

import pytest

from harness import NAMES, PROGRAMS, UNDER_VALGRIND, WAIT_S
from programs import Bind, of_kind

ANY = "tcp://127.0.0.1:*"
NONE_LEFT = "no file descriptor is left (ulimit -n)"

pytestmark = pytest.mark.skipif(UNDER_VALGRIND, reason="valgrind takes descriptors for itself")


def run(limit, name, *args):
    """Its exit status and its lines on stderr, with so many descriptors."""
    command = ["sh", "-c", 'ulimit -n "$0" && exec "$@"', str(limit), PROGRAMS[name], *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S)
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize("limit", [4, 20])
@pytest.mark.parametrize("name", NAMES)
def test_too_few_to_start(name, limit):
    status, err = run(limit, name)
    assert status == 1
    assert err == [f"{name}: too few file descriptors: 32 more are wanted (ulimit -n)"]


def test_too_few_for_all_sockets():
    """Where CZMQ or libzmq aborts, which may say something of its own before."""
    status, err = run(100, "kv_publisher", "--ranks=256", f"--endpoint={ANY}", f"--replay-endpoint={ANY}")
    assert status == 1
    assert err[-1] == f"kv_publisher: {NONE_LEFT}"


BINDERS = {name: {option: ANY for option in of_kind(name, Bind)} for name in NAMES}
BINDERS = {name: options for name, options in BINDERS.items() if options}
BINDERS["kv_subscriber"] = {"endpoint": ANY, "bind": True}


@pytest.mark.parametrize("name", BINDERS)
def test_strangers_take_them_all(start, name):
    program = start(name, **BINDERS[name])
    end = [program.endpoint(nth) for nth in range(1, sum(at == ANY for at in BINDERS[name].values()) + 1)][0]
    resource.prlimit(program.pid, resource.RLIMIT_NOFILE, (64, 64))
    host, _, port = end[len("tcp://") :].rpartition(":")
    links = []
    for _ in range(100):
        links.append(socket.socket())
        links[-1].setblocking(False)
        links[-1].connect_ex((host, int(port)))
    assert program.wait() == 1
    assert program.err == [f"{name}: {NONE_LEFT}"]
    assert program.summary()
    for link in links:
        link.close()
