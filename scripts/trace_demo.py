#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Plays a demo of the READMEs with --trace, and draws what was sent: as Mermaid, SVG and a page."""

import argparse
import sys
import webbrowser
from pathlib import Path

import readme
import trace_draw
import trace_page
import trace_read


def record(scene, build, path):
    """Plays a scene and writes its trace to `path`. Returns what went wrong."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    return readme.play(scene, build, trace=path)


def draw(scene, path, page=False):
    """Draws the trace in `path`; the results are its neighbours. Returns the run."""
    run = trace_read.read(path)
    path.with_suffix(".mmd").write_text(trace_draw.mermaid(run), "utf-8")
    path.with_suffix(".svg").write_text(trace_draw.svg(run, scene.title), "utf-8")
    if page:
        path.with_suffix(".html").write_text(trace_page.html(run, scene.title), "utf-8")
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build", help="folder with the programs")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.add_argument("demo", nargs="*", help="names of demos, such as 2.2; none: all")
    options = parser.parse_args()

    demos = readme.demos()
    unknown = [name for name in options.demo if name not in demos]
    if unknown:
        print(f"trace: {unknown[0]}: no such demo; there are {' '.join(demos)}", file=sys.stderr)
        return 2
    failed = False
    for name in options.demo or demos:
        path = readme.ROOT / options.build / "trace" / f"{name}.jsonl"
        wrong = record(demos[name], options.build, path)
        for text in wrong:
            print(f"trace: {demos[name]}: {text}", file=sys.stderr)
        failed = failed or bool(wrong)
        run = draw(demos[name], path, page=True)
        where = path.relative_to(readme.ROOT).with_suffix("")
        print(f"Demo {name}: {len(run.messages)} messages: {where}.html, .svg, .mmd and .jsonl")
        if options.open:
            webbrowser.open(path.with_suffix(".html").as_uri())
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
