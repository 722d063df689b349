# SPDX-License-Identifier: MIT
"""If a program cannot write its stdout any more, it says so on stderr and ends."""

import os
import signal
import subprocess

import pytest

from harness import NAMES, PROGRAMS, TRAPS, UNDER_VALGRIND, WAIT_S, arguments
from programs import endpoints

TOLD = "stdout: not all was taken, lines are missing"

pytestmark = pytest.mark.skipif(UNDER_VALGRIND, reason="starts the programs itself")


def run(name, *args, **more):
    """Runs a program with a given stdout. Returns its exit status and its stderr."""
    done = subprocess.run(
        [PROGRAMS[name], *args], stderr=subprocess.PIPE, text=True, timeout=WAIT_S, **more
    )
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize("name", [*NAMES, TRAPS[0]])
def test_a_disk_that_is_full(name, ipc):
    """Its first line is not taken; those that wait for others do not wait any more."""
    args = arguments(endpoints(name, ipc)) if name in NAMES else []
    with open("/dev/full", "w", encoding="utf-8") as full:
        status, told = run(name, *args, stdout=full)
    assert (status, told[-1]) == (1, f"{name}: {TOLD}")


@pytest.fixture
def batches(start, ipc):
    """A publisher; the arguments of a kv_subscriber that follows it."""
    ends = {"endpoint": ipc(), "replay_endpoint": ipc()}
    publisher = start("kv_publisher", "--quiet", interval_ms=1, blocks=8, **ends)
    publisher.endpoint(2)
    yield ["--json", *arguments(ends)]
    assert publisher.stop() == 0


def test_json_for_a_full_disk(batches):
    with open("/dev/full", "w", encoding="utf-8") as full:
        status, told = run("kv_subscriber", *batches, stdout=full)
    assert (status, told[-1]) == (1, f"kv_subscriber: {TOLD}")


@pytest.mark.parametrize("ignored", [True, False])
def test_json_for_nobody(batches, ignored):
    """A SIGPIPE ends it, as any program; where that is ignored, it ends by itself."""
    read, write = os.pipe()
    os.close(read)
    how = signal.SIG_IGN if ignored else signal.SIG_DFL
    status, told = run(
        "kv_subscriber",
        *batches,
        stdout=write,
        restore_signals=False,
        preexec_fn=lambda: signal.signal(signal.SIGPIPE, how),
    )
    os.close(write)
    assert status == (1 if ignored else -signal.SIGPIPE)
    assert not ignored or told[-1] == f"kv_subscriber: {TOLD}"
