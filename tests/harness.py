# SPDX-License-Identifier: MIT
"""Starts the programs, reads what they print, and ends them. Every wait here has a time limit.

BUILD            the folder of the programs to test (default build, from the root of the repository)
UNDER_VALGRIND   run the C programs under valgrind
"""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: The folders of the lessons in Python, and of the programs that play the other end of the tools
PEERS = [ROOT / "tests" / "peers", ROOT / "tests" / "tools" / "peers"]
BUILD = ROOT / os.environ.get("BUILD", "build")
VALGRIND = (
    "valgrind -q --leak-check=full --errors-for-leak-kinds=definite,indirect,possible"
    " --error-exitcode=99"
).split()
UNDER_VALGRIND = bool(os.environ.get("UNDER_VALGRIND"))


def _programs():
    """name -> executable. As in the Makefile: a .c file of a room without a header beside it."""
    rooms = re.search(r"^ROOMS\s*:=\s*(.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
    sources = [source for room in rooms for source in sorted((ROOT / room).glob("*.c"))]
    return {
        source.stem: BUILD / source.parent.name / source.stem
        for source in sources
        if not source.with_suffix(".h").exists()
    }


PROGRAMS = _programs()
#: These take no options and end by themselves
TRAPS = sorted(name for name, path in PROGRAMS.items() if path.parent.name == "traps")
#: Programs with the strict contract of the tools
NAMES = sorted(name for name, path in PROGRAMS.items() if path.parent.name == "tools")
ZTRACE = BUILD / "trace" / "ztrace"
MAKE_KEYS = BUILD / "scripts" / "make_keys"


def _slowness():
    """The factor for all time limits: sanitizers and valgrind are slower than a plain build."""
    if UNDER_VALGRIND:
        return 10
    built = next((path for path in PROGRAMS.values() if path.exists()), None)
    return 3 if built and b"__asan_" in built.read_bytes() else 1


FACTOR = _slowness()
WAIT_S = 10 * FACTOR  # far more than anything takes: it only bounds what has gone wrong
STOP_S = {"c": 1 * FACTOR, "py": 3 * FACTOR}  # from a signal to the end; 1 second is the contract

# What no program may print, whatever the test looks at
FORBIDDEN = re.compile(r"dangling|Sanitizer|runtime error|^==\d+==")

#: No receiver can read these as one msgpack value
UNREADABLE = [
    b"",
    b"\xc1",  # The one byte that msgpack never uses
    b"\xa5he",  # A str of 5
    b"\x93\x01\x02",  # An array of 3
    b"\x82\xa1a\x01",  # A map of 2
    b"\xa2hi\xc0",  # A second value
    b"\xdd\x01\x00\x00\x00",  # An array of 16 million elements, and none of them
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",  # A map,
    b"\xdb\xff\xff\xff\xff",  # a str,
    b"\xc6\xff\xff\xff\xff",  # a bin,
    b"\xc9\xff\xff\xff\xff\x01",  # an ext of 4 GB
    b"\xdd\x01\x00\x00\x00" * 20,  # 100 bytes, for which msgpack-c alone would reserve gigabytes
    b"\x91" * 100 + b"\xc0",  # Nested deep
    b"\x81\xa1x" * 100000 + b"\xc0",
    b"\xff" * 1000 + b"\n\x1b[31m",
]


class Tail(list):
    """A list of lines that keeps only the last `keep`; `total` counts all of them."""

    def __init__(self, keep):
        super().__init__()
        self.keep, self.total = keep, 0

    def append(self, line):
        super().append(line)
        self.total += 1
        if len(self) > self.keep:
            del self[0]


class Program:
    """A running program, and all lines that it has printed so far: `out` and `err`."""

    def __init__(self, name, args, lang="c", keep=None, also=None, trace=None):
        """keep: how many lines of each stream to keep, from the end. also (line): called with each line
        of stdout, from another thread. trace: a file for ztrace. The Python peers always run under
        ztrace, which must not change anything."""
        self.name, self.lang = name, lang
        self.args = [str(arg) for arg in args]
        if lang == "c":
            command = (VALGRIND if UNDER_VALGRIND else []) + [str(PROGRAMS[name])]
        else:
            files = [folder / f"{name}.py" for folder in PEERS]
            command = [sys.executable, str(next(file for file in files if file.exists()))]
        if trace or (lang == "py" and ZTRACE.exists()):
            command = [str(ZTRACE), "--json", str(trace or os.devnull), *command]
        self.out, self.err = ([], []) if keep is None else (Tail(keep), Tail(keep))
        self._also = also
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            command + self.args,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self._process.stdout, self.out), (self._process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream, lines):
        with stream:
            for line in stream:
                text = line.decode(errors="backslashreplace").rstrip("\n")
                if self._also and lines is self.out:
                    self._also(text)
                with self._news:
                    lines.append(text)
                    self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def _find(self, pattern, lines, nth):
        for line in lines:
            match = pattern.search(line)
            nth -= bool(match)
            if match and nth == 0:
                return match
        return None

    def wait_line(self, regex, stream="out", nth=1, timeout=WAIT_S):
        """Waits for the nth line that matches the regex, and returns the match."""
        pattern, lines = re.compile(regex), getattr(self, stream)
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                over = not any(reader.is_alive() for reader in self._readers)
                match = self._find(pattern, lines, nth)
                if match:
                    return match
                left = deadline - time.monotonic()
                assert left > 0 and not over, (
                    f"{self.name} {'ended' if over else 'has run'} "
                    f"without line {nth} of {regex!r} on std{stream}\n{self}"
                )
                self._news.wait(min(left, 0.1))

    def wait_err(self, regex, nth=1):
        return self.wait_line(regex, "err", nth)

    def endpoint(self, nth=1):
        """The endpoint where it listens, with the wildcard resolved."""
        return self.wait_line(rf"^{self.name}: listening on (\S+)$", nth=nth)[1]

    def wait(self, timeout=WAIT_S):
        """Waits until it ends by itself, and returns its exit status."""
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {timeout} s\n{self}") from None
        for reader in self._readers:
            reader.join(timeout)
        return status

    def wait_ready_for_signals(self):
        """Waits until it handles SIGALRM: a lesson installs this handler last, before it opens a socket."""
        deadline = time.monotonic() + WAIT_S
        bit = 1 << (signal.SIGALRM - 1)
        while True:
            status = Path(f"/proc/{self.pid}/status").read_text()
            if int(re.search(r"SigCgt:\s*(\w+)", status)[1], 16) & bit:
                return
            assert time.monotonic() < deadline, f"{self.name} handles no SIGALRM\n{self}"
            time.sleep(0.005)

    @property
    def pid(self):
        return self._process.pid

    def rss_mb(self):
        """The memory that it has now."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s*(\d+)", status)[1]) / 1024

    def send_signal(self, number):
        self._process.send_signal(number)

    def stop(self, number=signal.SIGTERM):
        """Asks it to end, and returns its exit status. The contract allows one second."""
        assert self.running(), f"{self.name} has ended before it was told to\n{self}"
        self.send_signal(number)
        return self.wait(STOP_S[self.lang])

    def kill(self):
        """Kills it and reads its remaining output. It may be paused, or have ended already."""
        self._process.kill()
        self.wait()

    def running(self):
        return self._process.poll() is None

    def lines(self, regex, stream="out"):
        """The groups (or the whole match) of each line that matches the regex."""
        return re.findall(regex, "\n".join(getattr(self, stream)), re.M)

    def summary(self):
        """The last line, without the program's name."""
        match = re.fullmatch(rf"{self.name}: (.*)", self.out[-1] if self.out else "")
        assert match, f"{self.name} has not ended with a summary\n{self}"
        return match[1]

    def close(self):
        """Kills it if it still runs. Returns the faults that no program may have (a sanitizer's report,
        for example)."""
        wrong = []
        if self.running():
            wrong.append(f"{self.name} was left running\n{self}")
            self._process.kill()
        self.wait()
        wrong += [f"{self.name}: {line}" for line in self.out + self.err if FORBIDDEN.search(line)]
        return wrong

    def __str__(self):
        text = [f"--- {self.name} ({self.lang}) {' '.join(self.args)}"[:400]]
        for mark, lines in ((" ", self.out), ("!", self.err)):
            skipped = [f"... {len(lines) - 40} lines"] if len(lines) > 40 else []
            text += [f"{mark} {line[:300]}" for line in lines[:20] + skipped + lines[20:][-20:]]
        return "\n".join(text)


#: libzmq (4.3.5) may abort, or never end a context, when a socket is closed with linger 0 just when a
#: peer of it is killed with half of a message (zeromq/libzmq#3442): the session then waits for the
#: other half, which linger 0 has dropped. So queued messages get this time to leave. A living peer
#: takes them at once, and for a dead one nothing is queued.
LINGER_MS = 1000


def end_context(context, timeout=WAIT_S):
    """Closes the open sockets of a zmq.Context and ends it. libzmq's own call would wait without a
    limit for unsent messages; this one fails after a time and prints the state of libzmq's threads."""
    for socket in list(context._sockets):
        socket.close(LINGER_MS)
    waiting = threading.Thread(target=context.term, daemon=True)
    waiting.start()
    waiting.join(timeout)
    if waiting.is_alive():
        threads = ", ".join(_zmq_threads())
        raise AssertionError(f"zmq_ctx_term has not returned after {timeout} s; threads: {threads}")


def _zmq_threads():
    """The state of libzmq's threads; "ZMQbg/IO/0 S 12" is asleep and has used 12 ticks of CPU."""
    for task in Path("/proc/self/task").glob("*/stat"):
        name, rest = re.fullmatch(r"\d+ \((.*)\) (.*)\n", task.read_text()).groups()
        if name.startswith("ZMQ"):
            values = rest.split()
            yield f"{name} {values[0]} {int(values[11]) + int(values[12])}"


def arguments(options):
    """{"work_ms": 5, "topic": ["a", "b"]} -> --work-ms 5 --topic a --topic b"""
    args = []
    for name, value in options.items():
        option = "--" + name.replace("_", "-")
        for each in value if isinstance(value, (list, tuple)) else [value]:
            args += [option] if each is True else [option, each]
    return args
