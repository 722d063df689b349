# SPDX-License-Identifier: MIT
"""mock_engine with front-ends whose sockets are not libzmq's, or do not answer yet: vLLM's front-end in
Rust, which accepts no ZMTP command but READY, and API servers that take over listeners of their parent.
"""

import socket
import threading
import time

import msgspec
import pytest
import structs
import zmq
from zmtp import COMMAND, GREETING, LONG, MORE, frame, ready

from harness import WAIT_S

pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode
ADD = b"\0"


class RawPeer(threading.Thread):
    """A listener that speaks ZMTP 3.0 by hand, and hangs up on any command but READY."""

    def __init__(self, kind):
        super().__init__(daemon=True)
        self.kind, self.listener = kind, socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        self.messages, self.connections, self.refused = [], 0, []
        self.link, self.news = None, threading.Condition()
        self.start()

    def run(self):
        while True:
            try:
                self.link, _ = self.listener.accept()
            except OSError:
                return  # Closed: the test is over
            self.connections += 1
            with self.link:
                try:
                    self.serve()
                except (OSError, EOFError):
                    pass

    def read(self, size):
        data = b""
        while len(data) < size:
            part = self.link.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def serve(self):
        self.link.sendall(GREETING + ready(self.kind))
        self.read(64)
        frames = []
        while True:
            flags = self.read(1)[0]
            size = int.from_bytes(self.read(8 if flags & LONG else 1), "big")
            body = self.read(size)
            if flags & COMMAND:
                name = body[1 : 1 + body[0]]
                if name != b"READY":
                    self.refused.append(name)
                    return
                continue
            frames.append(body)
            if not flags & MORE:
                with self.news:
                    self.messages.append(frames)
                    self.news.notify_all()
                frames = []

    def send(self, *frames):
        for i, data in enumerate(frames):
            self.link.sendall(frame(data, MORE if i + 1 < len(frames) else 0))

    def receive(self, nth):
        """The message with that number, the first is 0."""
        with self.news:
            assert self.news.wait_for(lambda: len(self.messages) > nth, WAIT_S)
        return self.messages[nth]


def request(name, max_tokens=2):
    return pack(structs.toy_request(name, max_tokens))


def init(inputs, outputs):
    return pack(structs.EngineHandshakeMetadata(structs.EngineZmqAddresses(inputs, outputs), {}))


def test_a_peer_that_knows_no_ping(start):
    """ROUTER, ROUTER and PULL as the crate zeromq has them: still there after 6 s, and served."""
    greeter, router, pull = (RawPeer(kind) for kind in (b"ROUTER", b"ROUTER", b"PULL"))
    try:
        engine = start("mock_engine", handshake=greeter.endpoint)
        (hello,) = greeter.receive(0)
        assert unpack(hello)["status"] == "HELLO"
        time.sleep(3)  # A front-end waits for all its engines before it says INIT
        greeter.send(init([router.endpoint], [pull.endpoint]))
        (registration,) = router.receive(0)
        assert unpack(registration)["max_model_len"] == 1048576
        assert unpack(greeter.receive(1)[0])["status"] == "READY"
        router.send(ADD, request("first"))
        assert unpack(pull.receive(1)[0])[1][0][:1] == ["first"]
        time.sleep(6)
        router.send(ADD, request("second"))
        assert unpack(pull.receive(3)[0])[1][0][:1] == ["second"]
        for each in (greeter, router, pull):
            assert (each.connections, each.refused) == (1, [])
        assert engine.stop() == 0
        assert pull.receive(4) == [structs.ENGINE_CORE_DEAD]
    finally:
        for each in (greeter, router, pull):
            each.listener.close()


class Adopted:
    """A front-end with bare sockets for listeners until adopt(): TCP connects, nobody greets."""

    def __init__(self, peer, ipc, servers):
        self.peer, self.handshake_at = peer, ipc()
        # The engine comes back with the same identity, perhaps before its first connection has
        # ended here
        self.handshake = peer(zmq.ROUTER, bind=self.handshake_at, router_handover=1)
        self.listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2 * servers)]
        self.at = [f"tcp://127.0.0.1:{each.getsockname()[1]}" for each in self.listeners]
        self.inputs, self.outputs = self.at[:servers], self.at[servers:]

    def hello(self):
        identity, status = self.handshake.recv_multipart()
        assert unpack(status)["status"] == "HELLO"
        self.handshake.send_multipart([identity, init(self.inputs, self.outputs)])
        return identity

    def adopt(self):
        sockets = []
        for listener, address in zip(self.listeners, self.at):
            kind = zmq.ROUTER if address in self.inputs else zmq.PULL
            made = self.peer(kind)
            made.setsockopt(zmq.USE_FD, listener.detach())
            made.bind(address)
            sockets.append(made)
        return sockets[: len(self.inputs)], sockets[len(self.inputs) :]

    def check(self, identity):
        """One registration at each, then READY, then service; and no second HELLO."""
        routers, pulls = self.adopt()
        for router in routers:
            assert router.recv_multipart()[0] == identity
        _, status = self.handshake.recv_multipart()
        assert unpack(status)["status"] == "READY"
        for n, (router, pull) in enumerate(zip(routers, pulls)):
            each = structs.toy_request(f"r{n}", 1)
            each.client_index = n
            router.send_multipart([identity, ADD, pack(each)])
            outputs = []
            while not outputs:  # One without any tells that nothing runs
                outputs = unpack(pull.recv())[1]
            assert outputs[0][0] == f"r{n}"
            assert router.poll(200) == 0
        assert self.handshake.poll(200) == 0


@pytest.mark.parametrize("how", ["hang up", pytest.param("35 s", marks=pytest.mark.slow)])
def test_a_listener_that_is_adopted_later(start, peer, ipc, how):
    """After 30 s without a greeting libzmq (ZMQ_HANDSHAKE_IVL) ends a connection: DISCONNECTED of one
    that was never greeted. A peer that accepts and hangs up looks the same. The engine keeps its
    sockets."""
    front = Adopted(peer, ipc, servers=4)
    engine = start("mock_engine", handshake=front.handshake_at)
    identity = front.hello()
    if how == "35 s":
        time.sleep(35)
    else:
        for listener in front.listeners * 2:
            listener.settimeout(WAIT_S)
            listener.accept()[0].close()
    assert not front.handshake.poll(300)
    front.check(identity)
    assert not engine.lines("the front-end is gone")
    assert engine.stop() == 0


def test_a_front_end_that_was_greeted_is_gone(start, peer, ipc):
    """If a connection with a complete handshake ends, the front-end has ended: the next one gets a HELLO."""
    front = Adopted(peer, ipc, servers=1)
    engine = start("mock_engine", handshake=front.handshake_at)
    identity = front.hello()
    routers, _ = front.adopt()
    assert routers[0].recv_multipart()[0] == identity
    _, status = front.handshake.recv_multipart()
    assert unpack(status)["status"] == "READY"
    routers[0].close(linger=0)
    engine.wait_line("the front-end is gone")
    identity, status = front.handshake.recv_multipart()
    assert unpack(status)["status"] == "HELLO"
    assert engine.stop() == 0
