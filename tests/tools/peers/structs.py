# SPDX-License-Identifier: MIT
"""The messages, as msgspec types made of vLLM's layouts (tests/tools/layouts/): field order, types and
defaults, because they are the wire. structs.EngineCoreRequest is that of the newest release; KV events
are there for each generation (KV). At the end: the few functions that more than one program needs.
"""

import sys
import time
from pathlib import Path
from typing import Literal, Optional

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import layouts  # noqa: E402

NEWEST = layouts.types_of("0.33.0")


def __getattr__(name):
    """A struct or an enum of the newest release."""
    if name in NEWEST.layout["structs"] or name in NEWEST.layout["enums"]:
        return NEWEST[name]
    raise AttributeError(name)


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


SUBSCRIBE_ALL = b"\x01"  # An XSUB has to send it itself
COORDINATOR_READY = b"READY"  # Once all engines are ready; no topic before it
ENGINE_CORE_DEAD = b"ENGINE_CORE_DEAD"  # The last message of an engine: one raw frame
END_SEQ = (-1).to_bytes(8, "big", signed=True)  # Ends a replay

_FIRST = layouts.vllm_layout.load("0.9.2")
del _FIRST["structs"]["KVEventBatch"]["fields"][-1]  # v0.9.0 had no data_parallel_rank
#: KV events by `kv_publisher --wire`: the types of a release of each generation
KV = {
    "v0.9": layouts.Types(_FIRST),
    "v0.10": layouts.types_of("0.11.0"),
    "v0.23": layouts.types_of("0.23.0"),
    "v0.24": layouts.types_of("0.24.0"),
    "v0.26": layouts.types_of("0.26.0"),
    "v0.33": NEWEST,
}


def exactly(frame, kind):
    """Decodes a frame as a struct of vLLM, and checks that msgspec would write the same bytes."""
    value = msgspec.msgpack.decode(frame, type=kind, strict=True)
    assert msgspec.msgpack.encode(value).hex() == frame.hex(), value
    return value


def toy_request(request_id, max_tokens):
    """A prompt of 5 tokens; everything else as vLLM has it by default."""
    return NEWEST["EngineCoreRequest"](
        request_id=request_id,
        prompt_token_ids=[1, 2, 3, 4, 5],
        mm_features=None,
        sampling_params=NEWEST["SamplingParams"](max_tokens=max_tokens),
        pooling_params=None,
        arrival_time=time.time(),
        lora_request=None,
        cache_salt=None,
        data_parallel_rank=None,
    )


def toy_ready():
    """What a small model on one GPU would announce."""
    return NEWEST["EngineCoreReadyResponse"](
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
