"""Label maps of every kind that people have."""

from __future__ import annotations

import io
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from core.data.images import open_label_map
from core.errors import UserError
from style.labels import LabelMap, read_labels, read_maps, shared_classes, valid_classes
from style.photo.labels import Regions, match_classes, merge_small, resize_nearest
from tests.conftest import SHARED
from tests.data import kinds

RED, BLUE, BLACK, WHITE, GRAY = (255, 0, 0), (0, 0, 255), (0, 0, 0), (255, 255, 255), (128,) * 3


def halves(left: tuple[int, ...], right: tuple[int, ...], size: int = 64) -> Image.Image:
    image = Image.new("RGB", (size, size), left)
    image.paste(right, (size // 2, 0, size, size))
    return image


def test_ids_of_gray_and_palette_maps_are_kept() -> None:
    ids = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert np.array_equal(read_labels(Image.fromarray(ids)), ids)
    palette = Image.fromarray(ids).convert("P")
    palette.putdata(list(ids.flatten()))
    palette.putpalette([7, 8, 9] * 256)
    assert np.array_equal(read_labels(palette), ids)
    assert np.array_equal(read_labels(Image.fromarray(ids).convert("RGB")), ids)


def test_colours_are_classes_with_and_without_alpha() -> None:
    labels = read_labels(halves(RED, BLUE))
    assert len(np.unique(labels)) == 2
    assert np.array_equal(read_labels(halves(RED, BLUE).convert("RGBA")), labels)
    assert labels.min() > 255, "no colour is taken for an id"


def test_any_few_colours_are_taken_as_they_are() -> None:
    assert len(np.unique(read_labels(halves((200, 10, 10), (90, 90, 180))))) == 2


def drawing() -> Image.Image:
    """Eight colours that all meet, gray among them, with a 4 px line and a dot."""
    drawn = halves(BLACK, WHITE, 256)
    for k, colour in enumerate(((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), GRAY)):
        drawn.paste(colour, (50 * k, 60, 50 * k + 50, 200))
    drawn.paste((0, 255, 255), (0, 120, 256, 124))
    drawn.paste((255, 0, 255), (200, 20, 230, 50))
    return drawn


@pytest.mark.parametrize("how", ["scaled", "blurred", "jpeg"])
def test_soft_edges_go_to_what_they_separate(how: str) -> None:
    hard = drawing()
    buffer = io.BytesIO()
    if how == "scaled":
        soft = hard.resize((700, 700), Image.Resampling.BICUBIC).resize(
            (256, 256), Image.Resampling.BILINEAR
        )
    elif how == "blurred":
        soft = hard.filter(ImageFilter.GaussianBlur(0.7))
    else:
        hard.save(buffer, "JPEG", quality=85)
        soft = Image.open(buffer)
    wanted, found = read_labels(hard), read_labels(soft)
    assert set(np.unique(found)) <= set(np.unique(wanted)), "no class of its own at an edge"
    assert (found == wanted).mean() > 0.98
    inner = np.ones_like(wanted, dtype=bool)
    for axis, shift in product((0, 1), (-3, -2, -1, 1, 2, 3)):
        inner &= np.roll(wanted, shift, axis) == wanted
    inner[100:140] = False  # the line
    assert (found == wanted)[inner].all()


def test_edges_between_black_and_white_are_not_gray() -> None:
    soft = halves(BLACK, WHITE, 300).rotate(20, Image.Resampling.BICUBIC).resize((111, 111))
    assert 128 not in np.unique(read_labels(soft.filter(ImageFilter.GaussianBlur(2))))
    gray = soft.convert("L").filter(ImageFilter.GaussianBlur(2))
    assert len(np.unique(np.asarray(gray))) > 64
    assert np.unique(read_labels(gray)).tolist() == [0, 255], "soft edges in gray, likewise"


def test_many_ids_are_kept() -> None:
    ids = (np.arange(64 * 64) // 40).reshape(64, 64)
    assert np.array_equal(read_labels(Image.fromarray(ids.astype(np.uint8))), ids)
    assert np.array_equal(read_labels(Image.fromarray((100 * ids).astype(np.uint16))), 100 * ids)


def test_files_keep_their_ids_and_give_their_name(tmp_path: Path) -> None:
    ids = np.arange(12, dtype=np.uint8).reshape(3, 4)
    palette = Image.fromarray(ids).convert("P")
    palette.putdata(list(ids.flatten()))
    palette.putpalette([7, 8, 9] * 256)
    palette.save(tmp_path / "palette.png")
    Image.fromarray(300 * ids.astype(np.uint16)).save(tmp_path / "deep.png")
    assert np.array_equal(read_labels(open_label_map(tmp_path / "palette.png")), ids)
    assert np.array_equal(read_labels(open_label_map(tmp_path / "deep.png")), 300 * ids.astype(int))
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for picture, message in (
        (Image.fromarray(noise), r"photo.png: \d+ colours, .* neither a drawing"),
        (
            Image.fromarray(noise.astype(np.float32)[..., 0]),
            r"photo.tif: F pixels have no",
        ),
    ):
        path = tmp_path / ("photo.tif" if picture.mode == "F" else "photo.png")
        picture.save(path)
        with pytest.raises(UserError, match=message):
            read_labels(open_label_map(path))
    speckled = np.where(noise[..., :1] % 9 == 0, noise, 255 * (noise // 128))
    with pytest.raises(UserError, match="no area of one colour"):
        read_labels(Image.fromarray(speckled))


def test_transparency_is_white() -> None:
    clear = halves(RED, BLUE).convert("RGBA")
    clear.putalpha(halves((0, 0, 0), (255, 255, 255)).convert("L"))
    assert set(np.unique(read_labels(clear))) == {255, *np.unique(read_labels(halves(BLUE, BLUE)))}


@pytest.mark.parametrize(
    ("name", "content", "style"),
    [
        *(("in00", 4, 4), ("in03", 2, 3), ("in14", 2, 2), ("in25", 9, 9), ("in30", 5, 5)),
        *(("in32", 3, 3), ("in51", 4, 4), ("in60", 3, 3)),
    ],
)
def test_classes_of_real_maps(name: str, content: int, style: int) -> None:
    """Drawn maps of photographs: the classes that one sees (a white line of in30 among them)."""
    folder = SHARED / "data" / "style"
    if not folder.is_dir():
        pytest.skip(f"no pairs at {folder}")
    for side, wanted in (("content", content), ("style", style)):
        labels = read_labels(open_label_map(folder / f"{side}_segment" / f"{name}.png"))
        _, counts = np.unique(labels, return_counts=True)
        assert len(counts) == wanted, side
        assert counts.min() > 2e-3 * labels.size


def test_valid_classes_at_the_bounds() -> None:
    content, style = np.zeros((40, 40), np.int64), np.zeros((40, 40), np.int64)
    content[0, :11], style[0, :11] = 1, 1
    content[1, :10], style[1, :40] = 2, 2
    content[2, :11] = 3
    assert valid_classes(content, style) == {0: True, 1: True, 2: False, 3: False}
    content, style = np.zeros((60, 60), np.int64), np.zeros((60, 60), np.int64)
    content[:30, :37], content[0, :10] = 4, 0
    style.flat[:11] = 4
    assert int((content == 4).sum()) == 1100
    assert not valid_classes(content, style)[4], "exactly a hundred times"
    content[0, 10] = 0
    assert valid_classes(content, style)[4]


def test_no_common_class_is_one_clear_error() -> None:
    red = LabelMap(read_labels(halves(RED, RED)), "red.png")
    with pytest.raises(UserError, match="no class has more than 10 pixels in both") as caught:
        shared_classes(LabelMap(np.full((20, 20), 3), "ids.png"), [red])
    assert "(ids.png: 3 (400 px); red.png: #ff0000 (4096 px))" in str(caught.value)


def test_maps_for_all_or_none_and_of_their_shape() -> None:
    image, wide = Image.new("RGB", (400, 320)), Image.new("RGB", (640, 320))
    good = Image.new("L", (40, 32), 1)
    assert read_maps(image, [image], None, []) is None
    assert read_maps(image, [image], None, [None]) is None
    for size in ((800, 640), (41, 32), (9, 7), (1, 1)):
        maps = read_maps(image, [image], good, [Image.new("L", size, 1)])
        assert maps is not None
        assert maps[1][0].ids.shape == size[::-1]
    for given, message in (
        ((image, [image], None, [good]), "0 of 1 content and 1 of 1 style"),
        ((image, [image, image], good, [good, None]), "1 of 1 content and 1 of 2 style"),
        ((image, [wide], good, [good]), "style mask: 40x32 pixels is another shape .* 640x320"),
    ):
        with pytest.raises(UserError, match=message):
            read_maps(*given)


def test_classes_that_vanish_in_small_are_left_out() -> None:
    content, style = np.zeros((64, 64), np.int64), np.zeros((64, 64), np.int64)
    content[:4, :4], style[:8] = 1, 1
    regions = Regions.of(LabelMap(content), LabelMap(style))
    assert regions.classes == (0, 1)
    device = torch.device("cpu")
    assert len(regions.masks((64, 64), (64, 64), device)) == 2
    assert len(regions.masks((4, 4), (8, 8), device)) == 1


def test_nearest_resize_enlarges_too() -> None:
    labels = torch.tensor([[1, 2], [3, 4]])
    assert resize_nearest(labels, (4, 2)).tolist() == [[1, 2], [1, 2], [3, 4], [3, 4]]


def test_relations() -> None:
    relations = np.array([[0, 1, 2], [1, 2, 0], [2, 0, 1]])
    labels = np.array([[0] * 99 + [1]])
    assert np.array_equal(merge_small(labels, relations), np.zeros((1, 100)))
    assert np.array_equal(merge_small(labels, relations, 0.01), labels)
    content, style = match_classes(np.array([[0, 1]]), np.array([[2, 2]]), relations)
    assert content.tolist() == [[2, 2]]
    assert style.tolist() == [[2, 2]]


def palette_map(indices: np.ndarray, *colours: tuple[int, int, int]) -> Image.Image:
    image = Image.new("P", indices.shape[::-1])
    image.putdata(indices.flatten().tolist())
    image.putpalette([level for colour in colours for level in colour])
    return image


def test_palettes_that_differ_go_by_colour() -> None:
    ids = np.arange(64).reshape(8, 8) % 2
    yellow, photo = (255, 255, 0), Image.new("RGB", (8, 8))
    one, other = palette_map(ids, RED, BLUE), palette_map(ids, BLUE, RED)
    content, (style,) = read_maps(photo, [photo], one, [other])
    assert np.array_equal(content.ids, style.ids[:, ::-1]), "red is red"
    content, (style,) = read_maps(photo, [photo], one, [palette_map(ids, RED, yellow)])
    assert (content.ids == style.ids).mean() == 0.5, "blue is no yellow"
    content, (style,) = read_maps(photo, [photo], one, [one.convert("RGB")])
    assert np.array_equal(content.ids, style.ids)
    content, (style,) = read_maps(photo, [photo], one, [one])
    assert set(np.unique(content.ids)) == {0, 1}, "palettes that agree give ids"


@pytest.mark.parametrize("bits", [2, 4])
def test_gray_of_few_bits_gives_stored_ids(tmp_path: Path, bits: int) -> None:
    kinds.save_few_bits(tmp_path / "map.png", bits)
    assert np.array_equal(
        read_labels(open_label_map(tmp_path / "map.png")), kinds.GRAY >> (8 - bits)
    )


def test_what_is_transparent_belongs_to_no_class() -> None:
    hidden = np.zeros((8, 8), np.uint8)
    hidden[:4] = 255
    clear = Image.fromarray(np.dstack([np.zeros((8, 8, 3), np.uint8), hidden]))
    photo = Image.new("RGB", (8, 8))
    maps = read_maps(photo, [clear], None, [None])
    assert maps is not None and shared_classes(maps[0], maps[1]) == [(0,)]
    assert np.array_equal(maps[1][0].shown == 0, hidden == 255)
    assert read_maps(photo, [photo], None, [None]) is None
    ids = Image.fromarray(np.full((8, 8), 7, np.uint8))
    content, (style,) = read_maps(clear, [clear], ids, [ids])
    assert set(np.unique(content.shown)) == {7, -1} and set(np.unique(style.shown)) == {7, -2}
