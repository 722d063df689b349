# SPDX-License-Identifier: MIT
"""The Python demos that this repository mirrors, command by command: their options and their lines.
These are fixed, so that a reader of those demos finds the same here.
"""

import pytest
import zmq

SLOW = ["--delay-s", "1.5", "--delay-first-n", "2"]
RETRY = {
    "timeout_retry_client": "timeout after 1000 ms, rebuilding the REQ socket, retry {} of 5",
    "poller_client": "poll timeout after 1000 ms, retrying... ({} of 5)",
}


def test_demo_1(start, ipc):
    endpoint = ipc()
    server = start("basic_server", endpoint=endpoint)
    assert server.endpoint() == endpoint
    client = start("basic_client", endpoint=endpoint)
    assert client.wait() == 0
    assert client.out == ["pong: ping", "basic_client: 1 answered"]
    assert server.stop() == 0
    assert server.out[1:] == ["got: ping", "basic_server: 1 answered, 0 bad"]
    assert server.err == client.err == []


@pytest.mark.parametrize("name", RETRY)
def test_demos_1_1_and_1_2(start, ipc, name):
    endpoint = ipc()
    server = start("slow_server", *SLOW, endpoint=endpoint)
    server.endpoint()
    client = start(name, endpoint=endpoint)
    assert client.wait() == 0
    # The third request is sent at 2 s, and answered from 3 s on: in time, or just too late
    retries = len(client.out) - 2
    assert 2 <= retries <= 5
    assert client.out[:retries] == [RETRY[name].format(n + 1) for n in range(retries)]
    assert client.out[retries:] == ["pong: ping", f"{name}: 1 answered"]
    assert server.stop() == 0
    assert server.lines("^got: .*")[:3] == ["got: ping, answering in 1.5 s"] * 2 + [
        "got: ping, answering now"
    ]


@pytest.mark.parametrize("name", ["frontend", "poller_frontend"])
def test_demos_2_and_2_1(start, ipc, name):
    wire = {"input": ipc(), "output": ipc()}
    frontend = start(name, **wire)
    engine = start("engine", **wire)
    assert frontend.wait() == 0
    assert frontend.lines("^engine 0 registered$") and frontend.lines("^r2 -> engine 0$")
    assert frontend.lines(r"^(r\d) <- engine 0: 4 tokens, length$") == ["r0", "r1", "r2"]
    assert frontend.out[-1] == f"{name}: 3 of 3 requests complete, 12 tokens"
    assert engine.stop() == 0


def test_demo_2_2(start, ipc):
    wire = {"input": ipc(), "output": ipc()}
    frontend = start("round_robin_frontend", **wire)
    engines = [start("engine", **wire, index=index) for index in (0, 1)]
    assert frontend.wait() == 0
    assert sorted(frontend.lines(r"^engine (\d) registered$")) == ["0", "1"]
    sent = frontend.lines(r"^(r\d) -> engine (\d)$")
    assert [request for request, _ in sent] == [f"r{n}" for n in range(10)]
    first = int(sent[0][1])
    assert [int(engine) for _, engine in sent] == [(first + n) % 2 for n in range(10)]
    came = frontend.lines(r"^(r\d) <- engine (\d): 4 tokens, length$")
    assert sorted(came) == sorted(sent)  # From the engine that it went to
    for index in (0, 1):
        own = " ".join(request for request, engine in sent if int(engine) == index)
        assert f"engine {index}: {own}" in frontend.out
    assert frontend.out[-1] == "round_robin_frontend: 10 of 10 requests complete, 40 tokens"
    assert [engine.stop() for engine in engines] == [0, 0]


@pytest.mark.parametrize("index, identity", [(0, b"\0\0"), (1, b"\1\0"), (258, b"\2\1")])
def test_identity_of_an_engine(start, ipc, peer, index, identity):
    router = peer(zmq.ROUTER, bind=(at := ipc()))
    engine = start("engine", input=at, output=ipc(), index=index)
    assert router.recv_multipart()[0] == identity
    assert engine.stop() == 0


def test_demo_3(start, ipc):
    wire = {"endpoint": ipc(), "replay_endpoint": ipc()}
    subscriber = start("replay_subscriber", "--skip", "3-6", "--count", "9", **wire)
    subscriber.wait_line("^replay_subscriber: subscribed to")
    publisher = start("replay_publisher", "--interval-ms", "100", **wire)
    assert subscriber.wait() == 0
    assert publisher.stop() == 0
    seen = subscriber.lines(r"^seq (\d+)( replayed)?: BlockStored 1 block 16 tokens")
    assert [int(seq) for seq, _ in seen] == list(range(9))
    assert {int(seq) for seq, replayed in seen if replayed} >= {3, 4, 5, 6}
    assert "missed 3-6, asking for replay" in subscriber.out
    assert "seq 3 replayed: BlockStored 1 block 16 tokens" in subscriber.out
    assert publisher.lines(r"^replay from 3: \d+ batches$")
    replayed = sum(bool(replayed) for _, replayed in seen)  # More than 4, if it has joined late
    assert subscriber.summary() == f"9 received, {replayed} replayed, 0 lost, 0 bad"


def test_topics_and_late_joiner(start, ipc):
    endpoint = ipc()
    publisher = start("topic_publisher", "--topics", "a", "--interval-ms", "300", endpoint=endpoint)
    publisher.wait_line("^a 0$")
    subscriber = start("topic_subscriber", "--topic", "a", "--count", "1", endpoint=endpoint)
    assert subscriber.wait() == 0
    missed = subscriber.lines(r"^joined late: missed (\d+) of topic a$")
    assert f"a {missed[0]}" in subscriber.out
    assert publisher.stop() == 0


def test_waiting_for_subscribers(start, ipc):
    endpoint = ipc()
    wait = ["--wait-subscribers", "2", "--count", "6"]
    publisher = start("topic_publisher", "--topics", "a,ab,b", *wait, endpoint=endpoint)
    prefix = start("topic_subscriber", "--topic", "a", "--count", "4", endpoint=endpoint)
    every = start("topic_subscriber", "--count", "6", endpoint=endpoint)
    assert publisher.wait() == prefix.wait() == every.wait() == 0
    assert 'subscribed: "a"' in publisher.out
    assert prefix.lines(r"^ab? \d$") == ["a 0", "ab 0", "a 1", "ab 1"]
    assert every.summary() == "6 received, 0 bad"


def test_push_pull(start, ipc):
    source, results = ipc(), ipc()
    sink = start("sink", "--count", "6", endpoint=results)
    sink.endpoint()
    ventilator = start(
        "ventilator", "--workers", "2", "--count", "6", endpoint=source, sink=results
    )
    workers = [start("worker", name=name, source=source, sink=results) for name in ("w1", "w2")]
    assert ventilator.wait() == sink.wait() == 0
    assert sorted(sink.lines(r"^w\d: 3 tasks$")) == ["w1: 3 tasks", "w2: 3 tasks"]
    assert sink.out[-1] == "sink: 6 results from 2 workers, 0 bad"
    assert [worker.stop() for worker in workers] == [0, 0]
    assert [worker.out[-1] for worker in workers] == [
        f"worker: {name} did 3 tasks, 0 bad" for name in ("w1", "w2")
    ]
    assert ventilator.out[-1] == "ventilator: 6 tasks handed out"
