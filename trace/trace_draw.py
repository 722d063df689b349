# SPDX-License-Identifier: MIT
"""Draws a run as a sequence diagram: in Mermaid, and as a self-contained SVG."""

import itertools
import re
import textwrap
from html import escape

from trace_read import LONG

# --- Rows: what is drawn, from top to bottom


class Row:
    """One line of the diagram. `kind` is message, arrival (of one that was long on its way), note,
    joins (a process starts late), wait (nothing happens) or more (rows like those above)."""

    def __init__(self, kind, t, **fields):
        self.kind, self.t = kind, t
        self.message = self.lane = None
        self.text = ""
        self.__dict__.update(fields)

    def shape(self):
        """Two rows of the same shape differ in numbers only."""
        ends = (self.message.source, self.message.target) if self.message else self.lane
        words = self.message.label if self.message else self.text
        late = bool(self.message and self.message.late)
        return self.kind, ends, late, re.sub(r"\d+", "#", words)


def rows(run, whole=False):
    """The rows of a run, repeats taken together unless the `whole` is wanted."""
    found = []
    for message in run.messages:
        found.append(Row("message", message.t, message=message))
        if message.late:
            found.append(Row("arrival", message.recv.t, message=message))
    found += [Row("note", note.t, lane=note.lane, text=note.note) for note in run.notes]
    first = run.messages[0].t if run.messages else run.start
    for lane in [lane for lane in run.lanes if lane.start]:
        missed = any(m.fate == "lost" and m.target is lane for m in run.messages if m.t < lane.start)
        if missed or lane.start - first > LONG:
            found.append(Row("joins", lane.start, lane=lane, text="starts"))
    found.sort(key=lambda row: row.t)
    return waits(found if whole else folded(found))


def folded(found, period_max=8, saved_min=3):
    """Leaves out rows that repeat the ones before: of the repeated rounds, the first two and the last
    are kept."""
    kept, at = [], 0
    shapes = [row.shape() for row in found]
    while at < len(found):
        best = None
        for period in range(1, period_max + 1):
            end = at + period
            while end < len(found) and shapes[end] == shapes[end - period]:
                end += 1
            rounds = (end - at) // period
            saved = (rounds - 3) * period
            if saved >= saved_min and (best is None or saved > best[1]):
                best = (period, saved)
        if best is None or any(row.message and row.message.late for row in found[at : at + best[0]]):
            kept.append(found[at])
            at += 1
            continue
        period, saved = best
        middle = found[at + 2 * period : at + 2 * period + saved]
        lanes = [row.lane for row in middle if row.lane]
        lanes += [end for r in middle if r.message for end in (r.message.source, r.message.target)]
        text = f"… {saved} more like {'this' if period == 1 else 'these'}"
        kept += found[at : at + 2 * period]
        kept.append(Row("more", middle[-1].t, lane=lanes[0], lanes=lanes, text=text))
        kept += found[at + 2 * period + saved : at + 3 * period + saved]
        at += 3 * period + saved
    return kept


def waits(found):
    """The rows, with one between any two that are far apart in time."""
    told = []
    for before, row in zip([None, *found], found):
        gap = row.t - before.t if before else 0
        if gap > LONG and "more" not in (before.kind, row.kind):
            told.append(Row("wait", before.t, text=duration(gap)))
        told.append(row)
    return told


def duration(seconds):
    if seconds < 0.995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"


def lanes_in_order(run):
    """The lanes from left to right, so that the arrows are short, and rather point to the right."""
    lanes = run.lanes
    if not 1 < len(lanes) <= 7:
        return lanes
    ends = [(lanes.index(m.source), lanes.index(m.target)) for m in run.messages]

    def cost(order):
        steps = [order.index(target) - order.index(source) for source, target in ends]
        return sum(map(abs, steps)) + sum(step < 0 for step in steps) / 2

    return [lanes[i] for i in min(itertools.permutations(range(len(lanes))), key=cost)]


# --- Mermaid

ARROWS = {"taken": "->>", "lost": "-x", "hidden": "-->>", "untold": "--)"}


def mermaid_text(text):
    """Text with Mermaid's special characters replaced by its entities."""
    return "".join(f"#{ord(c)};" if c in "#;%<>&" else c for c in text)


def mermaid(run):
    lanes = lanes_in_order(run)
    name = {lane: f"p{index}" for index, lane in enumerate(lanes)}
    lines = ["sequenceDiagram"]
    lines += [f"    participant {name[lane]} as {mermaid_text(lane.title)}" for lane in lanes]
    over_all = f"{name[lanes[0]]},{name[lanes[-1]]}" if len(lanes) > 1 else "p0"
    for row in rows(run):
        text = mermaid_text(row.message.label if row.message else row.text)
        if row.kind == "message":
            message = row.message
            arrow = ARROWS[message.fate]
            lines.append(f"    {name[message.source]}{arrow}{name[message.target]}: {text}")
        elif row.kind == "wait":
            lines.append(f"    Note over {over_all}: {text}")
        elif row.kind == "more":
            ends = sorted({name[lane] for lane in row.lanes})
            lines.append(f"    Note over {','.join(dict.fromkeys((ends[0], ends[-1])))}: {text}")
        elif row.kind != "arrival":
            lines.append(f"    Note over {name[row.lane]}: {text}")
    return "\n".join(lines) + "\n"


# --- SVG

MONO = 7.25  # Width of a character of a label: 12 px, monospaced
SANS = 6.6  # About that of a note or a title: 12 px
HEIGHT = {"message": 38, "arrival": 22, "joins": 26, "wait": 34, "more": 30}
NOTE_CHARS = 30
HEAD = 66  # The boxes of the lanes, with the room around them

STYLE = """
.paper { fill: #ffffff }
.ink { fill: #1f2933 }
.faint { fill: #667483 }
.life { stroke: #c3ccd5; stroke-width: 1.4 }
.idle { stroke: #c3ccd5; stroke-width: 1.4; stroke-dasharray: 1.5 4 }
.box { fill: #f6f8fa; stroke-width: 1.4 }
.note { fill: #fff7e0; stroke: #d9a62e }
.note-ink { fill: #6b4a00 }
.halo { stroke: #ffffff; stroke-width: 4; stroke-linejoin: round; paint-order: stroke }
.mono { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace }
.sans { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif }
.title { font-weight: 600; font-size: 13px }
.small { font-size: 10.5px }
.line { fill: none; stroke-width: 1.6 }
.dashed { stroke-dasharray: 5 4 }
.c0 { stroke: #2563a8 } .c1 { stroke: #0f766e } .c2 { stroke: #6d4bb8 }
.c3 { stroke: #a15c07 } .c4 { stroke: #b83256 } .c5 { stroke: #475569 }
.f0 { fill: #2563a8 } .f1 { fill: #0f766e } .f2 { fill: #6d4bb8 }
.f3 { fill: #a15c07 } .f4 { fill: #b83256 } .f5 { fill: #475569 }
.cross { stroke: #c2293f; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
.paper { fill: #12171d }
.ink { fill: #e4e9ee }
.faint { fill: #95a3b1 }
.life, .idle { stroke: #3d4853 }
.box { fill: #1b222a }
.note { fill: #2b2410; stroke: #8f7228 }
.note-ink { fill: #f0d48c }
.halo { stroke: #12171d }
.c0 { stroke: #74aef0 } .c1 { stroke: #4fc4b6 } .c2 { stroke: #b59bf0 }
.c3 { stroke: #e0aa58 } .c4 { stroke: #f08aa4 } .c5 { stroke: #a3b1c6 }
.f0 { fill: #74aef0 } .f1 { fill: #4fc4b6 } .f2 { fill: #b59bf0 }
.f3 { fill: #e0aa58 } .f4 { fill: #f08aa4 } .f5 { fill: #a3b1c6 }
.cross { stroke: #ff7b8a }
}
""".strip()


class Picture:
    """The SVG of a run. `interactive`: for the page, where an arrow can be chosen."""

    def __init__(self, run, title, interactive=False):
        self.run, self.title, self.interactive = run, title, interactive
        self.lanes = lanes_in_order(run)
        self.rows = rows(run, whole=interactive)
        self.colour = {lane: index % 6 for index, lane in enumerate(run.lanes)}
        self.number = {message: number for number, message in enumerate(run.messages)}
        self.parts, self.lines = [], []
        self._place_lanes()
        self._place_rows()

    def _place_lanes(self):
        at = {lane: index for index, lane in enumerate(self.lanes)}
        self.box = [
            max(len(lane.title) * 8.1, len(" · ".join(lane.sockets)) * SANS, 76) + 24
            for lane in self.lanes
        ]
        room = [max((a + b) / 2 + 20, 200) for a, b in zip(self.box, self.box[1:])]
        spans = {}
        for row in self.rows:
            if row.kind == "message":
                first, last = sorted((at[row.message.source], at[row.message.target]))
                width = len(row.message.label) * MONO + 44
                spans[first, last] = max(spans.get((first, last), 0), width)
        for (first, last), width in sorted(spans.items(), key=lambda s: s[0][1] - s[0][0]):
            missing = width - sum(room[first:last])
            for gap in range(first, last):
                room[gap] += max(0, missing) / (last - first)
        gutter = 68 if any(row.kind == "wait" for row in self.rows) else 18
        notes = [row.lane for row in self.rows if row.kind == "note"]
        note = NOTE_CHARS * SANS / 2 + 14  # A note may be wider than the box of its lane
        outer = [
            max(box / 2, note if lane in notes else 0) for lane, box in zip(self.lanes, self.box)
        ] or [0]
        xs = list(itertools.accumulate(room, initial=gutter + outer[0]))
        self.x = dict(zip(self.lanes, (round(x, 1) for x in xs)))
        self.width = round(xs[-1] + outer[-1] + 18)

    def _place_rows(self):
        y = HEAD + 6
        for row in self.rows:
            if row.kind == "note":
                count = -(-len(row.text) // NOTE_CHARS) or 1
                evenly = min(NOTE_CHARS, len(row.text) // count + 6)
                row.lines = textwrap.wrap(row.text, evenly, break_on_hyphens=False) or [""]
                height = len(row.lines) * 15 + 24
            else:
                height = HEIGHT[row.kind]
            row.top, row.y = y, y + height - 10  # An arrow is drawn at y, its label above
            y += height
            row.bottom = y
        self.height = round(y + 18)

    def _life(self, lane):
        """From where to where its line goes."""
        top, bottom = HEAD - 10, self.height - 14
        for row in self.rows:
            if row.kind == "joins" and row.lane is lane:
                top = row.y
        if lane.end is not None and self.rows and lane.end < self.rows[-1].t:
            bottom = max([row.bottom for row in self.rows if row.t <= lane.end], default=bottom)
        return top, bottom

    def put(self, text):
        self.parts.append(text)

    def end_line(self):
        """What was put since the last call becomes one line of the file."""
        self.lines += ["".join(self.parts)] if self.parts else []
        self.parts.clear()

    def text(self, x, y, text, classes, anchor="middle"):
        self.put(
            f'<text x="{x:g}" y="{y:g}" class="{classes}" text-anchor="{anchor}">{escape(text)}</text>'
        )

    def _draw_lane(self, lane, width):
        x, colour = self.x[lane], self.colour[lane]
        top, bottom = self._life(lane)
        waits = [row for row in self.rows if row.kind == "wait" and top < row.y < bottom]
        for wait in waits:
            self.put(f'<path class="life" d="M{x:g} {top:g}V{wait.top + 6:g}"/>')
            self.put(f'<path class="idle" d="M{x:g} {wait.top + 6:g}V{wait.bottom:g}"/>')
            top = wait.bottom
        self.put(f'<path class="life" d="M{x:g} {top:g}V{bottom:g}"/>')
        if lane.end is not None and bottom < self.height - 14:
            self.put(f'<path class="life" d="M{x - 7:g} {bottom:g}h14"/>')
        box = f'x="{x - width / 2:g}" y="14" width="{width:g}" height="42" rx="7"'
        self.put(f'<rect class="box c{colour}" {box}/>')
        self.text(x, 32 if lane.sockets else 39, lane.title, "sans title ink")
        if lane.sockets:
            self.text(x, 48, " · ".join(lane.sockets), "sans small faint")

    def _head(self, x, y, right, colour, is_open=False):
        back = -8 if right else 8
        if is_open:
            d = f"M{x + back:g} {y - 4.5:g}L{x:g} {y:g}l{back:g} 4.5"
            self.put(f'<path class="line c{colour}" d="{d}"/>')
        else:
            d = f"M{x:g} {y:g}l{back:g} -4.5v9z"
            self.put(f'<path class="f{colour}" d="{d}"/>')

    def _draw_message(self, row):
        message = row.message
        colour = self.colour[message.source]
        x1, x2, y = self.x[message.source], self.x[message.target], row.y
        right = x2 >= x1
        if self.interactive:
            number = self.number[message]
            about = f"{message.source.title} to {message.target.title}: {message.label}"
            self.put(
                f'<g class="arrow" data-n="{number}" tabindex="0" role="button"'
                f' aria-label="{escape(about)}">'
            )
            left, width = min(x1, x2), abs(x2 - x1) or 60
            area = f'x="{left:g}" y="{row.top:g}" width="{width:g}"'
            self.put(f'<rect class="area" {area} height="{row.bottom - row.top:g}" rx="6"/>')
        else:
            self.put("<g>")
        label = "mono ink halo"
        if message.source is message.target:
            self.put(f'<path class="line c{colour}" d="M{x1:g} {y - 12:g}h26v12h-26"/>')
            self._head(x1, y, False, colour)
            self.text(x1 + 34, y - 2, message.label, label, "start")
        elif message.late:
            arrival = next(r for r in self.rows if r.kind == "arrival" and r.message is message)
            end = arrival.y - 6
            self.put(f'<path class="line c{colour}" d="M{x1:g} {y:g}L{x2:g} {end:g}"/>')
            slope = (end - y) / (x2 - x1)
            back = -9 if right else 9
            tip = f"M{x2:g} {end:g}l{back:g} {back * slope - 4.5:g}v9z"
            self.put(f'<path class="f{colour}" d="{tip}"/>')
            anchor = "start" if right else "end"
            self.text(x1 + (10 if right else -10), y - 7, message.label, label, anchor)
        elif message.fate == "lost":
            stop = x1 + (x2 - x1) * 0.8
            self.put(f'<path class="line dashed c{colour}" d="M{x1:g} {y:g}H{stop:g}"/>')
            self.put(f'<path class="cross" d="M{stop - 5:g} {y - 5:g}l10 10m0 -10l-10 10"/>')
            self.text((x1 + x2) / 2, y - 7, message.label, "mono faint halo")
        else:
            dashed = "" if message.fate == "taken" else " dashed"
            self.put(f'<path class="line{dashed} c{colour}" d="M{x1:g} {y:g}H{x2:g}"/>')
            self._head(x2, y, right, colour, message.fate != "taken")
            self.text((x1 + x2) / 2, y - 7, message.label, label)
        self.put("</g>")

    def _draw_note(self, row):
        width = max(len(line) for line in row.lines) * SANS + 22
        x = min(max(self.x[row.lane], width / 2 + 6), self.width - width / 2 - 6)
        top = row.top + 6
        box = f'x="{x - width / 2:g}" y="{top:g}" width="{width:g}"'
        self.put(f'<rect class="note" {box} height="{len(row.lines) * 15 + 10}" rx="5"/>')
        for number, line in enumerate(row.lines):
            self.text(x, top + 16 + number * 15, line, "sans note-ink")

    def _draw_row(self, row):
        if row.kind == "message":
            self._draw_message(row)
        elif row.kind == "note":
            self._draw_note(row)
        elif row.kind == "joins":
            x = self.x[row.lane]
            self.put(f'<circle class="f{self.colour[row.lane]}" cx="{x:g}" cy="{row.y:g}" r="4"/>')
            self.text(x + 10, row.y + 4, "starts", "sans small faint", "start")
        elif row.kind == "wait":
            self.text(12, row.y - 3, row.text, "sans faint", "start")
        elif row.kind == "more":
            x = sum(self.x[lane] for lane in row.lanes) / len(row.lanes)
            self.text(x, row.y - 4, row.text, "sans faint halo")

    def svg(self):
        words = f"{len(self.run.messages)} messages between " + ", ".join(
            lane.title for lane in self.lanes
        )
        role = "group" if self.interactive else "img"
        self.put(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}"'
            f' width="{self.width}" height="{self.height}" role="{role}"'
            ' aria-labelledby="diagram-title diagram-desc">'
        )
        self.put(f'<title id="diagram-title">{escape(self.title)}</title>')
        self.put(f'<desc id="diagram-desc">{escape(words)}</desc>')
        self.end_line()
        self.put(f"<style>{' '.join(STYLE.split())}</style>")
        self.end_line()
        self.put(f'<rect class="paper" width="{self.width}" height="{self.height}" rx="8"/>')
        self.end_line()
        for lane, width in zip(self.lanes, self.box):
            self._draw_lane(lane, width)
            self.end_line()
        for row in self.rows:
            if self.interactive and row.kind != "message":
                self.put(f'<g class="row" data-t="{row.t - self.run.start:.6f}">')
                self._draw_row(row)
                self.put("</g>")
            else:
                self._draw_row(row)
            self.end_line()
        return "\n".join([*self.lines, "</svg>"]) + "\n"


def svg(run, title):
    return Picture(run, title).svg()
