"""Sets of names by their digests."""

from __future__ import annotations

import pytest

from core.jobs.bulk import digests
from core.jobs.bulk.digests import DigestSet, digest


def test_a_set_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "_RECENT", 7)
    names = DigestSet()
    for number in range(40):
        assert f"{number}" not in names
        names.add(f"{number}")
        names.add(f"{number // 2}")
    assert all(f"{number}" in names for number in range(40)) and "40" not in names
    assert len(names) == 40
    assert digest("a/b.png") == 0x5465433247FCA47E, "shares of names are the same everywhere"
