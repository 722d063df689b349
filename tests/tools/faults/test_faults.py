# SPDX-License-Identifier: MIT
"""A few schedules of each kind. `make faults` plays 1,000 over the KV stream alone.

FAULTS_SEED   other schedules
"""

import inspect
import os
import re
import subprocess
import sys

import pytest
import reliability
import run

from harness import ROOT, UNDER_VALGRIND

SEED = int(os.environ.get("FAULTS_SEED", "1"))
#: How many schedules of each kind; together they take seconds
SELECTION = {"kv": 6, "away": 1, "round-robin": 4, "handshake": 3}

slow = pytest.mark.skipif(UNDER_VALGRIND, reason="too slow under valgrind")


@slow
@pytest.mark.parametrize(
    "kind, seed", [(kind, SEED + n) for kind in run.KINDS for n in range(SELECTION[kind])]
)
def test_schedule(kind, seed):
    counts = run.KINDS[kind](seed)()
    assert counts["schedules"] == 1
    print(f"faults: {kind}, seed {seed}: {reliability.figures(counts)}")


@pytest.mark.parametrize("kind", run.KINDS)
def test_a_seed_gives_the_same_schedule(kind):
    one, other, next_one = (run.KINDS[kind](seed) for seed in (7, 7, 8))
    drawn = [each.random.random() for each in (one, other, next_one)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert [each.close() for each in (one, other, next_one)] == [[], [], []]


def test_a_failure_says_how_to_play_it_again():
    """A schedule that always fails."""

    class Wrong(run.KINDS["kv"]):
        def run(self):
            self.start("kv_publisher", endpoint=self.ipc(), replay_endpoint=self.ipc())
            self.demand(False, "the sky is green")

    with pytest.raises(AssertionError) as caught:
        Wrong(7)()
    first, second = str(caught.value).splitlines()[:2]
    again = re.search(r"again: (?:BUILD=\S+ )?\.venv/bin/python (tests/tools/faults/run\.py .*)", first)
    assert again[1] == "tests/tools/faults/run.py kv --count 1 --seed 7"
    assert second == "the sky is green"
    assert (ROOT / again[1].split()[0]).exists()


def test_the_document_has_the_recorded_figures():
    """Each part can be replaced, and no other text changes; nothing that was recorded has failed."""
    document = reliability.DOCUMENT.read_text("utf-8")
    assert document.count("**0** of them failed.") == document.count("**0** failures.") == 1
    assert f"\n| **schedules that failed** |{' 0 |' * len(run.KINDS)}\n" in document
    for kind, schedule in run.KINDS.items():
        assert f"\n### {kind}\n\n{inspect.cleandoc(schedule.__doc__)}\n" in document
    for part in ("explored", "faults", "soak"):
        empty = reliability.replaced(document, part, "")
        recorded = document.partition(f"<!-- {part} -->\n")[2].partition(f"<!-- /{part} -->\n")[0]
        assert recorded and len(empty) == len(document) - len(recorded)
        assert reliability.replaced(empty, part, recorded) == document


def test_the_balance_of_a_soak():
    """A pair that does not count what it sends is left out of the sums."""
    rooms = [
        {"published": 9, "delivered live": 4, "repaired by replay": 3, "reported lost": 2},
        {"requests": 5, "answered": 3, "failed, and named": 1, "gone with a killed front-end": 1},
        {"delivered live": 100, "killed": 7},
    ]
    total = reliability.balance(rooms)
    assert total.pop("sent") == 14 == sum(total.values())
    assert list(total.values()) == [7, 3, 3, 1, 0]


@slow
@pytest.mark.parametrize("script", ["run.py", "soak.py"])
def test_help(script):
    path = ROOT / "tests" / "tools" / "faults" / script
    done = subprocess.run(
        [sys.executable, path, "--help"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and "--seed" in done.stdout
