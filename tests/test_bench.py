# SPDX-License-Identifier: MIT
"""make bench measures all rows. The sizes here are too small for meaningful numbers."""

import re
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from harness import BUILD, FACTOR, ROOT

BENCH = ROOT / "bench"


def bench(*args):
    missing = [name for name in ("bare", "codec", "measure") if not (BUILD / "bench" / name).exists()]
    assert not missing, f"not built: {missing} (run make {BUILD.name}/benches first)"
    command = [sys.executable, BENCH / "bench.py", "--build", BUILD, "--mode", "test", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=120 * FACTOR)


def rows(text, title):
    """The cells of the table below a title."""
    table = re.search(rf"{title}[^|]*\n((?:\|.*\n)+)", text)[1]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_all_rows(tmp_path):
    # valgrind and the sanitizers do not go together
    more = [] if FACTOR == 1 else ["--no-callgrind"]
    done = bench("--blocks", "1", "2", "--out", tmp_path, *more)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # Progress is for a terminal
    text = (tmp_path / "RESULTS.md").read_text()

    ratios = rows(text, "# Results of")
    assert [row[0] for row in ratios] == ["3"] + ["4"] * 8
    figures = rows(text, "## Figures")
    assert [row[1] for row in figures] == ["c", "python", "bare"] * len(ratios)

    replays = rows(text, "## Row 5: a replay for")
    assert [row[1] for row in replays] == ["1,000", "all"]
    for row in replays:
        assert int(row[2]) >= 1000  # And live ones
        assert row[3] == "0"
    assert replays[1][4:6] == ["yes", "1"]
    costs = rows(text, "## Row 5: what")
    assert [row[:2] for row in costs] == [
        ["100", "all"],
        ["1,000", "all"],
        ["100", "1,000"],
        ["1,000", "1,000"],
    ]
    assert [row[2] for row in costs[:3]] == ["1", "1", "1"]
    assert all(row[3] == "0" for row in costs)

    codecs = rows(text, "## Row 6")
    assert [row[2] for row in codecs] == ["encode", "decode"] * 4
    counted = re.compile("[1-9][0-9,]*" if FACTOR == 1 else "not counted")
    assert all(counted.fullmatch(row[3]) for row in codecs), codecs

    chart = ElementTree.parse(tmp_path / "results.svg").getroot()
    assert chart.tag.endswith("svg")
    assert len(chart.findall("{*}rect")) == 1 + 3 + 3 * len(ratios)  # Paper, legend, bars


def test_other_sizes(tmp_path):
    sizes = ["--engines", "1"]
    sizes += ["--in-flight", "4", "16", "--tokens", "5"]
    done = bench("--only", "engine loop", *sizes, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert [row[1] for row in rows((tmp_path / "RESULTS.md").read_text(), "# Results of")] == [
        "engine loop, 1 engine, 4 in flight, 5 tokens",
        "engine loop, 1 engine, 16 in flight, 5 tokens",
    ]
    assert bench("--tokens", "0", "--out", tmp_path).returncode == 2


def test_what_fails_is_named(tmp_path):
    done = subprocess.run(
        [BUILD / "bench" / "measure", tmp_path / "usage", "false"], capture_output=True, text=True
    )
    assert done.returncode == 1
    usage = (tmp_path / "usage").read_text().split()
    assert len(usage) == 5
    assert usage[-1] == "1"
    done = bench("--blocks", "0", "--out", tmp_path)
    assert done.returncode == 2
    assert "--blocks: not from 1 to 256" in done.stderr


@pytest.mark.parametrize("program", ["bare", "codec", "measure"])
def test_usage(program):
    done = subprocess.run([BUILD / "bench" / program], capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage" in done.stderr
