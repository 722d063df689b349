# SPDX-License-Identifier: MIT
"""Fixtures: programs, private endpoints, and raw pyzmq sockets for the other end."""

import itertools
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import zmq

from harness import MAKE_KEYS, PROGRAMS, WAIT_S, Program, arguments, end_context


def pytest_configure(config):
    missing = [str(path) for path in [*PROGRAMS.values(), MAKE_KEYS] if not path.exists()]
    if missing:
        raise pytest.UsageError(f"not built: {' '.join(missing)} (run make first)")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "call":
        item.call_passed = report.passed
        if report.failed and "start" in item.funcargs:
            text = "\n".join(str(program) for program in item.funcargs["start"].programs)
            report.sections.append(("programs", text))


class Start:
    def __init__(self):
        self.programs = []

    def __call__(self, name, /, *args, lang="c", ztrace=None, **options):
        """Starts a program, in C or its Python peer; start ("x", work_ms=5) is x --work-ms 5.
        ztrace: the file that ztrace writes."""
        program = Program(name, [*args, *arguments(options)], lang, trace=ztrace)
        self.programs.append(program)
        return program


@pytest.fixture
def start(request):
    """Starts programs. A test must end what it starts: it fails if a program still runs after it."""
    start = Start()
    yield start
    wrong = [line for program in start.programs for line in program.close()]
    if wrong and getattr(request.node, "call_passed", False):
        pytest.fail("\n".join(wrong), pytrace=False)


@pytest.fixture
def ipc():
    """Makes up endpoints: ipc() is a new one each time."""
    # Not pytest's tmp_path: the path of an ipc endpoint has at most 107 bytes
    folder = tempfile.mkdtemp(prefix="zmq-", dir="/tmp")
    numbers = itertools.count(1)
    yield lambda: f"ipc://{folder}/{next(numbers)}"
    shutil.rmtree(folder)


@pytest.fixture
def new_keys():
    """Makes folders for --curve-dir: new_keys() is a new one each time."""
    with tempfile.TemporaryDirectory(prefix="keys-", dir="/tmp") as parent:
        numbers = itertools.count(1)

        def new():
            folder = Path(parent, str(next(numbers)))
            subprocess.run([MAKE_KEYS, folder], check=True, capture_output=True, timeout=WAIT_S)
            return folder

        yield new


@pytest.fixture
def keys(new_keys):
    return new_keys()


@pytest.fixture
def peer():
    """Makes raw sockets: peer (zmq.REP, bind=endpoint). Each of their calls has a timeout."""
    context = zmq.Context()
    sockets = []  # A socket without a reference would be closed

    def new(kind, bind=None, connect=None, **options):
        socket = context.socket(kind)
        sockets.append(socket)
        socket.linger = 0
        socket.rcvtimeo = socket.sndtimeo = int(WAIT_S * 1000)
        for name, value in options.items():
            setattr(socket, name, value)
        if bind:
            socket.bind(bind)
        if connect:
            socket.connect(connect)
        return socket

    yield new
    end_context(context)
