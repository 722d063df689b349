# SPDX-License-Identifier: MIT
"""The diagrams of the READMEs show real runs: each demo is played again, and must do the same."""

import difflib
import json
import re

import pytest
import readme
import trace_demo
import trace_draw
import trace_read

from harness import BUILD, ROOT

DEMOS = readme.demos()
KEPT = {name: trace_demo.DIAGRAMS / f"{name}.jsonl" for name in DEMOS}


def assert_both_ends_saw_the_same(run):
    """Each received message was sent, with the same frames, and each sent message was received, except
    for those that the recording shows as lost."""
    assert all(lane.pid for lane in run.lanes), "somebody was not traced"
    assert run.messages
    for message in run.messages:
        assert message.send, message.label
        assert message.fate in ("taken", "lost", "hidden"), message.label
        if message.recv:
            assert message.send.key == message.recv.key
            assert message.send.t <= message.recv.t


@pytest.mark.parametrize("name", DEMOS)
def test_demo_still_does_what_is_drawn(name, tmp_path):
    fresh = tmp_path / "trace.jsonl"
    assert trace_demo.record(DEMOS[name], BUILD, fresh) == []
    assert_both_ends_saw_the_same(trace_read.read(fresh))
    now = trace_read.structure(trace_read.read(fresh))
    then = trace_read.structure(trace_read.read(KEPT[name]))
    lines = difflib.unified_diff(then, now, f"docs/diagrams/{name}", "this run", lineterm="", n=1)
    assert now == then, "\n".join(["make diagrams, if that is meant:", *lines])


@pytest.mark.parametrize("name", DEMOS)
def test_diagram_is_what_is_drawn_of_its_recording(name):
    kept = KEPT[name].with_suffix(".svg")
    drawn = trace_draw.svg(trace_read.read(KEPT[name]), DEMOS[name].title)
    assert kept.read_text("utf-8") == drawn, f"{kept.name}: make diagrams"


def test_there_is_no_diagram_of_another_demo():
    files = {path.name for path in trace_demo.DIAGRAMS.iterdir()}
    assert files == {f"{name}{end}" for name in DEMOS for end in (".jsonl", ".svg")}


@pytest.mark.parametrize("name", DEMOS)
def test_diagram_is_in_the_readme(name):
    text = DEMOS[name].readme.read_text("utf-8")
    (part,) = re.findall(rf"^## Demo {re.escape(name)}: .*?(?=^##? |\Z)", text, re.M | re.S)
    (alt,) = re.findall(rf"!\[([^\]]*)\]\(\.\./docs/diagrams/{re.escape(name)}\.svg\)", part)
    assert len(alt) > 40, "the picture has no words for those who do not see it"
    assert f"make trace DEMO={name}" in part


def test_diagrams_are_narrow_enough_for_a_code_host():
    for path in trace_demo.DIAGRAMS.glob("*.svg"):
        width = int(re.search(r' width="(\d+)"', path.read_text("utf-8")).group(1))
        assert width <= 1010, path.name


def test_recordings_say_nothing_of_who_made_them():
    for path in KEPT.values():
        entries = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        assert entries[0]["t"] == 0
        assert {entry["pid"] for entry in entries} <= set(range(1, 10)), path.name
        endpoints = {entry["endpoint"] for entry in entries if "endpoint" in entry}
        assert all(endpoint.startswith("tcp://127.0.0.1:") for endpoint in endpoints), path.name


# docs/trace.md


def test_fields_are_documented():
    text = (ROOT / "docs" / "trace.md").read_text("utf-8")
    documented = set(re.findall(r"^\| `(\w+)` \|", text, re.M)) | {"life"}
    # No demo has these; tests/trace/test_ztrace.py does
    written = {"cut", "left_out", "tid", "call", "error"}
    for path in KEPT.values():
        for line in path.read_text("utf-8").splitlines():
            entry = json.loads(line)
            written |= set(entry)
            for frame in entry.get("frames", []):
                written |= set(frame)
    assert documented == written


def test_example_is_a_recording():
    text = (ROOT / "docs" / "trace.md").read_text("utf-8")
    (example,) = re.findall(r"^```\n(\{.*?)^```$", text, re.M | re.S)
    assert example == KEPT["1"].read_text("utf-8")
