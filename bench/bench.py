#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures the tools against Python (bench/python.py) and against bare libzmq (bench/bare.c).

`make bench` calls it. Each case runs as C, Python, bare, C, Python, bare, ... on private endpoints, each
run once with all its messages and once with few. The difference is the cost of the messages, without
the start. User and system time and peak memory come from wait4 (bench/measure.c).
Writes RESULTS.md and results.svg. bench/README.md explains how to read them.
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
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import zmq

import chart
import python as peers

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "bench"
SIDES = ("c", "python", "bare")
TCP = "tcp://127.0.0.1:*"
PATIENCE_S = 60  # Far more than any run takes: the limit for a run that hangs


class BenchError(Exception):
    pass


# --- Processes ---------------------------------------------------------------------------------


@dataclasses.dataclass
class Usage:
    """What a process has cost, of wait4."""

    wall: float
    cpu: float
    peak_kb: int


class Process:
    """A program under bench/measure.c, and the lines it prints."""

    def __init__(self, run, role, command):
        self.role, self.name = role, Path(command[0]).name
        self.file = run.folder / f"{len(run.processes)}.usage"
        self.lines = []
        self.news = threading.Condition()
        self.process = subprocess.Popen(
            [str(run.build / "bench" / "measure"), str(self.file), *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
            start_new_session=True,  # With its program it is a group, to be paused or killed
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.news:
                self.lines.append(line.rstrip("\n"))
                self.news.notify_all()
        with self.news:
            self.news.notify_all()

    def wait_line(self, pattern, nth=1):
        """The match of the nth line that has the pattern in it."""
        deadline = time.monotonic() + PATIENCE_S
        with self.news:
            while True:
                found = [match for line in self.lines if (match := re.search(pattern, line))]
                if len(found) >= nth:
                    return found[nth - 1]
                if not self.reader.is_alive() or time.monotonic() > deadline:
                    raise BenchError(f"{self} has not printed {pattern!r}")
                self.news.wait(0.05)

    def endpoint(self, nth=1):
        return self.wait_line(r"listening on (\S+)", nth)[1]

    def wait(self):
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise BenchError(f"{self} runs for more than {PATIENCE_S} s") from None
        self.reader.join(PATIENCE_S)

    def usage(self):
        """Once it has ended."""
        if self.process.returncode != 0:
            raise BenchError(f"{self} ended with {self.process.returncode}")
        wall, user, system, peak, _ = self.file.read_text().split()
        return Usage(float(wall), float(user) + float(system), int(peak))

    def kill(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def __str__(self):
        return f"{self.role} ({self.name}) {self.lines[-3:]}"


class Run:
    """The processes of one run. Those that end by themselves are waited for, the others stopped."""

    def __init__(self, bench):
        self.build, self.bench = bench.build, bench
        self.folder = Path(tempfile.mkdtemp(prefix="bench-", dir=bench.folder))
        self.processes, self.endless = [], []

    def start(self, role, *command, endless=False):
        process = Process(self, role, command)
        self.processes.append(process)
        if endless:
            self.endless.append(process)
        return process

    def demo(self, role, path, endless=False, verbose=False, **options):
        """A demo; demo ("engine", "tools/mock_engine", step_ms=5) has --step-ms 5."""
        given = [
            word
            for name, value in options.items()
            for word in ("--" + name.replace("_", "-"), str(value))[: 1 if value is True else 2]
        ]
        quiet = [] if verbose else ["--quiet"]
        return self.start(role, self.build / path, *given, *quiet, endless=endless)

    def python(self, role, *arguments, endless=False):
        return self.start(role, sys.executable, BENCH / "python.py", *arguments, endless=endless)

    def bare(self, role, *arguments, endless=False):
        return self.start(role, self.build / "bench" / "bare", *arguments, endless=endless)

    def finish(self):
        """role -> Usage, once all have ended. Of processes of one role their sum, and the highest
        peak."""
        for process in self.processes:
            if process not in self.endless:
                process.wait()
        for process in self.endless:
            process.process.send_signal(signal.SIGTERM)
            process.wait()
        sums = {}
        for process in self.processes:
            usage = process.usage()
            if process.role in sums:
                before = sums[process.role]
                usage.wall = max(usage.wall, before.wall)
                usage.cpu += before.cpu
                usage.peak_kb = max(usage.peak_kb, before.peak_kb)
            sums[process.role] = usage
        return sums

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()


# --- What the sides run. Each takes (run, side, count) and the parameters of its case ------------


def engine_loop(run, side, count, engines, in_flight, tokens):
    if side == "c":
        frontend = run.demo(
            "frontend",
            "tools/mock_frontend",
            handshake=TCP,
            input=TCP,
            output=TCP,
            engines=engines,
            requests=count,
            in_flight=in_flight,
            max_tokens=tokens,
        )
        for index in range(engines):
            run.demo(
                "engine",
                "tools/mock_engine",
                index=index,
                handshake=frontend.endpoint(),
                step_ms=0,
                disable_log_stats=True,  # As the engines of the other two sides
                endless=True,
            )
        return
    start = run.python if side == "python" else run.bare
    wanted = [tokens] if side == "python" else []
    frontend = start("frontend", "frontend", TCP, TCP, engines, count, in_flight, *wanted)
    ends = frontend.endpoint(), frontend.endpoint(2)
    for index in range(engines):
        start("engine", "engine", index, *ends, tokens, endless=True)


def kv_receive(run, side, count, blocks, wire):
    feeder = run.bare("publisher", "pub", TCP, run.bench.payloads(blocks, wire), count, 1, 0)
    if side == "c":
        subscriber = run.demo(
            "subscriber", "tools/kv_subscriber", endpoint=feeder.endpoint(), count=count
        )
        subscriber.wait_line(rf" {count} delivered, .* 0 gaps, 0 lost, 0 malformed")
    elif side == "python":
        subscriber = run.python("subscriber", "sub", feeder.endpoint(), wire, count)
        subscriber.wait_line(rf"{count} received, .* 0 gaps")
    else:
        run.bare("subscriber", "sub", feeder.endpoint(), count)


# Batches that a publisher keeps for a replay. Few: the row is about encoding and sending, and a ring
# of 10,000 would mostly measure memory that is in no cache.
KEPT = 100
# Batches that wait for a slow subscriber: all, as one that is dropped costs nothing
HWM = 1000000


def kv_publish(run, side, count, blocks, wire):
    if side == "c":
        publisher = run.demo(
            "publisher",
            "tools/kv_publisher",
            endpoint=TCP,
            replay_endpoint=TCP,
            wire=wire,
            blocks=blocks,
            interval_ms=0,
            buffer_steps=KEPT,
            hwm=HWM,
            wait_subscribers=1,
            count=count,
        )
    elif side == "python":
        publisher = run.python("publisher", "pub", TCP, TCP, wire, blocks, KEPT, HWM, count, 1)
    else:
        payloads = run.bench.payloads(blocks, wire)
        publisher = run.bare("publisher", "pub", TCP, payloads, count, 1, HWM)
    run.bare("subscriber", "sub", publisher.endpoint(), count)


# --- Rows that have tables of their own ----------------------------------------------------------


# What the ROUTER keeps for a reader before it drops: as vLLM leaves it, or a whole replay
VLLM_MARK = 1000


def replay_marks(batches):
    return ((VLLM_MARK, f"{VLLM_MARK:,}"), (batches + 1000, "all"))


def replay_slow_reader(bench, mark, name):
    """Row 5: a reader that asks for all and then does not read for half a second. Batches lost, and
    what it took."""
    batches, blocks = bench.args.replay, 32  # About 2 KB each
    with Run(bench) as run:
        publisher = run.demo(
            "publisher",
            "tools/kv_publisher",
            endpoint=TCP,
            replay_endpoint=TCP,
            replay_hwm=mark,
            blocks=blocks,
            buffer_steps=batches + 1000,
            prefill=batches,
            interval_ms=500,  # Live ones: by them it knows how far a replay has to go
            endless=True,
            verbose=True,
        )
        reader = run.demo(
            "reader",
            "tools/kv_subscriber",
            endpoint=publisher.endpoint(),
            replay_endpoint=publisher.endpoint(2),
            from_seq=0,
            endless=True,
            verbose=True,
        )
        reader.wait_line(r"^seq \d+ replayed")  # The replay has begun
        os.killpg(reader.process.pid, signal.SIGSTOP)
        time.sleep(0.5)  # It is what is measured: nobody is waited for
        os.killpg(reader.process.pid, signal.SIGCONT)
        # Once it has one that was live, all before have come or been given up
        reader.wait_line(rf"^seq {batches}\b")
        usage = run.finish()
        summary = reader.wait_line(r"(\d+) received, (\d+) delivered, .* (\d+) lost")
        asked = sum(line.startswith("replay from") for line in publisher.lines)
        stuck = sum(line.startswith("replay_timeout") for line in reader.lines)
        return [
            f"{batches:,} batches of 2 KB, paused for 0.5 s",
            name,
            summary[2],
            summary[3],
            f"not of {stuck}" if stuck else "yes",
            asked,
            f"{usage['publisher'].peak_kb / 1024:.0f}",
            f"{usage['reader'].peak_kb / 1024:.0f}",
        ]


def replay_cost(bench, batches, mark):
    """Row 5: seconds of CPU of publisher and reader for a replay of so many batches, how many
    requests it took, and how many were lost."""
    with Run(bench) as run:
        publisher = run.demo(
            "publisher",
            "tools/kv_publisher",
            endpoint=TCP,
            replay_endpoint=TCP,
            replay_hwm=mark,
            blocks=32,
            buffer_steps=batches + 1000,
            prefill=batches,
            interval_ms=100,
            wait_subscribers=1,
            endless=True,
            verbose=True,
        )
        # The first live batch tells it what it has missed
        reader = run.demo(
            "reader",
            "tools/kv_subscriber",
            endpoint=publisher.endpoint(),
            replay_endpoint=publisher.endpoint(2),
            from_seq=0,
            count=batches + 1,
        )
        usage = run.finish()
        asked = sum(line.startswith("replay from") for line in publisher.lines)
        lost = int(reader.wait_line(r"(\d+) lost")[1])
        return usage["publisher"].cpu, usage["reader"].cpu, asked, lost


def replay_costs(bench):
    most = bench.args.replay * (10 if bench.args.mode == "full" else 1)
    sizes = [size for size in (100, 1000, 10000, 100000) if size <= most]
    todo = [(size, *mark) for size in sizes for mark in reversed(replay_marks(size))]
    todo.sort(key=lambda one: one[2], reverse=True)  # A curve for each mark
    rows = [
        (
            "batches",
            "ROUTER keeps",
            "requests",
            "lost",
            "CPU of publisher, s",
            "of reader, s",
            "of both, us a batch",
        )
    ]
    for size, mark, name in todo:
        bench.progress(f"replay of {size} batches, {name}")
        server, reader, asked, lost = replay_cost(bench, size, mark)
        # Making the batches is no part of it
        base = replay_prefill(bench, size)
        server = max(server - base, 0)
        rows.append(
            (
                f"{size:,}",
                name,
                asked,
                lost,
                f"{server:.3f}",
                f"{reader:.3f}",
                microseconds((server + reader) / size),
            )
        )
    return table(rows)


def replay_prefill(bench, batches):
    """Seconds of CPU of a publisher that makes so many batches, and stops."""
    with Run(bench) as run:
        run.demo(
            "publisher",
            "tools/kv_publisher",
            endpoint=TCP,
            replay_endpoint=TCP,
            blocks=32,
            buffer_steps=batches + 1000,
            prefill=batches,
            interval_ms=0,
            count=1,
        )
        return run.finish()["publisher"].cpu


SCHEMAS = {  # of build/bench/codec: name -> sizes
    "kv-v0.26": None,  # --blocks
    "kv-v0.9": None,
    "request": (5, 1024),
    "outputs": (1, 64),
}


def instructions(bench, *words):
    """Of one run of bench/codec under callgrind."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    command += [str(bench.build / "bench" / "codec"), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not found:
        raise BenchError(f"{' '.join(command)}: {done.stderr[-300:]}")
    return int(found[1])


def codec_seconds(bench, side, what, schema, size, count):
    with Run(bench) as run:
        if side == "c":
            run.start("codec", bench.build / "bench" / "codec", what, schema, size, count)
        else:
            run.python("codec", "codec", what, schema[3:], size, count)
        return run.finish()["codec"].cpu


def codecs(bench):
    """Row 6: instructions and nanoseconds a message; and for KV batches msgspec beside it."""
    args = bench.args
    todo = [
        (what, schema, size)
        for schema, sizes in SCHEMAS.items()
        if args.mode != "test" or schema in ("kv-v0.26", "request")
        for size in sizes or args.blocks
        for what in ("encode", "decode")
    ]
    counts = dict.fromkeys(todo, "not counted")
    if args.callgrind and shutil.which("valgrind"):
        bench.progress("counting instructions")
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # A count does not mind company
            few = pool.map(lambda words: instructions(bench, *words, 10), todo)
            more = pool.map(lambda words: instructions(bench, *words, 110), todo)
            for words, low, high in zip(todo, few, more):
                counts[words] = f"{(high - low) / 100:,.0f}"
    rows = [
        ("schema", "size", "what", "instructions", "C, ns", "msgspec, ns", "msgspec / C", "wanted", "reached")
    ]
    for what, schema, size in todo:
        bench.progress(f"{what} {schema} {size}")
        wanted = 2 if what == "encode" else 4
        count = max((200000 if size < 32 else 50000) // args.divide, 100)
        sides = ["c", "python"] if schema.startswith("kv-") else ["c"]
        took = {side: [] for side in sides}
        for _ in range(min(args.repeat, 3)):
            for side in sides:
                little, much = (
                    codec_seconds(bench, side, what, schema, size, n)
                    for n in (count // 20, count)
                )
                took[side].append(max(much - little, 0) / (count - count // 20) * 1e9)
        own = statistics.median(took["c"])
        row = [schema, size, what, counts[what, schema, size], f"{own:.0f}", "", "", "", ""]
        if "python" in took:
            python = statistics.median(took["python"])
            times = python / own if own > 0 else float("nan")
            row[5:7] = f"{python:.0f}", f"{times:.1f}"
            if size >= 64:
                row[7:] = f"&ge; {wanted}", verdict(times, wanted, True)
        rows.append(row)
    return table(rows)


# --- Cases -------------------------------------------------------------------------------------


@dataclasses.dataclass
class Case:
    row: str
    name: str
    function: object  # One of the above
    parameters: dict
    unit: str
    count: int  # Messages of a full run; a quick one has fewer
    roles: tuple  # Whose CPU time is compared
    python_target: float = None  # At least so many times less than Python
    bare_target: float = None  # At most so many times the bare loop's


@dataclasses.dataclass
class Figures:
    """Of one side of a case, a value for each repetition. Seconds, a message."""

    cpu: list = dataclasses.field(default_factory=list)
    all_cpu: list = dataclasses.field(default_factory=list)  # Of all processes together
    wall: list = dataclasses.field(default_factory=list)
    peak_kb: list = dataclasses.field(default_factory=list)


MAX_TOKENS = 16  # vLLM's default
def cases(args):
    found = []
    for engines in args.engines:
        for in_flight in args.in_flight:
            found.append(
                Case(
                    "3",
                    f"engine loop, {engines} engine{'s'[: engines > 1]}, {in_flight} in flight"
                    + (f", {args.tokens} tokens" if args.tokens != MAX_TOKENS else ""),
                    engine_loop,
                    {"engines": engines, "in_flight": in_flight, "tokens": args.tokens},
                    "request",
                    max(20000 * MAX_TOKENS // max(args.tokens, MAX_TOKENS), 2000),
                    ("frontend", "engine"),
                    8,
                    1 / 0.6,
                )
            )
    for function, what, role, targets in (
        (kv_publish, "publish", "publisher", (5, 1.5)),
        (kv_receive, "receive + decode", "subscriber", (10, 1.4)),
    ):
        for blocks in args.blocks:
            for wire, shape in (("v0.26", "map"), ("v0.9", "array")):
                found.append(
                    Case(
                        "4",
                        f"KV {what}, {blocks} block{'s'[: blocks > 1]} / {blocks * 16} tokens, {shape}",
                        function,
                        {"blocks": blocks, "wire": wire},
                        "batch",
                        60000 if blocks > 8 else 200000,
                        (role,),
                        *targets,
                    )
                )
    return found


class Bench:
    def __init__(self, args, folder):
        self.args, self.build, self.folder = args, ROOT / args.build, folder
        self.started = time.monotonic()
        self.wanted = re.compile(args.only)

    def progress(self, text):
        if sys.stderr.isatty():
            width = shutil.get_terminal_size().columns - 1
            line = f"{time.monotonic() - self.started:4.0f} s  {text}"[:width]
            print(f"\r{line:<{width}}", end="", file=sys.stderr, flush=True)

    def payloads(self, blocks, wire):
        """A file of batches for bare.c, made by msgspec."""
        path = self.folder / f"{wire}-{blocks}"
        if not path.exists():
            encode = msgspec.msgpack.Encoder().encode
            with path.open("wb") as file:
                for batch in peers.make_batches(wire, blocks):
                    payload = encode(batch)
                    file.write(len(payload).to_bytes(4, "little") + payload)
        return path

    def run(self, case, side, count):
        with Run(self) as run:
            try:
                case.function(run, side, count, **case.parameters)
                return run.finish()
            except BenchError as why:
                raise BenchError(f"{case.name}, {side}: {why}") from None

    def measure(self, case, figures, turn):
        """Runs each side once, and adds what it took to its Figures."""
        count = max(case.count // self.args.divide, 40)
        few = max(count // 20, 20)
        for side in SIDES:
            self.progress(f"{turn}  {case.name}: {side}")
            much, little = self.run(case, side, count), self.run(case, side, few)
            into, last = figures[side], case.roles[0]
            for roles, list in ((case.roles, into.cpu), (much, into.all_cpu)):
                spent = sum(much[role].cpu - little[role].cpu for role in roles)
                list.append(max(spent, 0) / (count - few))
            into.wall.append(max(much[last].wall - little[last].wall, 0) / (count - few))
            into.peak_kb.append(max(much[role].peak_kb for role in case.roles))

    def measure_all(self, cases):
        """[case, side -> Figures]. Goes round them all again and again, as long as there is time for
        one more round."""
        results = [(case, {side: Figures() for side in SIDES}) for case in cases]
        for turn in range(1, self.args.repeat + 1):
            began = time.monotonic()
            for case, figures in results:
                self.measure(case, figures, f"{turn}/{self.args.repeat}")
            now = time.monotonic()
            if now + (now - began) > self.started + self.args.seconds:
                break
        return results


# --- Results -----------------------------------------------------------------------------------


def microseconds(seconds):
    value = seconds * 1e6
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(values):
    """The median, and between what all were."""
    middle = microseconds(statistics.median(values))
    return f"{middle} ({microseconds(min(values))}-{microseconds(max(values))})"


def ratio(numerator, denominator):
    numerator, denominator = statistics.median(numerator), statistics.median(denominator)
    return numerator / denominator if denominator > 0 else float("nan")


def compared(case, figures):
    """How many times less than Python, how many times the bare loop's; by what the case is compared
    by."""
    own, python, bare = (
        figures[side].cpu for side in SIDES
    )
    return ratio(python, own), ratio(own, bare), ratio(python, bare)


def verdict(value, target, at_least):
    if target is None:
        return ""
    good = value >= target if at_least else value <= target
    return f"{'yes' if good else 'NO'}"


def table(rows):
    """A Markdown table; the first row is its head."""
    lines = [f"| {' | '.join(map(str, row))} |" for row in rows]
    lines.insert(1, "|" + "---|" * len(rows[0]))
    return "\n".join(lines)


def ratios_table(results):
    rows = [
        ("row", "case", "Python / C", "wanted", "reached", "C / bare", "wanted", "reached", "Python / bare")
    ]
    for case, figures in results:
        python, bare, room = compared(case, figures)
        rows.append(
            (
                case.row,
                case.name,
                f"{python:.2f}",
                f"&ge; {case.python_target:g}",
                verdict(python, case.python_target, True),
                f"{bare:.2f}",
                f"&le; {case.bare_target:.2f}",
                verdict(bare, case.bare_target, False),
                f"{room:.1f}",
            )
        )
    return table(rows)


def figures_table(results):
    rows = [("case", "side", "CPU, us", "CPU of all, us", "wall, us", "per second", "peak, MB")]
    for case, figures in results:
        for side in SIDES:
            each = figures[side]
            wall = statistics.median(each.wall)
            rows.append(
                (
                    case.name if side == "c" else "",
                    side,
                    spread(each.cpu),
                    microseconds(statistics.median(each.all_cpu)),
                    spread(each.wall),
                    f"{1 / wall:,.0f}" if wall > 0 else "",
                    f"{max(each.peak_kb) / 1024:.0f}",
                )
            )
    return table(rows)


def versions(build):
    compiler = subprocess.run(["cc", "--version"], capture_output=True, text=True).stdout
    modules = []
    for name in ("libzmq", "libczmq", "msgpack-c", "msgpack"):
        found = subprocess.run(["pkg-config", "--modversion", name], capture_output=True, text=True)
        if found.returncode == 0:
            modules.append(f"{name} {found.stdout.strip()}")
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return [
        f"Machine: {cpu[1] if cpu else platform.machine()}, {os.cpu_count()} CPUs, "
        f"{platform.system()} {platform.release()}",
        f"C: {compiler.splitlines()[0] if compiler else '?'}; {', '.join(modules)}",
        f"Python {platform.python_version()}, pyzmq {zmq.__version__} with its own libzmq "
        f"{zmq.zmq_version()}, msgspec {msgspec.__version__}",
    ]


def number(most):
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
    parser.add_argument("--only", default="", help="cases, and rows, whose name has this regex in it")
    parser.add_argument(
        "--blocks",
        type=number(256),
        nargs="+",
        default=[1, 64],
        help="blocks of 16 tokens in a KV batch (default 1 64)",
    )
    parser.add_argument(
        "--engines", type=number(100), nargs="+", help="engines of row 3 (default 1 2 4)"
    )
    parser.add_argument(
        "--in-flight",
        type=number(100000),
        nargs="+",
        help="requests of row 3 that are open at a time (default 64 1024)",
    )
    parser.add_argument(
        "--tokens",
        type=number(8000),
        default=MAX_TOKENS,
        help=f"tokens that a request of row 3 gets (default {MAX_TOKENS})",
    )
    parser.add_argument("--repeat", type=number(1000), help="repetitions (default by mode)")
    parser.add_argument(
        "--no-callgrind", dest="callgrind", action="store_false", help="count no instructions"
    )
    parser.add_argument("--out", type=Path, default=BENCH, help="folder for the results")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # Ends what is running on the way
    repeat, args.divide, args.replay, args.seconds = {
        "full": (5, 2, 10000, 500),
        "quick": (1, 10, 10000, 50),
        "test": (1, 2000, 1000, 50),
    }[args.mode]
    args.repeat = args.repeat or repeat
    args.engines = args.engines or ([2] if args.mode == "test" else [1, 2, 4])
    args.in_flight = args.in_flight or ([8] if args.mode == "test" else [64, 1024])

    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        bench = Bench(args, Path(folder))
        try:
            sections = extra_rows(bench)
            wanted = [case for case in cases(args) if bench.wanted.search(case.name)]
            results = bench.measure_all(wanted)
        except BenchError as why:
            print(f"\nbench: {why}", file=sys.stderr)
            return 1
        bench.progress("")
    write(args, results, sections, bench)
    print(ratios_table(results))
    print(f"\nbench: {time.monotonic() - bench.started:.0f} s, see {args.out}/RESULTS.md")
    return 0


def extra_rows(bench):
    """title -> Markdown, of the rows that --only selects."""
    found = {}
    if bench.wanted.search("replay, slow reader"):
        title = "Row 5: a replay for a reader that pauses (wanted: 0 lost, the end seen, memory bounded)"
        head = ("what", "ROUTER keeps", "delivered", "lost", "end seen", "requests")
        rows = [(*head, "publisher's peak, MB", "reader's peak, MB")]
        for mark, name in replay_marks(bench.args.replay):
            bench.progress(f"replay for a slow reader, {name}")
            rows.append(replay_slow_reader(bench, mark, name))
        found[title] = table(rows)
    if bench.wanted.search("replay, cost"):
        found["Row 5: what a replay costs"] = replay_costs(bench)
    if bench.wanted.search("codec"):
        found["Row 6: encode and decode alone"] = codecs(bench)
    return found


def turns(results):
    return max((len(figures["c"].cpu) for _, figures in results), default=0)


def write(args, results, sections, bench):
    text = [
        "# Results of `make bench`",
        "",
        f"Mode {args.mode}: each case {turns(results)} times, in turn C, Python, bare libzmq. Medians; in "
        "brackets the lowest and the highest. [README.md](README.md) says what is compared, and how.",
        "",
        ratios_table(results),
        "",
        *[f"- {line}" for line in versions(args.build)],
        f"- Took {time.monotonic() - bench.started:.0f} s",
        "",
        *[line for title, body in sections.items() for line in (f"## {title}", "", body, "")],
        "## Figures, a message",
        "",
        figures_table(results),
        "",
        "![microseconds a message, by case](results.svg)",
        "",
    ]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "RESULTS.md").write_text("\n".join(text))
    bars = []
    for case, figures in results:
        values = [
            statistics.median(figures[side].cpu) * 1e6
            for side in SIDES
        ]
        bars.append((case.name, case.unit, "CPU", values))
    (args.out / "results.svg").write_text(chart.svg(bars))


if __name__ == "__main__":
    sys.exit(main())
