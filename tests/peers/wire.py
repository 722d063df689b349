# SPDX-License-Identifier: MIT
"""What the lessons in Python share: how a program starts, and how a message is read.

The programs here are the C lessons again, with pyzmq and msgspec: the same options, the same lines.
Read them side by side.
"""

import atexit
import enum
import math
import re
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union

import msgspec
import zmq

PROGRAM = Path(sys.argv[0]).stem


# --- push_pull: maps, so that a reader can ignore a key that it does not know


class Task(msgspec.Struct):
    task: Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
    value: Annotated[int, msgspec.Meta(ge=0, lt=2**32)]


class Result(msgspec.Struct):
    task: Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
    worker: str
    value: Annotated[int, msgspec.Meta(ge=0)]


# --- pub_sub


class TopicSeq(msgspec.Struct):
    seq: Annotated[int, msgspec.Meta(ge=0)]


# --- KV events: the structs of vllm/distributed/kv_events.py at v0.33.0

END_SEQ = (-1).to_bytes(8, "big", signed=True)  # ends a replay
ExternalBlockHash = Union[bytes, int]


class EventBatch(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    ts: float
    events: list[Any]
    data_parallel_rank: Optional[int] = None


class KVCacheEvent(msgspec.Struct, omit_defaults=True, gc=False, tag=True):
    """A map whose first key is "type"."""


class BlockStored(KVCacheEvent):
    block_hashes: list[ExternalBlockHash]
    parent_block_hash: Optional[ExternalBlockHash]
    token_ids: list[int]
    block_size: int
    lora_id: Optional[int]
    medium: Optional[str]
    lora_name: Optional[str]
    extra_keys: Optional[list[Optional[tuple[Any, ...]]]] = None
    group_idx: Optional[int] = None
    kv_cache_spec_kind: Optional[str] = None
    kv_cache_spec_sliding_window: Optional[int] = None
    locality: Optional[str] = None
    ownership: Optional[str] = None
    session_id: Optional[str] = None
    lookahead_token_ids: Optional[list[list[int]]] = None


class BlockRemoved(KVCacheEvent):
    block_hashes: list[ExternalBlockHash]
    medium: Optional[str]
    group_idx: Optional[int] = None
    locality: Optional[str] = None
    ownership: Optional[str] = None


class AllBlocksCleared(KVCacheEvent):
    pass


class KVEventBatch(EventBatch):
    events: list[Union[BlockStored, BlockRemoved, AllBlocksCleared]]


def toy_batch(n):
    """A made-up batch: one block is stored, and in every fifth batch an old one removed."""
    tokens = [(n * 16 + i) % 32000 for i in range(16)]
    stored = BlockStored([_hash(n)], _hash(n - 1) if n else None, tokens, 16, None, "GPU", None)
    stored.extra_keys, stored.group_idx, stored.kv_cache_spec_kind = [None], 0, "full_attention"
    removed = [BlockRemoved([_hash(n // 5)], "GPU", 0)] if n % 5 == 4 else []
    return KVEventBatch(time.time(), [stored, *removed], 0)


def _hash(block):
    return (block + 1) * 0x9E3779B97F4A7C15 % 2**64


def describe(batch):
    """For people: "BlockStored 1 block 16 tokens, BlockRemoved 1 block"."""
    words = []
    for event in batch.events:
        word = event.__struct_config__.tag
        if hasattr(event, "block_hashes"):
            word += " " + some(len(event.block_hashes), "block")
        if hasattr(event, "token_ids"):
            word += " " + some(len(event.token_ids), "token")
        words.append(word)
    return ", ".join(words) or "no events"


def as_seq(number):
    return number.to_bytes(8, "big")


def read_seq(frames):
    """[topic][seq][payload], or without the topic as before v0.26 -> seq, payload."""
    if len(frames) not in (2, 3) or len(frames[-2]) != 8:
        raise ValueError("not [topic][seq][batch]")
    return int.from_bytes(frames[-2], "big"), frames[-1]


# --- router_dealer: vLLM v0.33.0's messages between a front-end and its engines. With array_like a field
# is its position; a map leaves out what has its default. Any: tensors and what else no lesson uses.


class SamplingParams(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    watermarking: Optional[bool] = None
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: Optional[int] = None
    stop: Union[str, list[str], None] = None
    stop_token_ids: Optional[list[int]] = None
    ignore_eos: bool = False
    max_tokens: Optional[int] = 16  # None: no limit
    min_tokens: int = 0
    logprobs: Optional[int] = None
    prompt_logprobs: Optional[int] = None
    prompt_logprob_token_ids: Any = None
    prompt_logprob_start: Optional[int] = None
    logprob_token_ids: Optional[list[int]] = None
    flat_logprobs: bool = False
    detokenize: bool = True
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    include_stop_str_in_output: bool = False
    output_kind: int = 0
    stream_interval: Optional[int] = None
    skip_clone: bool = False
    output_text_buffer_length: int = 0
    _eos_token_id: Optional[int] = None
    _all_stop_token_ids: set[int] = msgspec.field(default_factory=set)
    _watermarking_skipped: bool = False
    structured_outputs: Optional[dict[str, Any]] = None
    logit_bias: Optional[dict[int, float]] = None
    allowed_token_ids: Optional[list[int]] = None
    extra_args: Optional[dict[str, Any]] = None
    bad_words: Optional[list[str]] = None
    _bad_words_token_ids: Optional[list[list[int]]] = None
    skip_reading_prefix_cache: Optional[bool] = None
    thinking_token_budget: Optional[int] = None
    repetition_detection: Optional[dict[str, int]] = None
    routed_experts_prompt_start: int = 0
    trace_decode_token_ids: Optional[list[int]] = None


class EngineCoreRequest(msgspec.Struct, array_like=True, omit_defaults=True):
    request_id: str
    prompt_token_ids: Optional[list[int]]
    mm_features: Optional[list[Any]]
    sampling_params: Optional[SamplingParams]
    pooling_params: Any
    arrival_time: float
    lora_request: Any
    cache_salt: Optional[str]
    data_parallel_rank: Optional[int]
    prompt_embeds: Any = None
    prompt_is_token_ids: Optional[list[bool]] = None
    client_index: int = 0
    current_wave: int = 0
    priority: int = 0
    trace_headers: Optional[dict[str, str]] = None
    resumable: bool = False
    external_req_id: Optional[str] = None
    reasoning_ended: Optional[bool] = None
    reasoning_parser_kwargs: Optional[dict[str, Any]] = None
    abort_immediately: bool = False
    session_id: Optional[str] = None
    kv_hints: Any = None


class FinishReason(enum.IntEnum):
    STOP = 0
    LENGTH = 1
    ABORT = 2
    ERROR = 3
    REPETITION = 4


class EngineCoreOutput(msgspec.Struct, array_like=True, omit_defaults=True):
    request_id: str
    new_token_ids: list[Annotated[int, msgspec.Meta(ge=0, lt=2**32)]]
    new_logprobs: Any = None
    new_prompt_logprobs_tensors: Any = None
    pooling_output: Any = None
    finish_reason: Optional[FinishReason] = None
    stop_reason: Union[int, str, None] = None
    events: Any = None
    kv_transfer_params: Optional[dict[str, Any]] = None
    ec_transfer_params: Optional[dict[str, Any]] = None
    trace_headers: Optional[dict[str, str]] = None
    prefill_stats: Any = None
    routed_experts: Any = None
    num_nans_in_logits: int = 0
    mm_cache_miss_hashes: Optional[list[str]] = None
    new_sampling_mask: Any = None
    spec_decode_metrics: Any = None
    prompt_token_id_logprobs: Any = None
    error: Optional[dict[str, Any]] = None


class EngineCoreOutputs(msgspec.Struct, array_like=True, omit_defaults=True):
    engine_index: Annotated[int, msgspec.Meta(ge=0, lt=2**16)] = 0
    outputs: list[EngineCoreOutput] = []
    scheduler_stats: Any = None
    timestamp: float = 0.0
    utility_output: Any = None
    finished_requests: Optional[set[str]] = None
    wave_complete: Optional[int] = None
    start_wave: Optional[int] = None
    weight_version: Optional[str] = None


class EngineCoreReadyResponse(msgspec.Struct, forbid_unknown_fields=True):
    max_model_len: int
    num_gpu_blocks: int
    block_size: int
    dp_stats_address: Optional[str]
    dtype: str
    vllm_version: str
    world_size: int
    data_parallel_size: int
    tensor_parallel_size: int
    pipeline_parallel_size: int
    decode_context_parallel_size: int
    data_parallel_rank: int
    max_num_seqs: int
    max_num_batched_tokens: int
    instance_id: str
    supports_lora: bool
    max_loras: int
    mamba_block_size: Optional[int] = None
    kv_cache_size_tokens: Optional[int] = None
    kv_cache_max_concurrency: Optional[float] = None
    kv_events_config: Optional[dict[str, Any]] = None
    weight_transfer_backend: Optional[str] = None
    enable_sleep_mode: bool = False
    supports_draft_weight_updates: bool = False
    effective_attention_block_size: Optional[int] = None
    coord_store_port: int = 0
    coordinator_input_address: Optional[str] = None
    coordinator_output_address: Optional[str] = None


class EngineStatus(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """HELLO and READY."""

    status: Literal["HELLO", "READY"]
    local: bool
    headless: bool
    parallel_config_hash: Optional[str] = None


class EngineZmqAddresses(msgspec.Struct, forbid_unknown_fields=True):
    inputs: list[str]
    outputs: list[str]
    coordinator_input: Optional[str] = None
    coordinator_output: Optional[str] = None
    frontend_stats_publish_address: Optional[str] = None


class EngineHandshakeMetadata(msgspec.Struct, forbid_unknown_fields=True):
    """INIT."""

    addresses: EngineZmqAddresses
    parallel_config: dict[str, Union[int, str, list[int]]]


ADD, ABORT = b"\x00", b"\x01"  # The frame before a payload
ENGINE_CORE_DEAD = b"ENGINE_CORE_DEAD"  # A frame by itself, no msgpack


def identity(engine):
    return engine.to_bytes(2, "little")


def registered(frames, engines=65536):
    """The index of the engine that has sent [identity][map]. The map may be missing, as in vLLM."""
    if len(frames) != 2 or len(frames[0]) != 2:
        raise ValueError("not an identity of 2 bytes and a map")
    if frames[1]:
        read(frames[1:], dict)
    engine = int.from_bytes(frames[0], "little")
    if engine >= engines:
        raise ValueError(f"unknown engine {engine}")
    return engine


def request(number, max_tokens):
    """[ADD][EngineCoreRequest]: a toy prompt."""
    params = SamplingParams(max_tokens=max_tokens)
    prompt = [1, 15043, 3186, 29892, 590]
    add = EngineCoreRequest(f"r{number}", prompt, None, params, None, time.time(), None, None, None)
    return [ADD, pack(add)]


def take_outputs(frames, tokens, ended, stream=True):
    """A front-end's part with [EngineCoreOutputs]: tokens[r] counts, ended[r] tells if r is complete.
    stream: print each token. An engine that has died ends the program."""
    if frames == [ENGINE_CORE_DEAD]:
        complain("an engine has died")
        sys.exit(1)
    try:
        step = read(frames, EngineCoreOutputs)
        if any(output.request_id not in tokens for output in step.outputs):
            raise ValueError("not for our requests")
    except ValueError as why:
        complain(f"bad outputs: {why}")
        return
    for output in step.outputs:
        name, reason = output.request_id, output.finish_reason
        if name in ended:
            continue
        for token in output.new_token_ids if stream else []:
            print(f"{name} <- engine {step.engine_index}: token {token}")
        tokens[name] += len(output.new_token_ids)
        if reason is not None:
            number = some(tokens[name], "token")
            print(f"{name} <- engine {step.engine_index}: {number}, {reason.name.lower()}")
            ended[name] = reason in (FinishReason.LENGTH, FinishReason.STOP)


@dataclass
class Running:
    """What an engine keeps of an EngineCoreRequest, and how far it is with it."""

    prompt_tokens: int
    max_tokens: float
    tokens: int = 0
    aborted: bool = False

    def ended(self):
        return self.aborted or self.tokens == self.max_tokens


def take_request(frames, requests):
    """[ADD][EngineCoreRequest] or [ABORT][ids]. requests: those that run, by id. False: it is neither."""
    try:
        if len(frames) != 2 or frames[0] not in (ADD, ABORT):
            raise ValueError("it is no ADD and no ABORT")
        if frames[0] == ABORT:
            for name in read(frames[1:], list[str]):
                if name in requests:
                    requests[name].aborted = True
            return True
        add = read(frames[1:], EngineCoreRequest)
        limit = (add.sampling_params or SamplingParams()).max_tokens
        if limit is not None and limit < 1:
            raise ValueError(f"max_tokens is {limit}")
    except ValueError as why:
        complain(f"bad request: {why}")
        return False
    limit = math.inf if limit is None else limit
    requests[add.request_id] = Running(len(add.prompt_token_ids or []), limit)
    return True


def step(engine, requests, push, counts=None):
    """A token (1, 2, 3, ...) for each request that is not aborted: sends [EngineCoreOutputs]."""
    outputs = []
    for name, r in requests.items():
        r.tokens += not r.aborted
        reason = FinishReason.ABORT if r.aborted else FinishReason.LENGTH if r.ended() else None
        tokens = [] if r.aborted else [r.tokens % 32000]
        outputs.append(EngineCoreOutput(name, tokens, finish_reason=reason))
    push.send(pack(EngineCoreOutputs(engine, outputs, timestamp=time.monotonic())))
    for name, r in list(requests.items()):
        if r.ended():
            del requests[name]
        if r.tokens == 1 and not r.aborted:
            print(f"{printable(name)}: {some(r.prompt_tokens, 'prompt token')}")
        if r.ended():
            end = "aborted" if r.aborted else f"{some(r.tokens, 'token')}, length"
            print(f"{printable(name)}: {end}")
            if counts:
                counts["aborted" if r.aborted else "finished"] += 1


def ready(engine):
    """EngineCoreReadyResponse: the numbers are made up."""
    return EngineCoreReadyResponse(
        4096, 1024, 16, None, "bfloat16", "0.33.0", 1, 1, 1, 1, 1, engine, 256, 4096, "toy", False, 0
    )


# --- all programs


def start(parser):
    """The options. From now on SIGTERM, like Ctrl-C, raises KeyboardInterrupt, but not within a call that
    is about to wait, as pyzmq's recv. So SIGALRM interrupts such a call each second, until the end:
    there it would make libzmq drop what is still to be sent."""
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    signal.signal(signal.SIGALRM, lambda number, frame: None)
    signal.setitimer(signal.ITIMER_REAL, 1, 1)
    atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)
    sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    return args


def stop_signals():
    """A list, empty until SIGINT or SIGTERM comes. For engines, which end between two steps and not
    in the middle of one, where KeyboardInterrupt would be raised."""
    came = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: came.append(number))
    return came


def complain(what):
    print(f"{PROGRAM}: {what}", file=sys.stderr)


def bind(socket, endpoint):
    """Binds and says where, or ends the program."""
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        complain(f"cannot listen on {endpoint}: {error.strerror}")
        sys.exit(1)
    print(f"{PROGRAM}: listening on {socket.getsockopt_string(zmq.LAST_ENDPOINT)}")


def pack(value):
    return msgspec.msgpack.encode(value)


def read(frames, kind):
    """The value of this type in a message of one frame; ValueError for anything else."""
    if len(frames) != 1:
        raise ValueError(f"{len(frames)} frames, not 1")
    try:
        return msgspec.msgpack.decode(frames[0], type=kind)
    except RecursionError:
        raise ValueError("too many arrays and maps in each other") from None


def printable(text):
    """Without control characters, which can move the cursor of a terminal."""
    return re.sub("[\x00-\x1f\x7f-\x9f]", "?", text)


def some(number, noun):
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
