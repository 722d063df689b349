# SPDX-License-Identifier: MIT
"""Faults in the other rooms: topics, and the small replay_subscriber."""

import re
import time
from collections import Counter

from schedule import FACTOR, HANG_S, Schedule, patience


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
