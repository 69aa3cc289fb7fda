"""The code in docs/extending.md: a family and a reader from one folder each, trained as printed."""

from __future__ import annotations

import re
import runpy
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.data.loader import build_loader, fixed_batch
from core.errors import UserError
from core.procedural.sets import make_seasons
from tests.conftest import ROOT

FILE = re.compile(r"^\*\*`(\S+)`\*\*\n\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)
"""A file's name in bold, and its content in the block below."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The page's files, and arrays to train on, in the present folder."""
    text = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    files = dict(FILE.findall(text))
    assert {Path(name).parent.name for name in files} == {"gcgan", "zips", ""}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    (tmp_path / "my_zips").mkdir()
    generator = np.random.default_rng(0)
    for name, number in (("trainA", 5), ("trainB", 3), ("testB", 2)):
        pixels = generator.integers(0, 256, (number, 36, 36, 3), dtype=np.uint8)
        with zipfile.ZipFile(tmp_path / "my_zips" / f"{name}.zip", "w") as archive:
            for i, image in enumerate(pixels):
                with archive.open(f"{i}.png", "w") as file:
                    Image.fromarray(image).save(file, "PNG")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [n for n in sys.modules if n.split(".")[0] in ("gcgan", "zips", "train_own")]:
        del sys.modules[name]


def run(file: str, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [file, *arguments])
    try:
        runpy.run_path(file, run_name="__main__")
    except SystemExit as done:
        assert done.code == 0


def small(config: str, root: Path) -> list[str]:
    sizes = ["load_size=36", "crop_size=32", "num_workers=0"]
    settings = [f"data.root={root}", *(f"data.{size}" for size in sizes)]
    settings += ["train.num_steps=2", "model.ngf=4", "model.ndf=4", "log.num_samples=2"]
    return ["--config", config, "--device", "cpu", *(f"--set={setting}" for setting in settings)]


def test_the_page_trains_and_translates(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seasons = folder / "seasons"
    make_seasons(seasons, layout="unpaired", size=36, num_train=3, num_test=2, seed=0)
    run("train_own.py", *small("first.yaml", seasons), monkeypatch=monkeypatch)
    run("train_own.py", *small("second.yaml", folder / "my_zips"), monkeypatch=monkeypatch)
    for name in ("gcgan/first", "cyclegan_zips/second"):
        assert (folder / "runs" / name / "checkpoints" / "step_00000002.pt").exists()
        assert list((folder / "runs" / name / "samples").glob("*.png"))
    capsys.readouterr()
    run("translate_own.py", monkeypatch=monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "runs/gcgan/first (2, 3, 50, 70) ('AtoB',)"
    assert lines[1] == "runs/cyclegan_zips/second (2, 3, 50, 70) ('AtoB', 'BtoA')"


def test_a_reader_delivers_its_pixels(folder: Path) -> None:
    from zips.reader import ZipData  # type: ignore[import-not-found]

    def data(**options: Any) -> Any:
        same = {"load_size": 36, "crop_size": 36, "num_workers": 0}
        return ZipData(root="my_zips", **same, **options)

    def arrays(*names: str) -> list[np.ndarray]:
        found = []
        for name in names:
            with zipfile.ZipFile(f"my_zips/{name}.zip") as archive:
                images = [Image.open(archive.open(n)) for n in archive.namelist()]
                found.append(np.stack([np.asarray(image).transpose(2, 0, 1) for image in images]))
        return found

    kind: Any = {"layout": "unpaired", "channels": (3, 3)}
    plain: Any = {"batch_size": 2, "seed": 0, "shuffle": False, "augment": False}
    a, b = arrays("trainA", "trainB")
    batch = next(build_loader(data(), split="train", **kind, **plain))
    assert np.array_equal(batch.a, a[:2]) and np.array_equal(batch.b, b[:2])
    assert batch.names_a == ("trainA.zip/0.png", "trainA.zip/1.png")
    swapped = next(build_loader(data(direction="BtoA"), split="train", **kind, **plain))
    assert np.array_equal(swapped.a, b[:2]) and np.array_equal(swapped.b, a[:2])
    fixed = fixed_batch(data(), **kind, num_images=2)
    assert np.array_equal(fixed.b, arrays("testB")[0])

    kept = build_loader(data(cache="ram"), split="train", **kind, **plain)
    assert np.array_equal(next(kept).a, batch.a)
    with pytest.raises(UserError, match=r"data\.cache: disk, .* cannot be told; set it to ram"):
        build_loader(data(cache="disk"), split="train", **kind, **plain)
    gray = next(build_loader(data(), split="train", **kind | {"channels": (1, 3)}, **plain))
    assert gray.a.shape[1] == 1
