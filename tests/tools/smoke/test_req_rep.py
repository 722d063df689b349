# SPDX-License-Identifier: MIT
"""REQ/REP: the pairs of Demos 1, 1.1 and 1.2."""

import pytest
import zmq

MESSAGES = {
    "plain": "hello",
    "empty": "",
    "quotes": 'say "hi", it\'s 5 % of \\n',
    "utf8": "Grüße, 你好, 🙂",
    "long": "x" * 100_000,
}

# What each says before it tries again; the group is the number of the retry
RETRY_LINES = {
    "timeout_retry_client": r"^timeout after {} ms, rebuilding the REQ socket, retry (\d+) of {}$",
    "poller_client": r"^poll timeout after {} ms, retrying\.\.\. \((\d+) of {}\)$",
}
IMPATIENT = sorted(RETRY_LINES)


@pytest.mark.parametrize("text", MESSAGES.values(), ids=MESSAGES)
def test_five_answers(start, text):
    server = start("basic_server", endpoint="tcp://127.0.0.1:*", count=5)
    client = start("basic_client", endpoint=server.endpoint(), message=text, count=5)
    assert client.wait() == server.wait() == 0
    assert client.out == [f"pong: {text}"] * 5 + ["basic_client: 5 answered"]
    assert server.out[1:] == [f"got: {text}"] * 5 + ["basic_server: 5 answered, 0 bad"]
    assert server.err == client.err == []


@pytest.mark.valgrind
def test_server_comes_after_its_clients(start, ipc):
    endpoint = ipc()
    clients = [start("basic_client", "--verbose", endpoint=endpoint, message=n) for n in range(3)]
    for client in clients:
        client.wait_line("to server")  # The request is on its way to nobody
    server = start("basic_server", endpoint=endpoint)
    for n, client in enumerate(clients):
        assert client.wait() == 0
        assert f"pong: {n}" in client.out
    assert server.stop() == 0
    assert sorted(server.lines("^got: .*")) == ["got: 0", "got: 1", "got: 2"]
    assert server.summary() == "3 answered, 0 bad"


@pytest.mark.parametrize(
    "name", [pytest.param(IMPATIENT[0], marks=pytest.mark.valgrind), *IMPATIENT[1:]]
)
def test_timeouts_then_success(start, ipc, name):
    endpoint = ipc()
    server = start("slow_server", endpoint=endpoint, delay_s=0.25, delay_first_n=2)
    client = start(name, endpoint=endpoint, message="hello", timeout_ms=200, retries=99)
    assert client.wait() == 0
    retries = client.lines(RETRY_LINES[name].format(200, 99))
    # The first answer alone takes longer than the client waits
    assert retries == [str(n + 1) for n in range(len(retries))] and retries
    assert client.out[len(retries) :] == ["pong: hello", f"{name}: 1 answered"]
    assert client.err == []
    assert server.stop() == 0
    assert server.lines("^got: .*")[:3] == ["got: hello, answering in 0.25 s"] * 2 + [
        "got: hello, answering now"
    ]


@pytest.mark.parametrize("name", IMPATIENT)
@pytest.mark.parametrize("retries", [0, 2])
def test_gives_up(start, ipc, name, retries):
    endpoint = ipc()
    client = start(name, endpoint=endpoint, timeout_ms=20, retries=retries)
    assert client.wait() == 1
    numbers = client.lines(RETRY_LINES[name].format(20, retries))
    assert numbers == [str(n + 1) for n in range(retries)]
    assert client.err == [f"{name}: no reply from {endpoint}: gave up after {retries} retries"]
    assert client.summary() == "0 answered"


@pytest.mark.parametrize("name", IMPATIENT)
def test_a_late_reply_dies_with_its_socket(start, ipc, peer, name):
    """The answer to the first try must not be taken for the answer to the second."""
    endpoint = ipc()
    router = peer(zmq.ROUTER, bind=endpoint)
    client = start(name, endpoint=endpoint, timeout_ms=300, retries=99)
    first, *_ = router.recv_multipart()
    second, *_ = router.recv_multipart()
    assert first != second
    router.send_multipart([first, b"", b"\xa5stale"])
    router.send_multipart([second, b"", b"\xa5fresh"])
    assert client.wait() == 0
    assert "fresh" in client.out and "stale" not in client.out
