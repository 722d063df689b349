# SPDX-License-Identifier: MIT
"""Faults in the other rooms: REQ/REP, PUSH/PULL, topics, and the small replay_subscriber."""

import re
import time
from collections import Counter

from schedule import FACTOR, HANG_S, Schedule, patience


class ReqRep(Schedule):
    """A server, and clients of all three kinds, some of which are killed in the midst of it. The
    server is killed too, and started again.

    Must hold: timeout_retry_client and poller_client have one answer each in the end. basic_client,
    which has no timeout, has its answers or waits, as it should; told to stop, it says that it has
    none. A killed client disturbs nobody.
    """

    kind = "req-rep"

    def serve(self):
        name = self.random.choice(["basic_server", "slow_server"])
        lang = "py" if self.sometimes(5) else "c"
        more = {"delay_s": 0.03, "delay_first_n": 100000} if name == "slow_server" else {}
        self.server = self.start(name, lang=lang, endpoint=self.end, **more)
        self.listens(self.server)

    def ask(self):
        name = self.random.choice(["timeout_retry_client", "poller_client", "basic_client"])
        if name == "basic_client":
            return self.start(name, endpoint=self.end, count=self.random.choice([1, 20]))
        return self.start(name, endpoint=self.end, timeout_ms=150 * FACTOR, retries=1000)

    def run(self):
        self.end = self.ipc()
        self.serve()
        clients = []
        for _ in range(self.random.randint(1, 3)):
            clients += [self.ask() for _ in range(4)]
            self.pace(0, 0.1)
            self.counts["asked"] += 1
            self.counts["killed clients"] += 1
            self.kill(clients.pop())
            self.pace(0, 0.1)
            self.kill(self.server)
            clients.append(self.ask())
            self.pace(0, 0.2)
            self.serve()
        for client in clients:
            self.counts["asked"] += 1
            if client.name == "basic_client":
                self.basic(client)
                continue
            self.demand(client.wait(patience(5)) == 0, f"{client.name} has no answer")
            self.demand(client.lines("^pong: .*$") == ["pong: ping"], "not one answer")
            self.counts["answered"] += 1
        self.stop(self.server)

    def basic(self, client):
        """If a request of its was with a server that was killed, nobody will answer that."""
        served = len(client.out)
        while client.running():
            time.sleep(0.3 * FACTOR)  # An answer takes 0.1 s, with others in line
            if len(client.out) == served:
                break
            served = len(client.out)
        if client.running():
            self.demand(self.told_to_stop(client) == 1, "no answer, and no failure")
            self.counts["waited for a killed server, until stopped"] += 1
        else:
            self.demand(client.wait() == 0, "it has ended without its answers")
            self.counts["answered"] += 1
        wanted = int(client.args[client.args.index("--count") + 1])
        answers = len(client.lines("^pong: ping$"))
        self.demand(answers <= wanted, "more answers than requests")


class PushPull(Schedule):
    """ventilator, three workers, sink. A worker, two workers, or the ventilator are killed; or a
    worker is stopped for a time; or the sink is killed and started again.

    Must hold: no result is wrong, none comes twice. The sink knows how many tasks there are, and
    names those that do not come back: those which a killed worker had taken, or a killed ventilator
    had not handed out. A new sink knows nothing of what the old one had, and says how many came.
    """

    kind = "push-pull"

    def run(self):
        pick = self.random
        fault = pick.choice(["worker", "two workers", "pause", "ventilator", "sink"])
        self.tasks = pick.randint(200, 1500)
        if fault == "ventilator":
            self.tasks = 10000  # More than find room in all queues
        self.note(f"{fault}, {self.tasks} tasks")
        tasks_at, self.results_at = self.ipc(), self.ipc()
        sinks = [self.sink()]
        self.listens(sinks[0])
        ventilator = self.start(
            "ventilator", endpoint=tasks_at, sink=self.results_at, count=self.tasks, workers=3
        )
        workers = [
            self.start("worker", source=tasks_at, sink=self.results_at, name=f"w{n}", work_ms=1)
            for n in range(3)
        ]
        ventilator.wait_line("^3 of 3 workers connected$", timeout=HANG_S)
        self.pace(0.01, 0.3)
        doomed = pick.sample(workers, 2 if fault == "two workers" else 1)
        if "worker" in fault:
            for worker in doomed:
                self.kill(worker)
        elif fault == "pause":
            self.pause(doomed[0], pick.uniform(0.1, 0.5))
        elif fault == "ventilator":
            self.kill(ventilator)
        else:
            self.kill(sinks[0])
            sinks.append(self.sink())
        if fault == "sink":
            self.wait_idle(sinks[1])
            self.stop(sinks[1])
        else:
            self.settle(sinks[0])
        self.results(sinks)
        if fault != "ventilator":
            self.demand(ventilator.wait(patience(5)) == 0, "the ventilator does not end")
        for worker in workers:
            if worker.running():
                self.stop(worker)

    def sink(self):
        return self.start("sink", endpoint=self.results_at, count=self.tasks, timeout_s=1 * FACTOR)

    def wait_idle(self, sink):
        """All that the workers have has come: no more does."""
        before = -1
        while before != len(sink.out):
            before = len(sink.out)
            time.sleep(0.5 * FACTOR)

    def settle(self, sink):
        status = sink.wait(patience(5))
        came = {int(task) for task, _ in sink.lines(r"^task (\d+) <- w\d: (\d+)$")}
        lost = sorted(set(range(self.tasks)) - came)
        self.demand(status == bool(lost), f"exit status {status}, {len(lost)} did not come")
        named = sink.lines(r"^missing: (.*)$")
        self.demand(len(named) == bool(lost), f"{len(lost)} did not come, named: {named}")
        for run in named[0].split() if named else []:
            if run == "...":
                break  # Of ten runs it tells
            first, _, last = run.partition("-")
            told = list(range(int(first), int(last or first) + 1))
            self.demand(lost[: len(told)] == told, f"{run} are named, and {lost[:3]} are missing")
            del lost[: len(told)]
        else:
            self.demand(not lost, f"{lost[:3]} are missing and not named")
        self.counts["reported missing"] += self.tasks - len(came)

    def results(self, sinks):
        results = [each for sink in sinks for each in sink.lines(r"^task (\d+) <- w\d: (\d+)$")]
        for task, value in results:
            self.demand(int(value) == int(task) ** 2, f"task {task}: {value}")
        self.demand(len({task for task, _ in results}) == len(results), "a result came twice")
        self.counts["tasks"] += self.tasks
        self.counts["results"] += len(results)
        if len(sinks) > 1:
            self.counts["gone with a killed sink"] += self.tasks - len(results)


class Topics(Schedule):
    """topic_publisher on two topics, and two topic_subscribers. Either side is killed and started
    again, or stopped for a time.

    Must hold: of each topic the numbers rise, within a run of the publisher. None is left out
    unless the subscriber was away: then it says what it has missed. In the end it gets what is new.
    """

    kind = "topics"

    def publish(self):
        self.publisher = self.start(
            "topic_publisher", endpoint=self.end, topics="a,b", interval_ms=2
        )
        self.listens(self.publisher)
        self.lives += 1

    def follow(self):
        return self.start("topic_subscriber", endpoint=self.end)

    def run(self):
        self.end, self.lives = self.ipc(), 0
        self.publish()
        subscribers = [self.follow() for _ in range(2)]
        for _ in range(self.random.randint(1, 4)):
            self.pace(0.05, 0.3)
            fault = self.random.choice(["publisher", "subscriber", "pause", "stall"])
            if fault == "publisher":
                self.kill(self.publisher)
                self.pace(0, 0.2)
                self.publish()
            elif fault == "subscriber":
                self.kill(subscribers[0])
                self.check(subscribers[0])
                subscribers[0] = self.follow()
            elif fault == "pause":
                self.pause(subscribers[1], self.random.uniform(0.1, 0.5))
            else:
                self.pause(self.publisher, self.random.uniform(0.1, 0.5))
        for subscriber in subscribers:
            came = len(subscriber.out)
            self.until(lambda s=subscriber, n=came: len(s.out) > n + 10, "nothing new comes")
            self.stop(subscriber)
            self.check(subscriber)
        self.stop(self.publisher)

    def check(self, subscriber):
        newest, runs = {}, Counter()
        for topic, text in subscriber.lines(r"^([ab]) (\d+)$"):
            seq = int(text)
            if topic in newest and seq != newest[topic] + 1:
                runs[topic] += 1  # A new run, of which we have missed the beginning or not
            newest[topic] = seq
            self.counts["delivered"] += 1
        for topic, changes in runs.items():
            self.demand(
                changes < self.lives, f"topic {topic} jumps {changes} times in {self.lives} runs"
            )


class Replays(Schedule):
    """replay_subscriber, with a REQ or a DEALER, behind kv_publisher. Either is killed and
    started again, or stopped for a time, with a short queue.

    Must hold: numbers come one after the other, or were told as lost; they begin anew only behind
    a line that says so. In the end it gets what is new. (It cannot see a new run which is further
    than the old one: that takes kv_subscriber.)
    """

    kind = "replays"

    def publish(self):
        self.publisher = self.start(
            "kv_publisher", interval_ms=5, hwm=self.hwm, **self.ends
        )
        self.listens(self.publisher, 2)

    def follow(self):
        return self.start("replay_subscriber", replay_socket=self.how, **self.ends)

    def run(self):
        pick = self.random
        self.ends = {"endpoint": self.ipc(), "replay_endpoint": self.ipc()}
        self.how, self.hwm = pick.choice(["req", "dealer"]), pick.choice([2, 100000])
        self.publish()
        subscriber = self.follow()
        for _ in range(pick.randint(1, 3)):
            self.pace(0.05, 0.3)
            fault = pick.choice(["publisher", "subscriber", "pause", "stall"])
            if fault == "publisher":
                self.kill(self.publisher)
                self.publish()
            elif fault == "subscriber":
                self.kill(subscriber)
                self.check(subscriber)
                subscriber = self.follow()
            elif fault == "pause":
                self.pause(subscriber, pick.uniform(0.1, 0.5))
            else:
                self.pause(self.publisher, pick.uniform(0.1, 0.3))
        came = len(subscriber.lines("^seq "))
        #  A replay that nobody answers is given up after 2 s, twice
        self.until(lambda: len(subscriber.lines("^seq ")) > came + 10, "nothing new comes")
        self.stop(subscriber)
        self.check(subscriber)
        self.stop(self.publisher)

    def check(self, subscriber):
        lost = set()
        for first, last in subscriber.lines(r": lost (\d+)-(\d+): ", "err"):
            lost |= set(range(int(first), int(last) + 1))
            self.counts["reported lost"] += int(last) + 1 - int(first)
        due = 0
        for line in subscriber.out:
            match = re.match(r"seq (\d+)( replayed)?", line)
            if line == "the publisher has started anew":
                self.counts["new runs seen"] += 1
                due = 0
            elif match:
                seq = int(match[1])
                while due < seq and due in lost:
                    due += 1
                self.demand(seq == due, f"seq {seq}, and {due} was due")
                due += 1
                self.counts["repaired by replay" if match[2] else "delivered live"] += 1
