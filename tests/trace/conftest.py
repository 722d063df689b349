# SPDX-License-Identifier: MIT
"""Fixtures for the tests of ztrace; and the folders of the modules that draw."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "trace"), str(ROOT / "scripts")]


@pytest.fixture
def trace(tmp_path):
    """A file for ztrace to write."""
    return tmp_path / "trace.jsonl"
