# SPDX-License-Identifier: MIT
"""Bad messages at each receiver of router_dealer: at most one line on stderr for each, and it continues."""

import msgspec
import mutants
import pytest
import zmq

import wire as vllm
from harness import FACTOR, UNREADABLE

pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode
FLOOD = 2000
GROWTH_MB = 32 * FACTOR
FRONTENDS = ["frontend", "poller_frontend", "round_robin_frontend", "failover_frontend"]


@pytest.fixture
def wire(ipc):
    return {"input": ipc(), "output": ipc()}


def several(name):
    return {} if name in ("frontend", "poller_frontend") else {"engines": 1}


def as_list(struct):
    return unpack(pack(struct))


def check(program, most):
    assert len(program.err) <= most
    for line in program.err:
        assert line.startswith(f"{program.name}: bad ") and line.isprintable(), line


# --- an engine: requests

REQUEST = vllm.EngineCoreRequest("x", [1], None, vllm.SamplingParams(), None, 0.0, None, None, None)
GOOD = as_list(REQUEST)
NO_REQUEST = [pack(value) for value in (1, None, "r0", {}, [], GOOD[:8], {"request_id": "x"})]
NO_REQUEST += [pack([bad, *GOOD[1:]]) for bad in (None, 1, b"x", ["x"], "a\0b")]
NO_REQUEST += [
    pack([*GOOD[:3], {"max_tokens": bad}, *GOOD[4:]]) for bad in (0, -1, "4", 1.5, [], 2**32, 2**64 - 1)
]
ADD, ABORT = vllm.ADD, vllm.ABORT


def engine_at(start, peer, wire):
    """An engine, and the ROUTER and PULL of its front-end."""
    router, pull = peer(zmq.ROUTER, bind=wire["input"]), peer(zmq.PULL, bind=wire["output"])
    engine = start("engine", step_ms=0, **wire)
    identity = router.recv_multipart()[0]

    def serves(number):
        params = vllm.SamplingParams(max_tokens=1)
        request = vllm.EngineCoreRequest(f"good{number}", [], None, params, None, 0.0, None, None, None)
        router.send_multipart([identity, ADD, pack(request)])
        while all(
            out.request_id != f"good{number}"
            for out in unpack(pull.recv(), type=vllm.EngineCoreOutputs).outputs
        ):
            pass

    return engine, lambda *frames: router.send_multipart([identity, *frames]), serves


@pytest.mark.valgrind
def test_engine(start, peer, wire):
    engine, send, serves = engine_at(start, peer, wire)
    messages = [[ADD, bad] for bad in UNREADABLE + NO_REQUEST]
    messages += [[ABORT, bad] for bad in [*UNREADABLE, pack("r0"), pack({}), pack(None), pack(1)]]
    messages += [[b""], [ADD], [b"", ADD, pack(REQUEST)], [ADD, pack(REQUEST), b""], [b"x"] * 50]
    messages += [[kind, pack(REQUEST)] for kind in (b"\2", b"\3", b"\xff", b"\0\0", b"ADD")]
    for message in messages:
        send(*message)
    serves(0)
    for odd in ([], [None], [1, {}, b"x"], [""], ["unknown"] * 1000):  # No such request: nothing to do
        send(ABORT, pack(odd))
    serves(1)
    assert engine.stop() == 0
    assert engine.err == ["engine: bad request: it is no ADD and no ABORT"] * len(messages)
    assert engine.summary() == f"2 finished, 0 aborted, {len(messages)} bad"


def test_flood_at_an_engine(start, peer, wire):
    engine, send, serves = engine_at(start, peer, wire)
    made = mutants.Mutants(1, ["REQUEST_R3", "REQUEST_FULL", "ABORT_TWO", "UTILITY_CALL"], 3000)
    first = None
    for number in range(FLOOD):
        frames = made.frames(made.random.choice([ADD, ADD, ADD, ABORT, b"\3"]))
        send(*frames)
        if number % 200 == 199:
            # Some of them are good requests, some without a limit: abort these
            send(ABORT, pack(["r3", "r4", "x", "", "full"]))
            serves(number)
            first = first or engine.rss_mb()
    assert engine.rss_mb() - first < GROWTH_MB
    check(engine, FLOOD)
    assert engine.stop() == 0


# --- front-ends: registrations

MAP = pack({"max_model_len": 1})
NO_REGISTRATION = [[pack(value)] for value in (1, None, "ready", [], [1], b"raw")]
NO_REGISTRATION += [[bad] for bad in UNREADABLE if bad != b""]
NO_REGISTRATION += [[MAP, b""], [b"", MAP], [b"x"] * 50, [b"", b""]]


@pytest.mark.parametrize("name", FRONTENDS)
def test_registrations(start, peer, wire, name):
    frontend = start(name, requests=1, max_tokens=1, **several(name), **wire)
    number = 0
    engine = peer(zmq.DEALER, connect=wire["input"], routing_id=b"\0\0")
    for identity in (b"\0\0", b"\1", b"\1\0\0", b"engine", b"x" * 255, None):
        options = {} if identity is None else {"routing_id": identity}
        #  A ROUTER takes no second peer of an identity, so the engine stays
        stranger = engine if identity == b"\0\0" else peer(zmq.DEALER, connect=wire["input"], **options)
        messages = NO_REGISTRATION if stranger is engine else [[MAP], [b""], [b"\xc1"]]
        for message in messages:
            stranger.send_multipart(message)
            number += 1
            frontend.wait_err("bad registration", nth=number)
    engine.send(pack(vllm.ready(0)))
    frontend.wait_line("^r0 -> engine 0$")
    push = peer(zmq.PUSH, connect=wire["output"])
    last = vllm.EngineCoreOutput("r0", [7], finish_reason=vllm.FinishReason.LENGTH)
    push.send(pack(vllm.EngineCoreOutputs(0, [last])))
    assert frontend.wait() == 0
    assert len(frontend.err) == number
    check(frontend, number)


# --- front-ends: outputs

TOKEN = as_list(vllm.EngineCoreOutput("r0", [7]))


def outputs(*each, engine=0):
    return pack([engine, list(each), None, 1.0, None, None, None, None, None])


NO_OUTPUTS = [pack(value) for value in (1, None, "x", {}, [], [0], [0, None], [0, {}], ["0", []])]
NO_OUTPUTS += [outputs(TOKEN, engine=bad) for bad in (-1, 65536, 2**64 - 1, None, 1.0)]
NO_OUTPUTS += [outputs(bad) for bad in (None, 1, "r0", {}, [], ["r0"], ["r0", None], ["r0", 7])]
NO_OUTPUTS += [outputs(["r0", [bad], *TOKEN[2:]]) for bad in (None, -1, "7", 1.5, 2**32, [7])]
NO_OUTPUTS += [outputs([*TOKEN[:5], bad, *TOKEN[6:]]) for bad in (5, -1, "length", 1.5, [], 2**40)]
NO_OUTPUTS += [
    outputs([bad, *TOKEN[1:]])
    for bad in (
        *("r9", "x", "", "r", "r-1", "r00", "r+0", " r0", "r0 ", "R0", "r0\0", "\x1b[2J", "r" * 100_000),
        *("r4294967296", "r18446744073709551616", None, 0, b"r0", ["r0"]),
    )
]
NO_OUTPUTS += [outputs(TOKEN, ["r1", *TOKEN[1:]]), outputs(*[TOKEN] * 3, None)]


def gather_at(start, peer, wire, name, **options):
    """A front-end with r0, and the PUSH of its engine."""
    engine = peer(zmq.DEALER, connect=wire["input"], routing_id=b"\0\0")
    engine.send(pack(vllm.ready(0)))
    frontend = start(name, requests=1, max_tokens=1, **several(name), **wire)
    frontend.wait_line("^r0 -> engine 0$")
    return frontend, peer(zmq.PUSH, connect=wire["output"])


@pytest.mark.parametrize("name", FRONTENDS)
def test_outputs(start, peer, wire, name):
    frontend, push = gather_at(start, peer, wire, name)
    messages = [[bad] for bad in UNREADABLE + NO_OUTPUTS + [b"ENGINE_CORE_DEADLY", b"ENGINE_CORE"]]
    messages += [[outputs(TOKEN), b""], [b"", outputs(TOKEN)], [b""] * 50]
    for message in messages:
        push.send_multipart(message)
    # Valid: an output without its last fields, or with more fields
    push.send(outputs(["r0", [8, 9]], [*TOKEN, "newer"]))
    push.send(outputs(["r0", [], None, None, None, 1]))
    assert frontend.wait() == 0
    assert "r0 <- engine 0: 3 tokens, length" in frontend.out
    assert len(frontend.err) == len(messages)
    check(frontend, len(messages))


@pytest.mark.parametrize("name", FRONTENDS)
def test_flood_at_a_front_end(start, peer, wire, name):
    """Of outputs at its PULL, and of anything at its ROUTER."""
    frontend, push = gather_at(start, peer, wire, name)
    stranger = peer(zmq.DEALER, connect=wire["input"])
    made = mutants.Mutants(2, ["OUTPUTS_STEP", "OUTPUTS_ABORT", "OUTPUTS_FULL"], 3000)
    strange = mutants.Mutants(3, ["READY", "HANDSHAKE_HELLO"], 1000)
    for _ in range(FLOOD):
        push.send_multipart(made.frames())
        if name != "round_robin_frontend":  # It does not read its ROUTER any more
            stranger.send_multipart(strange.frames())
    push.send(outputs(["r0", [], None, None, None, 1]))
    assert frontend.wait() == 0
    check(frontend, 2 * FLOOD)


# --- the handshake


def handshake_ends(ipc):
    return {"handshake": ipc(), "input": ipc(), "output": ipc()}


def test_handshake_frontend(start, peer, ipc):
    ends = handshake_ends(ipc)
    frontend = start("handshake_frontend", **ends)
    stranger = peer(zmq.DEALER, connect=ends["handshake"])
    zero = peer(zmq.DEALER, connect=ends["handshake"], routing_id=b"\0\0")
    statuses = [{}, {"status": None}, {"status": "hello"}, {"status": b"HELLO"}, {"Status": "HELLO"}]
    messages = [[pack(bad)] for bad in [*statuses, 1, None, [], ["HELLO"], {"status": "READY"}]]
    messages += [[bad] for bad in UNREADABLE]
    messages += [[pack({"status": "HELLO"}), b""], [b"", pack({"status": "HELLO"})], [b""] * 50]
    for message in messages:
        stranger.send_multipart(message)
        zero.send_multipart(message)
    frontend.wait_err("bad handshake", nth=2 * len(messages))
    zero.close()
    made = mutants.Mutants(4, ["HANDSHAKE_HELLO", "HANDSHAKE_READY_HASH"], 3000)
    for _ in range(FLOOD):
        stranger.send_multipart(made.frames())
    engine = start("handshake_engine", handshake=ends["handshake"])
    assert frontend.wait() == 0
    assert engine.stop() == 0
    check(frontend, 2 * len(messages) + FLOOD)


def test_flood_at_a_handshake_engine(start, peer, ipc):
    ends = handshake_ends(ipc)
    greeter = peer(zmq.ROUTER, bind=ends["handshake"], sndhwm=0)  # At a mark, it would drop
    engine = start("handshake_engine", handshake=ends["handshake"])
    identity, _ = greeter.recv_multipart()
    made = mutants.Mutants(5, ["HANDSHAKE_INIT_ONE"], 3000)
    for _ in range(FLOOD):
        frames = made.frames()
        if len(frames) > 1 or frames[0].count(b"tcp:") < 2:  # It would go to the addresses
            greeter.send_multipart([identity, *frames])
    router, pull = peer(zmq.ROUTER, bind=ends["input"]), peer(zmq.PULL, bind=ends["output"])
    addresses = vllm.EngineZmqAddresses([ends["input"]], [ends["output"]])
    greeter.send_multipart([identity, pack(vllm.EngineHandshakeMetadata(addresses, {}))])
    assert router.recv_multipart()[0] == identity
    router.send_multipart([identity, ADD, b"\xc1"])
    engine.wait_err("bad request")
    assert engine.stop() == 0
    assert pull.recv_multipart() == [vllm.ENGINE_CORE_DEAD]
    check(engine, FLOOD + 1)
