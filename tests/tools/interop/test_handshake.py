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
import subprocess
import time

import msgspec
import pytest
import structs
import zmq
from structs import exactly

from harness import PROGRAMS, STOP_S, WAIT_S

pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode
ADD, ABORT, WAVE, UTILITY = b"\0", b"\1", b"\2", b"\3"
HELLO = structs.EngineStatus("HELLO", local=False, headless=True)
READY = structs.EngineStatus("READY", local=False, headless=True)


@pytest.fixture
def wire(ipc):
    return {"handshake": ipc(), "input": ipc(), "output": ipc()}


# --- pairs


@pytest.mark.parametrize("count", [1, 3])
def test_pair(start, wire, count):
    """One process has all the engines."""
    frontend = start("mock_frontend", engines=count, requests=7, **wire)
    engine = start("mock_engine", handshake=wire["handshake"], engine_count=count)
    assert frontend.wait() == 0
    names = ("handshake", "input", "output")
    assert frontend.out[:3] == [f"mock_frontend: listening on {wire[name]}" for name in names]
    hello, ready, registered = (
        [frontend.out.index(line.format(index)) for index in range(count)]
        for line in ("engine {}: HELLO", "engine {}: READY", "engine {} registered")
    )
    assert all(first < second for first, second in zip(hello, ready))
    assert max(ready) < min(registered) and max(registered) < frontend.out.index("r0 -> engine 0")
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


#: Of an engine that is expected, and of strangers: what is sent, what the error has to name. All
#: other messages are those of tests/tools/unit/handshake.c.
REFUSED = {
    "READY before HELLO": ([(bytes(2), READY)], "engine 0: READY"),
    "a second HELLO": ([(bytes(2), HELLO), (bytes(2), HELLO)], "engine 0: HELLO"),
}
STRAY = {
    "an engine too many": ([(b"\x02\0", HELLO)], "0200"),
    "no status": ([(bytes(2), {"local": False, "headless": True})], "status"),
}


@pytest.mark.parametrize("name", [*REFUSED, *STRAY])
def test_refused(greeted, name):
    """vLLM's front-end does not start then, and says which engine it was. Nor does mock_frontend
    when it is an engine that it expects; what a stranger sends it reports, and answers HELLO."""
    messages, names_what = {**REFUSED, **STRAY}[name]
    frontend, engine = greeted(engines=2)
    dealers = {}
    for identity, message in messages:
        dealer = dealers.get(identity) or engine(identity)
        dealers[identity] = dealer
        dealer.send(pack(message))
    frontend.wait_err(f"^mock_frontend: .*{names_what}")
    if name in REFUSED:
        assert frontend.wait() == 1
    else:
        dealer = dealers.get(bytes(2)) or engine(bytes(2))
        dealer.send(pack(HELLO))
        dealer.recv()
        assert frontend.stop() == 1
    assert len(frontend.err) == 1, str(frontend)


@pytest.mark.parametrize("said", [[], [HELLO], [HELLO, READY]], ids=["all", "READY", "register"])
def test_an_engine_that_never_comes(start, peer, wire, said):
    """Engine 1 never comes, or stops after this step. All has been sent when the front-end starts."""
    for identity, words in ((b"\0\0", [HELLO, READY]), (b"\1\0", said)):
        options = {"routing_id": identity, "reconnect_ivl": 10}
        dealer = peer(zmq.DEALER, connect=wire["handshake"], **options)
        for word in words:
            dealer.send(pack(word))
    since = time.monotonic()
    frontend = start("mock_frontend", engines=2, timeout_s=1, **wire)
    assert frontend.wait() == 1
    assert time.monotonic() - since > 0.9
    (told,) = frontend.err
    assert re.search(["engine 1.*HELLO", "engine 1.*READY", "engine 0.*regist"][len(said)], told)


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
            sender, payload = router.recv_multipart()
            assert sender == identity and len(unpack(payload)) == 28
            found.append(exactly(payload, structs.EngineCoreReadyResponse))
        return found

    def ready(self, identity):
        sender, payload = self.handshake.recv_multipart()
        assert sender == identity
        return exactly(payload, structs.EngineStatus)

    def send(self, identity, kind, value, server=0):
        self.routers[server].send_multipart([identity, kind, pack(value)])

    def outputs(self, server=0):
        (frame,) = self.pulls[server].recv_multipart()
        return self.read(frame)

    @staticmethod
    def read(frame):
        values = unpack(frame)
        assert len(values) == 9 and all(len(output) == 19 for output in values[1])
        return exactly(frame, structs.EngineCoreOutputs)

    def until_finished(self, name, server=0):
        """The tokens of this request, and the stats that came along."""
        tokens, stats = [], []
        while True:
            outputs = self.outputs(server)
            if outputs.scheduler_stats:
                stats.append(outputs.scheduler_stats)
            for output in outputs.outputs:
                assert output.request_id == name
                tokens += output.new_token_ids
                if output.finish_reason is not None:
                    assert outputs.finished_requests == [name]
                    return tokens, stats


@pytest.fixture
def join(start, peer, ipc):
    """An engine that has joined; and its front-end."""

    def join(servers=1, index=0, **options):
        front = FrontEnd(peer, ipc, servers)
        program = start("mock_engine", handshake=front.handshake_at, index=index, **options)
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


@pytest.mark.parametrize("index", [0, 1, 256, 65535])
def test_joining(start, peer, ipc, index):
    """HELLO, INIT, a registration at each API server, READY, in this order."""
    identity = index.to_bytes(2, "little")
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
    """A coordinator waits for one subscription of each."""
    front = FrontEnd(peer, ipc, coordinator=True)
    program = start("mock_engine", handshake=front.handshake_at, index=254, engine_count=4)
    expected = {index.to_bytes(2, "little") for index in range(254, 258)}
    assert set(front.hellos(4)) == expected
    assert [front.xpub.recv() for _ in expected] == [structs.SUBSCRIBE_ALL] * 4
    front.xpub.send(structs.COORDINATOR_READY)
    assert {front.routers[0].recv_multipart()[0] for _ in expected} == expected
    assert {front.handshake.recv_multipart()[0] for _ in expected} == expected
    for identity in expected:
        front.send(identity, ADD, request("r", max_tokens=1))
        outputs = front.outputs()
        assert outputs.engine_index == int.from_bytes(identity, "little")
        assert outputs.outputs[0].request_id == "r"
    assert program.stop() == 0


@pytest.mark.valgrind
def test_outputs(join):
    """What a request gets, from the first token to the last."""
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
        assert each.scheduler_stats.num_waiting_reqs == 0
        assert 0 <= each.scheduler_stats.kv_cache_usage <= 1
    times = [event.timestamp for event in outputs[0].outputs[0].events]
    assert before <= times[0] <= times[1] <= stamps[0]
    assert program.stop() == 0


def test_the_options_of_tokens(join):
    def tokens(prompt, **options):
        program, front, identity = join(**options)
        front.send(identity, ADD, request("a", prompt=prompt, max_tokens=20))
        found, stats = front.until_finished("a")
        assert program.stop() == 0
        return found, len(stats)

    first, steps = tokens([1, 2, 3])
    assert steps == len(first) == 20 and len(set(first)) > 10
    assert tokens([1, 2, 3], output_token_chunk_size=7) == (first, 3)
    assert tokens([1, 2, 4])[0] != first
    assert tokens([1, 2, 3], seed=1)[0] != first
    assert all(token < 7 for token in tokens([1, 2, 3], vocab_size=7)[0])


@pytest.mark.valgrind
def test_several_front_ends(join):
    """Outputs, and the answers to calls, go to the front-end that client_index names, even if
    another one sent the request. That nothing runs any more is told to all: their metrics are one."""
    program, front, identity = join(servers=3)
    for client, server in ((2, 0), (0, 0), (1, 2)):
        front.send(identity, ADD, request("r", client_index=client, max_tokens=3), server)
        tokens, stats = front.until_finished("r", server=client)
        assert len(tokens) == 3 and stats[-1].num_running_reqs == 0
        for other in {0, 1, 2} - {client}:
            outputs = front.outputs(other)
            assert outputs.outputs == [] and outputs.finished_requests is None
            assert outputs.scheduler_stats.num_running_reqs == 0
    front.send(identity, UTILITY, [2, 9, "is_sleeping", []], 1)
    assert front.outputs(2).utility_output.call_id == 9
    # A front-end that does not exist cannot be answered. The engine must survive this.
    front.send(identity, ADD, request("nowhere", client_index=3, max_tokens=3))
    front.send(identity, UTILITY, [3, 9, "is_sleeping", []])
    front.send(identity, ADD, request("last", client_index=1, max_tokens=3))
    front.until_finished("last", server=1)
    assert program.stop() == 0
    assert len(program.err) == 2


def endings(outputs):
    return [(out.request_id, out.finish_reason.name, out.new_token_ids) for out in outputs.outputs]


@pytest.mark.parametrize("step_ms", [5, 0])
def test_abort(join, step_ms):
    """After it nothing is left to do, and no step would tell. With 0 ms a step is always due."""
    program, front, identity = join(step_ms=step_ms)
    for name in ("a", "b"):
        front.send(identity, ADD, request(name, max_tokens=10**6))
    while len(front.outputs().outputs) < 2:
        pass
    front.send(identity, ABORT, ["b", "unknown", "a", "b"])
    while len((last := front.outputs()).finished_requests or []) < 2:
        pass
    assert endings(last) == [("b", "ABORT", []), ("a", "ABORT", [])]
    assert last.scheduler_stats.num_running_reqs == 0
    assert last.scheduler_stats.kv_cache_usage == 0
    assert program.stop() == 0


def test_last_words(join):
    """When the engine is stopped it ends what is open, then says that it is dead."""
    program, front, identity = join(step_ms=1)
    front.send(identity, ADD, request("a", max_tokens=10**6))
    front.outputs()
    program.send_signal(signal.SIGTERM)
    frames = [None, front.pulls[0].recv()]
    while frames[-1] != structs.ENGINE_CORE_DEAD:
        frames.append(front.pulls[0].recv())
    assert endings(front.read(frames[-2])) == [("a", "ABORT", [])]
    assert program.wait() == 0
    assert program.summary() == "0 finished, 1 aborted, 0 bad"


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


@pytest.mark.parametrize("servers", [1, 3])
@pytest.mark.parametrize(
    "wrong", ["input", "output", "coordinator_input", "coordinator_output", None]
)
def test_bad_init(start, peer, ipc, wrong, servers):
    """An address that is none; or INIT as a whole, see tests/tools/unit/handshake.c."""
    at = ipc()
    router = peer(zmq.ROUTER, bind=at)
    engine = start("mock_engine", handshake=at, index=5)
    identity, _ = router.recv_multipart()
    addresses = {name: ipc() for name in ("input", "output")}
    if wrong and wrong.startswith("coordinator"):
        addresses |= {name: ipc() for name in ("coordinator_input", "coordinator_output")}
    if wrong:
        addresses[wrong] = "bogus"
    init = structs.EngineZmqAddresses(
        [addresses.pop("input")] * servers, [addresses.pop("output")] * servers, **addresses
    )
    init = pack(structs.EngineHandshakeMetadata(init, {})) if wrong else b"\xc1"
    router.send_multipart([identity, init])
    assert engine.wait() == 1
    assert len(engine.err) == 1 and ("bogus" if wrong else "engine 5") in engine.err[0]


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


def test_init_twice(start, peer, ipc):
    """The second one is not for an engine that has connected, or is about to."""
    front = FrontEnd(peer, ipc, coordinator=True)  # Which never says READY
    engine = start("mock_engine", handshake=front.handshake_at)
    identity = front.hello()
    init = structs.EngineHandshakeMetadata(front.addresses, {})
    front.handshake.send_multipart([identity, pack(init)])
    front.registrations(identity)
    engine.wait_err("another INIT")
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


# --- engines that a front-end has started


def children(program):
    with open(f"/proc/{program.pid}/task/{program.pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


def wait_ended(pid):
    """Until it is gone, or waits to be reaped. If it does not end, it is killed."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    raise AssertionError(f"{pid} was left running")


@pytest.mark.parametrize("line", ["HELLO", "^r1 -> engine 1"])
@pytest.mark.parametrize("fault", ["killed engine", "stop", "kill"])
def test_spawned_engines_end_with_their_front_end(start, wire, line, fault):
    """A killed engine sends nothing: its front-end notices it, and continues with the other one. A
    killed front-end cannot end its engines: they have to notice by themselves."""
    options = {"engines": 2, "requests": 2, "max_tokens": 10**9}
    frontend = start("mock_frontend", "--spawn", **options, **wire)
    frontend.wait_line(line)
    pids = children(frontend)
    assert len(pids) == 2
    if fault == "killed engine":
        os.kill(pids[1], signal.SIGKILL)
        # The end of the process and that of its connection: either is seen first
        frontend.wait_err(r"engine 1 is dead(: signal 9|, \d requests? w(as|ere) open$)")
    if fault == "kill":
        frontend.kill()
    else:
        frontend.send_signal(signal.SIGTERM)
        assert frontend.wait() == 1  # It has not got its answers
    for pid in pids:
        wait_ended(pid)


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


def test_death_pipe_that_is_none(start, ipc):
    """A file is no socket."""
    engine = start("mock_engine", handshake=ipc(), death_pipe=999)
    assert engine.wait() == 2
    assert "--death-pipe: '999'" in engine.err[0]
