"""Many styles of one picture: codes, example images, folders, grids, interpolations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from core.errors import UserError
from core.inference.latent import save_numbers
from core.inference.styles import drawn, given, one, read_codes
from core.inference.translator import Translator
from core.jobs.styles import NUM_STYLES, choose_task
from core.jobs.translate import find_jobs, translate_all
from core.runtime.distributed import World
from tests.small import family
from tests.toy_styles import Tint

CPU = torch.device("cpu")


@pytest.fixture
def translator() -> Translator:
    return Translator(Tint(), CPU)  # type: ignore[arg-type]


def flat(path: Path, color: tuple[int, ...], mode: str = "RGB", size: Any = (24, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color if mode != "L" else color[0]).save(path)
    return path


def data_set(root: Path) -> Path:
    """Two test images of each domain, each of one colour."""
    flat(root / "testA" / "a0.png", (100, 100, 100))
    flat(root / "testA" / "a1.png", (150, 150, 150))
    flat(root / "testB" / "b0.png", (255, 0, 0))
    flat(root / "testB" / "b1.png", (0, 0, 255))
    return root


def work(
    translator: Translator,
    source: Path,
    out: Path,
    direction: Any = None,
    world: World | None = None,
    **choice: Any,
) -> list[str]:
    jobs = find_jobs(source, translator, direction, None)
    task = choose_task(translator, jobs, **choice)
    assert translate_all(task, jobs, out, "test", world) == []
    return sorted(path.name for path in (out / "images").rglob("*.*"))


def mean_color(path: Path) -> list[int]:
    return np.asarray(Image.open(path).convert("RGB")).mean(axis=(0, 1)).round().tolist()


def test_examples_go_with_every_content_in_both_directions(
    translator: Translator, tmp_path: Path
) -> None:
    root, out = data_set(tmp_path / "set"), tmp_path / "out"
    names = work(translator, root, out, examples=[root])
    assert len(names) == 4 * (1 + 2)
    assert mean_color(out / "images" / "testA" / "a0_fake_B_b0.png") == [255, 0, 0]
    assert mean_color(out / "images" / "testA" / "a1_fake_B_b1.png") == [0, 0, 255]
    assert mean_color(out / "images" / "testB" / "b0_fake_A_a1.png") == [150, 150, 150]
    grid = np.asarray(Image.open(out / "grid_AtoB.png"))
    # Header: an empty corner and two styles; below, a content and its two translations.
    height, width = 6 * 16 + 2, 6 * 24 + 2  # enlarged sixfold
    corners = [grid[2 + row * height, 2 + col * width].tolist() for row in (0, 1) for col in (0, 1)]
    assert corners == [[255, 255, 255], [255, 0, 0], [100, 100, 100], [255, 0, 0]]
    page = (out / "index.html").read_text()
    assert "grid_AtoB.png" in page
    assert "grid_BtoA.png" in page
    codes = np.load(out / "styles" / "AtoB.npy")
    np.testing.assert_allclose(codes, [[1, -1, -1], [-1, -1, 1]], atol=1e-6)


def test_kept_codes_give_the_same_pictures(translator: Translator, tmp_path: Path) -> None:
    root, out, again = data_set(tmp_path / "set"), tmp_path / "out", tmp_path / "again"
    work(translator, root, out, "AtoB", num_styles=3, synchronized=True)
    work(translator, root, again, "AtoB", examples=[out / "styles" / "AtoB.npy"])
    for name in ("a0", "a1"):
        for i in range(3):
            first = out / "images" / "testA" / f"{name}_fake_B_style_{i:02d}.png"
            second = again / "images" / "testA" / f"{name}_fake_B_AtoB_{i:02d}.png"
            assert first.read_bytes() == second.read_bytes()


def test_random_styles_are_each_inputs_own_unless_synchronized(
    translator: Translator, tmp_path: Path
) -> None:
    root = data_set(tmp_path / "set")
    work(translator, root, tmp_path / "own", "AtoB", seed=3)
    own = [np.load(tmp_path / "own" / "styles" / "testA" / f"a{i}.npy") for i in (0, 1)]
    assert own[0].shape == (NUM_STYLES, 3)
    assert not np.allclose(own[0], own[1])
    work(translator, root, tmp_path / "again", "AtoB", seed=3)
    assert np.array_equal(own[0], np.load(tmp_path / "again" / "styles" / "testA" / "a0.npy"))
    work(translator, root, tmp_path / "other", "AtoB", seed=4)
    assert not np.array_equal(own[0], np.load(tmp_path / "other" / "styles" / "testA" / "a0.npy"))


def test_processes_share_the_work_and_styles_do_not_depend_on_them(
    translator: Translator, tmp_path: Path
) -> None:
    root = data_set(tmp_path / "set")
    for rank in (1, 0):
        work(translator, root, tmp_path / "two", "AtoB", World(rank, 2), num_styles=2)
    work(translator, root, tmp_path / "one", "AtoB", num_styles=2)
    for path in (tmp_path / "one").rglob("*.png"):
        assert (
            path.read_bytes()
            == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()
        )


def test_interpolation_begins_and_ends_where_it_is_told(
    translator: Translator, tmp_path: Path
) -> None:
    root, out = data_set(tmp_path / "set"), tmp_path / "out"
    save_numbers(torch.tensor([[0.0, 0, 0], [-1, -1, 1]]), tmp_path / "codes.npy")
    ends = [str(root / "testB" / "b0.png"), f"{tmp_path / 'codes.npy'}:1"]
    work(translator, root / "testA", out, "AtoB", ends=ends, num_frames=5)
    strip = np.asarray(Image.open(out / "images" / "a0_fake_B_strip.png"))
    assert strip.shape == (16, 5 * 24 + 4 * 2, 3)
    middles = strip[8, [12 + i * 26 for i in range(5)]].tolist()
    assert middles == [[255, 0, 0], [191, 0, 64], [128, 0, 128], [64, 0, 191], [0, 0, 255]]
    with Image.open(out / "images" / "a0_fake_B_interpolation.gif") as gif:
        assert gif.n_frames == 5 + 3, "there and back again"  # type: ignore[attr-defined]


def test_content_is_encoded_once_for_all_styles(translator: Translator) -> None:
    results = translator.in_styles(torch.zeros(2, 3, 16, 16), drawn(translator, 7, 0).codes)
    assert [tuple(x.shape) for x in results] == [(2, 3, 16, 16)] * 7
    assert translator.family.num_encoded == 1  # type: ignore[attr-defined]


def test_tiles_give_what_the_whole_image_gives(translator: Translator) -> None:
    x = torch.rand(1, 3, 40, 52) * 2 - 1
    codes = drawn(translator, 2, 0).codes
    whole = translator.in_styles(x, codes)
    tiled = Translator(Tint(), CPU, tile=32).in_styles(x, codes)  # type: ignore[arg-type]
    for a, b in zip(whole, tiled, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA", "CMYK", "1", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (5, 97)])
def test_a_style_image_of_any_mode_and_size(
    translator: Translator, mode: str, size: tuple[int, int]
) -> None:
    code = translator.encode_style(Image.new("L", size, 255).convert(mode), "AtoB")
    assert code.shape == (1, 3)
    assert bool(torch.isfinite(code).all())


def test_names_are_unique_where_paths_share_them(translator: Translator, tmp_path: Path) -> None:
    paths = [flat(tmp_path / folder / "x.png", (9, 9, 9)) for folder in ("p", "q")]
    styles = given(translator, paths, "AtoB")
    assert len(set(styles.names)) == 2
    assert styles.pictures == tuple(paths)


def test_bad_codes(tmp_path: Path) -> None:
    path = tmp_path / "codes.npy"
    for array, message in (
        (np.zeros((2, 5)), r"\[2, 5\], but style codes of this checkpoint are numbers"),
        (np.zeros((0, 3)), "style codes"),
        (np.array([["a", "b", "c"]]), "expected real numbers"),
        (np.array([0.0, np.nan, 1.0]), "not finite"),
        (np.array([{}, {}, {}]), "not a .npy file of plain numbers"),
    ):
        np.save(path, array)
        with pytest.raises(UserError, match=message):
            read_codes(path, 3)
    path.write_bytes(b"\x93NUMPY cut")
    with pytest.raises(UserError, match=r"not a \.npy file of plain numbers"):
        read_codes(path, 3)
    with pytest.raises(UserError, match=r"none\.npy: No such file"):
        read_codes(tmp_path / "none.npy", 3)
    np.save(path, [0.5, 1, 2])
    assert read_codes(path, 3).tolist() == [[0.5, 1, 2]]


def test_one_style_of_several_wants_a_row(translator: Translator, tmp_path: Path) -> None:
    path = tmp_path / "codes.npy"
    save_numbers(torch.eye(3), path)
    assert one(translator, f"{path}:2", "AtoB").codes.tolist() == [[0, 0, 1]]
    with pytest.raises(UserError, match="3 styles; give one image, or a row"):
        one(translator, str(path), "AtoB")
    with pytest.raises(UserError, match="rows 0 to 2"):
        one(translator, f"{path}:3", "AtoB")
    with pytest.raises(UserError, match="no row number"):
        one(translator, f"{path}:last", "AtoB")


def test_options_that_do_not_go_together(translator: Translator, tmp_path: Path) -> None:
    root = data_set(tmp_path / "set")
    jobs = find_jobs(root, translator, None, None)
    for choice, message in (
        ({"num_styles": 2, "examples": [root]}, "give one of --num-styles"),
        ({"synchronized": True, "ends": ["x", "y"]}, "give one of --num-styles"),
        ({"examples": [root / "testB"]}, "--style: the input has images of both domains"),
        ({"ends": ["x", "y"]}, "--interpolate: the input has images of both domains"),
    ):
        with pytest.raises(UserError, match=message):
            choose_task(translator, jobs, **choice)
    plain = Translator(family("cyclegan"), CPU)
    with pytest.raises(UserError, match="--style: cyclegan gives an image one translation"):
        choose_task(plain, jobs, examples=[root])
    with pytest.raises(UserError, match="cyclegan gives an image one translation"):
        plain.encode_style(torch.zeros(1, 3, 16, 16))
    with pytest.raises(UserError, match=r"style codes of shape \(1, 2\); tint takes \[number, 3\]"):
        translator.in_styles(torch.zeros(1, 3, 16, 16), torch.zeros(1, 2))
