"""The table of families; the only file that imports them all."""

from __future__ import annotations

from core.family import Family

FAMILIES: dict[str, type[Family]] = {}
