#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks whether a reader's change of a demo does what docs/challenges.md asks for.

`make check-challenge N=3` builds and calls this. Exit status: 0 it works, 1 it does not yet, 2 wrong
usage. Each check plays the programs as a reader would, on private endpoints, and says in one sentence
what is missing.
"""

import argparse
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WAIT_S = 3  # For a line that a solution prints at once

class Missing(AssertionError):
    """What the change does not do yet, one sentence."""


class Stage:
    """Starts programs with private endpoints, and ends those that still run."""

    def __init__(self, harness):
        self.harness = harness
        self.folder = tempfile.mkdtemp(prefix="zmq-", dir="/tmp")
        self.programs = []

    def endpoint(self, name):
        return f"ipc://{self.folder}/{name}"

    def start(self, name, /, *args, **options):
        args = [*args, *self.harness.arguments(options)]
        program = self.harness.Program(name, args)
        self.programs.append(program)
        return program

    def close(self):
        for program in self.programs:
            if program.running():
                program.kill()
            program.wait()
        shutil.rmtree(self.folder)

    def wants(self, name, option):
        """Checks first that the program has the option, so that nothing is played in vain."""
        text = self.start(name, "--help")
        text.wait()
        if not any(line.startswith(f"  --{option}") for line in text.out):
            raise Missing(f"{name} has no option --{option} yet")


def line(program, regex, why, nth=1, timeout=WAIT_S):
    """Waits for the nth such line, which a solution prints; without it `why` is what is missing."""
    try:
        return program.wait_line(regex, nth=nth, timeout=timeout)
    except AssertionError:
        raise Missing(why) from None


def ends(program, why, timeout=10):
    try:
        got = program.wait(timeout)
    except AssertionError:
        raise Missing(why) from None
    if got != 0:
        told = f": {program.err[-1]}" if program.err else ""
        raise Missing(f"{why} ({program.name} ended with {got}{told})")


def frontend_at(stage, name, **options):
    """A front-end, and a function that starts an engine for it."""
    nth = len(stage.programs)
    wire = {way: stage.endpoint(f"{way}-{nth}") for way in ("input", "output")}
    frontend = stage.start(name, **wire, **options)
    frontend.wait_line("listening on .*output")
    return frontend, lambda **more: stage.start("engine", **wire, **more)


def publish(stage, topics, endpoint, count):
    once = {"wait_subscribers": 1, "interval_ms": 1, "count": count}
    stage.start("topic_publisher", topics=topics, endpoint=endpoint, **once).wait()


def whole_topics(stage):
    stage.wants("topic_subscriber", "exact-topic")
    events = stage.endpoint("events")
    only = {"topic": "kv", "endpoint": events, "count": 3}
    subscriber = stage.start("topic_subscriber", "--exact-topic", **only)
    publish(stage, "kv-2,kv", events, 6)
    got = subscriber.lines(r"^kv\S* \d+$")
    if any(message.startswith("kv-2") for message in got):
        raise Missing("topic_subscriber --topic kv --exact-topic still takes messages of kv-2")
    ends(subscriber, "--exact-topic --count 3 did not end after three messages of its topic")
    if subscriber.lines(r"^kv\S* \d+$") != ["kv 0", "kv 1", "kv 2"]:
        raise Missing("of kv 0, kv 1, kv 2 not all were printed: count what is taken, nothing else")


def restarted(stage):
    events = stage.endpoint("events")
    subscriber = stage.start("topic_subscriber", endpoint=events, count=5)
    for count in (3, 2):
        publish(stage, "a", events, count)
    ends(subscriber, "topic_subscriber did not get the five messages of the two publishers")
    if subscriber.lines("^a has restarted") != ["a has restarted"]:
        why = "the numbers went 0 1 2 0 1, and topic_subscriber did not say once: a has restarted"
        raise Missing(why)
    at = [text for text in subscriber.out if re.match("a ", text)]
    if not at[3].startswith("a has restarted"):
        raise Missing("'a has restarted' has to come before the first message of the new publisher")


def another_server(stage):
    stage.wants("poller_client", "other")
    first, other = stage.endpoint("first"), stage.endpoint("other")
    server = stage.start("basic_server", endpoint=other)
    server.endpoint()
    both = {"endpoint": first, "other": other}
    client = stage.start("poller_client", **both, message="hello", timeout_ms=200, retries=9)
    ends(client, "nobody listens at --endpoint, and the server at --other was not asked")
    line(client, "^pong: hello$", "poller_client did not print the reply of the other server")
    server.stop()
    client = stage.start("poller_client", **both, timeout_ms=100, retries=99)
    line(client, r"retrying\.\.\. \(3 of 99\)$", "poller_client gave up although it has 99 retries")
    stage.start("basic_server", endpoint=first).endpoint()
    ends(client, "a server came up at --endpoint, and was not asked again: take turns")


def pipeline(stage, results, tasks):
    source = stage.endpoint("tasks")
    ventilator = stage.start("ventilator", endpoint=source, sink=results, workers=2, count=tasks)
    return ventilator, lambda **more: stage.start("worker", source=source, sink=results, **more)


def last_words(stage):
    results = stage.endpoint("results")
    sink = stage.start("sink", endpoint=results, count=4)
    sink.endpoint()
    ventilator, worker = pipeline(stage, results, 4)
    leaving, slow = worker(name="w1"), worker(name="w2", work_ms=300)
    ventilator.wait()
    for nth in (1, 2):
        line(sink, "<- w1:", "w1 has done its two tasks, and sink did not print them", nth=nth)
    leaving.stop()
    line(sink, "^w1 has left$", "w1 was stopped, and sink did not print: w1 has left")
    ends(sink, "sink did not end with its four results: a goodbye is no result")
    if any("bad result" in text for text in sink.err) or "0 bad" not in sink.summary():
        raise Missing("sink takes the goodbye for a bad result")
    slow.stop()


def name_what_is_missing(stage):
    results = stage.endpoint("results")
    sink = stage.start("sink", endpoint=results, count=8)
    sink.endpoint()
    ventilator, worker = pipeline(stage, results, 8)
    dying, living = worker(name="w2", work_ms=3600000), worker(name="w1")
    ventilator.wait()
    dying.kill()
    for nth in range(1, 5):
        line(sink, "<- w1:", "w1 did not do its four tasks", nth=nth)
    line(sink, "^the ventilator announces 8 tasks$", "the ventilator did not say what it hands out")
    sink.stop(signal.SIGINT)
    living.stop()
    done = set(map(int, sink.lines(r"^task (\d+) <- w1:")))
    names = " ".join(str(task) for task in range(8) if task not in done)
    if f"missing: {names}" not in sink.out:
        raise Missing(f"w2 was killed with its tasks, and sink did not print: missing: {names}")


def abort_one(stage):
    stage.wants("frontend", "abort-after")
    frontend, engine = frontend_at(stage, "frontend", abort_after=3, max_tokens=12)
    serving = engine(step_ms=30)
    regex = r"^r0 <- engine 0: (\d+) tokens, (\w+)$"
    ended = line(frontend, regex, "r0 never came to an end", timeout=10)
    if ended[2] != "abort":
        raise Missing(f"r0 ended with {ended[2]} after {ended[1]} tokens, not with abort")
    if int(ended[1]) < 3:
        raise Missing(f"r0 was aborted after {ended[1]} tokens, before it had its 3")
    for request in ("r1", "r2"):
        why = f"{request} did not get its 12 tokens: only r0 is to be aborted"
        line(frontend, rf"^{request} <- engine 0: 12 tokens, length$", why, timeout=10)
    line(serving, "^r0: aborted$", "the engine was not told: it did not print r0: aborted")


def by_load(stage):
    stage.wants("round_robin_frontend", "by-load")
    most = 2
    load = {"engines": 3, "requests": 30, "max_tokens": 4, "by_load": True}
    frontend, engine = frontend_at(stage, "round_robin_frontend", **load)
    for index, step_ms in enumerate((10, 10, 100)):
        engine(index=index, step_ms=step_ms)
    ends(frontend, "30 requests at three engines did not all complete", timeout=20)
    open_at = {index: set() for index in "012"}
    got = dict.fromkeys(open_at, 0)
    for text in frontend.out:
        moved = re.match(r"(r\d+) (->|<-) engine (\d)", text)
        if not moved:
            continue
        request, way, index = moved.groups()
        if way == "->":
            fewest = min(map(len, open_at.values()))
            if len(open_at[index]) > fewest:
                raise Missing(f"{request} went to engine {index}, and another had fewer open")
            open_at[index].add(request)
            got[index] += 1
            if len(open_at[index]) > most:
                raise Missing(f"engine {index} had more than {most} requests open at {request}")
        else:
            open_at[index].discard(request)
    if got["2"] * 2 > min(got["0"], got["1"]):
        shares = ", ".join(f"engine {index}: {count}" for index, count in got.items())
        raise Missing(f"engine 2 is ten times slower, and got no smaller share ({shares})")


def at_once(stage):
    stage.wants("failover_frontend", "probe-ms")
    # Far longer than this check takes, so the probe cannot be the reason
    load = {"requests": 2, "max_tokens": 100, "probe_ms": 60000}
    frontend, engine = frontend_at(stage, "failover_frontend", **load)
    engines = [engine(index=index, step_ms=step_ms) for index, step_ms in ((0, 20), (1, 1000))]
    for each in engines:
        each.wait_line("prompt tokens")
    engines[1].kill()
    why = "engine 1 was killed by SIGKILL, and failover_frontend waits for its next probe"
    line(frontend, "^engine 1 has died$", why, timeout=5)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(frontend.endpoint().removeprefix("ipc://"))
    why = "engine 0 lives, and yet not all requests came to their end"
    ends(frontend, why, timeout=20)
    if "engine 0 has died" in frontend.out:
        raise Missing("a connection ended that was no engine's, and engine 0 was taken for dead")


CHECKS = (whole_topics, restarted, another_server, last_words, name_what_is_missing, abort_one,
          by_load, at_once)  # fmt: skip


def main():
    parser = argparse.ArgumentParser("challenge", description="Checks a challenge's solution.")
    parser.add_argument("--build", default="build", help="folder with the programs")
    parser.add_argument("number", nargs="?", help="1 to 8, as in docs/challenges.md")
    options = parser.parse_args()
    numbers = [str(number) for number in range(1, len(CHECKS) + 1)]
    if options.number not in numbers:
        there = " ".join(numbers)
        print(f"challenge: which one? There are {there}: make check-challenge N=1", file=sys.stderr)
        return 2

    # The harness of the tests, which looks for the programs in $BUILD
    os.environ["BUILD"] = options.build
    sys.path.insert(0, str(ROOT / "tests"))
    import harness

    number, stage = options.number, Stage(harness)
    try:
        CHECKS[int(number) - 1](stage)
    except AssertionError as why:  # Not only Missing: the demo may no longer do what it did
        print(f"challenge {number}: not yet: {why}")
        return 1
    finally:
        stage.close()
    print(f"challenge {number}: it works")
    return 0


if __name__ == "__main__":
    sys.exit(main())
