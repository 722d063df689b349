# SPDX-License-Identifier: MIT
"""Checks whether our programs would work with a vLLM, and whether what we cite still exists.

    python3 scripts/check_vllm.py VLLM                  VLLM is a source tree, a wheel or an sdist
    python3 scripts/check_vllm.py --citations VLLM      the citations only; exit 1 for a wrong one

It does not import, run, build or fetch vLLM. The report has four parts:
    drift       the differences from the stored layout of the nearest release (vllm_layout.py)
    breaks      which of our programs would not work, and why (vllm_drift.py)
    utilities   calls of its front-end that mock_engine does not know
    citations   which symbols no longer exist, and where they may have moved
Exit status: 1 if a program would not work, 0 otherwise, 2 wrong usage.

A citation is a path and a symbol, never a line number:
    //  vLLM:  path Symbol.method       in C, more of them in the lines below
    `path` `Symbol`, `Symbol.method`    in a README and in docs/, several for one path
    Symbol of path, Symbol in path      in the Python peers

A path that begins with vllm/, examples/, tests/ or rust/ is one of vLLM's, unless our own tests/
has it. A path to code must come with a symbol. Only in parentheses, or as the heading
`# --- path ...` of the peers' structs, it may stand alone: then it is prose about that file, which
must exist.

Python is parsed and never imported: classes, functions, and what is assigned in their bodies. A
name counts where it is defined, not where it is inherited. Of Rust, the definition of each name
must occur in the file.

Each program must have its `vLLM:` line and a row in docs/vllm-map.md. One without the line is
excused when the vLLM cell of each of its rows begins with "nothing" or with "same pattern". The
traps need neither: the table in traps/README.md says where each was met. Their citations are looked
up too.
"""

import argparse
import re
import sys
import tarfile
import zipfile
from pathlib import Path

import vllm_drift
import vllm_layout

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("req_rep", "pub_sub", "push_pull", "router_dealer", "tools")
MAP = "docs/vllm-map.md"
MARK = "vllm/v1/engine/core.py"  # What tells a vLLM tree
GET = "git clone --depth 1 --branch v0.33.0 https://github.com/vllm-project/vllm ../vllm"

PATH = re.compile(r"(?<![\w./@:-])(?:vllm|examples|tests|rust)/[\w./-]*\w")
NAME = r"[A-Za-z_]\w*"
SYMBOL = rf"{NAME}(?:(?:\.|::){NAME})*"
GAP = r"(?:[ \t]+|[ \t]*\n[ \t]*)"  # A citation may go on in the next line, not beyond
AFTER = re.compile(rf"{GAP}({SYMBOL})")
BEFORE = re.compile(rf"({SYMBOL}){GAP}(?:of|in){GAP}$")
TICKED = re.compile(r"`([^`\n]*)`")
HEADING = re.compile(r"^# --- ")


def sources(root):
    """Our files that may cite: rooms, tools/, units, READMEs, docs/, peers. Not vLLM's own."""
    found = [*root.glob("tools/*/*.c"), *root.glob("tests/tools/unit/*.c")]
    folders = {path.parent for path in [*root.glob("[!.]*/*.c"), *found]}
    patterns = [f"{folder.relative_to(root)}/{each}" for folder in folders
                for each in ("*.[ch]", "README*.md")]  # fmt: skip
    patterns += ["README*.md", "docs/*.md", "tests/peers/*.py", "tests/tools/peers/*.py"]
    return sorted({path for each in patterns for path in root.glob(each)})


def is_ours(root, path):
    """tests/ is vLLM's and ours: our folders in it, and test_*.py and the files beside them."""
    parts = path.split("/")
    if parts[0] != "tests":
        return False
    if len(parts) > 2:
        return (root / "tests" / parts[1]).is_dir()
    return parts[1].startswith("test_") or (root / path).exists()


def ticked_symbols(text, end):
    """The `Symbol`, `Symbol` behind a `path` in Markdown. After a colon come details, up to a ;"""
    rest = re.split(r"\n[ \t]*\n", text[end + 1 :], maxsplit=1)[0]
    symbols, at, detail = [], 0, False
    for ticked in TICKED.finditer(rest):
        between, at = rest[at : ticked.start()], ticked.end()
        if PATH.fullmatch(ticked[1]):
            break  # The next citation
        if not symbols:
            if between.strip() or not re.fullmatch(SYMBOL, ticked[1]):
                break
        elif between.rstrip().endswith(";"):
            detail = False
        elif detail or between.strip() not in (",", "and", ", and"):
            detail = True
            continue
        symbols.append(ticked[1])
    return symbols


def mentions(file, text):
    """(line, path, symbols, problem) of each such path in the file, be it vLLM's or ours.

    No symbols and no problem: prose about a file.
    """
    headings = {n for n, line in enumerate(text.split("\n"), 1) if HEADING.match(line)}
    # What is no sentence becomes blanks: in Markdown commands and output, else what begins comments
    blank = r"^```.*?^```" if file.suffix == ".md" else r"^[ \t]*(//|#)"
    text = re.sub(blank, lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.M | re.S)
    for match in PATH.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        path, start, end = match[0], match.start(), match.end()
        symbols = []
        if file.suffix == ".md":
            if text[start - 1 : start] == "`" == text[end : end + 1]:
                symbols, start, end = ticked_symbols(text, end), start - 1, end + 1
        else:
            before = BEFORE.search(text[:start]) if file.suffix == ".py" else None
            found = before or AFTER.match(text, end)
            symbols = [found[1]] if found and line not in headings else []
        alone = text[start - 1 : start] == "(" and text[end : end + 1] == ")" or line in headings
        if re.match(r"(:|#L)\d", text[end : end + 3]):
            yield line, path, [], "cited by line number"
        elif symbols or alone or Path(path).suffix not in (".py", ".rs"):
            yield line, path, symbols, None
        else:
            yield line, path, [], "no symbol named"


def missing(source, path, symbol):
    """Why the symbol cannot be found, or None."""
    names = re.split(r"\.|::", symbol)
    if not (source.is_file(path) if symbol else source.has(path)):
        to = symbol and path.endswith(".py") and vllm_layout.moved_to(source, names)
        return f"no such file, it is in {to} now" if to else "no such file"
    if not symbol:
        return None
    if path.endswith(".py"):
        try:
            found = vllm_layout.defines(source, path, names)
        except SyntaxError as error:
            return f"this Python cannot parse it: {error.msg}"
        to = not found and vllm_layout.moved_to(source, names)
        if to:
            return f"no such symbol in {path}, it is in {to} now"
    else:
        text = source.text(path)
        kinds = "struct|enum|trait|type|fn|const|static|mod"
        found = all(re.search(rf"^[^/\n]*\b(?:{kinds}) {name}\b", text, re.M) for name in names)
    return None if found else f"no such symbol in {path}"


def map_rows(root):
    """program -> the vLLM cells of its rows in the map; a row without a program goes on with it."""
    rows, program = {}, None
    lines = (root / MAP).read_text("utf-8").splitlines() if (root / MAP).is_file() else []
    for line in lines:
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) < 3:
            program = None
            continue
        link = re.search(r"\(\.\./(\w+/\w+\.[ch])\)", cells[0])
        program = link[1] if link else None if cells[0] else program
        if program:
            rows.setdefault(program, []).append(cells[2])
    return rows


def unmapped(root):
    """One line for each program that does not say which part of vLLM it mirrors."""
    rows = map_rows(root)
    for source in sorted(path for room in ROOMS for path in (root / room).glob("*.c")):
        text, name = source.read_text("utf-8"), f"{source.parent.name}/{source.name}"
        if not re.search(r"^int main \(", text, re.M):
            continue
        if name not in rows:
            yield f"{name}:1: no row in {MAP}"
        elif not re.search(rf"^//  vLLM:  {PATH.pattern}", text, re.M) and not all(
            cell.startswith(("nothing", "same pattern")) for cell in rows[name]
        ):
            yield f"{name}:1: no vLLM: line, and not excused in {MAP}"


def check(root, source):
    """The faults, one line each, and the good citations, as (path, symbol)."""
    wrong, good = [], []
    for file in sources(root):
        for line, path, symbols, problem in mentions(file, file.read_text("utf-8")):
            if is_ours(root, path) or (source.is_package and not path.startswith("vllm/")):
                continue  # A wheel has nothing but the package
            where = f"{file.relative_to(root)}:{line}: {path}"
            for symbol in symbols or [""]:
                why = problem or missing(source, path, symbol)
                if why:
                    wrong.append(f"{where} {symbol}".rstrip() + f": {why}")
                elif symbol:
                    good.append((path, symbol))
    wrong += unmapped(root)
    if not wrong and not good:
        wrong.append("no citation found")
    return wrong, good


def tell_citations(root, source):
    """Prints the wrong citations, and returns their number."""
    wrong, good = check(root, source)
    for line in wrong:
        print(line)
    if wrong:
        print(f"{len(wrong)} to look at, {len(good)} citations are right")
    else:
        symbols, files = set(good), {path for path, _ in good}
        count = f"{len(good)} citations of {len(symbols)} symbols in {len(files)} files of vLLM"
        print(f"{count}: all there")
    return len(wrong)


def nearest(release):
    """The stored release to compare with: the same, the newest that is older, or the newest."""
    stored = vllm_layout.stored()
    older = [r for r in stored if vllm_layout.version(r) <= vllm_layout.version(release)]
    return (older or stored)[-1]


def tell(title, lines, none):
    print("\n  ".join([f"{title}:", *(lines or [none])]))


def report(root, source):
    """Prints the report, and returns what breaks."""
    layout = vllm_layout.layout_of(source)
    base = vllm_layout.load(nearest(layout["release"]))
    print(f"vLLM {layout['release'] or 'of an unknown release'}, compared with v{base['release']}")
    moved = [f"{old}: moved to {new}" for old, new in vllm_layout.moved_files(source)]
    tell("drift", [*moved, *vllm_drift.drift(base, layout)], "none")
    table = vllm_drift.ours_for(layout["release"])
    broken = list(vllm_drift.breaks(table, layout))
    tell("breaks", broken, "nothing")
    unknown = [f"{name}: mock_engine has no such method" for name in layout["utility"]
               if name not in table["answers"] and name not in table["refused"]]  # fmt: skip
    tell("utilities", unknown, "mock_engine knows all that this front-end calls")
    print("citations:")
    tell_citations(root, source)
    return broken


def main():
    parser = argparse.ArgumentParser(
        "check_vllm", description="Checks our programs and citations against a vLLM."
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="where the citations are")
    parser.add_argument("--citations", action="store_true", help="only look up what we cite")
    parser.add_argument("vllm", nargs="?", help="a source tree, a wheel or an sdist")
    options = parser.parse_args()
    if not options.vllm:
        return refuse(f"no vLLM given: {GET}, then make check-vllm VLLM=../vllm")
    if not Path(options.vllm).exists():
        return refuse(f"{options.vllm}: no such file or directory (to get it: {GET})")
    try:
        source = vllm_layout.Source(options.vllm)
    except (OSError, tarfile.TarError, zipfile.BadZipFile) as error:
        why = str(error).partition("\n")[0]
        return refuse(f"{options.vllm}: neither a tree nor a wheel nor an sdist: {why}")
    if not source.is_file(MARK):
        return refuse(f"{options.vllm}: no vLLM in it, there is no {MARK}")
    if options.citations:
        return 1 if tell_citations(options.root.resolve(), source) else 0
    return 1 if report(options.root.resolve(), source) else 0


def refuse(why):
    print(f"check_vllm: {why}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
