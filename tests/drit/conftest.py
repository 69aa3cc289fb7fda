"""Data sets on disk, as the tests of training have them."""

from __future__ import annotations

from tests.training.conftest import unpaired

__all__ = ["unpaired"]
