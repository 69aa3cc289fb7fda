"""The rooms and the arrows between them (docs/architecture.md), each rule over all files at once.

scripts -> families.py -> family packages -> core, and within core from room to room without a
circle. Late imports count: an import inside a function is an arrow too.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tests.conftest import ROOT

FAMILIES = {"munit", "drit", "cyclegan", "pix2pix", "dcgan", "wgan", "style"}
FILES = [Path("families.py")]
for _folder in ("core", "scripts", *sorted(FAMILIES)):
    FILES += sorted(path.relative_to(ROOT) for path in (ROOT / _folder).glob("**/*.py"))
LOOSE_FILES = 10
"""Modules that may stand in `core/` itself: the contracts. Everything else has a room."""


def module(path: Path) -> str:
    """`core/nn/unet.py` is `core.nn.unet`."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(path): path for path in FILES}


def room(name: str) -> str:
    """`core.nn.unet` stands in `core.nn`, `core.errors` in `core`, `drit.losses` in `drit`."""
    folder = MODULES[name].parent.parts
    return ".".join(folder[:2]) if folder[:1] == ("core",) else name.split(".")[0]


def imported(path: Path) -> Iterator[str]:
    """Modules that a file imports, late ones and those by `import_module` included."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                within = f"{node.module}.{alias.name}"
                yield within if within in MODULES else node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in (
            "importlib.import_module", "import_module", "__import__",
        ):  # fmt: skip
            (name,) = node.args
            if path.name == "peers.py" and not isinstance(name, ast.Constant):
                continue  # of somebody's checkout
            assert isinstance(name, ast.Constant), f"{path}:{node.lineno}: import of a variable"
            yield str(name.value)


@cache
def arrows() -> dict[str, set[str]]:
    """{module: modules of ours that it imports}."""
    ours = {name.split(".")[0] for name in MODULES}
    return {
        name: {target for target in imported(path) if target.split(".")[0] in ours}
        for name, path in MODULES.items()
    }


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """The modules or rooms of a circle, if there is one."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_arrows_point_one_way() -> None:
    """Core imports only core, a family only itself and core, and nothing but scripts the table."""
    wrong = []
    for name, targets in arrows().items():
        place = name.split(".")[0]
        allowed = {"core", place}
        if place == "families":
            allowed |= FAMILIES
        elif place == "scripts":
            allowed |= FAMILIES | {"families"}
        wrong += [f"{name} imports {t}" for t in targets if t.split(".")[0] not in allowed]
    assert not wrong, wrong


def test_no_circle_between_files() -> None:
    assert not circle(arrows())


def test_no_circle_between_rooms() -> None:
    rooms: dict[str, set[str]] = {}
    for name, targets in arrows().items():
        rooms.setdefault(room(name), set()).update(map(room, targets))
    assert not circle({place: targets - {place} for place, targets in rooms.items()})


def test_acceleration_has_one_door() -> None:
    """Who runs networks calls `accelerate`; nothing else knows of faster convolutions."""
    callers = {
        (name, target)
        for name, targets in arrows().items()
        for target in targets
        if room(target) == "core.cpu" != room(name)
    }
    door = "core.cpu.accelerate"
    rooms = (
        "core.evaluation.networks",
        "core.inference.speed",
        "core.training.step",
        "style.neural.networks",
    )
    # What was measured goes with a checkpoint.
    kept = ("core.training.step", "core.cpu.choices")
    assert callers == {*((room, door) for room in rooms), kept}


def test_core_has_few_loose_files() -> None:
    loose = [name for name in MODULES if room(name) == "core"]
    assert len(loose) <= LOOSE_FILES, loose


def test_every_package_is_listed() -> None:
    """In pyproject.toml, and every listed one exists; scripts are run, not imported."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = {
        ".".join(path.parent.parts)
        for path in FILES
        if path.name != "families.py" and path.parts[0] != "scripts"
    }
    assert folders == set(settings["tool"]["setuptools"]["packages"])
    bare = [
        place for place in folders if not (ROOT / place.replace(".", "/") / "__init__.py").exists()
    ]
    assert not bare, bare


def table(name: str) -> set[object]:
    """Keys of a table in `families.py`, which must be a literal."""
    tree = ast.parse((ROOT / "families.py").read_text(encoding="utf-8"))
    (found,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name
    )
    assert isinstance(found, ast.Dict)
    return {key.value for key in found.keys if isinstance(key, ast.Constant)}


def test_tables_are_literal_and_whole() -> None:
    """They name every package with a `family.py` or a `stylizer.py`, and who lives in one.

    `unit` lives with `munit`, `cut` with `cyclegan`, `vgg_student` and `fast_style` in `style`; the
    last has no official files.
    """
    places = {place for place in FAMILIES if (ROOT / place / "family.py").exists()}
    places |= {"cut", "unit", "vgg_student", "fast_style"}
    assert table("FAMILIES") == places
    assert table("OFFICIAL") == places - {"fast_style"}
    stylizers = {f"{path.parent.name}_style" for path in ROOT.glob("style/*/stylizer.py")}
    assert table("STYLIZERS") == stylizers
