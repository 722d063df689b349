# SPDX-License-Identifier: MIT
"""ztrace: a program does the same as without it; and what cannot be traced is told."""

import collections
import fcntl
import os
import re
import resource
import shutil
import signal
import stat
import subprocess

import pytest

from traced import PYTHON, RAW, ROOT, WAIT_S, ZTRACE, compiled, messages, objects, run, traced

pytestmark = pytest.mark.skipif(not ZTRACE.exists(), reason="ztrace needs glibc")


# --- Nothing changes for the program


@pytest.mark.parametrize("status", [0, 1, 7, 255])
@pytest.mark.parametrize("way", ["say", "exit"])
def test_exit_status(way, status, ipc, trace):
    assert run(RAW, way, ipc(), status, options=["--json", trace]).returncode == status
    assert objects(trace)[-1]["life"] == "end"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGABRT, signal.SIGKILL, signal.SIGPIPE])
def test_a_signal_that_ends_it(number, ipc, trace):
    assert run(RAW, "raise", ipc(), int(number), options=["--json", trace]).returncode == -number
    assert "life" not in objects(trace)[-1]


def test_signals_stdin_and_stdout_are_the_programs_own(tmp_path):
    script = "trap 'echo got it; exit 5' USR1; read line; echo \"$line\"; kill -USR1 $$; sleep 10"
    done = run("bash", "-c", script, options=["-j", tmp_path / "t"], stdin=None, input="typed\n")
    assert (done.returncode, done.stdout) == (5, "typed\ngot it\n")


def test_a_full_disk_ends_the_trace_only(ipc):
    done = run(RAW, "say", ipc(), options=["--output", "/dev/full"])
    assert done.returncode == 0
    assert done.stderr == (
        "ztrace: cannot write /dev/full: no space left on device; raw goes on without a trace\n"
    )
    with open("/dev/full", "w", encoding="ascii") as full:
        assert run(RAW, "say", ipc(), capture_output=False, stderr=full).returncode == 0


def test_a_file_that_may_not_grow(ipc, trace):
    """Half a line is taken away again."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    done = run(RAW, "say", ipc(), options=["--json", trace], preexec_fn=limit)
    assert done.returncode == 0
    assert done.stderr == (
        f"ztrace: cannot write {trace}: file too large; raw goes on without a trace\n"
    )
    assert 300 < trace.stat().st_size < 700
    assert objects(trace)[0]["life"] == "start"


def test_nobody_reads_the_pipe(ipc):
    read, write = os.pipe()
    os.close(read)
    assert run(RAW, "say", ipc(), capture_output=False, stderr=write).returncode == 0
    os.close(write)


def test_a_pipe_that_does_not_wait(ipc):
    """O_NONBLOCK on stderr, and a reader that is slow."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    F_SETPIPE_SZ = 1031  # fcntl has it since Python 3.10
    fcntl.fcntl(write, F_SETPIPE_SZ, 4096)
    argv = list(map(str, [ZTRACE, RAW, "threads", ipc(), 300]))
    with subprocess.Popen(argv, stderr=write) as program:
        os.close(write)
        text = b""
        while chunk := os.read(read, 1000):
            text += chunk
        assert program.wait(WAIT_S) == 0
    os.close(read)
    assert text.count(b" send, ") == text.count(b" recv, ") == 1200
    assert re.fullmatch(rb"(raw: .*\n(    \[4\] [0-9a-f]{8}.*\n)?)*", text)


def test_descriptors_belong_to_the_program(tmp_path, trace):
    """It closes and reuses all of them: what it writes to stays its own."""
    own = tmp_path / "own"
    _, told = traced(trace, RAW, "descriptors", own)
    assert own.read_bytes() == b"" and len(told) == 2
    own.unlink()
    done = run(RAW, "descriptors", own)
    assert (done.returncode, own.read_bytes()) == (0, b"")
    assert done.stderr.count("hello") == 2


def test_several_processes_write_to_one_file(ipc, trace):
    argv = list(map(str, [ZTRACE, "--json", trace, RAW, "threads"]))
    programs = [subprocess.Popen([*argv, ipc(), "300"]) for _ in range(4)]
    assert [program.wait(WAIT_S) for program in programs] == [0] * 4
    by_pid = collections.Counter(message["pid"] for message in messages(trace))
    assert by_pid == {program.pid: 2400 for program in programs}


def test_file_is_found_from_another_folder(ipc, tmp_path):
    script = f"cd / && {RAW} say {ipc()}"
    assert run("sh", "-c", script, options=["-f", "-j", "here.jsonl"], cwd=tmp_path).returncode == 0
    assert len(messages(tmp_path / "here.jsonl")) == 2


# --- What it cannot do is said


def one_line(done, text, status=0):
    assert (done.returncode, done.stderr) == (status, f"ztrace: {text}\n")


def test_program_without_libzmq():
    one_line(run("sh", "-c", "exit 7"), "sh has loaded no libzmq", status=7)
    one_line(run(PYTHON, "-c", "import zmq"), "python has opened no socket of libzmq")
    one_line(run(RAW, "say", "inproc://here"), "raw has used inproc:// only; see --inproc")


def test_static_program(tmp_path):
    program = compiled(tmp_path, "int main (void) { return 4; }", "-static")
    text = f"{program} runs without a trace: it is linked statically, and so is its libzmq, if it has one"
    one_line(run(program), text, status=4)


def test_program_with_libzmq_inside(tmp_path):
    """As if libzmq.a was linked in: it has the text of one of its errors."""
    text = 'const char *volatile s = "Operation cannot be accomplished in current state";'
    program = compiled(tmp_path, text + " int main (void) { return !s[0]; }")
    one_line(run(program), "program has libzmq linked in statically: its calls cannot be seen")


def test_program_of_musl(tmp_path):
    """The name of the dynamic linker is put in place of glibc's."""
    program = tmp_path / "program"
    data = RAW.read_bytes()
    linker = re.search(rb"/lib\S*/ld-linux\S*?\0", data)[0]
    program.write_bytes(data.replace(linker, b"/lib/ld-musl-x86_64.so.1".ljust(len(linker), b"\0"), 1))
    program.chmod(0o755)
    done = run(program)
    assert done.returncode == 126  # There is no such linker here
    assert done.stderr.splitlines()[0] == (
        f"ztrace: {program} runs without a trace: it uses musl's dynamic linker, which has no LD_AUDIT"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a setuid program of another user")
def test_setuid_program(tmp_path):
    program = tmp_path / "program"
    shutil.copy(shutil.which("true"), program)
    os.chown(program, 65534, 65534)
    program.chmod(0o755 | stat.S_ISUID)
    one_line(
        run(program),
        f"{program} runs without a trace: it runs with more rights than yours (setuid),"
        " and LD_AUDIT is ignored then",
    )


@pytest.mark.parametrize(
    "argv, status, text",
    [
        ([], 2, "PROGRAM: missing; see ztrace --help"),
        (["--decode", "json", "true"], 2, "--decode: can only be vllm"),
        (["--colour", "true"], 2, "unrecognized option '--colour'"),
        (["--json"], 2, "option '--json' requires an argument"),
        (["--output", "/no/such/folder", "true"], 1, "/no/such/folder: No such file or directory"),
        (["no-such-program"], 127, "no-such-program: No such file or directory"),
        (["/etc/passwd"], 126, "/etc/passwd: Permission denied"),
    ],
)
def test_wrong_usage(argv, status, text):
    done = run(*argv)
    assert done.stdout == ""
    one_line(done, text, status)


def test_help():
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: ztrace [OPTIONS] PROGRAM [ARGUMENTS]\n")
    told = (ROOT / "trace" / "README.md").read_text("utf-8")
    assert done.stdout in told
