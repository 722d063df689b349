# SPDX-License-Identifier: MIT
"""mock_frontend and mock_engine, and each alone with raw sockets at its other end. With those of the
lessons, in C and in Python, see tests/lessons/test_router_dealer.py.

What they send is decoded strictly into vLLM's structs, and encoded again by msgspec it has to come
out byte for byte.
"""

import os
import re
import signal
import socket
import struct
import subprocess
import time

import msgspec
import pytest
import structs
import zmq

from harness import PROGRAMS, STOP_S, WAIT_S

pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode
ADD, ABORT, WAVE, UTILITY = b"\0", b"\1", b"\2", b"\3"
HELLO = structs.EngineStatus("HELLO", local=False, headless=True)
READY = structs.EngineStatus("READY", local=False, headless=True)


def exactly(frame, kind):
    """Decodes a frame as a struct of vLLM, and checks that msgspec would write the same bytes."""
    value = msgspec.msgpack.Decoder(kind, strict=True).decode(frame)
    assert pack(value).hex() == frame.hex(), (unpack(frame), value)
    return value


@pytest.fixture
def wire(ipc):
    return {"handshake": ipc(), "input": ipc(), "output": ipc()}


# --- pairs


@pytest.mark.parametrize("count", [1, 3])
def test_pair(start, wire, count):
    """One process has all the engines."""
    frontend = start("mock_frontend", engines=count, requests=7, **wire)
    engine = start(
        "mock_engine",
        "--log-requests",
        handshake=wire["handshake"],
        engine_count=count,
    )
    assert frontend.wait() == 0
    names = ("handshake", "input", "output")
    lines = [f"mock_frontend: listening on {wire[name]}" for name in names]
    assert frontend.out[:3] == lines
    for index in range(count):
        order = [f"engine {index}: HELLO", f"engine {index}: READY", f"engine {index} registered"]
        assert [line for line in frontend.out if line in order] == order
    last_ready = max(frontend.out.index(f"engine {index}: READY") for index in range(count))
    first = frontend.out.index("r0 -> engine 0")
    assert all(last_ready < frontend.out.index(f"engine {n} registered") for n in range(count))
    assert all(frontend.out.index(f"engine {n} registered") < first for n in range(count))
    for n in range(7):
        assert f"r{n} -> engine {n % count}" in frontend.out
        assert f"r{n} <- engine {n % count}: 4 tokens, length" in frontend.out
    shares = [" ".join(f"r{n}" for n in range(index, 7, count)) for index in range(count)]
    assert frontend.out[-count - 1 : -1] == [
        f"engine {index}: {share}" for index, share in enumerate(shares)
    ]
    assert frontend.summary() == "7 of 7 requests complete, 28 tokens"
    assert engine.stop() == 0
    assert frontend.err == engine.err == []


def test_engines_of_several_processes(start, wire):
    """The engines may start in any order, also before the front-end; INIT names its tcp ports."""
    frontend = start(
        "mock_frontend",
        engines=3,
        requests=10,
        max_tokens=7,
        handshake=wire["handshake"],
        input="tcp://127.0.0.1:*",
        output="tcp://127.0.0.1:*",
    )
    first = start("mock_engine", handshake=wire["handshake"], index=2)
    frontend.wait_line("^engine 2: HELLO")
    second = start("mock_engine", handshake=wire["handshake"], engine_count=2)
    assert frontend.wait() == 0
    assert frontend.out[-4:] == [
        "engine 0: r0 r3 r6 r9",
        "engine 1: r1 r4 r7",
        "engine 2: r2 r5 r8",
        "mock_frontend: 10 of 10 requests complete, 70 tokens",
    ]
    assert first.stop() == second.stop() == 0


def test_chunks(start, wire):
    """7 tokens in chunks of 3: the last one is cut to what was asked for."""
    frontend = start("mock_frontend", requests=2, max_tokens=7, **wire)
    engine = start(
        "mock_engine", handshake=wire["handshake"], output_token_chunk_size=3
    )
    assert frontend.wait() == 0
    assert frontend.summary() == "2 of 2 requests complete, 14 tokens"
    assert engine.stop() == 0


def test_an_engine_that_dies(start, wire):
    frontend = start(
        "mock_frontend", engines=2, requests=4, max_tokens=1000000, **wire
    )
    options = {"handshake": wire["handshake"], "step_ms": 20}
    dying = start("mock_engine", "--log-requests", index=0, **options)
    living = start("mock_engine", "--log-requests", index=1, **options)
    dying.wait_line("r2")
    living.wait_line("r3")
    assert dying.stop() == 0
    frontend.wait_err("dead")
    assert frontend.stop() == 1  # It goes on with the other one
    assert len(frontend.err) == 1
    living.wait_line("r3.*abort")
    assert living.stop() == 0


# --- a front-end alone: what it tells an engine, and what it refuses


@pytest.fixture
def greeted(start, peer, wire):
    """A front-end, and raw sockets that act as its engines."""

    def greeted(**options):
        frontend = start("mock_frontend", **options, **wire)

        def engine(identity):
            return peer(zmq.DEALER, connect=wire["handshake"], routing_id=identity)

        return frontend, engine

    return greeted


@pytest.mark.valgrind
def test_init(greeted, peer, wire):
    """INIT, and then requests, as vLLM has them."""
    frontend, engine = greeted(engines=2, requests=3)
    dealers = []
    for index in (1, 0):
        dealer = engine(bytes([index, 0]))
        dealer.send(pack(HELLO))
        frames = dealer.recv_multipart()
        assert len(frames) == 1  # No empty one in front of it
        init = exactly(frames[0], structs.EngineHandshakeMetadata)
        assert init == structs.EngineHandshakeMetadata(
            structs.EngineZmqAddresses([wire["input"]], [wire["output"]]), {}
        )
        assert len(unpack(frames[0])["addresses"]) == 5
        dealers.append(peer(zmq.DEALER, connect=wire["input"], routing_id=bytes([index, 0])))
        dealers[-1].send(pack(structs.toy_ready()))  # As vLLM, before it says READY
        assert not frontend.lines("registered")
        dealer.send(pack(READY))
        frontend.wait_line(f"^engine {index}: READY$")
    for index, names in ((1, ["r1"]), (0, ["r0", "r2"])):
        for name in names:
            kind, payload = dealers[1 - index].recv_multipart()
            assert kind == ADD
            assert exactly(payload, structs.EngineCoreRequest).request_id == name
    assert frontend.stop() == 1
    kind, payload = dealers[1].recv_multipart()
    assert (kind, unpack(payload)) == (ABORT, ["r0", "r2"])


def test_init_has_addresses_as_bound(start, peer):
    """Not tcp://127.0.0.1:*, and not 0: where one can connect."""
    anywhere = dict.fromkeys(("handshake", "input", "output"), "tcp://127.0.0.1:*")
    frontend = start("mock_frontend", **anywhere)
    handshake, *bound = [frontend.endpoint(n) for n in (1, 2, 3)]
    dealer = peer(zmq.DEALER, connect=handshake, routing_id=bytes(2))
    dealer.send(pack(HELLO))
    init = exactly(dealer.recv(), structs.EngineHandshakeMetadata)
    assert [*init.addresses.inputs, *init.addresses.outputs] == bound
    assert all(re.fullmatch(r"tcp://127\.0\.0\.1:[1-9]\d+", each) for each in bound)
    assert frontend.stop() == 1


REFUSED = {  # What is sent by whom: what an error has to name
    "READY before HELLO": ([(bytes(2), READY)], "0.*READY|READY.* 0"),
    "a second HELLO": ([(bytes(2), HELLO), (bytes(2), HELLO)], "0.*HELLO|HELLO.* 0"),
    "a second READY": ([(bytes(2), HELLO), (bytes(2), READY), (bytes(2), READY)], "0.*READY"),
    "not headless": ([(bytes(2), structs.EngineStatus("HELLO", False, False))], "headless"),
    "local": ([(bytes(2), structs.EngineStatus("HELLO", True, True))], "local"),
}
STRAY = {  # What anybody may send
    "an engine too many": ([(b"\x02\0", HELLO)], "2"),
    "engine 256 of 2": ([(b"\0\x01", HELLO)], "256|0001"),
    "big-endian": ([(b"\0\x02", HELLO)], "512|0002"),
    "no engine's identity": ([(b"engine", HELLO)], "identity|engine"),
    "no status": ([(bytes(2), {"local": False, "headless": True})], "status"),
    "another status": ([(bytes(2), {**msgspec.to_builtins(HELLO), "status": "HI"})], "HI|status"),
    "local is a number": ([(bytes(2), {**msgspec.to_builtins(HELLO), "local": 0})], "local"),
    "no msgpack": ([(bytes(2), b"\xc1")], "."),
    "an array": ([(bytes(2), ["HELLO", False, True])], "."),
    "empty": ([(bytes(2), b"")], "."),
}


@pytest.mark.parametrize("name", [*REFUSED, *STRAY])
def test_refused(greeted, name):
    """vLLM's front-end does not start then, and says which engine it was. Nor does mock_frontend when it
    is an engine that it expects; what a stranger may send it reports, and starts."""
    messages, names_what = {**REFUSED, **STRAY}[name]
    frontend, engine = greeted(engines=2)
    dealers = {}
    for identity, message in messages:
        dealer = dealers.setdefault(identity, None) or engine(identity)
        dealers[identity] = dealer
        dealer.send(message if isinstance(message, bytes) else pack(message))
    frontend.wait_err(f"^mock_frontend: .*({names_what})")
    check_refusal(frontend, engine, name in STRAY, dealers)


def check_refusal(frontend, engine, stray, dealers):
    """One line on stderr; and then the end, or HELLO is answered."""
    if not stray:
        assert frontend.wait() == 1
    else:
        dealer = dealers[bytes(2)] if bytes(2) in dealers else engine(bytes(2))
        dealer.send(pack(HELLO))
        dealer.recv()
        assert frontend.stop() == 1
    assert len(frontend.err) == 1, str(frontend)


@pytest.mark.parametrize("frames", [[b"", pack(HELLO)], [pack(HELLO), b""]])
def test_refused_frames(greeted, frames):
    """A REQ would send an empty frame first: that is not this handshake."""
    frontend, engine = greeted()
    dealer = engine(bytes(2))
    dealer.send_multipart(frames)
    frontend.wait_err(".")
    check_refusal(frontend, engine, stray=True, dealers={bytes(2): dealer})


@pytest.mark.parametrize("said", [[], [HELLO], [HELLO, READY]], ids=["all", "READY", "register"])
def test_an_engine_that_never_comes(greeted, said):
    """Engine 1 never comes, or stops after this step."""
    since = time.monotonic()
    frontend, engine = greeted(engines=2, timeout_s=1)
    for index, words in ((0, [HELLO, READY]), (1, said)):
        dealer = engine(bytes([index, 0]))
        for word in words:
            dealer.send(pack(word))
    assert frontend.wait() == 1
    assert 0.9 < time.monotonic() - since < WAIT_S
    assert len(frontend.err) == 1
    if len(said) < 2:
        missing = ["HELLO", "READY"][len(said)]
        assert re.search(rf"engine 1.*{missing}", frontend.err[0])
    else:
        assert re.search("engine 0.*regist", frontend.err[0])


def test_a_registration_that_is_not_expected(greeted, peer, wire):
    frontend, engine = greeted()
    greeting = engine(bytes(2))
    greeting.send(pack(HELLO))
    greeting.recv()
    greeting.send(pack(READY))
    peer(zmq.DEALER, connect=wire["input"], routing_id=b"\x07\0").send(pack(structs.toy_ready()))
    frontend.wait_err("regist")
    peer(zmq.DEALER, connect=wire["input"], routing_id=bytes(2)).send(pack(structs.toy_ready()))
    frontend.wait_line("^r9 -> engine 0$")  # It goes on
    assert frontend.stop() == 1
    assert not any("regist" in line for line in frontend.err[1:])


def test_ready_with_a_hash(greeted):
    """An engine whose data_parallel_size is above 1 sends one."""
    frontend, engine = greeted()
    dealer = engine(bytes(2))
    dealer.send(pack(HELLO))
    dealer.recv()
    dealer.send(pack(structs.EngineStatus("READY", False, True, "0123abcd")))
    frontend.wait_line("^engine 0: READY$")
    assert frontend.stop() == 1


# --- an engine alone: all that it says


class FrontEnd:
    """vLLM's side: a handshake, a ROUTER and a PULL for each API server, and a coordinator."""

    def __init__(self, peer, ipc, servers=1, coordinator=False):
        self.handshake_at = ipc()
        self.handshake = peer(zmq.ROUTER, bind=self.handshake_at)
        inputs, outputs = [ipc() for _ in range(servers)], [ipc() for _ in range(servers)]
        self.routers = [peer(zmq.ROUTER, bind=each, router_mandatory=1) for each in inputs]
        self.pulls = [peer(zmq.PULL, bind=each) for each in outputs]
        self.addresses = structs.EngineZmqAddresses(inputs, outputs)
        if coordinator:
            self.addresses.coordinator_input = ipc()
            self.addresses.coordinator_output = ipc()
            self.addresses.frontend_stats_publish_address = ipc()
            self.xpub = peer(zmq.XPUB, bind=self.addresses.coordinator_input, xpub_verbose=1)
            self.stats = peer(zmq.PULL, bind=self.addresses.coordinator_output)

    def hellos(self, count):
        """Hears so many HELLOs, then answers them. Returns the identities."""
        identities = []
        for _ in range(count):
            identity, payload = self.handshake.recv_multipart()
            assert exactly(payload, structs.EngineStatus) == HELLO
            identities.append(identity)
        init = structs.EngineHandshakeMetadata(self.addresses, {})
        for identity in identities:
            self.handshake.send_multipart([identity, pack(init)])
        return identities

    def hello(self):
        return self.hellos(1)[0]

    def registrations(self, identity):
        found = []
        for router in self.routers:
            frames = router.recv_multipart()
            assert len(frames) == 2 and frames[0] == identity
            assert len(unpack(frames[1])) == 28
            found.append(exactly(frames[1], structs.EngineCoreReadyResponse))
        return found

    def ready(self, identity):
        frames = self.handshake.recv_multipart()
        assert frames[0] == identity and len(frames) == 2
        return exactly(frames[1], structs.EngineStatus)

    def send(self, identity, kind, value, server=0, *more):
        self.routers[server].send_multipart([identity, kind, pack(value), *more])

    def outputs(self, server=0):
        (frame,) = self.pulls[server].recv_multipart()
        return self.read(frame)

    @staticmethod
    def read(frame):
        values = unpack(frame)
        assert len(values) == 9 and all(len(output) == 19 for output in values[1])
        outputs = exactly(frame, structs.EngineCoreOutputs)
        if outputs.scheduler_stats is not None:
            assert len(values[2]) == 18
        for output in values[1]:
            assert output[11] is None or len(output[11]) == 6
        return outputs

    def until_finished(self, *names, server=0):
        """All outputs of these requests: name -> list of them; and the stats that came along."""
        found, stats, open_ = {name: [] for name in names}, [], set(names)
        while open_:
            outputs = self.outputs(server)
            if outputs.scheduler_stats:
                stats.append(outputs.scheduler_stats)
            assert outputs.timestamp > 0
            finished = []
            for output in outputs.outputs:
                assert output.request_id in open_
                found[output.request_id].append(output)
                if output.finish_reason is not None:
                    finished.append(output.request_id)
            assert sorted(outputs.finished_requests or []) == sorted(finished)
            open_ -= set(finished)
        return found, stats


@pytest.fixture
def join(start, peer, ipc):
    """An engine that has joined; and its front-end."""

    def join(servers=1, index=0, **options):
        front = FrontEnd(peer, ipc, servers)
        program = start(
            "mock_engine", handshake=front.handshake_at, index=index, **options
        )
        identity = front.hello()
        front.registrations(identity)
        assert front.ready(identity) == READY
        return program, front, identity

    return join


def request(name, prompt=(1, 2, 3, 4, 5), client_index=0, **sampling):
    each = structs.toy_request(name, 16)
    each.prompt_token_ids = list(prompt)
    each.sampling_params = structs.SamplingParams(**sampling)
    each.client_index = client_index
    return each


def tokens_of(outputs):
    return [token for output in outputs for token in output.new_token_ids]


@pytest.mark.parametrize(
    "index, identity", [(0, b"\0\0"), (1, b"\1\0"), (256, b"\0\1"), (65535, b"\xff\xff")]
)
def test_joining(start, peer, ipc, index, identity):
    """HELLO, INIT, a registration at each API server, READY, in this order."""
    front = FrontEnd(peer, ipc, servers=3)
    program = start("mock_engine", handshake=front.handshake_at, index=index)
    assert front.hello() == identity
    for ready in front.registrations(identity):
        assert ready.vllm_version == "0.33.0"
        assert ready.dp_stats_address is None
        assert ready.kv_cache_size_tokens == ready.num_gpu_blocks * ready.block_size
        assert ready.max_model_len > 0 and ready.kv_cache_max_concurrency > 0
    assert front.ready(identity) == READY
    assert program.stop() == 0
    for pull in front.pulls:
        assert pull.recv_multipart() == [structs.ENGINE_CORE_DEAD]


def test_the_handshake_is_for_the_start_only(start, peer, ipc):
    """vLLM's front-end closes that socket with the last READY: the engine serves all the same.
    Again and again, since the moment is short in which its own still lingers, or is watched."""
    for _ in range(25):
        front = FrontEnd(peer, ipc)
        program = start("mock_engine", handshake=front.handshake_at)
        identity = front.hello()
        assert front.ready(identity) == READY
        front.handshake.close()
        front.registrations(identity)
        front.send(identity, ADD, request("a", max_tokens=3))
        front.until_finished("a")
        assert program.stop() == 0


def test_joining_as_several(start, peer, ipc):
    front = FrontEnd(peer, ipc)
    program = start(
        "mock_engine", handshake=front.handshake_at, index=254, engine_count=4
    )
    expected = {index.to_bytes(2, "little") for index in range(254, 258)}
    assert set(front.hellos(4)) == expected
    assert {front.routers[0].recv_multipart()[0] for _ in expected} == expected
    assert {front.handshake.recv_multipart()[0] for _ in expected} == expected
    for identity in expected:
        front.send(identity, ADD, request("r", max_tokens=1))
        outputs = front.outputs()
        assert outputs.engine_index == int.from_bytes(identity, "little")
        assert outputs.outputs[0].request_id == "r"
    assert program.stop() == 0


@pytest.mark.parametrize(
    "init",
    [
        b"\xc1",
        b"",
        pack({}),
        pack({"addresses": {}, "parallel_config": {}}),
        pack({"addresses": {"inputs": [], "outputs": []}, "parallel_config": {}}),
        pack({"addresses": {"inputs": ["ipc://x"], "outputs": []}, "parallel_config": {}}),
        pack({"addresses": {"inputs": [1], "outputs": ["ipc://x"]}, "parallel_config": {}}),
        pack({"addresses": {"inputs": "ipc://x", "outputs": "ipc://y"}, "parallel_config": {}}),
    ],
    ids=repr,
)
def test_bad_init(start, peer, ipc, init):
    endpoint = ipc()
    router = peer(zmq.ROUTER, bind=endpoint)
    program = start("mock_engine", handshake=endpoint, index=5)
    router.send_multipart([router.recv_multipart()[0], init])
    assert program.wait() == 1
    assert len(program.err) == 1 and "5" in program.err[0]


@pytest.mark.valgrind
def test_outputs(join):
    """Every field of what a request gets, from the first token to the last."""
    program, front, identity = join(index=258)
    before = time.monotonic()
    front.send(identity, ADD, request("a", prompt=range(40), max_tokens=3))
    outputs = [front.outputs() for _ in range(3)]
    stamps = [each.timestamp for each in outputs]
    assert before <= stamps[0] and stamps == sorted(stamps)
    for n, each in enumerate(outputs):
        assert each.engine_index == 258
        assert each.utility_output is each.wave_complete is each.start_wave is None
        (output,) = each.outputs
        assert output.request_id == "a"
        assert len(output.new_token_ids) == 1 and 0 <= output.new_token_ids[0] < 32000
        assert output.finish_reason == (structs.FinishReason.LENGTH if n == 2 else None)
        assert output.stop_reason is None and output.num_nans_in_logits == 0
        assert each.finished_requests == (["a"] if n == 2 else None)
    first, *later = [each.outputs[0] for each in outputs]
    stats = first.prefill_stats
    assert (stats.num_prompt_tokens, stats.num_computed_tokens) == (40, 40)
    assert stats.num_cached_tokens == stats.num_local_cached_tokens == 0
    assert stats.num_external_cached_tokens == 0
    assert all(each.prefill_stats is None for each in later)  # vLLM's take_prefill_stats
    assert [event.type for event in first.events] == [
        structs.EngineCoreEventType.QUEUED,
        structs.EngineCoreEventType.SCHEDULED,
    ]
    times = [event.timestamp for event in first.events]
    assert before <= times[0] <= times[1] <= stamps[0]
    assert all(not each.events for each in later)
    for each in outputs:
        assert each.scheduler_stats.num_waiting_reqs == 0
        assert 0 <= each.scheduler_stats.kv_cache_usage <= 1
    assert program.stop() == 0


def test_scheduler_stats(join):
    """They add up: what is running, and how many prompt tokens were looked for in the cache."""
    program, front, identity = join(step_ms=50)
    for n in range(3):
        front.send(identity, ADD, request(f"r{n}", prompt=range(10), max_tokens=2 + n))
    _, stats = front.until_finished("r0", "r1", "r2")
    assert max(each.num_running_reqs for each in stats) >= 2
    assert stats[-1].num_running_reqs == 0
    assert sum(each.prefix_cache_stats.requests for each in stats) == 3
    assert sum(each.prefix_cache_stats.queries for each in stats) == 30
    assert sum(each.prefix_cache_stats.hits for each in stats) == 0
    assert program.stop() == 0


def test_tokens_are_made_of_prompt_and_seed(join):
    def tokens(prompt, name="a", **options):
        program, front, identity = join(**options)
        front.send(identity, ADD, request(name, prompt=prompt, max_tokens=20))
        found, _ = front.until_finished(name)
        assert program.stop() == 0
        return tokens_of(found[name])

    first = tokens([1, 2, 3])
    assert len(first) == 20 and len(set(first)) > 10
    assert tokens([1, 2, 3], name="b", output_token_chunk_size=7) == first
    assert tokens([1, 2, 4]) != first
    assert tokens([1, 2, 3], seed=1) != first
    assert all(token < 7 for token in tokens([1, 2, 3], vocab_size=7))


def test_stopping(join):
    """stop_token_ids, the end of sequence, min_tokens, max_tokens, and no limit at all."""
    program, front, identity = join(vocab_size=50)
    front.send(identity, ADD, request("all", max_tokens=40))
    tokens = tokens_of(front.until_finished("all")[0]["all"])
    assert len(tokens) == 40
    stop = tokens[10]
    at = tokens.index(stop)

    def run(**sampling):
        front.send(identity, ADD, request("r", max_tokens=40, **sampling))
        outputs = front.until_finished("r")[0]["r"]
        if "min_tokens" not in sampling:  # vLLM's sampler makes no token that is to stop too early
            assert tokens_of(outputs) == tokens[: len(tokens_of(outputs))]
        return len(tokens_of(outputs)), outputs[-1].finish_reason, outputs[-1].stop_reason

    reasons = structs.FinishReason
    assert run(stop_token_ids=[99, stop]) == (at + 1, reasons.STOP, stop)
    # As vLLM's check_stop: the end of sequence has no stop_reason
    assert run(_eos_token_id=stop) == (at + 1, reasons.STOP, None)
    assert run(_eos_token_id=None, _all_stop_token_ids={stop}) == (40, reasons.LENGTH, None)
    for sampling in ({"stop_token_ids": [stop]}, {"_eos_token_id": stop}):
        count, reason, _ = run(min_tokens=at + 2, **sampling)
        assert at + 2 <= count <= 40
        assert reason == (reasons.LENGTH if count == 40 else reasons.STOP)
    assert run(stop_token_ids=list(range(50)), min_tokens=39)[:2] == (39, reasons.STOP)
    assert program.stop() == 0


def test_what_is_not_modelled_is_no_error(join):
    """An ADD with everything that it can have."""
    program, front, identity = join()
    full = request("full", max_tokens=2, temperature=0.5, top_k=3, seed=7, logprobs=2, n=2)
    params = full.sampling_params
    params.stop, params.output_kind = ["END"], structs.RequestOutputKind.DELTA
    params.structured_outputs = structs.StructuredOutputsParams(json={"type": "object"})
    params.logit_bias, params.extra_args = {5: -1.5}, {"x": [1, None, {"y": b"z"}]}
    params.repetition_detection = structs.RepetitionDetectionParams(4, 1, 2)
    full.lora_request = structs.LoRARequest("sql", 1, "/tmp/sql")
    full.mm_features, full.prompt_embeds = [{"modality": "image"}], ["float32", [2, 2], 1]
    full.cache_salt, full.data_parallel_rank, full.priority = "salt", 3, -7
    full.trace_headers = {"traceparent": "00-1-2-01"}
    full.reasoning_parser_kwargs = {"enable_thinking": True}
    full.current_wave, full.external_req_id = 4, "cmpl-1"
    front.send(identity, ADD, full, 0, bytes(16))  # A tensor goes in a frame of its own
    assert len(tokens_of(front.until_finished("full")[0]["full"])) == 2
    front.routers[0].send_multipart([identity, ADD, pack([*unpack(pack(full)), "newer", {}])])
    assert len(tokens_of(front.until_finished("full")[0]["full"])) == 2
    embeds = request("embeds", max_tokens=2)
    embeds.prompt_token_ids = None
    front.send(identity, ADD, embeds)
    assert len(tokens_of(front.until_finished("embeds")[0]["embeds"])) == 2
    pooling = structs.toy_request("pooling", 0)
    pooling.sampling_params, pooling.pooling_params = None, structs.PoolingParams(task="embed")
    front.send(identity, ADD, pooling)
    (output,) = front.until_finished("pooling")[0]["pooling"]
    assert output.new_token_ids == [] and output.finish_reason == structs.FinishReason.ERROR
    assert program.stop() == 0


def test_several_front_ends(join):
    """Outputs, and the answers to calls, go to the front-end that client_index names, even if another
    one sent the request."""
    program, front, identity = join(servers=3)
    for client, server in ((2, 0), (0, 0), (1, 2)):
        front.send(identity, ADD, request(f"r{client}", client_index=client, max_tokens=3), server)
    for client in range(3):
        found, _ = front.until_finished(f"r{client}", server=client)
        assert len(tokens_of(found[f"r{client}"])) == 3
    front.send(identity, UTILITY, [2, 9, "is_sleeping", []], 1)
    while not (answer := front.outputs(2).utility_output):
        pass  # That nothing runs any more is told to all
    assert answer.call_id == 9
    # A front-end that does not exist cannot be answered. The engine must survive this.
    front.send(identity, ADD, request("nowhere", client_index=3, max_tokens=3))
    front.send(identity, UTILITY, [3, 9, "is_sleeping", []])
    front.send(identity, ADD, request("last", client_index=1, max_tokens=3))
    front.until_finished("last", server=1)
    assert program.stop() == 0
    assert len(program.err) == 2


# Name and arguments of what vLLM's EngineCoreClients call: what is returned; ...: anything
CALLS = {
    "get_supported_tasks": ([], ["generate"]),
    "is_sleeping": ([], False),
    "is_scheduler_paused": ([], False),
    "reset_prefix_cache": ([False, False], True),
    "reset_mm_cache": ([], None),
    "reset_encoder_cache": ([], None),
    "profile": ([True, None], None),
    "sleep": ([1, "abort"], None),
    "wake_up": ([None], True),
    "execute_dummy_batch": ([], None),
    "add_lora": ([["sql", 1, "/tmp/sql", None, False, False]], True),
    "pin_lora": ([1], True),
    "remove_lora": ([1], True),
    "list_loras": ([], ...),
    "pause_scheduler": (["abort", True], None),
    "release_kv_cache_memory": ([], None),
    "resume_scheduler": ([], None),
    "pause_generation": (["keep", True], None),
    "get_weight_version": ([], "default"),
    "set_weight_version": (["v7"], None),
    "compute_weight_checksums": ([], [{}]),
}


@pytest.mark.valgrind
def test_utility_calls(join):
    """The result is in the envelope [nil, value]; a call id has all of its 64 bits."""
    program, front, identity = join()
    for n, (name, (args, expected)) in enumerate(CALLS.items()):
        front.send(identity, UTILITY, [0, 2**64 - 1 - n, name, args])
        outputs = front.outputs()
        assert outputs.outputs == [] and outputs.finished_requests is None
        output = outputs.utility_output
        assert output.call_id == 2**64 - 1 - n
        assert output.failure_message is None, name
        assert output.result is not None and output.result[0] is None, name
        assert expected is ... or output.result[1] == expected, name
    for call_id in (0, 127, 2**31, 2**32, 2**63 - 1, 2**63):
        front.send(identity, UTILITY, [0, call_id, "no_such_method", [1, {"a": None}]])
        output = front.outputs().utility_output
        assert output.call_id == call_id
        assert "no_such_method" in output.failure_message
        assert output.result is None
    assert program.stop() == 0


def call(front, identity, method, *args):
    front.send(identity, UTILITY, [0, 7, method, list(args)])


def test_pause_modes(join):
    """keep: they go on where they were. wait: the answer comes behind the last token."""
    program, front, identity = join(step_ms=5)
    front.send(identity, ADD, request("kept", max_tokens=20))
    front.outputs()
    call(front, identity, "pause_scheduler", "keep", True)
    seen = 1
    while not (outputs := front.outputs()).utility_output:
        seen += len(tokens_of(outputs.outputs))
    call(front, identity, "is_scheduler_paused")  # Nothing else comes before its answer
    assert front.outputs().utility_output.result[1] is True
    call(front, identity, "resume_scheduler")
    assert front.outputs().utility_output.call_id == 7
    assert seen + len(tokens_of(front.until_finished("kept")[0]["kept"])) == 20

    front.send(identity, ADD, request("last", max_tokens=5))
    call(front, identity, "sleep", 1, "wait")
    front.send(identity, ADD, request("later", max_tokens=1))
    assert len(tokens_of(front.until_finished("last")[0]["last"])) == 5
    assert front.outputs().utility_output.result[1] is None
    call(front, identity, "wake_up", None)
    assert front.outputs().utility_output.call_id == 7
    front.until_finished("later")
    call(front, identity, "pause_scheduler", "no such mode", True)
    assert "mode" in front.outputs().utility_output.failure_message
    assert program.stop() == 0


def test_samples_differ(join):
    """Of n samples without a seed, too: the front-end makes 0_ID, 1_ID and so on of them."""
    program, front, identity = join()
    names = [f"{n}_cmpl-1" for n in range(4)]
    for name in names:
        front.send(identity, ADD, request(name, max_tokens=4))
    found, _ = front.until_finished(*names)
    assert len({tuple(tokens_of(found[name])) for name in names}) == 4
    assert program.stop() == 0


def test_logprobs(join):
    """As msgspec writes vLLM's LogprobsLists of numpy arrays, one row for each token."""
    program, front, identity = join(output_token_chunk_size=2)
    front.send(identity, ADD, request("r", max_tokens=3, logprobs=2))
    found, _ = front.until_finished("r")
    for output in found["r"]:
        rows = len(output.new_token_ids)
        ids, logprobs, ranks, of_several = output.new_logprobs
        assert (ids[:2], logprobs[:2]) == (["<i4", [rows, 3]], ["<f4", [rows, 3]])
        assert ranks == ["<i4", [rows], msgspec.msgpack.Ext(3, b"\1\0\0\0" * rows)]
        assert of_several is None
        assert [ids[2].code, logprobs[2].code] == [3, 3]
        numbers = struct.unpack(f"<{rows * 3}i", ids[2].data)
        assert list(numbers[::3]) == list(numbers[1::3]) == output.new_token_ids
        for n in range(rows):
            row = struct.unpack_from("<3f", logprobs[2].data, 12 * n)
            assert 0 > row[0] == row[1] > row[2]
    assert len(tokens_of(found["r"])) == 3
    assert program.stop() == 0


def test_logprobs_of_tokens_by_name(join):
    """As /generative_scoring asks for them: these and no others, behind the token's own."""
    program, front, identity = join(output_token_chunk_size=2)
    labels = [31999, 5, 70]
    front.send(identity, ADD, request("r", max_tokens=3, logprob_token_ids=labels))
    found, _ = front.until_finished("r")
    for output in found["r"]:
        ids, logprobs, _, _ = output.new_logprobs
        assert ids[1] == logprobs[1] == [len(output.new_token_ids), 4]
        numbers = struct.unpack(f"<{len(ids[2].data) // 4}i", ids[2].data)
        for row, token in enumerate(output.new_token_ids):
            assert list(numbers[4 * row : 4 * row + 4]) == [token, *labels]
        assert all(each < 0 for (each,) in struct.iter_unpack("<f", logprobs[2].data))
    assert len(tokens_of(found["r"])) == 3
    assert program.stop() == 0


def test_abort_immediately(join):
    """vLLM adds such a request only for it to end."""
    program, front, identity = join()
    refused = request("refused", max_tokens=1)
    refused.abort_immediately = True
    front.send(identity, ADD, refused)
    (output,) = front.until_finished("refused")[0]["refused"]
    assert output.new_token_ids == [] and output.finish_reason == structs.FinishReason.ABORT
    assert program.stop() == 0


def test_wake_up_by_tags(join):
    """It sleeps until all is awake, and a request waits as long."""
    program, front, identity = join()
    call(front, identity, "sleep", 1, "abort")
    assert front.outputs().utility_output.failure_message is None
    front.send(identity, ADD, request("waits", max_tokens=1))
    for tags, asleep in ((["weights"], True), (["kv_cache"], False)):
        call(front, identity, "wake_up", tags)
        assert front.outputs().utility_output.failure_message is None
        call(front, identity, "is_sleeping")
        while not (answer := front.outputs().utility_output):
            assert not asleep  # The token of the request that has waited
        assert answer.result[1] is asleep
    assert program.stop() == 0
    assert program.summary() == "1 finished, 0 aborted, 0 bad"


def test_all_servers_hear_that_nothing_runs(join):
    """Their metrics are one: the last number counts that any of them has heard."""
    program, front, identity = join(servers=3)
    front.send(identity, ADD, request("r", client_index=1, max_tokens=1), 1)
    _, (stats,) = front.until_finished("r", server=1)
    assert stats.num_running_reqs == 0
    for server in (0, 2):
        outputs = front.outputs(server)
        assert outputs.outputs == [] and outputs.finished_requests is None
        assert outputs.scheduler_stats.num_running_reqs == 0
    assert program.stop() == 0


@pytest.mark.parametrize("step_ms", [5, 0])
def test_abort_tells_the_load(join, step_ms):
    """After it nothing may be left to do, and no step would tell. With 0 ms a step is always due."""
    program, front, identity = join(step_ms=step_ms)
    for name in ("a", "b"):
        front.send(identity, ADD, request(name, max_tokens=10**6))
    while len(front.outputs().outputs) < 2:
        pass
    front.send(identity, ABORT, ["b", "a"])
    while len((last := front.outputs()).finished_requests or []) < 2:
        pass
    assert last.scheduler_stats.num_running_reqs == 0
    assert last.scheduler_stats.kv_cache_usage == 0
    assert program.stop() == 0


def test_init_of_ipv6_addresses(start, peer, ipc):
    """libzmq connects to them only from a socket that has IPv6 on."""
    handshake = ipc()
    greeter = peer(zmq.ROUTER, bind=handshake)
    try:
        router = peer(zmq.ROUTER, bind="tcp://[::1]:*", ipv6=1)
    except zmq.ZMQError as why:
        pytest.skip(f"no IPv6 here: {why}")
    pull = peer(zmq.PULL, bind="tcp://[::1]:*", ipv6=1)
    engine = start("mock_engine", handshake=handshake)
    addresses = [[each.last_endpoint.decode()] for each in (router, pull)]
    init = structs.EngineHandshakeMetadata(structs.EngineZmqAddresses(*addresses), {})
    greeter.send_multipart([greeter.recv_multipart()[0], pack(init)])
    assert router.recv_multipart()[0] == bytes(2)
    assert exactly(greeter.recv_multipart()[1], structs.EngineStatus) == READY
    assert engine.stop() == 0
    assert pull.recv() == structs.ENGINE_CORE_DEAD


# --- the coordinator


@pytest.mark.valgrind
def test_coordinator(start, peer, ipc):
    front = FrontEnd(peer, ipc, coordinator=True)
    program = start("mock_engine", handshake=front.handshake_at, step_ms=20)
    identity = front.hello()
    assert front.xpub.recv_multipart() == [structs.SUBSCRIBE_ALL]
    (ready,) = front.registrations(identity)
    assert ready.dp_stats_address == front.addresses.frontend_stats_publish_address
    assert not front.handshake.poll(200)  # READY only after the coordinator's own
    front.xpub.send(structs.COORDINATOR_READY)
    assert front.ready(identity) == READY
    front.xpub.send(structs.COORDINATOR_READY)  # This one is for an engine that came late

    front.send(identity, ADD, request("a", max_tokens=3))
    front.until_finished("a")
    running = []
    while not running or running[-1]:
        stats = front.read(front.stats.recv())
        assert stats.engine_index == 0
        assert stats.outputs == [] and stats.utility_output is None  # The coordinator asserts it
        assert stats.wave_complete is stats.start_wave is None
        running.append(stats.scheduler_stats.num_running_reqs)
        assert stats.scheduler_stats.num_waiting_reqs == 0
    assert running == [1, 0]  # When it has changed, and not else

    for excluded in (None, 0, 1, b"\0\0"):  # As an engine that is alone may do
        front.xpub.send_multipart([WAVE, pack((1, excluded))])
    front.send(identity, ADD, request("b", max_tokens=1))
    front.until_finished("b")
    assert program.stop() == 0
    assert program.err == []
    assert front.pulls[0].recv() == structs.ENGINE_CORE_DEAD
    while front.stats.poll(0):  # The coordinator does not get the last words
        assert front.stats.recv() != structs.ENGINE_CORE_DEAD


def test_two_engines_and_a_coordinator(start, peer, ipc):
    """The coordinator waits for one subscription of each."""
    front = FrontEnd(peer, ipc, coordinator=True)
    program = start("mock_engine", handshake=front.handshake_at, engine_count=2)
    identities = front.hellos(2)
    assert [front.xpub.recv(), front.xpub.recv()] == [structs.SUBSCRIBE_ALL] * 2
    front.xpub.send(structs.COORDINATOR_READY)
    ready = {front.handshake.recv_multipart()[0] for _ in identities}
    assert ready == set(identities) == {b"\0\0", b"\1\0"}
    assert program.stop() == 0


# --- the C engine, beyond what vLLM's does


def test_engines_join_one_front_end_after_the_other(start, wire):
    """Twenty of them in one process, five times: none may get lost on the way."""
    engine = start("mock_engine", handshake=wire["handshake"], engine_count=20)
    for _ in range(5):
        frontend = start("mock_frontend", engines=20, requests=20, **wire)
        assert frontend.wait() == 0
        assert frontend.summary() == "20 of 20 requests complete, 80 tokens"
    assert engine.stop() == 0
    assert engine.summary() == "100 finished, 0 aborted, 0 bad"


@pytest.mark.parametrize("servers", [1, 3])
@pytest.mark.parametrize("wrong", ["input", "output", "coordinator_input", "coordinator_output"])
def test_init_with_an_address_that_is_none(start, peer, ipc, wrong, servers):
    at = ipc()
    router = peer(zmq.ROUTER, bind=at)
    engine = start("mock_engine", handshake=at)
    identity, _ = router.recv_multipart()
    addresses = {name: ipc() for name in ("input", "output")}
    if wrong.startswith("coordinator"):
        addresses |= {name: ipc() for name in ("coordinator_input", "coordinator_output")}
    addresses[wrong] = "bogus"
    init = structs.EngineZmqAddresses(
        [addresses.pop("input")] * servers, [addresses.pop("output")] * servers, **addresses
    )
    router.send_multipart([identity, pack(structs.EngineHandshakeMetadata(init, {}))])
    assert engine.wait() == 1
    assert len(engine.err) == 1 and "bogus" in engine.err[0]


def test_init_twice(start, peer, ipc):
    """The second one is not for an engine that has connected, or is about to."""
    at, router_at, pull_at = ipc(), ipc(), ipc()
    greeter, router = peer(zmq.ROUTER, bind=at), peer(zmq.ROUTER, bind=router_at)
    peer(zmq.PULL, bind=pull_at)
    engine = start("mock_engine", handshake=at)
    identity, _ = greeter.recv_multipart()
    addresses = structs.EngineZmqAddresses([router_at], [pull_at], ipc(), ipc())
    init = pack(structs.EngineHandshakeMetadata(addresses, {}))
    for _ in range(2):
        greeter.send_multipart([identity, init])
    router.recv_multipart()
    engine.wait_line("another INIT", "err")
    assert engine.stop() == 0


def test_front_end_that_goes_before_the_engine_is_ready(start, peer, ipc):
    """Nobody is bound to what INIT names: the next front-end has to hear HELLO all the same."""
    at = ipc()
    first = peer(zmq.ROUTER, bind=at)
    engine = start("mock_engine", handshake=at)
    identity, _ = first.recv_multipart()
    addresses = structs.EngineZmqAddresses([ipc()], [ipc()])
    first.send_multipart([identity, pack(structs.EngineHandshakeMetadata(addresses, {}))])
    engine.wait_line("registered")
    first.close(linger=0)
    second = peer(zmq.ROUTER, bind=at)
    assert exactly(second.recv_multipart()[1], structs.EngineStatus) == HELLO
    assert engine.stop() == 0


def test_one_hello_for_each_front_end(start, peer, ipc):
    """A front-end that goes before it has read its HELLO leaves none to the next one, for which a
    second one is an error. Again and again, since that moment is short."""
    at = ipc()
    engine = start("mock_engine", "--quiet", handshake=at)
    for _ in range(15):
        hasty = peer(zmq.ROUTER)
        monitor = hasty.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        hasty.bind(at)
        assert monitor.poll(WAIT_S * 1000)
        hasty.disable_monitor()
        hasty.close(linger=0)
        router = peer(zmq.ROUTER, bind=at)
        router.recv_multipart()
        assert not router.poll(50)
        router.close(linger=0)
    assert engine.stop() == 0


def children(program):
    with open(f"/proc/{program.pid}/task/{program.pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


def has_ended(pid):
    """Within a second or so: gone, or waiting to be buried by somebody else."""
    for _ in range(100):
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def test_spawn(start, wire):
    frontend = start("mock_frontend", "--spawn", engines=3, requests=6, **wire)
    assert frontend.wait() == 0
    assert frontend.lines("^mock_frontend: 6 of 6 requests complete")
    assert len(frontend.lines("^mock_engine: 2 finished, 0 aborted, 0 bad")) == 3


def test_spawned_engine_that_is_killed(start, wire):
    """A killed engine sends nothing. Its front-end notices it, and continues with the other one."""
    frontend = start(
        "mock_frontend", "--spawn", engines=2, requests=2, max_tokens=10**9, **wire
    )
    frontend.wait_line("^r1 -> engine 1")
    pids = children(frontend)
    assert len(pids) == 2
    os.kill(pids[1], signal.SIGKILL)
    frontend.wait_err("^mock_frontend: engine 1 is dead: signal 9, 1 request was open$")
    frontend.send_signal(signal.SIGTERM)
    assert frontend.wait() == 1
    assert all(map(has_ended, pids))


def test_stop_with_spawned_engines(start, wire):
    frontend = start(
        "mock_frontend", "--spawn", engines=2, requests=2, max_tokens=10**9, **wire
    )
    frontend.wait_line("^r1 -> engine 1")
    pids = children(frontend)
    frontend.send_signal(signal.SIGTERM)
    assert frontend.wait() == 1  # It has not got its answers
    assert len(pids) == 2 and all(map(has_ended, pids))


@pytest.mark.parametrize("line", ["HELLO", "^r1 -> engine 1"])
def test_killed_with_spawned_engines(start, wire, line):
    """A front-end that is killed cannot end its engines: they have to notice by themselves."""
    frontend = start(
        "mock_frontend", "--spawn", engines=2, requests=2, max_tokens=10**9, **wire
    )
    frontend.wait_line(line)
    pids = children(frontend)
    frontend.kill()
    ended = [has_ended(pid) for pid in pids]
    for pid, done in zip(pids, ended):
        if not done:
            os.kill(pid, signal.SIGKILL)
    assert ended == [True, True]


@pytest.mark.parametrize("state", ["alone", "greeting", "joining", "serving"])
def test_death_pipe(peer, ipc, state):
    """The engine ends when the other end of that socket is closed, in every state."""
    front = FrontEnd(peer, ipc, coordinator=state == "joining")
    if state == "alone":
        front.handshake.close()
    ours, its = socket.socketpair()
    command = [PROGRAMS["mock_engine"], "--handshake", front.handshake_at]
    with subprocess.Popen(
        [*command, "--death-pipe", str(its.fileno())],
        pass_fds=[its.fileno()],
        stdout=subprocess.PIPE,
        text=True,
    ) as engine:
        its.close()
        assert "waiting" in engine.stdout.readline()
        if state == "greeting":
            front.handshake.recv_multipart()
        elif state != "alone":
            identity = front.hello()
            front.registrations(identity)
        if state == "serving":
            front.ready(identity)
            front.send(identity, ADD, request("r", max_tokens=10**9))
            front.outputs()
        ours.close()
        assert engine.wait(STOP_S["c"]) == 0
        assert "gone" in engine.stdout.read()


@pytest.mark.parametrize("number", [0, 1])
def test_death_pipe_that_is_none(start, ipc, number):
    """0 is none at all; and a file is no socket."""
    engine = start("mock_engine", handshake=ipc(), death_pipe=[0, 999][number])
    if number == 0:
        engine.wait_line("waiting")
        assert engine.stop() == 0
    else:
        assert engine.wait() == 2
        assert "--death-pipe: '999'" in engine.err[0]
