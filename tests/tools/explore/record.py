# SPDX-License-Identifier: MIT
"""Plays every schedule up to a depth, on two cores, and writes the counts to docs/reliability.md. At this depth
some schedule must take each transition of the state machine.

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
        if done.returncode:
            sys.exit(done.stdout)
        print(LINE.search(done.stdout)[0], flush=True)
        return done.stdout

    since = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        texts = list(pool.map(play, range(PARTS)))
    unseen = set.intersection(*(set(re.findall("^never taken: .*", text, re.M)) for text in texts))
    if unseen:
        sys.exit("\n".join(["in no part:", *sorted(unseen)]))
    found = LINE.findall("".join(texts))
    settings = {name: [int(schedules), int(worlds)] for name, schedules, worlds in found}
    seconds = round(time.monotonic() - since)
    reliability.record("explored", reliability.explored(options.depth, seconds, settings))


if __name__ == "__main__":
    main()
