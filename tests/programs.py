# SPDX-License-Identifier: MIT
"""The contract of the tools: the options of each, besides --help, --quiet and --curve-dir.

An option has a kind, which tells a few values that the tool must refuse (tests/tools/unit/options.c has
them all). None is a flag.
"""

MOST = 2**31 - 1
_NO_ENDPOINT = ["", "5555", "tcp://127.0.0.1:65536", "ipc:///tmp/" + "x" * 103]


class Option:
    def __init__(self, default, wrong=(), metavar="[A-Z-]+"):
        self.default, self.wrong, self.metavar = default, list(wrong), metavar


class Bind(Option):
    def __init__(self, default):
        super().__init__(default, _NO_ENDPOINT)


class Connect(Option):
    def __init__(self, default):
        super().__init__(default, [*_NO_ENDPOINT, "tcp://127.0.0.1:*", "ipc://*"])


def number(default, least=0, most=MOST):
    return Option(default, ["", "1x", str(most + 1), str(least - 1)])


def choice(*words):
    """The first is the default."""
    return Option(words[0], ["", "x", words[0][:-1]], r"\|".join(words))


_RELEASES = choice(*(f"0.{n}" for n in range(33, 22, -1)))
_HANDSHAKE = "tcp://127.0.0.1:29550"

OPTIONS = {
    "kv_publisher": {
        "endpoint": Bind("tcp://127.0.0.1:5557"),
        "connect": None,
        "replay-endpoint": Bind("tcp://127.0.0.1:5657"),
        "ranks": number(1, 1, 256),
        "topic": Option("kv-events"),
        "interval-ms": number(200, 0, 3600000),
        "buffer-steps": number(10000, 1, 10000000),
        "buffer-mb": number(256, 1, 100000),
        "hwm": number(100000),
        "replay-hwm": number(20002),
        "wire": choice("v0.33", "v0.26", "v0.24", "v0.9"),
        "every-field": None,
        "drop": Option("none", ["", "3-", "6-3"]),
        "restart-after": number(0),
        "withhold-end": None,
        "blocks": number(1, 1, 256),
        "prefill": number(0, 0, 10000000),
        "wait-subscribers": number(0),
        "count": number(0),
    },
    "kv_subscriber": {
        "endpoint": Connect("tcp://127.0.0.1:5557"),
        "replay-endpoint": Connect("none"),
        "bind": None,
        "topic": Option('""'),
        "exact-topic": None,
        "from-seq": Option("live", ["", "x", "-1", "Live"], r"SEQ\|live"),
        "replay-timeout-ms": number(3000, 1, 3600000),
        "max-held": number(100000, 1, 10000000),
        "max-held-mb": number(64, 1, 100000),
        "json": None,
        "hashes": choice("number", "string"),
        "count": number(0),
    },
    "mock_frontend": {
        "handshake": Bind("none"),
        "input": Bind("tcp://127.0.0.1:5570"),
        "output": Bind("tcp://127.0.0.1:5571"),
        "engines": number(1, 1, 65535),
        "requests": number(10, 1, 1000000),
        "max-tokens": number(4, 1),
        "in-flight": number(0, 0, 1000000),
        "vllm": _RELEASES,
        "on-dead": choice("fail", "reroute"),
        "timeout-s": number(60, 1, 86400),
        "spawn": None,
    },
    "mock_engine": {
        "handshake": Connect(_HANDSHAKE),
        "handshake-address": Option(_HANDSHAKE, Connect("").wrong),
        "index": number(0, 0, 65535),
        "engine-count": number(1, 1, 1024),
        "output-token-chunk-size": number(1, 1, 65536),
        "vocab-size": number(32000, 1),
        "seed": number(0, 0, 2**64 - 1),
        "step-ms": number(0, 0, 60000),
        "vllm": _RELEASES,
        "max-model-len": number(1048576, 1),
        "parallel-config-hash": Option("none"),
        "death-pipe": number(0),
        "log-requests": None,
        "disable-log-stats": None,
    },
}


def of_kind(name, *kinds):
    """The names of a program's options of these kinds."""
    return [option for option, kind in OPTIONS[name].items() if isinstance(kind, kinds)]


def endpoints(name, make):
    """Endpoints of its own for a program, so that it never touches the default ones."""
    return {option: make() for option in of_kind(name, Bind, Connect)}
