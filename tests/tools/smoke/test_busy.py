# SPDX-License-Identifier: MIT
"""With --quiet, a program that takes long shows its progress on a terminal, but not in a pipe."""

import os
import pty
import select
import subprocess
import time

import msgspec
import pytest
import zmq

import structs
from harness import PROGRAMS, WAIT_S


def batch(seq):
    payload = msgspec.msgpack.encode(structs.KVEventBatch(ts=float(seq), events=[]))
    return [b"kv-events", seq.to_bytes(8, "big"), payload]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_long_replay(ipc, peer, terminal):
    live, replay = ipc(), ipc()
    pub, router = peer(zmq.XPUB, bind=live), peer(zmq.ROUTER, bind=replay)
    own, theirs = pty.openpty() if terminal else os.pipe()
    command = [PROGRAMS["kv_subscriber"], "--quiet", "--from-seq", "0", "--topic", "kv-events"]
    program = subprocess.Popen(
        [*command, "--endpoint", live, "--replay-endpoint", replay],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    try:
        pub.recv()
        pub.send_multipart(batch(1000000))
        client, empty, _ = router.recv_multipart()
        said, seq = b"", 0
        deadline = time.monotonic() + (WAIT_S if terminal else 3)
        # A publisher that takes its time: each batch when the one before has been there for a while
        while time.monotonic() < deadline and b"seq" not in said:
            router.send_multipart([client, empty, *batch(seq)])
            seq += 1
            if select.select([own], [], [], 0.05)[0]:
                said += os.read(own, 4096)
        assert (b"replay: at seq " in said) == terminal, said
        if terminal:
            router.send_multipart([client, empty, b"", b"\xff" * 8, b""])
            while b"\r\x1b[K" not in said:  # Taken away when it is over
                assert select.select([own], [], [], WAIT_S)[0], said
                said += os.read(own, 4096)
    finally:
        program.terminate()
        program.communicate(timeout=WAIT_S)
        os.close(own)
    assert program.returncode == 0
