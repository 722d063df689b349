# SPDX-License-Identifier: MIT
"""Every frame that the C programs send is decoded strictly into vLLM's structs by msgspec.

Encoded again by msgspec, it must have the same bytes: the same fields, in the same order and in the
same forms of msgpack as from vLLM's own encoder.
"""

import time

import msgspec
import pytest
import structs
import zmq
from joined import join_engine

pack = msgspec.msgpack.encode
unpack = msgspec.msgpack.decode

ADD, ABORT = b"\0", b"\1"


def exactly(frame, kind):
    """Decodes a frame as a struct of vLLM, and checks that msgspec would write the same bytes."""
    value = msgspec.msgpack.Decoder(kind, strict=True).decode(frame)
    assert pack(value).hex() == frame.hex()
    return value


@pytest.fixture
def wire(ipc):
    return {"input": ipc(), "output": ipc()}


# --- what a front-end sends


def test_requests(start, peer, wire):
    frontend = start("mock_frontend", requests=3, max_tokens=7, **wire)
    engine = peer(zmq.DEALER, connect=wire["input"], routing_id=b"\x01\x02")
    engine.send(pack(structs.toy_ready()))
    before = time.time()
    for n in range(3):
        # The ROUTER has taken the identity off: so it has sent 3 frames, and no empty one
        kind, payload = engine.recv_multipart()
        assert kind == ADD
        assert len(unpack(payload)) == 22
        request = exactly(payload, structs.EngineCoreRequest)
        assert request.request_id == f"r{n}"
        assert all(type(token) is int for token in request.prompt_token_ids)
        assert request.sampling_params == structs.SamplingParams(max_tokens=7)
        assert abs(request.arrival_time - before) < 3600
        assert (request.client_index, request.current_wave, request.priority) == (0, 0, 0)
    assert frontend.stop() == 1
    kind, payload = engine.recv_multipart()
    assert (kind, unpack(payload)) == (ABORT, ["r0", "r1", "r2"])


@pytest.mark.parametrize("max_tokens", [1, 16, 127, 128, 65536, 2**31 - 1])
def test_max_tokens(start, peer, wire, max_tokens):
    """16 is vLLM's default: what has its default is left out of a map."""
    frontend = start("mock_frontend", requests=1, max_tokens=max_tokens, **wire)
    engine = peer(zmq.DEALER, connect=wire["input"], routing_id=bytes(2))
    engine.send(b"")
    payload = engine.recv_multipart()[1]
    assert exactly(payload, structs.EngineCoreRequest).sampling_params.max_tokens == max_tokens
    assert ("max_tokens" in unpack(payload)[3]) == (max_tokens != 16)
    assert frontend.stop() == 1


# --- what an engine sends


@pytest.fixture
def engine(start, peer, ipc):
    """An engine, the ROUTER and the PULL of its front-end, and what it registered with."""
    return lambda **options: join_engine(start, peer, ipc, **options)


def ask(router, identity, request_id, **fields):
    request = structs.toy_request(request_id, 0)
    request.sampling_params = structs.SamplingParams(**fields)
    router.send_multipart([identity, ADD, pack(request)])


def outputs_of(pull):
    (frame,) = pull.recv_multipart()
    values = unpack(frame)
    assert len(values) == 9 and all(len(output) == 19 for output in values[1])
    return exactly(frame, structs.EngineCoreOutputs)


def test_outputs_of_a_step_come_together(engine):
    program, router, pull, (identity, _) = engine(step_ms=100)
    for name in ("a", "b", "c"):
        ask(router, identity, name, max_tokens=1)
    outputs = outputs_of(pull)
    assert [output.request_id for output in outputs.outputs] == ["a", "b", "c"]
    assert outputs.finished_requests == ["a", "b", "c"]
    assert program.stop() == 0


def test_max_tokens_of_a_request(engine):
    """max_tokens left out means 16, nil no limit; without sampling_params (pooling) there are no tokens."""
    program, router, pull, (identity, _) = engine(step_ms=0)

    def run(name):
        tokens = 0
        while True:
            for output in outputs_of(pull).outputs:
                assert output.request_id == name
                tokens += len(output.new_token_ids)
                if output.finish_reason is not None or tokens == 300:
                    return tokens, output.finish_reason

    ask(router, identity, "default")
    assert run("default") == (16, structs.FinishReason.LENGTH)
    request = structs.toy_request("pooling", 0)
    request.sampling_params = None
    router.send_multipart([identity, ADD, pack(request)])
    assert run("pooling")[0] == 0
    ask(router, identity, "endless", max_tokens=None)
    assert run("endless") == (300, None)
    assert program.stop() == 0


def test_abort(engine):
    """An aborted request ends without further outputs; the others continue."""
    program, router, pull, (identity, _) = engine(step_ms=1)
    for name in ("a", "b", "c"):
        ask(router, identity, name, max_tokens=1000000)
    while len(outputs_of(pull).outputs) < 3:
        pass
    router.send_multipart([identity, ABORT, pack(["a", "unknown", "c", "a"])])
    program.wait_line("^c: aborted")
    ended = []
    while len(ended) < 2:
        ended += [out for out in outputs_of(pull).outputs if out.finish_reason is not None]
    assert [(out.request_id, out.finish_reason, out.new_token_ids) for out in ended] == [
        (name, structs.FinishReason.ABORT, []) for name in ("a", "c")
    ]
    outputs = outputs_of(pull)
    assert [output.request_id for output in outputs.outputs] == ["b"]
    assert outputs.finished_requests is None
    ask(router, identity, "a", max_tokens=1)  # Its id is free again
    while outputs.finished_requests is None:
        outputs = outputs_of(pull)
    assert outputs.finished_requests == ["a"]

    # When the engine is stopped it ends what is open, then says that it is dead
    program.send_signal(15)
    last = None
    while last != [structs.ENGINE_CORE_DEAD]:
        frames, last = last, pull.recv_multipart()
    final = exactly(frames[0], structs.EngineCoreOutputs)
    assert [(out.request_id, out.finish_reason) for out in final.outputs] == [
        ("b", structs.FinishReason.ABORT)
    ]
    assert program.wait() == 0
    assert program.summary() == "1 finished, 3 aborted, 0 bad"


# --- what the KV-event publisher sends

END = {  # As a DEALER gets it: the ROUTER has taken the client's identity off
    "v0.33": [b"", b"", b"\xff" * 8, b""],
    "v0.26": [b"", b"", b"\xff" * 8, b""],
    "v0.24": [b"", b"\xff" * 8, b""],
    "v0.9": [b"", b"\xff" * 8, b""],
}


@pytest.mark.parametrize(
    "wire", [pytest.param("v0.33", marks=pytest.mark.valgrind), "v0.26", "v0.24", "v0.9"]
)
def test_kv_events(start, ipc, peer, wire):
    live, replay = ipc(), ipc()
    publisher = start(
        "kv_publisher", endpoint=live, replay_endpoint=replay, wire=wire, interval_ms=5
    )
    subscriber = peer(zmq.SUB, connect=live)
    subscriber.subscribe(b"kv-")
    heard = {}
    before = time.time()
    while len(heard) < 8:
        topic, seq, payload = subscriber.recv_multipart()
        assert topic == b"kv-events"
        assert len(seq) == 8
        heard[int.from_bytes(seq, "big")] = payload
    first, last = min(heard), max(heard)
    assert list(heard) == list(range(first, last + 1))

    client = peer(zmq.DEALER, connect=replay)
    client.send_multipart([b"", bytes(8)])
    replayed = []
    while True:
        frames = client.recv_multipart()
        if frames[-2] == b"\xff" * 8:
            break
        topic = [b"kv-events"] if wire in ("v0.26", "v0.33") else []
        assert frames[:-1] == [b"", *topic, len(replayed).to_bytes(8, "big")]
        replayed.append(frames[-1])
    assert frames == END[wire]
    assert len(replayed) > last
    for seq, payload in heard.items():
        assert replayed[seq] == payload

    parent = None
    for n, payload in enumerate(replayed):
        batch = exactly(payload, structs.KV[wire]["KVEventBatch"])
        assert len(unpack(payload)) == (2 if wire == "v0.9" else 3)
        assert abs(batch.ts - before) < 3600
        stored, *removed = batch.events
        assert type(stored).__struct_config__.tag == "BlockStored"
        assert stored.parent_block_hash == parent
        (parent,) = stored.block_hashes
        assert len(stored.token_ids) == stored.block_size == 16
        assert len(removed) == (n % 5 == 4)
        for event in removed:
            assert type(event).__struct_config__.tag == "BlockRemoved"
        if wire != "v0.9":
            assert batch.data_parallel_rank == 0
            assert (stored.medium, stored.group_idx) == ("GPU", 0)
            assert list(unpack(payload)[1][0])[0] == "type"
    hashes = [unpack(payload)[1][0] for payload in replayed]
    hashes = [event[1] if wire == "v0.9" else event["block_hashes"] for event in hashes]
    assert any(number >= 2**63 for (number,) in hashes)  # As real ones are
    assert publisher.stop() == 0


def test_a_req_gets_one_reply_of_many(start, ipc, peer):
    live, replay = ipc(), ipc()
    publisher = start("kv_publisher", endpoint=live, replay_endpoint=replay, interval_ms=5)
    publisher.wait_line("^seq 4:")
    for seq in (3, 0, 2):
        client = peer(zmq.REQ, connect=replay)  # In the old one replies may still arrive
        client.send(seq.to_bytes(8, "big"))
        topic, number, payload = client.recv_multipart()
        assert (topic, int.from_bytes(number, "big")) == (b"kv-events", seq)
        exactly(payload, structs.KVEventBatch)
    assert publisher.stop() == 0


@pytest.mark.parametrize("topic", ["", "kv@pod-1@model", "Grüße"])
def test_topic(start, ipc, peer, topic):
    live, replay = ipc(), ipc()
    publisher = start(
        "kv_publisher", endpoint=live, replay_endpoint=replay, topic=topic, interval_ms=5
    )
    subscriber = peer(zmq.SUB, connect=live)
    subscriber.subscribe(b"")
    assert subscriber.recv_multipart()[0] == topic.encode()
    client = peer(zmq.DEALER, connect=replay)
    client.send_multipart([b"", bytes(8)])
    assert client.recv_multipart()[1] == topic.encode()
    assert publisher.stop() == 0
