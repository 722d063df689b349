# SPDX-License-Identifier: MIT
"""The table "Tested with" in README.md has what .ci/run tests, and the versions that it installs."""

import os
import platform
import re
import shutil
import subprocess

import pytest

from harness import ROOT

ROW = re.compile(r"^\| Debian (\d+) \((\w+)\) \| (.*) \|$", re.M)


def table(readme):
    """{"trixie": {"gcc": "14", ...}}"""
    text = (ROOT / readme).read_text("utf-8")
    names = re.search(r"^\| \| (libzmq .*) \|$", text, re.M)[1].split(" | ")
    return {
        name: {"Debian": number, **dict(zip(names, cells.split(" | "), strict=True))}
        for number, name, cells in ROW.findall(text)
    }


TABLE = table("README.md")


def steps():
    """{"trixie": its step in .ci/run} of those that can fail the build."""
    text = (ROOT / ".ci" / "run").read_text("utf-8").replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        match = re.match(r'step \d+ "([^"]*)" +scripts/fresh-machine (\w+)(.*)', line)
        if match and not match[1].startswith("report only"):
            found[match[2]] = match[0]
    return found


def test_the_releases_are_those_of_ci():
    assert TABLE
    assert set(TABLE) == set(steps())


def test_both_languages_say_the_same():
    assert table("README.zh-CN.md") == TABLE


@pytest.mark.parametrize("release", TABLE)
def test_ci_runs_all_of_the_readme_there(release):
    step = steps()[release]
    assert f'"Debian {TABLE[release]["Debian"]}, nothing installed"' in step
    assert "--run" not in step  # A command here would replace the README's commands
    assert '--also "$(werror gcc)"' in step and '--also "$clang"' in step


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(
    "FRESH_MACHINE" not in os.environ,
    reason="compares the versions in README.md only where .ci/run says so",
)
def test_versions_of_this_machine():
    system = platform.freedesktop_os_release()
    new = subprocess.run(["pkg-config", "--exists", "msgpack-c"]).returncode == 0
    libraries = {"libzmq": "libzmq", "CZMQ": "libczmq", "msgpack-c": "msgpack-c" if new else "msgpack"}
    here = {
        "Debian": system["VERSION_ID"],
        **{name: output("pkg-config", "--modversion", each) for name, each in libraries.items()},
        "gcc": output("gcc", "-dumpversion"),
        "clang": re.search(r"version (\d+)", output("clang", "--version"))[1],
        "Python": ".".join(platform.python_version_tuple()[:2]),
    }
    assert shutil.which("debootstrap") is None  # A machine that has what its makers had
    assert here == TABLE[system["VERSION_CODENAME"]]
