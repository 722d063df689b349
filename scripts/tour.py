#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Plays the demos of the READMEs, all in learning order, or the one that is named."""

import argparse
import sys
import threading
import time

import readme


class Patience:
    """Shows that a demo is still running: after 2 s without a line it prints `... 3 s` on stderr.

    Prints nothing if stderr is not a terminal. A context manager; `lock` is held while a line is printed.
    """

    SILENCE_S = 2

    def __init__(self, lock, stream=sys.stderr, clock=time.monotonic):
        self.lock, self.stream, self.clock = lock, stream, clock
        self.last = clock()
        self.shown = False
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _write(self, text):
        self.stream.write("\r\033[K" + text)
        self.stream.flush()

    def line(self):
        """A line is about to be printed (with the lock held)."""
        if self.shown:
            self._write("")
        self.shown, self.last = False, self.clock()

    def tick(self):
        silence = self.clock() - self.last
        if silence >= self.SILENCE_S:
            self._write(f"... {silence:.0f} s")
            self.shown = True

    def _run(self):
        while not self.over.wait(0.5):
            with self.lock:
                self.tick()

    def __enter__(self):
        if self.stream.isatty():
            self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        with self.lock:
            self.line()


def program(words):
    """Its name: the last word in build/, since a wrapper such as `timeout 2` may stand before it."""
    return next((word for word in reversed(words) if word.startswith("build/")), words[0]).split("/")[-1]


def label(scene, player):
    """The name of the running program; if several have this name, also its --index or --name, or a number."""
    commands = player.terminal.commands
    running = commands[min(len(player.status), len(commands) - 1)][0].split()
    name = program(running)
    all_of_them = [(terminal, line.split()) for terminal in scene.terminals for line, _ in terminal.commands]
    same = [(terminal, words) for terminal, words in all_of_them if program(words) == name]
    if len(same) == 1:
        return name
    for option, default in (("--index", "0"), ("--name", None)):
        if any(option in words for _, words in same):
            value = running[running.index(option) + 1] if option in running else default
            return f"{name} {value}"
    return f"{name} {[terminal for terminal, _ in same].index(player.terminal) + 1}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build", help="folder with the programs")
    parser.add_argument("demo", nargs="*", help="names of demos, such as 2.2")
    options = parser.parse_args()

    demos = readme.demos()
    unknown = [name for name in options.demo if name not in demos]
    if unknown:
        print(f"tour: {unknown[0]}: no such demo; there are {' '.join(demos)}", file=sys.stderr)
        return 2
    chosen = options.demo or list(demos)

    colour = sys.stdout.isatty()
    lock = threading.Lock()
    start = time.monotonic()
    failed = []
    for name in chosen:
        scene, patience = demos[name], Patience(lock)

        def show(player, line, scene=scene, patience=patience):
            who = f"{label(scene, player):>22}"
            if colour:
                who = f"\033[{31 + scene.terminals.index(player.terminal) % 6}m{who}\033[0m"
            with lock:
                patience.line()
                print(f"{who} | {line}", flush=True)

        print(f"\n== {scene.title}  ({scene.readme.relative_to(readme.ROOT)})\n", flush=True)
        with patience:
            wrong = readme.play(scene, options.build, show)
        for text in wrong:
            print(f"tour: {scene}: {text}", file=sys.stderr)
        failed += [name] if wrong else []

    seconds = time.monotonic() - start
    if failed:
        print(f"\n{len(failed)} of {len(chosen)} demos failed: {' '.join(failed)}", flush=True)
        return 1
    which = f"All {len(chosen)} demos" if len(chosen) > 1 else f"Demo {chosen[0]}"
    print(f"\n{which} passed in {seconds:.0f} s.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
