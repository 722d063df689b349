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
import subprocess
import threading
import time
from pathlib import Path

import mutants
import pytest
import structs
import zmq
import zmtp

from harness import FACTOR, PROGRAMS, UNDER_VALGRIND, WAIT_S, Program, arguments

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


def rss_mb(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


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
            first = rss_mb(program.pid)
    last = rss_mb(program.pid)
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
        publisher.wait_err("got 5 frames")
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


def test_nobody_reads_what_it_prints(peer):
    """For longer than a publisher that says nothing counts as gone: it waits, and then goes on."""
    publisher = peer(zmq.XPUB, sndhwm=0)
    publisher.bind("tcp://127.0.0.1:*")
    end = publisher.last_endpoint.decode()
    with subprocess.Popen(
        [PROGRAMS["kv_subscriber"], "--json", "--count=200000", f"--endpoint={end}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as subscriber:
        assert publisher.recv() == b"\x01"
        for seq in range(200000):
            publisher.send_multipart([b"t", as_seq(seq), batch(seq)])
        time.sleep(14)
        out, err = subscriber.communicate(timeout=10 * WAIT_S)
    assert subscriber.returncode == 0, err
    assert b"200000 received, 200000 delivered" in err and b", 0 lost, 0 malformed, 0 restarts" in err
    assert sum(b'"notice":' not in line for line in out.splitlines()) == 200000


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
    first = rss_mb(subscriber.pid)
    zmtp.greeted(end, b"PUB").close()
    served, deadline = subscriber.err.total, time.monotonic() + WAIT_S
    while subscriber.err.total < served + 50000 and time.monotonic() < deadline:
        time.sleep(0.01)
    last = rss_mb(subscriber.pid)
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


def flood_engine(engine, router, pull):
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


def test_mock_engine(victim, ipc, peer):
    at, inputs, outputs = ipc(), ipc(), ipc()
    greeter = peer(zmq.ROUTER, bind=at)
    router = peer(zmq.ROUTER, bind=inputs, router_mandatory=1)
    pull = peer(zmq.PULL, bind=outputs)
    engine = victim("mock_engine", handshake=at)
    identity = greeter.recv_multipart()[0]
    addresses = structs.EngineZmqAddresses([inputs], [outputs])
    greeter.send_multipart([identity, pack(structs.EngineHandshakeMetadata(addresses, {}))])
    assert router.recv_multipart()[0] == identity == ZERO
    assert greeter.recv_multipart()[0] == ZERO
    flood_engine(engine, router, pull)


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
    made = mutants.Mutants(SEED, [], 0)
    made.values = [renamed(unpack(mutants.VECTORS[name])) for name in OUTPUTS]
    made.payloads = [made._payload() for _ in range(20000)]

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


def test_mock_frontend(victim, ipc, peer):
    wire = {"input": ipc(), "output": ipc()}
    frontend = victim("mock_frontend", requests=ROUNDS + 1, max_tokens=1, **wire)
    made = mutants.Mutants(SEED, ["READY", "READY_V26"])
    strangers = [peer(zmq.DEALER, connect=wire["input"], routing_id=b"stranger-%d" % n) for n in range(3)]
    for number in range(min(MESSAGES, 100000)):
        strangers[number % 3].send_multipart(made.frames())
    engine = peer(zmq.DEALER, connect=wire["input"], routing_id=ZERO)
    engine.send(mutants.VECTORS["READY"])
    frontend.wait_line("^engine 0 registered")
    flood_frontend(frontend, engine, peer, wire)


def test_mock_frontend_behind_a_handshake(victim, ipc, peer):
    """In the handshake, before the registration, and behind it. No mutant has an engine's identity."""
    wire = {"handshake": ipc(), "input": ipc(), "output": ipc()}
    frontend = victim("mock_frontend", requests=ROUNDS + 1, max_tokens=1, **wire)
    made = mutants.Mutants(SEED, ["HANDSHAKE_HELLO", "HANDSHAKE_READY", "READY"], 2000)
    for end in ("handshake", "input"):
        stranger = peer(zmq.DEALER, connect=wire[end])
        for _ in range(2000):
            stranger.send_multipart(made.frames())
    frontend.wait_err("^mock_frontend: handshake: identity")
    greeter = peer(zmq.DEALER, connect=wire["handshake"], routing_id=ZERO)
    greeter.send(mutants.VECTORS["HANDSHAKE_HELLO"])
    greeter.recv()
    engine = peer(zmq.DEALER, connect=wire["input"], routing_id=ZERO)
    engine.send(mutants.VECTORS["READY"])
    greeter.send(mutants.VECTORS["HANDSHAKE_READY"])
    frontend.wait_line("^engine 0 registered")
    flood_frontend(frontend, engine, peer, wire)
