# SPDX-License-Identifier: MIT
"""The network between two machines is late, loses packets, is cut, or a machine is gone (machines.py)."""

import json
import re
import signal
import subprocess
import time

import msgspec
import pytest
import zmq
from machines import Wire

from harness import FACTOR, PROGRAMS, WAIT_S

ENDLESS = 1000000
CUT_S = 5
GONE_S = 12  # After so long a peer whose machine has vanished has been missed
LATE_S = 10 * FACTOR  # And so much later at the most on a busy machine

#: These wait for a cut to end, or for a peer to be missed
slow = pytest.mark.slow


@pytest.fixture
def wire():
    wire = Wire()
    try:
        try:
            wire.build()
        except (OSError, AttributeError) as error:
            pytest.skip(f"no network namespaces here (they need Linux, root, iproute2): {error}")
        yield wire
    finally:
        wire.destroy()


@pytest.fixture
def on(wire, start):
    """on (wire.far, "kv_publisher") starts it on that machine."""

    def begin(machine, name, /, *args, **options):
        with machine:
            return start(name, *args, **options)

    return begin


def swallow(wire, seconds=CUT_S):
    """All packets between the machines are lost, and neither kernel knows."""
    wire.cut = True
    time.sleep(seconds)
    wire.cut = False


def pull_out(wire, seconds=CUT_S):
    """The far machine's cable: its kernel knows, the near one's does not."""
    wire.far.link("down")
    time.sleep(seconds)
    wire.far.link("up")


def vanish(wire, *programs):
    """The far machine and its programs are gone, without closing a connection."""
    wire.cut = True
    for program in programs:
        program.send_signal(signal.SIGKILL)
        assert program.wait() == -signal.SIGKILL


def late(wire):
    wire.delay_s = 0.2


def lossy(wire):
    wire.loss = 0.05


EACH_CUT = pytest.mark.parametrize("cut", [swallow, pull_out])


def connections(machine, program):
    """The number of this program's connections that count as alive on its machine."""
    return sum(pid == program.pid for pid, _ in machine.connections())


def complaints(program):
    """Its lines on stderr, without the warning that it listens to other machines."""
    return [line for line in program.err if "warning: without CURVE" not in line]


def until(is_so, seconds):
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


# --- KV events: published = delivered + lost and told, each once and in order


@pytest.fixture
def stream(wire, on):
    """Starts a publisher there, and here a subscriber that ends after `count` batches."""

    def new(count, *args, replay_timeout_ms=3000, **options):
        publisher = on(
            wire.far,
            "kv_publisher",
            *args,
            endpoint=wire.far.at(),
            replay_endpoint=wire.far.at(),
            wait_subscribers=1,
            **options,
        )
        subscriber = on(
            wire.near,
            "kv_subscriber",
            "--json",
            *args,
            endpoint=publisher.endpoint(),
            replay_endpoint=publisher.endpoint(2),
            replay_timeout_ms=replay_timeout_ms,
            from_seq=0,
            count=count,
        )
        return publisher, subscriber

    return new


def check_stream(publisher, subscriber, count):
    """Waits for its end, and returns what it counted."""
    assert subscriber.wait(60 * FACTOR) == 0
    assert publisher.stop() == 0
    objects = [json.loads(line) for line in subscriber.out]
    seqs = [each["seq"] for each in objects if "events" in each]
    told = {
        seq
        for each in objects
        if each.get("notice") in ("history_lost", "lost")
        for seq in range(each["first"], each["last"] + 1)
    }
    assert len(seqs) == count
    assert seqs == [seq for seq in range(seqs[-1] + 1) if seq not in told]
    numbers = re.findall(r"(\d+) (\w+)", subscriber.err[-1])
    counts = {name: int(number) for number, name in numbers}
    assert counts["delivered"] == count
    assert counts["lost"] == len(told) == seqs[-1] + 1 - count
    assert counts["malformed"] == counts["restarts"] == 0
    return counts


@pytest.mark.parametrize("curve", [False, True])
@pytest.mark.parametrize("weather", [late, lossy])
def test_kv_events_in_bad_weather(wire, stream, keys, weather, curve):
    """Also with CURVE, whose handshake takes more packets."""
    weather(wire)
    publisher, subscriber = stream(500, *(["--curve-dir", keys] if curve else []), interval_ms=2)
    counts = check_stream(publisher, subscriber, 500)
    assert counts["lost"] == 0
    assert wire.lost > 0 or weather is late


@slow
@EACH_CUT
def test_kv_events_through_a_cut(wire, stream, cut):
    """TCP keeps the data during a cut of 5 s: nothing is missing, and no replay is asked for."""
    publisher, subscriber = stream(2000, interval_ms=5)
    subscriber.wait_line('^{"seq":300,')
    cut(wire)
    counts = check_stream(publisher, subscriber, 2000)
    assert counts["lost"] == 0


@slow
@pytest.mark.parametrize("buffer_steps", [100000, 1000])
def test_kv_events_through_a_cut_that_ends_the_connection(wire, stream, buffer_steps):
    """A replay brings the missed batches that are still kept; the others are reported lost."""
    publisher, subscriber = stream(
        6000, interval_ms=5, buffer_steps=buffer_steps, replay_timeout_ms=20000
    )
    subscriber.wait_line('^{"seq":300,')
    swallow(wire, GONE_S + 6)
    counts = check_stream(publisher, subscriber, 6000)
    assert counts["replayed"] > 0
    assert (counts["lost"] > 0) == (buffer_steps == 1000)


@slow
@EACH_CUT
@pytest.mark.parametrize("replay_timeout_ms", [1000, 20000])
def test_a_replay_through_a_cut(wire, stream, cut, replay_timeout_ms):
    """With more patience than the cut is long, it goes on after it. With less it is asked for once
    more, and that request gets lost: then it is given up, and what it was for is told to be lost.
    """
    wire.delay_s = 0.1  # Time to cut it in the midst
    publisher, subscriber = stream(
        3000, interval_ms=5, prefill=2000, blocks=8, replay_timeout_ms=replay_timeout_ms
    )
    publisher.wait_line("^replay from 0: ")
    cut(wire)
    counts = check_stream(publisher, subscriber, 3000)
    assert replay_timeout_ms == 1000 or (counts["lost"] == 0 and counts["replayed"] >= 2000)


# --- Engines


@pytest.fixture
def engines(wire, on):
    """Starts a front-end here, and engines there, or the other way round."""

    def new(count, home, away, step_ms=10, **options):
        places = {name: home.at() for name in ("handshake", "input", "output")}
        front = on(home, "mock_frontend", engines=count, **places, **options)
        ends = {"handshake": front.endpoint(), "step_ms": step_ms}
        many = [on(away, "mock_engine", index=index, **ends) for index in range(count)]
        return front, many

    return new


@pytest.mark.parametrize("weather", [late, lossy, swallow, pull_out])
def test_requests_in_bad_weather(wire, engines, weather):
    """A delay of 200 ms, a loss of 5 %, or a cut of 1 s causes no error."""
    if weather in (late, lossy):
        weather(wire)
    front, both = engines(2, wire.near, wire.far, requests=6, max_tokens=100)
    if weather in (swallow, pull_out):
        both[0].wait_line("READY")
        weather(wire, 1)
    assert front.wait(30 * FACTOR) == 0
    assert complaints(front) == []
    assert front.summary() == "6 of 6 requests complete, 600 tokens"
    assert [each.stop() for each in both] == [0, 0]


@slow
@pytest.mark.parametrize("on_dead", ["fail", "reroute"])
def test_one_of_two_engines_vanishes(wire, on, on_dead):
    """The other one is on the front-end's own machine, and goes on."""
    places = {name: wire.near.at() for name in ("handshake", "input", "output")}
    options = {"engines": 2, "requests": 6, "max_tokens": 5, "on_dead": on_dead}
    front = on(wire.near, "mock_frontend", **places, **options)
    ends = {"handshake": front.endpoint(), "log_requests": True}
    living = on(wire.near, "mock_engine", index=0, **ends)
    dying = on(wire.far, "mock_engine", index=1, step_ms=60000, **ends)
    dying.wait_line("^r5: 5 prompt tokens$")
    vanish(wire, dying)
    assert front.wait(GONE_S + LATE_S) == (1 if on_dead == "fail" else 0)
    assert complaints(front) == ["mock_frontend: engine 1 is dead, 3 requests were open"]
    done = sorted(front.lines(r"^r(\d) <- engine 0: 5 tokens, length$"))
    assert done == (["0", "2", "4"] if on_dead == "fail" else list("012345"))
    assert living.stop() == 0


@slow
@pytest.mark.parametrize("silent", [False, True])
def test_a_frontend_vanishes(wire, on, engines, silent):
    """The engine notices, drops its requests, and serves the next front-end at the same address. While
    its answers are not acknowledged ZMQ_TCP_MAXRT limits that; in silence TCP's keepalive does, and no
    PING, as vllm-rs would hang up."""
    step_ms = 60000 if silent else 10
    gone, (living,) = engines(1, wire.far, wire.near, step_ms, requests=2, max_tokens=ENDLESS)
    gone.wait_line("^r1 -> ")
    places = [line[0] for line in gone.lines(r"listening on (\S+)()")]
    vanish(wire, gone)
    living.wait_line("the front-end is gone", timeout=GONE_S + LATE_S)
    if not silent:
        wire.cut = False
        ends = dict(zip(("handshake", "input", "output"), places))
        again = on(wire.far, "mock_frontend", **ends, requests=2, max_tokens=3)
        assert again.wait(20 * FACTOR) == 0
        assert again.summary() == "2 of 2 requests complete, 6 tokens"
    assert living.stop() == 0


# --- Half-open: nobody keeps a connection to a machine that has vanished


@slow
def test_no_connection_is_left_to_who_has_vanished(wire, on):
    """All who wait for others, at both ends. For each of the two machines the other one is gone."""
    near, far = wire.near, wire.far
    publisher = on(
        far, "kv_publisher", endpoint=far.at(), replay_endpoint=far.at(), wait_subscribers=1
    )
    places = {name: far.at() for name in ("handshake", "input", "output")}
    frontend = on(far, "mock_frontend", **places, engines=2)
    ends = {"endpoint": publisher.endpoint(), "replay_endpoint": publisher.endpoint(2)}
    subscriber = on(near, "kv_subscriber", **ends)
    engine = on(near, "mock_engine", handshake=frontend.endpoint())
    everybody = [(far, publisher), (far, frontend), (near, subscriber), (near, engine)]
    for machine, program in everybody:
        until(lambda: connections(machine, program) > 0, WAIT_S)

    wire.cut = True
    until(
        lambda: not [
            line
            for machine in (near, far)
            for _, line in machine.connections()
            if near.address in line and far.address in line
        ],
        GONE_S + LATE_S,
    )

    # The others have not given up, and meet again
    wire.cut = False
    assert frontend.wait(LATE_S) == 1
    # To vLLM's front-end that is an error, too
    assert "mock_frontend: engine 0: HELLO in state ready" in complaints(frontend)
    for machine, program in ((far, publisher), (near, subscriber)):
        until(lambda: connections(machine, program) > 0, LATE_S)
    for program in (publisher, subscriber, engine):
        assert program.stop() == 0


@slow
def test_no_connection_is_left_with_much_to_send(wire, on):
    """More than TCP takes: so the PING has to wait as well, and only the kernel can notice."""
    ends = {"endpoint": wire.far.at(), "replay_endpoint": wire.far.at()}
    publisher = on(wire.far, "kv_publisher", "--quiet", **ends, interval_ms=1, blocks=64)
    subscriber = on(wire.near, "kv_subscriber", "--quiet", endpoint=publisher.endpoint())
    until(lambda: connections(wire.far, publisher) > 0, WAIT_S)
    vanish(wire)
    until(lambda: connections(wire.far, publisher) == 0, GONE_S + LATE_S)
    assert subscriber.stop() == publisher.stop() == 0


# --- and who is only busy is not taken for one who has vanished


@slow
def test_a_busy_subscriber_is_not_missed(peer):
    """It cannot print, so its queue is full, and libzmq reads no PONG either. With heartbeats on
    its SUB it would lose the connection; and end with an assertion of libzmq, once it goes on."""
    count = 250000
    xpub = peer(zmq.XPUB, bind="tcp://127.0.0.1:*", sndhwm=0)
    command = [PROGRAMS["kv_subscriber"], "--json", "--count", str(count)]
    command += ["--endpoint", xpub.last_endpoint.decode()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as subscriber:
        try:
            assert xpub.recv() == b"\1"
            payload = msgspec.msgpack.encode([0.5, [], 0])
            for seq in range(count):
                xpub.send_multipart([b"kv-events", seq.to_bytes(8, "big"), payload])
            time.sleep(GONE_S + 2)
            out, err = subscriber.communicate(timeout=60 * FACTOR)
        finally:
            subscriber.kill()
    assert subscriber.returncode == 0, err
    assert b"0 lost, 0 malformed, 0 restarts" in err
    objects = [json.loads(line) for line in out.splitlines()]
    assert [each["seq"] for each in objects if "notice" not in each] == list(range(count))
    assert "disconnected" not in [each.get("notice") for each in objects]
