# SPDX-License-Identifier: MIT
"""make bench measures all rows. The sizes here are too small for meaningful numbers."""

import re
import shutil
import subprocess
import sys

import pytest

from harness import BUILD, FACTOR, ROOT

BENCH = ROOT / "bench"


def bench(*args):
    missing = [name for name in ("bare", "measure") if not (BUILD / "bench" / name).exists()]
    assert not missing, f"not built: {missing} (run make {BUILD.name}/benches first)"
    command = [sys.executable, BENCH / "bench.py", "--build", BUILD, "--mode", "test", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=120 * FACTOR)


def rows(text, title):
    """The cells of the table below a title."""
    table = re.search(rf"{title}[^|]*\n((?:\|.*\n)+)", text)[1]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_all_rows(tmp_path):
    # valgrind and the sanitizers do not go together
    counts = FACTOR == 1
    sizes = ["--blocks", "1", "--in-flight", "1"]
    done = bench(*sizes, "--out", tmp_path, *[] if counts else ["--no-counts"])
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # Progress is for a terminal
    text = (tmp_path / "RESULTS.md").read_text()
    assert "Load average" in text

    ratios = rows(text, "# Results of")
    assert [row[0] for row in ratios] == [
        "mock_engine, 1 in flight, 16 tokens",
        "kv_subscriber --json, 1 block",
        "kv_subscriber --quiet, 1 block",
        "kv_publisher, 1 block",
    ]
    for row in ratios:
        for cell in row[3:6]:
            assert re.match("-?[0-9]" if counts else "$", cell), row
        assert re.match("-?[0-9]" if counts and shutil.which("strace") else "$", row[6]), row
    assert not counts or "of 120,000)" in ratios[0][3]
    figures = rows(text, "## Figures")
    assert [row[0] for row in figures] == [row[0] for row in ratios]
    for row in figures:
        assert all(re.fullmatch(r"\S+ \(\S+ to \S+\); \d+ MB", cell) for cell in row[1:]), row


def test_other_sizes(tmp_path):
    sizes = ["--in-flight", "4", "16", "--tokens", "5", "--no-counts"]
    done = bench("--only", "mock_engine", *sizes, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert [row[0] for row in rows((tmp_path / "RESULTS.md").read_text(), "# Results of")] == [
        "mock_engine, 4 in flight, 5 tokens",
        "mock_engine, 16 in flight, 5 tokens",
    ]
    assert bench("--tokens", "0", "--out", tmp_path).returncode == 2


def test_what_fails_is_named(tmp_path):
    done = subprocess.run(
        [BUILD / "bench" / "measure", tmp_path / "usage", "false"], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert re.fullmatch(r"\d\.\d{6} \d+\n", (tmp_path / "usage").read_text())
    done = bench("--blocks", "0", "--out", tmp_path)
    assert done.returncode == 2
    assert "--blocks: not from 1 to 256" in done.stderr


@pytest.mark.parametrize("program", ["bare", "measure"])
def test_usage(program):
    done = subprocess.run([BUILD / "bench" / program], capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage" in done.stderr
