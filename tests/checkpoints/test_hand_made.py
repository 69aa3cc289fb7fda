"""Checkpoints made by hand or by others: each loads, or is refused in one line."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.checkpoints import store, structure
from core.convert.official import read_official
from core.convert.structure import NOTHING_TOLD
from core.data.readers.idx import read_idx
from core.errors import UserError
from core.inference.latent import read_numbers
from core.inference.loading import from_state, kind_and_config
from families import FAMILIES, OFFICIAL
from tests.processes import Script
from tests.runs import Tree, changed, make_trainer, small_tree
from tests.small import any_family

VALUES: list[Any] = [
    *(None, [], {}, "x", -1, 2**70, math.nan, True, [[1]], {"x": {}}, {3: 4}),
    *(torch.tensor(math.nan), torch.zeros(2, 3, 5), torch.zeros(1, dtype=torch.complex64)),
    *(torch.zeros(2).to_sparse(), torch.empty(3, device="meta")),
]
"""What stands in the place of anything."""
GONE = object()


def places(tree: Any, depth: int = 6) -> Iterator[tuple[Any, ...]]:
    """Paths to everything in a tree; of many things that are alike, to the first."""
    children = tree.items() if isinstance(tree, dict) else enumerate(tree)
    seen = False
    for key, value in children:
        if (torch.is_tensor(value) and seen) or (isinstance(key, int) and key > 1):
            continue
        seen = seen or torch.is_tensor(value)
        yield (key,)
        if depth and isinstance(value, dict | list):
            yield from ((key, *rest) for rest in places(value, depth - 1))


def replaced(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The tree with something else at a path, which keeps its other parts."""
    copy: Any = dict(tree) if isinstance(tree, dict) else list(tree)
    if len(path) > 1:
        copy[path[0]] = replaced(tree[path[0]], path[1:], value)
    elif value is GONE:
        del copy[path[0]]
    else:
        copy[path[0]] = value
    return copy


def mutants(tree: Any, at_each: int) -> Iterator[tuple[str, Any]]:
    """(what was done, tree): everything replaced, each place left out or given some of the values.

    The values go round, so that each stands somewhere of every kind.
    """
    yield from ((f"all {value!r:.30}", value) for value in VALUES)
    values = cycle(VALUES)
    for path in places(tree):
        for value in (GONE, *islice(values, at_each)):
            shown = "gone" if value is GONE else repr(value)[:30]
            yield f"{path} {shown}", replaced(tree, path, value)


def outcomes(tree: Any, load: Callable[[Any], object], at_each: int) -> tuple[int, int, list[str]]:
    """How many mutants load and how many are refused in a line, and what became of the others."""
    loaded, refused, wrong = 0, 0, []
    for name, mutant in mutants(tree, at_each):
        try:
            load(mutant)
            loaded += 1
        except UserError as error:
            refused += 1
            if "\n" in str(error) or len(str(error)) > 700:
                wrong.append(f"{name}: {error}")
        except Exception as error:
            wrong.append(f"{name}: {type(error).__name__}: {error}")
    return loaded, refused, wrong


@pytest.fixture(scope="module")
def run(unpaired: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tree, Path]:
    """Options and folder of a run of two steps, with averages and an image in each pool."""
    tree = changed(
        small_tree("cyclegan", unpaired),
        train={"num_steps": 2, "num_epochs": 1, "ema_decay": 0.9},
        optim={"policy": "plateau"},
    )
    folder = tmp_path_factory.mktemp("made") / "run"
    assert make_trainer(tree, folder).train()
    return tree, folder


@pytest.mark.filterwarnings("ignore:Casting complex")
def test_testing_and_going_on(run: tuple[Tree, Path], tmp_path: Path) -> None:
    tree, folder = run
    state = store.load(store.find(folder)[0])
    trainer = make_trainer(tree, tmp_path / "again")

    def load(mutant: Any) -> None:
        structure.check(mutant, "c.pt")
        if mutant["config"] is state["config"] and mutant["family"] is state["family"]:
            trainer._load(mutant)
        elif kind_and_config(mutant, FAMILIES)[1].model != trainer.config.model:
            from_state(mutant, FAMILIES, "c.pt")

    load(state)
    load(replaced(state, ("objective", 0), [2**70]))
    loaded, refused, wrong = outcomes(state, load, 1)
    assert not wrong, "\n".join(wrong[:20])
    assert refused > 200 and loaded > 10, (loaded, refused)


@pytest.mark.filterwarnings("ignore:Validating sparse")
@pytest.mark.parametrize("name", ["pix2pix", "munit", "drit", "dcgan", "wgan"])
def test_official_files(name: str, tmp_path: Path) -> None:
    kind, module = FAMILIES[name], OFFICIAL[name]
    contents = module.to_files(any_family(name))
    file, content = next(iter(contents.items()))

    def load(mutant: Any) -> None:
        torch.save(mutant, tmp_path / file)
        read_official(tmp_path / file, kind, module, "AtoB", NOTHING_TOLD)

    load(content)
    _, refused, wrong = outcomes(content, load, 1)
    assert not wrong, "\n".join(wrong[:20])
    assert refused > 15


class Opinion:
    """An object of another code's class."""


FILES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "folder": lambda path: path.mkdir(),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("weights"),
    "binary": lambda path: path.write_bytes(bytes(range(256)) * 8),
    "number": lambda path: torch.save(3, path),
    "class": lambda path: torch.save({"model": Opinion()}, path),
    "ours of numbers": lambda path: store.save({"step": 3}, path),
    "ours of a class": lambda path: store.save({"family": Opinion()}, path),
}
COMMANDS: dict[str, list[str]] = {
    "test": ["--input", "OUT", "--output", "OUT"],
    "evaluate": [],
    "export": ["--output", "OUT"],
    "export --card": ["--card", "--output", "OUT"],
    "latent walk": ["--output", "OUT"],
    "convert": ["--output", "OUT"],
    "convert --input": ["--family", "cyclegan", "--output", "OUT"],
    "train": ["--run-dir", "OUT"],
}
OPTION = {"convert": "--export", "convert --input": "--input", "train": "--resume"}


@pytest.mark.parametrize("command", COMMANDS)
def test_files_that_are_none(command: str, script: Script, tmp_path: Path) -> None:
    output = tmp_path / "out"
    for name, make in FILES.items():
        path = tmp_path / f"{name}.pt"
        make(path)
        words = [str(output) if word == "OUT" else word for word in COMMANDS[command]]
        verb, *sub = command.removesuffix(" --input").removesuffix(" --card").split()
        done = script(verb, *sub, OPTION.get(command, "--checkpoint"), path, *words)
        assert done.returncode == 2, (name, done.stdout)
        assert len(done.stderr.splitlines()) == 1, (name, done.stderr)
        assert path.name in done.stderr and not output.exists(), (name, done.stderr)


ARRAYS: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "folder": lambda path: path.mkdir(),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("1 2 3"),
    "objects": lambda path: np.save(path, np.array([{}, None]), allow_pickle=True),
    "texts": lambda path: np.save(path, np.array(["a"])),
    "complex": lambda path: np.save(path, np.zeros(3, complex)),
    "nan": lambda path: np.save(path, np.array([1.0, np.nan])),
    "too large for float32": lambda path: np.save(path, np.array([1e300])),
    "records": lambda path: np.save(path, np.zeros(2, [("a", "f4"), ("b", "i4")])),
    "no array": lambda path: path.write_bytes(b"PK\x03\x04" + bytes(40)),
    "cut": lambda path: cut(path, 100),
    "cut head": lambda path: cut(path, 9),
    "huge": lambda path: path.write_bytes(_head("(1000000000000000,)")),
    "no shape": lambda path: path.write_bytes(_head("(1,")),
    "negative": lambda path: path.write_bytes(_head("(-4,)") + bytes(64)),
}


def cut(path: Path, size: int) -> None:
    np.save(path, np.zeros(1000))
    path.write_bytes(path.read_bytes()[:size])


def _head(shape: str) -> bytes:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_are_none(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    ARRAYS[name](path)
    with pytest.raises(UserError, match=r"x\.npy: ") as caught:
        read_numbers(path)
    assert "\n" not in str(caught.value)


IDX: dict[str, bytes] = {
    "empty": b"",
    "text": b"pictures",
    "labels": (0x801).to_bytes(4, "big") + bytes(60),
    "cut": b"\0\0\x08\x03" + (2).to_bytes(4, "big") * 3 + bytes(7),
    "no rows": b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (2, 0, 4)),
    "huge": b"\0\0\x08\x03" + b"\xff" * 12,
}


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("name", IDX)
def test_idx_files_that_are_none(name: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"train-images-idx3-ubyte{suffix}"
    path.write_bytes(IDX[name])
    with pytest.raises(UserError, match=path.name):
        read_idx(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(UserError, match=path.name):
        read_idx(path)
