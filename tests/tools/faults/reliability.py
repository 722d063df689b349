# SPDX-License-Identifier: MIT
"""Writes docs/reliability.md from the figures in docs/reliability.json, which `make faults` and
`make soak` put there.

    python3 tests/tools/faults/reliability.py       writes it again, after a change of the text below
"""

import json
from pathlib import Path

DOCS = Path(__file__).resolve().parents[3] / "docs"
FIGURES, DOCUMENT = DOCS / "reliability.json", DOCS / "reliability.md"
#: The output of `build/tests/tools/explore/kv_sequence diagram`
DIAGRAM = DOCS / "diagrams" / "kv-sequence.mmd"

HEAD = """# What happens when processes die

<!-- Written by tests/tools/faults/reliability.py; `make faults` and `make soak` bring it up to date. -->

Real processes are killed (`kill -9`) and started again, or stopped for a time (SIGSTOP), while
messages flow. A seed decides which, how and in what order. Message by message it is checked what the
other side makes of it: [tests/tools/faults](../tests/tools/faults).

## What you can rely on, and what not

| pattern | holds | does not |
|---|---|---|
| KV events, `kv_subscriber` | Each batch once and in order, or its number is reported lost; see below. Another run of the publisher begins behind a `restart` notice; where nothing can prove it, as without `--replay-endpoint`, behind `unchecked`. | What a killed publisher had numbered and nobody had heard of yet is gone, and nobody can say how much. |
| the same, resumed | A reader that resumes with `--from-seq` and the number of the last batch it has gets that batch again. The same `ts`: the same run, and nothing is missing. Another: another run, to be read from 0 on. `history_lost` from that number on: it cannot be told. | Resumed with the number behind it, a new run that is further goes unseen. |
| requests, ROUTER/DEALER | Each request ends once: answered, failed and named, or given to another engine (`--on-dead reroute`). A dead engine is seen within a second where the system closes its connections, within 12 s where its machine has vanished. | A killed front-end takes its requests with it. What an engine that is told to end (SIGTERM) has begun ends as aborted, and is not rerouted. |
| the handshake | An engine that dies before it is ready, or never comes, ends the front-end with its name (`--timeout-s`). Engines of `--spawn` end with their front-end, also after a `kill -9`. | An engine that was killed cannot come back: the handshake is for the start only, as in vLLM. |

What a program has to say goes to stdout. When that takes no more (the disk is full, nobody reads the
pipe), the program ends, says so on stderr, and its exit status is 1.
"""

ORDER = """
## The order of KV events

`kv_subscriber` keeps a sequence for each topic and data-parallel rank. What always holds, from
`tools/kv/kv_sequence.h` (a run is one life of a publisher):

1. Within a run the numbers that are delivered rise, and each comes once.
2. Up to the highest number that a run has shown, each batch is delivered, or in a loss that a notice has named.
3. Nothing that was received is reported lost.
4. Two runs never mix: a notice comes before the first batch of the new one. When nobody can tell whether the publisher has restarted, `unchecked` says so, once for each cut.
5. No restart is reported where the bytes prove that the run is the same.
6. One bad message changes nothing but its own fate.
7. The stream goes on: each wait ends by the clock.

What they cannot cover, because the numbers and bytes do not show it:

- A stray message whose number is exactly the one that is due, or one whose number is then dropped so that the next one agrees with it, is a batch like any other.
- A stray message that nothing contradicts for a second is believed, unless it jumps by more than 1,000,000,000: then it is dropped.
- Without a replay endpoint, a restart behind a proxy whose first number is above the last one looks like a gap.
- A publisher that restarts behind a proxy, which hides the cut, can answer a replay that was meant for its predecessor.
- Batches of a connection that was cut before their run was known are dropped, with `unchecked`, when another run follows; the replay of that run brings them again.
- If there is no room to hold batches (`--max-held`, `--max-held-mb`), the live stream waits for half of `--replay-timeout-ms`; then further ones are dropped, and asked for again.

The state machine, as `tools/kv/kv_sequence.c` has it in a table (`make test` compares the two):

```mermaid
@DIAGRAM@```
"""

EXPLORED = """
`tests/tools/explore/kv_sequence.c` plays every schedule of publishing, dropping, cuts, reconnects,
restarts, slow reading, late, cut, holed and short replays, replays without an end, and stray messages,
against an oracle that knows the truth. After each schedule all goes well, and everything must be
accounted for. Two schedules that lead to the same world and state count as one world, and are continued
once. `make test` plays up to 8 steps, and 100,000 random schedules of 60 steps; `make slow` plays more,
and wrote this:
"""

#  What tests/tools/faults/test_network.py plays
NETWORK = """
## The network

First `make faults` runs the programs on two machines: network namespaces, joined by veth pairs. In between a
thread carries each packet, late or not at all, so this needs no netem; which packets are lost is
seeded. `make test` has the tests that take no long cut (30 of them, about 40 s by four). All 58 take
two minutes by six, more under sanitizers. They need root and iproute2, and are skipped with that
reason otherwise.

| what happens | to | what held |
|---|---|---|
| 200 ms each way; 5 % of the packets lost; a cut of 1 s | each front-end with its engines, KV events; late and lossy also with CURVE | everything answered, nothing lost, no error told |
| a cut of 5 s, silent or with the cable pulled out | KV events | 2000 of 2000 batches, in order, none twice: TCP keeps what a cut holds up |
| | a replay under way | with `--replay-timeout-ms` longer than the cut all 3000 of 3000. With less the replay is given up after two tries, and what is missing is told to be lost (about 1980 batches with 1 s) |
| a cut of 18 s, which ends the connection | KV events | a replay brings what was missed. What the publisher keeps no more is told: delivered + lost = published |
| the engines' machine vanishes | the four front-ends | dead and named after about 12 s, all requests ended |
| one of two engines' machines vanishes | `mock_frontend` | 3 requests failed, or went to the other (`--on-dead`); the other's were done |
| a front-end's machine vanishes | `mock_engine` | drops its requests after about 12 s, and serves the next one at the same place |
| both machines are gone to each other | every pair of programs | no connection counts as alive after about 12 s, at either end (the test gives them 22 s; with all that comes before and after it took 13 to 19 s); when the network is back they meet again |
| a publisher with more to say than TCP takes, its subscriber gone | both publishers | the connection ends after about 11 s |
| no network fault, but a subscriber that cannot print for 14 s | `kv_subscriber` | keeps its connection, and 250,000 of 250,000 batches come |

Half-open connections end by ZMTP's heartbeats at the engines and at the ROUTERs where they register; all
others have TCP's keepalive. The reason is in `tools/lib/keepalive.h`: libzmq reads no PONG
while a queue is at its high-water mark, so heartbeats there cut off who is only busy, and libzmq 4.3 may then
abort.
"""

KV_SUM = """
What was published is the sum of what was delivered live, repaired, reported lost, had gone with a killed
publisher before anybody had heard of it (a `restart` notice says that the run is over), and was in
runs that could not be told apart (behind `unchecked`). So nothing is lost in silence.
"""

AGAIN = """
## Run it again

```
make faults SEED=1 KV=1000 ENGINE=200      # so many schedules over the KV stream and the engine loop
make soak MINUTES=10                       # all demos together, with faults all the while
```

A schedule that fails prints its seed and the command for that schedule alone. Both targets write
their figures into this file. `make test` plays a small selection.
"""


def table(rows, heads):
    """Of rows of names and numbers."""
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in rows:
        cells = [f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


#: What the rooms call it when something is sent, and what becomes of it
SENT = ["published", "requests", "asked", "tasks"]
BECAME = {
    "delivered": ["delivered live", "answered", "results"],
    "repaired by a replay": ["repaired by replay"],
    "reported lost, or failed and named": ["reported lost", "failed, and named", "reported missing"],
    "gone with who was killed": [
        "gone with a killed publisher",
        "gone with a killed front-end",
        "killed clients",
    ],
    "in runs that could not be told apart": ["in runs that could not be told apart"],
}


def balance(rooms):
    """sent, and what became of it, over all rooms that count what is sent."""
    rooms = [counts for counts in rooms if any(name in counts for name in SENT)]
    total = {"sent": sum(counts.get(name, 0) for counts in rooms for name in SENT)}
    for what, names in BECAME.items():
        total[what] = sum(counts.get(name, 0) for counts in rooms for name in names)
    return total


def render_faults(faults):
    kinds = faults["kinds"]
    schedules = sum(each.get("schedules", 0) + each["failures"] for each in kinds.values())
    failures = sum(each["failures"] for each in kinds.values())
    text = (
        f"\n## Schedules\n\n`{faults['asked']}` from seed {faults['seed']} on: {schedules:,} schedules"
        f" in {faults['seconds']} s. In **{failures:,}** of them something did not hold.\n"
    )
    for kind, counts in kinds.items():
        text += f"\n### {kind}\n\n{faults['texts'][kind]}\n\n"
        rows = [(name, many) for name, many in counts.items() if many and name != "failures"]
        rows.append(("**schedules in which something did not hold**", counts["failures"]))
        text += table(rows, ["", "how many"])
        if kind == "kv":
            text += KV_SUM
    return text


def render_soak(soak):
    text = (
        f"\n## Soak\n\n{soak['minutes']:g} minutes, seed {soak['seed']}: **{soak['failures']}** failures."
        " In each room some live all\nthat time, while others around them are killed and come back.\n\n"
    )
    text += table(balance(soak["rooms"].values()).items(), ["", "messages"]) + "\n"
    rows = []
    for room, counts in soak["rooms"].items():
        told = ", ".join(f"{number:,} {name}" for name, number in counts.items())
        rows.append((room, told))
    text += table(rows, ["room", "what came of it"])
    text += (
        "\nWho lives all that time must not grow: the median of the last third of the time is at most"
        "\n1 MiB (VmRSS) and one descriptor above that of the second third.\n\n"
    )
    rows = [(name, *grown) for name, grown in soak["growth"].items()]
    heads = ["", "KB, second third", "KB, last third", "descriptors", "descriptors, last third"]
    return text + table(rows, heads)


def render_explored(explored):
    rows = [(name, *counts) for name, counts in explored["settings"].items()]
    rows.append(("**sum**", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    seconds = f"{explored['seconds']} s on two cores"
    text = f"\nUp to {explored['depth']} steps, in {seconds}: all seven hold in every one of them.\n\n"
    return EXPLORED + text + table(rows, ["the world", "schedules", "worlds"])


def render(figures):
    text = HEAD + ORDER.replace("@DIAGRAM@", DIAGRAM.read_text("utf-8"))
    if "explored" in figures:
        text += render_explored(figures["explored"])
    text += NETWORK
    if "faults" in figures:
        text += render_faults(figures["faults"])
    if "soak" in figures:
        text += render_soak(figures["soak"])
    return text + AGAIN


def load():
    return json.loads(FIGURES.read_text("utf-8")) if FIGURES.exists() else {}


def record(section, figures):
    """New figures of `section`, "faults" or "soak"; the others stay."""
    every = {**load(), section: figures}
    FIGURES.write_text(json.dumps(every, indent=1) + "\n", "utf-8")
    DOCUMENT.write_text(render(every), "utf-8")


if __name__ == "__main__":
    DOCUMENT.write_text(render(load()), "utf-8")
