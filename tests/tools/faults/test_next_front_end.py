# SPDX-License-Identifier: MIT
"""One front-end after the other at the same addresses, on a busy machine.

A message that a front-end has sent before it ends reaches the engine: its ABORT is not lost. A message
for one front-end never reaches the next one: no second HELLO or registration, and no output of another
front-end's request.
"""

import random
import re
import subprocess
import sys

import pytest
import zmq
from test_handshake import ABORT, ADD, READY, FrontEnd, request

from harness import UNDER_VALGRIND, end_context

pytestmark = pytest.mark.skipif(UNDER_VALGRIND, reason="too slow under valgrind")

#: Rounds in `make test`, beside one busy process, and in `make slow`, beside two
FEW, MANY = 10, 300
ROUNDS = pytest.mark.parametrize(
    "rounds, busy", [(FEW, 1), pytest.param(MANY, 2, marks=pytest.mark.slow)], indirect=["busy"]
)


@pytest.fixture
def busy(request):
    """Starts this many processes that compute all the time."""
    spin = [sys.executable, "-c", "while True: pass"]
    spinning = [subprocess.Popen(spin) for _ in range(request.param)]
    yield
    for each in spinning:
        each.kill()
        each.wait()


class Served:
    """A FrontEnd whose sockets are all closed at its end, so that the next can have its addresses."""

    def __init__(self, addresses):
        self.context, self.sockets = zmq.Context(), []
        addresses = iter(addresses)
        self.front = FrontEnd(self.peer, lambda: next(addresses))

    def peer(self, kind, bind, **options):
        socket = self.context.socket(kind)
        self.sockets.append(socket)
        socket.rcvtimeo = socket.sndtimeo = 10000
        for name, value in options.items():
            setattr(socket, name, value)
        socket.bind(bind)
        return socket

    def close(self, linger):
        for socket in self.sockets:
            socket.close(linger)
        end_context(self.context)


@pytest.fixture
def addresses(ipc, request):
    if request.param == "ipc":
        return [ipc() for _ in range(3)]
    # Of 127.0.0.0/8, Linux listens on all; the same ports each time, and nobody else's
    host = ".".join(["127", *(str(random.randint(1, 254)) for _ in range(3))])
    return [f"tcp://{host}:{port}" for port in (29550, 5570, 5571)]


WHERE = ["ipc", "tcp"] if sys.platform == "linux" else ["ipc"]


@ROUNDS
@pytest.mark.parametrize("step_ms", [0, 1])
@pytest.mark.parametrize("addresses", WHERE, indirect=True)
def test_mock_engine(start, addresses, busy, rounds, step_ms):
    engine = start("mock_engine", "--log-requests", handshake=addresses[0], step_ms=step_ms)
    for number in range(rounds):
        name, served = f"q{number}", Served(addresses)
        front = served.front
        identity = front.hello()
        front.registrations(identity)
        assert front.ready(identity) == READY
        front.send(identity, ADD, request(name, max_tokens=10**9))
        for _ in range(3):
            assert [each.request_id for each in front.outputs().outputs] == [name]
        for socket in (front.handshake, *front.routers):
            assert not socket.poll(0), socket.recv_multipart()
        # It does not read on: there are outputs that it has not taken when it goes
        front.send(identity, ABORT, [name])
        served.close(linger=1000)
        engine.wait_line("the front-end is gone", nth=number + 1)
    assert engine.stop() == 0
    story = [line for line in engine.out if re.search("abort|gone", line)]
    assert len(story) == 2 * rounds + 1 and story.pop() == engine.out[-1]
    late = [
        number
        for number in range(rounds)
        if story[2 * number : 2 * number + 2]
        != [f"q{number}: aborted", "engine 0: the front-end is gone"]
    ]
    assert late == [], f"{len(late)} of {rounds} ABORTs came after the front-end had gone"
    assert engine.summary() == f"0 finished, {rounds} aborted, 0 bad"


@ROUNDS
def test_lesson_engine(start, ipc, busy, rounds):
    """A lesson's front-end that is stopped while tokens arrive sends an ABORT, as in its README."""
    wire = {"input": ipc(), "output": ipc()}
    gone = "the front-end has disconnected"
    engine = start("engine", **wire)
    for number in range(rounds):
        frontend = start("frontend", requests=1, max_tokens=1000000, **wire)
        frontend.wait_line("^r0 <- engine 0: token")
        assert frontend.stop() == 1
        engine.wait_line(f"^{gone}$", nth=number + 1)
    assert engine.stop() == 0
    story = [line for line in engine.out if line in ("r0: aborted", gone)]
    pairs = [tuple(story[at : at + 2]) for at in range(0, len(story), 2)]
    assert len(pairs) == rounds
    late = [pair for pair in pairs if pair != ("r0: aborted", gone)]
    assert late == [], f"{len(late)} of {rounds} ABORTs came after the front-end had gone"
