# SPDX-License-Identifier: MIT
"""Fixtures for the tests of ztrace."""

import pytest


@pytest.fixture
def trace(tmp_path):
    """A file for ztrace to write."""
    return tmp_path / "trace.jsonl"
