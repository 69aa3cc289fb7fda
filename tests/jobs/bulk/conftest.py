"""Workers without the seconds that starting Python takes."""

from __future__ import annotations

import pytest

from tests.processes import SERVER


@pytest.fixture(autouse=True)
def _quick_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take workers from the tests' own server, which is there once for all tests."""
    monkeypatch.setattr("core.jobs.bulk.workers.server", lambda: SERVER)
