# SPDX-License-Identifier: MIT
"""Faults of engines and front-ends: they are killed, restarted, or stopped for a time."""

import os
import signal
import time
from pathlib import Path

from schedule import HANG_S, Schedule, patience

DONE = r"^(r\d+) <- engine \d+: (\d+) tokens?, (\w+)$"
FAILED = r"^(r\d+) failed: (?:engine (\d+) is dead|no engine is left)$"


class Loop(Schedule):
    """What both kinds of schedules have in common."""

    def setup(self):
        self.wire = {"input": self.ipc(), "output": self.ipc()}
        self.requests = self.random.randint(5, 60)
        self.tokens = self.random.randint(20, 150)
        self.dead = set()  # Indices of engines that were killed

    def engine(self, index, **more):
        return self.start("engine", index=index, step_ms=5, **self.wire, **more)

    def ended(self, frontend):
        """Each request has ended once; how many were answered, and how many were not."""
        done, failed = frontend.lines(DONE), frontend.lines(FAILED)
        names = [name for name, _, _ in done] + [name for name, _ in failed]
        self.demand(len(names) == len(set(names)), "a request has ended twice")
        for name, number, reason in done:
            right = int(number) == self.tokens if reason == "length" else reason == "abort"
            self.demand(right, f"{name} has ended with {number} tokens, {reason}")
        for name, engine in failed:
            right = not engine or int(engine) in self.dead
            self.demand(right, f"{name} has failed at engine {engine}, which lives")
        answered = sum(reason == "length" for _, _, reason in done)
        return answered, len(names) - answered

    def settle(self, frontend, status):
        """Checks a front-end that has ended by itself: it has printed the end of each request."""
        answered, failed = self.ended(frontend)
        self.demand(answered + failed == self.requests, f"{answered} answered, {failed} failed")
        self.demand(status == (failed > 0), f"exit status {status}, {failed} failed")
        self.demand(not failed or frontend.err, "not all answered, and no word on stderr")
        self.demand(
            frontend.summary().startswith(f"{answered} of {self.requests} requests complete"),
            frontend.summary(),
        )
        self.count(answered, failed)
        return failed

    def count(self, answered, failed):
        self.counts["requests"] += answered + failed
        self.counts["answered"] += answered
        self.counts["failed, and named"] += failed

    def lose_frontend(self, frontend):
        """Kills a front-end. Its requests are gone with it, and counted as such."""
        self.kill(frontend)
        answered, failed = self.ended(frontend)
        left = self.requests - answered - failed
        self.count(answered, failed)
        self.counts["requests"] += left
        self.counts["gone with a killed front-end"] += left

    def stop_all(self, programs):
        for program in programs:
            if program.running():
                self.stop(program)


class RoundRobin(Loop):
    """mock_frontend and three engines, at fixed addresses. One or two engines are killed
    while they compute, and may be restarted; or they are told to end, or stopped for a time, which
    must not count as a death. Or the front-end itself is killed and restarted.

    Must hold: the front-end ends. Each request ends once: it is answered with all its tokens, or
    fails and is named. With --on-dead reroute no request fails while another engine lives. A living
    engine is not reported dead. A new front-end finds all engines free.
    """

    kind = "round-robin"

    def run(self):
        self.setup()
        pick = self.random
        self.how = pick.choice(["fail", "reroute"])
        in_flight = pick.choice([0, 0, 6])
        if in_flight:
            self.tokens = pick.randint(5, 20)
        self.options = {
            "engines": 3,
            "requests": self.requests,
            "max_tokens": self.tokens,
            "in_flight": in_flight,
            "on_dead": self.how,
        }
        self.note(f"{self.options}")
        engines = [self.engine(index) for index in range(3)]
        frontend = self.front()
        for _ in range(2):
            if self.sometimes(4):
                self.pace(0, 0.3)
                self.lose_frontend(frontend)
                frontend = self.front()
        self.terms = 0
        for index in pick.sample(range(3), pick.randint(1, 2)):
            self.pace(0, 0.3)
            self.fault(engines, index)
        status = frontend.wait(patience(2 * self.requests * self.tokens * 0.005 / (in_flight or 9)))
        failed = self.settle(frontend, status)
        if self.how == "reroute" and not self.terms:
            self.demand(failed == 0, "failed although there was another engine")
        again = frontend.lines(r"^r\d+ to be sent again: engine (\d+) is dead$")
        self.demand({int(n) for n in again} <= self.dead, "rerouted from an engine that lives")
        self.counts["rerouted"] += len(again)
        self.stop_all(engines)

    def front(self):
        frontend = self.start("mock_frontend", **self.options, **self.wire)
        frontend.wait_line("^r0 -> engine", timeout=HANG_S)
        return frontend

    def fault(self, engines, index):
        engine = engines[index]
        fault = self.random.choice(["kill", "kill", "kill and restart", "pause", "end"])
        self.note(f"engine {index}: {fault}")
        if fault == "pause":
            self.pause(engine, self.random.uniform(0.1, 0.5))
        elif fault == "end":
            self.terms += 1
            self.dead.add(index)
            self.stop(engine)
        else:
            self.dead.add(index)
            self.kill(engine)
            if fault == "kill and restart":
                time.sleep(self.random.choice([0, 0.05, 0.7]))
                engines.append(self.engine(index))


class Handshake(Loop):
    """mock_frontend and two mock_engines, which it has started (--spawn) or not. One engine is
    killed, in the handshake or under load, and may be restarted; or the front-end is killed.

    Must hold: the front-end ends. Everything was answered, or the reason is on stderr. Engines of
    --spawn end with the front-end, even if it is killed. Other engines join the next front-end.
    """

    kind = "handshake"

    def run(self):
        self.setup()
        pick = self.random
        self.spawn = self.sometimes(2)
        self.wire["handshake"] = self.ipc()
        self.tokens = pick.randint(2000, 20000) if self.spawn else self.tokens
        frontend, engines = self.front(), []
        if not self.spawn:
            engines = [self.engine(index) for index in range(2)]
        when = pick.choice(["handshake", "load", "load"])
        if when == "load":
            frontend.wait_line("^r0 -> engine", timeout=HANG_S)
        self.pace(0, 0.1 if when == "handshake" else 0.3)
        fault = pick.choice(["engine", "engine and restart", "pause", "front-end", "front-end"])
        self.note(f"spawn {self.spawn}, in the {when}: {fault}")
        children = children_of(frontend.pid)
        if fault == "front-end" and frontend.running():
            self.lose_frontend(frontend)
            frontend = self.front()
        elif fault == "pause" and engines:
            self.pause(engines[0], pick.uniform(0.1, 0.5))
        elif fault.startswith("engine") and engines:
            self.dead.add(1)
            self.kill(engines[1])
            if fault.endswith("restart"):
                engines.append(self.engine(1))
        elif fault.startswith("engine") and children:
            self.counts["killed"] += 1
            self.dead = {0, 1}  # Which of the two it is, no one can tell
            kill_child(frontend.pid, pick.choice(children))
        status = frontend.wait(patience(10))
        answered, _ = self.ended(frontend)
        self.demand(status == (answered < self.requests), f"status {status}, {answered} answered")
        self.demand(status == 0 or frontend.err, "not all answered, and no word on stderr")
        self.count(answered, self.requests - answered)
        for child in children:
            self.until(lambda child=child: not is_engine(child), f"child {child} stays behind")
        self.stop_all(engines)

    def engine(self, index, **more):
        ends = {"handshake": self.wire["handshake"]}
        return self.start("mock_engine", index=index, step_ms=5, **ends, **more)

    def front(self):
        return self.start(
            "mock_frontend",
            *(["--spawn"] if self.spawn else []),
            engines=2,
            requests=self.requests,
            max_tokens=self.tokens,
            timeout_s=5,
            **self.wire,
        )


def children_of(pid):
    """Of a process of ours."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(status.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(status.parent.name))
        except (OSError, ValueError):
            pass  # It has ended meanwhile
    return found


def is_engine(pid):
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return "(mock_engine)" in text and text.rpartition(")")[2].split()[0] != "Z"


def kill_child(parent, child):
    """If it still is one: nobody else reaps it."""
    if child in children_of(parent):
        os.kill(child, signal.SIGKILL)
