# SPDX-License-Identifier: MIT
"""Writes docs/reliability.md from the figures in docs/reliability.json, which `make faults` and
`make soak` put there.

    python3 tests/faults/reliability.py       writes it again, after a change of the text below
"""

import json
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
FIGURES, DOCUMENT = DOCS / "reliability.json", DOCS / "reliability.md"

HEAD = """# What happens when processes die

<!-- Written by tests/faults/reliability.py; `make faults` and `make soak` bring it up to date. -->

Real processes are killed (`kill -9`) and started again, or stopped for a time (SIGSTOP), while
messages flow. A seed decides which, how and in what order. Message by message it is checked what the
other side makes of it: [tests/faults](../tests/faults).

## What you can rely on, and what not

| pattern | holds | does not |
|---|---|---|
| KV events, `kv_subscriber` | Each batch once and in order, or its number is reported lost. Another run of the publisher begins behind a `restart` notice; where nothing can prove it, as without `--replay-endpoint`, behind `unchecked` (some of the old run may still come then). | What a killed publisher had numbered and nobody had heard of yet is gone, and nobody can say how much. |
| the same, resumed | A reader that resumes with `--from-seq` and the number of the last batch it has gets that batch again. The same `ts`: the same run, and nothing is missing. Another: another run, to be read from 0 on. `history_lost` from that number on: it cannot be told. | Resumed with the number behind it, a new run that is further goes unseen. |
| KV events, `replay_subscriber` | Numbers one after the other, or reported lost. | It does not watch its connection: a new run that is further than the old one goes unseen. |
| topics, PUB/SUB | Of what arrives the order is right and nothing comes twice. | What is published while a subscriber is away is lost. The numbers show it, nobody repeats it. |
| requests, ROUTER/DEALER | Each request ends once: answered, failed and named, or given to another engine (`--on-dead reroute`). A dead engine is seen within a second where the system closes its connections, within 12 s where its machine has vanished. | A killed front-end takes its requests with it. What an engine that is told to end (SIGTERM) has begun ends as aborted, and is not rerouted. |
| the handshake | An engine that dies before it is ready, or never comes, ends the front-end with its name (`--timeout-s`). Engines of `--spawn` end with their front-end, also after a `kill -9`. | One dead engine ends them all, as in vLLM. |
| REQ/REP | `timeout_retry_client` and `poller_client` get their answer when a server is back. | `basic_client` has no timeout: if its server dies with the request, it waits until it is stopped. Who asks again may be served twice. |
| PUSH/PULL | No result twice, none wrong. The sink names the tasks that did not come back (`--timeout-s`): those a killed worker had taken, or a killed ventilator had not handed out. | Nobody does them again. A new sink does not know what a killed one had. |

What a program has to say goes to stdout. When that takes no more (the disk is full, nobody reads the
pipe), the program ends, says so on stderr, and its exit status is 1.
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


def render(figures):
    text = HEAD
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
