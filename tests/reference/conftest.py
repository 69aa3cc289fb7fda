"""Tests of kinds that have no case here are left out of the run."""

from __future__ import annotations

import pytest


def _lacks_case(item: pytest.Item) -> bool:
    """Whether `cases.each` found no case for the test, and gave it None."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return "case" in parameters and parameters["case"] is None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests without a case; `test_kinds.py` skips once for each kind that lacks one."""
    config.hook.pytest_deselected(items=[item for item in items if _lacks_case(item)])
    items[:] = [item for item in items if not _lacks_case(item)]
