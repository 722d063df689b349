# SPDX-License-Identifier: MIT
"""REQ/REP: each pair of Demos 1, 1.1 and 1.2, in C and in Python, and how they behave; and Demo 1.3."""

import signal

import pytest
import zmq
import zmq.auth
from harness import MAKE_KEYS, WAIT_S

PAIRS = [("c", "c"), ("c", "py"), ("py", "c")]
MESSAGES = {
    "plain": "hello",
    "empty": "",
    "quotes": 'say "hi", it\'s 5 % of \\n',
    "utf8": "Grüße, 你好, 🙂",
    "long": "x" * 100_000,
}
RETRY_LINES = {
    "timeout_retry_client": r"^timeout after {} ms, rebuilding the REQ socket, retry (\d+) of {}$",
    "poller_client": r"^poll timeout after {} ms, retrying\.\.\. \((\d+) of {}\)$",
}


@pytest.mark.parametrize("server, client", PAIRS)
@pytest.mark.parametrize("text", MESSAGES.values(), ids=MESSAGES)
def test_basic(start, server, client, text):
    serving = start("basic_server", lang=server, endpoint="tcp://127.0.0.1:*", count=5)
    asking = start(
        "basic_client", lang=client, endpoint=serving.endpoint(), message=text, count=5
    )
    assert asking.wait() == serving.wait() == 0
    assert asking.out == [f"pong: {text}"] * 5 + ["basic_client: 5 answered"]
    assert serving.out[1:] == [f"got: {text}"] * 5 + ["basic_server: 5 answered, 0 bad"]
    assert serving.err == asking.err == []


@pytest.mark.parametrize("server, client", PAIRS)
@pytest.mark.parametrize("name", RETRY_LINES)
def test_timeouts_then_success(start, ipc, server, client, name):
    endpoint = ipc()
    serving = start("slow_server", lang=server, endpoint=endpoint, delay_s=0.25, delay_first_n=2)
    asking = start(
        name, lang=client, endpoint=endpoint, message="hello", timeout_ms=200, retries=99
    )
    assert asking.wait() == 0
    retries = asking.lines(RETRY_LINES[name].format(200, 99))
    # The first answer alone takes longer than the client waits
    assert retries == [str(n + 1) for n in range(len(retries))] and retries
    assert asking.out[len(retries) :] == ["pong: hello", f"{name}: 1 answered"]
    assert asking.err == []
    assert serving.stop() == 0
    assert serving.lines("^got: .*")[:3] == ["got: hello, answering in 0.25 s"] * 2 + [
        "got: hello, answering now"
    ]


@pytest.mark.parametrize("lang", ["c", "py"])
@pytest.mark.parametrize("name", RETRY_LINES)
@pytest.mark.parametrize("retries", [0, 2])
def test_gives_up(start, ipc, lang, name, retries):
    endpoint = ipc()
    client = start(name, lang=lang, endpoint=endpoint, timeout_ms=20, retries=retries)
    assert client.wait() == 1
    numbers = client.lines(RETRY_LINES[name].format(20, retries))
    assert numbers == [str(n + 1) for n in range(retries)]
    assert client.err == [f"{name}: no reply from {endpoint}: gave up after {retries} retries"]
    assert client.summary() == "0 answered"


@pytest.mark.valgrind
@pytest.mark.parametrize("name", RETRY_LINES)
def test_a_late_reply_dies_with_its_socket(start, ipc, peer, name):
    """The answer to the first request must not be taken for the answer to the second."""
    router = peer(zmq.ROUTER, bind=(endpoint := ipc()))
    client = start(name, endpoint=endpoint, timeout_ms=300, retries=99)
    first, *_ = router.recv_multipart()
    second, *_ = router.recv_multipart()
    assert first != second
    router.send_multipart([first, b"", b"\xa5stale"])
    router.send_multipart([second, b"", b"\xa5fresh"])
    assert client.wait() == 0
    assert "fresh" in client.out and "stale" not in client.out


@pytest.mark.valgrind
def test_server_comes_after_its_clients(start, ipc, peer):
    endpoint = ipc()
    clients = [start("basic_client", endpoint=endpoint, message=n) for n in range(3)]
    server = start("basic_server", endpoint=endpoint)
    for n, client in enumerate(clients):
        assert client.wait() == 0
        assert f"pong: {n}" in client.out
    assert server.stop() == 0
    assert sorted(server.lines("^got: .*")) == ["got: 0", "got: 1", "got: 2"]


@pytest.mark.parametrize("name", ["basic_client", *RETRY_LINES, "secure_client"])
def test_a_bad_reply_ends_the_client(start, ipc, peer, keys, name):
    more = {"keys": keys} if name == "secure_client" else {}
    endpoint = ipc()
    if more:
        router = peer(zmq.ROUTER)
        public, secret = zmq.auth.load_certificate(keys / "server.key_secret")
        router.curve_publickey, router.curve_secretkey, router.curve_server = public, secret, True
        router.bind(endpoint)
    else:
        router = peer(zmq.ROUTER, bind=endpoint)
    client = start(name, endpoint=endpoint, **more)
    identity, *_ = router.recv_multipart()
    router.send_multipart([identity, b"", b"\x81\xa5error\xa3why"])
    assert client.wait() == 1
    assert client.err == [f"{name}: bad reply: not one frame with a msgpack str"]


def test_control_bytes_do_not_reach_the_terminal(start, ipc):
    server = start("basic_server", endpoint=(endpoint := ipc()), count=1)
    client = start("basic_client", endpoint=endpoint, message="a\x1b[2J\x07\u009b2J é")
    assert client.wait() == server.wait() == 0
    for line in server.out + client.out:
        assert "\x1b" not in line and "\x07" not in line and "\u009b" not in line
        assert line.endswith(" é") or not line.startswith(("got", "pong"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped(start, ipc, number):
    """A server that is stopped exits with 0, a client without its answer with 1."""
    endpoint = ipc()
    waiting = start("slow_server", endpoint=endpoint, delay_s=3600)
    client = start("basic_client", endpoint=endpoint)
    impatient = [start(name, endpoint=ipc(), timeout_ms=3600_000) for name in RETRY_LINES]
    waiting.wait_line("^got: ping, answering in 3600 s$")
    for each in impatient:
        each.wait_ready_for_signals()
    assert [each.stop(number) for each in (client, *impatient)] == [1, 1, 1]
    assert waiting.stop(number) == 0
    assert waiting.summary() == "1 answered, 0 bad"


# --- Demo 1.3


@pytest.mark.valgrind
def test_secure_pair(start, ipc, keys):
    endpoint = ipc()
    server = start("secure_server", endpoint=endpoint, keys=keys, count=3)
    client = start("secure_client", endpoint=endpoint, keys=keys, message="hello", count=3)
    assert client.wait() == server.wait() == 0
    assert client.out == ["pong: hello"] * 3 + ["secure_client: 3 answered"]
    assert server.out == [
        f"secure_server: listening on {endpoint}",
        *["got: hello"] * 3,
        "secure_server: 3 answered, 0 bad",
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_strangers_are_not_served(start, ipc, keys, new_keys, number):
    """Without keys, with keys that are not listed, or with another server's: no answer, and the listed
    client is served after them."""
    endpoint = ipc()
    server = start("secure_server", endpoint=endpoint, keys=keys)
    server.endpoint()
    others = new_keys()
    mixed = new_keys()  # The right server's public key, but a client that is not listed
    (mixed / "server.key").write_bytes((keys / "server.key").read_bytes())
    strangers = [
        start("timeout_retry_client", endpoint=endpoint, timeout_ms=500, retries=0),
        start("secure_client", endpoint=endpoint, keys=others),
        start("secure_client", endpoint=endpoint, keys=mixed),
    ]
    assert strangers[0].wait() == 1  # In this time the others would have been served, too
    client = start("secure_client", endpoint=endpoint, keys=keys, message="listed")
    assert client.wait() == 0
    for stranger in strangers[1:]:
        stranger.wait_ready_for_signals()
        assert stranger.stop(number) == 1
    assert server.stop(number) == 0
    assert server.out[1:] == ["got: listed", "secure_server: 1 answered, 0 bad"]


def test_keys_of_pyzmq(start, peer, keys, ipc):
    """zmq.auth reads the same folder; the server answers pyzmq as it does a C client."""
    server = start("secure_server", endpoint=(endpoint := ipc()), keys=keys, count=1)
    client = peer(zmq.REQ)
    client.curve_publickey, client.curve_secretkey = zmq.auth.load_certificate(
        keys / "client.key_secret"
    )
    client.curve_serverkey, _ = zmq.auth.load_certificate(keys / "server.key")
    client.connect(endpoint)
    client.send(b"\xa2hi")
    assert client.recv() == b"\xa8pong: hi"
    assert server.wait() == 0


@pytest.mark.parametrize(
    "name, file",
    [
        ("secure_server", "server.key_secret"),
        ("secure_server", "clients"),
        ("secure_client", "client.key_secret"),
        ("secure_client", "server.key"),
    ],
)
@pytest.mark.parametrize("damage", ["missing", "junk", "empty"])
def test_a_key_file_is_no_good(start, ipc, keys, name, file, damage):
    path = keys / file
    if file == "clients":
        (path / "client.key").unlink()
        path.rmdir()
    elif damage == "missing":
        path.unlink()
        if file == "server.key":  # CZMQ would find the public key in it, too
            (keys / "server.key_secret").unlink()
    else:
        path.write_text("junk\n" if damage == "junk" else "")
        if file == "server.key":
            (keys / "server.key_secret").unlink()
    program = start(name, endpoint=ipc(), keys=keys)
    assert program.wait() == 1
    assert program.out == [] and len(program.err) == 1
    assert program.err[0].startswith((f"{name}: cannot load {path}: ", f"{name}: cannot read {path}: "))


def test_make_keys_is_what_these_read(keys):
    assert MAKE_KEYS.exists() and WAIT_S
    names = sorted(str(path.relative_to(keys)) for path in keys.rglob("*") if path.is_file())
    assert names == [
        "client.key",
        "client.key_secret",
        "clients/client.key",
        "server.key",
        "server.key_secret",
    ]
