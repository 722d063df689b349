# SPDX-License-Identifier: MIT
"""What test_vllm.py runs: a release of vLLM in its virtual environment, processes, a front-end's HTTP."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

START_S = 900  # vLLM's imports alone take half a minute on two busy cores, and more the first time
NEWEST = 33  # v0.33 is the newest release that our programs know

MODEL = """
import json, sys
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
folder, architecture = sys.argv[1:]
tokenizer = Tokenizer(models.BPE())
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
alphabet = pre_tokenizers.ByteLevel.alphabet()
trainer = trainers.BpeTrainer(
    vocab_size=400, special_tokens=["<unk>", "<s>", "</s>"], initial_alphabet=alphabet)
tokenizer.train_from_iterator(["hello world, this is a small model"] * 10, trainer)
tokenizer.save(folder + "/tokenizer.json")
json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
           "unk_token": "<unk>", "model_max_length": 4096,
           "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}"},
          open(folder + "/tokenizer_config.json", "w"))
config = {"architectures": [architecture], "hidden_size": 64, "intermediate_size": 128,
          "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
          "head_dim": 16, "vocab_size": tokenizer.get_vocab_size(), "hidden_act": "silu",
          "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
          "bos_token_id": 1, "eos_token_id": 2, "torch_dtype": "bfloat16",
          "tie_word_embeddings": False, "model_type": "llama"}
if architecture.startswith("Mixtral"):
    config.update(model_type="mixtral", num_local_experts=4, num_experts_per_tok=2)
json.dump(config, open(folder + "/config.json", "w"))
"""


class Wrong(Exception):
    """The result is not the expected one."""


def need(is_so, what):
    if not is_so:
        raise Wrong(what)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def until(is_so, seconds, what):
    deadline = time.monotonic() + seconds
    while not (found := is_so()):
        need(time.monotonic() <= deadline, f"{what}: not within {seconds} s")
        time.sleep(0.1)
    return found


class Process:
    """A program in its own process group, which is ended as a whole."""

    def __init__(self, log, command, env=None, stdin=None, stdout=None):
        self.log = log
        with open(log, "wb") as out:
            self.popen = subprocess.Popen(
                [str(part) for part in command],
                stdin=stdin or subprocess.DEVNULL,
                stdout=stdout or out,
                stderr=out,
                env={**{k: v for k, v in os.environ.items() if k != "VLLM_CACHE"}, **(env or {})},
                start_new_session=True,
            )

    def text(self):
        return self.log.read_text(errors="replace")

    def wait_for(self, pattern, seconds=30):
        def found():
            status = self.popen.poll()
            match = re.search(pattern, self.text(), re.M)
            name = self.log.name
            need(match or status is None, f"{name} has ended ({status}) without {pattern}")
            return match

        return until(found, seconds, f"{self.log.name}: {pattern}")

    def send_signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)

    def end(self, number=signal.SIGTERM, seconds=15):
        self.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(seconds)
        self.send_signal(signal.SIGKILL)  # And what it has left behind
        return self.popen.wait()


class Lab:
    """A release, its files, and the programs that run."""

    def __init__(self, release, cache, build):
        self.release, self.cache, self.build = release, cache, build
        self.minor = int(release.split(".")[1])
        self.wire = f"0.{min(self.minor, NEWEST)}"  # What our --vllm takes
        self.venv = cache / f"venv-{release}"
        self.python = self.venv / "bin/python"
        self.logs = cache / f"logs-{release}"
        self.processes, self.group = [], ""
        self.env = {  # For the programs of vLLM
            "PYTHONPATH": str(cache / "plugin"),
            "VLLM_SERVER_DEV_MODE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
        }

    def prepare(self):
        self.logs.mkdir(parents=True, exist_ok=True)
        done = self.venv / f"vllm-{self.release}-is-there"
        if not done.exists():
            print(f"installing vllm=={self.release} into {self.venv}: about 9 GB", flush=True)
            subprocess.run([sys.executable, "-m", "venv", self.venv], check=True)
            pip = [self.python, "-m", "pip", "install", "--quiet", "--no-compile"]
            subprocess.run([*pip, f"vllm=={self.release}"], check=True)
            done.touch()
        plugin = self.cache / "plugin"
        info = plugin / "cpu_platform-0.1.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (plugin / "cpu_platform.py").write_text(
            'def register():\n    return "vllm.platforms.cpu.CpuPlatform"\n'
        )
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cpu-platform\nVersion: 0.1\n")
        (info / "entry_points.txt").write_text(
            "[vllm.platform_plugins]\ncpu_platform = cpu_platform:register\n"
        )
        for name in ("Llama", "Mixtral"):
            folder = self.model(name)
            folder.mkdir(exist_ok=True)
            if not (folder / "config.json").exists():
                command = [self.python, "-c", MODEL, folder, f"{name}ForCausalLM"]
                subprocess.run([str(part) for part in command], check=True)

    def model(self, name="Llama"):
        return self.cache / f"model-{name.lower()}"

    def start(self, name, command, env=None, **more):
        process = Process(self.logs / f"{self.group}-{name}.log", command, env, **more)
        self.processes.append(process)
        return process

    def engine(self, handshake, *args, name="mock_engine", under=()):
        return self.start(
            name,
            [*under, self.build / "tools/mock_engine", "--handshake",
             f"tcp://127.0.0.1:{handshake}", "--vllm", self.wire, "--vocab-size", 280,
             "--log-requests", *args],
        )  # fmt: skip

    def end(self):
        for process in reversed(self.processes):
            process.end(seconds=5)
        self.processes.clear()


class Api:
    """The HTTP side of a front-end."""

    def __init__(self, lab, process, port, rust, model):
        self.lab, self.process, self.port, self.rust = lab, process, port, rust
        self.model = str(model)
        self.engine = None  # Its mock_engine

    @contextlib.contextmanager
    def response(self, method, path, body, seconds):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            yield connection.getresponse()
        finally:
            connection.close()

    def call(self, method, path, body=None, seconds=30):
        """(status, text)"""
        with self.response(method, path, body, seconds) as response:
            return response.status, response.read().decode(errors="replace")

    def healthy(self):
        try:
            alive = self.process.popen.poll() is None
            return alive and self.call("GET", "/health", seconds=5)[0] == 200
        except OSError:
            return False

    def ready(self):
        def healthy():
            need(self.process.popen.poll() is None, "the front-end has ended")
            return self.healthy()

        until(healthy, START_S, "the front-end is not ready")

    def ask(self, method, path, body=None, status=200):
        """The answer, which must have this status."""
        found, text = self.call(method, path, body)
        need(found == status, f"{method} {path}: {found} {text[:200]}")
        return json.loads(text) if text.startswith("{") else text

    def post(self, path, body=None):
        return self.ask("POST", path, body)

    def get(self, path):
        return self.ask("GET", path)

    def complete(self, status=200, **more):
        body = {"model": self.model, "prompt": "hello world", "max_tokens": 5, **more}
        return self.ask("POST", "/v1/completions", body, status)

    def tokens(self, **more):
        return self.complete(**more)["usage"]["completion_tokens"]

    def stream(self, max_tokens, leave_after=None):
        """True if the stream has an end. Disconnects in mid-stream after `leave_after` chunks."""
        body = {"model": self.model, "prompt": "hello world", "max_tokens": max_tokens,
                "stream": True, "ignore_eos": True}  # fmt: skip
        chunks = 0
        with self.response("POST", "/v1/completions", body, 120) as response:
            for line in response:
                if line.strip() == b"data: [DONE]":
                    return True
                chunks += line.startswith(b"data: ")
                if chunks == leave_after:
                    break
        return False

    def running(self):
        """num_requests_running, the sum of all engines."""
        lines = self.call("GET", "/metrics")[1].splitlines()
        found = [float(s.split()[-1]) for s in lines if s.startswith("vllm:num_requests_running")]
        need(found, "no num_requests_running in /metrics")
        return sum(found)
