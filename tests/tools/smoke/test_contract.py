# SPDX-License-Identifier: MIT
"""The contract of the command lines: --help, wrong usage, a port in use, --quiet."""

import re
import socket

import pytest

from harness import NAMES, PROGRAMS, TRAPS
from programs import OPTIONS, Bind, endpoints, of_kind

ALL_OPTIONS = [(name, option) for name in NAMES for option in OPTIONS[name]]


@pytest.mark.parametrize("name", NAMES)
def test_help(start, name):
    program = start(name, "--help")
    assert program.wait() == 0
    assert program.err == []
    text = "\n".join(program.out)
    assert re.match(rf"{name} - \w", text)
    assert f"build/{PROGRAMS[name].parent.name}/" in text.split("\nExample:\n")[1]
    told = re.findall(r"^  --([a-z-]+)", text, re.M)
    everywhere = ["curve-dir", "quiet", "help"]
    assert sorted(told) == sorted([*OPTIONS[name], *everywhere])
    for option, kind in OPTIONS[name].items():
        if kind is None:
            continue
        default = re.escape(str(kind.default))
        line = rf"^  --{option} {kind.metavar} +\S.* \(default {default}(; repeatable)?\)$"
        assert re.search(line, text, re.M), f"--{option}"


def check_wrong(programs, names_what):
    """Each ends with 2 and one line on stderr that names what is wrong."""
    for program in programs:
        told = program.wait(), program.out, len(program.err)
        assert told == (2, [], 1), str(program)
        assert program.err[0].startswith(f"{program.name}: "), str(program)
        assert names_what in program.err[0], str(program)


@pytest.mark.parametrize("name, option", ALL_OPTIONS)
def test_wrong_value(start, name, option):
    values = OPTIONS[name][option].wrong if OPTIONS[name][option] else []
    check_wrong([start(name, f"--{option}={value}") for value in values], f"--{option}")


@pytest.mark.parametrize("name", NAMES)
def test_missing_value(start, name):
    for option, kind in OPTIONS[name].items():
        if kind:
            check_wrong([start(name, "--quiet", f"--{option}")], f"--{option}")


@pytest.mark.parametrize("name", NAMES + TRAPS)
def test_no_option(start, name):
    for arg in ["extra", "--no-such-option", "--no-such-option=1", "--coun", "-q", "-", "--", ""]:
        check_wrong([start(name, arg)], arg.split("=")[0])


@pytest.mark.parametrize(
    "name, option", [(name, option) for name in NAMES for option in of_kind(name, Bind)]
)
def test_port_in_use(start, ipc, name, option):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        program = start(name, **{**endpoints(name, ipc), option: endpoint})
        assert program.wait() == 1
    assert len(program.err) == 1
    assert re.match(rf"{name}: cannot listen on {endpoint}: \w", program.err[0])


# --- --quiet


def test_quiet_engines(start, ipc):
    wire = {"handshake": ipc(), "input": ipc(), "output": ipc()}
    frontend = start("mock_frontend", "--quiet", requests=2, **wire)
    engine = start("mock_engine", "--quiet", handshake=wire["handshake"])
    assert frontend.wait() == engine.stop() == 0
    assert frontend.out == [
        *(f"mock_frontend: listening on {endpoint}" for endpoint in wire.values()),
        "engine 0: r0 r1",
        "mock_frontend: 2 of 2 requests complete, 8 tokens",
    ]
    assert engine.out == ["mock_engine: 2 finished, 0 aborted, 0 bad"]
