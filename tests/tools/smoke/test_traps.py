# SPDX-License-Identifier: MIT
"""Each trap tests its own claim: it exits with 0 only if it has seen the trap and the cure.

What they print is compared by test_readme.py.
"""

import re
import signal

import pytest

from harness import FACTOR, ROOT, TRAPS

README = (ROOT / "traps" / "README.md").read_text("utf-8")


@pytest.mark.valgrind
@pytest.mark.parametrize("name", TRAPS)
def test_trap_and_cure_are_seen(start, name):
    program = start(name)
    assert program.wait(4 * FACTOR) == 0, program
    assert program.err == []
    kinds = [line.split(":")[0] for line in program.out[:-2]]
    assert set(kinds) == {"trap", "cure"}
    assert program.out[-2].startswith("why:  ") and program.out[-1].startswith("      ")


@pytest.mark.parametrize("name", TRAPS)
def test_help(start, name):
    program = start(name, "--help")
    assert program.wait() == 0
    assert re.match(rf"{name} - \w", program.out[0])
    assert program.out[-1] == f"  build/traps/{name}"
    assert program.err == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
@pytest.mark.parametrize("name", TRAPS)
def test_signal_ends_it(start, name, number):
    """Before it has seen both it has failed; and it may be quicker than the signal."""
    program = start(name)
    program.send_signal(number)
    status = program.wait(FACTOR)
    assert status in (0, 1, -number), program
    assert status != 1 or program.err, program


def test_each_has_its_row_and_its_section():
    rows = re.findall(r"^\| \[(\w+)\]\((\w+)\.c\)", README, re.M)
    assert all(name == file for name, file in rows)
    assert sorted(name for name, _ in rows) == TRAPS
    assert sorted(re.findall(r"^### (\w+)$", README, re.M)) == TRAPS


def test_each_is_short():
    for name in TRAPS:
        lines = len((ROOT / "traps" / f"{name}.c").read_text("utf-8").splitlines())
        assert lines <= 70, f"{name}.c has {lines} lines"
