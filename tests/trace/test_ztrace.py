# SPDX-License-Identifier: MIT
"""ztrace: what it shows of programs that know nothing of it."""

import collections
import re
import signal
import subprocess
import time

import pytest

from traced import (
    PYTHON, RAW, WAIT_S, ZTRACE, compiled, contents, events, frames, messages, objects, run, traced
)

pytestmark = pytest.mark.skipif(not ZTRACE.exists(), reason="ztrace needs glibc")

NOPLT = RAW.with_name("raw-noplt")

#: What raw's `calls` sends and receives
CALLS = [b"send", b"send_const", b"msg_send", b"sendmsg"]


# --- What is seen


@pytest.mark.parametrize("program", [RAW, NOPLT], ids=["plt", "noplt"])
def test_every_call_is_seen(program, ipc, trace):
    printed, (sent, got, answer, answered) = traced(trace, program, "calls", ipc())
    assert printed == "-1 1\n-1\n"  # A call has failed, and errno is the program's own
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
        ("error", "REP"),
        ("disconnect", "REQ"),
        ("unbind", "REP"),
        ("close", "REQ"),
        ("close", "REP"),
    ]
    errors = [(e["call"], e["error"]) for e in events(trace, event="error")]
    assert errors == [("zmq_recv", "EFSM"), ("zmq_send", "EFSM")]
    first, *_, last = objects(trace)
    assert (first["life"], last["life"]) == ("start", "end")
    assert {each["program"] for each in objects(trace)} == {program.name}


def test_the_text_on_stderr(ipc):
    endpoint = ipc()
    done = run(RAW, "calls", endpoint)
    assert done.stdout == "-1 1\n-1\n"
    assert done.stderr.splitlines() == [
        f"raw: REP #1 bind, {endpoint}",
        f"raw: REQ #1 connect, {endpoint}",
        "raw: REQ #1 zmq_recv failed: EFSM (Operation cannot be accomplished in current state)",
        "raw: REP #1 zmq_send failed: EFSM (Operation cannot be accomplished in current state)",
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
    _, told = traced(trace, RAW, "say", ipc(), options=["--output", text])
    assert "    [5] 68656c6c6f  hello\n" in text.read_text() and len(told) == 2
    run(RAW, "say", ipc(), options=["-o", text, "-j", trace])  # They append
    assert text.read_text().count("hello\n") == len(messages(trace)) == 4


def test_threads(ipc, trace):
    """Four threads send: nothing is lost or mixed up, and each socket's messages are in order."""
    traced(trace, RAW, "threads", ipc(), 2000)
    assert contents(messages(trace, dir="send")) == contents(messages(trace, dir="recv"))
    assert {"tid" in message for message in messages(trace, dir="send")} == {True}
    assert {"tid" in message for message in messages(trace, dir="recv")} == {False}
    by_socket = collections.defaultdict(list)
    for message in messages(trace, dir="send"):
        by_socket[message["number"], message["tid"]].append(frames(message)[0])
    wanted = [number.to_bytes(4, "little") for number in range(2000)]
    assert len(by_socket) == 4 and all(sent == wanted for sent in by_socket.values())


@pytest.mark.skipif(
    RAW.exists() and b"__asan_" in RAW.read_bytes(),
    reason="with AddressSanitizer a child of a program with threads may hang in malloc, traced or not",
)
@pytest.mark.parametrize("options", [[], ["--follow"]])
def test_children(options, ipc, trace):
    """By fork while another thread sends, and by exec: followed if that is wanted, else untouched."""
    _, told = traced(trace, RAW, "fork", ipc(), 500, options=options)
    by_pid = collections.Counter(message["pid"] for message in told)
    said = [frames(message) for message in messages(trace, dir="recv")]
    if not options:
        assert list(by_pid.values()) == [1000]
        return
    assert sorted(by_pid.values()) == [2, 2, 2, 2, 4, 1000]
    assert said.count([b"child"]) == 5 and said.count([b"hello"]) == 1
    assert {m["number"] for m in told if by_pid[m["pid"]] == 2} == {1}
    lives = collections.Counter(each["life"] for each in objects(trace) if "life" in each)
    assert lives["start"] == 7 and lives["end"] == 6  # Of the one that becomes another program
    text = run(RAW, "fork", ipc(), 1, options=options).stderr
    assert len(set(re.findall(r"^raw\[(\d+)\]: PUSH #\d send", text, re.M))) == 6


def test_a_program_that_starts_another_and_becomes_it(ipc, trace):
    """Without --follow: not the children, but the program that takes its place."""
    script = f"{RAW} say {ipc()}; exec {RAW} say {ipc()}"
    _, told = traced(trace, "sh", "-c", script)
    assert len(told) == 2
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


# --- Python, with a libzmq of its own

PAIRS = """
import sys, zmq
context = zmq.Context()
def pair(a, b, endpoint):
    sockets = context.socket(a), context.socket(b)
    sockets[1].bind(endpoint)
    sockets[0].connect(endpoint)
    return sockets
"""


def python(path, text, *arguments, **more):
    """The messages of a script that begins with PAIRS."""
    return traced(path, PYTHON, "-c", PAIRS + text, *arguments, **more)[1]


def texts(found):
    return [frames(message) for message in found]


INPROC = """
for endpoint, text in ("inproc://here", b"inside"), (sys.argv[1], b"outside"):
    push, pull = pair(zmq.PUSH, zmq.PULL, endpoint)
    push.send(text)
    assert pull.recv() == text
context.socket(zmq.PAIR).close()  # It goes nowhere
"""


def test_inproc_is_left_out(ipc, trace):
    assert texts(python(trace, INPROC, ipc())) == [[b"outside"]] * 2
    trace.unlink()
    told = python(trace, INPROC, ipc(), options=["--inproc"])
    assert texts(told) == [[b"inside"]] * 2 + [[b"outside"]] * 2
    assert events(trace, socket="PAIR", event="close")


PROXY = """
import threading
push, front = pair(zmq.PUSH, zmq.PULL, sys.argv[1])
pull, back = pair(zmq.PULL, zmq.PUSH, sys.argv[2])
threading.Thread(target=zmq.proxy, args=[front, back], daemon=True).start()
push.send(b"through")
assert pull.recv() == b"through"
"""


def test_proxy_is_told_of(ipc, trace):
    line = "ztrace: zmq_proxy: the messages that pass inside this call are not shown\n"
    assert texts(python(trace, PROXY, ipc(), ipc(), told=line)) == [[b"through"]] * 2


FLOOD = """
dealer, other = pair(zmq.DEALER, zmq.DEALER, sys.argv[1])
for _ in range(100_000):
    try:
        other.recv(zmq.NOBLOCK)
    except zmq.Again:
        continue
    sys.exit("a message of nobody")
dealer.send(b"at last")
assert other.recv() == b"at last"
"""


def test_a_flood_of_eagain_is_no_message(ipc, trace):
    assert texts(python(trace, FLOOD, ipc())) == [[b"at last"]] * 2
    assert not events(trace, event="error")


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
    traced(trace, PYTHON, "-c", ASYNCIO, ipc())
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
    traced(trace, PYTHON, "-u", script, endpoint)
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


TWO_COPIES = """
import ctypes
z = ctypes.CDLL("libzmq.so.5")
z.zmq_ctx_new.restype = z.zmq_socket.restype = ctypes.c_void_p
push = ctypes.c_void_p(z.zmq_socket(ctypes.c_void_p(z.zmq_ctx_new()), zmq.PUSH))
assert z.zmq_bind(push, sys.argv[1].encode()) == 0
pull = context.socket(zmq.PULL)
pull.connect(sys.argv[1])
assert z.zmq_send(push, b"between two", 11, 0) == 11
assert pull.recv() == b"between two"
z.zmq_close(push)
"""


def test_two_copies_of_libzmq_in_one_process(ipc, trace):
    """pyzmq's own and the system's, called through ctypes."""
    told = python(trace, TWO_COPIES, ipc())
    assert [(m["socket"], frames(m)) for m in told] == [
        ("PUSH", [b"between two"]),
        ("PULL", [b"between two"]),
    ]


PLUGIN = """
#include <zmq.h>
int go (const char *endpoint)
{
    void *context = zmq_ctx_new (), *push = zmq_socket (context, ZMQ_PUSH);
    zmq_connect (push, endpoint);
    int size = zmq_send (push, "plugged", 7, 0);
    int linger = 0;
    zmq_setsockopt (push, ZMQ_LINGER, &linger, sizeof linger);
    zmq_close (push);
    zmq_ctx_term (context);
    return size;
}
"""


@pytest.mark.parametrize("flags", [["-fno-plt", "-Wl,-z,now"], ["-Wl,-z,now"], ["-Wl,-z,lazy"]])
def test_object_that_is_opened_and_closed_again(flags, ipc, trace, tmp_path):
    library = compiled(tmp_path, PLUGIN, "-shared", "-fPIC", *flags, "-lzmq")
    script = (
        "import ctypes, _ctypes, sys\n"
        "for _ in range(3):\n"
        "    library = ctypes.CDLL(sys.argv[1])\n"
        "    print(library.go(sys.argv[2].encode()))\n"
        "    _ctypes.dlclose(library._handle)\n"
        "    ctypes.CDLL('libc.so.6').getpid()\n"
    )
    printed, told = traced(trace, PYTHON, "-c", script, library, ipc())
    assert (printed, texts(told)) == ("7\n" * 3, [[b"plugged"]] * 3)


# --- Encrypted messages are seen in clear

CURVE = """
rep, req = context.socket(zmq.REP), context.socket(zmq.REQ)
public, secret = zmq.curve_keypair()
rep.curve_server, rep.curve_secretkey = True, secret
req.curve_serverkey = public
req.curve_publickey, req.curve_secretkey = zmq.curve_keypair()
port = rep.bind_to_random_port("tcp://127.0.0.1")
req.connect(f"tcp://127.0.0.1:{port}")
req.send(b"secret")
rep.send(b"answer to " + rep.recv())
assert req.recv() == b"answer to secret"
"""


def test_curve_is_seen_in_clear(trace):
    assert texts(python(trace, CURVE)) == [[b"secret"]] * 2 + [[b"answer to secret"]] * 2


# --- Large


BIG = """
push, pull = pair(zmq.PUSH, zmq.PULL, sys.argv[1])
data = bytes(range(250)) * 400_000
push.send(data, copy=False)
assert pull.recv(copy=False).bytes == data
"""


@pytest.mark.slow
def test_a_frame_of_100_mb(ipc, trace):
    told = python(trace, BIG, ipc())
    assert [m["frames"][0]["size"] for m in told] == [100_000_000] * 2
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
