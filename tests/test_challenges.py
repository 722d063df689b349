# SPDX-License-Identifier: MIT
"""The check of each challenge in docs/challenges.md says "not yet" before, and "works" with our solution.

The solutions are the patches in challenges/. They are applied to a copy of the tree.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BUILD = os.environ.get("BUILD", "build")
TEXT = (ROOT / "docs" / "challenges.md").read_text("utf-8")
PATCHES = ROOT / "tests" / "challenges"
NUMBERS = sorted(int(path.stem) for path in PATCHES.glob("*.patch"))


def check(root, number):
    return subprocess.run(
        [sys.executable, "scripts/challenge.py", "--build", BUILD, *[str(number)] * (number != "")],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.parametrize("number", NUMBERS)
def test_not_solved_yet(number):
    done = check(ROOT, number)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr == ""
    assert re.fullmatch(rf"challenge {number}: not yet: \w.*[^.]\n", done.stdout)
    if number == 1:
        assert f"$ make check-challenge N=1\n{done.stdout}" in TEXT


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the tree with its build folder, so that little has to be built again."""
    root = tmp_path_factory.mktemp("copy") / "tree"
    skip = shutil.ignore_patterns(".git", ".venv", "build*", "__pycache__", ".pytest_cache")
    shutil.copytree(ROOT, root, ignore=skip)
    shutil.copytree(ROOT / BUILD, root / BUILD, ignore=shutil.ignore_patterns("tests"))
    return root


def run(root, *command):
    # The variables of the make that runs this test must not reach the make in the copy
    env = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    # git must not take the copy for a part of a repository around it
    env["GIT_CEILING_DIRECTORIES"] = str(root.parent)
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def how_it_was_built(root):
    """The Makefile notes compiler and sanitizers in the first words of this file."""
    compiler, sanitizers = (root / BUILD / "flags").read_text().split(" ")[:2]
    return f"CC={compiler}", f"SAN={sanitizers}", f"BUILD={BUILD}"


def how_to_renew(number):
    patch = f"tests/challenges/{number}.patch"
    return f"""
The solution of challenge {number} is none for this tree. If a demo has changed, renew it. In a clean tree:
    git apply --3way {patch}
    (mend what conflicts, or does not work any more)
    make check-challenge N={number}
    git reset -q && git diff -U1 -- '*.[ch]' > {patch}
    git checkout -- '*.[ch]'
"""


@pytest.mark.parametrize("number", NUMBERS)
def test_solved(copy, number):
    patch = str(PATCHES / f"{number}.patch")
    try:
        run(copy, "git", "apply", "-C1", patch)
        try:
            built = run(copy, "make", "all", *how_it_was_built(copy))
            assert "warning" not in built
            done = check(copy, number)
        finally:
            run(copy, "git", "apply", "-C1", "-R", patch)
        assert (done.returncode, done.stdout) == (0, f"challenge {number}: it works\n"), done.stderr
    except AssertionError as error:
        pytest.fail(f"{error}\n{how_to_renew(number)}", pytrace=False)


def test_each_challenge_is_told():
    assert NUMBERS == list(range(1, 9))
    assert re.findall(r"^## (\d)\. ", TEXT, re.M) == [str(number) for number in NUMBERS]
    assert re.findall(r"^make check-challenge N=(\d)$", TEXT, re.M) == [str(n) for n in NUMBERS]


@pytest.mark.parametrize("number", ["0", "9", "x", "-1", ""])
def test_unknown_challenge(number):
    done = check(ROOT, number)
    assert (done.returncode, done.stdout) == (2, "")
    assert number == "-1" or "make check-challenge N=1" in done.stderr
