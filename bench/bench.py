#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures the tools against Python (bench/python.py) and against bare libzmq (bench/bare.c).

`make bench` calls it. Each case runs as C, Python, bare, C, Python, bare, ... on private endpoints.
Every run is made twice, with all its messages and with few: the difference is the cost of the messages,
because both include the start of the programs. CPU time and the peak of memory come from wait4
(bench/measure.c), instructions from callgrind, system calls from strace. Writes RESULTS.md.
"""

import argparse
import dataclasses
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import zmq

import python as peers

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "bench"
SIDES = ("C", "Python", "bare")
TCP = "tcp://127.0.0.1:*"
WIRE = "v0.26"
PATIENCE_S = 120  # Far more than any run takes: the limit for a run that hangs
CALLGRIND = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
# -D: our child is the program, which so gets the signal that ends it
STRACE = ["strace", "-D", "-f", "-c", "-U", "calls,name"]


class BenchError(Exception):
    """Why nothing can be measured."""


# --- Processes ---------------------------------------------------------------------------------


class Process:
    """A program under bench/measure.c, and the file with what it prints."""

    def __init__(self, run, role, command):
        self.role, self.name = role, Path(command[0]).name
        file = run.folder / str(len(run.processes))
        self.cost, self.log = file.with_suffix(".usage"), file.with_suffix(".log")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [str(run.bench.build / "bench" / "measure"), str(self.cost), *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if role == "subscriber" else log,  # It prints batches
                stderr=log,
                start_new_session=True,  # It is a group with its program, and both are killed
            )

    def text(self):
        return self.log.read_text(errors="backslashreplace")

    def endpoint(self, nth=1):
        """What the nth line that has one says to listen on."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            ended = self.process.poll() is not None or time.monotonic() > deadline
            found = re.findall(r"listening on (\S+)\n", self.text())
            if len(found) >= nth:
                return found[nth - 1]
            if ended:
                raise BenchError(f"{self} does not listen")
            time.sleep(0.01)

    def wait(self):
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{self} runs for more than {PATIENCE_S} s") from None

    def usage(self):
        """Seconds of CPU, peak of memory in KB, and what it printed. Once it has ended."""
        if self.process.returncode != 0:
            raise BenchError(f"{self} ended with {self.process.returncode}")
        cpu, peak = self.cost.read_text().split()
        return float(cpu), int(peak), self.text()

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def __str__(self):
        return f"{self.role} ({self.name}) {self.text().splitlines()[-3:]}"


class Run:
    """The processes of one run. Those that end by themselves are waited for, the others stopped.
    Under `wrap` runs the process whose role is measured."""

    def __init__(self, bench, measured, wrap=()):
        self.bench, self.measured, self.wrap = bench, measured, list(wrap)
        self.folder = Path(tempfile.mkdtemp(prefix="bench-", dir=bench.folder))
        self.processes, self.endless = [], []

    def start(self, role, *command, endless=False):
        wrap = self.wrap if role == self.measured else []
        process = Process(self, role, [*wrap, *command])
        self.processes.append(process)
        if endless:
            self.endless.append(process)
        return process

    def tool(self, role, name, endless=False, **options):
        """A tool; tool ("engine", "mock_engine", step_ms=5) has --step-ms 5."""
        given = []
        for key, value in options.items():
            given += ["--" + key.replace("_", "-"), *[value] * (value is not True)]
        return self.start(role, self.bench.build / "tools" / name, *given, endless=endless)

    def other(self, side, role, *arguments, endless=False):
        """A role of python.py or of bare.c."""
        python = [sys.executable, BENCH / "python.py"]
        command = python if side == "Python" else [self.bench.build / "bench" / "bare"]
        return self.start(role, *command, *arguments, endless=endless)

    def finish(self):
        """The usage of the measured process, once all have ended."""
        for process in self.processes:
            if process not in self.endless:
                process.wait()
        for process in self.endless:
            process.process.terminate()
            process.wait()
        return {process.role: process.usage() for process in self.processes}[self.measured]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()


# --- What the sides run. Each takes (run, side, count) and the parameters of its case ------------


def engine(run, side, count, in_flight, tokens):
    if side == "C":
        # No port: another run's front-end might get it next, and this engine would join that
        wire = {"handshake": f"ipc://{run.folder}/handshake", "input": TCP, "output": TCP}
        load = {"engines": 1, "requests": count, "in_flight": in_flight, "max_tokens": tokens}
        frontend = run.tool("frontend", "mock_frontend", **wire, **load, quiet=True)
        handshake = frontend.endpoint()
        run.tool("engine", "mock_engine", handshake=handshake, step_ms=0, quiet=True, endless=True)
        return
    wanted = [tokens] if side == "Python" else []
    frontend = run.other(side, "frontend", "frontend", TCP, TCP, count, in_flight, *wanted)
    ends = frontend.endpoint(), frontend.endpoint(2)
    run.other(side, "engine", "engine", *ends, tokens, endless=True)


def subscribe(run, side, count, blocks, json):
    feeder = run.other("bare", "publisher", "pub", TCP, run.bench.payloads(blocks), count, 0)
    endpoint = feeder.endpoint()
    if side == "C":
        how = {"json" if json else "quiet": True}
        run.tool("subscriber", "kv_subscriber", endpoint=endpoint, count=count, **how)
    else:
        more = [int(json)] if side == "Python" else []
        run.other(side, "subscriber", "sub", endpoint, count, *more)


# Batches that a publisher keeps for a replay. Few: the row is about encoding and sending, and a ring of
# 10,000 would mostly measure memory that is in no cache
KEPT = 100
# Batches that may wait for a slow subscriber: all, because a dropped batch costs nothing
HWM = 1000000


def publish(run, side, count, blocks):
    if side == "C":
        wire = {"endpoint": TCP, "replay_endpoint": TCP, "wire": WIRE}
        load = {"blocks": blocks, "interval_ms": 0, "buffer_steps": KEPT, "hwm": HWM}
        reader = {"wait_subscribers": 1, "count": count, "quiet": True}
        publisher = run.tool("publisher", "kv_publisher", **wire, **load, **reader)
    elif side == "Python":
        arguments = (TCP, TCP, blocks, KEPT, HWM, count)
        publisher = run.other(side, "publisher", "pub", *arguments)
    else:
        arguments = (TCP, run.bench.payloads(blocks), count, HWM)
        publisher = run.other(side, "publisher", "pub", *arguments)
    run.other("bare", "reader", "sub", publisher.endpoint(), count)


# --- Cases -------------------------------------------------------------------------------------


@dataclasses.dataclass
class Case:
    name: str
    function: object  # One of the above
    parameters: dict
    measured: str  # The role whose cost counts
    count: int  # Messages of a full run
    counted: int  # Of a run under callgrind
    times: float = None  # Wanted: at most so many times bare libzmq's CPU,
    most: int = None  # so many instructions,
    calls: float = None  # so many system calls a message,
    peak: int = None  # so many MB
    messages: int = 1  # Of a unit, for `calls`


def cases(args):
    found = []
    for n in args.in_flight:
        name = f"mock_engine, {n} in flight, {args.tokens} tokens"
        many = {"in_flight": n, "tokens": args.tokens}
        count, counted = max(20000 // args.tokens * (1 if n < 10 else 16), 100), 400 if n < 10 else 4000
        wanted = {"most": 120000, "calls": 5} if n == 1 and args.tokens == 16 else {}
        wanted["messages"] = args.tokens
        found.append(Case(name, engine, many, "engine", count, counted, **wanted))
    sizes = [(n, f"{n} block{'s'[: n > 1]}", 200000 if n < 8 else 60000) for n in args.blocks]
    for json in (True, False):
        for n, size, count in sizes:
            most = {1: 18000, 64: 250000}.get(n) if json else None
            times = None if json else {1: 1.35, 64: 1.2}.get(n)
            name = f"kv_subscriber {'--json' if json else '--quiet'}, {size}"
            many = {"blocks": n, "json": json}
            found.append(Case(name, subscribe, many, "subscriber", count, 3000, times, most, peak=16))
    for n, size, count in sizes:
        times, many = {1: 2, 64: 1.5}.get(n), {"blocks": n}
        found.append(Case(f"kv_publisher, {size}", publish, many, "publisher", count, 3000, times))
    return [case for case in found if re.search(args.only, case.name)]


@dataclasses.dataclass
class Figures:
    """Of one side of a case: CPU seconds a unit and peaks, one for each repetition."""

    cpu: list = dataclasses.field(default_factory=list)
    peak_kb: list = dataclasses.field(default_factory=list)
    instructions: float = None  # A unit
    calls: float = None  # System calls a message


class Bench:
    def __init__(self, args, folder):
        self.args, self.build, self.folder = args, ROOT / args.build, folder
        self.started = time.monotonic()

    def progress(self, text):
        if sys.stderr.isatty():
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    def payloads(self, blocks):
        """A file of batches for bare.c, made by msgspec. Their time is one of today: it takes all its
        digits."""
        path = self.folder / f"{WIRE}-{blocks}"
        if not path.exists():
            encode = msgspec.msgpack.Encoder().encode
            with path.open("wb") as file:
                for n, batch in enumerate(peers.make_batches(blocks)):
                    batch.ts = 1789095808.8312345 + n / 7
                    payload = encode(batch)
                    file.write(len(payload).to_bytes(4, "little") + payload)
        return path

    def run(self, case, side, count, wrap=()):
        with Run(self, case.measured, wrap) as run:
            try:
                case.function(run, side, count, **case.parameters)
                return run.finish()
            except BenchError as why:
                raise BenchError(f"{case.name}, {side}: {why}") from None

    def measure(self, case, figures):
        """Runs each side once, and adds what it took to its Figures."""
        count = max(case.count // self.args.divide, 40)
        few = max(count // 20, 20)
        for side in SIDES:
            self.progress(f"{case.name}: {side}")
            (much, peak_kb, _), (little, *_) = self.run(case, side, count), self.run(case, side, few)
            figures[side].cpu.append(max(much - little, 0) / (count - few))
            figures[side].peak_kb.append(peak_kb)

    def counted(self, case, side, wrap, pattern):
        """What a tool counts in one unit: the difference of two runs."""
        much = max(case.counted // (20 if self.args.mode == "test" else 1), 20)
        few = much // 4
        sums = []
        for count in (few, much):
            found = re.findall(pattern, self.run(case, side, count, wrap)[2], re.MULTILINE)
            if not found:
                raise BenchError(f"{case.name}, {side}: {wrap[0]} has counted nothing")
            sums.append(int(found[-1]))
        return (sums[1] - sums[0]) / (much - few)

    def count(self, case, figures):
        """Instructions of C and of bare libzmq, system calls of C."""
        self.progress(f"{case.name}: counting")
        for side in ("C", "bare") if self.args.counts and shutil.which("valgrind") else ():
            figures[side].instructions = self.counted(case, side, CALLGRIND, r"Collected : (\d+)")
        if self.args.counts and shutil.which("strace"):
            calls = self.counted(case, "C", STRACE, r"^ *(\d+) total$")
            figures["C"].calls = calls / case.messages


# --- Results -----------------------------------------------------------------------------------


def table(rows):
    """A Markdown table; the first row is its head."""
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join(lines)


def number(value, digits=0):
    return "" if value is None else f"{value:,.{digits}f}"


def compared(value, most, digits=0, unit=""):
    """A value, and whether it is as small as wanted."""
    if value is None or most is None:
        return number(value, digits) + unit * (value is not None)
    return f"{value:,.{digits}f}{unit} ({'**over**' if value > most else 'of'} {most:,g})"


def ratio(one, other):
    one, other = statistics.median(one.cpu), statistics.median(other.cpu)
    return one / other if other > 0 else float("nan")


def ratios_table(results):
    head = "case|CPU, C / Python|CPU, C / bare|instructions, C|bare|C / bare"
    rows = [f"{head}|system calls a message, C|peak, C".split("|")]
    for case, figures in results:
        c, python, bare = (figures[side] for side in SIDES)
        counts = c.instructions / bare.instructions if c.instructions else None
        peak = statistics.median(c.peak_kb) / 1024
        rows.append(
            [
                case.name,
                number(ratio(c, python), 2),
                compared(ratio(c, bare), case.times, 2),
                compared(c.instructions, case.most),
                number(bare.instructions),
                number(counts, 2),
                compared(c.calls, case.calls, 1),
                compared(peak, case.peak, 0, " MB"),
            ]
        )
    return table(rows)


def figures_table(results):
    """Of each side the CPU time in us (lowest to highest), and the peak."""
    rows = [("case", *(f"CPU of {side}, us; peak" for side in SIDES))]
    for case, figures in results:
        cells = []
        for side in SIDES:
            cpu = [value * 1e6 for value in figures[side].cpu]
            peak = statistics.median(figures[side].peak_kb) / 1024
            times = f"{statistics.median(cpu):.3g} ({min(cpu):.3g} to {max(cpu):.3g})"
            cells.append(f"{times}; {peak:.0f} MB")
        rows.append((case.name, *cells))
    return table(rows)


def load():
    return " ".join(f"{value:.1f}" for value in os.getloadavg())


def versions():
    compiler = subprocess.run(["cc", "--version"], capture_output=True, text=True).stdout
    modules = []
    for name in ("libzmq", "libczmq", "msgpack-c", "msgpack"):
        found = subprocess.run(["pkg-config", "--modversion", name], capture_output=True, text=True)
        modules += [f"{name} {found.stdout.strip()}"] if found.returncode == 0 else []
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return [
        f"Machine: {cpu[1] if cpu else platform.machine()}, {os.cpu_count()} CPUs, "
        f"{platform.system()} {platform.release()}",
        f"C: {compiler.splitlines()[0] if compiler else '?'}; {', '.join(modules)}",
        f"Python {platform.python_version()}, pyzmq {zmq.__version__} with its own libzmq "
        f"{zmq.zmq_version()}, msgspec {msgspec.__version__}",
    ]


def write(args, results, bench, before):
    repeated = len(results[0][1]["C"].cpu) if results else 0
    text = f"""# Results of `make bench`

Mode {args.mode}, {repeated} repetition{"s"[: repeated != 1]}. CPU, instructions and system calls are those of the named
program, of all its threads, for one batch or one request; medians. A value with `of` is within what is
wanted, one with `over` is not. [README.md](README.md) says what is compared, and what limits it.

{ratios_table(results)}

{chr(10).join(f"- {line}" for line in versions())}
- Load average of the machine (1, 5, 15 minutes): {before} before, {load()} after. Other work on the
  machine disturbs the CPU times, but not the instructions.
- Took {time.monotonic() - bench.started:.0f} s

## Figures

{figures_table(results)}
"""
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "RESULTS.md").write_text(text)


def positive(most):
    """A type for argparse."""

    def parse(text):
        if not text.isdecimal() or not 1 <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"not from 1 to {most}: {text!r}")
        return int(text)

    return parse


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", help="folder of the programs")
    parser.add_argument("--mode", choices=("full", "quick", "test"), default="full")
    # (test: for tests/test_bench.py, so small that the numbers mean nothing)
    parser.add_argument("--only", default="", help="cases whose name has this regex in it")
    for name, most, default, what in (
        ("--blocks", 256, [1, 64], "blocks of 16 tokens in a KV batch"),
        ("--in-flight", 100000, [1, 64, 1024], "requests that are open at a time"),
    ):
        what = f"{what} (default {' '.join(map(str, default))})"
        parser.add_argument(name, type=positive(most), nargs="+", default=default, help=what)
    tokens = "tokens that a request gets (default 16, as in vLLM)"
    parser.add_argument("--tokens", type=positive(8000), default=16, help=tokens)
    parser.add_argument(
        "--no-counts", dest="counts", action="store_false", help="without callgrind and strace"
    )
    parser.add_argument("--out", type=Path, default=BENCH, help="folder for the results")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # Ends what is running on the way
    repeat, args.divide = {"full": (5, 2), "quick": (1, 10), "test": (1, 2000)}[args.mode]

    before = load()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        bench = Bench(args, Path(folder))
        results = [(case, {side: Figures() for side in SIDES}) for case in cases(args)]
        try:
            for _ in range(repeat):
                for case, figures in results:
                    bench.measure(case, figures)
            with ThreadPoolExecutor(os.cpu_count()) as pool:  # Counts do not depend on the load
                list(pool.map(lambda one: bench.count(*one), results))
        except BenchError as why:
            print(f"\nbench: {why}", file=sys.stderr)
            return 1
        bench.progress("")
    write(args, results, bench, before)
    print(ratios_table(results))
    print(f"\nbench: {time.monotonic() - bench.started:.0f} s, see {args.out}/RESULTS.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
