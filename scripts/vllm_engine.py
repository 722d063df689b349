# SPDX-License-Identifier: MIT
"""vLLM's own EngineCoreProc on a machine without a GPU: test_vllm.py runs it, with vLLM's Python.

    python vllm_engine.py MODEL HANDSHAKE [--engines N] [--fail-at STEP]
        [--kv-events ENDPOINT --kv-replay ENDPOINT]

All of the engine is vLLM's: handshake, registration, the threads of its sockets, the scheduler, the
KV cache manager with its events, the busy loop. Only the executor is not, since no model is there:
it makes up one token for each request whose prompt has been scheduled.

The last engine's executor fails at STEP, so that vLLM says ENGINE_CORE_DEAD.
"""

import argparse
import multiprocessing
import signal
import sys
from concurrent.futures import Future

import torch
from vllm.config import KVEventsConfig
from vllm.engine.arg_utils import EngineArgs
from vllm.v1.engine.core import EngineCoreProc
from vllm.v1.executor.abstract import Executor
from vllm.v1.kv_cache_interface import FullAttentionSpec
from vllm.v1.outputs import ModelRunnerOutput

BLOCK = 16


def layouts():
    """Names of all layouts of the KV cache; before v0.29 nobody asks."""
    try:
        from vllm.v1.kv_cache_layout import KVCacheLayout
    except ImportError:
        return []
    return [layout.name for layout in KVCacheLayout]


class NoModel(Executor):
    fail_at = 0

    def _init_executor(self):
        self.unscheduled = {}  # Request -> how much of its prompt has not been scheduled yet
        self.steps = 0

    def collective_rpc(self, method, timeout=None, args=(), kwargs=None, non_block=False):
        if method == "get_kv_cache_spec":
            spec = FullAttentionSpec(
                block_size=BLOCK, num_kv_heads=4, head_size=16, dtype=torch.bfloat16
            )
            return [{"layers.0": spec, "layers.1": spec}]
        answers = {
            "determine_available_memory": 64 << 20,
            "get_supported_kv_cache_layouts": layouts(),
            "get_supported_tasks": ("generate",),
        }
        return [answers[method]] if method in answers else []

    def execute_model(self, scheduled, non_block=False):
        self.steps += 1
        if self.fail_at and self.steps == self.fail_at:
            raise RuntimeError("the executor fails, as was asked for")
        for new in scheduled.scheduled_new_reqs:
            self.unscheduled[new.req_id] = len(new.prompt_token_ids) - new.num_computed_tokens
        ids, tokens = list(scheduled.num_scheduled_tokens), []
        for request, count in scheduled.num_scheduled_tokens.items():
            left = self.unscheduled[request] = self.unscheduled[request] - count
            tokens.append([(hash(request) + self.steps) % 280] if left <= 0 else [])
        for request in scheduled.finished_req_ids:
            self.unscheduled.pop(request, None)
        made = ModelRunnerOutput(
            req_ids=ids,
            req_id_to_index={request: i for i, request in enumerate(ids)},
            sampled_token_ids=tokens,
        )
        if not non_block:
            return made
        future = Future()
        future.set_result(made)
        return future

    def check_health(self):
        pass

    def shutdown(self):
        pass


def run(options, index):
    more = {"data_parallel_size": options.engines} if options.engines > 1 else {}
    if options.kv_events:
        more["kv_events_config"] = KVEventsConfig(
            enable_kv_cache_events=True,
            publisher="zmq",
            endpoint=options.kv_events,
            replay_endpoint=options.kv_replay,
            topic="kv-events",
        )
    args = EngineArgs(model=options.model, block_size=BLOCK, max_num_seqs=64, **more)
    NoModel.fail_at = options.fail_at if index == options.engines - 1 else 0
    EngineCoreProc.run_engine_core(
        vllm_config=args.create_engine_config(),
        local_client=False,
        handshake_address=options.handshake,
        executor_class=NoModel,
        log_stats=True,
        dp_rank=index,
        local_dp_rank=index,
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("handshake")
    parser.add_argument("--engines", type=int, default=1)
    parser.add_argument("--fail-at", type=int, default=0)
    parser.add_argument("--kv-events")
    parser.add_argument("--kv-replay")
    options = parser.parse_args()
    # Processes of their own, as vLLM starts them. The imports take half a minute: once is enough
    fork = multiprocessing.get_context("fork")
    engines = [fork.Process(target=run, args=(options, n)) for n in range(options.engines)]
    for engine in engines:
        engine.start()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # The engines have it, too, and end
    for n, engine in enumerate(engines):
        engine.join()
        print(f"engine {n} ended with {engine.exitcode}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
