# SPDX-License-Identifier: MIT
"""SIGINT and SIGTERM end every program within a second, whatever it is at.

A state brings programs to where they are busy or blocked, and returns the one to be stopped. Some
of that cannot be seen from outside, so a signal may come a little early: it has to work then too.
"""

import contextlib
import signal
import socket

import msgspec
import pytest
import zmq
from joined import join_engine

from harness import NAMES, WAIT_S
from programs import Bind, Connect, endpoints, of_kind

BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
HUGE = 1000000

# They exit with 1 when they are stopped before they have their answer
EMPTY_HANDED = {"mock_frontend"}


def stop_and_check(program, number):
    assert program.stop(number) == (program.name in EMPTY_HANDED)
    assert program.summary()


# --- idle: alone in the world


@contextlib.contextmanager
def alone(start, ipc, name):
    """Starts a program, and waits for the first that is seen of it: it listens, or it connects."""
    binds, connects = of_kind(name, Bind), of_kind(name, Connect)
    ends = endpoints(name, ipc)
    with socket.socket(socket.AF_UNIX) as listener:
        if not binds:  # Somebody who takes a connection, and never says a word
            listener.bind(ends[connects[0]][len("ipc://") :])
            listener.listen()
            listener.settimeout(WAIT_S)
        program = start(name, **ends)
        if binds:
            program.endpoint()
            yield program
        else:
            with listener.accept()[0]:
                yield program


@BOTH
@pytest.mark.parametrize("name", NAMES)
def test_stop_at_once(start, ipc, name, number):
    """Again and again, since the worst moment is short: a signal that comes after a loop has
    looked whether there was one, and before the call that it should interrupt."""
    for _ in range(3):
        with alone(start, ipc, name) as program:
            stop_and_check(program, number)


# --- busy, or blocked

STATES = {}


def state(function):
    STATES[function.__name__] = function
    return function


def deaf(peer, endpoint):
    """A subscriber that takes next to nothing."""
    subscriber = peer(zmq.SUB, connect=endpoint, rcvhwm=1, rcvbuf=4096)
    subscriber.subscribe(b"")
    return subscriber


def publishing(start, ipc, **options):
    live = ipc()
    options |= {"endpoint": live, "replay_endpoint": ipc(), "interval_ms": 0}
    return start("kv_publisher", "--quiet", **options), live


@state
def kv_publisher_with_a_deaf_subscriber(start, ipc, peer):
    program, live = publishing(start, ipc, buffer_steps=10)
    deaf(peer, live).recv_multipart()
    return program


@state
def kv_publisher_is_done_and_lingers(start, ipc, peer):
    program, live = publishing(start, ipc, count=50000, wait_subscribers=1)
    deaf(peer, live)
    program.wait_line("^kv_publisher: 50000 published$")
    return program


def engine_in_a_step(start, ipc, peer, step_ms):
    program, router, _, _ = join_engine(start, peer, ipc, step_ms=step_ms)
    request = ["a", [1], None, {"max_tokens": HUGE}, None, 0.0, None, None, None]
    router.send_multipart([b"\0\0", b"\0", msgspec.msgpack.encode(request)])
    program.wait_line("^a: 1 prompt token")
    return program


@state
def engine_flat_out(start, ipc, peer):
    return engine_in_a_step(start, ipc, peer, 0)


@state
def engine_in_a_long_step(start, ipc, peer):
    return engine_in_a_step(start, ipc, peer, 60000)


def pair(start, ipc, **options):
    handshake = ipc()
    wire = {"handshake": handshake, "input": ipc(), "output": ipc()}
    frontend = start("mock_frontend", max_tokens=HUGE, **wire)
    engine = start("mock_engine", "--log-requests", handshake=handshake, **options)
    engine.wait_line("r9: 5 prompt tokens")
    return frontend, engine


@state
def engine_with_a_paused_front_end(start, ipc, peer):
    frontend, program = pair(start, ipc, step_ms=0)
    frontend.send_signal(signal.SIGSTOP)
    return program


@state
def front_end_with_a_paused_engine(start, ipc, peer):
    program, engine = pair(start, ipc, step_ms=1)
    engine.send_signal(signal.SIGSTOP)
    return program


@state
def front_end_waits_for_one_more(start, ipc, peer):
    wire = {"input": ipc(), "output": ipc()}
    program = start("mock_frontend", engines=2, **wire)
    start("engine", **wire)
    program.wait_line("^engine 0 registered")
    return program


@BOTH
@pytest.mark.parametrize("name", STATES)
def test_stop(start, ipc, peer, name, number):
    stop_and_check(STATES[name](start, ipc, peer), number)
    for other in start.programs:
        other.kill()
