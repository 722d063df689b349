# SPDX-License-Identifier: MIT
"""Faults in the stream of KV events: kv_subscriber, with a publisher in C or in Python."""

import json
import re
import signal
import socket
import threading
import time
from collections import Counter, deque

from schedule import FACTOR, HANG_S, Schedule

BATCH = re.compile(
    r'\{"seq":(\d+),(?:"topic":"[^"]*",)?"ts":([-+.e\d]+),(?:"dp_rank":\d+,)?'
    r'"replayed":(true|false),'
    r'"events":\[\{"type":"BlockStored",.*?"token_ids":\[(\d+),.*\]\}$'
)


class Proxy:
    """Forwards a TCP port to an ipc endpoint, and can cut the connections."""

    def __init__(self, ipc):
        self.path = ipc.removeprefix("ipc://")
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        self.lock, self.sockets = threading.Lock(), set()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return  # close () was called
            far = socket.socket(socket.AF_UNIX)
            with self.lock:
                self.sockets |= {near, far}
            try:
                far.connect(self.path)
            except OSError:  # Nobody is there, for the time being
                self.end(near, far)
                continue
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self.pump, args=pair, daemon=True).start()

    def pump(self, source, target):
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
        except OSError:
            pass
        self.end(source, target)

    def end(self, *sockets):
        with self.lock:
            self.sockets -= set(sockets)
        for each in sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)  # Wakes the other thread
            except OSError:
                pass
            each.close()

    def cut(self):
        with self.lock:
            sockets = list(self.sockets)
        self.end(*sockets)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut()


#: The counts that must add up to everything that was published
SUM = [
    "delivered live",
    "repaired by replay",
    "reported lost",
    "gone with a killed publisher",
    "in runs that could not be told apart",
]


class Run:
    """One run of the publisher, with what it really published."""

    def __init__(self):
        self.born = time.time()
        self.published = 0  # It says so after it has published: the newest may not be counted
        self.killed = False
        self.listens = 0  # At so many endpoints

    def __call__(self, line):
        if ": listening on " in line:
            self.listens += 1
        elif line.startswith("seq "):
            self.published = int(line[4:].partition(":")[0]) + 1


class Reader:
    """Reads what kv_subscriber --json prints, across its restarts, and checks each line: a batch must
    be the next of its run, unless a notice has said why not."""

    def __init__(self, counts, runs, first_token, note):
        self.counts, self.runs, self.first_token, self.note = counts, runs, first_token, note
        self.lines = deque()  # As they come, from the thread that reads them
        self.next = 0  # The number that is due
        self.run = None  # Of which run the last batch was: its place in `runs`
        self.last = None  # Number and ts of the last batch
        self.told = True  # A notice has said that another run may follow: the next batch will tell
        self.unproved = False  # or that nobody knows whether one does
        self.unchecked = 0  # Notices of this kind since the last change of runs that was seen
        self.overlap = None  # On return: `last`, which is to come again if the run is the same
        self.another = False  # It was not the same
        self.settled = 0  # On return: what is below has been reported lost already
        self.pending = 0  # Lost, and of which run the next batch will tell
        self.delivered, self.lost = Counter(), Counter()  # By run
        self.ends = Counter()  # By run: one above the last number that was accounted for
        self.guessed = set()  # Runs of which more was reported lost than there was
        self.doubtful = set()  # Runs that began with no proof that they were others

    def demand(self, right, what):
        if not right:
            raise AssertionError(f"{what} (last {self.last} of run {self.run}, {self.next} due)")

    def returns(self):
        """The subscriber is about to restart. Returns the number to resume from."""
        self.lines.clear()
        self.overlap, self.settled = self.last, self.next
        return self.last[0] if self.last else 0

    def begins_anew(self):
        """The reader has found another run and reads it from the start."""
        self.lines.clear()
        self.leave()
        self.overlap, self.last, self.another = None, None, False
        self.next, self.settled = 0, 0

    def leave(self):
        """Perhaps no more batches of this run will come."""
        if self.run is not None and not self.told:
            self.ends[self.run] = self.next
        self.told = True

    def look(self, alive):
        while self.lines:
            line = self.lines.popleft()
            match = BATCH.match(line)
            if match:
                self.batch(int(match[1]), float(match[2]), match[3] == "true", int(match[4]))
                continue
            try:
                said = json.loads(line)
            except ValueError:
                self.demand(not alive, f"no JSON: {line}")  # A killed one leaves half a line
                continue
            self.notice(said)

    def notice(self, said):
        if self.another:
            return
        self.demand("notice" in said, f"neither a batch as we know it nor a notice: {said}")
        name = said["notice"]
        if name in ("connected", "disconnected", "handshake_failed"):
            return
        self.note(f"  {name} {said['first']}-{said['last']}, {self.next} was due")
        self.demand(name != "malformed", f"{said}")
        if name in ("lost", "history_lost"):
            first, last = said["first"], said["last"]
            if self.overlap and first == self.overlap[0]:  # Even that is kept no more
                self.counts["returns to a run that could not be checked"] += 1
                self.leave()
                self.overlap, self.unproved = None, True
                first += 1
            first = self.next if first < self.settled == self.next else first
            if first > self.next and not self.told:
                self.skip(first)
            self.demand(first == self.next, f"{name} {first}-{last}, and that was not due")
            count = max(0, last + 1 - first)
            self.next = first + count
            self.counts["reported lost"] += count
            if self.told:
                self.pending += count
            else:
                self.lost[self.run] += count
        elif name in ("restart", "unchecked"):
            self.counts[f"notices: {name}"] += 1
            self.leave()
            if name == "unchecked":
                self.unproved = True
                self.unchecked += 1
            else:
                self.counts["gone with a killed publisher"] -= self.pending  # It has been told
                self.overlap, self.next, self.pending, self.unproved = None, 0, 0, False
                self.settled, self.last = 0, None
        else:
            self.counts[f"notices: {name}"] += 1

    def skip(self, seq):
        """Before a restart, batches that may be of either run are counted as lost in the old run, which
        was not received that far."""
        published = self.runs[self.run].published
        self.demand(published <= self.next, f"silent loss: {self.next}-{min(seq, published) - 1}")
        self.counts["reported lost"] += seq - self.next
        self.lost[self.run] += seq - self.next
        self.guessed.add(self.run)
        self.next = seq

    def batch(self, seq, ts, replayed, token):
        if self.another:
            return
        if self.overlap:
            was, self.overlap = self.overlap, None
            self.demand(seq == was[0], f"silent loss on return: {seq} and not {was[0]} again")
            self.another = ts != was[1]
            self.counts["returns to another run" if self.another else "returns to the same"] += 1
            return
        if seq < self.settled == self.next:
            self.counts["reported lost, and came on return"] += 1
            return
        self.demand(seq >= self.next, f"duplicate, or out of order: {seq}")
        self.demand(seq <= self.next, f"silent loss: {seq}")
        self.demand(token == self.first_token(seq), f"batch {seq} has the tokens of another")
        #  Runs do not overlap in time, and batches say when they were made
        run = sum(ts >= each.born for each in self.runs) - 1
        if run != self.run:
            self.demand(self.run is None or run > self.run, f"{seq} is of an older run, {run}")
            #  Of what is held when nobody can tell, some may be of the old run. So one change of runs
            #  may come later than its `unchecked`.
            late = not self.told and self.unchecked > 0
            self.demand(self.told or late, f"silent restart: {seq} is of run {run}")
            if late:
                self.counts["changes of runs some time behind `unchecked`"] += 1
                self.ends[self.run] = self.next
                self.doubtful |= {self.run, run}
            self.unchecked = 0
            if self.unproved:
                self.doubtful.add(run)
        if self.told:
            self.lost[run] += self.pending
            self.pending = 0
        self.run, self.told, self.unproved = run, False, False
        self.last, self.next = (seq, ts), seq + 1
        self.delivered[run] += 1
        self.counts["repaired by replay" if replayed else "delivered live"] += 1

    def settle(self):
        """Checks the sum: published = delivered + reported lost + gone with a killed publisher."""
        self.leave()
        for number, run in enumerate(self.runs):
            end = self.ends[number]
            published = max(run.published, end) if run.killed else end
            known = self.delivered[number] + self.lost[number]
            self.counts["published"] += published
            if number in self.doubtful:
                self.counts["in runs that could not be told apart"] += published - known
                continue
            self.demand(known == end, f"run {number}: {known} accounted for, of {end}")
            never = end - run.published - 1  # One may have been published and not told
            self.demand(
                never <= 0 or number in self.guessed,
                f"run {number}: {never} reported lost that never were",
            )
            self.counts["gone with a killed publisher"] += published - end
        told = [self.counts[each] for each in SUM]
        self.demand(sum(told) == self.counts["published"], f"{dict(zip(SUM, told))}, not published")


class KvStream(Schedule):
    """kv_subscriber, with kv_publisher or a publisher in Python that speaks as any vLLM since v0.9.
    Either side is killed and restarted, or stopped for a time; connections are cut. Queues and the
    history are long or short, batches are small or large, the rate goes up to full speed.

    Must hold: each batch that is delivered is the next one of its run, or those before it were
    reported lost. A notice comes before another run. A reader that resumes with the last number it
    has can tell whether the run is the same. In the end the subscriber catches up.
    """

    kind = "kv"
    faults = ("publisher", "publisher", "subscriber", "pause", "pause", "stall")

    def publish(self):
        self.truth.append(Run())
        how = {"lang": self.lang, "keep": 100, "also": self.truth[-1]}
        self.publisher = self.start("kv_publisher", **how, **self.bound, **self.keeps)
        self.until(lambda: self.truth[-1].listens == 2, "the publisher does not begin")

    def follow(self, from_seq=0):
        self.subscriber = self.start(
            "kv_subscriber",
            "--json",
            keep=100,
            also=self.reader.lines.append,
            from_seq=from_seq,
            replay_timeout_ms=300 * FACTOR,
            topic="",
            **self.ends,
        )

    def look(self):
        self.reader.look(self.subscriber.running())
        if self.reader.another:
            self.note("another run: from the start")
            self.subscriber.kill()
            self.reader.begins_anew()
            self.follow()

    def choose(self):
        pick = self.random
        self.lang = pick.choice(["c", "c", "c", "py"])
        if self.lang == "py":
            wire = pick.choice(["v0.9", "v0.10", "v0.23", "v0.24", "v0.26", "v0.26"])
            self.keeps = {"wire": wire, "interval_ms": pick.choice([2, 5])}
        else:
            self.keeps = {
                "wire": pick.choice(["v0.9", "v0.24", "v0.26", "v0.26"]),
                "interval_ms": pick.choice([1, 1, 2, 5]),
                "hwm": pick.choice([2, 20, 100000]),
                "blocks": pick.choice([1, 1, 8, 32]),
            }
        self.keeps["buffer_steps"] = pick.choice([20, 300, 10000])
        self.bind(behind_proxies=self.sometimes(3))
        # At full speed, with a short queue
        if not self.proxies and self.lang == "c" and self.sometimes(16):
            self.keeps |= {"interval_ms": 0, "hwm": pick.choice([2, 20]), "blocks": 1}
        if self.sometimes(10):
            del self.ends["replay_endpoint"]  # It lives with what comes
        self.note(f"{self.lang} {self.keeps}, subscriber {self.ends}")

    def bind(self, behind_proxies=False):
        self.bound = {"endpoint": self.ipc(), "replay_endpoint": self.ipc()}
        self.proxies = [Proxy(end) for end in self.bound.values()] if behind_proxies else []
        self.ends = dict(self.bound)
        if self.proxies:
            self.ends = dict(zip(self.bound, (proxy.endpoint for proxy in self.proxies)))

    def first_token(self, seq):
        tokens = seq * 16 * self.keeps.get("blocks", 1)
        return tokens if self.lang == "py" else tokens % 32000

    def begin(self):
        self.truth = []
        self.reader = Reader(self.counts, self.truth, self.first_token, self.note)
        self.publish()
        self.follow()

    def run(self):
        self.choose()
        try:
            self.begin()
            for _ in range(self.rounds()):
                self.pace(0.02, 0.3)
                self.fault()
                self.look()
            self.catch_up()
        finally:
            for proxy in self.proxies:
                proxy.close()

    def rounds(self):
        return self.random.randint(1, 4)

    def fault(self):
        pick = self.random
        fault = pick.choice(self.faults + (("cut",) * 4 if self.proxies else ()))
        if fault == "publisher":
            self.kill_publisher()
            time.sleep(pick.choice([0, 0, 0.05, 0.3]))  # For this time there is no publisher
            self.publish()
        elif fault == "subscriber":
            self.kill(self.subscriber)
            self.reader.look(False)
            if self.reader.another:
                self.reader.begins_anew()
            time.sleep(pick.choice([0, 0, 0.1]))
            if "publisher" in self.faults and self.sometimes(3):
                self.kill_publisher()  # Its reader remembers, and in the meantime all is different
                self.publish()
            self.follow(self.reader.returns())
        elif fault == "pause":
            self.pause(self.subscriber, pick.uniform(0.1, 0.6))
        elif fault == "stall":
            self.pause(self.publisher, pick.uniform(0.1, 0.5))
        else:
            self.note("cut")
            self.counts["connections cut"] += 1
            for proxy in pick.choice([self.proxies, self.proxies[:1], self.proxies[1:]]):
                proxy.cut()

    def kill_publisher(self):
        self.kill(self.publisher)
        self.truth[-1].killed = True

    def catch_up(self):
        """Waits until all batches that the current run has published are delivered or reported lost."""
        end, run = self.truth[-1].published, len(self.truth) - 1
        self.note(f"now to catch up with {end} of run {run}")

        def there():
            self.look()
            return self.reader.run == run and not self.reader.told and self.reader.next > end

        self.until(there, f"batch {end} of run {run} does not come")
        #  The subscriber first, while the publisher can still answer it
        if self.stop(self.subscriber):
            self.reader.look(False)
        self.stop(self.publisher)
        self.reader.settle()


class Away(KvStream):
    """A subscriber is stopped while a publisher goes at full speed, with a short queue and a short
    history.

    Must hold: the subscriber reports the gap, a replay brings the batches that are kept, the others
    are reported lost, and the sums are right.
    """

    kind = "away"
    seconds = 0  # The subscriber is stopped at least for this time

    def choose(self):
        self.lang, self.keeps = "c", {"interval_ms": 0, "hwm": 100, "buffer_steps": 2000}
        self.bind()

    def rounds(self):
        return 1

    def fault(self):
        self.until(lambda: self.look() or self.reader.next > 0, "no first batch")
        self.note(f"stop the subscriber, for {self.seconds} s or longer")
        self.counts["stopped for a time"] += 1
        self.subscriber.send_signal(signal.SIGSTOP)
        before = self.truth[-1].published
        time.sleep(self.seconds)  # The fault: it reads nothing for this time
        #  A batch has over 150 bytes, and what makes 8 MiB finds no room anywhere: there are 100
        #  batches in the queue, and at most some 500 KB in the kernel's buffers at either end
        enough = before + (8 << 20) // 150
        self.until(lambda: self.truth[-1].published > enough, "no full speed", 2 * HANG_S)
        self.subscriber.send_signal(signal.SIGCONT)
        self.until(lambda: self.look() or self.reader.next > enough, "it stays behind", 2 * HANG_S)

    def run(self):
        super().run()
        for what in ("notices: gap", "repaired by replay", "reported lost"):
            self.demand(self.counts[what] > 0, f"no {what}")
