# SPDX-License-Identifier: MIT
"""Unexpected peers at every port that a program binds: they use another protocol, announce data that they
never send, or send half a message and stay. The program continues to serve its own peers.

HOSTILE_PEERS   the number of unexpected peers at a time (default 1,000)
"""

import os
import resource

import pytest
import zmq
import zmtp
from zmq.auth import load_certificate

from harness import FACTOR, NAMES, UNDER_VALGRIND
from mutants import VECTORS, pack, unpack
from programs import Bind, of_kind

PEERS = int(os.environ.get("HOSTILE_PEERS", "1000"))
ANY = "tcp://127.0.0.1:*"
ZERO = b"\0\0"

pytestmark = pytest.mark.skipif(UNDER_VALGRIND, reason="too slow under valgrind")


# For each program that binds: how it is started, what peers its ports are for, and how a good peer
# is served by it, which the test does before and behind the strangers. A `serve` takes the program,
# its endpoints, the fixture `peer`, and which time it is.


def serve_replay(program, ends, peer, time):
    subscriber, client = peer(zmq.SUB, connect=ends[0]), peer(zmq.DEALER, connect=ends[1])
    subscriber.subscribe(b"")
    assert len(subscriber.recv_multipart()) == 3
    client.send_multipart([b"", bytes(8)])
    assert client.recv_multipart()[1] == b"kv-events"


def serve_bound_subscriber(program, ends, peer, time):
    publisher = peer(zmq.XPUB, connect=ends[0])
    assert publisher.recv() == b"\x01"
    publisher.send_multipart([b"t", time.to_bytes(8, "big"), VECTORS["KV_NO_RANK"]])
    program.wait_line(f"^seq {time}: AllBlocksCleared$")


def serve_handshake(program, ends, peer, time):
    """The strangers come before the engine: it would end the handshake."""
    if time == 0:
        return
    greeter = peer(zmq.DEALER, connect=ends[0], routing_id=ZERO)
    greeter.send(VECTORS["HANDSHAKE_HELLO"])
    assert unpack(greeter.recv())["addresses"]["inputs"] == [ends[1]]
    engine = peer(zmq.DEALER, connect=ends[1], routing_id=ZERO)
    engine.send(VECTORS["READY"])
    greeter.send(VECTORS["HANDSHAKE_READY"])
    program.wait_line("^r0 -> engine 0$")
    peer(zmq.PUSH, connect=ends[2]).send(pack([0, [["r0", [5], None, None, None, 1]]]))
    program.wait_line("^r0 <- engine 0: 1 token, length$")


SEVERAL = {"requests": 3, "max_tokens": 1}
# The kinds of peer; and behind each the largest frame that is taken from it
SMALL, LARGE = 2**20, 64 * 2**20
ENGINES = [(b"DEALER", SMALL), (b"PUSH", LARGE)]
PROGRAMS = {
    "kv_publisher": (
        {"endpoint": ANY, "replay_endpoint": ANY, "interval_ms": 5},
        [(b"XSUB", SMALL), (b"DEALER", SMALL)],
        serve_replay,
        0,
    ),
    "kv_subscriber": (
        {"bind": True, "endpoint": ANY},
        [(b"PUB", LARGE)],
        serve_bound_subscriber,
        0,
    ),
    "mock_frontend": (
        {"handshake": ANY, "input": ANY, "output": ANY, **SEVERAL},
        [(b"DEALER", SMALL), *ENGINES],
        serve_handshake,
        1,
    ),
}


def test_every_port_is_here():
    ports = {name: len(of_kind(name, Bind)) for name in NAMES}
    ports["kv_subscriber"] = 1  # With --bind
    assert {name: count for name, count in ports.items() if count > 0} == {
        name: len(kinds) for name, (_, kinds, _, _) in PROGRAMS.items()
    }


@pytest.fixture(params=PROGRAMS)
def served(request, start, peer):
    """A program, its ports with the kind of peer that belongs there, and a function that checks that
    it serves a good one; when that was called the last time, it is stopped too."""
    options, kinds, serve, status = PROGRAMS[request.param]
    # The usual limit of a shell: 1024 open files
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
    program = start(request.param, **options)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    ends = [program.endpoint(nth) for nth in range(1, len(kinds) + 1)]
    serve(program, ends, peer, 0)

    def last(number=1):
        serve(program, ends, peer, number)
        assert program.running()
        assert program.stop() == status
        assert program.err == [] or all("aborting" in line for line in program.err), str(program)

    return program, list(zip(ends, kinds)), last


def test_wrong_words(served):
    """Each of them is cut off, or waits; whatever it does, the others do not notice."""
    program, ports, last = served
    links = []
    for end, _ in ports:
        for words in zmtp.STRANGERS.values():
            link = zmtp.connect(end)
            link.sendall(words)
            links.append(link)
    last()
    for link in links:
        link.close()


def test_huge_frames(served):
    """A peer that announces a larger frame than any correct peer sends is disconnected, before any
    memory is allocated for the frame."""
    program, ports, last = served
    for end, (kind, most) in ports:
        for size in (most + 1, 2**31, 2**40, 2**63 - 1, 2**63, 2**64 - 1):
            for flags in (0, zmtp.MORE):
                link = zmtp.greeted(end, kind)
                head = bytes([flags | zmtp.LONG]) + size.to_bytes(8, "big")
                link.sendall(head + b"x" * 100)
                assert zmtp.is_cut_off(link), (end, kind, size)
                link.close()
    last()


@pytest.fixture
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_many_that_stay(served, many_files):
    """Connected and silent; in the middle of the handshake; with half a frame, or half a message."""
    program, ports, last = served
    before = program.rss_mb()
    links = []
    each = min(PEERS, (many_files - 200) // len(ports))
    for end, (kind, most) in ports:
        for number in range(each):
            how = number % 5
            link = zmtp.connect(end) if how < 2 else zmtp.greeted(end, kind)
            if how == 1:
                link.sendall(zmtp.GREETING[: 1 + number % 63])
            elif how == 3:
                # A few of them large: AddressSanitizer touches what is reserved for them
                size = most if number < 50 else 2**16
                link.sendall(bytes([zmtp.LONG]) + size.to_bytes(8, "big") + b"\x01half")
            elif how == 4 and kind != b"PULL":
                # Not what a PULL sends to a PUSH: of that, libzmq 4.3.4 frees nothing at its end
                link.sendall(zmtp.frame(b"", zmtp.MORE) + zmtp.frame(b"\x01" * 300, zmtp.MORE))
            links.append(link)
    last_mb = program.rss_mb()
    print(
        f"hostile: {program.name}: {len(links):,} strangers that stay, "
        f"memory {before:.0f} MB before, {last_mb:.0f} MB with them"
    )
    assert last_mb - before < 100 * FACTOR
    last()
    for link in links:
        link.close()


def test_many_at_a_closed_door(start, keys, peer, many_files):
    """They have no key, or send nothing. A few lines report them, and a client with a key connects."""
    server = start(
        "kv_publisher", "--quiet", "--curve-dir", keys, endpoint=ANY, replay_endpoint=ANY, interval_ms=50
    )
    end = server.endpoint(2)

    def ask():
        client = peer(zmq.REQ)  # For a replay
        client.curve_publickey, client.curve_secretkey = load_certificate(keys / "client.key_secret")
        client.curve_serverkey, _ = load_certificate(keys / "server.key")
        client.connect(end)
        client.send(bytes(8))
        assert client.recv_multipart()
        client.close()

    ask()
    curve = zmtp.STRANGERS["curve"]
    before, links = server.rss_mb(), []
    for number in range(min(PEERS, many_files - 200)):
        link = zmtp.connect(end)
        link.sendall(
            [b"", curve, curve[: 1 + number % 63], zmtp.GREETING, curve + zmtp.frame(b"\x05HELLO", 4)][
                number % 5
            ]
        )
        links.append(link)
    ask()
    after = server.rss_mb()
    print(
        f"hostile: kv_publisher --curve-dir: {len(links):,} strangers that stay, "
        f"memory {before:.0f} MB before, {after:.0f} MB with them"
    )
    assert after - before < 100 * FACTOR
    for link in links:
        link.close()
    ask()
    assert server.stop() == 0
    assert len(set(server.err)) == len(server.err) <= 7, str(server)
    assert all(line.startswith("kv_publisher: refused ") for line in server.err), str(server)
