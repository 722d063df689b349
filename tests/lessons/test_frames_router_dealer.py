# SPDX-License-Identifier: MIT
"""Every frame that router_dealer's programs send, decoded strictly with vLLM v0.33.0's structs and compared
with the frames of the tools. A lesson may leave fields out, but must not send other values."""

import time

import msgspec
import pytest
import zmq

import wire as vllm

pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode
LANGS = pytest.mark.parametrize("lang", ["c", "py"])
PROMPT = [1, 15043, 3186, 29892, 590]
FRONTENDS = [
    ("frontend", "c"),
    ("frontend", "py"),
    ("poller_frontend", "c"),
    ("poller_frontend", "py"),
    ("round_robin_frontend", "c"),
    ("round_robin_frontend", "py"),
    ("failover_frontend", "c"),
    ("mock_frontend", "c"),
]


@pytest.fixture
def wire(ipc):
    return {"input": ipc(), "output": ipc()}


def strictly(frame, kind):
    """Decodes a value. Fails on a field of another type, a surplus field, or one missing in an array."""
    value = msgspec.msgpack.Decoder(kind, strict=True).decode(frame)
    raw = unpack(frame)
    assert isinstance(raw, dict) or len(raw) == len(kind.__struct_fields__)
    return value


def fields(struct):
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


# --- what a front-end sends


def several(name):
    return {} if name in ("frontend", "poller_frontend") else {"engines": 1}


@pytest.mark.parametrize("name, lang", FRONTENDS)
def test_requests(start, peer, wire, name, lang):
    frontend = start(name, lang=lang, requests=3, max_tokens=7, **several(name), **wire)
    engine = peer(zmq.DEALER, connect=wire["input"], routing_id=bytes(2))
    engine.send(pack(vllm.ready(0)))
    for n in range(3):
        probe = [vllm.ABORT, pack([])]  # Of failover_frontend, once a second
        while (frames := engine.recv_multipart()) == probe:
            pass
        kind, payload = frames  # The ROUTER has taken the identity off
        assert kind == vllm.ADD
        request = strictly(payload, vllm.EngineCoreRequest)
        assert abs(request.arrival_time - time.time()) < 3600
        request.arrival_time = 0.0
        # What is not set has vLLM's default
        want = vllm.EngineCoreRequest(
            f"r{n}", PROMPT, None, vllm.SamplingParams(max_tokens=7), None, 0.0, None, None, None
        )
        assert fields(request) == fields(want)
    assert frontend.stop() == 1
    if name in ("failover_frontend", "mock_frontend"):
        ids = []
        while engine.poll(1000) and len(ids) < 3:
            kind, payload = engine.recv_multipart()
            assert kind == vllm.ABORT
            ids += unpack(payload, type=list[str])
        assert ids == ["r0", "r1", "r2"]


@pytest.mark.parametrize("max_tokens", [1, 16, 127, 128, 65536, 2**31 - 1])
def test_max_tokens(start, peer, wire, max_tokens):
    frontend = start("frontend", requests=1, max_tokens=max_tokens, **wire)
    engine = peer(zmq.DEALER, connect=wire["input"], routing_id=bytes(2))
    engine.send(b"")  # A registration as before v0.20.0
    request = strictly(engine.recv_multipart()[1], vllm.EngineCoreRequest)
    assert request.sampling_params == vllm.SamplingParams(max_tokens=max_tokens)
    assert frontend.stop() == 1


def test_identity_in_the_first_frame(start, peer, wire):
    """Engine 258 is 02 01."""
    frontend = start("frontend", requests=1, **wire)
    engine = peer(zmq.DEALER, connect=wire["input"], routing_id=b"\2\1")
    engine.send(pack(vllm.ready(258)))
    assert engine.recv_multipart()[0] == vllm.ADD
    frontend.wait_line("^r0 -> engine 258$")
    assert frontend.stop() == 1


# --- what an engine sends


def registration(start, peer, ipc, name, lang="c"):
    """The registration of an engine with index 513."""
    ends = [ipc(), ipc(), ipc()]
    router = peer(zmq.ROUTER, bind=ends[1])
    if name == "engine":
        engine = start(name, lang=lang, index=513, input=ends[1], output=ends[2])
    else:
        greeter = peer(zmq.ROUTER, bind=ends[0])
        engine = start(name, lang=lang, index=513, handshake=ends[0])
        identity, _ = greeter.recv_multipart()
        addresses = vllm.EngineZmqAddresses([ends[1]], [ends[2]])
        greeter.send_multipart([identity, pack(vllm.EngineHandshakeMetadata(addresses, {}))])
    identity, ready = router.recv_multipart()
    assert identity == b"\1\2"
    assert engine.stop() == 0
    return ready


@pytest.mark.parametrize(
    "name, lang", [(name, lang) for name in ("engine", "handshake_engine") for lang in ("c", "py")]
)
def test_registration(start, peer, ipc, name, lang):
    ready = strictly(registration(start, peer, ipc, name, lang), vllm.EngineCoreReadyResponse)
    assert fields(ready) == fields(vllm.ready(513))
    assert ready.vllm_version == "0.33.0" and ready.data_parallel_rank == 513


def test_registration_beside_the_tools(start, peer, ipc):
    lesson = unpack(registration(start, peer, ipc, "engine"))
    tool = unpack(registration(start, peer, ipc, "mock_engine"))
    assert set(lesson) <= set(tool)
    for name, value in lesson.items():
        assert type(value) is type(tool[name]), name


def serve(start, peer, wire, lang, **options):
    router, pull = peer(zmq.ROUTER, bind=wire["input"]), peer(zmq.PULL, bind=wire["output"])
    engine = start("engine", lang=lang, **options, **wire)
    identity, _ = router.recv_multipart()

    def ask(name, max_tokens):
        request = vllm.EngineCoreRequest(
            name, PROMPT, None, vllm.SamplingParams(max_tokens=max_tokens), None, 0.0, None, None, None
        )
        router.send_multipart([identity, vllm.ADD, pack(request)])

    def abort(*names):
        router.send_multipart([identity, vllm.ABORT, pack(names)])

    return engine, ask, abort, pull


def step(pull):
    """The next EngineCoreOutputs; what a lesson does not set has vLLM's default."""
    (frame,) = pull.recv_multipart()
    assert all(len(output) == len(vllm.EngineCoreOutput.__struct_fields__) for output in unpack(frame)[1])
    outputs = strictly(frame, vllm.EngineCoreOutputs)
    assert outputs.timestamp > 0
    want = vllm.EngineCoreOutputs(
        outputs.engine_index, outputs.outputs, timestamp=outputs.timestamp
    )
    assert fields(outputs) == fields(want)
    return outputs


@LANGS
def test_outputs(start, peer, wire, lang):
    engine, ask, abort, pull = serve(start, peer, wire, lang, index=513, step_ms=1)
    ask("first", 3)
    stamps = []
    for n in (1, 2, 3):
        outputs = step(pull)
        stamps.append(outputs.timestamp)
        assert outputs.engine_index == 513
        reason = vllm.FinishReason.LENGTH if n == 3 else None
        assert outputs.outputs == [vllm.EngineCoreOutput("first", [n], finish_reason=reason)]
    assert stamps == sorted(stamps)
    ask("second", 10**6)
    assert step(pull).outputs[0].request_id == "second"
    abort("second")
    while (outputs := step(pull)).outputs[0].finish_reason is None:
        pass
    assert outputs.outputs == [
        vllm.EngineCoreOutput("second", [], finish_reason=vllm.FinishReason.ABORT)
    ]
    assert engine.stop() == 0
    assert pull.recv_multipart() == [vllm.ENGINE_CORE_DEAD]


@LANGS
def test_outputs_of_a_step_come_together(start, peer, wire, lang):
    engine, ask, _, pull = serve(start, peer, wire, lang, step_ms=100)
    for name in ("a", "b", "c"):
        ask(name, 3)
    sizes = []
    while sum(sizes) < 9:
        sizes.append(len(step(pull).outputs))
    assert 3 in sizes and len(sizes) <= 5
    assert engine.stop() == 0


def test_outputs_beside_the_tools(start, peer, wire, ipc):
    """mock_engine's outputs for the same request have more fields, but no other values."""
    engine, ask, _, pull = serve(start, peer, wire, "c", step_ms=1)
    ask("r0", 2)
    lesson = [step(pull), step(pull)]
    assert engine.stop() == 0

    greeter, router, pull = peer(zmq.ROUTER, bind=(at := ipc())), peer(zmq.ROUTER), peer(zmq.PULL)
    ends = [ipc(), ipc()]
    router.bind(ends[0])
    pull.bind(ends[1])
    tool = start("mock_engine", handshake=at)
    identity, _ = greeter.recv_multipart()
    addresses = vllm.EngineZmqAddresses(ends[:1], ends[1:])
    greeter.send_multipart([identity, pack(vllm.EngineHandshakeMetadata(addresses, {}))])
    router.recv_multipart()
    request = vllm.EngineCoreRequest(
        "r0", PROMPT, None, vllm.SamplingParams(max_tokens=2), None, 0.0, None, None, None
    )
    router.send_multipart([identity, vllm.ADD, pack(request)])
    steps = []
    while len(steps) < 2:
        outputs = unpack(pull.recv(), type=vllm.EngineCoreOutputs)
        steps += [outputs] if outputs.outputs else []
    assert tool.stop() == 0
    for mine, theirs in zip(lesson, steps, strict=True):
        for name in vllm.EngineCoreOutput.__struct_fields__:
            (a,), (b,) = (
                [getattr(out, name) for out in each.outputs] for each in (mine, theirs)
            )
            if name == "new_token_ids":  # Both are made up
                assert len(a) == len(b) == 1
            else:
                assert a is None or a == b, name
        for name in ("engine_index", "utility_output", "wave_complete", "start_wave", "weight_version"):
            a, b = getattr(mine, name), getattr(theirs, name)
            assert a is None or a == b, name


# --- the handshake

HELLO = vllm.EngineStatus("HELLO", local=False, headless=True)
READY = vllm.EngineStatus("READY", local=False, headless=True)


@pytest.mark.parametrize(
    "name, lang", [("handshake_engine", "c"), ("handshake_engine", "py"), ("mock_engine", "c")]
)
def test_handshake_of_an_engine(start, peer, ipc, name, lang):
    ends = [ipc(), ipc(), ipc()]
    greeter, router, pull = peer(zmq.ROUTER), peer(zmq.ROUTER), peer(zmq.PULL)
    for socket, end in zip((greeter, router, pull), ends):
        socket.bind(end)
    engine = start(name, lang=lang, index=1, handshake=ends[0])
    identity, hello = greeter.recv_multipart()
    assert identity == b"\1\0"
    assert strictly(hello, vllm.EngineStatus) == HELLO
    addresses = vllm.EngineZmqAddresses([ends[1]], [ends[2]])
    greeter.send_multipart([identity, pack(vllm.EngineHandshakeMetadata(addresses, {}))])
    assert strictly(greeter.recv_multipart()[1], vllm.EngineStatus) == READY
    assert router.recv_multipart()[0] == identity
    assert engine.stop() == 0


@pytest.mark.parametrize(
    "name, lang", [("handshake_frontend", "c"), ("handshake_frontend", "py"), ("mock_frontend", "c")]
)
def test_handshake_of_a_front_end(start, peer, ipc, name, lang):
    ends = {"handshake": ipc(), "input": ipc(), "output": ipc()}
    frontend = start(name, lang=lang, engines=1, **ends)
    engine = peer(zmq.DEALER, connect=ends["handshake"], routing_id=bytes(2))
    engine.send(pack(HELLO))
    (init,) = engine.recv_multipart()
    addresses = vllm.EngineZmqAddresses([ends["input"]], [ends["output"]])
    assert strictly(init, vllm.EngineHandshakeMetadata) == vllm.EngineHandshakeMetadata(addresses, {})
    assert set(unpack(init)["addresses"]) == set(vllm.EngineZmqAddresses.__struct_fields__)
    engine.send(pack(READY))
    frontend.wait_line("^engine 0: READY$")
    assert frontend.stop() == 1
