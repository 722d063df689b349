# SPDX-License-Identifier: MIT
"""The scripts around the programs: what they install, generate and refuse."""

import io
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import readme  # noqa: E402
import test_vllm  # noqa: E402
import tour  # noqa: E402

#: What installs everything from nothing, for each package manager
INSTALLS = {
    "apt-get": "libczmq-dev libmsgpack-dev libzmq3-dev pkg-config gcc libc6-dev libcmocka-dev"
    " python3-venv clang clang-format clang-tidy cppcheck valgrind",
    "dnf": "gcc pkgconf-pkg-config zeromq-devel czmq-devel msgpack-devel libcmocka-devel python3"
    " clang clang-tools-extra cppcheck valgrind",
    "apk": "gcc musl-dev pkgconf zeromq-dev czmq-dev msgpack-c-dev cmocka-dev python3 clang"
    " clang-extra-tools cppcheck valgrind",
    "pacman": "gcc pkgconf zeromq msgpack-c cmocka python clang cppcheck valgrind",
    "brew": "gcc pkg-config zeromq czmq msgpack cmocka python llvm clang-format cppcheck valgrind",
}


@pytest.fixture
def bare(tmp_path):
    """A PATH with a shell's tools and nothing else; bare (name, script) puts a command into it."""

    def add(name, script="exit 0"):
        (tmp_path / name).unlink(missing_ok=True)
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)

    for tool in ("sh", "id", "tr", "sort", "grep", "echo", "env"):
        os.symlink(shutil.which(tool), tmp_path / tool)
    add.path = tmp_path
    add("apt-cache", "exit 1")  # An older Debian: no libmsgpack-c-dev
    return add


def install(bare, *args):
    return subprocess.run(
        ["/bin/sh", str(ROOT / "scripts" / "install-deps"), *args],
        env={"PATH": str(bare.path)},
        capture_output=True,
        text=True,
        timeout=30,
    )


def wanted(bare, level):
    """The words of what it would run."""
    done = install(bare, "--print", level)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("manager", INSTALLS)
def test_install_says_and_runs_the_command_of_each_manager(bare, manager):
    log = bare.path / "log"
    bare(manager, f'echo "$@" >> {log}')
    done = install(bare, "lint")
    ran = log.read_text().splitlines()[-1]
    assert ran in done.stdout
    words = {word for word in ran.split() if not word.startswith("-")}
    assert words - {"install", "add"} == set(INSTALLS[manager].split())
    # The package manager here installs nothing: the script must not report success
    assert done.returncode == 1
    assert "still missing: " in done.stderr
    assert ("AUR" in done.stderr) == (manager == "pacman")


# The manager, other commands that are there, the level; what is wanted then, and what is not
WANTED = [
    ("apt-get", {}, "build", "libmsgpack-dev libc6-dev", "libmsgpack-c-dev valgrind"),
    ("apt-get", {"apt-cache": '[ "$2" = libmsgpack-c-dev ]'}, "build", "libmsgpack-c-dev",
     "libmsgpack-dev"),
    ("apt-get", {}, "page", "chromium", "cppcheck"),
    ("apt-get", {"google-chrome": ""}, "page", "libmsgpack-dev", "chromium"),  # Another browser
    ("apt-get", {}, "lint", "cppcheck", "chromium"),
    # Tests between two network namespaces, where they can run
    *(
        (manager, {"uname": "echo Linux", "id": f"echo {user}"}, level, *both)
        for manager in ("apt-get", "dnf", "apk", "pacman")
        for package in ("iproute" if manager == "dnf" else "iproute2",)
        for user, level, *both in ((0, "test", package, ""), (1000, "test", "", package),
                                   (0, "build", "", package))
    ),
    ("apt-get", {"uname": "echo Linux"}, "test", "valgrind", ""),
    ("apt-get", {"uname": "echo Darwin"}, "test", "", "valgrind"),
    ("apt-get", {"uname": "echo Darwin"}, "lint", "valgrind", ""),
    # A gcc without libc6-dev, as on Debian, does not count as a compiler
    ("apt-get", {"pkg-config": "", "gcc": "exit 1"}, "build", "libc6-dev", ""),
    ("apt-get", {"pkg-config": "", "gcc": ""}, "build", None, ""),
    ("apt-get", {}, "machine", "debootstrap git", "gcc"),
    ("apt-get", {"debootstrap": "", "git": ""}, "machine", None, ""),
]  # fmt: skip


@pytest.mark.parametrize("manager, there, level, these, others", WANTED)
def test_install_wants_what_a_level_needs(bare, manager, there, level, these, others):
    for name, script in {manager: "", **there}.items():
        bare(name, script)
    words = wanted(bare, level)
    if these is None:
        assert words == []
    else:
        assert set(these.split()) <= set(words) and not set(others.split()) & set(words)


def test_print_runs_nothing(bare):
    bare("dnf", f"touch {bare.path}/ran")
    assert wanted(bare, "test")
    assert not (bare.path / "ran").exists()


def test_install_without_a_manager_names_what_is_missing(bare):
    done = install(bare, "build")
    assert done.returncode == 1
    assert "missing: cc pkgconfig libzmq czmq msgpack" in done.stderr


def test_install_is_silent_when_nothing_is_missing(bare):
    bare("cc")
    bare("pkg-config")
    done = install(bare, "build")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_install_fails_when_its_command_fails(bare):
    bare("apk", "exit 3")
    done = install(bare, "build")
    assert done.returncode != 0
    assert "that failed" in done.stderr


def test_results_with_a_real_vllm_are_read_back():
    """test-vllm replaces some rows of this file: all others stay as they are."""
    text = test_vllm.RESULTS.read_text("utf-8")
    rows = test_vllm.parse(text)
    assert {release for _, _, release in rows} >= {"0.26.0", "0.29.0", "0.32.0", "0.33.0"}
    assert test_vllm.table(rows) == text


def test_tour_names_the_demos_when_asked_for_another():
    script = ROOT / "scripts" / "tour.py"
    done = subprocess.run([sys.executable, script, "9.9"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("tour: 9.9: no such demo; there are 1 1.1 1.2 ")


@pytest.mark.parametrize(
    "demo, terminal, ended, name",
    [
        ("1", 0, 0, "basic_server"),
        ("1.3", 0, 0, "make_keys"),
        ("1.3", 0, 1, "secure_server"),
        ("1.3", 0, 2, "secure_server"),  # Both of its commands have ended
        ("topics", 1, 0, "topic_subscriber 1"),
        ("topics", 2, 0, "topic_subscriber 2"),
        ("push-pull", 2, 0, "worker w1"),
        ("2.3", 1, 0, "handshake_engine 0"),
        ("2.3", 2, 0, "handshake_engine 1"),
        ("2.4", 1, 0, "engine 0"),
        ("2.4", 2, 0, "engine 1"),
    ],
)
def test_tour_labels_a_line_with_the_program_that_prints_it(demo, terminal, ended, name):
    scene = readme.demos()[demo]
    player = readme.Player(scene.terminals[terminal], None, None)
    player.status = [0] * ended
    assert tour.label(scene, player) == name


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_tour_tells_at_a_terminal_that_a_silence_is_meant():
    now, screen = [100.0], Screen()
    patience = tour.Patience(threading.Lock(), screen, lambda: now[0])
    now[0] += 1.9
    patience.tick()
    assert screen.getvalue() == ""
    now[0] += 1.2
    patience.tick()
    assert screen.getvalue() == "\r\033[K... 3 s"
    patience.line()  # Taken away before the next line
    assert screen.getvalue().endswith("... 3 s\r\033[K")
    now[0] += 1
    patience.tick()
    patience.line()
    assert screen.getvalue().endswith("... 3 s\r\033[K")


def test_tour_is_silent_about_silence_in_a_pipe():
    pipe = io.StringIO()
    with tour.Patience(threading.Lock(), pipe) as patience:
        assert not patience.thread.is_alive()
    assert pipe.getvalue() == ""


def panes(bare, *names):
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "panes.py"), *names],
        env={"PATH": str(bare.path)},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_panes_types_the_first_command_of_each_terminal_when_its_prompt_is_there(bare):
    log, asked = bare.path / "log", bare.path / "asked"
    bare("tmux", f"""echo "$@" >> {log}; case $1 in
        new-session | split-window) echo %7 ;;
        display-message) echo . >> {asked}; [ $(grep -c . {asked}) -ge 3 ] && echo 2 || echo 0 ;;
        esac""")  # fmt: skip
    done = panes(bare, "1")
    assert (done.returncode, done.stdout) == (0, "panes: tmux attach -t demo-1\n"), done.stderr
    calls = log.read_text().splitlines()
    typed = [call for call in calls if call.startswith("send-keys")]
    commands = ["build/req_rep/basic_server", "build/req_rep/basic_client"]
    assert [call.split(" -l ")[1] for call in typed] == commands
    before = calls[: calls.index(typed[0])]
    assert sum(call.startswith("display-message") for call in before) == 3
    assert not any("Enter" in call for call in calls)  # Typed, not started


@pytest.mark.skipif(not shutil.which("tmux"), reason="needs tmux")
def test_panes_shows_each_command_once(tmp_path):
    (tmp_path / "sh").write_text("#!/bin/sh\nsleep 0.5\nPS1='> ' exec bash --norc --noprofile -i\n")  # Slow
    (tmp_path / "sh").chmod(0o755)
    env = {**os.environ, "SHELL": str(tmp_path / "sh"), "PANES_SOCKET": "test"}
    env.pop("TMUX", None)
    env["TMUX_TMPDIR"] = tempfile.mkdtemp(prefix="tmux-")  # tmp_path is too long for a socket
    try:
        done = subprocess.run([sys.executable, ROOT / "scripts" / "panes.py", "1"], env=env, capture_output=True)
        assert done.returncode == 0, done.stderr
        capture = ["tmux", "-L", "test", "capture-pane", "-p", "-t", "demo-1:0.0"]
        shown, deadline = "", time.monotonic() + 30
        while "basic_server" not in shown.partition("> ")[2] and time.monotonic() < deadline:
            shown = subprocess.run(capture, env=env, capture_output=True, text=True).stdout
        assert shown.count("basic_server") == 1, shown
    finally:
        subprocess.run(["tmux", "-L", "test", "kill-server"], env=env, capture_output=True)
        shutil.rmtree(env["TMUX_TMPDIR"], ignore_errors=True)


@pytest.mark.parametrize(
    "demo, tmux, status, said",
    [
        ("1", None, 1, "panes: tmux is not installed; open the terminals by hand"),
        ("9.9", None, 2, "panes: want one demo of: 1 1.1 1.2 "),
        ("1", "[ $1 != new-session ] || { echo no server >&2; exit 1; }", 1,
         "panes: tmux new-session: no server"),
    ],
)  # fmt: skip
def test_panes_that_cannot_be_opened(bare, demo, tmux, status, said):
    if tmux:
        bare("tmux", tmux)
    done = panes(bare, demo)
    assert done.returncode == status
    assert done.stderr.startswith(said) and done.stderr.count("\n") == 1


def test_help_lists_what_a_learner_needs_first():
    done = subprocess.run(["make", "-s", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True)
    learn, develop = done.stdout.removeprefix("Learn:\n").split("Develop:\n")
    targets = {line.split("  ")[1] for line in learn.splitlines()}
    assert {"make demo", "make panes", "make test"} <= targets
    assert "make lint" in develop and "make demo" not in develop
