# SPDX-License-Identifier: MIT
"""Plays every schedule up to a depth, on two cores, and writes the counts to docs/reliability.json, from
which docs/reliability.md is made.

    python3 tests/tools/explore/record.py --build build 12
"""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
FIGURES = ROOT / "docs" / "reliability.json"
PARTS = 8  #: One for each setting of the world; two run at a time
LINE = re.compile(r"^(.+): (\d+) schedules, (\d+) worlds$", re.M)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("depth", type=int)
    options = parser.parse_args()
    program = ROOT / options.build / "tests/tools/explore/kv_sequence"
    since, todo, running, found = time.monotonic(), list(range(PARTS)), [], {}
    while todo or running:
        while todo and len(running) < 2:
            command = [program, str(options.depth), str(todo.pop(0)), str(PARTS)]
            running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        process = running.pop(0)
        text, _ = process.communicate()
        print(text, end="", flush=True)
        if process.returncode:
            sys.exit(process.returncode)
        for name, schedules, played in LINE.findall(text):
            found[name] = [int(schedules), int(played)]
    figures = json.loads(FIGURES.read_text())
    figures["explored"] = {
        "depth": options.depth,
        "seconds": round(time.monotonic() - since),
        "settings": found,
    }
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")
    subprocess.run([sys.executable, ROOT / "tests/tools/faults/reliability.py"], check=True)


if __name__ == "__main__":
    main()
