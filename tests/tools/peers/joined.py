# SPDX-License-Identifier: MIT
"""A mock_engine that has joined a front-end of raw sockets."""

import msgspec
import zmq

from structs import EngineHandshakeMetadata, EngineZmqAddresses


def join_engine(start, peer, ipc, *args, **options):
    """The program; the ROUTER and the PULL of its front-end; its registration, two frames. Its
    outputs are without statistics, which are short to read."""
    at, inputs, outputs = ipc(), ipc(), ipc()
    greeter = peer(zmq.ROUTER, bind=at)
    router = peer(zmq.ROUTER, bind=inputs, router_mandatory=1)
    pull = peer(zmq.PULL, bind=outputs)
    everything = ("--log-requests", "--disable-log-stats")
    program = start("mock_engine", *everything, *args, handshake=at, **options)
    identity, _ = greeter.recv_multipart()
    init = EngineHandshakeMetadata(EngineZmqAddresses([inputs], [outputs]), {})
    greeter.send_multipart([identity, msgspec.msgpack.encode(init)])
    registration = router.recv_multipart()
    assert greeter.recv_multipart()[0] == registration[0] == identity  # READY
    return program, router, pull, registration
