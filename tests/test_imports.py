"""The arrows between the rooms: scripts -> families.py -> family packages -> core."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

LAZY = {("core/inference.py", "families")}
"""A checkpoint names its family, and only the table knows where that is."""


def declared() -> set[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return set(settings["tool"]["setuptools"]["packages"])


ROOMS = {name.split(".")[0] for name in declared()}
FAMILIES = ROOMS - {"core", "scripts"}
# `scripts` are run, not imported; any other folder with Python in it is a package or not ours.
FOLDERS = [path for path in ROOT.iterdir() if (path / "__init__.py").exists()]
MODULES = sorted(
    path.relative_to(ROOT)
    for folder in {*FOLDERS, *(ROOT / name for name in ROOMS), ROOT / "scripts"} - {ROOT / "tests"}
    for path in folder.glob("**/*.py")
) + sorted(path.relative_to(ROOT) for path in ROOT.glob("*.py"))


def room(path: Path) -> str:
    return path.parts[0] if len(path.parts) > 1 else path.stem


def imported(path: Path) -> Iterator[tuple[str, bool]]:
    """(module, whether through importlib) for every import of a file, nested ones included."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield node.module or "", False
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "importlib.import_module", "import_module", "__import__",
        ):  # fmt: skip
            (name,) = node.args
            assert isinstance(name, ast.Constant), f"{path}:{node.lineno}: import of a variable"
            yield str(name.value), True


def allowed(place: str) -> set[str]:
    """Rooms that a room may import."""
    if place == "core":
        return {"core"}
    if place in FAMILIES:
        return {place, "core"}
    if place == "families":
        return FAMILIES | {"core"}
    return FAMILIES | {"core", "families", "scripts"}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_arrows_point_one_way(path: Path) -> None:
    rooms = ROOMS | {"families", "scripts"}
    for name, lazy in imported(path):
        target = name.split(".")[0]
        if lazy and (path.as_posix(), target) in LAZY:
            continue
        assert target not in rooms - allowed(room(path)), f"{path} imports {name}"


def test_every_package_is_listed() -> None:
    """And every listed one exists; folders of runs and tests stay outside."""
    folders = {
        ".".join(path.parent.parts)
        for path in MODULES
        if len(path.parts) > 1 and (ROOT / path.parent / "__init__.py").exists()
    }
    assert folders == declared()


def test_every_module_belongs_to_a_package() -> None:
    for path in MODULES:
        assert (
            len(path.parts) == 1
            or (ROOT / path.parent / "__init__.py").exists()
            or (path.parts[0] == "scripts")
        ), f"{path} stands in a folder without __init__.py"


def test_table_is_literal_and_whole() -> None:
    """The tables name every family package that has a `family.py`; `unit` lives with `munit`."""
    tree = ast.parse((ROOT / "families.py").read_text(encoding="utf-8"))
    for table in (node.value for node in tree.body if isinstance(node, ast.AnnAssign)):
        assert isinstance(table, ast.Dict)
        names = {key.value for key in table.keys if isinstance(key, ast.Constant)}
        places = {place for place in FAMILIES if (ROOT / place / "family.py").exists()}
        assert names == places | {"unit"}
