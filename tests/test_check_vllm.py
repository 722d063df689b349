# SPDX-License-Identifier: MIT
"""scripts/check_vllm.py: what it finds in a small repository, compared with a small vLLM."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "check_vllm.py"

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
    """A vLLM of two files."""
    put(tmp_path / "tree" / "vllm/v1/engine/core.py", CORE)
    put(tmp_path / "tree" / "rust/src/engine.rs", RUST)
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


def cite(repository, line):
    """Adds a header whose third line is this one."""
    put(repository / "req_rep" / "extra.h", f"//  SPDX\n//\n{line}\n")


def test_all_there(repository, tree):
    done = check("--root", repository, tree)
    assert done.stdout == "7 citations of 7 symbols in 2 files of vLLM: all there\n"
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "symbol", ["Gone", "Engine.gone", "Engine.main", "Child.step", "Engine.hidden", "main.LIMIT"]
)
def test_a_symbol_that_is_not_there(repository, tree, symbol):
    """The symbol is nowhere, in another class, inherited, or only assigned to self."""
    cite(repository, f"//  vLLM:  vllm/v1/engine/core.py {symbol}: more words")
    path = "vllm/v1/engine/core.py"
    assert findings(repository, tree) == [
        f"req_rep/extra.h:3: {path} {symbol}: no such symbol in {path}"
    ]


@pytest.mark.parametrize("symbol", ["Engine", "Engine.step.inner", "Engine.close", "LIMIT"])
def test_a_symbol_that_is_there(repository, tree, symbol):
    cite(repository, f"//  vLLM:  vllm/v1/engine/core.py {symbol}, more words")
    assert check("--root", repository, tree).returncode == 0


@pytest.mark.parametrize("symbol", ["gone", "Engine::gone"])
def test_rust_without_the_symbol(repository, tree, symbol):
    """A comment that has the word is no definition."""
    path = "rust/src/engine.rs"
    cite(repository, f"//  vLLM:  {path} {symbol}")
    assert findings(repository, tree) == [
        f"req_rep/extra.h:3: {path} {symbol}: no such symbol in {path}"
    ]


def test_a_file_that_is_not_there(repository, tree):
    cite(repository, "//  vLLM:  tests/distributed/gone.py Mock\n//  See vllm/v1/engine/core main")
    assert findings(repository, tree) == [
        "req_rep/extra.h:3: tests/distributed/gone.py Mock: no such file",
        "req_rep/extra.h:4: vllm/v1/engine/core main: no such file",
    ]


def test_python_that_cannot_be_parsed(repository, tree):
    put(tree / "vllm" / "broken.py", "def (:\n")
    cite(repository, "//  vLLM:  vllm/broken.py main")
    [line] = findings(repository, tree)
    assert line.startswith("req_rep/extra.h:3: vllm/broken.py main: this Python cannot parse it")


@pytest.mark.parametrize("line", ["//  vLLM:  {}", "//  See {}, which is", "x ();  //  ({}, main)"])
def test_a_citation_without_symbol(repository, tree, line):
    cite(repository, line.format("vllm/v1/engine/core.py"))
    assert findings(repository, tree) == [
        "req_rep/extra.h:3: vllm/v1/engine/core.py: no symbol named"
    ]


@pytest.mark.parametrize("where", ["README.md", "req_rep/README.md", "docs/more.md"])
@pytest.mark.parametrize(
    "line", ["`{}` says", "`{}`: `main`", "`{}`\n\n`main`", "{} main", "`{} main`"]
)
def test_a_citation_without_symbol_in_markdown(repository, tree, where, line):
    put(repository / where, f"# Title\n\n{line.format('vllm/v1/engine/core.py')}\n")
    assert findings(repository, tree) == [f"{where}:3: vllm/v1/engine/core.py: no symbol named"]


def test_a_citation_by_line(repository, tree):
    cite(repository, "//  vLLM:  vllm/v1/engine/core.py:12 main")
    assert findings(repository, tree) == [
        "req_rep/extra.h:3: vllm/v1/engine/core.py: cited by line number"
    ]


def test_a_symbol_may_stand_in_the_next_line(repository, tree):
    cite(repository, "//  vLLM:  vllm/v1/engine/core.py\n//         Engine.gone")
    [line] = findings(repository, tree)
    assert line.startswith("req_rep/extra.h:3: vllm/v1/engine/core.py Engine.gone: no such symbol")


@pytest.mark.parametrize(
    "text, wrong",
    [
        ("`{}` `main`, `gone`", ["gone"]),
        ("`{}` `gone` and `away`", ["gone", "away"]),
        ("`{}` `main`: `step`, `inner`; `Engine.gone`", ["Engine.gone"]),
        ("`{}` `main`: in turn, `step`; `{}` `Engine.gone`", ["Engine.gone"]),
        ("`{}`\n`gone` and more", ["gone"]),
    ],
)
def test_several_symbols_of_one_path(repository, tree, text, wrong):
    """What is behind a colon are details, until a semicolon."""
    path = "vllm/v1/engine/core.py"
    put(repository / "README.md", text.replace("{}", path) + "\n")
    assert findings(repository, tree) == [
        f"README.md:1: {path} {symbol}: no such symbol in {path}" for symbol in wrong
    ]


def test_blocks_in_markdown_are_no_citations(repository, tree):
    put(repository / "README.md", "```sh\nless vllm/v1/engine/core.py\n```\n")
    assert check("--root", repository, tree).returncode == 0


def test_a_peer_cites_the_other_way_round(repository, tree):
    put(repository / "tests" / "peers" / "x.py", '"""Gone in\nvllm/v1/engine/core.py, so."""\n')
    [line] = findings(repository, tree)
    assert line.startswith("tests/peers/x.py:2: vllm/v1/engine/core.py Gone: no such symbol")


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


def test_a_module_is_no_program(repository, tree):
    put(repository / "req_rep" / "wire.c", "//  No main in here\nint wire_main (void)\n")
    assert check("--root", repository, tree).returncode == 0


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
