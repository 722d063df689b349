# SPDX-License-Identifier: MIT
"""The demos with one end in C and the other in Python, both under ztrace: both ends have seen the same."""

import re

import pytest
import trace_read

from harness import ZTRACE
from traced import contents, events, messages

pytestmark = pytest.mark.skipif(not ZTRACE.exists(), reason="ztrace needs glibc")

BOTH_WAYS = pytest.mark.parametrize(
    "server, client", [("c", "py"), ("py", "c"), ("py", "py")], ids=lambda lang: lang
)


def programs(path, lost=()):
    """The messages of a trace in words, each lane by its program. Nobody is missing, and no message
    but those with the words in `lost`."""
    run = trace_read.read(path)
    assert all(lane.pid for lane in run.lanes)
    for message in run.messages:
        assert message.send, message.label
        assert message.recv or message.fate == "hidden" or message.label in lost, message.label
    return [
        f"{m.source.title} > {m.target.title}: {m.label}".replace(".py", "") for m in run.messages
    ]


@BOTH_WAYS
def test_req_rep(start, ipc, trace, server, client):
    endpoint = ipc()
    serving = start("basic_server", lang=server, ztrace=trace, endpoint=endpoint, count=2)
    asking = start("basic_client", lang=client, ztrace=trace, endpoint=endpoint, count=2)
    assert asking.wait() == serving.wait() == 0
    assert programs(trace) == [
        "basic_client > basic_server: ping",
        "basic_server > basic_client: pong: ping",
    ] * 2


@BOTH_WAYS
def test_pub_sub(start, ipc, trace, server, client):
    endpoint = ipc()
    publisher = start(
        "topic_publisher", lang=server, ztrace=trace, endpoint=endpoint, wait_subscribers=1, count=3
    )
    subscriber = start("topic_subscriber", lang=client, ztrace=trace, endpoint=endpoint, count=3)
    assert subscriber.wait() == publisher.wait() == 0
    subscribed, *published = programs(trace)
    assert subscribed == 'topic_subscriber > topic_publisher: subscribe ""'
    assert len(published) == 3
    assert contents(messages(trace, socket="XPUB", dir="send")) == contents(
        messages(trace, socket="SUB", dir="recv")
    )


@BOTH_WAYS
def test_push_pull(start, ipc, trace, server, client):
    tasks, results = ipc(), ipc()
    sink = start("sink", lang=client, ztrace=trace, endpoint=results, count=12)
    sink.endpoint()
    ventilator = start(
        "ventilator", lang=server, ztrace=trace, endpoint=tasks, sink=results, count=12, workers=1
    )
    worker = start("worker", lang=client, ztrace=trace, source=tasks, sink=results, count=12, name="w1")
    assert ventilator.wait() == worker.wait() == sink.wait() == 0
    told = programs(trace)
    assert told.count("ventilator > sink: 12 tasks to come") == 1
    assert [f"ventilator > worker: task {n}" in told for n in range(12)] == [True] * 12
    assert [f"worker > sink: result {n * n} by w1" in told for n in range(12)] == [True] * 12


@BOTH_WAYS
def test_router_dealer(start, ipc, trace, server, client):
    wire = {"input": ipc(), "output": ipc()}
    frontend = start("round_robin_frontend", lang=server, ztrace=trace, engines=2, requests=4, **wire)
    engines = [start("engine", lang=client, ztrace=trace, index=n, step_ms=1, **wire) for n in (0, 1)]
    assert frontend.wait() == 0
    assert [engine.stop() for engine in engines] == [0, 0]
    # When the front-end has ended, an engine registers with the next one, and is stopped there
    told = programs(trace, lost=("registration", "ENGINE_CORE_DEAD"))
    for request in range(4):
        assert sum(f"] ADD r{request}, 5 tokens" in line for line in told) == 1
        assert [line for line in told if re.search(rf"> round_robin_frontend: .*\br{request}\b.*\+1 token", line)]
    assert sum("] registration" in line for line in told) == 2
    identities = {event["pid"]: event for event in messages(trace, socket="DEALER")}
    assert {each["identity"] for each in identities.values()} == {"0000", "0100"}
    assert events(trace, socket="ROUTER", event="bind")
