# SPDX-License-Identifier: MIT
"""ztrace: what it shows of programs that know nothing of it, and that it changes nothing for them."""

import collections
import fcntl
import os
import random
import re
import resource
import shutil
import signal
import stat
import subprocess
import time

import msgspec
import pytest
import zmq

from harness import BUILD, MAKE_KEYS, ROOT, WAIT_S
from traced import PYTHON, RAW, ZTRACE, contents, events, frames, messages, objects, run

pytestmark = pytest.mark.skipif(not ZTRACE.exists(), reason="ztrace needs glibc")

NOPLT = RAW.with_name("raw-noplt")
OPENED = RAW.with_name("opened")

#: What raw's `calls` sends and receives
CALLS = [b"send", b"send_const", b"msg_send", b"sendmsg"]


@pytest.fixture
def trace(tmp_path):
    return tmp_path / "trace.jsonl"


# --- What is seen


@pytest.mark.parametrize("program", [RAW, NOPLT], ids=["plt", "noplt"])
def test_every_call_is_seen(program, ipc, trace):
    done = run(program, "calls", ipc(), options=["--json", trace])
    assert (done.returncode, done.stdout, done.stderr) == (0, "-1 1\n", "")
    sent, got, answer, answered = messages(trace)
    assert (sent["socket"], sent["dir"], frames(sent)) == ("REQ", "send", CALLS)
    assert (got["socket"], got["dir"]) == ("REP", "recv")
    assert [frame["size"] for frame in got["frames"]] == [4, 10, 8, 7]
    assert frames(got) == [b"se", *CALLS[1:]]  # The program took two bytes of the first
    assert got["frames"][0]["cut"] and "cut" not in got["frames"][1]
    assert frames(answer) == frames(answered) == [b""]
    assert [(e["event"], e["socket"]) for e in events(trace)] == [
        ("bind", "REP"),
        ("connect", "REQ"),
        ("error", "REQ"),
        ("disconnect", "REQ"),
        ("unbind", "REP"),
        ("close", "REQ"),
        ("close", "REP"),
    ]
    (error,) = events(trace, event="error")
    assert (error["call"], error["error"]) == ("zmq_recv", "EFSM")
    first, *_, last = objects(trace)
    assert (first["life"], last["life"]) == ("start", "end")
    assert {each["program"] for each in objects(trace)} == {program.name}


def test_the_text_on_stderr(ipc):
    endpoint = ipc()
    done = run(RAW, "calls", endpoint)
    assert done.stdout == "-1 1\n"
    assert done.stderr.splitlines() == [
        f"raw: REP #1 bind, {endpoint}",
        f"raw: REQ #1 connect, {endpoint}",
        "raw: REQ #1 zmq_recv failed: EFSM (Operation cannot be accomplished in current state)",
        f"raw: REQ #1 send, {endpoint}, 4 frames",
        "    [4] 73656e64  send",
        "    [10] 73656e645f636f6e7374  send_const",
        "    [8] 6d73675f73656e64  msg_send",
        "    [7] 73656e646d7367  sendmsg",
        f"raw: REP #1 recv, {endpoint}, 4 frames",
        "    [4] 7365  se...",
        "    [10] 73656e645f636f6e7374  send_const",
        "    [8] 6d73675f73656e64  msg_send",
        "    [7] 73656e646d7367  sendmsg",
        f"raw: REP #1 send, {endpoint}, 1 frame",
        "    [0]",
        f"raw: REQ #1 recv, {endpoint}, 1 frame",
        "    [0]",
        f"raw: REQ #1 disconnect, {endpoint}",
        f"raw: REP #1 unbind, {endpoint}",
        "raw: REQ #1 close",
        "raw: REP #1 close",
    ]


def test_text_and_json_go_to_files(ipc, trace, tmp_path):
    text = tmp_path / "text"
    done = run(RAW, "say", ipc(), options=["--output", text, "--json", trace])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "    [5] 68656c6c6f  hello\n" in text.read_text()
    assert len(messages(trace)) == 2
    run(RAW, "say", ipc(), options=["-o", text, "-j", trace])  # They append
    assert text.read_text().count("hello\n") == len(messages(trace)) == 4


def test_libzmq_that_the_program_opens_by_itself(ipc, trace):
    library = re.search(r"=> (\S*libzmq\S*)", subprocess.check_output(["ldd", RAW], text=True))[1]
    done = run(OPENED, library, ipc(), options=["--json", trace])
    assert (done.returncode, done.stdout) == (0, "hello\n")
    assert [frames(m) for m in messages(trace)] == [[b"hello"]] * 2


def test_threads(ipc, trace):
    """Four threads send: nothing is lost or mixed up, and each socket's messages are in order."""
    done = run(RAW, "threads", ipc(), 2000, options=["--json", trace])
    assert (done.returncode, done.stderr) == (0, "")
    assert contents(messages(trace, dir="send")) == contents(messages(trace, dir="recv"))
    assert {"tid" in message for message in messages(trace, dir="send")} == {True}
    assert {"tid" in message for message in messages(trace, dir="recv")} == {False}
    by_socket = collections.defaultdict(list)
    for message in messages(trace, dir="send"):
        by_socket[message["number"], message["tid"]].append(frames(message)[0])
    wanted = [number.to_bytes(4, "little") for number in range(2000)]
    assert len(by_socket) == 4 and all(sent == wanted for sent in by_socket.values())


@pytest.mark.parametrize("options", [[], ["--follow"]])
def test_children(options, ipc, trace):
    """By fork while another thread sends, and by exec: followed if that is wanted, else untouched."""
    done = run(RAW, "fork", ipc(), 500, options=[*options, "--json", trace])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    by_pid = collections.Counter(message["pid"] for message in messages(trace))
    said = [frames(message) for message in messages(trace, dir="recv")]
    if not options:
        assert list(by_pid.values()) == [1000]
        return
    assert sorted(by_pid.values()) == [2, 2, 2, 2, 4, 1000]
    assert said.count([b"child"]) == 5 and said.count([b"hello"]) == 1
    assert {m["number"] for m in messages(trace) if by_pid[m["pid"]] == 2} == {1}
    lives = collections.Counter(each["life"] for each in objects(trace) if "life" in each)
    assert lives["start"] == 7 and lives["end"] == 6  # Of the one that becomes another program
    text = run(RAW, "fork", ipc(), 1, options=options).stderr
    assert len(set(re.findall(r"^raw\[(\d+)\]: PUSH #\d send", text, re.M))) == 6


def test_a_program_that_starts_another_and_becomes_it(ipc, trace):
    """Without --follow: not the children, but the program that takes its place."""
    script = f"{RAW} say {ipc()}; exec {RAW} say {ipc()}"
    done = run("sh", "-c", script, options=["--json", trace])
    assert (done.returncode, done.stderr) == (0, "")
    assert len(messages(trace)) == 2
    assert {each["program"] for each in objects(trace)} == {"raw"}


def test_a_child_that_is_not_followed_has_a_clean_environment(trace):
    """Its own programs pay nothing, and do not know of the trace."""
    script = "import subprocess; subprocess.run(['sh', '-c', 'env; true'])"
    done = run(PYTHON, "-c", script, options=["--json", trace])
    assert "PATH=" in done.stdout
    assert "ZTRACE_" not in done.stdout and "LD_AUDIT" not in done.stdout


def test_killed_program_leaves_whole_lines(ipc, trace):
    argv = list(map(str, [ZTRACE, "--json", trace, RAW, "endless", ipc()]))
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as program:
        program.stdout.readline()
        deadline = time.monotonic() + WAIT_S
        while not trace.exists() or trace.stat().st_size < 100_000:
            assert time.monotonic() < deadline
        program.kill()
        assert program.wait() == -signal.SIGKILL
    told = objects(trace)
    assert told[0]["life"] == "start" and "life" not in told[-1]
    assert abs(len(messages(trace, dir="send")) - len(messages(trace, dir="recv"))) <= 1


def test_inproc_is_left_out(ipc, trace):
    assert run(RAW, "inproc", ipc(), options=["--json", trace]).returncode == 0
    assert [frames(m) for m in messages(trace)] == [[b"outside"]] * 2
    trace.unlink()
    assert run(RAW, "inproc", ipc(), options=["--json", trace, "--inproc"]).returncode == 0
    assert [frames(m) for m in messages(trace)] == [[b"inside"]] * 2 + [[b"outside"]] * 2
    assert events(trace, socket="PAIR", event="close")


def test_proxy_is_told_of(ipc, trace):
    done = run(RAW, "proxy", ipc(), options=["--json", trace])
    assert done.returncode == 0
    assert done.stderr == (
        "ztrace: zmq_proxy: the messages that pass inside this call are not shown\n"
    )
    assert [frames(m) for m in messages(trace)] == [[b"through"]] * 2


def test_a_flood_of_eagain_is_no_message(ipc, trace):
    done = run(RAW, "flood", ipc(), 100_000, options=["--json", trace])
    assert (done.returncode, done.stdout) == (0, "100000\n")
    assert [frames(m) for m in messages(trace)] == [[b"at last"]] * 2
    assert not events(trace, event="error")


# --- Python, with a libzmq of its own

ASYNCIO = """
import asyncio, sys, zmq, zmq.asyncio
async def main(endpoint):
    context = zmq.asyncio.Context()
    router = context.socket(zmq.ROUTER)
    router.bind(endpoint)
    dealers = [context.socket(zmq.DEALER) for _ in range(3)]
    async def ask(index, dealer):
        dealer.setsockopt(zmq.IDENTITY, index.to_bytes(2, "little"))
        dealer.connect(endpoint)
        for number in range(50):
            await dealer.send_multipart([b"q", b"%d" % number])
            assert await dealer.recv_multipart() == [b"q", b"%d" % number]
    async def answer():
        for _ in range(150):
            await router.send_multipart(await router.recv_multipart())
    await asyncio.gather(answer(), *(ask(*pair) for pair in enumerate(dealers)))
    context.destroy(linger=0)
asyncio.run(main(sys.argv[1]))
"""


def test_asyncio(ipc, trace):
    done = run(PYTHON, "-c", ASYNCIO, ipc(), options=["--json", trace])
    assert (done.returncode, done.stderr) == (0, "")
    questions = [(b"q", b"%d" % number) for number in range(50)]
    for index in range(3):
        identity = index.to_bytes(2, "little")
        for direction in ("send", "recv"):
            mine = messages(trace, socket="DEALER", identity=identity.hex(), dir=direction)
            assert [tuple(frames(m)) for m in mine] == questions
        at_router = [m for m in messages(trace, socket="ROUTER") if frames(m)[0] == identity]
        assert contents(at_router) == {(identity, *question): 2 for question in questions}


SUBSCRIBE = """
import sys, zmq
context = zmq.Context()
pub, sub = context.socket(zmq.XPUB), context.socket(zmq.SUB)
pub.bind(sys.argv[1])
sub.subscribe(b"kv")
sub.connect(sys.argv[1])
sub.subscribe("é")
got = [pub.recv(), pub.recv()]
pub.send_multipart([b"kv", b"x" * 3000])
assert sub.recv_multipart() == [b"kv", b"x" * 3000]
sub.unsubscribe(b"kv")
context.destroy(linger=0)
"""


def test_subscriptions(ipc, trace):
    script = trace.with_name("subscriber.py")
    script.write_text(SUBSCRIBE, "utf-8")
    endpoint = ipc()
    done = run(PYTHON, "-u", script, endpoint, options=["--json", trace])
    assert (done.returncode, done.stderr) == (0, "")
    assert {each["program"] for each in objects(trace)} == {"subscriber.py"}
    assert [(e["event"], bytes.fromhex(e.get("topic", ""))) for e in events(trace, socket="SUB")] == [
        ("subscribe", b"kv"),
        ("connect", b""),
        ("subscribe", "é".encode()),
        ("unsubscribe", b"kv"),
        ("close", b""),
    ]
    got = [frames(m) for m in messages(trace, socket="XPUB", dir="recv")]
    assert sorted(got) == [[b"\x01kv"], [b"\x01" + "é".encode()]]
    (sent,) = messages(trace, socket="XPUB", dir="send")
    assert sent["frames"][1] == {
        "size": 3000,
        "hex": (b"x" * 1024).hex(),
        "cut": True,
        "text": "x" * 2045 + "...",
    }
    text = run(PYTHON, "-c", SUBSCRIBE, endpoint).stderr
    assert f'python: SUB #1 subscribe "kv"\npython: SUB #1 connect, {endpoint}\n' in text


def test_two_copies_of_libzmq_in_one_process(ipc, trace):
    """pyzmq's own and the system's, called through ctypes."""
    script = (
        "import ctypes, sys, zmq\n"
        "z = ctypes.CDLL('libzmq.so.5')\n"
        "z.zmq_ctx_new.restype = z.zmq_socket.restype = ctypes.c_void_p\n"
        "push = ctypes.c_void_p(z.zmq_socket(ctypes.c_void_p(z.zmq_ctx_new()), zmq.PUSH))\n"
        "assert z.zmq_bind(push, sys.argv[1].encode()) == 0\n"
        "pull = zmq.Context().socket(zmq.PULL)\n"
        "pull.connect(sys.argv[1])\n"
        "assert z.zmq_send(push, b'between two', 11, 0) == 11\n"
        "print(pull.recv().decode())\n"
        "z.zmq_close(push)\n"
    )
    done = run(PYTHON, "-c", script, ipc(), options=["--json", trace])
    assert (done.returncode, done.stdout, done.stderr) == (0, "between two\n", "")
    assert [(m["socket"], frames(m)) for m in messages(trace)] == [
        ("PUSH", [b"between two"]),
        ("PULL", [b"between two"]),
    ]


# --- What peers send may be anything

SEND_ALL = """
import sys, zmq, msgspec
context = zmq.Context()
for kind, frames in msgspec.msgpack.decode(sys.stdin.buffer.read()):
    socket = context.socket(kind)
    socket.connect(sys.argv[1])  # Nobody is there
    if kind == zmq.DEALER:
        socket.setsockopt(zmq.IDENTITY, b"\\x01\\x00")
    socket.send_multipart(frames)
    socket.close(linger=0)
"""


def send_all(wanted, *options, endpoint):
    """Sends messages, each (socket type, frames), to nobody, under ztrace."""
    given = msgspec.msgpack.encode([(int(kind), parts) for kind, parts in wanted])
    argv = list(map(str, [ZTRACE, *options, PYTHON, "-c", SEND_ALL, endpoint]))
    done = subprocess.run(argv, input=given, capture_output=True, timeout=WAIT_S * 3)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_any_bytes_are_valid_json_and_harmless_text(ipc, trace):
    dice = random.Random(13)
    hostile = [
        [b""],
        [b"\xa4\"\\\n\x1b"],
        [b'"}\n{"t":0'],
        [b"\x1b[2J\x9b2J\xc2\x9b2J"],
        [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff\x01", b"\xc9\xff\xff\xff\xff"],
        [b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00"],
        [b"\x91" * 5000, b"\x81\xa1k" * 5000],
        [bytes([byte]) for byte in range(100)],
        [b"x" * 1024, b"x" * 1025, b"\xda\xff\xff" + b"\xe4\xbd\xa0" * 21845],
        [b"\x00", b"\x93"],
        [b"\x00" * 8, b"\x92\xcb"],
        *([dice.randbytes(dice.choice([1, 2, 8, 30, 300])) for _ in range(4)] for _ in range(500)),
        *([b"\x00", b"\x94" + dice.randbytes(40)] for _ in range(100)),
        *([b"kv", bytes(8), b"\x93\x01" + dice.randbytes(40)] for _ in range(100)),
        *([b"\x92\x00\x93" + dice.randbytes(60)] for _ in range(100)),
    ]
    wanted = [(zmq.PUSH, message) for message in hostile]
    text = send_all(wanted, "--json", trace, "-o", "/dev/stderr", "--decode", "vllm", endpoint=ipc())
    told = messages(trace)
    assert [len(message["frames"]) for message in told] == [min(64, len(m)) for m in hostile]
    assert [message.get("left_out", 0) for message in told] == [max(0, len(m) - 64) for m in hostile]
    for message, parts in zip(told, hostile):
        assert [frame["size"] for frame in message["frames"]] == [len(each) for each in parts[:64]]
        assert frames(message) == [each[:1024] for each in parts[:64]]
        assert all(len(frame.get("text", "")) <= 2048 for frame in message["frames"])
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]", text)
    text.decode("utf-8")


@pytest.mark.parametrize("value", [0, -1, 2**63, 1.5, -2.5e-3, 1e300, True, None, "a\nb", b"\x01", [], {}])
def test_msgpack_is_shown_as_text(value, ipc, trace):
    send_all([(zmq.PUSH, [msgspec.msgpack.encode([value, {"k": value}])])], "--json", trace, endpoint=ipc())
    (message,) = messages(trace)
    shown = message["frames"][0]["text"].replace("h'01'", '"AQ=="')
    assert msgspec.json.decode(shown) == msgspec.json.decode(msgspec.json.encode([value, {"k": value}]))


@pytest.mark.parametrize(
    "data, text",
    [
        (b"hello", "hello"),
        (b"hello\n", "hello\\n"),
        (b"C string\0", "C string\\u0000"),
        ("你好 é".encode(), "你好 é"),
        (b"\x00", "0"),
        (b"\xa5hello", '"hello"'),
        (b"\xa5hello!", None),
        (b"\xc4\x03abc", "h'616263'"),
        (b"\xd4\x05\x01", "ext(5,h'01')"),
        (b"\x81\x01\xc2", "{1:false}"),
        (b"\xca\x3f\x80\x00\x00", "1.0"),
        (b"\xc1", None),
        (b"\xff\xfe", None),
    ],
)
def test_what_a_frame_holds(data, text, ipc, trace):
    send_all([(zmq.PUSH, [data])], "--json", trace, endpoint=ipc())
    (message,) = messages(trace)
    assert message["frames"][0].get("text") == text


# --- --decode vllm

pack = msgspec.msgpack.encode
ENGINE = b"\x01\x00"


def output(name, tokens=(7,), reason=None):
    return [name, list(tokens), None, None, None, reason, *[None] * 13]


def outputs(*of, utility=None):
    return pack([0, of, None, 1.5, utility, None, None, None, None])


def seq(number):
    return number.to_bytes(8, "big")


def batch(*tags):
    return pack([1.5, [{"type": tag, "block_hashes": [2**64 - 1]} for tag in tags], 0])


REQUEST = pack(["r3", [1, 2, 3, 4, 5], None, {"max_tokens": 4}, *[None] * 18])


@pytest.mark.parametrize(
    "kind, parts, means",
    [
        (zmq.DEALER, [b"\x00", REQUEST], "ADD r3, 5 tokens"),
        (zmq.ROUTER, [ENGINE, b"\x00", REQUEST], "ADD r3, 5 tokens"),
        (zmq.ROUTER, [ENGINE, b"\x00", REQUEST, bytes(10**6)], "ADD r3, 5 tokens"),
        (zmq.ROUTER, [ENGINE, b"\x00", pack(["r", list(range(9000))])], "ADD r, 9000 tokens"),
        (zmq.DEALER, [b"\x01", pack(["r0", "r2"])], "ABORT r0 r2"),
        (zmq.DEALER, [b"\x02", pack([0, 1])], "START_DP_WAVE"),
        (zmq.DEALER, [b"\x03", pack([0, 7, "is_sleeping", []])], "UTILITY is_sleeping"),
        (zmq.PUSH, [outputs(output("r3"))], "EngineCoreOutputs r3 +1 token"),
        (zmq.PUSH, [outputs(output("r3", [], 1))], "EngineCoreOutputs r3 length"),
        (
            zmq.PUSH,
            [outputs(output("r0"), output("r2", [1, 2], 0)), b"a tensor"],
            "EngineCoreOutputs r0 +1 token; r2 +2 tokens, stop",
        ),
        (zmq.PUSH, [outputs(utility=[7, None, [None, False]])], "EngineCoreOutputs answer to UTILITY call 7"),
        (zmq.PUSH, [outputs()], "EngineCoreOutputs"),
        (zmq.PUSH, [b"ENGINE_CORE_DEAD"], "ENGINE_CORE_DEAD"),
        (zmq.DEALER, [pack({"status": "HELLO", "local": False, "headless": True})], "HELLO"),
        (zmq.ROUTER, [ENGINE, pack({"status": "READY"})], "READY"),
        (zmq.ROUTER, [ENGINE, pack({"addresses": {"inputs": ["a"]}, "parallel_config": {}})], "INIT"),
        (zmq.DEALER, [pack({"max_model_len": 8192, "dtype": "bf16"})], "registration"),
        (zmq.PUB, [b"kv", seq(7), batch("BlockStored")], "seq 7 BlockStored"),
        (zmq.PUB, [b"", seq(8), batch("BlockStored", "BlockRemoved")], "seq 8 BlockStored, BlockRemoved"),
        (zmq.PUB, [b"kv", seq(7), pack([1.5, [["BlockRemoved", [1]]]])], "seq 7 BlockRemoved"),
        (zmq.PUB, [b"kv", seq(7), batch()], "seq 7 no events"),
        (zmq.REQ, [seq(3)], "replay request from 3"),
        (zmq.DEALER, [b"", seq(3)], "replay request from 3"),
        (zmq.ROUTER, [ENGINE, b"", b"kv", seq(3), batch("AllBlocksCleared")], "seq 3 AllBlocksCleared"),
        (zmq.ROUTER, [ENGINE, b"", seq(3), batch("BlockStored")], "seq 3 BlockStored"),
        (zmq.ROUTER, [ENGINE, b"", b"", b"\xff" * 8, b""], "end of replay"),
        (zmq.PUSH, [pack("ping")], None),
        (zmq.PUSH, [pack({"task": 1, "value": 1})], None),
        (zmq.PUSH, [b"hello"], None),
        (zmq.PUSH, [b"\x09", b"hello"], None),
        (zmq.PUB, [b"topic", b"payload"], None),
        (zmq.PUSH, [pack([0, []])], None),
    ],
)
def test_vllm_is_decoded(kind, parts, means, ipc, trace):
    text = send_all([(kind, parts)], "--json", trace, "-o", "/dev/stderr", "-d", "vllm", endpoint=ipc())
    (message,) = messages(trace, dir="send")
    assert message.get("means") == means
    if kind == zmq.DEALER:
        assert text.startswith(b"python 1: DEALER #1 (identity 0100)") or b"\npython 1: DEALER" in text
    if means:
        assert f"frames: {means}\n" in text.decode() or f"frame: {means}\n" in text.decode()


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


def test_errno_is_the_programs_own(ipc):
    """raw prints errno after a call that has failed; here with the tracer between."""
    assert run(RAW, "calls", ipc(), options=["--inproc"]).stdout == "-1 1\n"


def test_a_full_disk_ends_the_trace_only(ipc):
    done = run(RAW, "say", ipc(), options=["--output", "/dev/full"])
    assert done.returncode == 0
    assert done.stderr == (
        "ztrace: cannot write /dev/full: no space left on device; raw goes on without a trace\n"
    )
    argv = list(map(str, [ZTRACE, RAW, "say", ipc()]))
    with open("/dev/full", "w", encoding="ascii") as full:
        assert subprocess.run(argv, stderr=full, timeout=WAIT_S).returncode == 0


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
    done = run(RAW, "say", ipc(), capture_output=False, stdout=subprocess.PIPE, stderr=write)
    os.close(write)
    assert done.returncode == 0


def test_a_pipe_that_does_not_wait(ipc):
    """O_NONBLOCK on stderr, and a reader that is slow."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
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
    done = run(RAW, "descriptors", own, options=["--json", trace])
    assert (done.returncode, done.stderr) == (0, "")
    assert own.read_bytes() == b""
    assert len(messages(trace)) == 2
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
    done = run("sh", "-c", script, options=["-f", "--json", "here.jsonl"], cwd=tmp_path)
    assert done.returncode == 0
    assert len(messages(tmp_path / "here.jsonl")) == 2


# --- What it cannot do is said


def one_line(done, text):
    assert done.stderr == f"ztrace: {text}\n"


def test_program_without_libzmq():
    done = run("sh", "-c", "exit 7")
    assert done.returncode == 7
    one_line(done, "sh has loaded no libzmq")
    done = run(PYTHON, "-c", "import zmq")
    one_line(done, "python has opened no socket of libzmq")
    done = run(RAW, "say", "inproc://here")
    one_line(done, "raw has used inproc:// only; see --inproc")


def compiled(tmp_path, text, *options):
    source, program = tmp_path / "program.c", tmp_path / "program"
    source.write_text(text)
    built = subprocess.run(["cc", source, "-o", program, *options], capture_output=True)
    if built.returncode != 0:
        pytest.skip(f"cannot be built here: cc {' '.join(options)}")
    return program


def test_static_program(tmp_path):
    program = compiled(tmp_path, "int main (void) { return 4; }", "-static")
    done = run(program)
    assert done.returncode == 4
    one_line(done, f"{program} runs without a trace: it is linked statically, and so is its libzmq, if it has one")


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
    assert (done.returncode, done.stdout) == (status, "")
    one_line(done, text)


def test_help():
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: ztrace [OPTIONS] PROGRAM [ARGUMENTS]\n")
    told = (ROOT / "trace" / "README.md").read_text("utf-8")
    assert done.stdout in told


# --- Encrypted messages are seen in clear

CURVE = """
import sys, zmq
context = zmq.Context()
rep, req = context.socket(zmq.REP), context.socket(zmq.REQ)
public, secret = zmq.curve_keypair()
rep.curve_server, rep.curve_secretkey = True, secret
req.curve_serverkey = public
req.curve_publickey, req.curve_secretkey = zmq.curve_keypair()
port = rep.bind_to_random_port("tcp://127.0.0.1")
req.connect(f"tcp://127.0.0.1:{port}")
req.send(b"secret")
rep.send(b"answer to " + rep.recv())
print(req.recv().decode())
context.destroy(linger=0)
"""


def test_curve_is_seen_in_clear(trace):
    done = run(PYTHON, "-c", CURVE, options=["--json", trace])
    assert (done.returncode, done.stdout) == (0, "answer to secret\n")
    assert [frames(m) for m in messages(trace)] == [[b"secret"]] * 2 + [[b"answer to secret"]] * 2


# --- Large


@pytest.mark.slow
def test_a_frame_of_100_mb(ipc, trace):
    done = run(RAW, "big", ipc(), 100_000_000, options=["--json", trace])
    assert (done.returncode, done.stderr) == (0, "")
    sent, got = messages(trace)
    assert [m["frames"][0]["size"] for m in (sent, got)] == [100_000_000] * 2
    assert trace.stat().st_size < 20_000


@pytest.mark.slow
def test_a_million_messages(ipc, trace):
    """None is lost, and the memory of the program does not grow."""
    done = run(RAW, "many", ipc(), 1_000_000, options=["--json", trace], timeout=600)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) < 4096
    counted = {"send": 0, "recv": 0}
    with trace.open("rb") as lines:
        for line in lines:
            found = re.search(rb'"dir":"(\w+)","frames":\[\{"size":4,"hex":"(\w+)"', line)
            if found:
                direction = found[1].decode()
                assert int.from_bytes(bytes.fromhex(found[2].decode()), "little") == counted[direction]
                counted[direction] += 1
    assert counted == {"send": 1_000_000, "recv": 1_000_000}
