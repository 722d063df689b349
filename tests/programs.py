# SPDX-License-Identifier: MIT
"""The contract of the tools: the options of each, besides --help, --quiet and --curve-dir.

An option is (kind, default, *more); the kind has values that the tool must refuse.
"""

MOST = 2**31 - 1

_NO_ENDPOINT = [
    "",
    "5555",
    "127.0.0.1:5555",
    "tcp://",
    "tcp://127.0.0.1",
    "tcp://127.0.0.1:",
    "tcp://:5555",
    "tcp://127.0.0.1:65536",
    "tcp://127.0.0.1:-1",
    "tcp://127.0.0.1:http",
    "tcp://127.0.0.1:5555/x",
    "tcp://::1:5555",
    "tcp:/127.0.0.1:5555",
    "udp://127.0.0.1:5555",
    "inproc://here",
    "ipc://",
    "ipc:///tmp/" + "x" * 103,
]
_NO_NUMBER = ["", "x", "1x", "1.5", "1e3", "-1", "+1", " 1", "0x10", "9" * 30]


class Option:
    def __init__(self, default, wrong=(), words=None):
        self.default, self.wrong = default, list(wrong)
        self.metavar = words or "[A-Z-]+"


class Bind(Option):
    def __init__(self, default):
        super().__init__(default, _NO_ENDPOINT)


class Connect(Option):
    def __init__(self, default):
        only_to_bind = ["tcp://127.0.0.1:*", "tcp://127.0.0.1:0", "tcp://*:5555", "ipc://*"]
        super().__init__(default, _NO_ENDPOINT + only_to_bind)


class Alias(Option):  # Another name of a Connect
    def __init__(self, default):
        super().__init__(default, Connect(default).wrong)


class Number(Option):
    def __init__(self, default, least=0, most=MOST):
        super().__init__(default, _NO_NUMBER + [str(most + 1), str(least - 1)])


class Seconds(Option):
    def __init__(self, default, most):
        wrong = ["", "x", "-1", "1e3", "1.2.3", ".", "nan", "inf", "0x1", str(most + 1)]
        super().__init__(default, wrong)


class Choice(Option):
    def __init__(self, default, *words):
        wrong = ["", "x", words[0].upper(), words[0][:-1], words[0] + "|" + words[1]]
        wrong = [each for each in wrong if each not in words]
        super().__init__(default, wrong, r"\|".join(words))


class Text(Option):
    pass


class Texts(Option):  # Repeatable
    pass


class Range(Option):
    def __init__(self, default):
        wrong = ["", "3", "3-", "-6", "6-3", "a-b", "3-6-9", "3..6", "-1-3", "1-" + "9" * 30]
        super().__init__(default, wrong)


class From(Option):
    def __init__(self, default):
        wrong = ["", "x", "-1", "1.5", "Live", "lively", str(2**64 - 1), "9" * 30]
        super().__init__(default, wrong, r"SEQ\|live")


_CLIENT = {"endpoint": Connect("tcp://127.0.0.1:5555"), "message": Text("ping")}
_IMPATIENT = {**_CLIENT, "timeout-ms": Number(1000, 1), "retries": Number(5)}
_FRONTEND = {
    "input": Bind("tcp://127.0.0.1:5570"),
    "output": Bind("tcp://127.0.0.1:5571"),
    "requests": Number(3, 1, 1000000),
    "max-tokens": Number(4, 1),
}
_HANDSHAKE = "tcp://127.0.0.1:29550"

OPTIONS = {
    "basic_server": {"endpoint": Bind("tcp://127.0.0.1:5555"), "count": Number(0)},
    "basic_client": {**_CLIENT, "count": Number(1)},
    "slow_server": {
        "endpoint": Bind("tcp://127.0.0.1:5555"),
        "delay-s": Seconds(1.5, 3600),
        "delay-first-n": Number(2),
        "count": Number(0),
    },
    "timeout_retry_client": _IMPATIENT,
    "poller_client": _IMPATIENT,
    "kv_publisher": {
        "endpoint": Bind("tcp://127.0.0.1:5557"),
        "connect": None,
        "replay-endpoint": Bind("tcp://127.0.0.1:5657"),
        "ranks": Number(1, 1, 256),
        "topic": Text("kv-events"),
        "interval-ms": Number(200, 0, 3600000),
        "buffer-steps": Number(10000, 1, 10000000),
        "buffer-mb": Number(256, 1, 100000),
        "hwm": Number(100000),
        "replay-hwm": Number(20002),
        "wire": Choice("v0.33", "v0.33", "v0.26", "v0.24", "v0.9"),
        "every-field": None,
        "drop": Range("none"),
        "restart-after": Number(0),
        "withhold-end": None,  # A flag
        "blocks": Number(1, 1, 256),
        "prefill": Number(0, 0, 10000000),
        "wait-subscribers": Number(0),
        "count": Number(0),
    },
    "kv_subscriber": {
        "endpoint": Connect("tcp://127.0.0.1:5557"),
        "replay-endpoint": Connect("none"),
        "bind": None,
        "topic": Texts("\"\""),
        "exact-topic": None,
        "from-seq": From("live"),
        "replay-timeout-ms": Number(3000, 1, 3600000),
        "max-held": Number(100000, 1, 10000000),
        "max-held-mb": Number(64, 1, 100000),
        "json": None,
        "hashes": Choice("number", "number", "string"),
        "count": Number(0),
    },
    "ventilator": {
        "endpoint": Bind("tcp://127.0.0.1:5560"),
        "sink": Connect("tcp://127.0.0.1:5561"),
        "count": Number(100),
        "workers": Number(1),
    },
    "worker": {
        "source": Connect("tcp://127.0.0.1:5560"),
        "sink": Connect("tcp://127.0.0.1:5561"),
        "name": Text(r"worker-\d+"),
        "work-ms": Number(0, 0, 60000),
        "count": Number(0),
    },
    "sink": {
        "endpoint": Bind("tcp://127.0.0.1:5561"),
        "count": Number(100),
        "timeout-s": Number(0, 0, 86400),
    },
    "engine": {
        "index": Number(0, 0, 65535),
        "input": Connect("tcp://127.0.0.1:5570"),
        "output": Connect("tcp://127.0.0.1:5571"),
        "step-ms": Number(10, 0, 60000),
        "count": Number(0),
    },
    "frontend": _FRONTEND,
    "poller_frontend": _FRONTEND,
    "round_robin_frontend": {
        **_FRONTEND,
        "engines": Number(2, 1, 65535),
        "requests": Number(10, 1, 1000000),
        "in-flight": Number(0, 0, 1000000),
        "vllm": Choice("0.33", *(f"0.{n}" for n in range(33, 22, -1))),
        "on-dead": Choice("fail", "fail", "reroute"),
    },
    "handshake_frontend": {
        **_FRONTEND,
        "handshake": Bind(_HANDSHAKE),
        "engines": Number(1, 1, 65535),
        "requests": Number(10, 1, 1000000),
        "timeout-s": Number(60, 1, 86400),
        "spawn": None,
    },
    "mock_frontend": {
        "handshake": Bind("none"),
        **_FRONTEND,
        "engines": Number(1, 1, 65535),
        "requests": Number(10, 1, 1000000),
        "in-flight": Number(0, 0, 1000000),
        "vllm": Choice("0.33", *(f"0.{n}" for n in range(33, 22, -1))),
        "on-dead": Choice("fail", "fail", "reroute"),
        "timeout-s": Number(60, 1, 86400),
        "spawn": None,
    },
    "mock_engine": {
        "handshake": Connect(_HANDSHAKE),
        "handshake-address": Alias(_HANDSHAKE),
        "index": Number(0, 0, 65535),
        "engine-count": Number(1, 1, 1024),
        "output-token-chunk-size": Number(1, 1, 65536),
        "vocab-size": Number(32000, 1),
        "seed": Number(0, 0, 2**64 - 1),
        "step-ms": Number(0, 0, 60000),
        "vllm": Choice("0.33", *(f"0.{n}" for n in range(33, 22, -1))),
        "max-model-len": Number(1048576, 1),
        "parallel-config-hash": Text("none"),
        "death-pipe": Number(0),
        "log-requests": None,
        "disable-log-stats": None,
    },
}


def of_kind(name, *kinds):
    """The names of a program's options of these kinds."""
    return [option for option, kind in OPTIONS[name].items() if isinstance(kind, kinds)]
