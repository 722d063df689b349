# SPDX-License-Identifier: MIT
"""What the tests themselves lean on."""

import pytest
import zmq

from harness import end_context


def test_a_context_that_does_not_end_fails_with_the_reason():
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    with pytest.raises(AssertionError, match=r"open sockets: \['.*PUSH.*threads: .*ZMQbg/IO/0 "):
        end_context(context, timeout=0.2)
    socket.close(0)
    end_context(context)
    assert context.closed


def test_a_message_that_nobody_takes_keeps_a_context():
    """Its socket is closed, and lingers."""
    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.connect("tcp://127.0.0.1:1")
    socket.send(b"for nobody")
    socket.close(linger=1000)
    with pytest.raises(AssertionError, match="open sockets: none; threads: "):
        end_context(context, timeout=0.2)
