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

The tests behind this page kill real processes (`kill -9`) and restart them, or stop them for a time
(SIGSTOP), while messages flow. A seed decides which process, how, and in what order. The tests then check
every message that the other side received: [tests/tools/faults](../tests/tools/faults).

## What you can rely on, and what not

| pattern | you can rely on | you cannot rely on |
|---|---|---|
| KV events, `kv_subscriber` | Each batch is delivered once and in order, or its number is reported lost; see below. A `restart` notice comes before the first batch of another run of the publisher. Where a restart cannot be proved, for example without `--replay-endpoint`, the notice is `unchecked`. | Batches that a killed publisher had numbered and no subscriber had received are gone. Their number is not known. |
| KV events, a reader that resumes | Resume with `--from-seq` and the number of the last batch you have: you get that batch again. The same `ts` means the same run, and nothing is missing. Another `ts` means another run: read it from 0 on. `history_lost` from that number on means that it is not known. | If you resume with the next number instead, a new run that is already further than the old one is not noticed. |
| requests, ROUTER/DEALER | Each request ends once: it is answered, or fails and is named, or goes to another engine (`--on-dead reroute`). A dead engine is noticed within a second if the system closes its connections, and within 12 s if its machine is gone. | The requests of a killed front-end are gone. If an engine is told to end (SIGTERM), its requests end as aborted and are not rerouted. |
| the handshake | If an engine dies before it is ready, or never comes, the front-end names it and ends (`--timeout-s`). Engines of `--spawn` end with their front-end, also after a `kill -9`. | An engine that was killed cannot come back: the handshake is for the start only, as in vLLM. |

Programs print their results on stdout. If stdout cannot be written (the disk is full, nobody reads the pipe),
the program prints one line on stderr and exits with status 1.
"""

ORDER = """
## The order of KV events

`kv_subscriber` keeps a sequence for each topic and data-parallel rank. These always hold, from
`tools/kv/kv_sequence.h` (a run is one life of a publisher):

1. Within a run the numbers that are delivered rise, and each comes once.
2. Each batch up to the highest number that a run has shown is either delivered or named in a notice as lost.
3. A batch that was received is never reported lost.
4. Two runs never mix: a notice comes before the first batch of the new one. When it cannot be known whether the publisher has restarted, `unchecked` says so, once for each cut.
5. No restart is reported if the bytes prove that the run is the same.
6. One bad message affects no other message.
7. The stream goes on: every wait has a time limit.

The numbers and bytes do not show everything, so there are limits:

- A stray message looks like a batch if its number is exactly the next one, or if the next batch is then dropped so that the one behind it fits.
- A stray message that nothing contradicts for a second is taken as a batch, unless its number jumps by more than 1,000,000,000: then it is dropped.
- Without a replay endpoint, a restart behind a proxy looks like a gap if its first number is above the last one.
- Behind a proxy that hides the cut, a restarted publisher can answer a replay request that was meant for the run before.
- If a connection is cut before the run of its batches is known, and another run follows, these batches are dropped, with `unchecked`; the replay of that run brings them again.
- If there is no room to hold batches (`--max-held`, `--max-held-mb`), the live stream waits for half of `--replay-timeout-ms`. After that, further batches are dropped, and asked for again.

The state machine, as `tools/kv/kv_sequence.c` has it in a table (`make test` compares the two):

```mermaid
@DIAGRAM@```
"""

EXPLORED = """
`tests/tools/explore/kv_sequence.c` plays every schedule of publishing, dropping, cuts, reconnects, restarts,
slow reading, stray messages, and replays that are late, cut off, incomplete, short or without an end. It
compares the result with an oracle that knows what was published. After each schedule no further fault happens,
and every batch must be accounted for. Two schedules that lead to the same world and state count as one world
and are continued once. `make test` plays up to 8 steps, and 100,000 random schedules of 60 steps. `make slow`
plays more, and wrote these figures:
"""

#  What tests/tools/faults/test_network.py plays
NETWORK = """
## The network

`make faults` first runs the programs on two machines: network namespaces that are joined by veth pairs. A thread
between them carries each packet. It can delay or lose packets, so no netem is needed; a seed decides which packets
are lost. `make test` has the tests without a long cut (30 of them, about 40 s with four at a time). All 58 take
two minutes with six at a time, and more under sanitizers. They need root and iproute2; without these they are
skipped, with the reason.

| what happens | to | result |
|---|---|---|
| 200 ms each way; 5 % of the packets lost; a cut of 1 s | each front-end with its engines, KV events; late and lossy also with CURVE | everything answered, nothing lost, no error reported |
| a cut of 5 s, silent or with the cable pulled out | KV events | 2000 of 2000 batches, in order, none twice: TCP keeps what the cut holds up |
| | a running replay | if `--replay-timeout-ms` is longer than the cut, all 3000 of 3000. If it is shorter, the replay is given up after two tries and the missing batches are reported lost (about 1980 batches with 1 s) |
| a cut of 18 s, which ends the connection | KV events | a replay brings what was missed. Batches that the publisher no longer keeps are reported lost: delivered + lost = published |
| the engines' machine is gone | the four front-ends | each engine is reported dead after about 12 s, all requests ended |
| the machine of one of two engines is gone | `mock_frontend` | 3 requests failed, or went to the other engine (`--on-dead`); the other engine's were done |
| a front-end's machine is gone | `mock_engine` | drops its requests after about 12 s, and serves the next one at the same place |
| the machines cannot reach each other | every pair of programs | no connection counts as alive after about 12 s, at either end (the test allows 22 s; with everything before and after it took 13 to 19 s); when the network is back they connect again |
| a publisher sends more than TCP takes, its subscriber's machine is gone | both publishers | the connection ends after about 11 s |
| no network fault, but a subscriber cannot print for 14 s | `kv_subscriber` | keeps its connection, and 250,000 of 250,000 batches come |

TCP's keepalive ends half-open connections after about 12 s, or ZMQ_TCP_MAXRT after 10 s while sent
data is unacknowledged. ZMTP's heartbeats are not used: `tools/lib/keepalive.h` says why.
"""

KV_SUM = """
What was published is the sum of what was delivered live, repaired, reported lost, gone with a killed
publisher before any subscriber had received it (a `restart` notice says that the run is over), and in
runs that could not be told apart (behind `unchecked`). So no loss is silent.
"""

AGAIN = """
## Run it again

```
make faults SEED=1 KV=1000 ENGINE=200      # how many schedules of the KV stream and of the engine loop
make soak MINUTES=10                       # all demos together, with faults all the while
```

A schedule that fails prints its seed and the command that plays only this schedule. Both targets write
their figures into this file. `make test` plays a small selection.
"""


def table(rows, heads):
    """Of rows of names and numbers."""
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in rows:
        cells = [f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


#: The names of the counts for what is sent, and for what becomes of it
SENT = ["published", "requests"]
BECAME = {
    "delivered": ["delivered live", "answered"],
    "repaired by a replay": ["repaired by replay"],
    "reported lost, or failed and named": ["reported lost", "failed, and named"],
    "gone with a killed program": ["gone with a killed publisher", "gone with a killed front-end"],
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
        f" in {faults['seconds']} s. **{failures:,}** of them failed.\n"
    )
    for kind, counts in kinds.items():
        text += f"\n### {kind}\n\n{faults['texts'][kind]}\n\n"
        rows = [(name, many) for name, many in counts.items() if many and name != "failures"]
        rows.append(("**schedules that failed**", counts["failures"]))
        text += table(rows, ["", "how many"])
        if kind == "kv":
            text += KV_SUM
    return text


def render_soak(soak):
    text = (
        f"\n## Soak\n\n{soak['minutes']:g} minutes, seed {soak['seed']}: **{soak['failures']}** failures."
        " Of each pair one side\nkeeps running, while the other side is killed and restarted.\n\n"
    )
    text += table(balance(soak["rooms"].values()).items(), ["", "messages"]) + "\n"
    rows = []
    for room, counts in soak["rooms"].items():
        told = ", ".join(f"{number:,} {name}" for name, number in counts.items())
        rows.append((room, told))
    text += table(rows, ["pair", "what came of it"])
    text += (
        "\nThe programs that keep running must not grow: in the last third of the time their median is at most"
        "\n1 MiB (VmRSS) and one descriptor above that of the second third.\n\n"
    )
    rows = [(name, *grown) for name, grown in soak["growth"].items()]
    heads = ["", "KB, second third", "KB, last third", "descriptors", "descriptors, last third"]
    return text + table(rows, heads)


def render_explored(explored):
    rows = [(name, *counts) for name, counts in explored["settings"].items()]
    rows.append(("**sum**", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    seconds = f"{explored['seconds']} s on two cores"
    text = f"\nUp to {explored['depth']} steps, in {seconds}: all seven rules hold in every one of them.\n\n"
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
