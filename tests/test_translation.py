# SPDX-License-Identifier: MIT
"""The Chinese texts say what the English ones say: same headings, commands, outputs, links, names.

test_readme.py runs the commands of the English READMEs; here each text is compared with its translation.
"""

import re
from itertools import zip_longest
from pathlib import Path

import pytest

from test_readme import heading_anchor

ROOT = Path(__file__).resolve().parent.parent
ROOMS = re.search(r"^ROOMS\s*:=\s*(.*)$", (ROOT / "Makefile").read_text("utf-8"), re.M)[1].split()
ENGLISH = [
    ROOT / "README.md",
    *(ROOT / room / "README.md" for room in ROOMS),
    ROOT / "docs" / "from-pyzmq.md",
]
ENDING = ".zh-CN.md"

# In a drawing or a tree of folders: names, paths, options and endpoints, which are not translated
NAMES = re.compile(r"[\w.*<>-]*(?:[/_][\w.*<>/:-]*|\.(?:md|c|h|py)\b)")


def chinese(path):
    return path.with_name(path.name.replace(".md", ENDING))


class Section:
    """A heading and its text, split into the parts that must be the same in both languages."""

    def __init__(self, heading):
        self.title = heading.lstrip("# ")
        self.level = len(heading) - len(heading.lstrip("#"))
        self.blocks = []  # (language, text)
        self.rules = []  # The comments that say how a block is played
        self.prose = ""

    @property
    def heading(self):
        demo = re.match(r"Demo ([\w.-]+)", self.title)
        return self.level, demo and demo[1]

    @property
    def shown(self):
        """Commands and outputs must be identical; a drawing may have other words, but the same names."""
        return [(kind, text if kind else NAMES.findall(text)) for kind, text in self.blocks]

    @property
    def code(self):
        return sorted(re.findall(r"`([^`\n]+)`", self.prose))

    @property
    def links(self):
        return sorted(re.findall(r"\]\(([^)]+)\)", self.prose))

    @property
    def tables(self):
        return [line.count(" | ") for line in self.prose.splitlines() if line.startswith("| ")]

    @property
    def items(self):
        return len(re.findall(r"^- ", self.prose, re.M))


def sections(text):
    found, kind, block = [], None, []
    for line in text.splitlines():
        if line.startswith("```"):
            if kind is None:
                kind, block = line[3:].strip(), []
            else:
                found[-1].blocks.append((kind, "\n".join(block)))
                kind = None
        elif kind is not None:
            block.append(line)
        elif re.match(r"#+ ", line):
            found.append(Section(line))
        elif line.startswith("<!--"):
            found[-1].rules.append(line)
        else:
            found[-1].prose += line + "\n"
    return found


def anchors(path):
    return [heading_anchor(section.title) for section in sections(path.read_text("utf-8"))]


def in_chinese(link, path):
    """The link of the translation of `path`: texts that are translated are linked in Chinese."""
    target, _, anchor = link.partition("#")
    if target == chinese(path).name:
        return path.name  # The two link to each other
    file = (path.parent / target).resolve() if target else path
    if file not in ENGLISH:
        return link
    if anchor:
        anchor = "#" + anchors(chinese(file))[anchors(file).index(anchor)]
    return target.replace(".md", ENDING) + anchor


def drift(path, text):
    """The differences between `path` and its translation `text`, a line each."""
    wrong = []
    both = zip_longest(sections(path.read_text("utf-8")), sections(text))
    for english, translated in both:
        if not english or not translated:
            return [*wrong, "another number of headings"]
        english_links = sorted(in_chinese(link, path) for link in english.links)
        if english_links != translated.links:
            wrong.append(f"{translated.title}: links: {english_links}, {translated.links}")
        for name in ("heading", "shown", "rules", "code", "tables", "items"):
            theirs, ours = getattr(english, name), getattr(translated, name)
            if theirs != ours:
                wrong.append(f"{translated.title}: {name}: {theirs}, {ours}")
    return wrong


def test_each_translation_is_compared():
    texts = {*ROOT.glob(f"*{ENDING}"), *ROOT.glob(f"[!.]*/*{ENDING}")}
    assert {chinese(path) for path in ENGLISH} == texts


@pytest.mark.parametrize("path", ENGLISH, ids=lambda path: str(path.relative_to(ROOT)))
def test_translation_is_up_to_date(path):
    assert drift(path, chinese(path).read_text("utf-8")) == []


# The comparison itself: each of these differences must be found


@pytest.mark.parametrize(
    "old, new, seen",
    [
        ("## Demo 1.1", "## Demo 1.2", "heading"),
        ("### ", "## ", "heading"),
        ("\n## Demo 1.2", "\nDemo 1.2", "another number of headings"),
        ("got: early", "got: late", "shown"),
        ("basic_client --message early", "basic_client --message late", "shown"),
        ("            basic_server", "            fast_server", "shown"),
        ("<!-- do not wait -->", "<!-- any order -->", "rules"),
        ("`EFSM`", "`EAGAIN`", "code"),
        ("(basic_server.c)", "(basic_client.c)", "links"),
        ("(README.md)", "(README.zh-CN.md)", "links"),
        ("\n| [poller_client]", "\n[poller_client]", "tables"),
        ("\n- 服务端", "\n服务端", "items"),
    ],
)
def test_drift_is_seen(old, new, seen):
    path = ROOT / "req_rep" / "README.md"
    text = chinese(path).read_text("utf-8")
    changed = text.replace(old, new, 1)
    assert changed != text
    assert any(seen in line for line in drift(path, changed))
