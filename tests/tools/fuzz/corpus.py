# SPDX-License-Identifier: MIT
"""Keeps the inputs of a fuzzing harness in one file, one a line in hex, and gives them back as files.

    python3 tests/tools/fuzz/corpus.py pack FOLDER FILE
    python3 tests/tools/fuzz/corpus.py unpack FILE FOLDER
"""

import sys
from pathlib import Path


def pack(folder, file):
    inputs = {path.read_bytes() for path in Path(folder).iterdir()}
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    Path(file).write_text("".join(data.hex() + "\n" for data in sorted(inputs, key=lambda d: (len(d), d))))


def unpack(file, folder):
    Path(folder).mkdir(parents=True, exist_ok=True)
    for number, line in enumerate(Path(file).read_text().splitlines(), 1):
        (Path(folder) / f"{number:03}").write_bytes(bytes.fromhex(line))


if __name__ == "__main__":
    {"pack": pack, "unpack": unpack}[sys.argv[1]](*sys.argv[2:])
