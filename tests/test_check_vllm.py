# SPDX-License-Identifier: MIT
"""scripts/check_vllm.py: what it finds in a small repository, compared with a small vLLM."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "check_vllm.py"

CORE_PY, RUST_RS = "vllm/v1/engine/core.py", "rust/src/engine.rs"
CORE = '''
LIMIT = 5

class Engine:
    DEAD: bytes = b"x"

    def step(self):
        def inner(): ...
        self.hidden = 1

    if LIMIT:
        async def close(self): ...

class Child(Engine): ...

def main(): ...
'''
RUST = """
pub(crate) struct Engine { }
impl Engine { pub async fn step(&self) {} }
// mod gone
"""
PROGRAM = """//  SPDX-License-Identifier: MIT
//  demo.c - a demo
//
//  vLLM:  vllm/v1/engine/core.py Engine.step
//         vllm/v1/engine/core.py Engine.DEAD: what it says last
int main (int argc, char **argv)
{
}
"""
MAP = """# Map

| program | step | vLLM | same | simplified |
|---|---|---|---|---|
| [demo](../req_rep/demo.c) | a | `vllm/v1/engine/core.py` `Engine.close`, `main`; `LIMIT` | b | c |
| | d | `rust/src/engine.rs` `Engine::step` | e | `tests/peers/own.py` is ours |
"""
PEER = '''# SPDX-License-Identifier: MIT
"""As Engine of vllm/v1/engine/core.py, but smaller."""

# --- vllm/v1/engine/core.py: its structs -------------------------
'''


@pytest.fixture
def tree(tmp_path):
    """A vLLM of three files, one of which is no Python."""
    put(tmp_path / "tree" / CORE_PY, CORE)
    put(tmp_path / "tree" / RUST_RS, RUST)
    put(tmp_path / "tree" / "vllm/broken.py", "def (:\n")
    return tmp_path / "tree"


@pytest.fixture
def repository(tmp_path):
    """A repository with one program whose citations are all right."""
    root = tmp_path / "repository"
    put(root / "req_rep" / "demo.c", PROGRAM)
    put(root / "req_rep" / "wire.h", "//  The structs (vllm/v1/engine/core.py), by name\n")
    put(root / "docs" / "vllm-map.md", MAP)
    put(root / "tests" / "peers" / "own.py", PEER)
    return root


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def check(*args):
    command = [sys.executable, SCRIPT, "--citations", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def findings(repository, tree):
    """The lines of a check that must fail, without its summary."""
    done = check("--root", repository, tree)
    assert (done.returncode, done.stderr) == (1, "")
    return done.stdout.splitlines()[:-1]


def test_all_there(repository, tree):
    done = check("--root", repository, tree)
    assert done.stdout == "7 citations of 7 symbols in 2 files of vLLM: all there\n"
    assert (done.returncode, done.stderr) == (0, "")


# A file, its text from its third line on, and what is said of which line of it
CITED = [
    # The symbol is nowhere, in another class, inherited, or only assigned to self
    *(
        ("req_rep/extra.h", f"//  vLLM:  {CORE_PY} {symbol}: more words",
         [f"3: {CORE_PY} {symbol}: no such symbol in {CORE_PY}"])
        for symbol in ("Gone", "Engine.gone", "Engine.main", "Child.step", "Engine.hidden",
                       "main.LIMIT")
    ),
    *(
        ("req_rep/extra.h", f"//  vLLM:  {CORE_PY} {symbol}, more words", [])
        for symbol in ("Engine", "Engine.step.inner", "Engine.close", "LIMIT")
    ),
    # A comment that has the word is no definition
    *(
        ("req_rep/extra.h", f"//  vLLM:  {RUST_RS} {symbol}",
         [f"3: {RUST_RS} {symbol}: no such symbol in {RUST_RS}"])
        for symbol in ("gone", "Engine::gone")
    ),
    ("req_rep/extra.h", "//  vLLM:  tests/distributed/gone.py Mock\n//  vllm/v1/engine/core main",
     ["3: tests/distributed/gone.py Mock: no such file", "4: vllm/v1/engine/core main: no such file"]),
    ("req_rep/extra.h", "//  vLLM:  vllm/broken.py main",
     ["3: vllm/broken.py main: this Python cannot parse it: invalid syntax"]),
    *(
        ("req_rep/extra.h", line.format(CORE_PY), [f"3: {CORE_PY}: no symbol named"])
        for line in ("//  vLLM:  {}", "//  See {}, which is", "x ();  //  ({}, main)")
    ),
    *(
        (file, line.format(CORE_PY), [f"3: {CORE_PY}: no symbol named"])
        for file in ("README.md", "req_rep/README.md", "docs/more.md")
        for line in ("`{}` says", "`{}`: `main`", "`{}`\n\n`main`", "{} main", "`{} main`")
    ),
    ("req_rep/extra.h", f"//  vLLM:  {CORE_PY}:12 main", [f"3: {CORE_PY}: cited by line number"]),
    # A symbol may stand in the next line
    ("req_rep/extra.h", f"//  vLLM:  {CORE_PY}\n//         Engine.gone",
     [f"3: {CORE_PY} Engine.gone: no such symbol in {CORE_PY}"]),
    # Several symbols of one path; what is behind a colon are details, until a semicolon
    *(
        ("README.md", text.format(CORE_PY),
         [f"3: {CORE_PY} {symbol}: no such symbol in {CORE_PY}" for symbol in wrong])
        for text, wrong in (
            ("`{}` `main`, `gone`", ["gone"]),
            ("`{}` `gone` and `away`", ["gone", "away"]),
            ("`{}` `main`: `step`, `inner`; `Engine.gone`", ["Engine.gone"]),
            ("`{0}` `main`: in turn, `step`; `{0}` `Engine.gone`", ["Engine.gone"]),
            ("`{}`\n`gone` and more", ["gone"]),
        )
    ),
    # Blocks in Markdown are no citations
    ("README.md", f"```sh\nless {CORE_PY}\n```", []),
    # A peer cites the other way round
    ("tests/peers/x.py", f'"""Gone in\n{CORE_PY}, so."""',
     [f"4: {CORE_PY} Gone: no such symbol in {CORE_PY}"]),
    # A module is no program: the map need not have it
    ("req_rep/wire.c", "//  No main in here\nint wire_main (void)", []),
]  # fmt: skip


@pytest.mark.parametrize("file, text, wrong", CITED)
def test_what_is_said_of_a_citation(repository, tree, file, text, wrong):
    put(repository / file, f"\n\n{text}\n")
    if wrong:
        assert findings(repository, tree) == [f"{file}:{line}" for line in wrong]
    else:
        assert check("--root", repository, tree).returncode == 0


def test_no_citations(tmp_path, tree):
    assert findings(tmp_path / "nothing", tree) == ["no citation found"]


def test_a_program_that_the_map_has_not(repository, tree):
    put(repository / "req_rep" / "new.c", PROGRAM)
    assert findings(repository, tree) == ["req_rep/new.c:1: no row in docs/vllm-map.md"]


@pytest.mark.parametrize(
    "cell, excused",
    [
        ("nothing, it is ours", True),
        ("same pattern: `vllm/v1/engine/core.py` `main`", True),
        ("`vllm/v1/engine/core.py` `main`", False),
        ("nothing | | |\n| | t | `vllm/v1/engine/core.py` `main`", False),
    ],
)
def test_a_program_without_its_vllm_line(repository, tree, cell, excused):
    put(repository / "req_rep" / "new.c", "//  vLLM:  like nothing there\nint main (void)\n")
    put(repository / "docs" / "vllm-map.md", f"{MAP}| [new](../req_rep/new.c) | s | {cell} | | |\n")
    done = check("--root", repository, tree)
    line = "req_rep/new.c:1: no vLLM: line, and not excused in docs/vllm-map.md"
    assert (done.returncode, line in done.stdout) == (0 if excused else 1, not excused)


def test_a_wrong_directory(repository, tree, tmp_path):
    clone = "git clone --depth 1 --branch v0.33.0 https://github.com/vllm-project/vllm"
    (tmp_path / "empty").mkdir()
    for args, why in [
        ([], f"no vLLM given: {clone}"),
        ([""], f"no vLLM given: {clone}"),
        ([tmp_path / "gone"], f"{tmp_path / 'gone'}: no such file or directory"),
        ([tmp_path / "empty"], f"{tmp_path / 'empty'}: no vLLM in it"),
    ]:
        done = check("--root", repository, *args)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"check_vllm: {why}") and done.stderr.count("\n") == 1


@pytest.mark.skipif(not os.environ.get("VLLM"), reason="VLLM=<checkout> not given")
def test_what_this_repository_cites_is_in_vllm():
    done = check(os.environ["VLLM"])
    assert done.returncode == 0, done.stdout + done.stderr
