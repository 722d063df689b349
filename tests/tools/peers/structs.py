# SPDX-License-Identifier: MIT
"""The messages, as msgspec Structs.

Field order, types and defaults are those of vLLM v0.33.0 (older generations say so), because
they are the wire: with array_like=True a field is its position, and every field is written.
A map (no array_like) is keyed by name, and omit_defaults leaves out what has its default.
Decoders read more: array fields missing at the end take their defaults, extra ones are ignored.

Any stands for what a toy has no use for: tensors, multimodal features, logprobs.
At the end: the few functions that more than one program needs. Readers are strict, and raise.
"""

import enum
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Optional, Union

import msgspec

# --- vllm/sampling_params.py, vllm/pooling_params.py, vllm/lora/request.py ---------------------


class RequestOutputKind(enum.Enum):
    CUMULATIVE = 0
    DELTA = 1
    FINAL_ONLY = 2


@dataclass
class StructuredOutputsParams:
    json: Union[str, dict[str, Any], None] = None
    regex: Optional[str] = None
    choice: Optional[list[str]] = None
    grammar: Optional[str] = None
    json_object: Optional[bool] = None
    disable_any_whitespace: bool = False
    disable_additional_properties: bool = False
    whitespace_pattern: Optional[str] = None
    structural_tag: Optional[str] = None
    _backend: Optional[str] = None  # msgspec before 0.20 left out what begins with an underscore
    _backend_was_auto: bool = False


@dataclass
class RepetitionDetectionParams:
    max_pattern_size: int = 0
    min_pattern_size: int = 0
    min_count: int = 0


class SamplingParams(msgspec.Struct, omit_defaults=True):
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
    max_tokens: Optional[int] = 16  # absent on the wire: 16. nil: no limit
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
    output_kind: RequestOutputKind = RequestOutputKind.CUMULATIVE
    stream_interval: Optional[int] = None
    skip_clone: bool = False
    output_text_buffer_length: int = 0
    _eos_token_id: Optional[int] = None
    _all_stop_token_ids: set[int] = msgspec.field(default_factory=set)
    _watermarking_skipped: bool = False
    structured_outputs: Optional[StructuredOutputsParams] = None
    logit_bias: Optional[dict[int, float]] = None
    allowed_token_ids: Optional[list[int]] = None
    extra_args: Optional[dict[str, Any]] = None
    bad_words: Optional[list[str]] = None
    _bad_words_token_ids: Optional[list[list[int]]] = None
    skip_reading_prefix_cache: Optional[bool] = None
    thinking_token_budget: Optional[int] = None
    repetition_detection: Optional[RepetitionDetectionParams] = None
    routed_experts_prompt_start: int = 0
    trace_decode_token_ids: Optional[list[int]] = None


class LateInteractionParams(msgspec.Struct, omit_defaults=True, array_like=True):
    mode: str
    query_key: str
    query_uses: Optional[int] = None


class PoolingParams(msgspec.Struct, omit_defaults=True, array_like=True):
    use_activation: Optional[bool] = None
    dimensions: Optional[int] = None
    step_tag_id: Optional[int] = None
    returned_token_ids: Optional[list[int]] = None
    task: Optional[str] = None
    requires_token_ids: bool = False
    skip_reading_prefix_cache: Optional[bool] = None
    late_interaction_params: Optional[LateInteractionParams] = None
    extra_kwargs: Optional[dict[str, Any]] = None
    output_kind: RequestOutputKind = RequestOutputKind.FINAL_ONLY
    late_chunking_params: Any = None


class LoRARequest(msgspec.Struct, omit_defaults=True, array_like=True):
    lora_name: str
    lora_int_id: int
    lora_path: str = ""
    base_model_name: Optional[str] = None
    load_inplace: bool = False
    is_3d_lora_weight: bool = False


# --- vllm/v1/engine/utils.py, vllm/v1/engine/core.py: the handshake ----------------------------


class EngineStatus(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """HELLO and READY; in vLLM a dict, of EngineCoreProc._perform_handshake."""

    status: Literal["HELLO", "READY"]
    local: bool
    headless: bool
    parallel_config_hash: Optional[str] = None  # READY only, and only if data_parallel_size > 1
    # READY only, and only with elastic expert parallelism
    coord_store_port: Optional[int] = None
    elastic_ep_max_dp_size: Optional[int] = None
    num_redundant_experts: Optional[int] = None


class EngineZmqAddresses(msgspec.Struct, forbid_unknown_fields=True):
    """A dataclass in vLLM. A front-end of several API servers has several inputs and outputs."""

    inputs: list[str]
    outputs: list[str]
    coordinator_input: Optional[str] = None
    coordinator_output: Optional[str] = None
    frontend_stats_publish_address: Optional[str] = None


class EngineHandshakeMetadata(msgspec.Struct, forbid_unknown_fields=True):
    """INIT, what answers a HELLO. A dataclass in vLLM."""

    addresses: EngineZmqAddresses
    parallel_config: dict[str, Union[int, str, list[int]]]


# --- vllm/v1/engine/coordinator.py: more than one engine ---------------------------------------

SUBSCRIBE_ALL = b"\x01"  # an XSUB has to say it itself
COORDINATOR_READY = b"READY"  # once all engines have; no topic before it

# Behind the frame START_DP_WAVE: wave, the engine that knows already. That is its index, or its
# identity in 2 bytes when the word came from a Python front-end (FIRST_REQ), or nobody.
StartDPWave = tuple[int, Union[int, bytes, None]]
# To the front-ends: [waiting, running] of each engine (nil: as before), wave, engines_running
CoordinatorState = tuple[Optional[list[tuple[int, int]]], int, bool]
# From a front-end: engine and wave, or "SCALE_ELASTIC_EP" and how many engines
CoordinatorNotice = tuple[Union[int, bytes, str], int]

# --- vllm/v1/engine/__init__.py: front-end to engine -------------------------------------------


class EngineCoreRequestType(enum.Enum):
    """The frame before the payload: one raw byte, not msgpack."""

    ADD = b"\x00"
    ABORT = b"\x01"  # [request_id, ...]
    START_DP_WAVE = b"\x02"
    UTILITY = b"\x03"


@dataclass
class EngineCoreReadyResponse:
    """What an engine's DEALER sends first, so that the ROUTER learns its identity."""

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


class EngineCoreRequest(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    request_id: str
    prompt_token_ids: Optional[list[int]]
    mm_features: Optional[list[Any]]
    sampling_params: Optional[SamplingParams]
    pooling_params: Optional[PoolingParams]
    arrival_time: float
    lora_request: Optional[LoRARequest]
    cache_salt: Optional[str]
    data_parallel_rank: Optional[int]
    prompt_embeds: Any = None
    prompt_is_token_ids: Optional[list[bool]] = None
    client_index: int = 0
    current_wave: int = 0
    priority: int = 0
    trace_headers: Optional[Mapping[str, str]] = None
    resumable: bool = False
    external_req_id: Optional[str] = None
    reasoning_ended: Optional[bool] = None
    reasoning_parser_kwargs: Optional[dict[str, Any]] = None
    abort_immediately: bool = False
    session_id: Optional[str] = None
    kv_hints: Any = None


# client_index, call_id (an unsigned 64 bit number), method, arguments
UtilityCall = tuple[int, int, str, list[Any]]

# --- vllm/v1/engine/__init__.py: engine to front-end -------------------------------------------

ENGINE_CORE_DEAD = b"ENGINE_CORE_DEAD"  # the last words of an engine: one raw frame


class FinishReason(enum.IntEnum):
    STOP = 0
    LENGTH = 1
    ABORT = 2
    ERROR = 3
    REPETITION = 4

    def __str__(self):
        return self.name.lower()


class EngineCoreEventType(enum.IntEnum):
    QUEUED = 1
    SCHEDULED = 2
    PREEMPTED = 3


class EngineCoreEvent(msgspec.Struct):
    type: EngineCoreEventType
    timestamp: float


# --- vllm/v1/metrics/stats.py, and what it takes from elsewhere


@dataclass
class PrefixCacheStats:
    reset: bool = False
    requests: int = 0
    queries: int = 0
    hits: int = 0
    preempted_requests: int = 0
    preempted_queries: int = 0
    preempted_hits: int = 0
    hits_by_source: dict[str, int] = field(default_factory=dict)


@dataclass
class KVCacheEvictionEvent:
    lifetime_seconds: float
    idle_seconds: float
    reuse_gaps_seconds: tuple[float, ...]


@dataclass
class SchedulerIterationDetails:
    iteration_index: int
    num_ctx_requests: int
    num_ctx_tokens: int
    num_generation_requests: int
    num_generation_tokens: int
    elapsed_ms: float
    num_encoder_inputs: int = 0
    num_encoder_output_tokens: int = 0
    is_dummy: bool = False


@dataclass
class SpecDecodingStats:
    num_spec_tokens: int
    num_drafts: int = 0
    num_draft_tokens: int = 0
    num_accepted_tokens: int = 0
    num_accepted_tokens_per_pos: list[int] = field(default_factory=list)
    num_draft_tokens_per_pos: list[int] = field(default_factory=list)


@dataclass
class CUDAGraphStat:
    num_unpadded_tokens: int
    num_padded_tokens: int
    num_paddings: int
    runtime_mode: str


@dataclass
class DebugPerfStats:
    calc_duration: float = 0.0
    num_prefill_requests: int = 0
    num_decode_requests: int = 0
    context_breakdown: Optional[dict[str, int]] = None
    num_flops_per_gpu_breakdown: Optional[dict[str, int]] = None
    num_read_bytes_per_gpu_breakdown: Optional[dict[str, int]] = None
    num_write_bytes_per_gpu_breakdown: Optional[dict[str, int]] = None


@dataclass
class PerfStats:
    num_flops_per_gpu: int = 0
    num_read_bytes_per_gpu: int = 0
    num_write_bytes_per_gpu: int = 0
    debug_stats: Optional[DebugPerfStats] = None


@dataclass
class SchedulerStats:
    num_running_reqs: int = 0
    num_waiting_reqs: int = 0
    num_skipped_waiting_reqs: int = 0
    num_kv_fetch_reqs_by_stage: dict[str, int] = field(default_factory=dict)
    step_counter: int = 0
    current_wave: int = 0
    kv_cache_usage: float = 0.0
    iteration_details: Optional[SchedulerIterationDetails] = None
    prefix_cache_stats: PrefixCacheStats = field(default_factory=PrefixCacheStats)
    connector_prefix_cache_stats: Optional[PrefixCacheStats] = None
    kv_cache_eviction_events: list[KVCacheEvictionEvent] = field(default_factory=list)
    spec_decoding_stats: Optional[SpecDecodingStats] = None
    kv_connector_stats: Optional[dict[str, Any]] = None
    ec_connector_stats: Optional[dict[str, Any]] = None
    waiting_lora_adapters: dict[str, int] = field(default_factory=dict)
    running_lora_adapters: dict[str, int] = field(default_factory=dict)
    cudagraph_stats: Optional[CUDAGraphStat] = None
    perf_stats: Optional[PerfStats] = None


@dataclass
class PrefillStats:
    num_prompt_tokens: int = 0
    num_computed_tokens: int = 0
    num_cached_tokens: int = 0
    num_local_cached_tokens: int = 0
    num_external_cached_tokens: int = 0
    num_cache_creation_tokens: int = 0


@dataclass
class RequestError:
    code: str
    message: str
    retryable: bool = False


class EngineCoreOutput(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    request_id: str
    new_token_ids: list[int]
    new_logprobs: Any = None
    new_prompt_logprobs_tensors: Any = None
    pooling_output: Any = None
    finish_reason: Optional[FinishReason] = None
    stop_reason: Union[int, str, None] = None
    events: Optional[list[EngineCoreEvent]] = None
    kv_transfer_params: Optional[dict[str, Any]] = None
    ec_transfer_params: Optional[dict[str, Any]] = None
    trace_headers: Optional[Mapping[str, str]] = None
    prefill_stats: Optional[PrefillStats] = None
    routed_experts: Any = None
    num_nans_in_logits: int = 0
    mm_cache_miss_hashes: Optional[list[str]] = None
    new_sampling_mask: Any = None
    spec_decode_metrics: Any = None
    prompt_token_id_logprobs: Any = None
    error: Optional[RequestError] = None


# What a utility call returns: type info, value. The first is nil, unless both sides were told to
# trust each other with VLLM_ALLOW_INSECURE_SERIALIZATION
UtilityResult = tuple[Any, Any]


class UtilityOutput(msgspec.Struct, array_like=True, gc=False):
    call_id: int
    failure_message: Optional[str] = None
    result: Optional[UtilityResult] = None


class EngineCoreOutputs(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    engine_index: int = 0
    outputs: list[EngineCoreOutput] = []
    scheduler_stats: Optional[SchedulerStats] = None
    timestamp: float = 0.0  # monotonic; vLLM fills it in when it is 0.0
    utility_output: Optional[UtilityOutput] = None
    finished_requests: Optional[set[str]] = None
    wave_complete: Optional[int] = None
    start_wave: Optional[int] = None
    weight_version: Optional[str] = None


# --- vllm/distributed/kv_events.py -------------------------------------------------------------

END_SEQ = (-1).to_bytes(8, "big", signed=True)  # ends a replay
ExternalBlockHash = Union[bytes, int]


class EventBatch(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    ts: float
    events: list[Any]
    data_parallel_rank: Optional[int] = None


class KVCacheEvent(msgspec.Struct, omit_defaults=True, gc=False, tag=True):
    """Maps whose first key is "type". Since v0.24.0."""


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
    locality: Optional[str] = None  # Since v0.26.0
    ownership: Optional[str] = None  # Since v0.29.0
    session_id: Optional[str] = None  # Since v0.30.0
    lookahead_token_ids: Optional[list[list[int]]] = None  # Since v0.33.0


class BlockRemoved(KVCacheEvent):
    block_hashes: list[ExternalBlockHash]
    medium: Optional[str]
    group_idx: Optional[int] = None
    locality: Optional[str] = None  # Since v0.26.0
    ownership: Optional[str] = None  # Since v0.29.0


class AllBlocksCleared(KVCacheEvent):
    pass


class KVEventBatch(EventBatch):
    events: list[Union[BlockStored, BlockRemoved, AllBlocksCleared]]


class BlockStoredV26(KVCacheEvent, tag="BlockStored"):
    """v0.26.0 to v0.28.0."""

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


class BlockRemovedV26(KVCacheEvent, tag="BlockRemoved"):
    block_hashes: list[ExternalBlockHash]
    medium: Optional[str]
    group_idx: Optional[int] = None
    locality: Optional[str] = None


class KVEventBatchV26(EventBatch):
    events: list[Union[BlockStoredV26, BlockRemovedV26, AllBlocksCleared]]


class BlockStoredV24(KVCacheEvent, tag="BlockStored"):
    """v0.24.0: no locality yet."""

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


class BlockRemovedV24(KVCacheEvent, tag="BlockRemoved"):
    block_hashes: list[ExternalBlockHash]
    medium: Optional[str]
    group_idx: Optional[int] = None


class KVEventBatchV24(EventBatch):
    events: list[Union[BlockStoredV24, BlockRemovedV24, AllBlocksCleared]]


class KVCacheEventArray(msgspec.Struct, array_like=True, omit_defaults=True, gc=False, tag=True):
    """Arrays that start with the tag. Up to v0.23.0."""


class AllBlocksClearedArray(KVCacheEventArray, tag="AllBlocksCleared"):
    pass


class BlockStoredV23(KVCacheEventArray, tag="BlockStored"):
    """v0.23.0: the longest array there was."""

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


class BlockRemovedV23(KVCacheEventArray, tag="BlockRemoved"):
    block_hashes: list[ExternalBlockHash]
    medium: Optional[str]
    group_idx: Optional[int] = None


class KVEventBatchV23(EventBatch):
    events: list[Union[BlockStoredV23, BlockRemovedV23, AllBlocksClearedArray]]


class BlockStoredV10(KVCacheEventArray, tag="BlockStored"):
    """v0.10.2: the first with a medium, and with hashes that are bytes or unsigned."""

    block_hashes: list[ExternalBlockHash]
    parent_block_hash: Optional[ExternalBlockHash]
    token_ids: list[int]
    block_size: int
    lora_id: Optional[int]
    medium: Optional[str]


class BlockRemovedV10(KVCacheEventArray, tag="BlockRemoved"):
    block_hashes: list[ExternalBlockHash]
    medium: Optional[str]


class KVEventBatchV10(EventBatch):
    events: list[Union[BlockStoredV10, BlockRemovedV10, AllBlocksClearedArray]]


class BlockStoredV9(KVCacheEventArray, tag="BlockStored"):
    """v0.9.0: the first there was. Hashes are Python's, so they can be negative."""

    block_hashes: list[int]
    parent_block_hash: Optional[int]
    token_ids: list[int]
    block_size: int
    lora_id: Optional[int]


class BlockRemovedV9(KVCacheEventArray, tag="BlockRemoved"):
    block_hashes: list[int]


class KVEventBatchV9(msgspec.Struct, array_like=True, omit_defaults=True, gc=False):
    """v0.9.1 added data_parallel_rank."""

    ts: float
    events: list[Union[BlockStoredV9, BlockRemovedV9, AllBlocksClearedArray]]


# --- our own small messages: req_rep, topics, push_pull ----------------------------------------


Uint32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
Uint64 = Annotated[int, msgspec.Meta(ge=0)]


class ErrorReply(msgspec.Struct):
    """What a server answers to a request that it cannot read."""

    error: str


class TopicSeq(msgspec.Struct):
    seq: Uint64


class BatchStart(msgspec.Struct):
    """Ventilator to sink, before the first task: so many are coming."""

    tasks: Uint32


class Task(msgspec.Struct):
    task: Uint32
    value: Uint32


class Result(msgspec.Struct):
    task: Uint32
    worker: str
    value: Uint64


# --- readers, and a writer ---------------------------------------------------------------------

# What msgspec raises on bytes that are not what they should be
UNREADABLE = (ValueError, RecursionError)

_text = msgspec.msgpack.Decoder(str)
_reply = msgspec.msgpack.Decoder(Union[str, ErrorReply])
_ready = msgspec.msgpack.Decoder(EngineCoreReadyResponse)
_outputs = msgspec.msgpack.Decoder(EngineCoreOutputs)
_kv_batches = [  # Newest first. v0.26.0 reads v0.24.0 too, and v0.9.0 what lies before v0.23.0
    msgspec.msgpack.Decoder(generation)
    for generation in (KVEventBatch, KVEventBatchV23, KVEventBatchV10, KVEventBatchV9)
]


def one_frame(frames):
    if len(frames) != 1:
        raise ValueError(f"{len(frames)} frames, not 1")
    return frames[0]


def read_text(frames):
    """req_rep: the text of a request."""
    frame = one_frame(frames)
    try:
        return _text.decode(frame)
    except UNREADABLE:
        raise ValueError("not a msgpack str") from None


def read_reply(frames):
    """req_rep: the text of a reply; an error map is an error."""
    reply = _reply.decode(one_frame(frames))
    if isinstance(reply, ErrorReply):
        raise ValueError(f"the peer says: {reply.error}")
    return reply


def read_registration(frames):
    """[identity][EngineCoreReadyResponse] -> index. Before v0.20.0 the payload was empty."""
    if len(frames) != 2 or len(frames[0]) != 2:
        raise ValueError("not a 2 byte identity and one frame")
    if frames[1]:
        _ready.decode(frames[1])
    return int.from_bytes(frames[0], "little")


def toy_request(request_id, max_tokens):
    """A prompt of 5 tokens; everything else as vLLM has it by default."""
    return EngineCoreRequest(
        request_id=request_id,
        prompt_token_ids=[1, 2, 3, 4, 5],
        mm_features=None,
        sampling_params=SamplingParams(max_tokens=max_tokens),
        pooling_params=None,
        arrival_time=time.time(),
        lora_request=None,
        cache_salt=None,
        data_parallel_rank=None,
    )


def toy_ready():
    """What a small model on one GPU would announce."""
    return EngineCoreReadyResponse(
        max_model_len=4096,
        num_gpu_blocks=1024,
        block_size=16,
        dp_stats_address=None,
        dtype="bfloat16",
        vllm_version="0.33.0",
        world_size=1,
        data_parallel_size=1,
        tensor_parallel_size=1,
        pipeline_parallel_size=1,
        decode_context_parallel_size=1,
        data_parallel_rank=0,
        max_num_seqs=256,
        max_num_batched_tokens=8192,
        instance_id="toy",
        supports_lora=False,
        max_loras=0,
        kv_cache_size_tokens=16384,
        kv_cache_max_concurrency=4.0,
    )


def token_limit(request):
    """max_tokens: absent on the wire 16, nil no limit; 0 for a request that generates nothing."""
    if request.sampling_params is None:
        return 0
    limit = request.sampling_params.max_tokens
    return 2**32 - 1 if limit is None else limit


def read_outputs(frames):
    """[EngineCoreOutputs][raw tensors, or nothing]; the tensors are of no use here."""
    return _outputs.decode(frames[0])


class Progress:
    """A front-end's requests r0, r1, ... and how far each has come."""

    def __init__(self, count):
        self.tokens = {f"r{n}": 0 for n in range(count)}
        self.open = dict.fromkeys(self.tokens)
        self.complete = 0

    def take(self, message, stream=False):
        """Counts what EngineCoreOutputs bring. Yields a line for each request that has finished,
        and with stream for each token. Whoever is not open was aborted: no matter."""
        for output in message.outputs:
            name, reason = output.request_id, output.finish_reason
            if name not in self.open:
                continue
            line = f"{name} <- engine {message.engine_index}:"
            if stream:
                yield from (f"{line} token {token}" for token in output.new_token_ids)
            self.tokens[name] += len(output.new_token_ids)
            if reason is not None:
                yield f"{line} {self.tokens[name]} tokens, {reason}"
                self.complete += reason in (FinishReason.STOP, FinishReason.LENGTH)
                del self.open[name]

    def lose(self, engine, names, reroute=False):
        """Engine is dead. Yields a line for each of its requests that is open; with reroute that
        begins anew, otherwise it has failed."""
        for name in names:
            if name in self.open and reroute:
                self.tokens[name] = 0
                yield f"{name} to be sent again: engine {engine} is dead"
            elif name in self.open:
                del self.open[name]
                yield f"{name} failed: engine {engine} is dead"

    def __str__(self):
        tokens = sum(self.tokens.values())
        return f"{self.complete} of {len(self.tokens)} requests complete, {tokens} tokens"


def read_kv_frames(frames):
    """[topic, or nothing][seq, 8 bytes big-endian][payload] -> seq, payload."""
    if len(frames) not in (2, 3) or len(frames[-2]) != 8:
        raise ValueError(f"{len(frames)} frames that are not [topic][seq][payload]")
    return int.from_bytes(frames[-2], "big"), frames[-1]


def read_kv_batch(payload):
    """KV events of any generation."""
    complaint = None
    for decoder in _kv_batches:
        try:
            return decoder.decode(payload)
        except UNREADABLE as why:
            complaint = complaint or why
    raise ValueError(complaint)


def _plural(number, noun):
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def describe(batch):
    """KV events for people: "BlockStored 1 block 16 tokens, BlockRemoved 1 block"."""
    words = []
    for event in batch.events:
        word = event.__struct_config__.tag
        if hasattr(event, "block_hashes"):
            word += " " + _plural(len(event.block_hashes), "block")
        if hasattr(event, "token_ids"):
            word += " " + _plural(len(event.token_ids), "token")
        words.append(word)
    return ", ".join(words) or "no events"
