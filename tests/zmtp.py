# SPDX-License-Identifier: MIT
"""ZMTP by hand, over a bare socket, to send what libzmq would never send. RFC 23, ZMTP 3.0."""

import contextlib
import socket
import threading

from harness import WAIT_S

GREETING = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
MORE, LONG, COMMAND = 1, 2, 4

# The first bytes of peers that use another protocol, or break ZMTP
STRANGERS = {
    "nothing": b"",
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "zeroes": bytes(1000),
    "ones": b"\xff" * 1000,
    "half a greeting": GREETING[:20],
    "wrong signature": b"\xfe" + GREETING[1:],
    "wrong end of signature": GREETING[:9] + b"\x00" + GREETING[10:],
    "version 0": GREETING[:10] + b"\x00" + GREETING[11:],
    "version 255": GREETING[:10] + b"\xff" + GREETING[11:],
    "unknown mechanism": GREETING[:12] + b"MAGIC".ljust(20, b"\0") + GREETING[32:],
    "plain": GREETING[:12] + b"PLAIN".ljust(20, b"\0") + GREETING[32:],
    "curve": GREETING[:12] + b"CURVE".ljust(20, b"\0") + GREETING[32:],
    "as a server": GREETING[:32] + b"\x01" + GREETING[33:],
    "no READY": GREETING + b"\x00\x05hello",
    "a command that is none": GREETING + b"\x04\x08\x07UNKNOWN",
    "a name beyond its command": GREETING + b"\x04\x06\xffREADY",
    "a property beyond its command": GREETING + b"\x04\x10\x05READY\x0bSocket",
    "a huge property": GREETING + b"\x04\x0b\x05READY\x00\xff\xff\xff\xff",
    "unknown socket type": GREETING + b"\x04\x1a\x05READY\x0bSocket-Type\x00\x00\x00\x03ABC",
    "ERROR": GREETING + b"\x04\x08\x05ERROR\x01x",
    "reserved flags": GREETING + b"\xf8\x00",
    "a huge command": GREETING + b"\x06" + b"\x7f" + b"\xff" * 7,
}


def connect(endpoint):
    """A bare connection to tcp://127.0.0.1:PORT or ipc://PATH."""
    kind, _, address = endpoint.partition("://")
    if kind == "ipc":
        link = socket.socket(socket.AF_UNIX)
        where = address
    else:
        link = socket.socket()
        host, _, port = address.rpartition(":")
        assert host == "127.0.0.1", endpoint  # A local address
        where = (host, int(port))
    link.settimeout(WAIT_S)
    link.connect(where)
    return link


def frame(data, flags=0):
    if len(data) > 255:
        return bytes([flags | LONG]) + len(data).to_bytes(8, "big") + data
    return bytes([flags, len(data)]) + data


def ready(socket_type, identity=b""):
    body = b"\x05READY"
    for name, value in ((b"Socket-Type", socket_type), (b"Identity", identity)):
        body += bytes([len(name)]) + name + len(value).to_bytes(4, "big") + value
    return frame(body, COMMAND)


def greeted(endpoint, socket_type, identity=b""):
    """A connection after the handshake: ready for valid and invalid frames."""
    link = connect(endpoint)
    link.sendall(GREETING + ready(socket_type, identity))
    heard = b""
    while b"READY" not in heard:
        more = link.recv(4096)
        assert more, "hung up in the handshake"
        heard += more
    return link


def is_cut_off(link):
    """True if the other end closes the connection within the time limit."""
    try:
        while link.recv(4096):
            pass
    except ConnectionResetError:
        pass
    except socket.timeout:
        return False
    return True


@contextlib.contextmanager
def flooded(endpoint, kind, *frames):
    """Strangers who send this message all the time, so that the socket always has something to read."""
    over = threading.Event()
    more = [frame(each, MORE) for each in frames[:-1]]
    message = b"".join([*more, frame(frames[-1])]) * 10000

    def send():
        with contextlib.suppress(OSError), greeted(endpoint, kind) as link:
            while not over.is_set():
                link.sendall(message)

    strangers = [threading.Thread(target=send) for _ in range(2)]
    for each in strangers:
        each.start()
    yield
    over.set()
    for each in strangers:
        each.join()
