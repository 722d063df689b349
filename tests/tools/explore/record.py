# SPDX-License-Identifier: MIT
"""Plays every schedule up to a depth, on two cores, and writes the counts to docs/reliability.md.

    python3 tests/tools/explore/record.py --build build 12
"""

import argparse
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/tools/faults"))
import reliability  # noqa: E402

PARTS = 8  #: One for each setting of the world
LINE = re.compile(r"^(.+): (\d+) schedules, (\d+) worlds$", re.M)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("depth", type=int)
    options = parser.parse_args()

    def play(part):
        program = ROOT / options.build / "tests/tools/explore/kv_sequence"
        command = [program, str(options.depth), str(part), str(PARTS)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        print(done.stdout, end="", flush=True)
        done.check_returncode()
        return done.stdout

    since = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        text = "".join(pool.map(play, range(PARTS)))
    settings = {name: [int(schedules), int(worlds)] for name, schedules, worlds in LINE.findall(text)}
    seconds = round(time.monotonic() - since)
    reliability.record("explored", reliability.explored(options.depth, seconds, settings))


if __name__ == "__main__":
    main()
