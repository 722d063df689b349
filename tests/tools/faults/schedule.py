# SPDX-License-Identifier: MIT
"""A schedule of faults: real processes are killed with SIGKILL, restarted, or stopped for a time, while
messages flow. The seed decides what happens; the exact times depend on the machine.
"""

import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from harness import FACTOR, WAIT_S, Program, arguments  # noqa: E402

#: Longer than anything here takes on a busy machine: after this time it counts as a hang
HANG_S = 3 * WAIT_S


class Schedule:
    """A schedule with its programs, endpoints and counts. `run` plays it and raises AssertionError if
    something does not hold. The docstring of each kind says what must hold."""

    kind = ""  # What it is called on the command line

    def __init__(self, seed):
        self.seed, self.random = seed, random.Random(f"{self.kind} {seed}")
        self.counts = Counter()
        self.programs = []
        self.folder = tempfile.mkdtemp(prefix="zmq-", dir="/tmp")
        self.story = []  # What was done, printed when a check fails
        self.names = itertools.count()
        self.began = time.monotonic()

    def ipc(self):
        return f"ipc://{self.folder}/{next(self.names)}"

    def start(self, name, /, *args, lang="c", keep=None, also=None, **options):
        program = Program(name, [*args, *arguments(options)], lang, keep, also)
        self.programs.append(program)
        return program

    def sometimes(self, one_of):
        """True once in `one_of` times."""
        return self.random.randrange(one_of) == 0

    def pace(self, least, most):
        """Time between two faults, in which the programs run. It waits for nothing."""
        time.sleep(self.random.uniform(least, most))

    def kill(self, program):
        self.note(f"kill {program.name}")
        self.counts["killed"] += 1
        program.kill()

    def pause(self, program, seconds):
        self.note(f"stop {program.name} for {seconds:.2f} s")
        self.counts["stopped for a time"] += 1
        program.send_signal(signal.SIGSTOP)
        time.sleep(seconds)  # The fault: it does nothing for this time
        program.send_signal(signal.SIGCONT)

    def note(self, text):
        self.story.append(f"{time.monotonic() - self.began:7.3f} {text}")

    def demand(self, right, what):
        if not right:
            raise AssertionError(what)

    def until(self, condition, what, seconds=HANG_S):
        """Waits for the condition; raises AssertionError if it does not come in time."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.demand(time.monotonic() < deadline, f"hang: {what}")
            time.sleep(0.01)

    def stop(self, program):
        """Sends SIGTERM. The program must exit with 0, unless it has just been started and has no signal
        handler yet. (That a second is enough is checked by other tests, on an idle machine.) Returns
        False if its pipe was full because we were slow to read: then a line is lost, and it says so."""
        status = self.told_to_stop(program)
        full = status == 1 and program.lines("stdout: not all was taken", "err")
        newborn = status == -signal.SIGTERM and not program.out
        self.demand(status == 0 or newborn or full, f"{program.name} does not end well: {status}")
        if full:
            self.counts["stopped with a full pipe, and said so"] += 1
        return not full

    def told_to_stop(self, program):
        program.send_signal(signal.SIGTERM)
        return program.wait(HANG_S)

    def listens(self, program, at=1):
        """Waits until it listens at `at` endpoints."""
        program.wait_line(rf"^{program.name}: listening on ", nth=at, timeout=HANG_S)

    def close(self):
        wrong = []
        for program in self.programs:
            if program.running():
                program.kill()
            wrong += program.close()
        shutil.rmtree(self.folder)
        return wrong

    def run(self):
        raise NotImplementedError

    def __call__(self):
        """Plays it and returns the counts. A failure is reported with everything that helps to find
        its cause."""
        try:
            self.run()
            wrong = []
        except AssertionError as error:
            wrong = [str(error)]
        finally:
            wrong_too = self.close()
        wrong += wrong_too
        if wrong:
            build = os.environ.get("BUILD")
            again = f"{f'BUILD={build} ' if build else ''}.venv/bin/python tests/tools/faults/run.py"
            again += f" {self.kind} --count 1 --seed {self.seed}"
            told = [f"{self.kind}, seed {self.seed}; again: {again}", *wrong, *self.story]
            raise AssertionError("\n".join([*told, *map(str, self.programs)]))
        self.counts["schedules"] += 1
        return self.counts


def patience(seconds):
    """The time limit for something that takes `seconds` if nothing is wrong."""
    return HANG_S + seconds * FACTOR
