"""8-bit conversion, grids, strips, GIFs and safe writing."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch
from PIL import Image

from core.errors import UserError
from core.family import to_float
from core.report.pictures import (
    BACKGROUND,
    NAN_COLOR,
    captioned,
    grid,
    save_gif,
    save_png,
    sheet,
    strip,
    table,
    to_pil,
    to_uint8,
)
from core.runtime.files import write_file


def levels() -> torch.Tensor:
    return torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)


def test_every_level_survives_the_round_trip() -> None:
    assert torch.equal(to_uint8(to_float(levels())), levels())


def test_truncation_equals_the_official_arithmetic() -> None:
    images = torch.rand(2, 3, 17, 13, generator=torch.Generator().manual_seed(0)) * 2 - 1
    official = ((images.numpy() + 1) / 2.0 * 255.0).astype(np.uint8)
    assert np.array_equal(to_uint8(images, rounding="truncate").numpy(), official)
    difference = to_uint8(images).int() - to_uint8(images, rounding="truncate").int()
    assert set(difference.unique().tolist()) == {0, 1}
    levels = to_uint8(torch.tensor([-1.0, -0.001, 0.0, 0.999, 1.0]), rounding="truncate")
    assert levels.tolist() == [0, 127, 127, 254, 255]


def test_values_outside_are_clipped_and_low_contrast_is_not_stretched() -> None:
    outside = torch.tensor([-torch.inf, -1.5, 1.5, torch.inf]).reshape(1, 1, 2, 2)
    for rounding in ("nearest", "truncate"):
        assert to_uint8(outside, rounding).flatten().tolist() == [0, 0, 255, 255]
    flat = torch.full((1, 3, 4, 4), 0.1)
    flat[..., 0] = 0.0
    assert set(to_uint8(flat).unique().tolist()) == {128, 140}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_float_types_are_converted_in_single_precision(dtype: torch.dtype) -> None:
    images = torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8).to(dtype)
    assert torch.equal(to_uint8(images), to_uint8(images.float()))


def test_nan_is_refused_with_its_count() -> None:
    images = torch.zeros(1, 3, 2, 2)
    images[0, 1, 0, 0] = torch.nan
    with pytest.raises(UserError, match="1 of 12 values are NaN"):
        to_uint8(images)


def test_gradients_and_integers() -> None:
    assert not to_uint8(torch.zeros(1, 1, 2, 2, requires_grad=True)).requires_grad
    with pytest.raises(AssertionError):
        to_uint8(torch.zeros(1, 1, 2, 2, dtype=torch.uint8))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_modes(channels: int, mode: str) -> None:
    pixels = torch.randint(0, 256, (channels, 5, 7), dtype=torch.uint8)
    for image in (pixels, to_float(pixels.clone())):
        picture = to_pil(image)
        assert (picture.mode, picture.size) == (mode, (7, 5))
        back = torch.from_numpy(np.array(picture)).reshape(5, 7, channels).permute(2, 0, 1)
        assert torch.equal(back, pixels)


def test_two_channels_are_no_picture() -> None:
    with pytest.raises(UserError, match="2 channels"):
        to_pil(torch.zeros(2, 4, 4))


def find(picture: Image.Image, color: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Bounding box (left, top, right, bottom) of a color."""
    hits = np.argwhere((np.array(picture) == color).all(axis=-1))
    (top, left), (bottom, right) = hits.min(axis=0), hits.max(axis=0) + 1
    return left, top, right, bottom


def plain(color: tuple[int, ...], height: int, width: int, count: int = 1) -> torch.Tensor:
    pixels = torch.tensor(color, dtype=torch.uint8).reshape(1, -1, 1, 1)
    return pixels.expand(count, -1, height, width).clone()


@pytest.mark.parametrize("labels", [False, True])
def test_grid_places_columns_of_any_size_and_channel_count(labels: bool) -> None:
    columns = {
        "real_A": to_float(plain((255, 0, 0), 64, 96, count=3)),
        "gray": plain((90,), 16, 24, count=3),
        "cut": plain((0, 0, 255, 255), 32, 32, count=3),
        "clear": plain((0, 255, 0, 0), 32, 32, count=3),
    }
    picture = grid(columns, max_rows=2, labels=labels)
    left, top, right, bottom = find(picture, (255, 0, 0))
    assert (right - left, bottom - top) == (96, 2 * 64 + 2)
    gray = find(picture, (90, 90, 90))
    assert gray[0] >= right + 2
    assert gray[1] == top + (64 - 16) // 2
    assert gray[2] - gray[0] == 24
    assert find(picture, (0, 0, 255))[0] > gray[2]
    with pytest.raises(ValueError, match="zero-size"):
        find(picture, (0, 255, 0))
    header = np.array(picture)[: top - 1]
    assert (header != BACKGROUND).any() == labels


def test_grid_labels_do_not_touch_on_tiny_images() -> None:
    columns = {"reconstruction_A": plain((9, 9, 9), 8, 8), "reconstruction_B": plain((8,), 8, 8)}
    picture = grid(columns, max_rows=4)
    ink = (np.array(picture)[:16] < 200).any(axis=(0, 2)).nonzero()[0]
    assert ink.min() > 0
    assert ink.max() < picture.width - 1
    assert np.diff(ink).max() >= 4


def test_grid_leaves_missing_cells_empty_and_marks_nan() -> None:
    images = torch.zeros(2, 1, 8, 8)
    images[1, 0, 2:4, 3:6] = torch.nan
    picture = grid({"a": images, "b": plain((1, 2, 3), 8, 8)}, max_rows=9, labels=False)
    assert picture.size == (2 * 8 + 3 * 2, 2 * 8 + 3 * 2)
    assert find(picture, NAN_COLOR) == (2 + 3, 12 + 2, 2 + 6, 12 + 4)
    assert picture.getpixel((14, 14)) == BACKGROUND
    with pytest.raises(AssertionError):
        grid({"a": torch.zeros(0, 3, 8, 8)}, max_rows=1)


def test_table_centres_pictures_and_leaves_holes() -> None:
    red, small = Image.new("RGB", (20, 10), (255, 0, 0)), Image.new("L", (4, 4), 9)
    picture = table([[None, small], [red]])
    assert picture.size == (2 + 20 + 2 + 4 + 2, 2 + 4 + 2 + 10 + 2)
    assert find(picture, (9, 9, 9)) == (24, 2, 28, 6)
    assert find(picture, (255, 0, 0)) == (2, 8, 22, 18)


def test_a_sheet_scales_pictures_of_all_sizes_to_one(tmp_path: Path) -> None:
    red, green = Image.new("RGB", (600, 300), (255, 0, 0)), Image.new("RGB", (20, 30), (0, 255, 0))
    save_png(red, tmp_path / "red.png")
    picture = sheet([[None, green], [tmp_path / "red.png", None]], ["a", "b"])
    for color, size in (((255, 0, 0), (256, 128)), ((0, 255, 0), (171, 256))):
        left, top, right, bottom = find(picture, color)
        assert (right - left, bottom - top) == size
    # Small ones are enlarged by whole factors, pixel by pixel.
    dots = Image.new("L", (50, 40))
    dots.putpixel((7, 9), 200)
    picture = sheet([[dots, dots]])
    assert picture.size == (2 * 150 + 3 * 2, 120 + 2 * 2)
    assert (np.array(picture)[2 + 27 : 2 + 30, 2 + 21 : 2 + 24] == 200).all()
    assert (np.array(picture) == 200).sum() == 2 * 9 * 3


@pytest.mark.parametrize("width", [4, 64])
def test_a_caption_stands_below_its_picture(width: int) -> None:
    picture = captioned(Image.new("RGB", (width, 20), (255, 0, 0)), "12")
    left, top, right, bottom = find(picture, (255, 0, 0))
    assert (right - left, top, bottom) == (width, 0, 20)
    assert abs(left - (picture.width - right)) <= 1
    ink = (np.array(picture)[21:] < 200).any(axis=(0, 2)).nonzero()[0]
    assert ink.size and abs(ink.mean() - (picture.width - 1) / 2) < 2
    assert 30 < picture.height < 40


def test_strip() -> None:
    picture = strip([Image.new("L", (10, 20), 7), Image.new("RGB", (30, 10), (9, 0, 0))])
    assert picture.size == (10 + 2 + 30, 20)
    assert find(picture, (7, 7, 7)) == (0, 0, 10, 20)
    assert find(picture, (9, 0, 0)) == (12, 5, 42, 15)


def test_gif_holds_its_frames_and_times(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 8), (60 * i, 0, 0)) for i in range(4)]
    path = tmp_path / "new" / "walk.gif"
    save_gif(frames, path, 120)
    with Image.open(path) as movie:
        assert (movie.n_frames, movie.size, movie.info["loop"]) == (4, (16, 8), 0)
        for index in range(4):
            movie.seek(index)
            assert movie.info["duration"] == 120
            assert movie.convert("RGB").getpixel((0, 0)) == (60 * index, 0, 0)


def test_gif_refuses_mixed_sizes_and_unplayable_times(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="4x4, 8x4"):
        save_gif([Image.new("L", (8, 4)), Image.new("L", (4, 4))], tmp_path / "x.gif", 100)
    with pytest.raises(UserError, match="5 ms"):
        save_gif([Image.new("L", (8, 4))], tmp_path / "x.gif", 5)
    assert not list(tmp_path.iterdir())


def test_png_is_lossless_and_leaves_nothing_else(tmp_path: Path) -> None:
    image = to_pil(torch.randint(0, 256, (4, 9, 5), dtype=torch.uint8))
    path = tmp_path / "sub" / ("n" * 240 + ".png")
    save_png(Image.new("L", (2, 2)), path)
    save_png(image, path)
    with Image.open(path) as back:
        assert np.array_equal(np.array(back), np.array(image))
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written") as caught:
        save_png(Image.new("L", (2, 2)), tmp_path / "file" / "x.png")
    assert "\n" not in str(caught.value)


def test_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"old")

    def write(file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match=r"x\.png: cannot be written \(No space left on device\)"):
        write_file(path, write)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
