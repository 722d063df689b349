#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Byte vectors made by msgspec as structs of vLLM, for the C tests, the fuzzers and the hostile peers.

    .venv/bin/python tests/tools/vectors/make_vectors.py     prints vectors.h; the Makefile calls it

The same bytes come out on every machine.
"""

import sys
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "peers"))

import structs as s  # noqa: E402

V33, V26, V23, V9 = (s.KV[wire] for wire in ("v0.33", "v0.26", "v0.23", "v0.9"))
BIG_CALL_ID = 2**63 + 5  # vLLM's call ids are unsigned numbers of 64 bits
TS = 1789095808.83
HASH = 15760518052499183552  # of a real capture; above 2**63
TOKENS = list(range(1000, 1032))


def request(prompt=(1, 2, 3, 70000, 4294967295), params=None, **more):
    """An EngineCoreRequest; its required fields have plain values, more overrides any."""
    nothing = ["mm_features", "pooling_params", "lora_request", "cache_salt", "data_parallel_rank"]
    fields = {
        **dict.fromkeys(nothing),
        "request_id": "r3",
        "prompt_token_ids": prompt and list(prompt),
        "sampling_params": params,
        "arrival_time": 1789095808.5,
    }
    return s.EngineCoreRequest(**{**fields, **more})


READY = s.EngineCoreReadyResponse(
    max_model_len=4096, num_gpu_blocks=1024, block_size=16, dp_stats_address="tcp://127.0.0.1:5580",
    dtype="bfloat16", vllm_version="0.33.0", world_size=2, data_parallel_size=2, tensor_parallel_size=1,
    pipeline_parallel_size=1, decode_context_parallel_size=1, data_parallel_rank=1, max_num_seqs=256,
    max_num_batched_tokens=8192, instance_id="toy", supports_lora=True, max_loras=8,
    kv_cache_size_tokens=16384, kv_cache_max_concurrency=4.0, enable_sleep_mode=True,
    effective_attention_block_size=16,
)
# The 10 keys of v0.26.0
READY_V26 = {
    "max_model_len": 4096, "num_gpu_blocks": 1024, "block_size": 16, "dp_stats_address": None,
    "dtype": "bfloat16", "vllm_version": "0.26.0", "world_size": 1, "data_parallel_size": 1,
    "kv_cache_size_tokens": 16384, "kv_cache_max_concurrency": 4.0,
}


def outputs_full():
    return s.EngineCoreOutputs(
        engine_index=1,
        outputs=[
            s.EngineCoreOutput(
                "r3",
                [8123, 17],
                finish_reason=s.FinishReason.STOP,
                stop_reason="x",
                events=[
                    s.EngineCoreEvent(s.EngineCoreEventType.QUEUED, 11.25),
                    s.EngineCoreEvent(s.EngineCoreEventType.SCHEDULED, 11.5),
                ],
                kv_transfer_params={"remote_engine_id": "e1", "remote_block_ids": [1, 2]},
                ec_transfer_params={},
                trace_headers={"traceparent": "00-1-2-01"},
                prefill_stats=s.PrefillStats(5, 2, 3, 3, 0, 2),
                num_nans_in_logits=1,
                mm_cache_miss_hashes=["h"],
                error=s.RequestError("internal", "no luck"),
            )
        ],
        scheduler_stats={"num_running_reqs": 1, "num_waiting_reqs": 0, "kv_cache_usage": 0.25},
        timestamp=12.5,
        finished_requests={"r3"},
        wave_complete=6,
        start_wave=7,
        weight_version="v7",
    )


def outputs_first():
    """What our engine says of a step in which requests begin."""
    return s.EngineCoreOutputs(
        engine_index=2,
        outputs=[
            s.EngineCoreOutput(
                "r1",
                [17, 128009],
                finish_reason=s.FinishReason.STOP,
                stop_reason=128009,
                events=[
                    s.EngineCoreEvent(s.EngineCoreEventType.QUEUED, 11.25),
                    s.EngineCoreEvent(s.EngineCoreEventType.SCHEDULED, 11.5),
                ],
                prefill_stats=s.PrefillStats(num_prompt_tokens=300, num_computed_tokens=300),
            ),
            s.EngineCoreOutput("r3", [8123]),
        ],
        scheduler_stats=s.SchedulerStats(
            num_running_reqs=1,
            kv_cache_usage=0.25,
            prefix_cache_stats=s.PrefixCacheStats(requests=1, queries=300),
        ),
        timestamp=12.5,
        finished_requests={"r1"},
    )


def result(value):
    """What a utility call that went well brings back."""
    return s.EngineCoreOutputs(
        engine_index=1,
        timestamp=12.5,
        utility_output=s.UtilityOutput(BIG_CALL_ID, result=(None, value)),
    )


def init(clients, parallel_config=None, **coordinator):
    """INIT for so many front-ends."""
    return s.EngineHandshakeMetadata(
        addresses=s.EngineZmqAddresses(
            inputs=[f"tcp://127.0.0.1:{5570 + n}" for n in range(clients)],
            outputs=[f"tcp://127.0.0.1:{5580 + n}" for n in range(clients)],
            **coordinator,
        ),
        parallel_config=parallel_config or {},
    )


COORDINATOR = {
    "coordinator_input": "tcp://127.0.0.1:5590",
    "coordinator_output": "tcp://127.0.0.1:5591",
}


def stored(wire, hashes, parent, blocks, lora_id=None, medium="GPU", lora_name=None, **more):
    """BlockStored of v0.23 or later, of some blocks of 16 tokens; with what most of them have."""
    usual = {"extra_keys": [None] * blocks, "group_idx": 0, "kv_cache_spec_kind": "full_attention"}
    first = (hashes, parent, TOKENS[: 16 * blocks], 16, lora_id, medium, lora_name)
    return wire["BlockStored"](*first, **{**usual, **more})


SLIDING = {"kv_cache_spec_kind": "sliding_window", "kv_cache_spec_sliding_window": 4096}
OF_LORA = {"lora_id": 5, "lora_name": "sql", "extra_keys": [(("img-1", 3),)], "locality": "REMOTE", **SLIDING}
BYTES = bytes(range(32))

VECTORS = {
    # --- EngineCoreRequest
    "REQUEST_R3": request(params=s.SamplingParams(max_tokens=4)),
    "REQUEST_DEFAULT_MAX": request(params=s.SamplingParams(max_tokens=16)),
    "REQUEST_NO_LIMIT": request(params=s.SamplingParams(max_tokens=None)),
    "REQUEST_FULL": request(
        params=s.SamplingParams(
            temperature=0.5,
            stop=["END", "###"],
            stop_token_ids=[2, 128009],
            ignore_eos=True,
            max_tokens=4,
            min_tokens=2,
        ),
        cache_salt="salt",
        data_parallel_rank=3,
        client_index=2,
        current_wave=5,
        priority=-7,
        trace_headers={"traceparent": "00-1-2-01"},
        resumable=True,
        external_req_id="cmpl-3",
        reasoning_ended=False,
        reasoning_parser_kwargs={"enable_thinking": True},
        abort_immediately=True,
    ),
    # These two as vLLM's SamplingParams.__post_init__ leaves them
    "REQUEST_SAMPLING": request(
        params=s.SamplingParams(
            presence_penalty=0.5,
            temperature=0.75,
            top_p=0.5,
            top_k=40,
            seed=2**63 - 1,
            stop=[],
            stop_token_ids=[128009, 7],
            max_tokens=70000,
            min_tokens=3,
            logprobs=1,
            skip_special_tokens=False,
            output_kind=s.RequestOutputKind.DELTA,
            _eos_token_id=2,
            _all_stop_token_ids={2, 7, 128009},
            logit_bias={5: -1.5},
            extra_args={"kv": {"a": 1}},
            bad_words=["no"],
            _bad_words_token_ids=[[694]],
            skip_reading_prefix_cache=False,
        )
    ),
    "REQUEST_IGNORE_EOS": request(
        params=s.SamplingParams(
            stop=[],
            stop_token_ids=[],
            ignore_eos=True,
            max_tokens=4,
            _eos_token_id=2,
            bad_words=[],
            skip_reading_prefix_cache=False,
        )
    ),
    "REQUEST_POOLING": request(pooling_params=s.PoolingParams(task="embed", dimensions=256)),
    "REQUEST_NO_PROMPT": request(prompt=None, params=s.SamplingParams(max_tokens=4)),
    # --- EngineCoreOutputs
    "OUTPUTS_STEP": s.EngineCoreOutputs(
        engine_index=1,
        outputs=[
            s.EngineCoreOutput("r1", [17]),
            s.EngineCoreOutput("r3", [8123], finish_reason=s.FinishReason.LENGTH),
        ],
        timestamp=12.5,
        finished_requests={"r3"},
    ),
    "OUTPUTS_ABORT": s.EngineCoreOutputs(
        engine_index=1,
        outputs=[s.EngineCoreOutput("r1", [], finish_reason=s.FinishReason.ABORT)],
        timestamp=12.5,
        finished_requests={"r1"},
    ),
    "OUTPUTS_PAUSED": s.EngineCoreOutputs(
        engine_index=1,
        outputs=[
            s.EngineCoreOutput(
                "r3",
                [],
                finish_reason=s.FinishReason.ERROR,
                error=s.RequestError("engine_paused", "Try later.", retryable=True),
            )
        ],
        timestamp=12.5,
        finished_requests={"r3"},
        weight_version="default",
    ),
    "OUTPUTS_EMPTY": s.EngineCoreOutputs(),
    "OUTPUTS_UTILITY_FAILED": s.EngineCoreOutputs(
        timestamp=12.5,
        utility_output=s.UtilityOutput(BIG_CALL_ID, failure_message="no such method"),
    ),
    "OUTPUTS_FULL": outputs_full(),
    "OUTPUTS_FIRST": outputs_first(),
    "OUTPUTS_UTILITY_NONE": result(None),
    "OUTPUTS_UTILITY_TRUE": result(True),
    "OUTPUTS_UTILITY_FALSE": result(False),
    "OUTPUTS_UTILITY_TASKS": result(("generate",)),
    "OUTPUTS_UTILITY_EMPTY": result([]),
    "OUTPUTS_UTILITY_LORAS": result([1, 2]),
    # By hand: what a newer vLLM appends has to be ignored
    "OUTPUTS_LONGER_TAIL": [
        1,
        [["r3", [8123], *[None] * 3, 1, *[None] * 7, 0, *[None] * 5, ["new"], {"mask": True}]],
        None,
        12.5,
        *[None] * 5,
        "newer",
        [1, 2],
    ],
    # --- registration, ABORT, UTILITY
    "READY": READY,
    "READY_V26": READY_V26,
    "ABORT_TWO": ["r1", "r3"],
    "UTILITY_CALL": [0, BIG_CALL_ID, "is_sleeping", []],
    "UTILITY_ADD_LORA": [1, 7, "add_lora", [s.LoRARequest("sql", 5, "/loras/sql")]],
    "UTILITY_REMOVE_LORA": [1, 8, "remove_lora", [5]],
    # --- handshake
    "HANDSHAKE_HELLO": s.EngineStatus("HELLO", local=False, headless=True),
    "HANDSHAKE_READY": s.EngineStatus("READY", local=False, headless=True),
    "HANDSHAKE_READY_HASH": s.EngineStatus(
        "READY", local=True, headless=False, parallel_config_hash="9f86d081"
    ),
    "HANDSHAKE_INIT_ONE": init(1),
    "HANDSHAKE_INIT_TWO": init(2),
    "HANDSHAKE_INIT_ONE_COORDINATOR": init(1, **COORDINATOR),
    # With all that there can be
    "HANDSHAKE_INIT_TWO_COORDINATOR": init(
        2,
        {
            "data_parallel_master_ip": "127.0.0.1",
            "data_parallel_master_port": 29500,
            "_data_parallel_master_port_list": [29501, 29502],
            "data_parallel_size": 2,
        },
        frontend_stats_publish_address="tcp://127.0.0.1:5592",
        **COORDINATOR,
    ),
    # --- KV events
    # With all that there can be: 16 pairs
    "KV_ALL_V33": s.KVEventBatch(
        TS,
        [
            stored(
                V33,
                [HASH],
                None,
                1,
                medium="STORAGE",
                ownership="tier-1",
                session_id="session-7",
                lookahead_token_ids=[[1016]],
                **OF_LORA,
            ),
            s.BlockRemoved([HASH], "GPU", group_idx=0, locality="LOCAL", ownership="tier-1"),
            s.AllBlocksCleared(),
        ],
        0,
    ),
    "KV_STORED_V26": V26["KVEventBatch"](TS, [stored(V26, [HASH, 1], None, 2)], 0),
    "KV_MIXED_V26": V26["KVEventBatch"](
        TS,
        [
            stored(V26, [2], 1, 1),
            V26["BlockRemoved"]([HASH], "GPU", group_idx=0),
            s.AllBlocksCleared(),
        ],
        3,
    ),
    "KV_BYTES_HASHES_V26": V26["KVEventBatch"](
        TS,
        [
            stored(V26, [BYTES], bytes(range(224, 256)), 1),
            V26["BlockRemoved"]([BYTES], "GPU", group_idx=0),
        ],
        0,
    ),
    "KV_LORA_V26": V26["KVEventBatch"](TS, [stored(V26, [HASH], None, 1, medium="CPU", **OF_LORA)], 0),
    "KV_NO_RANK": V26["KVEventBatch"](TS, [s.AllBlocksCleared()], None),
    # The last generation whose events are arrays
    "KV_STORED_V23": V23["KVEventBatch"](TS, [stored(V23, [HASH, 1], None, 2, **SLIDING)], 0),
    "KV_MIXED_V9": V9["KVEventBatch"](
        TS,
        [
            V9["BlockStored"]([-(2**63), 2**63 - 1], -2686225562210368064, TOKENS, 16, 5),
            V9["BlockRemoved"]([-2686225562210368064]),
            V9["AllBlocksCleared"](),
        ],
    ),
    # --- the small messages of the lessons
    "PING": "ping",
    "PONG": "pong: ping",
    "PONG_ERROR": {"error": "not a msgpack str"},
    "TOPIC_SEQ": {"seq": 33},
    "TASK": {"task": 7, "value": 7},
    "RESULT": {"task": 7, "worker": "w1", "value": 49},
    "BATCH_START": {"tasks": 100},
}


def vectors():
    return {name: msgspec.msgpack.encode(value) for name, value in VECTORS.items()}


if __name__ == "__main__":
    for name, data in vectors().items():
        print(f"static const unsigned char {name}[] = {{{', '.join(map(str, data))}}};")
