# SPDX-License-Identifier: MIT
"""Plays schedules of faults, many at a time, and counts.

    .venv/bin/python tests/tools/faults/run.py kv --count 100 --seed 7
    .venv/bin/python tests/tools/faults/run.py kv=1000 engines=200      (as make faults does)
"""

import argparse
import multiprocessing
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed

import engine_loop
import kv_stream
import reliability

KINDS = {
    each.kind: each
    for each in [
        kv_stream.KvStream,
        kv_stream.Away,
        engine_loop.RoundRobin,
        engine_loop.Handshake,
    ]
}


#: How long a subscriber is stopped here, in seconds; in `make test` only until its queues are full
AWAY_S = 10

#: Names for several kinds of schedules, with the share of each
GROUPS = {
    "engines": {"round-robin": 0.5, "handshake": 0.5},
}


def play(kind, seed, seconds=None):
    """Plays one schedule. Returns its counts, and the failure or None."""
    schedule = KINDS[kind](seed)
    if seconds is not None:
        schedule.seconds = seconds
    try:
        return schedule(), None
    except AssertionError as error:
        return schedule.counts, str(error)
    except Exception:  # A mistake of ours: it must not end all the others
        return schedule.counts, f"{kind}, seed {seed}\n{traceback.format_exc()}"


def run_many(wanted, seed, at_once, tell=print):
    """Plays wanted[kind] schedules of each kind. Returns the counts and the failures of each kind."""
    counts = {kind: Counter() for kind in wanted}
    failures = {kind: [] for kind in wanted}
    #  In several processes, since there is much to read; mixed, since some kinds compute more
    jobs = sorted((n / many, kind, n) for kind, many in wanted.items() for n in range(many))
    with ProcessPoolExecutor(at_once, multiprocessing.get_context("spawn")) as pool:
        futures = {}
        for _, kind, n in jobs:
            futures[pool.submit(play, kind, seed + n, AWAY_S if kind == "away" else None)] = kind
        for done, future in enumerate(as_completed(futures), 1):
            kind = futures[future]
            more, failure = future.result()
            if not failure:
                counts[kind].update(more)
            else:
                failures[kind].append(failure)
                tell(failure)
            if done % 100 == 0:
                tell(f"{done} of {len(jobs)} schedules", flush=True)
    return counts, failures


def main():
    parser = argparse.ArgumentParser(description="Plays schedules of faults, and prints the counts")
    parser.add_argument("kinds", nargs="+", help=f"{', '.join([*KINDS, *GROUPS])}; or kind=count")
    parser.add_argument("--count", type=int, default=10, help="how many of each kind without a count")
    parser.add_argument("--seed", type=int, default=1, help="the seed of the first schedule of each kind")
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--record", action="store_true", help="write docs/reliability.md")
    options = parser.parse_args()
    wanted = {}
    for each in options.kinds:
        kind, _, number = each.partition("=")
        if kind not in KINDS and kind not in GROUPS:
            parser.error(f"{kind}: no such kind")
        for name, share in GROUPS.get(kind, {kind: 1}).items():
            wanted[name] = max(1, int(share * int(number or options.count)))
    began = time.monotonic()
    counts, failures = run_many(wanted, options.seed, options.at_once)
    seconds = round(time.monotonic() - began)
    for kind in wanted:
        print(f"{kind}: {reliability.figures(counts[kind])}; {len(failures[kind])} failures")
    print(f"in {seconds} s")
    if options.record:
        asked = " ".join(options.kinds)
        text = reliability.faults(asked, options.seed, seconds, KINDS, counts, failures)
        reliability.record("faults", text)
    return any(failures.values())


if __name__ == "__main__":
    sys.exit(main())
