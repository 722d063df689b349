# SPDX-License-Identifier: MIT
"""Tests of the test harness."""

import pytest
import zmq

from harness import end_context


def test_a_context_that_does_not_end_fails_with_the_reason():
    """Its only socket was closed, and lingers for a message without a receiver."""
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.connect("tcp://127.0.0.1:1")
    socket.send(b"for nobody")
    socket.close(linger=1000)
    with pytest.raises(AssertionError, match="zmq_ctx_term .*; threads: .*ZMQbg/IO/0 [A-Z] "):
        end_context(context, timeout=0.2)


def test_open_sockets_and_monitors_keep_no_context():
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.get_monitor_socket()
    socket.connect("tcp://127.0.0.1:1")
    socket.send(b"for nobody")
    end_context(context)
    assert context.closed and socket.closed
