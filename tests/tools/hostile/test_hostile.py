# SPDX-License-Identifier: MIT
"""A peer floods each program that receives with bad messages. Good messages in between must be answered,
and the program's memory must not grow.

HOSTILE        messages at each receiver (default 2,000; `make hostile` sends a million)
HOSTILE_SEED   the seed of the messages
"""

import contextlib
import itertools
import json
import os
import re
import threading
import time

import mutants
import pytest
import zmq
import zmtp
from joined import join_engine

from harness import FACTOR, UNDER_VALGRIND, WAIT_S, Program, arguments

pack, unpack = mutants.pack, mutants.unpack
MESSAGES = int(os.environ.get("HOSTILE", "2000"))
SEED = int(os.environ.get("HOSTILE_SEED", "1"))
ROUNDS = 10  # Of bad messages, each followed by a good one
# Beyond what it had after the first round. AddressSanitizer keeps what was freed for a while.
GROWTH_MB = 32 * FACTOR
# Of a SUB that is not read fast enough up to 100,000 messages wait, as vLLM's PUB keeps them: here
# of 1 or 2 kB
QUEUE_MB = 150 * FACTOR
ZERO, ADD, ABORT, UTILITY = b"\0\0", b"\0", b"\1", b"\3"

pytestmark = pytest.mark.skipif(UNDER_VALGRIND, reason="too slow under valgrind")


@pytest.fixture
def victim(start):
    """A program of which only the last lines are kept."""

    def victim(name, /, *args, also=None, **options):
        program = Program(name, [*args, *arguments(options)], keep=200, also=also)
        start.programs.append(program)
        return program

    return victim


def flood(program, bad, good, drain=lambda: None, growth_mb=GROWTH_MB):
    """bad () sends a bad message; good (n) a good one, and waits for what it brings about."""
    begun, first = time.monotonic(), None
    for number in range(ROUNDS):
        for count in range(MESSAGES // ROUNDS):
            bad()
            if count % 64 == 0:
                drain()
        good(number)
        if number == 0:
            first = program.rss_mb()
    last = program.rss_mb()
    seconds = time.monotonic() - begun
    print(
        f"hostile: {program.name}: {MESSAGES:,} messages in {seconds:.1f} s, "
        f"{ROUNDS} good ones answered, {program.err.total:,} complaints, "
        f"memory {first:.0f} MB after the first {MESSAGES // ROUNDS:,}, {last:.0f} MB at the end"
    )
    assert program.running()
    assert last - first < growth_mb
    for line in list(program.err):
        assert line.startswith(program.name + ": ") and line.isprintable(), line


def drainer(*sockets):
    def drain():
        for socket in sockets:
            while socket.poll(0):
                socket.recv_multipart()

    return drain


# --- pub_sub


@pytest.mark.parametrize("wait_subscribers", [0, 1])
def test_subscriptions(victim, ipc, peer, wait_subscribers):
    """Subscriptions, and what is none."""
    endpoint, made = ipc(), mutants.Mutants(SEED, ["TOPIC_SEQ", "PING"], 2000)
    options = {"replay_endpoint": ipc(), "topic": "a"}
    publisher = victim(
        "kv_publisher", endpoint=endpoint, interval_ms=1, wait_subscribers=wait_subscribers, **options
    )
    stranger, good_one = peer(zmq.XSUB, connect=endpoint), peer(zmq.SUB, connect=endpoint)
    good_one.subscribe(b"a")
    turn = [b"\x01", b"\x00", b"\x02", b""]

    def bad():
        turn.append(turn.pop(0))
        frames = made.frames()
        stranger.send_multipart([turn[0] + frames[0], *frames[1:]])

    def good(_):
        assert good_one.recv_multipart()[0] == b"a"

    flood(publisher, bad, good, drainer(stranger, good_one))
    assert publisher.stop() == 0


def as_seq(number):
    return number.to_bytes(8, "big")


def batch(marker):
    return pack([0.5, [{"type": "BlockRemoved", "block_hashes": [marker], "medium": "GPU"}], 0])


def test_kv_publisher(victim, ipc, peer):
    endpoint = ipc()
    publisher = victim(
        "kv_publisher", endpoint=ipc(), replay_endpoint=endpoint, interval_ms=5, buffer_steps=2
    )
    made = mutants.Mutants(SEED, ["TOPIC_SEQ"])
    stranger, client = peer(zmq.DEALER, connect=endpoint), peer(zmq.DEALER, connect=endpoint)

    def good(number):
        client.send_multipart([b"", as_seq(0)])
        while client.recv_multipart()[2] != b"\xff" * 8:
            pass
        # The same behind the bad ones: each of them that is a request has been answered then
        stranger.send_multipart([b"", as_seq(0), b"", b""])
        publisher.wait_err("got 5$")
        publisher.err.clear()

    flood(publisher, lambda: stranger.send_multipart(made.frames(b"")[:3]), good, drainer(stranger))
    assert publisher.stop() == 0


KV = ["KV_STORED_V26", "KV_MIXED_V26", "KV_LORA_V26", "KV_BYTES_HASHES_V26", "KV_MIXED_V9"]


@pytest.mark.parametrize("replayed", [False, True])
def test_kv_subscriber(victim, ipc, peer, replayed):
    """Numbers are of any kind too. Each line of its stdout is JSON."""
    endpoint, replay_endpoint, made = ipc(), ipc(), mutants.Mutants(SEED, KV)
    publisher = peer(zmq.XPUB, bind=endpoint, xpub_nodrop=1)
    router = peer(zmq.ROUTER, bind=replay_endpoint)
    options = {"replay_endpoint": replay_endpoint} if replayed else {}
    seen = set()  # The markers of good batches

    def also(line):
        json.loads(line)
        seen.update(re.findall(r'"block_hashes":\[(\d{10})\]', line))

    subscriber = victim("kv_subscriber", "--json", also=also, endpoint=endpoint, **options)
    assert publisher.recv() == b"\x01"
    seqs = [as_seq(number) for number in (0, 1, 2, 3, 5, 8, 2**32, 2**63, 2**64 - 2, 2**64 - 1)]

    def bad():
        publisher.send_multipart(made.frames(b"t", made.random.choice(seqs)))

    def serve():
        while router.poll(0):
            identity = router.recv_multipart()[0]
            for _ in range(5):
                router.send_multipart([identity, *made.frames(b"", b"t", made.random.choice(seqs))])
            router.send_multipart([identity, b"", b"", b"\xff" * 8, b""])

    def good(number):
        # 0 is how a run begins, whatever was before. The ROUTER lies about that, so that some of
        # these batches may be taken for others of the same numbers: a publisher goes on, too.
        deadline = time.monotonic() + WAIT_S
        for life in itertools.count():
            marker = 10**9 + 1000 * number + life
            publisher.send_multipart([b"t", as_seq(0), batch(0)])
            publisher.send_multipart([b"t", as_seq(1), batch(marker)])
            again = time.monotonic() + 2
            while str(marker) not in seen and time.monotonic() < again:
                assert time.monotonic() < deadline, str(subscriber)
                router.poll(10)
                serve()
            if str(marker) in seen:
                return

    flood(subscriber, bad, good, serve, QUEUE_MB)
    assert subscriber.stop() == 0


def test_many_replays(victim, ipc, peer, monkeypatch):
    """A publisher that restarts with each batch makes it ask each time, with a new socket."""
    monkeypatch.setenv("ZSYS_MAX_SOCKETS", "8")  # Of CZMQ. So the test need not be long
    endpoint = ipc()
    publisher = peer(zmq.XPUB, bind=endpoint, xpub_nodrop=1)
    subscriber = victim("kv_subscriber", "--json", endpoint=endpoint, replay_endpoint=ipc())
    assert publisher.recv() == b"\x01"
    for number in range(1000):
        publisher.send_multipart([b"t", as_seq(7 * (number % 2)), batch(number)])
    publisher.send_multipart([b"t", as_seq(0), batch(10**9)])
    subscriber.wait_line(f"{10**9}")
    assert subscriber.stop() == 0


def test_one_leaves_while_others_flood(victim):
    """A SUB that binds hears of the one who has left, and goes on serving the others."""
    subscriber = victim("kv_subscriber", "--bind", "--quiet", endpoint="tcp://127.0.0.1:*")
    end, over = subscriber.endpoint(), threading.Event()
    batches = b"".join(
        zmtp.frame(b"t", zmtp.MORE) + zmtp.frame(as_seq(seq), zmtp.MORE) + zmtp.frame(b"\xc0")
        for seq in range(50000)
    )

    def send():
        with zmtp.greeted(end, b"PUB") as link, contextlib.suppress(OSError):
            while not over.is_set():
                link.sendall(batches)

    senders = [threading.Thread(target=send) for _ in range(3)]
    for sender in senders:
        sender.start()
    subscriber.wait_err("bad batch")
    first = subscriber.rss_mb()
    zmtp.greeted(end, b"PUB").close()
    served, deadline = subscriber.err.total, time.monotonic() + WAIT_S
    while subscriber.err.total < served + 50000 and time.monotonic() < deadline:
        time.sleep(0.01)
    last = subscriber.rss_mb()
    over.set()
    assert subscriber.stop() == 0
    for sender in senders:
        sender.join()
    assert subscriber.err.total >= served + 50000
    assert last - first < 2 * QUEUE_MB


# --- router_dealer

REQUESTS = ["REQUEST_R3", "REQUEST_FULL", "REQUEST_IGNORE_EOS", "REQUEST_POOLING", "ABORT_TWO"]
REQUESTS += ["UTILITY_CALL", "UTILITY_ADD_LORA", "UTILITY_REMOVE_LORA"]


def request(name):
    values = unpack(mutants.VECTORS["REQUEST_R3"])
    values[0], values[3] = name, {"max_tokens": 1}
    return pack(values)


def test_mock_engine(victim, ipc, peer):
    engine, router, pull, _ = join_engine(victim, peer, ipc)
    made = mutants.Mutants(SEED, REQUESTS)
    kinds = [ADD] * 4 + [ABORT, UTILITY, b"\2", b"\4", b"\xff", b"", b"\0\0"]

    def good(number):
        router.send_multipart([ZERO, ADD, request(f"good-{number}")])
        ended = False
        while not ended:
            frames = pull.recv_multipart()
            outputs = unpack(frames[0])[1]
            ended = any((output[0], output[5]) == (f"good-{number}", 1) for output in outputs)

    def bad():
        router.send_multipart([ZERO, *made.frames(made.random.choice(kinds))])

    flood(engine, bad, good, drainer(pull))
    assert engine.stop() == 0


OUTPUTS = ["OUTPUTS_STEP", "OUTPUTS_ABORT", "OUTPUTS_FULL", "OUTPUTS_FIRST", "OUTPUTS_UTILITY_NONE"]


def renamed(value):
    """The vectors' requests r1 and r3 are open here, so they get another name."""
    if isinstance(value, list):
        return [renamed(each) for each in value]
    return "x" + value if value in ("r1", "r3") else value


def flood_frontend(frontend, engine, peer, wire):
    """Each good message ends a request. At the ROUTER a stranger does it, not the engine: who sends what
    is not read is soon cut off, since what would answer ZMTP's pings waits behind it."""
    push = peer(zmq.PUSH, connect=wire["output"])
    stranger = peer(zmq.DEALER, connect=wire["input"], routing_id=b"stranger")
    made = mutants.Mutants(SEED, [renamed(unpack(mutants.VECTORS[name])) for name in OUTPUTS])

    frontend.wait_line(f"^r{ROUNDS} -> engine 0$")

    def bad():
        push.send_multipart(made.frames())
        if stranger.poll(0, zmq.POLLOUT):
            stranger.send_multipart(made.frames())

    def good(number):
        outputs = [0, [[f"r{number}", [5], None, None, None, 1]]]
        push.send(pack(outputs))
        frontend.wait_line(f"^r{number} <- engine 0: 1 token, length$")

    flood(frontend, bad, good, drainer(engine))
    assert frontend.stop() == 1  # One request is open


@pytest.mark.parametrize("ends", [["input"], ["handshake", "input"]], ids="-".join)
def test_mock_frontend(victim, ipc, peer, ends):
    """In the handshake, before the registration, and behind it. No mutant has an engine's identity."""
    wire = {end: ipc() for end in [*ends, "output"]}
    frontend = victim("mock_frontend", requests=ROUNDS + 1, max_tokens=1, **wire)
    made = mutants.Mutants(SEED, ["HANDSHAKE_HELLO", "HANDSHAKE_READY", "READY", "READY_V26"], 5000)
    for end in ends:
        stranger = peer(zmq.DEALER, connect=wire[end])
        for _ in range(min(MESSAGES, 100000)):
            stranger.send_multipart(made.frames())
    frontend.wait_err("identity")
    if "handshake" in ends:
        greeter = peer(zmq.DEALER, connect=wire["handshake"], routing_id=ZERO)
        greeter.send(mutants.VECTORS["HANDSHAKE_HELLO"])
        greeter.recv()
    engine = peer(zmq.DEALER, connect=wire["input"], routing_id=ZERO)
    engine.send(mutants.VECTORS["READY"])
    if "handshake" in ends:
        greeter.send(mutants.VECTORS["HANDSHAKE_READY"])
    frontend.wait_line("^engine 0 registered")
    flood_frontend(frontend, engine, peer, wire)
