# SPDX-License-Identifier: MIT
"""From traces to diagrams: which send belongs to which receive, what an arrow says, what is drawn."""

import itertools
import json
import re
import subprocess
import sys
import xml.etree.ElementTree

import pytest

import trace_demo
import trace_draw
import trace_labels
import trace_page
import trace_read
from traced import ROOT
from vllm_messages import MESSAGES, REQUEST, output, pack, seq

ENDPOINT = "tcp://127.0.0.1:5555"
ENGINE_0, ENGINE_1 = b"\x00\x00", b"\x01\x00"


def frame(data):
    told = {"size": len(data), "hex": data[:1024].hex()}
    return {**told, "cut": True} if len(data) > 1024 else told


class Trace:
    """Makes up a trace; time goes on by a millisecond with each object, or by `wait`. An end of a message
    is "PROGRAM SOCKET" or "PROGRAM SOCKET NUMBER"."""

    def __init__(self):
        self.entries = []
        self.t = 0.0

    def wait(self, seconds):
        self.t += seconds

    def add(self, program, **more):
        self.t = round(self.t + 0.001, 6)
        pid = 1 + sum(map(ord, program))  # The same for the same name
        self.entries.append({"t": self.t, "program": program, "pid": pid, **more})

    def life(self, program, what="start"):
        self.add(program, life=what)

    def note(self, program, text):
        self.add(program, note=text)

    def event(self, end, event, **more):
        program, socket, number = re.fullmatch(r"(.+) ([A-Z]+)( \d)?", end).groups()
        self.add(program, socket=socket, **({"number": int(number)} if number else {}), event=event, **more)

    def send(self, end, *frames, endpoint=ENDPOINT, dir="send", identity=None):
        more = {"identity": identity.hex()} if identity else {}
        self.event(end, None, endpoint=endpoint, dir=dir, frames=[frame(f) for f in frames], **more)

    def recv(self, end, *frames, **more):
        self.send(end, *frames, dir="recv", **more)

    def both(self, sender, receiver, *frames, **more):
        self.send(sender, *frames, **more)
        self.recv(receiver, *frames, **more)

    def run(self):
        return trace_read.Run(self.entries)

    def told(self):
        """Each message in words."""
        return [
            f"{m.source.title} > {m.target.title}: {m.label}"
            + ("" if m.fate == "taken" else f" {m.fate}")
            for m in self.run().messages
        ]


@pytest.fixture
def trace():
    return Trace()


# --- Which send belongs to which receive

PING, PONG = pack("ping"), pack("pong")


def test_request_of_a_socket_that_was_thrown_away_before_the_server_came(trace):
    trace.send("client REQ", PING)
    trace.send("client REQ", PING)  # A new socket: CZMQ's linger of 0 forgets the first
    trace.life("server")
    trace.recv("server REP", PING)
    assert trace.told() == ["client > server: ping lost", "client > server: ping"]


def test_request_that_waits_in_the_queue_is_not_thrown_away(trace):
    trace.life("server")
    trace.send("client REQ", PING)
    trace.send("client REQ", PING)
    trace.recv("server REP", PING)
    assert trace.told() == ["client > server: ping", "client > server: ping lost"]


def test_equal_messages_are_received_in_their_order(trace):
    for _ in range(3):
        trace.send("ventilator PUSH", PING)
    trace.recv("worker 1 PULL", PING)
    trace.recv("worker 2 PULL", PING)
    assert [(m.send.t, m.recv and m.recv.t, m.fate) for m in trace.run().messages] == [
        (0.001, 0.004, "taken"),
        (0.002, 0.005, "taken"),
        (0.003, None, "lost"),
    ]


def test_subscription_that_was_told_of_too_late(trace):
    """libzmq may have sent it before the program could write that down."""
    trace.recv("pub XPUB", b"\x01a")
    trace.send("sub SUB", b"\x01a")
    trace.both("pub XPUB", "sub SUB", b"a", pack({"seq": 0}))
    assert trace.told() == ['sub > pub: subscribe "a"', "pub > sub: a 0"]


@pytest.mark.parametrize("process", ["engine 0", "engine 1"], ids=["one process", "two processes"])
def test_router_sends_to_the_one_with_the_name(trace, process):
    """The bytes are the same: only the names tell them apart."""
    engines = {ENGINE_0: "engine 0", ENGINE_1: process}
    for identity, engine in engines.items():
        trace.send(f"{engine} DEALER", b"", identity=identity)
    for identity in (ENGINE_1, ENGINE_0):
        trace.recv("frontend ROUTER", identity, b"")
    for identity in (ENGINE_1, ENGINE_0):
        trace.send("frontend ROUTER", identity, b"\x01", pack(["r0"]))
    for identity, engine in engines.items():
        trace.recv(f"{engine} DEALER", b"\x01", pack(["r0"]), identity=identity)
    assert trace.told()[2:] == [
        f"frontend > {process}: [01 00] ABORT r0",
        "frontend > engine 0: [00 00] ABORT r0",
    ]
    assert [m.recv.t for m in trace.run().messages] == [0.004, 0.003, 0.008, 0.007]


@pytest.mark.parametrize(
    "receiver, endpoint, told",
    [
        ("b PULL", "tcp://0.0.0.0:5555", ["a > b: ping"]),  # It listens on all addresses
        ("b PULL", "tcp://[::]:5555", ["a > b: ping"]),
        ("b PULL", "tcp://127.0.0.1:2", ["a > (peer 1): ping untold", "(peer 2) > b: ping"]),
        ("b SUB", ENDPOINT, ["a > (peer): ping untold", "(peer) > b: ping"]),  # They do not fit
    ],
)
def test_which_sockets_are_connected(trace, receiver, endpoint, told):
    trace.send("a PUSH", PING)
    trace.recv(receiver, PING, endpoint=endpoint)
    assert trace.told() == told


def test_nothing_is_received_before_it_is_sent(trace):
    trace.recv("b PULL", PING)
    trace.send("a PUSH", PING)
    assert trace.told() == ["(peer) > b: ping", "a > b: ping lost"]


def test_names_of_lanes(trace):
    """Of the same program: by the identity of vLLM's engines, if that tells them apart; or by number."""
    for identity in ((258).to_bytes(2, "little"), b"\x07\x00", b"abc", None):
        trace.send("engine DEALER", b"", identity=identity)
        trace.entries[-1]["pid"] = len(trace.entries)
    trace.send("frontend DEALER", b"", identity=ENGINE_0)  # There is but one
    for _ in range(2):
        trace.send("worker DEALER", b"", identity=ENGINE_1)
        trace.entries[-1]["pid"] = len(trace.entries)
    assert [lane.title for lane in trace.run().lanes if lane.pid] == [
        "engine 258",
        "engine 7",
        "engine 3",
        "engine 4",
        "frontend",
        "worker 1",
        "worker 2",
    ]


def test_cut_line_at_the_end_is_left_out(tmp_path, trace):
    trace.life("a")
    path = tmp_path / "trace"
    path.write_text(json.dumps(trace.entries[0]) + '\n{"t":0.5,"prog')
    assert len(trace_read.read(path).lanes) == 1


def test_long_trace_takes_no_long_time(trace):
    for number in range(20000):
        trace.send("a PUSH", pack(number))
        if number % 2:
            trace.recv("b PULL", pack(number))
    run = trace.run()
    assert sum(message.fate == "lost" for message in run.messages) == 10000
    assert len(trace_draw.mermaid(run).splitlines()) < 20


# --- What sockets did besides


def notes(trace):
    return [f"{note.lane.title}: {note.note}" for note in trace.run().notes]


def test_subscriptions_go_to_each_endpoint_as_soon_as_both_are_there(trace):
    trace.event("sub SUB 1", "subscribe", topic=b"a".hex())
    trace.event("sub SUB 1", "connect", endpoint="tcp://127.0.0.1:1")
    trace.event("pub PUB 1", "bind", endpoint="tcp://127.0.0.1:1")
    trace.send("pub PUB 1", b"a", endpoint="tcp://127.0.0.1:1")
    trace.event("sub SUB 1", "connect", endpoint="tcp://127.0.0.1:2")
    trace.event("sub SUB 1", "unsubscribe", topic=b"a".hex())
    trace.event("sub SUB 1", "close")
    trace.event("sub SUB 2", "subscribe", topic=b"".hex())
    assert trace.told() == [
        'sub > pub: subscribe "a" hidden',
        "pub > sub: 1 byte lost",
        'sub > (peer): subscribe "a" untold',
        'sub > pub: unsubscribe "a" hidden',
        'sub > (peer): unsubscribe "a" untold',
    ]


def test_subscription_of_a_process_that_was_killed(trace):
    trace.event("sub SUB 1", "subscribe", topic=b"a".hex())
    trace.event("sub SUB 1", "connect", endpoint=ENDPOINT)
    trace.recv("pub XPUB", b"\x01a")
    assert trace.told() == ['sub > pub: subscribe "a"']


def test_socket_with_several_endpoints(trace):
    """Messages come from any of them, whichever was connected last."""
    for number in (1, 2):
        trace.event("sub SUB 1", "connect", endpoint=f"tcp://127.0.0.1:{number}")
        trace.event(f"pub {number} PUB 1", "bind", endpoint=f"tcp://127.0.0.1:{number}")
    for number in (1, 2):
        trace.send(f"pub {number} PUB 1", PING, endpoint=f"tcp://127.0.0.1:{number}")
        trace.recv("sub SUB 1", PING, endpoint="tcp://127.0.0.1:2")
    assert trace.told() == ["pub 1 > sub: ping", "pub 2 > sub: ping"]


def test_request_without_a_reply_is_noted_when_its_socket_is_closed(trace):
    trace.send("client REQ 1", PING)
    trace.event("client REQ 1", "close")
    trace.both("client REQ 2", "server REP", PING)
    trace.both("server REP", "client REQ 2", PONG)
    trace.event("client REQ 2", "close")
    assert notes(trace) == ["client: no reply: closes the REQ socket"]


def test_error_is_noted(trace):
    trace.event("client REQ 1", "error", call="zmq_msg_send", error="EFSM")
    assert notes(trace) == ["client: zmq_msg_send: EFSM"]


# --- What an arrow says

@pytest.mark.parametrize(
    "socket, frames, words",
    [
        ("REQ", [PING], "ping"),
        ("REP", [pack({"error": "no"})], "error: no"),
        ("SUB", [b"\x01kv"], 'subscribe "kv"'),
        ("XPUB", [b"\x00"], 'unsubscribe ""'),
        ("PUB", [b"a", pack({"seq": 4})], "a 4"),
        ("PUSH", [pack({"task": 4, "value": 4})], "task 4"),
        ("PUSH", [pack({"task": 4, "worker": "w1", "value": 16})], "result 16 by w1"),
        ("PUSH", [pack({"tasks": 100})], "100 tasks to come"),
        ("PUB", [b"kv", seq(7), b"\xc1"], "seq 7: unreadable"),
        ("REQ", [seq(0)], "replay from 0"),
        ("REQ", [b"", b"\xff" * 8, b""], "END"),
        ("PAIR", [], "nothing"),
        ("PAIR", [b""], "0 bytes"),
        ("PAIR", [b"\xc1\xc1"], "2 bytes"),
        ("REQ", [pack("")], '""'),
        ("REQ", [pack("a\nb\u2028c")], "a?b?c"),
        ("REQ", [pack("x" * 100)], "x" * 43 + "…"),
        ("PUSH", [pack("x" * 2000)], "2003 bytes"),
        ("PUSH", [pack({1: 2})], "1: 2"),
        ("PUSH", [pack([])], "1 byte"),
        *((row[0], row[1], row[-1]) for row in MESSAGES),
    ],
)
def test_label(trace, socket, frames, words):
    trace.send(f"a {socket}", *frames)
    (message,) = trace.run().messages
    assert message.label == words


def test_hostile_frames_have_a_label():
    """Whatever is in a frame, of whatever type: words, in one line."""
    values = [None, True, -1, 2**64 - 1, 1.5, "x", b"x", [], {}, [[]], [None] * 3, {"a": None}]
    keys = ["status", "addresses", "tasks", "task", "worker", "value", "max_model_len", "error"]
    payloads = [pack(value) for value in values]
    payloads += [pack({key: value}) for key in keys for value in values]
    payloads += [pack(dict.fromkeys(keys[3:6], value)) for value in values]
    payloads += [pack([0, [value]]) for value in values] + [pack([0, value]) for value in values]
    payloads += [pack([0, [["r", [], 0, 0, 0, value]]]) for value in values]
    payloads += [b"", b"\xc1", b"\xff" * 8, b"\x80" * 8, b"\xdd\xff\xff\xff\xff", b"\xa2\xff\xff"]
    payloads += [pack({0: 1, None: 2}), pack({b"k": 1})]
    prefixes = [[], [b""], [b"\x00"], [b"\x01"], [b"\x03"], [b"kv", seq(1)], [seq(1)], [ENGINE_0]]
    for socket, prefix, payload in itertools.product(
        ("REQ", "ROUTER", "DEALER", "PUB", "PUSH"), prefixes, payloads
    ):
        told = Trace()
        told.send(f"a {socket}", *prefix, payload)
        (message,) = told.run().messages
        assert message.label and message.label.isprintable(), (socket, prefix, payload)
        names = trace_labels.frame_names(socket, message.send.frames)
        assert len(names) == len(prefix) + 1


@pytest.mark.parametrize(
    "socket, frames, names",
    [
        ("ROUTER", [ENGINE_1, b"\x00", REQUEST], ["identity", "type: ADD", "payload"]),
        ("ROUTER", [b"\x00abcd", b"", seq(3)], ["identity", "empty frame", "seq: 3"]),
        ("DEALER", [b"", b"kv", seq(3), b"x"], ["empty frame", "topic", "seq: 3", "batch"]),
        ("REQ", [b"", b"\xff" * 8, b""], ["topic", "seq: END", "batch"]),
        ("SUB", [b"\x01a"], ["subscription"]),
        ("PUB", [b"a", pack({"seq": 1})], ["topic", "payload"]),
        ("PAIR", [b"a", b"b", b"c"], [None, None, None]),
    ],
)
def test_frame_names(socket, frames, names):
    assert trace_labels.frame_names(socket, [frame(each) for each in frames]) == names


# --- What is drawn

SVG = "{http://www.w3.org/2000/svg}"
MERMAID = re.compile(
    r"sequenceDiagram\n"
    r"(    participant p\d+ as [^\n#;%<>&]+\n"
    r"|    p\d+(->>|-->>|-x|--\))p\d+: ([^\n#;%<>&]|#\d+;)+\n"
    r"|    Note over p\d+(,p\d+)?: ([^\n#;%<>&]|#\d+;)+\n)*"
)


def drawn(run):
    """Its Mermaid and its SVG, checked for what both must be."""
    text = trace_draw.mermaid(run)
    assert MERMAID.fullmatch(text), text
    picture = trace_draw.svg(run, "Demo <1>")
    root = xml.etree.ElementTree.fromstring(picture)
    assert root.tag == f"{SVG}svg"
    # Nothing runs in it, and nothing is fetched
    assert not re.search(r"<script|<foreignObject|<image|href=|url\(|@import|\son\w+=", picture)
    assert [each.text for each in root.iter(f"{SVG}title")] == ["Demo <1>"]
    return text, picture


def words(picture):
    root = xml.etree.ElementTree.fromstring(picture)
    return [each.text for each in root.iter(f"{SVG}text")]


def test_picture_of_everything(trace):
    trace.life("client")
    trace.send("client REQ", PING)
    trace.wait(1.5)
    trace.note("client", "timeout")
    trace.send("client REQ", PING)
    trace.life("server")
    trace.wait(0.25)
    trace.recv("server REP", PING)
    trace.send("server REP", PONG)
    trace.life("client", "end")
    trace.send("other PUSH", PING, endpoint="tcp://127.0.0.1:9")
    text, picture = drawn(trace.run())
    assert text.splitlines() == [
        "sequenceDiagram",
        "    participant p0 as client",
        "    participant p1 as server",
        "    participant p2 as other",
        "    participant p3 as (peer)",
        "    p0-xp1: ping",
        "    Note over p0,p3: 1.5 s",
        "    Note over p0: timeout",
        "    p0->>p1: ping",
        "    Note over p1: starts",
        "    Note over p0,p3: 251 ms",
        "    p1-xp0: pong",
        "    p2--)p3: ping",
    ]
    assert {"client", "server", "other", "(peer)", "REQ", "REP", "PUSH"} <= set(words(picture))
    assert {"timeout", "1.5 s", "251 ms", "starts"} <= set(words(picture))
    assert words(picture).count("ping") == 3 and words(picture).count("pong") == 1
    assert picture.count('class="cross"') == 2


def test_hostile_text_is_drawn_as_text(trace):
    text = '</text><script>alert(1)</script>&amp;" end; %%{init} #1;'
    trace.both("client REQ", "server REP", pack(text))
    trace.note("client", text)
    mermaid, picture = drawn(trace.run())
    assert "<script" not in picture
    assert text[:43] + "…" in words(picture)
    assert "%%" not in mermaid


def test_repeats_are_taken_together(trace):
    for number in range(20):
        trace.both("a PUSH", f"b {number % 2} PULL", pack({"task": number, "value": number}))
    mermaid, _ = drawn(trace.run())
    told = re.findall(r"(?:task \d+|… .*)$", mermaid, re.M)
    assert told == ["task 0", "task 1", "task 2", "task 3", "… 14 more like these", "task 18", "task 19"]
    # The page has them all
    assert len(trace_draw.rows(trace.run(), whole=True)) == 20


def test_few_repeats_are_drawn(trace):
    for number in range(5):
        trace.both("a PUSH", "b PULL", pack(str(number)))
    assert len(trace_draw.rows(trace.run())) == 5


def test_lanes_are_ordered_for_short_arrows(trace):
    """The sink was started first, but stands at the end."""
    trace.life("sink")
    trace.life("ventilator")
    for name in ("w1", "w2"):
        trace.both("ventilator PUSH", f"worker {name} PULL", pack(name))
        trace.both(f"worker {name} PUSH", "sink PULL", pack(f"of {name}"), endpoint="tcp://127.0.0.1:6")
    titles = [lane.title for lane in trace_draw.lanes_in_order(trace.run())]
    assert titles == ["ventilator", "worker w1", "worker w2", "sink"]


def test_empty_trace_is_drawn():
    drawn(Trace().run())


def test_message_to_oneself(trace):
    trace.both("trap PUSH", "trap PULL", PING)
    mermaid, _ = drawn(trace.run())
    assert "p0->>p0: ping" in mermaid


# --- The page. How it behaves in a browser is in tests/trace/page.


def page_data(page):
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(text), text


def test_page_has_all_frames(trace):
    text = "</script><!-- \u2028\u2029 @SVG@ @DATA@ & <b>"
    trace.send("frontend ROUTER", ENGINE_1, pack(text))
    trace.recv("engine DEALER", pack(text), identity=ENGINE_1)
    page = trace_page.html(trace.run(), "Demo @DATA@")
    data, raw = page_data(page)
    assert not re.search("[<>&\u2028\u2029]", raw)
    (message,) = data["messages"]
    assert message["send"]["frames"][1]["hex"] == pack(text).hex()
    assert [each["name"] for each in message["send"]["frames"]] == ["identity", "payload"]
    assert message["why"].startswith("The first frame told the ROUTER")
    assert page.count("<script") == 2 and page.count("<title>") == 1
    assert "<h1>Demo @DATA@</h1>" in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")


def test_long_page_is_cut(trace):
    for number in range(trace_page.MESSAGES_MAX + 10):
        trace.send("a PUSH", pack(number))
    data, _ = page_data(trace_page.html(trace.run(), "long"))
    assert len(data["messages"]) == trace_page.MESSAGES_MAX
    assert data["summary"].endswith(f"the first {trace_page.MESSAGES_MAX} are shown")


# --- What two runs have in common


def two_engines(swapped=False, slow=0.0):
    trace = Trace()
    names = ["engine 1", "engine 0"] if swapped else ["engine 0", "engine 1"]
    for name in ("frontend", "engine 0", "engine 1"):
        trace.life(name)
    for name in names:
        trace.wait(slow)
        trace.send(f"{name} PUSH", pack(f"from {name}"))
    for name in reversed(names):
        trace.recv("frontend PULL", pack(f"from {name}"))
    trace.send("frontend PUSH", PING, endpoint="tcp://127.0.0.1:6")
    trace.send("frontend PUSH", PONG, endpoint="tcp://127.0.0.1:6")
    trace.note("frontend", "done")
    return trace


def test_structure_is_without_times_and_order_of_connections():
    first = trace_read.structure(two_engines().run())
    assert trace_read.structure(two_engines(swapped=True, slow=0.5).run()) == first


@pytest.mark.parametrize(
    "change",
    [
        lambda trace: trace.send("engine 0 PUSH", PING),  # One more, which is lost
        lambda trace: trace.note("engine 0", "the front-end is gone"),
        lambda trace: trace.life("engine 2"),
        lambda trace: trace.entries.pop(-4),  # One that is not received
        lambda trace: trace.entries.pop(),
        lambda trace: trace.entries[3].update(frames=[frame(PING)]),
        lambda trace: trace.entries[3].update(endpoint="tcp://127.0.0.1:9"),
        lambda trace: trace.entries[-1].update(t=0.0001),  # The note comes first
        lambda trace: trace.entries[-2].update(t=0.0001),  # The order of one connection
    ],
)
def test_structure_sees_a_difference(change):
    trace = two_engines()
    change(trace)
    assert trace_read.structure(trace.run()) != trace_read.structure(two_engines().run())


def test_structure_has_tokens_by_request():
    def outputs(*messages):
        trace = Trace()
        for each in messages:
            trace.send("engine PUSH", pack([0, [output(name) for name in each]]))
        return trace_read.structure(trace.run())

    assert outputs(["r0", "r1"], ["r1", "r0"]) == outputs(["r0"], ["r1"], ["r0", "r1"])
    assert outputs(["r0", "r1"]) != outputs(["r0"], ["r0", "r1"])


def test_structure_does_not_count_probes(trace):
    trace.send("frontend ROUTER", ENGINE_0, b"\x01", pack(["r0"]))
    trace.send("frontend ROUTER", ENGINE_0, b"\x01", pack([]))
    once = trace_read.structure(trace.run())
    trace.send("frontend ROUTER", ENGINE_0, b"\x01", pack([]))
    assert trace_read.structure(trace.run()) == once
    trace.send("frontend ROUTER", ENGINE_0, b"\x01", pack(["r0"]))
    assert trace_read.structure(trace.run()) != once


def test_recording_is_kept_without_what_is_only_true_once():
    text = '{"t":12.5,"program":"a","pid":77,"note":"pid\\":5\u2028"}\n{"t":12.25,"program":"b","pid":3}\n'
    assert trace_demo.normal(text) == (
        '{"t":0.000000,"program":"b","pid":1}\n'
        '{"t":0.250000,"program":"a","pid":2,"note":"pid\\":5\u2028"}\n'
    )


def trace_demo_py(*arguments):
    argv = [sys.executable, ROOT / "trace" / "trace_demo.py", *arguments]
    return subprocess.run(argv, capture_output=True, text=True)


def test_unknown_demo_is_named():
    done = trace_demo_py("9.9")
    assert done.returncode == 2
    assert done.stderr.startswith("trace: 9.9: no such demo; there are 1 1.1 1.2 ")


def test_trace_of_an_own_run_is_drawn_beside_it(tmp_path):
    own = tmp_path / "my.run.jsonl"
    own.write_bytes((trace_demo.DIAGRAMS / "1.jsonl").read_bytes())
    done = trace_demo_py(own)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{own}: 2 messages: ")
    mermaid, picture = drawn(trace_read.read(own))
    assert own.with_suffix(".mmd").read_text("utf-8") == mermaid
    assert words(own.with_suffix(".svg").read_text("utf-8")) == words(picture)
    assert own.with_suffix(".html").exists()


def test_own_run_that_cannot_be_drawn_is_told(tmp_path):
    (tmp_path / "junk.jsonl").write_text("junk\n")
    for name in ("nobody.jsonl", "junk.jsonl"):
        done = trace_demo_py(tmp_path / name)
        assert done.returncode == 1
        assert done.stderr.startswith(f"trace: {tmp_path / name}: cannot be drawn: ")
