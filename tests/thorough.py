"""Tests that repeat, at half a minute each, what cheaper ones show: run with THOROUGH=1."""

from __future__ import annotations

import os

import pytest


def only_if_thorough(reason: str) -> None:
    """Skip the test, unless everything was asked for."""
    if not os.environ.get("THOROUGH"):
        pytest.skip(f"{reason}; THOROUGH=1 runs it")
