# SPDX-License-Identifier: MIT
"""scripts/vllm_layout.py and vllm_drift.py, with changed vLLMs.

Each vLLM is generated from a stored layout: source files that have only its structs, functions and
constants. Each change must be named exactly, and be reported as a break only if our programs break.
"""

import collections
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "check_vllm.py"
sys.path.insert(0, str(ROOT / "scripts"))

import vllm_drift  # noqa: E402
import vllm_layout  # noqa: E402

ENGINE = "vllm/v1/engine/__init__.py"
KV_EVENTS = "vllm/distributed/kv_events.py"
SAMPLING = "vllm/sampling_params.py"
CORE = "vllm/v1/engine/core.py"
CLIENT = "vllm/v1/engine/core_client.py"


def module_of(path):
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def class_source(name, struct):
    """A struct as vLLM might write it."""
    if struct["kind"] == "dataclass":
        lines = ["@dataclass", f"class {name}:"]
    elif struct["kind"] == "namedtuple":
        lines = [f"class {name}(NamedTuple):"]
    else:
        settings = [f"{key}=True" for key in ("array_like", "omit_defaults") if struct.get(key)]
        settings += ["tag=True"] if struct.get("tag") else []
        lines = [f"class {name}({', '.join(['msgspec.Struct', *settings])}):"]
    lines += ['    """A struct."""']
    for field, kind, default in vllm_layout.fields_of(struct):
        if default and re.fullmatch(r"(list|dict|set|[A-Z]\w+)\(\)", default):
            default = f"field(default_factory={default.removesuffix('()')})"
        lines.append(f"    {field}: {kind}" + (f" = {default}" if default else ""))
    return lines


def function_source(function, calls):
    """A function, in the classes and functions that its name says, with these calls."""
    lines, indent = [], ""
    *outer, last = function.split(".")
    for part in outer:
        lines.append(f"{indent}class {part}:" if part[0].isupper() else f"{indent}def {part}():")
        indent += "    "
    lines.append(f"{indent}def {last}():")
    outermost = {call for call in calls if not any(call in o and call != o for o in calls)}
    return lines + [f"{indent}    {call}" for call in calls if call in outermost]


def sources_of(layout):
    """path -> text of a vLLM that has this layout."""
    files, defined_in = collections.defaultdict(list), {}

    def define(path, name, lines):
        files[path].append(lines)
        defined_in[name] = path

    for name, struct in layout["structs"].items():
        define(struct["file"], name, class_source(name, struct))
    for name, members in layout["enums"].items():
        lines = [f"class {name}(enum.Enum):", *(f"    {k} = {v}" for k, v in members.items())]
        define(ENGINE if name.startswith(("Engine", "Finish")) else "vllm/enums.py", name, lines)
    for name, text in layout["aliases"].items():
        define("vllm/aliases.py", name, [f"{name} = {text}"])
    where = {name: path for path, names in vllm_layout.CONSTANTS.items() for name in names}
    for name, value in layout["constants"].items():
        files[where[name]].append([f"{name} = {value}"])
    for key, calls in layout["sockets"].items():
        path, _, function = key.rpartition(" ")
        files[path or vllm_layout.NETWORK[0]].append(function_source(function, calls))
    for method, returns in layout["utility"].items():
        head = f"def {method}_x(self){f' -> {returns}' if returns else ''}:"
        files[CLIENT].append([head, f'    self.call_utility("{method}", 1)'])
    for status, keys in layout["handshake"]["sent"].items():
        pairs = ", ".join(f'"{k}": 1' for k in keys if k != "status")
        said = f'    x = {{"status": "{status}", {pairs}}}'
        files[CORE].append([f"def say_{status}():", said])
    lines = ["def wait_for_engine_startup(msg):"]
    for key, need in layout["handshake"]["read"].items():
        lines.append(f'    msg["{key}"]' if need == "required" else f'    msg.get("{key}")')
    files[vllm_layout.UTILS].append(lines)
    texts = {}
    for path, parts in files.items():
        body = "\n\n".join("\n".join(part) for part in parts)
        imports = [
            f"from {module_of(other)} import {name}"
            for name, other in defined_in.items()
            if other != path and re.search(rf"\b{name}\b", body)
        ]
        texts[path] = "\n".join(["import msgspec", *imports, "", body, ""])
    return texts


def write(folder, texts):
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


@pytest.fixture
def tree(tmp_path):
    """Makes a vLLM of v0.33.0, in one of whose files a line is replaced by others."""

    def make(file=None, before="", after=(), release="0.33.0"):
        texts = sources_of(vllm_layout.load(release))
        if file:
            pattern = rf"^( *)(.*)(?<!\w){re.escape(before)}"
            text, found = re.subn(
                pattern, lambda m: m[1] + m[2] + f"\n{m[1]}".join(after), texts[file], flags=re.M
            )
            assert found == 1, before
            texts[file] = text
        return write(tmp_path / f"vllm-{release}", texts)

    return make


def check(path):
    """A report, without the citations: that root has none."""
    command = [sys.executable, SCRIPT, "--root", path.parent / "nothing", path]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def report(path):
    """(exit status, drift, breaks, utilities) of a report."""
    done = check(path)
    assert done.stderr == ""
    parts = re.split(r"^(?:drift|breaks|utilities|citations):\n", done.stdout, flags=re.M)
    found = [[line.strip() for line in part.splitlines()] for part in parts]
    return done.returncode, *found[1:4]


@pytest.mark.parametrize("release", vllm_layout.stored())
def test_round_trip(tmp_path, release):
    """The layout that is read from a tree is the one from which the tree was generated."""
    layout = vllm_layout.load(release)
    folder = write(tmp_path / f"vllm-{release}", sources_of(layout))
    assert vllm_layout.layout_of(vllm_layout.Source(folder)) == layout


def test_stored_files_are_small_and_complete():
    releases = vllm_layout.stored()
    for wanted in ("0.9.2", "0.11.0", "0.18.0", *(f"0.{n}.0" for n in range(23, 34))):
        assert wanted in releases
    sizes = {r: (vllm_layout.STORE / f"v{r}.json").stat().st_size for r in releases}
    assert max(sizes[r] for r in releases[:-1]) < 10000 and sizes[releases[-1]] < 25000


def test_no_drift(tree):
    known = ["mock_engine knows all that this front-end calls"]
    assert report(tree()) == (0, ["none"], ["nothing"], known)


# The file, the text and the lines that replace it; the expected drift; how some breaks begin
CHANGES = {
    "a field appended to the outputs": (
        ENGINE, "error: RequestError | None = None",
        ["error: RequestError | None = None", "cost: float | None = None"],
        ["EngineCoreOutput: field cost appended at [19]: float | None, default None"], []),
    "a field inserted in the middle of a request": (
        ENGINE, "arrival_time: float", ["tenant: str | None", "arrival_time: float"],
        ["EngineCoreRequest: field tenant inserted at [5], before arrival_time: str | None, "
         "required"],
        ["EngineCoreRequest[5]: mock_frontend writes arrival_time there, this vLLM reads tenant",
         "EngineCoreRequest: mock_engine reads arrival_time at [5], this vLLM writes it at [6]",
         "EngineCoreRequest: mock_engine reads client_index at [11], this vLLM writes it at [12]"]),
    "a field inserted in the middle of an output": (
        ENGINE, "finish_reason: FinishReason | None = None",
        ["pause_reason: str | None = None", "finish_reason: FinishReason | None = None"],
        ["EngineCoreOutput: field pause_reason inserted at [5], before finish_reason: str | "
         "None, default None"],
        ["EngineCoreOutput[5]: mock_engine writes finish_reason there, this vLLM reads "
         "pause_reason",
         "EngineCoreOutput: mock_frontend reads finish_reason at [5], this vLLM writes it at [6]"]),
    "a key of the registration that is now required and new": (
        ENGINE, "max_loras: int", ["max_loras: int", "rack: str"],
        ["EngineCoreReadyResponse: field rack inserted at [17], before mamba_block_size: str, "
         "required"],
        ["EngineCoreReadyResponse: this vLLM requires rack, mock_engine does not write it"]),
    "an optional key of the registration": (
        ENGINE, "coord_store_port: int = 0", ["coord_store_port: int = 0", "rack: str = ''"],
        ["EngineCoreReadyResponse: field rack inserted at [26], before "
         "coordinator_input_address: str, default ''"], []),
    "a required key of the registration renamed": (
        ENGINE, "max_loras: int", ["lora_slots: int"],
        ["EngineCoreReadyResponse: field renamed from max_loras to lora_slots, [16]"],
        ["EngineCoreReadyResponse: this vLLM requires lora_slots, mock_engine does not write it"]),
    "a default dropped that we write anyway": (
        ENGINE, "enable_sleep_mode: bool = False", ["enable_sleep_mode: bool"],
        ["EngineCoreReadyResponse.enable_sleep_mode: default False dropped, now required"], []),
    "a default dropped at the end of an array that we write in full": (
        ENGINE, "error: RequestError | None = None", ["error: RequestError | None"],
        ["EngineCoreOutput.error: default None dropped, now required"], []),
    "a default dropped that an engine left to vLLM": (
        "vllm/v1/metrics/stats.py", "hits: int = 0", ["hits: int = 0", "misses: int"],
        ["PrefixCacheStats: field misses inserted at [4], before preempted_requests: int, "
         "required"],
        ["PrefixCacheStats: this vLLM requires misses, mock_engine does not write it"]),
    "a key of sampling_params renamed": (
        SAMPLING, "max_tokens: int | None = 16", ["max_new_tokens: int | None = 16"],
        ["SamplingParams: field renamed from max_tokens to max_new_tokens, [13]"],
        ["SamplingParams: mock_frontend writes max_tokens, this vLLM does not know it",
         "SamplingParams: mock_engine reads max_tokens, this vLLM does not write it"]),
    "another default of what is left out": (
        SAMPLING, "max_tokens: int | None = 16", ["max_tokens: int | None = 32"],
        ["SamplingParams.max_tokens: default changed from 16 to 32"],
        ["SamplingParams.max_tokens: left out, it means 32 in this vLLM, and 16 in mock_engine"]),
    "two fields that have changed places": (
        ENGINE, "request_id: str\n    new_token_ids: list[int]",
        ["new_token_ids: list[int]\n    request_id: str"],
        ["EngineCoreOutput: field new_token_ids moved from [1] to [0]"],
        ["EngineCoreOutput[0]: mock_engine writes request_id there, this vLLM reads new_token_ids",
         "EngineCoreOutput[1]: mock_engine writes new_token_ids there, this vLLM reads request_id"]),
    "a field removed from the middle": (
        ENGINE, "ec_transfer_params: dict[str, Any] | None = None", [],
        ["EngineCoreOutput: field ec_transfer_params removed, it was [9]"],
        ["EngineCoreOutput[11]: mock_engine writes prefill_stats there, this vLLM reads "
         "routed_experts"]),
    "an array that became a map": (
        ENGINE, "class EngineCoreOutputs(msgspec.Struct, array_like=True, omit_defaults=True)",
        ["class EngineCoreOutputs(msgspec.Struct, omit_defaults=True)"],
        ["EngineCoreOutputs: array_like changed from True to nothing"],
        ["EngineCoreOutputs: this vLLM wants a map, mock_engine writes the other"]),
    "another type": (
        ENGINE, "client_index: int = 0", ["client_index: str = '0'"],
        ["EngineCoreRequest.client_index: type changed from int to str",
         "EngineCoreRequest.client_index: default changed from 0 to '0'"],
        ["EngineCoreRequest.client_index: mock_frontend writes int, this vLLM takes str"]),
    "a constant": (
        CORE, "ENGINE_CORE_DEAD = b'ENGINE_CORE_DEAD'", ["ENGINE_CORE_DEAD = b'ENGINE_DEAD'"],
        ["constant ENGINE_CORE_DEAD: changed from b'ENGINE_CORE_DEAD' to b'ENGINE_DEAD'"],
        ["ENGINE_CORE_DEAD: b'ENGINE_CORE_DEAD' in our programs, b'ENGINE_DEAD' in this vLLM"]),
    "a type byte": (
        ENGINE, "UTILITY = b'\\x03'", ["UTILITY = b'\\x07'"],
        ["EngineCoreRequestType: UTILITY: changed from b'\\x03' to b'\\x07'"],
        ["EngineCoreRequestType.UTILITY: b'\\x03' in our programs, b'\\x07' in this vLLM"]),
    "a finish reason that we do not use": (
        ENGINE, "REPETITION = 4", ["REPETITION = 4", "BUDGET = 5"],
        ["FinishReason: BUDGET: new, 5"], []),
    "the end of a replay": (
        KV_EVENTS, "END_SEQ = (-1).to_bytes(8, 'big', signed=True)", ["END_SEQ = b'END'"],
        ["constant END_SEQ: changed from (-1).to_bytes(8, 'big', signed=True) to b'END'"],
        ["END_SEQ: (-1).to_bytes(8, 'big', signed=True) in our programs, b'END' in this vLLM"]),
    "a utility with another result": (
        CLIENT, "def is_sleeping_x(self) -> bool:", ["def is_sleeping_x(self) -> str:"],
        ["utility is_sleeping: changed from bool to str"],
        ["utility is_sleeping: mock_engine answers bool, this vLLM takes str"]),
    "a key of an event": (
        KV_EVENTS, "token_ids: list[int]", ["tokens: list[int]"],
        ["BlockStored: field renamed from token_ids to tokens, [2]"],
        ["BlockStored: this vLLM requires tokens, kv_publisher does not write it",
         "BlockStored: kv_publisher writes token_ids, this vLLM does not know it",
         "BlockStored: kv_subscriber reads token_ids, this vLLM does not write it"]),
    "a struct in another file": (
        "vllm/outputs.py", "class RequestError", ["class Elsewhere"],
        ["RequestError: struct removed, it was in vllm/outputs.py"],
        ["RequestError: mock_engine writes it, and this vLLM has no such struct"]),
    "the wait for an engine": (
        vllm_layout.UTILS, 'msg["local"]', ['msg["local"]', 'msg["rack"]'],
        ["handshake reads rack: new, required"],
        ["handshake: this vLLM reads rack, mock_engine does not send it"]),
    "another tag": (
        KV_EVENTS, "class BlockRemoved(msgspec.Struct, omit_defaults=True, tag=True)",
        ["class BlockRemoved(msgspec.Struct, omit_defaults=True, tag='Removed')"],
        ["BlockRemoved: tag changed from BlockRemoved to 'Removed'"],
        ["BlockRemoved: its tag is 'Removed' in this vLLM"]),
    "keys in another spelling": (
        ENGINE, "class EngineCoreEvent(msgspec.Struct)",
        ["class EngineCoreEvent(msgspec.Struct, rename='camel')"],
        ["EngineCoreEvent: rename changed from nothing to 'camel'"],
        ["EngineCoreEvent: rename is 'camel' in this vLLM, and not in our programs"]),
    "another socket": (
        CORE, "make_zmq_socket(ctx, output_path, zmq.PUSH, linger=4000)",
        ["make_zmq_socket(ctx, output_path, zmq.DEALER, linger=4000)"],
        ["sockets, vllm/v1/engine/core.py EngineCoreProc.process_output_sockets: no longer "
         "make_zmq_socket(ctx, output_path, zmq.PUSH, linger=4000)",
         "sockets, vllm/v1/engine/core.py EngineCoreProc.process_output_sockets: now "
         "make_zmq_socket(ctx, output_path, zmq.DEALER, linger=4000)"],
        ["sockets, vllm/v1/engine/core.py EngineCoreProc.process_output_sockets: no call like "]),
    "a high-water mark": (
        vllm_layout.NETWORK[0], "socket.setsockopt(zmq.SNDHWM, 0)",
        ["socket.setsockopt(zmq.SNDHWM, 9)"],
        ["sockets, make_zmq_socket: no longer socket.setsockopt(zmq.SNDHWM, 0)",
         "sockets, make_zmq_socket: now socket.setsockopt(zmq.SNDHWM, 9)"],
        ["sockets, make_zmq_socket: no call like zmq\\.SNDHWM, 0\\)"]),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_changed_by_hand(tree, change):
    file, before, after, drift, breaks = CHANGES[change]
    status, found, broken, _ = report(tree(file, before, after))
    assert (status, found) == (bool(breaks), drift)
    assert breaks or broken == ["nothing"]
    for begin in breaks:
        assert any(line.startswith(begin) for line in broken), (begin, broken)


def test_a_utility_that_is_new(tree):
    """Only its endpoint fails: it is reported, and the exit status is 0."""
    head = "def is_sleeping_x"
    path = tree(CLIENT, head, ["def dream_x(self) -> str:", '    self.call_utility("dream")', head])
    said = ["dream: mock_engine has no such method"]
    assert report(path) == (0, ["utility dream: new, str"], ["nothing"], said)


def test_a_struct_that_has_moved(tree):
    """A struct moves to another module, from which it is imported: reported, and nothing breaks."""
    folder = tree(ENGINE, "from vllm.outputs import", ["from vllm.errors import"])
    (folder / "vllm/outputs.py").rename(folder / "vllm/errors.py")
    found = ["RequestError: struct moved from vllm/outputs.py to vllm/errors.py"]
    assert report(folder)[:3] == (0, found, ["nothing"])


@pytest.mark.parametrize("file", [vllm_layout.KV_EVENTS, vllm_layout.COORDINATOR])
def test_a_file_that_has_moved(tree, file):
    """With all that it sends: reported, and nothing breaks."""
    folder, new = tree(), "vllm/moved/elsewhere.py"
    (folder / new).parent.mkdir()
    (folder / file).rename(folder / new)
    status, found, broken, _ = report(folder)
    assert (status, broken) == (0, ["nothing"])
    assert found[0] == f"{file}: moved to {new}"
    assert all(line.endswith(f"struct moved from {file} to {new}") for line in found[1:])


def test_wheel_and_sdist(tree, tmp_path):
    """The same report of a tree, its wheel and its sdist."""
    folder = tree(ENGINE, "max_loras: int", ["lora_slots: int"])
    wheel, sdist = tmp_path / "vllm-0.33.0-cp38-abi3-linux.whl", tmp_path / "vllm-0.33.0.tar.gz"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in folder.rglob("*.py"):
            archive.write(path, path.relative_to(folder))
    with tarfile.open(sdist, "w:gz") as archive:
        archive.add(folder, "vllm-0.33.0")
    assert report(folder) == report(wheel) == report(sdist)


@pytest.mark.parametrize("name", ["vllm.whl", "vllm.tar.gz", "nothing"])
def test_no_vllm(tmp_path, name):
    """Neither a tree nor an archive; and an archive of something else."""
    path = tmp_path / name
    if name != "nothing":
        path.write_bytes(b"not an archive")
    done = check(path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"check_vllm: {path}: ") and done.stderr.count("\n") == 1


def test_older_and_newer_releases(tree):
    """A release is compared with itself, or with the newest one before it."""
    assert "vLLM 0.26.0, compared with v0.26.0" in check(tree(release="0.26.0")).stdout
    assert vllm_drift.ours_for("0.34.1") == vllm_drift.ours() == vllm_drift.ours_for("")
