# SPDX-License-Identifier: MIT
"""What the tools write and read, beside the wire layouts of every vLLM release that is stored.

A layout is data made from vLLM's source (scripts/vllm_layout.py). Here it becomes a strict reader
and writer (tests/tools/layouts.py), and the programs' real frames go through them. What has been
seen of the frames must be what tests/tools/layouts/ours.json says: `make check-vllm` compares that
with a vLLM, without building anything.

    RECORD=1 python -m pytest tests/tools/interop/test_layouts.py      writes that file again
"""

import json
import os
import sys

import msgspec
import pytest
import zmq

from harness import ROOT

sys.path.insert(0, str(ROOT / "tests/tools"))

import layouts  # noqa: E402
import vllm_drift  # noqa: E402
import vllm_layout  # noqa: E402

pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode
ADD, ABORT, UTILITY = b"\0", b"\1", b"\3"
NEWEST = layouts.RELEASES[-1]
ENGINE = pytest.mark.parametrize("release", layouts.ENGINE_RELEASES)
EACH = pytest.mark.parametrize("release", layouts.RELEASES)
#: Those whose KV events each --wire writes exactly
WIRES = {
    "v0.9": ("0.9.2",),
    "v0.24": ("0.24.0", "0.25.0", "0.25.1"),
    "v0.26": ("0.26.0", "0.27.0", "0.27.1", "0.28.0"),
    "v0.33": ("0.33.0",),
}
#: Methods that mock_engine refuses with a reason: there are no workers, and it does not grow
REFUSED = set(vllm_drift.ours()["refused"])
ARGUMENTS = {
    "add_lora": [["sql", 1, "/tmp/sql"]],
    "remove_lora": [1],
    "pin_lora": [1],
    "sleep": [1, "abort"],
    "wake_up": [None],
    "pause_scheduler": ["abort", True],
    "pause_generation": ["keep", True],
    "set_weight_version": ["v7"],
    "profile": [True, None],
    "reset_prefix_cache": [False, False],
}


def option_of(release):
    """What --vllm takes for it."""
    return ".".join(release.split(".")[:2])


def kind_of(value):
    kinds = {type(None): "nil", bool: "bool", int: "int", float: "float", str: "str"}
    kinds |= {bytes: "bin", list: "array", dict: "map", msgspec.msgpack.Ext: "ext"}
    return kinds[type(value)]


class Seen:
    """Which msgpack types each field has been seen with: struct -> field -> types."""

    def __init__(self, layout, program):
        self.layout, self.program, self.structs = layout, program, {}

    def add(self, name, value):
        struct = self.layout["structs"][name]
        array = bool(struct.get("array_like") or struct["kind"] == "namedtuple")
        assert isinstance(value, list if array else dict), (name, value)
        entry = self.structs.setdefault(
            name, {"program": self.program, "array": array, "fields": {}}
        )
        fields = vllm_layout.fields_of(struct)
        if array:
            if struct.get("tag"):
                value = value[1:]
            assert len(value) <= len(fields), (name, value)
            found = [(each[0], each[1], item) for each, item in zip(fields, value)]
        else:
            types = {each[0]: each[1] for each in fields}
            found = [(key, types.get(key, "Any"), item) for key, item in value.items()]
        for key, kind, item in found:
            seen = entry["fields"].setdefault(key, [])
            if kind_of(item) not in seen:
                seen.append(kind_of(item))
                seen.sort()
            for inner in vllm_drift.split_type(kind):
                head, _, rest = inner.partition("[")
                if head in self.layout["structs"] and item is not None:
                    self.add(head, item)
                elif head == "list" and item is not None:
                    for each in item:
                        self.add_any(rest[:-1], each)

    def add_any(self, text, value):
        """A value of one of several types: by its tag when there are more."""
        names = [n for n in vllm_drift.split_type(text) if n in self.layout["structs"]]
        if len(names) > 1:
            tag = value["type"] if isinstance(value, dict) else value[0]
            names = [tag]
        for name in names:
            self.add(name, value)


class Front:
    """A front-end of that release in front of a mock_engine, with what it has got, as bytes."""

    def __init__(self, start, peer, ipc, release, *args):
        self.release, self.types = release, layouts.types_of(release)
        handshake, inputs, outputs = ipc(), ipc(), ipc()
        self.handshake = peer(zmq.ROUTER, bind=handshake)
        self.router, self.pull = peer(zmq.ROUTER, bind=inputs), peer(zmq.PULL, bind=outputs)
        self.program = start(
            "mock_engine", "--log-requests", *args, handshake=handshake, vllm=option_of(release)
        )
        self.identity, self.hello = self.handshake.recv_multipart()
        addresses = self.types["EngineZmqAddresses"]([inputs], [outputs])
        init = self.types["EngineHandshakeMetadata"](addresses, {})
        self.handshake.send_multipart([self.identity, pack(init)])
        _, self.registration = self.router.recv_multipart()
        _, self.ready = self.handshake.recv_multipart()
        self.frames = []

    def send(self, kind, value):
        self.router.send_multipart([self.identity, kind, pack(value)])

    def outputs(self):
        """The next EngineCoreOutputs, read strictly by this release."""
        (frame,) = self.pull.recv_multipart()
        self.frames.append(frame)
        return layouts.decode(self.release, "EngineCoreOutputs", frame)

    def until_finished(self, name):
        found = []
        while True:
            outputs = self.outputs()
            found += [each for each in outputs.outputs if each.request_id == name]
            if found and found[-1].finish_reason is not None:
                return found

    def call(self, method):
        self.send(UTILITY, [0, 7, method, ARGUMENTS.get(method, [])])
        while True:
            outputs = self.outputs()
            if outputs.utility_output:
                return outputs.utility_output

    def request(self, name, **sampling):
        return request(self.types, name, **sampling)


def request(types, name, **sampling):
    """A request of this release, whose fields have their defaults."""
    names = vllm_drift.names_of(types.layout["structs"]["EngineCoreRequest"])
    values = {
        "request_id": name,
        "prompt_token_ids": [1, 2, 3],
        "sampling_params": types["SamplingParams"](**sampling),
        "arrival_time": 1.5,
    }
    return types["EngineCoreRequest"](**{**dict.fromkeys(names[:9]), **values})


def everything(front):
    """All that a mock_engine has to say, once."""
    front.send(ADD, front.request("a", max_tokens=3, logprobs=2, prompt_logprobs=2))
    front.until_finished("a")
    front.send(ADD, front.request("b", max_tokens=30, stop_token_ids=list(range(32000))))
    assert front.until_finished("b")[-1].finish_reason.name == "STOP"
    front.send(ADD, front.request("c", max_tokens=2))
    front.until_finished("c")
    front.send(ADD, front.request("d", max_tokens=100000000))
    front.outputs()
    front.send(ABORT, ["d"])
    assert front.until_finished("d")[-1].finish_reason.name == "ABORT"


# --- mock_engine behind each release


@ENGINE
def test_engine(start, peer, ipc, release):
    """What each release must have is there, and is of its types."""
    front = Front(start, peer, ipc, release)
    read = front.types.layout["handshake"]["read"]
    required = {key for key, need in read.items() if need == "required"}
    assert required <= unpack(front.hello).keys() and required <= unpack(front.ready).keys()
    ready = layouts.decode(release, "EngineCoreReadyResponse", front.registration)
    assert ready.max_model_len == 1048576 and ready.num_gpu_blocks > 0
    if hasattr(ready, "vllm_version"):
        assert ready.vllm_version == option_of(release) + ".0"
    everything(front)
    # As many fields as this release has: more would be refused by the front-end in Rust
    fields = {
        name: len(front.types.layout["structs"][name]["fields"])
        for name in ("EngineCoreOutputs", "EngineCoreOutput", "LogprobsTensors")
    }
    for frame in front.frames:
        outputs = unpack(frame)
        assert len(outputs) == fields["EngineCoreOutputs"]
        for output in outputs[1]:
            assert len(output) == fields["EngineCoreOutput"]
            assert output[3] is None or len(output[3]) == fields["LogprobsTensors"]
    assert front.program.stop() == 0
    assert front.program.err == []


@ENGINE
def test_utilities(start, peer, ipc, release):
    """Each method that this release's front-end calls is answered with what it takes."""
    front = Front(start, peer, ipc, release)
    for method, returns in front.types.layout["utility"].items():
        if method == "release_kv_cache_memory":
            front.call("pause_scheduler")
        answer = front.call(method)
        if method in REFUSED:
            assert method in answer.failure_message
            continue
        assert answer.failure_message is None, (method, answer)
        kind = kind_of(answer.result[1])
        assert vllm_drift.takes(front.types.layout, returns or "Any", kind), (method, returns, kind)
    assert front.program.stop() == 0


@ENGINE
def test_requests_with_every_field(start, peer, ipc, release):
    """Other fields of a request, and fields of newer releases at its end, are ignored."""
    front = Front(start, peer, ipc, release)
    request = front.request("a", max_tokens=2)
    front.send(ADD, request)
    assert len(front.until_finished("a")[-1].new_token_ids) == 1
    plain = unpack(pack(request))
    read = vllm_drift.ours()["reads"]["EngineCoreRequest"]["at"].values()
    for position in range(len(plain)):
        if position in read:
            continue
        for n, other in enumerate(({"k": [1, None]}, [[b"\0", -1]], "x", 2.5, True, 2**64 - 1)):
            changed = [f"r{position}.{n}", *plain[1:]]
            changed[position] = other
            front.send(ADD, [*changed, {"newer": 1}, None, [2]])
            assert front.until_finished(changed[0])[-1].finish_reason.name == "LENGTH"
    assert front.program.stop() == 0
    assert front.program.err == []


def test_what_the_engine_reads(start, peer, ipc):
    """Each field that ours.json says is read, and each of sampling_params, is noticed."""
    front = Front(start, peer, ipc, NEWEST)
    reads = vllm_drift.ours()["reads"]
    names = vllm_drift.names_of(front.types.layout["structs"]["EngineCoreRequest"])
    plain = unpack(pack(front.request("a", max_tokens=2)))
    silent = {"prompt_token_ids", "abort_immediately"}
    for field, position in reads["EngineCoreRequest"]["at"].items():
        assert names[position] == field
        if field in silent:
            continue
        front.send(ADD, [*plain[:position], b"bin", *plain[position + 1 :]])
        front.program.wait_line(f"EngineCoreRequest.{field}", stream="err")
    front.send(ADD, [*plain[:19], True, *plain[20:]])  # abort_immediately
    while (outputs := front.outputs().outputs) == [] or outputs[-1].finish_reason.name == "ERROR":
        pass
    assert outputs[-1].finish_reason.name == "ABORT"
    # seed and ignore_eos are compared by what they do, in tests/tools/unit/
    for field in reads["SamplingParams"]["fields"].keys() - {"seed", "ignore_eos"}:
        front.send(ADD, ["p", *plain[1:3], {field: {"x": 1}}, *plain[4:]])
        front.program.wait_line(f"sampling_params.{field}", stream="err")
    front.program.stop()


# --- mock_frontend in front of each release


def serve_one(front_end, peer, release, wire, fill=False):
    """An engine of that release, which answers with as little as it may, or with everything."""
    types = layouts.types_of(release)
    dealer = peer(zmq.DEALER, connect=wire["input"], routing_id=b"\0\0")
    push = peer(zmq.PUSH, connect=wire["output"])
    registration = {"max_model_len": 4096, "num_gpu_blocks": 4, "block_size": 16}
    dealer.send(pack(registration))
    frames = []
    for _ in range(2):
        kind, payload = dealer.recv_multipart()
        assert kind == ADD
        frames.append(payload)
        request_id = unpack(payload)[0]
        output = [request_id, [7], *[None] * 3, 1]
        if fill:
            fields = len(types.layout["structs"]["EngineCoreOutput"]["fields"])
            output += [{"any": [1, None]}] * (fields - 6) + ["newer"]
            push.send(pack([0, [output], {"x": 1}, 1.5, None, ["r"], 1, 2, "v7", "newer"]))
        else:
            push.send(pack([0, [output], None, 1.5]))
    assert front_end.wait() == 0
    return frames


@ENGINE
@pytest.mark.parametrize("fill", [False, True], ids=["least", "most"])
def test_frontend(start, peer, ipc, release, fill):
    """Its requests are read strictly by each release, and what an engine answers is understood.

    The engine in Rust takes only an array of the length that it knows.
    """
    wire = {"input": ipc(), "output": ipc()}
    program = start("mock_frontend", requests=2, max_tokens=1, vllm=option_of(release), **wire)
    fields = len(layouts.types_of(release).layout["structs"]["EngineCoreRequest"]["fields"])
    for n, frame in enumerate(serve_one(program, peer, release, wire, fill)):
        assert len(unpack(frame)) == fields
        request = layouts.decode(release, "EngineCoreRequest", frame)
        assert request.request_id == f"r{n}" and request.sampling_params.max_tokens == 1
        assert request.client_index == 0
    assert program.summary() == "2 of 2 requests complete, 2 tokens"


# --- KV events


def batches(start, peer, ipc, wire, count=10, more=("--every-field",)):
    endpoint = ipc()
    subscriber = peer(zmq.SUB, connect=endpoint)
    subscriber.subscribe(b"")
    program = start(
        "kv_publisher",
        *more,
        endpoint=endpoint,
        replay_endpoint=ipc(),
        wire=wire,
        interval_ms=0,
        wait_subscribers=1,
        count=count,
    )
    found = [subscriber.recv_multipart()[-1] for _ in range(count)]
    assert program.wait() == 0
    return found


@pytest.mark.parametrize("wire, release", [(w, r) for w, each in WIRES.items() for r in each])
def test_kv_publisher(start, peer, ipc, wire, release):
    """Every kind of event with every field, as msgspec itself would write it for that release."""
    types, kinds, named = layouts.types_of(release), set(), set()
    for payload in batches(start, peer, ipc, wire):
        batch = layouts.decode(release, "KVEventBatch", payload)
        again = pack(batch)
        if wire == "v0.9":  # v0.9.1 has a rank, v0.9.0 had none
            again = b"\x92" + again[1:-1]
        assert again.hex() == payload.hex()
        kinds |= {type(event).__name__ for event in batch.events}
        for event in batch.events:
            for field in event.__struct_fields__:
                if getattr(event, field) is not None:
                    named.add(f"{type(event).__name__}.{field}")
    assert kinds == {"BlockStored", "BlockRemoved", "AllBlocksCleared"}
    wanted = {
        f"{name}.{field}"
        for name in kinds
        for field in vllm_drift.names_of(types.layout["structs"][name])
    }
    assert named == wanted


@pytest.mark.parametrize("wire", [w for w in WIRES if w != "v0.9"])
def test_kv_publisher_of_plain_text(start, peer, ipc, wire):
    """The fields that BlockPool and KVCacheManager of these releases fill for a prompt of text."""
    release = WIRES[wire][0]
    for payload in batches(start, peer, ipc, wire, 2, ["--blocks", 2]):
        stored = layouts.decode(release, "KVEventBatch", payload).events[0]
        assert stored.extra_keys == [None, None]  # One for each block
        named = {f for f in stored.__struct_fields__ if getattr(stored, f) is not None}
        assert named - {"parent_block_hash"} == {
            "block_hashes", "token_ids", "block_size", "medium", "extra_keys", "group_idx",
            "kv_cache_spec_kind",
        }  # fmt: skip


@pytest.mark.parametrize("release", [r for r in layouts.RELEASES if r not in ("0.9.2",)])
def test_kv_publisher_and_other_releases(start, peer, ipc, release):
    """A reader of any release with maps takes the newest batches: what it does not know is passed
    over. Before v0.24 events are arrays."""
    if "array_like" in layouts.types_of(release).layout["structs"]["BlockStored"]:
        with pytest.raises(msgspec.ValidationError):
            layouts.decode(release, "KVEventBatch", batches(start, peer, ipc, "v0.33", 1)[0])
        return
    for payload in batches(start, peer, ipc, "v0.33"):
        layouts.decode(release, "KVEventBatch", payload)


@EACH
@pytest.mark.parametrize("fill", [False, True], ids=["least", "most"])
def test_kv_subscriber(start, peer, ipc, release, fill):
    """Events of every release, with as little in them as there may be and with everything."""
    types = layouts.types_of(release)
    values = dict.fromkeys(("parent_block_hash", "lora_id", "medium", "lora_name"))
    values["block_hashes"] = [2**64 - 1 if release != "0.9.2" else -5, 1]
    values |= {"token_ids": [1, 2, 3, 4], "block_size": 2}
    more = {"extra_keys": [["a", 1], None], "group_idx": 3}
    more |= {"kv_cache_spec_kind": "full_attention", "kv_cache_spec_sliding_window": 7}
    more |= {"locality": "LOCAL", "ownership": "tier", "session_id": "s"}
    more["lookahead_token_ids"] = [[5], []]
    made = []
    for name in ("BlockStored", "BlockRemoved", "AllBlocksCleared"):
        names = vllm_drift.names_of(types.layout["structs"][name])
        assert set(names) <= values.keys() | more.keys(), f"{name} has a field that is new"
        given = {**values, **(more if fill else {})}
        made.append(types[name](**{key: given[key] for key in names if key in given}))
    batch = pack(types["KVEventBatch"](1.5, made, 2))
    endpoint = ipc()
    publisher = peer(zmq.XPUB, bind=endpoint)
    program = start("kv_subscriber", "--json", endpoint=endpoint, count=1)
    publisher.recv()
    publisher.send_multipart([b"kv", bytes(8), batch])
    assert program.wait() == 0
    line = json.loads(next(text for text in program.out if text.startswith('{"seq"')))
    assert line["ts"] == 1.5 and line["dp_rank"] == 2
    for event, given in zip(line["events"], made):
        assert event.pop("type") == type(given).__name__
        for key, value in event.items():
            assert value == msgspec.to_builtins(getattr(given, key)), key
        if fill:
            assert event.keys() == set(given.__struct_fields__)
    assert " 0 malformed, " in program.err[-1]


# --- ours.json

#: Since which releases we write something else: --vllm and --wire choose it
VARIANTS = ("0.23.0", "0.24.0", "0.26.0", "0.28.0", "0.29.0", "0.31.0", "0.32.0")


def written_to(release, start, peer, ipc):
    """What the programs write for a release: structs and answers, from real frames."""
    layout = vllm_layout.load(release)
    engine = Seen(layout, "mock_engine")
    front = Front(start, peer, ipc, release)
    engine.add("EngineCoreReadyResponse", unpack(front.registration))
    everything(front)
    if "pause_generation" in layout["utility"]:
        front.send(UTILITY, [0, 7, "pause_generation", ["abort", True]])
        front.send(ADD, front.request("refused"))
        assert front.until_finished("refused")[-1].error.code == "engine_paused"
        front.call("resume_scheduler")
    answers = {}
    for method in layout["utility"]:
        if method == "release_kv_cache_memory":
            front.call("pause_scheduler")
        answer = front.call(method)
        if method not in REFUSED:
            answers[method] = kind_of(answer.result[1])
        front.call("wake_up")
    for frame in front.frames:
        engine.add("EngineCoreOutputs", unpack(frame))
    front.program.stop()
    assert unpack(front.hello).keys() == unpack(front.ready).keys()
    assert list(unpack(front.hello)) == vllm_drift.ours()["handshake"]["sends"]

    frontend = Seen(layout, "mock_frontend")
    wire = {"input": ipc(), "output": ipc()}
    program = start("mock_frontend", requests=2, max_tokens=1, vllm=option_of(release), **wire)
    for frame in serve_one(program, peer, NEWEST, wire):
        frontend.add("EngineCoreRequest", unpack(frame))
    handshake = ipc()
    program = start("mock_frontend", handshake=handshake, input=ipc(), output=ipc())
    dealer = peer(zmq.DEALER, connect=handshake, routing_id=b"\0\0")
    dealer.send(front.hello)
    frontend.add("EngineHandshakeMetadata", unpack(dealer.recv()))
    program.stop()

    publisher = Seen(layout, "kv_publisher")
    wires = [w for w in WIRES if vllm_layout.version(w) <= vllm_layout.version(release)]
    for payload in batches(start, peer, ipc, wires[-1]) if wires[-1] != "v0.9" else ():
        publisher.add("KVEventBatch", unpack(payload))
    writes = {**engine.structs, **frontend.structs, **publisher.structs}
    return {"writes": dict(sorted(writes.items())), "answers": dict(sorted(answers.items()))}


def test_ours_is_what_the_programs_write(start, peer, ipc):
    newest = written_to(NEWEST, start, peer, ipc)
    older = {}
    for release in VARIANTS:
        older[release] = written_to(release, start, peer, ipc)
    if os.environ.get("RECORD"):
        table = {**vllm_drift.ours(), **newest, "older": older}
        for each in older.values():  # Only what is different
            for key in newest:
                each[key] = {k: v for k, v in each[key].items() if newest[key].get(k) != v} | {
                    k: None for k in newest[key] if k not in each[key]
                }
        vllm_drift.OURS.write_text(vllm_layout.dumps(table), "utf-8")
    for release, seen in ((NEWEST, newest), *older.items()):
        table = vllm_drift.ours_for(release)
        if not os.environ.get("RECORD"):
            assert {key: table[key] for key in seen} == seen


@ENGINE
def test_nothing_breaks(release):
    """By the same table: none of these releases breaks our programs."""
    layout = vllm_layout.load(release)
    assert list(vllm_drift.breaks(vllm_drift.ours_for(release), layout)) == []


# --- the lessons, which speak as the newest release does



def since(*version):
    releases = [r for r in layouts.RELEASES if vllm_layout.version(r) >= version]
    return pytest.mark.parametrize("release", releases)


@since(0, 26)
def test_lesson_engine(start, peer, ipc, release):
    """Its registration and its outputs, read strictly by each release; requests of each."""
    inputs, outputs = ipc(), ipc()
    router, pull = peer(zmq.ROUTER, bind=inputs), peer(zmq.PULL, bind=outputs)
    program = start("engine", index=1, input=inputs, output=outputs, step_ms=0)
    identity, registration = router.recv_multipart()
    assert identity == b"\1\0"
    layouts.decode(release, "EngineCoreReadyResponse", registration)
    payload = pack(request(layouts.types_of(release), "r0", max_tokens=3))
    router.send_multipart([identity, ADD, payload])
    tokens, reason = 0, None
    while reason is None:
        each = layouts.decode(release, "EngineCoreOutputs", pull.recv())
        for output in each.outputs:
            assert each.engine_index == 1 and output.request_id == "r0"
            tokens += len(output.new_token_ids)
            reason = output.finish_reason
    assert (tokens, reason.name) == (3, "LENGTH")
    assert program.stop() == 0


@since(0, 26)
@pytest.mark.parametrize("fill", [False, True], ids=["least", "most"])
def test_lesson_frontend(start, peer, ipc, release, fill):
    """Its requests, read strictly by each release, and outputs of each with a newer tail."""
    wire = {"input": ipc(), "output": ipc()}
    program = start("frontend", requests=2, max_tokens=1, **wire)
    for frame in serve_one(program, peer, release, wire, fill):
        request = layouts.decode(release, "EngineCoreRequest", frame)
        assert request.sampling_params.max_tokens == 1
    assert program.summary().startswith("2 of 2 requests complete")


@since(0, 24)
def test_lesson_publisher(start, peer, ipc, release):
    """Its batches, read strictly by each release whose events are maps."""
    endpoint = ipc()
    subscriber = peer(zmq.SUB, connect=endpoint)
    subscriber.subscribe(b"")
    program = start("replay_publisher", endpoint=endpoint, replay_endpoint=ipc(), interval_ms=5)
    for _ in range(6):
        topic, seq, payload = subscriber.recv_multipart()
        assert topic == b"kv-events" and len(seq) == 8
        for event in layouts.decode(release, "KVEventBatch", payload).events:
            assert type(event).__name__ in ("BlockStored", "BlockRemoved", "AllBlocksCleared")
    assert program.stop() == 0


@since(0, 24)
def test_lesson_subscriber(start, peer, ipc, release):
    """Batches of each release whose events are maps."""
    types = layouts.types_of(release)
    stored = types["BlockStored"](
        block_hashes=[2**64 - 1], parent_block_hash=None, token_ids=[1, 2], block_size=2,
        lora_id=None, medium="GPU", lora_name=None,
    )  # fmt: skip
    endpoint = ipc()
    publisher = peer(zmq.XPUB, bind=endpoint)
    program = start("replay_dealer_subscriber", endpoint=endpoint, replay_endpoint=ipc(), count=2)
    publisher.recv()
    for seq in range(2):
        batch = pack(types["KVEventBatch"](1.5, [stored, types["AllBlocksCleared"]()], 0))
        publisher.send_multipart([b"kv-events", seq.to_bytes(8, "big"), batch])
    assert program.wait() == 0
    assert program.lines("BlockStored|1 block")
