# SPDX-License-Identifier: MIT
"""vLLM's own ZmqEventPublisher: test_vllm.py runs this in vLLM's environment.

Each line of stdin is a JSON object, and starts a publisher in a process of its own: the imports
take half a minute, so they are done once. Keys: live, replay, rank, count, and optionally
    drop    every N-th batch is not sent, as a real network might lose it
    blocks  of a batch
    since   batch n has this time plus n: no two runs send the same bytes
    more    so many batches follow each time when the line `more N` comes for publisher N
    hwm, buffer_steps   are vLLM's own
It publishes a second after a subscriber has come, at the latest after 3 s. Lines on stdout:
`ready`, `started N as PID`, `published N` when its PUB has sent or dropped all.
"""

import json
import multiprocessing
import sys
import time

import zmq
from vllm.distributed import kv_events as kv


class Lossy:
    """A PUB that does not send every `drop`-th batch."""

    def __init__(self, pub, drop):
        self.pub, self.drop = pub, drop

    def __getattr__(self, name):
        return getattr(self.pub, name)

    def send_multipart(self, frames, *args, **more):
        if int.from_bytes(frames[1], "big") % self.drop:
            self.pub.send_multipart(frames, *args, **more)


def batch(n, blocks, since):
    """The fields without a default; what else there is depends on the release."""
    known = kv.BlockStored.__struct_fields__
    more = {"lora_id": None, "medium": "GPU", "lora_name": None}
    stored = kv.BlockStored(
        block_hashes=[2**64 - 1 - n - i for i in range(blocks)],
        parent_block_hash=None,
        token_ids=list(range(16 * blocks)),
        block_size=16,
        **{name: value for name, value in more.items() if name in known},
    )
    return kv.KVEventBatch(ts=since + float(n), events=[stored, kv.AllBlocksCleared()])


def publish(index, go_on, live, replay, rank, count, drop=0, blocks=1, more=0, since=0,
            **vllm):  # fmt: skip
    publisher = kv.ZmqEventPublisher(
        rank, endpoint=live, replay_endpoint=replay, topic="kv-events", **vllm
    )
    pub = publisher._pub
    monitor = pub.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    print(f"started {index} as {multiprocessing.current_process().pid}", flush=True)
    monitor.poll(2000)  # A subscriber; one that was here before this monitor is no event
    time.sleep(1)  # Its subscription, which a PUB does not tell
    if drop:
        publisher._pub = Lossy(pub, drop)
    first, last = 0, count
    while True:
        for n in range(first, last):
            publisher.publish(batch(n, blocks, since))
        publisher._event_queue.join()
        print(f"published {index}", flush=True)
        go_on.recv()
        first, last = last, last + more


def main():
    fork, pipes = multiprocessing.get_context("fork"), []
    print("ready", flush=True)
    for line in sys.stdin:
        if line.startswith("more "):
            pipes[int(line.split()[1])].send(None)
            continue
        child, own = fork.Pipe()
        pipes.append(own)
        started = (len(pipes) - 1, child)
        fork.Process(target=publish, args=started, kwargs=json.loads(line), daemon=True).start()


if __name__ == "__main__":
    main()
