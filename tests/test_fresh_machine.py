# SPDX-License-Identifier: MIT
"""scripts/fresh-machine on a tiny root folder: what it runs, its exit status, and that it cleans up.

.ci/run uses real root folders from debootstrap; this one has a shell and a few commands, copied from
this machine.
"""

import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from harness import ROOT, WAIT_S

SCRIPT = ROOT / "scripts" / "fresh-machine"
LONG_S = 12 * WAIT_S  # A clone, and a root folder that is copied, on a busy machine
TOOLS = ("sh", "sleep", "cat", "ls", "mount")
as_root = pytest.mark.skipif(
    platform.system() != "Linux" or os.getuid() != 0, reason="fresh-machine needs Linux and root"
)


def can_unshare():
    command = ["unshare", "--mount", "--pid", "--ipc", "--fork", "mount", "-t", "tmpfs", "x", "/mnt"]
    return subprocess.run(command, capture_output=True, timeout=WAIT_S).returncode == 0


@pytest.fixture
def cache(tmp_path):
    """A cache folder that has a root folder already."""
    if not can_unshare():
        pytest.skip("fresh-machine needs mount and PID namespaces, which this container forbids")
    base = tmp_path / "cache" / f"tiny-{platform.machine()}"
    for tool in TOOLS:
        path = shutil.which(tool)
        files = [path] + re.findall(r"(/\S+) \(0x", subprocess.check_output(["ldd", path], text=True))
        for file in files:
            place = base / file.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place)
    if not (base / "bin").exists():
        (base / "bin").symlink_to("usr/bin")
    apt_get = base / "usr" / "bin" / "apt-get"  # Reaches every mirror
    apt_get.write_text("#!/bin/sh\n")
    apt_get.chmod(0o755)
    return tmp_path / "cache"


def command(cache, *args):
    return [SCRIPT, "--cache", cache, *args, "tiny"]


def run(cache, *args):
    return subprocess.run(command(cache, *args), capture_output=True, text=True, timeout=LONG_S)


def left_in(cache):
    """Its folders there, without the root folder and its locks, and what is mounted there."""
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(cache) in line]
    return [each.name for each in cache.iterdir() if each.name.startswith("run.")] + mounts


@as_root
def test_one_line_for_each_command(cache):
    """A shell's background processes ignore SIGINT: a program under test must not."""
    ran = {
        "echo first; ls README.md": "passed",
        "exit 7": "failed, exit status 7",
        "sh -c 'kill -INT $$; echo ignored'": "failed, exit status 130",
        "echo last": "passed",
    }
    done = run(cache, *(word for each in ran for word in ("--run", each)))
    assert done.returncode == 1, done.stderr
    lines = [re.sub(r"\d+ s$", "N s", line) for line in done.stdout.splitlines()]
    assert {"first", "README.md", "last"} <= set(lines) and "ignored" not in lines
    said = [f"fresh-machine: tiny: {each}: {verdict}, N s" for each, verdict in ran.items()]
    assert lines[-4:] == said
    assert left_in(cache) == []


@as_root
def test_it_runs_the_blocks_of_the_readme_as_written(cache):
    """The root folder has no make, so each block fails, and is named."""
    done = run(cache, "--also", "echo and this")
    readme = subprocess.check_output(["git", "show", "HEAD:README.md"], cwd=ROOT, text=True)
    blocks = re.findall(r"^```sh\n(.*?)\n```$", readme, re.M | re.S)
    assert {"make demo", "make test"} <= set(blocks)
    ran = re.findall(r"^fresh-machine: tiny: \$ (.*)$", done.stdout, re.M)
    assert ran == [*blocks, "echo and this"]
    assert len(re.findall(": failed, exit status 127, ", done.stdout)) == len(blocks)


@as_root
def test_it_says_when_the_mirror_is_the_reason(cache):
    (apt_get,) = cache.glob("tiny-*/usr/bin/apt-get")
    apt_get.write_text("#!/bin/sh\nexit 100\n")
    done = run(cache, "--run", "exit 1")
    assert done.returncode == 3
    assert done.stdout.endswith("tiny: the Debian mirror cannot be reached\n")


@as_root
def test_a_command_that_hangs(cache):
    done = run(cache, "--timeout", "1", "--run", "sleep 1000")
    assert done.returncode != 0
    assert ": sleep 1000: failed, ended after 1 s, " in done.stdout


@as_root
def test_settings_of_this_machine(cache, tmp_path, monkeypatch):
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "a.whl").touch()
    (tmp_path / "ca.pem").write_text("a certificate\n")
    (tmp_path / "apt.conf").write_text('Acquire::Retries "7";\n')
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    done = run(
        cache,
        *("--pip-index", "http://127.0.0.1:1/simple", "--cert", tmp_path / "ca.pem"),
        *("--apt-conf", tmp_path / "apt.conf"),
        *("--run", "echo index $PIP_INDEX_URL, home $HOME, user $USER.; cat $PIP_CERT"),
        *("--run", "ls $PIP_FIND_LINKS; cat /etc/apt/apt.conf.d/91machine"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    index = "index http://127.0.0.1:1/simple, home /root, user ."
    assert {index, "a certificate", "a.whl", 'Acquire::Retries "7";'} <= set(done.stdout.splitlines())
    # HEAD, without uncommitted files of this folder
    head = subprocess.check_output(["git", "log", "-1", "--format=%h"], cwd=ROOT, text=True).strip()
    assert re.search(rf"^fresh-machine: tiny: ready after \d+ s: {head} ", done.stdout, re.M)


def runs(command):
    """Whether a process with this command line runs."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().replace(b"\0", b" ").decode(errors="replace").strip() == command:
                return True
        except OSError:
            pass  # It has ended
    return False


def until(is_so):
    deadline = time.monotonic() + LONG_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@as_root
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_interrupted(cache, number):
    """No mount, process or folder is left. After a SIGKILL the next run cleans up.

    Tests that run under nohup or in a shell's background ignore SIGHUP or SIGINT, and so would bash.
    """
    seconds = f"{100000 + os.getpid()}.{int(number)}"
    say = f"echo under way; sleep {seconds} & sleep {seconds}"
    program = subprocess.Popen(
        ["env", "--default-signal", *command(cache, "--run", say)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        while program.stdout.readline() not in ("under way\n", ""):
            pass
        until(lambda: runs(f"sleep {seconds}"))
        program.send_signal(number)
        assert program.wait(LONG_S) == (-9 if number == signal.SIGKILL else 128 + number)
    finally:
        program.terminate()
        program.stdout.close()
    until(lambda: not runs(f"sleep {seconds}"))
    if number == signal.SIGKILL:
        assert len(left_in(cache)) == 2
        assert run(cache, "--run", "true").returncode == 0
    assert left_in(cache) == []


@pytest.mark.parametrize(
    "args, why",
    [
        ([], "want a Debian release"),
        (["trixie", "sid"], "want one release"),
        (["--colour", "red", "trixie"], "--colour: no such option"),
        (["--mirror"], "--mirror: want a value"),
        (["--timeout", "soon", "trixie"], "--timeout soon: want seconds"),
        (["--cert", "/nowhere", "trixie"], "/nowhere: cannot be read"),
        (["../trixie"], "want a Debian release"),
    ],
)
def test_wrong_usage(args, why):
    done = subprocess.run([SCRIPT, *args], capture_output=True, text=True, timeout=WAIT_S)
    assert done.returncode == 2
    assert done.stderr.startswith("fresh-machine: ") and why in done.stderr


def test_help():
    text = subprocess.check_output([SCRIPT, "--help"], text=True, timeout=WAIT_S)
    assert "Exit status: 0 all commands passed; " in text and "--pip-index URL" in text


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
def test_it_says_that_it_needs_root():
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # pytest's own are closed to others
        Path(folder).chmod(0o755)
        script = Path(folder, "scripts", "fresh-machine")
        script.parent.mkdir()
        shutil.copy(SCRIPT, script)
        done = subprocess.run(
            [script, "trixie"], capture_output=True, text=True, timeout=WAIT_S, user=65534
        )
    why = "fresh-machine: needs root, for debootstrap and chroot\n"
    assert (done.returncode, done.stderr) == (2, why)
