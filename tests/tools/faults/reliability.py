# SPDX-License-Identifier: MIT
"""Writes the figures in docs/reliability.md: `make faults`, `soak` and `slow` each replace a part."""

import inspect
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "reliability.md"

KV_SUM = """
Of KV events, what was published is the sum of what was delivered live, repaired, reported lost,
gone with a killed publisher before any subscriber had received it (a `restart` notice says that the
run is over), and in runs that could not be told apart (behind `unchecked`). So no loss is silent.
"""


def replaced(document, part, text):
    """The document with this text between <!-- part --> and <!-- /part -->."""
    begin, end = f"<!-- {part} -->\n", f"<!-- /{part} -->\n"
    before, found, rest = document.partition(begin)
    _, found_end, after = rest.partition(end)
    assert found and found_end, f"{DOCUMENT} has no {part}"
    return before + begin + text + end + after


def record(part, text):
    DOCUMENT.write_text(replaced(DOCUMENT.read_text("utf-8"), part, text), "utf-8")


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


def figures(counts):
    return ", ".join(f"{number:,} {name}" for name, number in sorted(counts.items()))


def faults(asked, seed, seconds, kinds, counts, failures):
    """The part of `make faults`. For each kind of schedule: its class, its counts, its failures."""
    failed = sum(map(len, failures.values()))
    schedules = sum(each["schedules"] for each in counts.values()) + failed
    text = f"`{asked}` from seed {seed} on: {schedules:,} schedules in {seconds} s."
    text += f" **{failed:,}** of them failed.\n"
    for kind in counts:
        text += f"\n### {kind}\n\n{inspect.cleandoc(kinds[kind].__doc__)}\n"
    rows = [
        (name, *(counts[kind][name] or "" for kind in counts))
        for name in sorted(set().union(*counts.values()))
        if any(counts[kind][name] for kind in counts)
    ]
    rows.append(("**schedules that failed**", *(len(failures[kind]) for kind in counts)))
    return text + "\n### How many\n\n" + table(rows, ["", *counts]) + KV_SUM


def soak(minutes, seed, failures, rooms, growth):
    """The part of `make soak`. The counts of each room, and of each program what it has grown."""
    text = f"{minutes:g} minutes, seed {seed}: **{failures}** failures."
    text += " Of each pair one side\nkeeps running, while the other side is killed and restarted.\n\n"
    text += table(balance(rooms.values()).items(), ["", "messages"]) + "\n"
    rows = [(room, figures(counts)) for room, counts in rooms.items()]
    text += table(rows, ["pair", "what came of it"])
    text += (
        "\nThe programs that keep running must not grow: in the last third of the time their median is at most"
        "\n1 MiB (VmRSS) and one descriptor above that of the second third.\n\n"
    )
    heads = ["", "KB, second third", "KB, last third", "descriptors", "descriptors, last third"]
    return text + table([(name, *grown) for name, grown in growth.items()], heads)


def explored(depth, seconds, settings):
    """The part of `make slow`. Of each setting of the world, how many schedules and worlds."""
    rows = [(name, *counts) for name, counts in settings.items()]
    rows.append(("**sum**", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    text = f"Up to {depth} steps, in {seconds} s on two cores: all seven rules hold in every one of them.\n\n"
    return text + table(rows, ["the world", "schedules", "worlds"])
