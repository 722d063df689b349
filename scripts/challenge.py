#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Does a reader's change of a demo do what docs/challenges.md asks for? Plays it, and tells.

`make check-challenge N=3` builds and calls this. Exit status: 0 it works, 1 it does not yet, 2 wrong
usage. Each check plays the programs as a reader would, on endpoints of its own, and says what is
missing in one sentence.
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

CHECKS = {}


class Missing(Exception):
    """What the change does not do yet, one sentence."""


def check(number):
    def register(function):
        CHECKS[number] = function
        return function

    return register


class Stage:
    """Starts programs, with private endpoints, and ends what is left of them."""

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

    def wants(self, name, *options):
        """A program that does not know an option yet says so itself: no need to play anything."""
        text = self.start(name, "--help")
        text.wait()
        for option in options:
            if not any(line.startswith(f"  --{option}") for line in text.out):
                raise Missing(f"{name} has no option --{option} yet")


def line(program, regex, why, nth=1, timeout=WAIT_S):
    """The match of the nth such line, which a solution prints; else `why` is what is missing."""
    try:
        return program.wait_line(regex, nth=nth, timeout=timeout)
    except AssertionError:
        raise Missing(why) from None


def ends(program, status, why, timeout=10):
    try:
        got = program.wait(timeout)
    except AssertionError:
        raise Missing(why) from None
    if got != status:
        told = f": {program.err[-1]}" if program.err else ""
        raise Missing(f"{why} ({program.name} ended with {got}{told})")


def round_robin(stage, **options):
    """A front-end, and a function that starts an engine for it."""
    nth = len(stage.programs)
    wire = {way: stage.endpoint(f"{way}-{nth}") for way in ("input", "output")}
    frontend = stage.start("round_robin_frontend", **wire, **options)
    frontend.wait_line("listening on .*output")
    return frontend, lambda **more: stage.start("engine", **wire, **more)


@check(1)
def whole_topics(stage):
    stage.wants("topic_subscriber", "exact-topic")
    events = stage.endpoint("events")
    subscriber = stage.start(
        "topic_subscriber", "--exact-topic", topic="kv", endpoint=events, count=3
    )
    publisher = stage.start(
        "topic_publisher",
        topics="kv-2,kv",
        endpoint=events,
        wait_subscribers=1,
        interval_ms=1,
        count=6,
    )
    publisher.wait()
    got = subscriber.lines(r"^kv\S* \d+$")
    if any(message.startswith("kv-2") for message in got):
        raise Missing("topic_subscriber --topic kv --exact-topic still takes messages of kv-2")
    ends(subscriber, 0, "--exact-topic --count 3 did not end after three messages of its topic")
    if subscriber.lines(r"^kv\S* \d+$") != ["kv 0", "kv 1", "kv 2"]:
        raise Missing("of kv 0, kv 1, kv 2 not all were printed: count what is taken, nothing else")


@check(2)
def restarted(stage):
    events = stage.endpoint("events")
    subscriber = stage.start("topic_subscriber", endpoint=events, count=5)
    for count in (3, 2):
        publisher = stage.start(
            "topic_publisher",
            topics="a",
            endpoint=events,
            wait_subscribers=1,
            interval_ms=1,
            count=count,
        )
        publisher.wait()
    ends(subscriber, 0, "topic_subscriber did not get the five messages of the two publishers")
    if subscriber.lines("^a has restarted") != ["a has restarted"]:
        raise Missing(
            "the numbers went 0 1 2 0 1, and topic_subscriber did not say once: a has restarted"
        )
    at = [text for text in subscriber.out if re.match("a ", text)]
    if not at[3].startswith("a has restarted"):
        raise Missing("'a has restarted' has to come before the first message of the new publisher")


@check(3)
def a_worker_leaves(stage):
    source, results = stage.endpoint("tasks"), stage.endpoint("results")
    sink = stage.start("sink", endpoint=results, count=3)
    sink.endpoint()
    for name, count in (("w1", 2), ("w2", 1)):
        worker = stage.start("worker", source=source, sink=results, name=name)
        ventilator = stage.start("ventilator", endpoint=source, sink=results, count=count)
        ventilator.wait()
        for nth in range(1, count + 1):
            line(sink, f"<- {name}:", "sink ended too early: a goodbye is no result", nth=nth)
        if name == "w1":
            worker.stop()
            line(sink, "^w1 has left$", "w1 was stopped, and sink did not say: w1 has left")
    ends(sink, 0, "sink did not end after its three results: a goodbye is no result")
    if any("bad result" in text for text in sink.err) or "0 bad" not in sink.summary():
        raise Missing("sink takes the goodbye for a bad result")


@check(4)
def abort_one(stage):
    stage.wants("frontend", "abort-after")
    wire = {"input": stage.endpoint("input"), "output": stage.endpoint("output")}
    frontend = stage.start("frontend", **wire, abort_after=3, max_tokens=12)
    engine = stage.start("engine", **wire, step_ms=30)
    ended = line(
        frontend, r"^r0 <- engine 0: (\d+) tokens, (\w+)$", "r0 never came to an end", timeout=10
    )
    if ended[2] != "abort":
        raise Missing(f"r0 ended with {ended[2]} after {ended[1]} tokens, not with abort")
    if int(ended[1]) < 3:
        raise Missing(f"r0 was aborted after {ended[1]} tokens, before it had its 3")
    for request in ("r1", "r2"):
        why = f"{request} did not get its 12 tokens: only r0 is to be aborted"
        line(frontend, rf"^{request} <- engine 0: 12 tokens, length$", why, timeout=10)
    line(engine, "^r0: aborted$", "the engine was not told: it says nothing of r0: aborted")


@check(5)
def call_a_method(stage):
    stage.wants("frontend", "call")
    for method, result in (("is_sleeping", "false"), ("get_supported_tasks", r'\["generate"\]')):
        wire = {"input": stage.endpoint(f"{method}-in"), "output": stage.endpoint(f"{method}-out")}
        frontend = stage.start("frontend", **wire, call=method, max_tokens=2)
        engine = stage.start("engine", **wire)
        line(engine, f"^{method}: answered$", f"the engine was not asked for {method}")
        want = f"{method} -> {result}".replace("\\", "")
        line(frontend, rf"^{method} -> {result}$", f"frontend did not print: {want}")
        ends(frontend, 0, "the requests after the call did not all come to their end")
        engine.stop()


@check(6)
def at_once(stage):
    stage.wants("round_robin_frontend", "probe-ms")
    # Far longer than this check takes: it is not the probe that tells
    frontend, engine = round_robin(stage, requests=2, max_tokens=100, probe_ms=60000)
    engines = [engine(index=index, step_ms=step_ms) for index, step_ms in ((0, 20), (1, 60000))]
    for each in engines:
        each.wait_line("prompt tokens")
    engines[1].kill()
    why = "engine 1 was killed by SIGKILL, and round_robin_frontend waits for its next probe"
    line(frontend, "^r1 failed: engine 1 is dead$", why, timeout=5)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(frontend.endpoint().removeprefix("ipc://"))
    why = "a connection ended that was no engine's, and r0 did not get its tokens of engine 0"
    line(frontend, "^r0 <- engine 0: 100 tokens, length$", why, timeout=20)
    ends(frontend, 1, "round_robin_frontend did not end with its last request")


@check(7)
def by_load(stage):
    stage.wants("round_robin_frontend", "by-load")
    most = 2
    frontend, engine = round_robin(stage, engines=3, requests=30, max_tokens=4, by_load=True)
    for index, step_ms in enumerate((10, 10, 100)):
        engine(index=index, step_ms=step_ms)
    ends(frontend, 0, "30 requests at three engines did not all complete", timeout=20)
    open_at = {"0": set(), "1": set(), "2": set()}
    got = {index: 0 for index in open_at}
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


@check(8)
def elsewhere(stage):
    frontend, engine = round_robin(stage, requests=4, max_tokens=60, on_dead="reroute")
    # 6 s for its 60 tokens: it is stopped long before
    living, leaving = engine(index=0, step_ms=5), engine(index=1, step_ms=100, verbose=True)
    leaving.wait_line("^r3: ")
    sent = len(leaving.lines("PUSH here"))
    leaving.wait_line("PUSH here", nth=sent + 2)  # Some tokens of r1 and r3 are out
    leaving.stop(signal.SIGTERM)
    for request in ("r1", "r3"):
        why = f"engine 1 was stopped with {request} open, and {request} was not sent to engine 0"
        line(frontend, rf"^{request} -> engine 0$", why)
    ends(frontend, 0, "engine 0 lives, and yet not all requests came to their end")
    for request in ("r0", "r1", "r2", "r3"):
        why = f"{request} did not end with its 60 tokens at engine 0"
        line(frontend, rf"^{request} <- engine 0: 60 tokens, length$", why)
    living.stop()

    frontend, engine = round_robin(stage, engines=1, max_tokens=1000000, on_dead="reroute")
    last = engine(verbose=True)
    last.wait_line("PUSH here")
    last.stop(signal.SIGTERM)
    ends(frontend, 1, "the only engine was stopped, and round_robin_frontend waits for another")


def main():
    parser = argparse.ArgumentParser("challenge", description="Checks a challenge's solution.")
    parser.add_argument("--build", default="build", help="folder with the programs")
    parser.add_argument("number", nargs="?", help="1 to 8, as in docs/challenges.md")
    options = parser.parse_args()
    numbers = " ".join(map(str, sorted(CHECKS)))
    if not options.number or not options.number.isdigit() or int(options.number) not in CHECKS:
        print(f"challenge: which one? There are {numbers}: make check-challenge N=1", file=sys.stderr)
        return 2

    # What the tests start programs with, too; it looks for them in $BUILD
    os.environ["BUILD"] = options.build
    sys.path.insert(0, str(ROOT / "tests"))
    import harness

    number = int(options.number)
    stage = Stage(harness)
    try:
        CHECKS[number](stage)
    except Missing as missing:
        print(f"challenge {number}: not yet: {missing}")
        return 1
    except AssertionError as failed:  # The demo itself no longer does what it did
        print(f"challenge {number}: not yet: {failed}")  # Its lines, too
        return 1
    finally:
        stage.close()
    print(f"challenge {number}: it works")
    return 0


if __name__ == "__main__":
    sys.exit(main())
