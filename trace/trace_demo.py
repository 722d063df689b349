#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Plays a demo of the READMEs under ztrace, and draws what was sent: as Mermaid, SVG and a page.

An argument that ends in .jsonl is the trace of a run of your own: it is drawn into files beside it.

With --diagrams it updates docs/diagrams instead: each demo is played, its recording is replaced if the
run differs (trace_read.structure), and drawn again.
"""

import argparse
import re
import sys
import tempfile
import webbrowser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import readme  # noqa: E402
import trace_draw
import trace_page
import trace_read

DIAGRAMS = readme.ROOT / "docs" / "diagrams"


def record(scene, build, path):
    """Plays a scene and writes its trace to `path`. Returns what went wrong."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    return readme.play(scene, build, trace=path)


def draw(title, path):
    """Draws the trace in `path`; the results are its neighbours. Returns the run."""
    run = trace_read.read(path)
    path.with_suffix(".mmd").write_text(trace_draw.mermaid(run), "utf-8")
    path.with_suffix(".svg").write_text(trace_draw.svg(run, title), "utf-8")
    path.with_suffix(".html").write_text(trace_page.html(run, title), "utf-8")
    return run


def draw_own(path, show):
    """Draws the trace of a user's own run. Returns False if that is not possible."""
    try:
        run = draw(path.name, path)
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        print(f"trace: {path}: cannot be drawn: {error}", file=sys.stderr)
        return False
    print(f"{path}: {len(run.messages)} messages: {path.with_suffix('')}.html, .svg and .mmd")
    if show:
        webbrowser.open(path.resolve().with_suffix(".html").as_uri())
    return True


def normal(trace):
    """A recording to be stored: times begin at 0 s, and processes are numbered 1, 2, 3."""
    def time(line):
        return float(line[len('{"t":') :].split(",")[0])

    lines = sorted(trace.split("\n")[:-1], key=time)
    start = time(lines[0])
    pids = {}

    def renamed(found):
        return f'"pid":{pids.setdefault(found.group(1), len(pids) + 1)}'

    kept = []
    for line in lines:
        rest = line.split(",", 1)[1]
        rest = re.sub(r'"pid":(\d+)', renamed, rest, count=1)
        rest = re.sub(r',"tid":\d+', "", rest, count=1)
        kept.append(f'{{"t":{time(line) - start:.6f},{rest}')
    return "\n".join(kept) + "\n"


def update_diagram(name, scene, options):
    """Returns what went wrong, and what was done."""
    kept = DIAGRAMS / f"{name}.jsonl"
    with tempfile.TemporaryDirectory(prefix="zmq-") as folder:
        fresh = Path(folder) / "trace.jsonl"
        wrong = record(scene, options.build, fresh)
        if wrong:
            return wrong, f"docs/diagrams/{name}: left alone"
        new = trace_read.structure(trace_read.read(fresh))
        same = kept.exists() and trace_read.structure(trace_read.read(kept)) == new
        if not same:
            kept.write_text(normal(fresh.read_text("utf-8")), "utf-8")
    kept.with_suffix(".svg").write_text(trace_draw.svg(trace_read.read(kept), scene.title), "utf-8")
    return [], f"docs/diagrams/{name}: {'drawn again' if same else 'recorded'}"


def draw_demo(name, scene, options):
    """Returns what went wrong, and what was done."""
    path = readme.ROOT / options.build / "trace" / f"{name}.jsonl"
    wrong = record(scene, options.build, path)
    run = draw(scene.title, path)
    if options.open:
        webbrowser.open(path.with_suffix(".html").as_uri())
    where = path.relative_to(readme.ROOT).with_suffix("")
    return wrong, f"Demo {name}: {len(run.messages)} messages: {where}.html, .svg, .mmd and .jsonl"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build", help="folder with the programs")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.add_argument("--diagrams", action="store_true", help="bring docs/diagrams up to date")
    parser.add_argument("demo", nargs="*", help="names of demos, such as 2.2; or files .jsonl; none: all demos")
    options = parser.parse_args()

    own = [Path(name) for name in options.demo if name.endswith(".jsonl")]
    if own and not options.diagrams:
        if len(own) < len(options.demo):
            parser.error("files and demos, one after the other")
        return int(not all([draw_own(path, options.open) for path in own]))

    demos = readme.demos()
    unknown = [name for name in options.demo if name not in demos]
    if unknown:
        print(f"trace: {unknown[0]}: no such demo; there are {' '.join(demos)}", file=sys.stderr)
        return 2
    failed = False
    for name in options.demo or demos:
        play = update_diagram if options.diagrams else draw_demo
        wrong, done = play(name, demos[name], options)
        for text in wrong:
            print(f"trace: {demos[name]}: {text}", file=sys.stderr)
        failed = failed or bool(wrong)
        print(done, flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
