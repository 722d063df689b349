# SPDX-License-Identifier: MIT
"""Reads the demos of the READMEs, plays them, and compares the output with the README.

A `console` block is a terminal. `$ ` begins a command, its output follows, and a line `^C` is where
Ctrl-C is pressed. The blocks under one heading are played together. The next terminal starts when the
one before has printed its first line. Ctrl-C is pressed when the lines before it have been printed and
every command that ends by itself has ended.

The output must be the same as in the README, except for
    ...         alone on a line: any number of lines
    12.345      a number with three decimals or more, in a msgpack array, or behind "ts": a time, which
                may be any such number
    endpoints   each program gets private ones; in its output they are replaced by those of the README
    /tmp/       likewise, the files of a scene are in a private folder
A comment above a block changes the rules for it:
    <!-- any order -->       its lines may come in any order
    <!-- do not wait -->     the next terminal starts at once
    <!-- Ctrl-C at once -->  Ctrl-C is pressed as soon as the lines before it have been printed
    <!-- after: LINE -->     it starts when an earlier terminal has printed that line
    <!-- trace: OPTIONS -->  when the demo is drawn, its command gets these options too: a smaller run
                             makes a clearer picture. Then its output is not compared; it must end
                             with status 0.
"""

import os
import re
import shlex
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENDPOINT = re.compile(r"tcp://127\.0\.0\.1:(\d+)")
TIME = re.compile(r'\d+\.\d{3,}|(?<=[\[,])\d+\.\d+|(?<="ts":)\d+(?:\.\d+)?')
INTERRUPT = "^C"


class Terminal:
    """One console block: commands, each with the lines shown for it."""

    def __init__(self, rules, line):
        self.any_order = "any order" in rules
        self.waits = "do not wait" not in rules
        self.ctrl_c_at_once = "Ctrl-C at once" in rules
        values = dict(rule.split(": ", 1) for rule in rules if ": " in rule)
        self.after = values.get("after")
        self.trace_options = shlex.split(values.get("trace", ""))
        self.line = line  # Where it stands in the README
        self.commands = []  # [command, [line, ...]]


class Scene:
    """The terminals under one heading of a README."""

    def __init__(self, readme, title):
        self.readme, self.title, self.terminals = readme, title, []
        found = re.match(r"Demo (\S+?):", title)
        self.demo = found and found[1]

    def __str__(self):
        return f"{self.readme.relative_to(ROOT)}: {self.title}"


def scenes(readme):
    """All scenes of a README, in its order."""
    found, scene, rules, language = [], Scene(readme, ""), set(), None
    for number, line in enumerate(readme.read_text("utf-8").splitlines(), 1):
        if language is None and line.startswith("#"):
            scene = Scene(readme, line.lstrip("# "))
        elif line.startswith("```"):
            language = line[3:].strip() if language is None else None
            if language == "console":
                if not scene.terminals:
                    found.append(scene)
                scene.terminals.append(Terminal(rules, number))
            rules = set()
        elif language == "console":
            commands = scene.terminals[-1].commands
            if line.startswith("$ "):
                commands.append([line[2:], []])
            else:
                commands[-1][1].append(line)
        elif line.startswith("<!--"):
            rules.add(line[4:].rstrip("->").strip())
    return found


def learning_path():
    """The demos' names in the order of the table in README.md."""
    text = (ROOT / "README.md").read_text("utf-8")
    return re.findall(r"^\| \[([\w.-]+)\]\(\w+/README\.md#", text, re.M)


def demos():
    """The demos of all READMEs by name, in learning order."""
    found = [scene for path in sorted(ROOT.glob("*/README.md")) for scene in scenes(path)]
    by_name = {scene.demo: scene for scene in found}
    return {name: by_name[name] for name in learning_path()}


def differs(shown, printed, any_order=False):
    """None if the output is as shown; otherwise a text that names the first difference."""
    shown = [TIME.sub("0.000", line) for line in shown]
    printed = [TIME.sub("0.000", line) for line in printed]
    if any_order:
        shown, printed = sorted(shown), sorted(printed)
        missing = list((Counter(shown) - Counter(printed)).elements())
        extra = list((Counter(printed) - Counter(shown)).elements())
        if "..." in missing:
            missing, extra = [line for line in missing if line != "..."], []
        return f"not printed: {missing}, not shown: {extra}" if missing or extra else None
    for at, line in enumerate(shown):
        if line == "...":
            rest = shown[at + 1 :]
            tails = range(at, len(printed) + 1)
            if any(differs(rest, printed[tail:]) is None for tail in tails):
                return None
            return f"after ... : shown {rest}, printed {printed[at:]}"
        if at == len(printed):
            return f"shown but not printed: {line!r}"
        if line != printed[at]:
            return f"shown {line!r}, printed {printed[at]!r}"
    more = printed[len(shown) :]
    return f"printed but not shown: {more[0]!r}" if more else None


class Stage:
    """The private endpoints and the programs of one scene. `trace` is the file to which ztrace writes
    for all of them, or None."""

    def __init__(self, build, folder, trace=None):
        self.build, self.folder, self.trace = build, folder, trace

    def private(self, text):
        text = text.replace("/tmp/", f"{self.folder}/tmp-")
        return ENDPOINT.sub(lambda m: f"ipc://{self.folder}/{m.group(1)}", text)

    def public(self, line):
        line = line.replace(f"{self.folder}/tmp-", "/tmp/")
        #  Rank n: an endpoint without a port has a suffix
        rank = re.compile(rf"ipc://{re.escape(str(self.folder))}/(\d+)_dp(\d+)")
        line = rank.sub(lambda m: f"tcp://127.0.0.1:{int(m[1]) + int(m[2])}", line)
        return line.replace(f"ipc://{self.folder}/", "tcp://127.0.0.1:")

    def argv(self, command, trace_options=()):
        """The command, with the build folder and the private endpoints."""
        words = shlex.split(command)
        ztrace = str(ROOT / self.build / "trace" / "ztrace")
        words = [ztrace if word == "build/trace/ztrace" else word for word in words]
        at = next((i for i, word in enumerate(words) if word.startswith("build/")), None)
        if at is None:
            return ["bash", "-c", command]
        wrapper, words = words[:at], words[at:]  # Such as `timeout 2`, or ztrace
        program = str(ROOT / self.build / words[0][len("build/") :])
        # The program's --help says which options have a default endpoint
        text = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
        defaults = re.findall(r"--(\S+) +(?:ENDPOINT )?.*\(default (\w+://[^\s;)]+)", text)
        given = []
        for name, value in defaults:
            if f"--{name}" not in words:
                given += [f"--{name}", self.private(value)]
        traced = self.trace and not words[0].startswith("build/scripts/")
        words = [program, *given, *map(self.private, words[1:])]
        if traced:
            decode = ("--follow", "--decode", "vllm", "--json", str(self.trace))
            words = [ztrace, *decode, *words, *trace_options]
        return [*wrapper, *words]


class Player(threading.Thread):
    """Plays one terminal. `printed` has, for each command, the lines so far."""

    def __init__(self, terminal, stage, on_line):
        super().__init__(daemon=True)
        self.terminal, self.stage, self.on_line = terminal, stage, on_line
        self.printed = [[] for _ in terminal.commands]
        self.status = []
        self.process = None
        self.stopped = False  # True: no further command
        self.spoke = threading.Event()  # It has printed its first line, or has ended

    def run(self):
        try:
            for (command, shown), printed in zip(self.terminal.commands, self.printed):
                if self.stopped:
                    break
                self.on_line(self, f"$ {command}")
                self.process = subprocess.Popen(
                    self.stage.argv(command, self.terminal.trace_options),
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    encoding="utf-8",
                    errors="backslashreplace",
                    start_new_session=True,  # With its children it is a group of its own
                )
                if not self.terminal.waits or not shown or shown[0] == INTERRUPT:
                    self.spoke.set()
                for line in self.process.stdout:
                    line = self.stage.public(line.rstrip("\n"))
                    printed.append(line)
                    self.on_line(self, line)
                    self.spoke.set()
                self.status.append(self.process.wait())
        finally:
            self.spoke.set()

    def waits_for_interrupt(self):
        """True if the README shows Ctrl-C for its running command, and it was not pressed yet."""
        at = len(self.status)
        if not self.is_alive() or at >= len(self.printed):
            return False
        return INTERRUPT in self.terminal.commands[at][1] and INTERRUPT not in self.printed[at]

    def is_ready_for_interrupt(self):
        at = len(self.status)
        shown, printed = self.terminal.commands[at][1], self.printed[at]
        before = shown[: shown.index(INTERRUPT)]
        if self.stage.trace and self.terminal.trace_options:  # The numbers are others then
            before, printed = ([re.sub(r"\d+", "0", s) for s in lines] for lines in (before, printed))
        return differs(before, printed, self.terminal.any_order) is None

    def interrupt(self):
        at = len(self.status)
        self.printed[at].append(INTERRUPT)
        self.on_line(self, INTERRUPT)
        self.process.send_signal(signal.SIGINT)

    def kill(self):
        """Ends its command and all children."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (AttributeError, ProcessLookupError):
            pass  # Not started, or gone

    def complaint(self):
        """None, or how the output differs from the README."""
        for (command, shown), printed in zip(self.terminal.commands, self.printed):
            wrong = differs(shown, printed, self.terminal.any_order)
            if wrong:
                return f"line {self.terminal.line}: $ {command}\n    {wrong}"
        return None


def contested(players):
    """Two terminals must not bind one endpoint: with ipc the second would silently take it over."""
    listening = Counter()
    for player in players:
        text = "\n".join(line for printed in player.printed for line in printed)
        listening.update(set(re.findall(r"listening on (\S+)", text)))
    return [f"{endpoint}: two terminals listen there" for endpoint, n in listening.items() if n > 1]


def play(scene, build="build", on_line=lambda player, line: None, seconds=60, trace=None):
    """Plays a scene. Returns the differences from the README, one text for each terminal. With `trace`,
    ztrace writes to that file; in it the endpoints are those of the README."""
    deadline = time.monotonic() + seconds
    if trace:
        trace.touch()  # It must exist, even if no program writes to it
    with tempfile.TemporaryDirectory(prefix="zmq-") as folder:
        stage = Stage(build, folder, trace)
        players = [Player(terminal, stage, on_line) for terminal in scene.terminals]
        try:
            for player in players:
                while player.terminal.after and time.monotonic() < deadline:
                    if any(player.terminal.after in lines for p in players for lines in p.printed):
                        break
                    threading.Event().wait(0.01)
                player.start()
                player.spoke.wait(max(0, deadline - time.monotonic()))
            while any(player.is_alive() for player in players) and time.monotonic() < deadline:
                waiting = [player for player in players if player.waits_for_interrupt()]
                busy = [p for p in players if p.is_alive() and p not in waiting]
                for player in waiting:
                    due = player.terminal.ctrl_c_at_once or not busy
                    if due and player.is_ready_for_interrupt():
                        player.interrupt()
                threading.Event().wait(0.02)
        finally:  # Also when Ctrl-C ends the tour
            late = [player for player in players if player.is_alive()]
            for player in late:
                player.stopped = True
                player.kill()
        for player in late:
            player.join()
        if trace:
            # In the frames the endpoints stay what they were: there they are bytes, too
            parts = [line.partition(',"frames":') for line in trace.read_text("utf-8").split("\n")]
            lines = [stage.public(head) + mark + rest for head, mark, rest in parts]
            trace.write_text("\n".join(lines), "utf-8")
        wrong = []
        for player in players:
            if trace and player.terminal.trace_options:
                ended = zip(player.terminal.commands, player.status)
                wrong += [f"line {player.terminal.line}: $ {command}: ended with status {status}"
                          for (command, _), status in ended if status != 0]  # fmt: skip
            else:
                wrong.append(player.complaint())
        wrong += contested(players)
        wrong += [f"line {player.terminal.line}: not ended in time" for player in late]
        return [text for text in wrong if text]
