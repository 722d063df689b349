# SPDX-License-Identifier: MIT
"""Each lesson that receives gets bad messages: junk, truncated, of wrong types, with missing or surplus
frames. It prints at most one line on stderr for each, and continues to serve.

To test another receiver, add a row to RECEIVERS. The REQ clients end with their first bad reply, so
they have their own tests. Under sanitizers: make test SAN=address,undefined PYTEST='-k lessons'
"""

import re
import socket

import msgspec
import mutants
import pytest
import zmq
import zmq.auth
import zmtp
from harness import FACTOR, UNREADABLE, WAIT_S

pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode
MESSAGES = 2000
GROWTH_MB = 32 * FACTOR


class Receiver:
    """A program under test: how to send it a message, and how to check that it serves a good one."""

    def __init__(self, program, send, good, complaint, samples):
        self.program, self.send, self.good = program, send, good
        self.complaint, self.samples = complaint, samples


def server(name, **options):
    def start_server(start, ipc, peer, keys):
        endpoint = ipc()
        more = {**options, **({"keys": keys} if name == "secure_server" else {})}
        program = start(name, endpoint=endpoint, **more)

        def connected(kind):
            client = peer(kind)
            if name == "secure_server":
                public, secret = zmq.auth.load_certificate(keys / "client.key_secret")
                client.curve_publickey, client.curve_secretkey = public, secret
                client.curve_serverkey, _ = zmq.auth.load_certificate(keys / "server.key")
            client.connect(endpoint)
            return client

        stranger, friend = connected(zmq.DEALER), connected(zmq.REQ)

        def send(frames):
            stranger.send_multipart([b"", *frames])
            answer = stranger.recv_multipart()  # Whatever came, a REP answers
            assert len(answer) == 2 and answer[0] == b""
            # "pong: ..." (with the bytes that it was sent, even if they are no UTF-8), or {"error": why}
            assert b"pong: " in answer[1] or list(unpack(answer[1])) == ["error"]

        def good(number):
            friend.send(pack(f"good {number}"))
            assert friend.recv() == pack(f"pong: good {number}")

        return Receiver(program, send, good, "bad request: ", ["PING", "PONG_ERROR"])

    return start_server


def worker(start, ipc, peer, keys):
    source, results = peer(zmq.PUSH, bind=ipc()), peer(zmq.PULL, bind=ipc(), rcvhwm=0)
    ends = [each.last_endpoint.decode() for each in (source, results)]
    program = start("worker", source=ends[0], sink=ends[1], name="w")

    def good(number):
        source.send(pack({"task": 2**32 - 1 - number, "value": 5}))
        while unpack(results.recv())["task"] != 2**32 - 1 - number:
            pass

    return Receiver(program, source.send_multipart, good, "bad task: ", ["TASK"])


def sink(start, ipc, peer, keys):
    endpoint = ipc()
    program = start("sink", endpoint=endpoint, count=0)
    source = peer(zmq.PUSH, connect=endpoint)

    def good(number):
        source.send(pack({"task": 1, "worker": f"good{number}", "value": 1}))
        program.wait_line(f"^task 1 <- good{number}: 1$")

    return Receiver(program, source.send_multipart, good, "bad result: ", ["RESULT", "BATCH_START"])


RECEIVERS = {
    "basic_server": server("basic_server"),
    "slow_server": server("slow_server", delay_first_n=0),
    "secure_server": server("secure_server"),
    "worker": worker,
    "sink": sink,
}
NO_TEXT = [pack(value) for value in (42, None, [], ["a"], b"raw", 1.5, {}, {"a": 1}, "a\0b")]
NO_TASK = [
    pack(value)
    for value in (
        *(1, None, "task", [1, 1], {}),
        *({"task": 1}, {"value": 1}, {"Task": 1, "value": 1}, {1: 1}),
        *({"task": bad, "value": 1} for bad in (-1, "1", None, 1.0, [1], 2**32)),
        *({"task": 1, "value": bad} for bad in (-1, "1", None, 1.0, {}, 2**32)),
    )
]
NO_RESULT = [
    *NO_TASK,
    *(
        pack({"task": 1, "worker": "w", "value": 1, **bad})
        for bad in ({"task": -1}, {"task": "1"}, {"worker": 1}, {"worker": b"w"}, {"value": None})
    ),
    pack({"task": 1, "worker": "w\0", "value": 1}),
    pack({"tasks": -1}),
    pack({"tasks": "1"}),
    pack({"tasks": 2**32}),
]
BAD = {"worker": NO_TASK, "sink": NO_RESULT}


@pytest.fixture
def receiver(request, start, ipc, peer, keys):
    return RECEIVERS[request.param](start, ipc, peer, keys)


EACH = pytest.mark.parametrize("receiver", RECEIVERS, indirect=True)


def check_lines(receiver, most):
    lines = receiver.program.err
    assert len(lines) <= most
    for line in lines:
        assert line.startswith(f"{receiver.program.name}: {receiver.complaint}"), line
        assert line.isprintable(), line


@pytest.mark.valgrind
@EACH
def test_one_line_each(receiver):
    messages = [[bad] for bad in UNREADABLE + BAD.get(receiver.program.name, NO_TEXT)]
    messages += [[pack("a"), pack("b")], [b"", pack("a")], [b"", b"", b""], [b""] * 100]
    for number, message in enumerate(messages, 1):
        receiver.send(message)
        receiver.program.wait_err(f"{receiver.complaint}.", nth=number)
    receiver.good(0)
    check_lines(receiver, len(messages))
    assert len(receiver.program.err) == len(messages)
    assert receiver.program.stop() == 0
    assert receiver.program.summary().endswith(f", {len(messages)} bad")


@EACH
def test_flood(receiver):
    """Random messages, made from good ones, with a good one after every 200."""
    made = mutants.Mutants(1, receiver.samples, 3000)
    first = None
    for number in range(MESSAGES):
        receiver.send(made.frames())
        if number % 200 == 199:
            receiver.good(number)
            first = first or receiver.program.rss_mb()
    assert receiver.program.rss_mb() - first < GROWTH_MB
    check_lines(receiver, MESSAGES)
    assert receiver.program.stop() == 0


CLIENTS = ["basic_client", "timeout_retry_client", "poller_client"]


@pytest.mark.parametrize("name", CLIENTS)
def test_client(start, ipc, peer, name):
    """A client ends with status 1 at the first reply that it cannot read."""
    endpoint = ipc()
    replier = peer(zmq.REP, bind=endpoint)
    replies = [[bad] for bad in UNREADABLE + NO_TEXT] + [[pack("a"), pack("b")], [b"", pack("a")]]
    for reply in replies:
        client = start(name, endpoint=endpoint)
        replier.recv()
        replier.send_multipart(reply)
        assert client.wait() == 1
        assert client.out == []
        assert client.err == [f"{name}: bad reply: not one frame with a msgpack str"]


@pytest.mark.parametrize("name", CLIENTS[1:])
def test_client_that_gets_no_reply_at_all(start, ipc, peer, name):
    """libzmq drops a message that is no reply, or closes the connection: the client asks again."""
    made = mutants.Mutants(1, ["PONG"], 1000)
    router = peer(zmq.ROUTER, bind=(endpoint := ipc()))
    client = start(name, endpoint=endpoint, timeout_ms=100, retries=100)
    for _ in range(10):
        identity = router.recv_multipart()[0]
        for _ in range(100):
            frames = made.frames()
            router.send_multipart([identity, *([b"x"] if frames[0] == b"" else []), *frames])
    identity, *request = router.recv_multipart()
    assert request == [b"", pack("ping")]
    router.send_multipart([identity, b"", pack("pong: ping")])
    assert client.wait() == 0
    assert client.out[-2] == "pong: ping"


BINDERS = {
    "basic_server": {},
    "slow_server": {},
    "secure_server": {},
    "sink": {},
    "ventilator": {"sink": "tcp://127.0.0.1:9", "workers": 1},
}


@pytest.mark.parametrize("name", BINDERS)
def test_connections_that_are_no_peers(start, keys, monkeypatch, name):
    """Other protocols, and a frame whose head announces a terabyte: libzmq closes the connection, and the
    program does not notice. (A sanitizer has to let malloc return NULL, as it does without one.)"""
    monkeypatch.setenv("ASAN_OPTIONS", "allocator_may_return_null=1")
    more = {"keys": keys} if name == "secure_server" else {}
    program = start(name, endpoint="tcp://127.0.0.1:*", **BINDERS[name], **more)
    port = int(program.endpoint().rpartition(":")[2])
    kind = {"sink": b"PUSH", "ventilator": b"PULL"}.get(name, b"REQ")
    for words in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100, zmtp.GREETING[:20]):
        with socket.create_connection(("127.0.0.1", port), WAIT_S) as stranger:
            stranger.sendall(words)
    if name != "secure_server":
        with zmtp.greeted(program.endpoint(), kind) as stranger:
            stranger.sendall(bytes([zmtp.LONG]) + (2**40).to_bytes(8, "big") + b"half")
    assert program.stop() == 0
    told = re.compile("WARNING: AddressSanitizer failed to allocate")
    program.err[:] = [line for line in program.err if not told.search(line)]
    assert program.err == []
