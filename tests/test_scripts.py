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

    def add(name, script):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)

    for tool in ("sh", "id", "tr", "sort", "grep", "echo", "env"):
        os.symlink(shutil.which(tool), tmp_path / tool)
    add.path = str(tmp_path)
    return add


def install(bare, *args):
    return subprocess.run(
        ["/bin/sh", str(ROOT / "scripts" / "install-deps"), *args],
        env={"PATH": bare.path},
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize("manager", INSTALLS)
def test_install_says_and_runs_the_command_of_each_manager(bare, manager):
    log = Path(bare.path) / "log"
    bare(manager, f'echo "$@" >> {log}')
    bare("apt-cache", "exit 1")  # An older Debian: no libmsgpack-c-dev
    done = install(bare, "lint")
    ran = log.read_text().splitlines()[-1]
    assert ran in done.stdout
    words = {word for word in ran.split() if not word.startswith("-")}
    assert words - {"install", "add"} == set(INSTALLS[manager].split())
    # The package manager here installs nothing: the script must not report success
    assert done.returncode == 1
    assert "still missing: " in done.stderr
    assert ("AUR" in done.stderr) == (manager == "pacman")


def test_install_takes_the_new_name_of_msgpack_where_there_is_one(bare):
    bare("apt-get", "exit 0")
    bare("apt-cache", '[ "$2" = libmsgpack-c-dev ]')
    done = install(bare, "--print", "build")
    assert done.returncode == 0
    assert " libmsgpack-c-dev" in done.stdout and " libmsgpack-dev" not in done.stdout


def test_page_wants_a_browser(bare):
    bare("apt-get", "exit 0")
    bare("apt-cache", "exit 1")
    printed = install(bare, "--print", "page").stdout
    assert " chromium" in printed and "cppcheck" not in printed
    assert " chromium" not in install(bare, "--print", "lint").stdout
    bare("google-chrome", "exit 0")  # Another name of one
    assert " chromium" not in install(bare, "--print", "page").stdout


@pytest.mark.parametrize("manager", ["apt-get", "dnf", "apk", "pacman"])
def test_network_tests_want_ip_where_they_can_run(bare, manager):
    bare(manager, "exit 0")
    bare("apt-cache", "exit 1")
    bare("uname", "echo Linux")
    package = "iproute" if manager == "dnf" else "iproute2"
    for user, wanted in ((0, True), (1000, False)):
        (Path(bare.path) / "id").unlink()
        bare("id", f"echo {user}")
        words = install(bare, "--print", "test").stdout.split()
        assert (package in words) == wanted
    assert package not in install(bare, "--print", "build").stdout


@pytest.mark.parametrize("system", ["Linux", "Darwin"])
def test_tests_want_valgrind_where_it_runs(bare, system):
    bare("apt-get", "exit 0")
    bare("apt-cache", "exit 1")
    bare("uname", f"echo {system}")
    for level, wanted in (("build", False), ("test", system == "Linux"), ("lint", True)):
        assert ("valgrind" in install(bare, "--print", level).stdout.split()) == wanted


def test_a_compiler_without_headers_is_none(bare):
    """A gcc without libc6-dev, as on Debian, does not count as a compiler."""
    bare("pkg-config", "exit 0")
    bare("apt-get", "exit 0")
    bare("gcc", "exit 1")
    assert " libc6-dev" in install(bare, "--print", "build").stdout
    bare("gcc", "exit 0")
    assert install(bare, "--print", "build").stdout == ""


def test_machine_wants_only_what_makes_one(bare):
    bare("apt-get", "exit 0")
    words = install(bare, "--print", "machine").stdout.split()
    assert {"debootstrap", "git"} < set(words) and "gcc" not in words
    bare("debootstrap", "exit 0")
    bare("git", "exit 0")
    assert install(bare, "--print", "machine").stdout == ""


def test_print_runs_nothing(bare):
    bare("dnf", f"touch {bare.path}/ran")
    assert install(bare, "--print", "test").returncode == 0
    assert not (Path(bare.path) / "ran").exists()


def test_install_without_a_manager_names_what_is_missing(bare):
    done = install(bare, "build")
    assert done.returncode == 1
    assert "missing: cc pkgconfig libzmq czmq msgpack" in done.stderr


def test_install_is_silent_when_nothing_is_missing(bare):
    bare("cc", "exit 0")
    bare("pkg-config", "exit 0")
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


def panes(bare, *names, **env):
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "panes.py"), *names],
        env={"PATH": bare.path, **env},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_panes_types_the_first_command_of_each_terminal(bare):
    log = Path(bare.path) / "log"
    bare("tmux", f'echo "$@" >> {log}; case $1 in new-session | split-window) echo %7 ;; esac')
    done = panes(bare, "1")
    assert (done.returncode, done.stdout) == (0, "panes: tmux attach -t demo-1\n"), done.stderr
    calls = log.read_text().splitlines()
    typed = [call for call in calls if call.startswith("send-keys")]
    assert [call.split(" -l ")[1] for call in typed] == [
        "build/req_rep/basic_server",
        "build/req_rep/basic_client",
    ]
    assert not any("Enter" in call for call in calls)  # Typed, not started


def test_panes_types_when_the_prompt_is_there(bare):
    folder = Path(bare.path)
    at_prompt = f"""display-message)
        echo . >> {folder}/asked; [ $(grep -c . {folder}/asked) -ge 3 ] && echo 2 || echo 0 ;;"""
    bare("tmux", f'echo "$1" >> {folder}/log; case $1 in new-session | split-window) echo %7 ;; {at_prompt} esac')
    assert panes(bare, "1").returncode == 0
    calls = (folder / "log").read_text().splitlines()
    assert calls[: calls.index("send-keys")].count("display-message") == 3


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


def test_panes_without_tmux_says_so_in_one_line(bare):
    done = panes(bare, "1")
    assert done.returncode == 1
    assert done.stderr == "panes: tmux is not installed; open the terminals by hand\n"


def test_panes_names_the_demos_that_there_are(bare):
    done = panes(bare, "9.9")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and "2.2" in done.stderr


def test_panes_reports_what_tmux_refuses(bare):
    bare("tmux", "[ $1 != new-session ] || { echo no server >&2; exit 1; }")
    done = panes(bare, "1")
    assert (done.returncode, done.stderr) == (1, "panes: tmux new-session: no server\n")


def test_help_lists_what_a_learner_needs_first():
    done = subprocess.run(["make", "-s", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True)
    learn, develop = done.stdout.removeprefix("Learn:\n").split("Develop:\n")
    targets = {line.split("  ")[1] for line in learn.splitlines()}
    assert {"make demo", "make panes", "make test"} <= targets
    assert "make lint" in develop and "make demo" not in develop
