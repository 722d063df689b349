#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs our tools against a real vLLM, and records the results. Needs no GPU, but about 10 GB.

    make test-vllm VLLM=0.33.0                  everything, about 15 minutes
    make test-vllm VLLM=0.33.0 ONLY=python-1    one group of scenarios (`--list` names them)

The release comes from PyPI, into a virtual environment outside of the repository: VLLM_CACHE, or
~/.cache/zeromq-vllm. A platform plugin makes vLLM take its own CPU platform. The model is a
config.json and a tokenizer that are made here: a front-end reads no weights.

vLLM's engine in Rust is built with cargo from the release's sdist, when PyPI's file is in
VLLM_CACHE/src (vllm-0.29.0.tar.gz) and needs nothing but crates.io.

The results are stored in docs/vllm-verified.md: the rows of a release and a group are replaced, the
others stay. A scenario that was not run has no row.
"""

import argparse
import concurrent.futures
import datetime
import fcntl
import functools
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

from vllm_lab import START_S, Api, Lab, Wrong, free_port, need, until
from vllm_layout import version

ROOT = Path(__file__).resolve().parent.parent
DRAW, TRACE = ROOT / "trace/trace_demo.py", ROOT / "docs/trace.md"
HERE = ROOT / "scripts"
RESULTS = ROOT / "docs/vllm-verified.md"
STREAMS = 200


# --- scenarios. Each returns the observed result, or raises Wrong


def completions(api):
    answer = api.complete(logprobs=2)
    need(len(answer["choices"][0]["logprobs"]["tokens"]) == 5, "5 tokens with logprobs wanted")
    need(api.complete(prompt=[5, 6, 7])["usage"]["prompt_tokens"] == 3, "prompt as token ids")
    same = [api.complete(seed=7)["choices"][0]["text"] for _ in range(2)]
    need(same[0] == same[1], "the same seed, the same text")
    done = "text, token ids, logprobs, seed"
    if not api.rust:
        need(len(api.complete(n=3)["choices"]) == 3, "n = 3")
        done += ", n = 3"
    ended = api.complete(max_tokens=300, stop_token_ids=list(range(280)), min_tokens=2)
    need(ended["choices"][0]["finish_reason"] == "stop", "stop_token_ids")
    need(ended["usage"]["completion_tokens"] <= 3, "min_tokens, then a stop token")
    text = api.complete(max_tokens=40, ignore_eos=True)["choices"][0]["text"]
    need(len(text) > 4, "some text")
    stop = next(c for c in text[2:] if c.isascii() and c.isprintable())
    ended = api.complete(max_tokens=40, ignore_eos=True, stop=[stop])
    need(ended["choices"][0]["finish_reason"] == "stop", "a stop string ends it")
    return f"{done}, stop_token_ids with min_tokens, a stop string"


def chat(api):
    body = {"model": api.model, "messages": [{"role": "user", "content": "hello"}],
            "max_tokens": 6, "logprobs": True, "top_logprobs": 2, "ignore_eos": True}  # fmt: skip
    answer = api.post("/v1/chat/completions", body)
    need(answer["usage"]["completion_tokens"] == 6, "6 tokens")
    need(len(answer["choices"][0]["logprobs"]["content"]) == 6, "logprobs")
    return "6 tokens with top_logprobs"


def streams(one):
    """The number of complete streams of those that run at once: one (n) runs the n-th."""
    with concurrent.futures.ThreadPoolExecutor(STREAMS) as pool:
        return sum(pool.map(one, range(STREAMS)))


def many_streams(api):
    complete = streams(lambda _: api.stream(20))
    need(complete == STREAMS, f"{STREAMS - complete} streams had no end")
    until(lambda: api.running() == 0, 20, "requests run on")
    return f"{STREAMS} at once, 20 tokens each: all complete"


def aborts(api):
    """50 of 200 leave in mid-stream."""
    complete = streams(lambda n: api.stream(40) if n % 4 else api.stream(400, leave_after=5))
    need(complete == STREAMS * 3 // 4, "the others must be complete")
    until(lambda: api.running() == 0, 30, "requests run on")
    return f"{STREAMS // 4} of {STREAMS} left in mid-stream, the others complete; then 0 running"


def pause(api):
    seen = []
    for mode in ("abort", "keep", "wait"):
        api.post(f"/pause?mode={mode}")
        need(api.get("/is_paused")["is_paused"] is True, f"paused, {mode}")
        if mode != "keep" and api.lab.minor >= 33:
            api.complete(status=503)
            seen.append(f"{mode}: 503")
        else:
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(api.tokens)
                time.sleep(1)
                need(not waiting.done(), f"{mode}: a new request waits")
                api.post("/resume")
                need(waiting.result(30) == 5, f"{mode}: and then has its tokens")
            seen.append(f"{mode}: waits")
        api.post("/resume")
        need(api.tokens() == 5, "served after /resume")
    return "a new request at /pause, " + ", ".join(seen) + "; served after /resume"


def sleep(api):
    api.post("/sleep?level=1")
    need(api.get("/is_sleeping")["is_sleeping"] is True, "asleep")
    found, text = api.call("POST", "/wake_up?tags=weights")
    no_tags = api.rust and found == 400  # v0.26's front-end in Rust cannot read them
    need(found == 200 or no_tags, f"/wake_up?tags=weights: {found} {text[:200]}")
    need(api.get("/is_sleeping")["is_sleeping"] is True, "half awake is asleep")
    awake = api.post("/wake_up")
    need(api.get("/is_sleeping")["is_sleeping"] is False, "awake")
    need(api.tokens() == 5, "served again")
    said = f", /wake_up says {awake['status']}" if isinstance(awake, dict) and awake else ""
    by_tag = "no tags (400)" if no_tags else "half awake by tag"
    return f"asleep, {by_tag}, awake{said}"


def weights(api):
    if api.lab.minor < 32:
        return None
    before = api.get("/weight_info")
    api.post("/update_weight_version", {"new_version": "v7"})
    need(api.get("/weight_info") == {"weight_version": "v7"}, "v7")
    api.post("/pause?mode=keep")
    api.post("/release_kv_cache_memory")
    need(api.get("/is_sleeping")["is_sleeping"] is True, "asleep")
    api.post("/wake_up")
    need(api.tokens() == 5, "served again")
    return f"weight version {before['weight_version']}, then v7; KV memory released and back"


def lora(api):
    api.post("/v1/load_lora_adapter", {"lora_name": "sql", "lora_path": str(api.lab.model())})
    need(api.tokens(model="sql") == 5, "a request to the adapter")
    api.post("/v1/unload_lora_adapter", {"lora_name": "sql"})
    return "loaded, asked, unloaded"


def metrics(api):
    text = api.call("GET", "/metrics")[1]
    for kind in ("generation", "prompt"):
        need(re.search(rf"^vllm:{kind}_tokens_total\S* [1-9]", text, re.M), f"{kind} tokens")
    return "prompt and generation tokens counted, 0 running"


def length(api):
    """The model's length and the version, as the front-end shows them."""
    shown = api.get("/v1/models")["data"][0]["max_model_len"]
    need(shown == 4096, f"max_model_len {shown}")
    release = api.get("/version")["version"]
    need(release.startswith(f"0.{api.lab.minor}."), f"version {release}")
    return f"max_model_len {shown}, version {release}"


def idle(api):
    before = api.engine.text().count("HELLO")
    time.sleep(60)
    need(api.tokens() == 5, "a request after 60 s")
    need(api.engine.text().count("HELLO") == before, "the engine has joined again")
    return "60 s without a word, then a request: answered on the same connections"


def engine_stopped(api):
    need(api.engine.end(signal.SIGTERM) == 0, "exit status of the engine")
    if api.rust:
        until(lambda: api.call("GET", "/health")[0] == 503, 20, "/health stays")
        return "SIGTERM at the engine: /health is 503"
    until(lambda: not api.healthy(), 60, "the front-end has not noticed")
    return "SIGTERM at the engine: the front-end reports it and ends"


def joins(api, count):
    """All engines join, one HELLO each."""
    api.ready()
    # The first API server may be healthy before the engines have all of them, and say READY
    ready = api.engine.text
    until(lambda: ready().count("READY") >= count, START_S, f"READY of {count} engines")
    for word in ("HELLO", "READY"):
        found = api.engine.text().count(word)
        need(found == count, f"{found} {word}s of {count} engines")
    return f"{count} engine{'s' * (count > 1)}, one HELLO each"


# --- groups: programs that are started once for several scenarios


def serve(lab, size, *args, rust=False, inside=False, model=None, name="front-end", under=(),
          handshake=None):  # fmt: skip
    """A front-end, and the port of its handshake. It is started before its engine."""
    port, handshake = free_port(), handshake or free_port()
    model, env = model or lab.model(), dict(lab.env)
    if size == 1:  # Several API servers refuse it
        env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    if inside:
        env["VLLM_USE_RUST_FRONTEND"] = "1"
    if rust:
        site = next((lab.venv / "lib").glob("python3.*")) / "site-packages"
        command, where = [site / "vllm/vllm-rs"], ["--handshake-port", handshake]
    else:
        command = [lab.python, lab.venv / "bin/vllm"]
        where = ["--data-parallel-address", "127.0.0.1", "--data-parallel-rpc-port", handshake]
    command += ["serve", model, "--port", port, "--host", "127.0.0.1", *where,
                "--data-parallel-size", size, "--data-parallel-size-local", 0, *args]  # fmt: skip
    process = lab.start(name, [*under, *command], env)
    return Api(lab, process, port, rust or inside, model), handshake


def front_end(size, *scenarios, args=(), **kind):
    """A group: all these scenarios with one front-end."""

    def group(lab):
        api, handshake = serve(lab, size, *args, **kind)
        limit = ["--max-model-len", 4096] if api.rust else []
        api.engine = lab.engine(handshake, "--engine-count", size, "--step-ms", 5, *limit)
        yield "joins", lambda: joins(api, size)
        for each in scenarios:
            yield each.__name__.replace("_", " "), functools.partial(each, api)

    return group


def restart(lab):
    """The engine stays, the front-end is killed, and the next one has the same handshake."""

    def run(rust):
        api, handshake = serve(lab, 1, rust=rust, name=f"first-{rust}")
        engine = lab.engine(handshake, name=f"engine-{rust}")
        api.ready()
        need(api.tokens() == 5, "served by the first")
        api.process.end(signal.SIGKILL)
        engine.wait_for("the front-end is gone", 30)
        again, _ = serve(lab, 1, rust=rust, name=f"second-{rust}", handshake=handshake)
        again.ready()
        need(again.tokens() == 5, "served by the next")
        need(engine.text().count("HELLO") == 2, "one HELLO for each front-end")
        return "kill -9 at the front-end: the engine stayed, joined the next and served it"

    yield "python", lambda: run(False)
    yield "vllm-rs", lambda: run(True)


def moe_2(lab):
    def run():
        """vLLM names the hash that it wants, when it refuses."""
        model = lab.model("Mixtral")
        api, handshake = serve(lab, 2, model=model, name="first")
        lab.engine(handshake, "--engine-count", 2, "--parallel-config-hash", "x", name="refused")
        wanted = api.process.wait_for(r"Expected hash: (\S+?)\.(?:\s|$)", START_S)[1]
        api.process.end()
        lab.end()
        api, handshake = serve(lab, 2, model=model, name="second")
        api.engine = lab.engine(handshake, "--engine-count", 2, "--step-ms", 5,
                                "--parallel-config-hash", wanted)  # fmt: skip
        joins(api, 2)
        many_streams(api)
        return f"joined with the hash that vLLM names, {STREAMS} streams complete"

    yield "served", run


class Publishers:
    """vLLM's ZmqEventPublishers: vllm_publisher.py starts each in a process of its own."""

    def __init__(self, lab):
        command = [lab.python, HERE / "vllm_publisher.py"]
        self.process = lab.start("publishers", command, lab.env, stdin=subprocess.PIPE)
        self.process.wait_for("^ready$", START_S)
        self.count = 0

    def tell(self, line):
        self.process.popen.stdin.write(line.encode() + b"\n")
        self.process.popen.stdin.flush()

    def start(self, live, replay, count, rank=0, **more):
        """The number of a new one, which publishes as soon as it has a subscriber."""
        where = {"live": live, "replay": replay}
        self.tell(json.dumps({**where, "count": count, "rank": rank, **more}))
        self.count += 1
        self.process.wait_for(rf"^started {self.count - 1} as", 60)
        return self.count - 1

    def kill(self, number):
        pid = re.search(rf"^started {number} as (\d+)", self.process.text(), re.M)[1]
        os.kill(int(pid), signal.SIGKILL)


def batches(text):
    """What kv_subscriber --json says: the batches and the notices."""
    lines = [json.loads(s) for s in text.splitlines() if s.startswith("{")]
    return [x for x in lines if "events" in x], [x for x in lines if "notice" in x]


def subscribe(lab, name, live, replay, *args, **more):
    return lab.start(name, [
        lab.build / "tools/kv_subscriber", "--endpoint", live, "--replay-endpoint", replay,
        "--from-seq", 0, "--json", "--replay-timeout-ms", 5000, *args], **more)  # fmt: skip


def in_order(subscriber, numbers):
    """The batches, which must have these numbers, and the notices; once it has ended."""
    subscriber.popen.wait(120)
    found, notices = batches(subscriber.text())
    need([x["seq"] for x in found] == numbers, f"{subscriber.log.name}: each once and in order")
    return found, notices


def endpoints():
    """Where a publisher binds, and where its subscriber connects: PUB, then ROUTER."""
    return [(f"tcp://*:{p}", f"tcp://127.0.0.1:{p}") for p in (free_port(), free_port())]


def kv(lab):
    """The real ZmqEventPublisher, and our kv_subscriber."""

    @functools.cache
    def publishers():
        return Publishers(lab)

    def run(count, drop=0, blocks=1):
        (live, at), (replay, replay_at) = endpoints()
        publishers().start(live, replay, count, drop=drop, blocks=blocks)
        subscriber = subscribe(lab, "kv_subscriber", at, replay_at, "--count", count)
        found, _ = in_order(subscriber, list(range(count)))
        for x in found:
            kinds = [event["type"] for event in x["events"]]
            need(kinds == ["BlockStored", "AllBlocksCleared"], f"events of {x['seq']}")
            hashes = [2**64 - 1 - x["seq"] - i for i in range(blocks)]
            need(x["events"][0]["block_hashes"] == hashes, f"hashes of {x['seq']}")
            need(x["ts"] == float(x["seq"]) and x["dp_rank"] == 0, f"ts of {x['seq']}")
        return sum(x["replayed"] for x in found)

    def plain():
        return f"2000 batches: each once, in order, every field equal ({run(2000)} replayed)"

    def drops():
        replayed = run(2000, 7)
        need(replayed >= 2000 // 7, "the dropped ones are replayed")
        return f"2000 batches, every 7th dropped: all there, {replayed} of them replayed"

    def large():
        return f"300 batches of 64 blocks: each once, in order ({run(300, 5, 64)} replayed)"

    def starts_again():
        (live, at), (replay, replay_at) = endpoints()
        first = publishers().start(live, replay, 300)
        subscriber = subscribe(lab, "restart", at, replay_at, "--count", 501)
        until(lambda: len(batches(subscriber.text())[0]) == 300, 60, "300 of the first")
        publishers().kill(first)
        second = publishers().start(live, replay, 200, more=1, since=1000)
        publishers().process.wait_for(f"^published {second}$", 60)
        publishers().tell(f"more {second}")  # Should the others have come before its subscription
        _, notices = in_order(subscriber, [*range(300), *range(201)])
        need("restart" in {x["notice"] for x in notices}, "the restart is told")
        return "killed after 300 batches and started again: 201 more from 0, and the restart told"

    def ranks():
        (live, at), (replay, replay_at) = endpoints()
        port, other = int(live.rpartition(":")[2]), int(replay.rpartition(":")[2])
        need(abs(port - other) > 1, "ports")
        subscribers = []
        for n in (0, 1):
            publishers().start(live, replay, 300, rank=n)
            at = [f"tcp://127.0.0.1:{base + n}" for base in (port, other)]
            subscribers.append(subscribe(lab, f"rank-{n}", *at, "--count", 300))
        for n, subscriber in enumerate(subscribers):
            found, _ = in_order(subscriber, list(range(300)))
            need({x["dp_rank"] for x in found} == {n}, f"rank {n}")
        return "ranks 0 and 1, each on its port: 300 batches each with its rank"

    def slow():
        """Nobody reads what kv_subscriber prints, so it stops to receive: the PUB drops.

        The SUB's queue, the kernel and the PUB's queue hold less than COUNT.
        """
        count, buffer = 300000, 20000
        (live, at), (replay, replay_at) = endpoints()
        options = {"blocks": 2, "more": 100, "hwm": 1000, "buffer_steps": buffer}
        number = publishers().start(live, replay, count, **options)
        subscriber = subscribe(lab, "slow", at, replay_at, stdout=subprocess.PIPE)
        publishers().process.wait_for(f"^published {number}$", 180)
        seen, lost, replayed = [], [], 0
        done = threading.Event()

        def more():
            """What was dropped is noticed at a later one only, which may be dropped, too."""
            for _ in range(300):
                if done.wait(1):
                    return
                publishers().tell(f"more {number}")
            subscriber.end()

        threading.Thread(target=more, daemon=True).start()
        for i, line in enumerate(subscriber.popen.stdout):
            if i % 1000 == 0:
                time.sleep(0.01)
            each = json.loads(line)
            if "events" in each:
                seen.append(each["seq"])
                replayed += each["replayed"]
            elif "lost" in each["notice"]:
                lost += range(each["first"], each["last"] + 1)
            if seen and seen[-1] >= count:
                break
        done.set()
        subscriber.end()
        need(seen == sorted(set(seen)), "each at the most once, in order")
        need(seen[-1] >= count, f"{len(seen)} delivered, and none of those published last")
        need(sorted(seen + lost) == list(range(seen[-1] + 1)), "each delivered or named as lost")
        need(replayed and lost, f"{replayed} replayed, {len(lost)} lost: the PUB has not dropped")
        received = f"{len(seen) - replayed} received, {replayed} replayed (the ROUTER keeps {buffer})"
        return f"{count} batches while nobody read: {received}, all {len(lost)} others reported lost"

    yield from {"all": plain, "drops": drops, "large": large, "restart": starts_again,
                "ranks": ranks, "slow reader": slow}.items()  # fmt: skip


def drive(lab, name, *args):
    """mock_frontend with 200 requests, and where its engines say HELLO."""
    handshake, inputs, outputs = (f"tcp://127.0.0.1:{free_port()}" for _ in range(3))
    front = lab.start(name, [
        lab.build / "tools/mock_frontend", "--handshake", handshake, "--input", inputs,
        "--output", outputs, "--requests", 200, "--timeout-s", START_S,
        "--vllm", lab.wire, *args])  # fmt: skip
    return front, handshake


def complete(front, tokens, seconds=START_S):
    """What mock_frontend has said when all its requests have ended, with so many tokens."""
    front.wait_for("requests complete", seconds)
    text = front.text()
    need(f"200 of 200 requests complete, {tokens} tokens" in text, text[-200:])
    return text


def engine_core(lab):
    """vLLM's own EngineCoreProc as the engine of our mock_frontend, its events to kv_subscriber."""
    state = {}

    def start(name, handshake, *args):
        command = [lab.python, HERE / "vllm_engine.py", lab.model(), handshake, *args]
        return lab.start(name, command, lab.env)

    def served():
        (live, at), (replay, replay_at) = endpoints()
        front, handshake = drive(lab, "mock_frontend", "--max-tokens", 40)
        # An engine that starts on a busy machine answers late
        patience = ("--replay-timeout-ms", START_S * 1000)
        state["subscriber"] = subscribe(lab, "events", at, replay_at, *patience)
        engine = start("engine", handshake, "--kv-events", live, "--kv-replay", replay)
        complete(front, 8000)
        state["engine"] = engine
        return "HELLO, INIT, registration, READY; 200 requests scheduled, 8000 tokens: all complete"

    def events():
        """A prompt of 5 tokens and 40 more: 2 full blocks each."""
        state["engine"].send_signal(signal.SIGTERM)
        state["engine"].wait_for(r"^engine 0 ended with 0$", 60)
        text = state["subscriber"].text
        until(lambda: [e for x in batches(text())[0] for e in x["events"]], 30, "events")
        state["subscriber"].end(signal.SIGINT)
        found, notices = batches(text())
        stored = [e for x in found for e in x["events"] if e["type"] == "BlockStored"]
        need([x["seq"] for x in found] == list(range(len(found))), "each once and in order")
        need({x["notice"] for x in notices} <= {"connected", "disconnected"}, "notices")
        blocks = sum(len(e["block_hashes"]) for e in stored)
        need(blocks == 2 * 200, f"{blocks} blocks")
        need(all(len(e["token_ids"]) == 16 * len(e["block_hashes"]) for e in stored), "tokens")
        need(all(set(e["extra_keys"]) == {None} for e in stored), "extra_keys of a text")
        return f"{blocks} blocks of its cache manager in {len(found)} batches, in order; SIGTERM: 0"

    def fails():
        """Its process says ENGINE_CORE_DEAD and ends; the other one gets its requests."""
        two = ("--engines", 2, "--on-dead", "reroute")
        front, handshake = drive(lab, "reroute", "--max-tokens", 40, *two)
        engines = start("engines", handshake, "--engines", 2, "--fail-at", 20)
        text = complete(front, 8000)
        engines.wait_for("the executor fails, as was asked for")
        dead = re.search(r"engine 1 is dead, (\d+) requests were open", text)
        need(dead and "engine 0 is dead" not in text, "engine 1 is dead, and engine 0 is not")
        return f"2 engines, one fails with ENGINE_CORE_DEAD: its {dead[1]} requests go to the other"

    yield from {"served": served, "KV events": events, "one of two fails": fails}.items()


def engine_rust(lab):
    """vLLM's engine without a model, in Rust, built from the release's sdist."""

    def build():
        """The program, or why there is none."""
        sdist = lab.cache / f"src/vllm-{lab.release}.tar.gz"
        if not sdist.exists() or not shutil.which("cargo"):
            return None, f"no cargo, or no {sdist}"
        folder = lab.cache / f"rust-{lab.release}"
        program = folder / "target/release/vllm-mock-engine"
        if program.exists():
            return program, None
        with tarfile.open(sdist) as archive:
            under = f"vllm-{lab.release}/rust/"
            for member in archive.getmembers():
                if member.name.startswith(under):
                    member.name = member.name[len(under) :]
                    archive.extract(member, folder)
        workspace = folder / "Cargo.toml"
        text = workspace.read_text("utf-8")
        if re.search(r"^zeromq = .*\bgit\b", text, re.M):
            return None, "it needs a Git repository beside crates.io"
        # The others of the workspace need Git repositories
        parts = '["src/metrics", "src/engine-core-client", "src/mock-engine"]'
        text = re.sub(r"^members = \[[^]]*\]", f"members = {parts}", text, flags=re.M)
        workspace.write_text(text, "utf-8")
        command = ["cargo", "build", "--release", "--package", "vllm-mock-engine"]
        log = lab.logs / "cargo.log"
        with open(log, "wb") as out:
            built = subprocess.run(command, cwd=folder, stdout=out, stderr=subprocess.STDOUT)
        return (program, None) if built.returncode == 0 else (None, f"cargo fails: {log}")

    def served():
        program, why = build()
        if not program:
            print(f"{lab.release}  engine-rust: not built: {why}", flush=True)
            return None
        front, handshake = drive(lab, "mock_frontend", "--max-tokens", 10, "--engines", 2)
        lab.start("engine", [program, "--handshake-address", handshake, "--engine-count", 2])
        complete(front, 2000, 60)
        return "2 engines, 200 requests of 10 tokens: all complete"

    yield "served", served


def conversation(lab):
    """Both ends under ztrace: docs/trace.md gets the diagram of the handshake and one request."""

    def run():
        traces = [lab.logs / f"conversation-{side}.jsonl" for side in ("front-end", "engine")]
        for path in traces:
            path.unlink(missing_ok=True)
        ztrace = [lab.build / "trace/ztrace", "--json"]
        api, handshake = serve(lab, 1, under=[*ztrace, traces[0], "--follow"])
        engine = lab.engine(handshake, under=[*ztrace, traces[1]])
        api.ready()
        need(len(api.complete(max_tokens=3)["choices"]) == 1, "an answer")
        time.sleep(1)
        engine.end(signal.SIGTERM)
        time.sleep(2)
        api.process.end(signal.SIGTERM)
        trace = lab.logs / "conversation.jsonl"
        trace.write_text("".join(path.read_text("utf-8") for path in traces), "utf-8")
        subprocess.run([ROOT / ".venv/bin/python", DRAW, trace], check=True, capture_output=True)
        drawn = trace.with_suffix(".mmd").read_text("utf-8").strip()
        for wanted in ("HELLO", "INIT", "registration", "READY", "ADD", "ENGINE_CORE_DEAD"):
            need(wanted in drawn, f"{wanted} in the diagram")
        messages, text = drawn.count("->>"), TRACE.read_text("utf-8")
        shown = re.search(r"^vLLM (\S+), drawn from its run", text, re.M)
        if shown and version(shown[1]) > version(lab.release):
            return f"both ends under ztrace: {messages} messages, each sent and received"
        begin, end = "<!-- made by make test-vllm -->\n", "<!-- end -->"
        need(begin in text and end in text, f"the marks in {TRACE.name}")
        before, _, rest = text.partition(begin)
        diagram = f"```mermaid\n{drawn}\n```\n\nvLLM {lab.release}, drawn from its run.\n"
        TRACE.write_text(before + begin + diagram + end + rest.partition(end)[2], "utf-8")
        return f"both ends under ztrace: {messages} messages drawn, each sent and received"

    yield "drawn", run


COMMON = (many_streams, aborts, pause, sleep)
GROUPS = {
    "kv": ("ZmqEventPublisher into kv_subscriber", kv),
    "engine-core": ("vLLM's EngineCoreProc behind mock_frontend", engine_core),
    "engine-rust": ("vllm-mock-engine behind mock_frontend", engine_rust),
    "python-1": (
        "`vllm serve`, 1 API server, 1 engine",
        front_end(1, length, completions, chat, *COMMON, weights, lora, metrics, idle,
                  engine_stopped, args=["--enable-lora"]),
    ),
    "rust-1": (
        "`vllm-rs serve`, 1 engine",
        front_end(1, length, completions, chat, *COMMON, idle, engine_stopped, rust=True),
    ),
    "python-4": (
        "`vllm serve`, 4 API servers, 4 engines",
        front_end(4, completions, *COMMON, engine_stopped),
    ),
    "rust-4": ("`vllm-rs serve`, 4 engines", front_end(4, many_streams, aborts, rust=True)),
    "rust-inside": (
        "`VLLM_USE_RUST_FRONTEND=1 vllm serve`",
        front_end(1, completions, chat, *COMMON, engine_stopped, inside=True),
    ),
    "restart": ("a front-end that is killed and started again", restart),
    "moe-2": ("a model with experts, 2 engines", moe_2),
    "conversation": ("`vllm serve` under ztrace", conversation),
}  # fmt: skip


def run_group(lab, name, record):
    """Runs the scenarios of a group. If the engine cannot join, it skips the others."""
    ok, lab.group = True, name
    record(name)
    try:
        for scenario, run in GROUPS[name][1](lab):
            began = time.monotonic()
            try:
                seen = run()
            except (Wrong, OSError, http.client.HTTPException, ValueError, KeyError,
                    subprocess.SubprocessError) as error:  # fmt: skip
                seen, ok = f"FAILED: {type(error).__name__ if str(error) == '' else error}", False
            if seen is None:
                continue  # This release has no such thing
            took = time.monotonic() - began
            print(f"{lab.release}  {name} {scenario}: {seen} ({took:.0f} s)", flush=True)
            record(name, scenario, seen)
            if not ok and scenario == "joins":
                break
    finally:
        lab.end()
    return ok


HEADER = """# Tests with a real vLLM

`make test-vllm VLLM=<release>` writes this file
([test_vllm.py](../scripts/test_vllm.py)). It installs that release from PyPI and runs
our tools with it, on a machine without a GPU. A scenario without a row was not run.
Do not edit this file.

All front-ends use `mock_engine --vllm 0.N`, with all engines in one process. Requests
have 5 to 400 tokens, at `--step-ms 5`. EngineCoreProc is vLLM's engine with its
scheduler, its cache manager and its socket threads; only its executor is replaced,
because there is no GPU ([vllm_engine.py](../scripts/vllm_engine.py)).

| front-end or publisher | scenario | result | seen with |
|---|---|---|---|
"""


def parse(text):
    """The rows of docs/vllm-verified.md: (title of the group, scenario, release) -> (result, date)"""
    results = {}
    for line in text.partition("|---|---|---|---|\n")[2].splitlines():
        title, scenario, seen, runs = line.strip("| ").split(" | ")
        for run in runs.split("; "):
            releases, _, date = run.partition(" on ")
            for release in releases.split(", "):
                results[title, scenario, release] = seen, date
    return results


def table(results):
    """The text of docs/vllm-verified.md. Releases with the same result share a row."""
    titles = [title for title, _ in GROUPS.values()]
    names = list(dict.fromkeys(key[:2] for key in results))
    newest_first = sorted(results, key=lambda key: version(key[2]), reverse=True)
    rows = {}
    for key in sorted(newest_first, key=lambda key: (titles.index(key[0]), names.index(key[:2]))):
        seen, date = results[key]
        rows.setdefault((*key[:2], seen), {}).setdefault(date, []).append(key[2])
    lines = []
    for row, dates in rows.items():
        runs = [f"{', '.join(releases)} on {date}" for date, releases in dates.items()]
        lines.append(f"| {' | '.join(row)} | {'; '.join(runs)} |\n")
    return HEADER + "".join(lines)


def main():
    parser = argparse.ArgumentParser("test_vllm", description=__doc__.split("\n")[0])
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--only", action="append", choices=list(GROUPS), help="this group")
    parser.add_argument("--list", action="store_true", help="print the groups, and end")
    parser.add_argument("release", nargs="?", default="", help="0.33.0, for example")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{name:12} {title}" for name, (title, _) in GROUPS.items()))
        return 0
    if not re.fullmatch(r"0\.\d+\.\d+", options.release):
        print("test_vllm: no release given: make test-vllm VLLM=0.33.0", file=sys.stderr)
        return 2
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(os.environ.get("VLLM_CACHE") or Path(home) / "zeromq-vllm").resolve()
    lab = Lab(options.release, cache, options.build.resolve())
    lab.prepare()
    today = datetime.date.today().isoformat()

    def record(group, scenario=None, seen=""):
        """Adds a row. Without a scenario: the group begins, and what was seen before goes."""
        title = GROUPS[group][0]
        with open(lab.cache / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # Other groups may run at the same time
            results = parse(RESULTS.read_text("utf-8"))
            if scenario:
                seen = " ".join(seen.split()).replace("|", "/")  # A cell of the table
                results[title, scenario, lab.release] = seen, today
            else:
                gone = [key for key in results if key[::2] == (title, lab.release)]
                results = {key: row for key, row in results.items() if key not in gone}
            RESULTS.write_text(table(results), "utf-8")

    good = [run_group(lab, name, record) for name in options.only or GROUPS]
    return 0 if all(good) else 1


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
