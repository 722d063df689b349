# SPDX-License-Identifier: MIT
"""Each lesson builds outside of the tree, with the gcc line of its README, in a folder that has only its
file, the headers of common/, and the modules that it includes."""

import re
import shutil
import subprocess

import pytest
from harness import PROGRAMS, ROOT, UNDER_VALGRIND

ROOMS = ["req_rep", "pub_sub", "push_pull", "router_dealer"]
LESSONS = sorted(
    name for name, path in PROGRAMS.items() if path.parent.name in ROOMS
)


def needed(source):
    """A lesson's file, and the modules of its room that it includes."""
    files = [source]
    for header in re.findall(r'#include "(\w+\.h)"', source.read_text("utf-8")):
        module = source.parent / header
        if module.exists():
            files += [module, module.with_suffix(".c")]
    return files


def printed_line(room):
    (line,) = re.findall(r"^gcc .*$", (ROOT / room / "README.md").read_text("utf-8"), re.M)
    return line


@pytest.mark.skipif(UNDER_VALGRIND, reason="compiles")
@pytest.mark.parametrize("name", LESSONS)
def test_it_is_built_elsewhere(tmp_path, name):
    room = PROGRAMS[name].parent.name
    files = needed(ROOT / room / f"{name}.c")
    for file in [*files, *ROOT.glob("common/*.h")]:
        shutil.copy(file, tmp_path)
    # The line is for one program: for another one its files and its name take their place
    of, flags = re.fullmatch(r"gcc -I\. ([\w. ]+) -o \w+ (\$\(.*\))", printed_line(room)).groups()
    sources = " ".join(file.name for file in files if file.suffix == ".c")
    line = f"gcc -I. {sources} -o {name} {flags}"
    if of.split()[0] == f"{name}.c":
        assert line == printed_line(room)
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    help_ = subprocess.run([tmp_path / name, "--help"], capture_output=True, text=True, timeout=10)
    assert help_.returncode == 0 and help_.stdout.startswith(f"{name} - ")


@pytest.mark.parametrize("room", ROOMS)
def test_the_line_is_of_a_lesson(room):
    if not [name for name in LESSONS if PROGRAMS[name].parent.name == room]:
        return
    program = re.search(r" -o (\w+) ", printed_line(room))[1]
    assert program in LESSONS
