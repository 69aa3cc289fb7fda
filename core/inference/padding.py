"""Sizes that a network takes: images are padded to the next one."""

from __future__ import annotations


def legal(length: int, multiple: int, minimum: int) -> int:
    """Return the next length that a network takes."""
    return max(minimum, -(-length // multiple) * multiple)
