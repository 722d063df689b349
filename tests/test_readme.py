# SPDX-License-Identifier: MIT
"""Every command block of every README is run as written, and must print what the README shows."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import readme  # noqa: E402

BUILD = os.environ.get("BUILD", "build")
# The translations show the same (test_translation.py)
TRANSLATED = sorted([*ROOT.glob("*.zh-CN.md"), *ROOT.glob("*/*.zh-CN.md")])
READMES = sorted({*ROOT.glob("*.md"), *ROOT.glob("*/README.md")} - set(TRANSLATED))
SCENES = [scene for path in READMES for scene in readme.scenes(path)]
SHELL = [
    (path, block)
    for path in READMES
    for block in re.findall(r"^```sh\n(.*?)^```$", path.read_text("utf-8"), re.M | re.S)
]


@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_what_is_shown_is_what_is_printed(scene):
    assert readme.play(scene, BUILD) == []


@pytest.mark.parametrize("path, block", SHELL, ids=lambda value: str(value).strip())
def test_shell_block_runs(path, block):
    # `make test` would run itself, and `make bench` takes long: make -n only prints their commands
    command = block.replace("make test", "make -n test").replace("make bench", "make -n bench")
    # A reader's shell has no variables of the make that runs this test, or of its build
    ours = ("MAKE", "BUILD")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    process = subprocess.Popen(
        ["bash", "-ec", command],
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate(timeout=120)
    finally:  # Its children would keep its stdout open
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == 0, printed
    if "make demo" in command:
        assert re.search(r"passed in \d+ s\.$", printed.strip())


def test_no_other_kind_of_command_block():
    """A block in another language than these would not be run by any test."""
    for path in READMES:
        languages = re.findall(r"^```(\w*)\n(?:.*?)^```$", path.read_text("utf-8"), re.M | re.S)
        assert set(languages) <= {"", "console", "sh"}, path


@pytest.mark.parametrize("scene", SCENES, ids=str)
def test_a_program_that_timeout_ends_is_started_last(scene):
    """By hand the others take a while to start."""
    for terminal in scene.terminals[:-1]:
        assert not any(command.startswith("timeout ") for command, _ in terminal.commands)


def test_every_demo_is_on_the_learning_path():
    named = {scene.demo for scene in SCENES if scene.demo}
    assert named == set(readme.learning_path())


def heading_anchor(heading):
    """The anchor that code hosts generate for a heading."""
    return re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-")


def heading_anchors(path):
    text = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.M | re.S)
    return set(map(heading_anchor, re.findall(r"^#+ (.*)$", text, re.M)))


TEXTS = [*READMES, *TRANSLATED, *sorted(ROOT.glob("docs/*.md"))]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text("utf-8")):
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        assert file.exists(), link
        assert not anchor or anchor in heading_anchors(file), link


def test_programs_and_readmes_name_each_other():
    for room in ("req_rep", "pub_sub", "push_pull", "router_dealer", "traps", "tools"):
        text = (ROOT / room / "README.md").read_text("utf-8")
        for source in (ROOT / room).glob("*.c"):
            if not source.with_suffix(".h").exists():
                assert f"$ build/{room}/{source.stem}" in text, f"{source.name} is not shown"


# The comparison itself: which differences it finds, and which it allows
DIFFERENCES = [
    (["a", "b"], ["a"], False, True),
    (["a"], ["a", "b"], False, True),
    (["a", "b"], ["b", "a"], False, True),
    (["a", "...", "c"], ["a", "b"], False, True),
    (["...", "b"], ["b", "c"], False, True),
    (["took 1.5 s"], ["took 2.5 s"], False, True),
    (["a", "b"], ["a", "c"], True, True),
    (["a", "a"], ["a"], True, True),
    (["a", "..."], ["b"], True, True),
    (["a", "...", "c"], ["a", "c"], False, False),
    (["a", "...", "c"], ["a", "b", "b", "c"], False, False),
    (["..."], [], False, False),
    (["t 12.345678"], ["t 1.000"], False, False),
    (["[1.5,2]"], ["[77.25,2]"], False, False),
    (['{"ts":12.345}'], ['{"ts":67.8}'], False, False),
    (['{"ts":12.345}'], ['{"ts":67}'], False, False),
    (["a", "b"], ["b", "a"], True, False),
    (["a", "..."], ["x", "a"], True, False),
]


@pytest.mark.parametrize("shown, printed, any_order, different", DIFFERENCES)
def test_comparison(shown, printed, any_order, different):
    assert (readme.differs(shown, printed, any_order) is not None) == different


# The player: every scene ends, and says what was wrong


def scene_of(tmp_path, text):
    (tmp_path / "README.md").write_text(text)
    (scene,) = readme.scenes(tmp_path / "README.md")
    return scene


def played(tmp_path, text, **options):
    return readme.play(scene_of(tmp_path, text), BUILD, **options)


def test_scene_that_does_not_end_is_ended_with_its_children(tmp_path):
    text = "```console\n$ sleep 60 & echo started; wait\nstarted\n```\n"
    assert played(tmp_path, text, seconds=1) == ["line 1: not ended in time"]


def test_terminal_starts_after_the_line_that_it_waits_for(tmp_path):
    made = tmp_path / "made"
    first = f"```console\n$ echo one; sleep 0.3; touch {made}; echo two\none\ntwo\n```\n"
    second = f"<!-- after: two -->\n```console\n$ ls {made}\n{made}\n```\n"
    assert played(tmp_path, first + second) == []
    # The line never comes: that is a failure, and the wait ends
    (wrong,) = played(tmp_path, second, seconds=0.2)
    assert "not printed" in wrong or "shown" in wrong or "not ended" in wrong


# Traced runs, for the diagrams

SERVER = (
    "```console\n$ build/req_rep/basic_server --count 1\n"
    "basic_server: listening on tcp://127.0.0.1:5555\ngot: ping\n"
    "basic_server: 1 answered, 0 bad\n```\n"
)
CLIENT = "```console\n$ build/req_rep/basic_client --count 2\n^C\n```\n"


def test_traced_run_is_smaller_and_shares_a_file(tmp_path):
    trace = tmp_path / "trace"
    text = f"{SERVER}<!-- trace: --count 1 -->\n{CLIENT}"
    assert played(tmp_path, text, trace=trace) == []
    lines = [json.loads(line) for line in trace.read_text().splitlines()]
    messages = [line for line in lines if "dir" in line]
    assert sorted((line["program"], line["dir"]) for line in messages) == [
        (program, way) for program in ("basic_client", "basic_server") for way in ("recv", "send")
    ]
    # The trace has the endpoint of the README, although the programs used a private one
    assert {line["endpoint"] for line in messages} == {"tcp://127.0.0.1:5555"}


def test_traced_run_has_to_end_well(tmp_path):
    text = "<!-- trace: --nonsense -->\n" + SERVER
    assert played(tmp_path, text, trace=tmp_path / "trace") == [
        "line 2: $ build/req_rep/basic_server --count 1: ended with status 2"
    ]


def test_options_of_a_traced_run_are_for_that_only(tmp_path):
    text = "<!-- trace: --count 5 -->\n```console\n$ build/req_rep/basic_server --count 1\n```\n"
    (terminal,) = scene_of(tmp_path, text).terminals
    ((command, _),) = terminal.commands
    plain = readme.Stage(BUILD, tmp_path).argv(command, terminal.trace_options)
    traced = readme.Stage(BUILD, tmp_path, "file").argv(command, terminal.trace_options)
    assert traced[-len(plain) - 2 :] == [*plain, "--count", "5"]
    assert traced[0].endswith("/trace/ztrace") and "file" in traced


def test_two_terminals_may_not_listen_on_one_endpoint(tmp_path):
    line = "listening on tcp://127.0.0.1:5555"
    block = f"```console\n$ echo {line}\n{line}\n```\n"
    assert played(tmp_path, block + block) == ["tcp://127.0.0.1:5555: two terminals listen there"]
    assert played(tmp_path, block) == []


def test_traced_run_keeps_lines_whole(tmp_path):
    """U+2028 ends a line in Python's splitlines, but not in a trace."""
    trace = tmp_path / "trace"
    trace.write_text('{"note":"a\u2028b"}\n', "utf-8")
    assert played(tmp_path, "```console\n$ true\n```\n", trace=trace) == []
    assert trace.read_text("utf-8") == '{"note":"a\u2028b"}\n'
