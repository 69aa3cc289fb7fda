"""Names of results, spellings, and what is left out or refused on the way to them."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from core.data.check import check_folder
from core.data.folders import find_paired, find_single, find_unpaired
from core.data.images import open_image, read_picture, set_max_pixels
from core.data.names import distinct, printable, result_names
from core.data.split import split_off
from core.data.tags import match_tags
from core.data.transforms import resize
from core.errors import UserError
from core.options import DataOptions
from tests.data.image_files import write_image, write_plain, write_unpaired


def test_every_result_has_a_name_of_its_own() -> None:
    root = Path("in")
    files = [root / name for name in ("a.png", "a.jpg", "a_png.bmp", "b/x.jpg", "c/x.jpg", "A.tif")]
    names = result_names(files, root)
    assert names == ["a_png", "a_jpg", "a_png_2", "b/x", "c/x", "A_tif"]
    assert distinct(["a_b_c", "a_b_c", "a_b_c_2"]) == ["a_b_c", "a_b_c_3", "a_b_c_2"]
    outside = result_names([root / "../../x.png", Path("/etc/y.png")], root)
    assert outside == ["x", "etc/y"], "no result leaves its folder"
    assert printable(os.fsdecode(b"caf\xe9.png")) == "caf%E9.png"


def test_spellings_of_one_name_are_the_same(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    write_plain(tmp_path / "A" / f"{composed}.png", 1)
    write_plain(tmp_path / "B" / f"{decomposed}.png", 2)
    assert find_paired(tmp_path, "train").a[0].stem == composed
    (tmp_path / "tags.csv").write_text(f"{decomposed},blue hair\n", encoding="utf-8")
    assert match_tags(tmp_path / "tags.csv", [tmp_path / f"{composed}.png"]) == ("blue hair",)


def test_pages_are_pictures_of_their_own(tmp_path: Path) -> None:
    pages = np.arange(3 * 16, dtype=np.uint8).reshape(3, 4, 4)
    for folder in "AB":
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / "scan.tif", pages, photometric="minisblack")
    found = find_paired(tmp_path, "train")
    assert [path.name for path in found.a] == [f"scan_p000{n}.tif" for n in (1, 2, 3)]
    assert np.array_equal(read_picture(found.a[2]).pixels[..., 0], pages[2])
    (tmp_path / "list.txt").write_text("A/scan_p0002.tif\n")
    (page,) = find_single(tmp_path / "list.txt")
    assert np.array_equal(read_picture(page).pixels[..., 0], pages[1])
    with pytest.raises(UserError, match="no such file"):
        read_picture(tmp_path / "A" / "scan_p0004.tif")
    write_plain(tmp_path / "A" / "scan_p0002.tif", 3)
    with pytest.raises(UserError, match=r"scan_p0002.tif: is a file, and the name of a page"):
        find_paired(tmp_path, "train")


def test_reduced_copies_in_a_file_are_no_pages(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "map.tif") as tiff:
        tiff.write(np.zeros((8, 8), np.uint8))
        tiff.write(np.zeros((4, 4), np.uint8), subfiletype=1)
    assert find_single(tmp_path) == (tmp_path / "map.tif",)


def test_results_do_not_become_inputs(tmp_path: Path) -> None:
    write_plain(tmp_path / "a.png", 1)
    write_plain(tmp_path / "out" / "images" / "a_fake_B.png", 1)
    assert find_single(tmp_path, without=tmp_path / "out") == (tmp_path / "a.png",)
    np.save(tmp_path / "noise.npy", np.zeros(3))
    assert len(find_single(tmp_path)) == 2, "arrays beside pictures are none"


def test_pictures_that_are_not_read_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_plain(tmp_path / "a.png", 1)
    for name in ("phone.heic", "notes.txt"):
        (tmp_path / name).touch()
    for _ in range(2):
        assert find_single(tmp_path) == (tmp_path / "a.png",)
    assert [record.getMessage() for record in caplog.records] == [
        f"{tmp_path}: left out 1 pictures of formats that are not read, e.g. phone.heic; "
        "convert them"
    ]


def test_what_is_no_file_is_refused_by_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "nowhere.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "round.png").symlink_to(tmp_path / "round.png")
    for name, reason in (
        ("pipe.jpg", "no regular file"),
        ("nowhere.png", "no such file"),
        ("round.png", "damaged image|symbolic link"),
    ):
        with pytest.raises(UserError, match=rf"{name}: .*({reason})"):
            open_image(tmp_path / name)
    assert len(check_folder(tmp_path).problems) == 3


def test_a_share_of_train_stands_for_test(tmp_path: Path) -> None:
    write_unpaired(tmp_path, 10, 20)
    train, test = (find_unpaired(tmp_path, split, None, 0.1) for split in ("train", "test"))
    assert (len(train.a), len(test.a), len(train.b), len(test.b)) == (9, 1, 18, 2)
    assert not {*train.b} & {*test.b} and test.split == "test"
    assert find_unpaired(tmp_path, "test", None, 0.1) == test
    with pytest.raises(UserError, match=r"val_fraction = 0.01: 0 of 10 images"):
        find_unpaired(tmp_path, "test", None, 0.01)
    assert split_off(tmp_path, 0.1) == [
        "moved 1 of 10 images to test",
        "moved 2 of 20 images to test",
    ]
    moved = find_unpaired(tmp_path, "test", None, 0.1)
    assert [path.name for path in moved.b] == [path.name for path in test.b]
    with pytest.raises(UserError, match="neither val nor test"):
        split_off(tmp_path, 0.1)


def test_pairs_are_split_together(tmp_path: Path) -> None:
    for number in range(6):
        write_plain(tmp_path / "A" / f"{number}.png", number)
        write_plain(tmp_path / "B" / f"{number}.jpg", number)
    parts = [find_paired(tmp_path, split, None, 0.5) for split in ("train", "test")]
    names = [[path.stem for path in (*part.a, *part.b)] for part in parts]
    assert [len(part) for part in names] == [6, 6] and not {*names[0]} & {*names[1]}


def test_no_picture_grows_beyond_the_limit(tmp_path: Path) -> None:
    """One pixel by many: the published rule would ask for gigabytes."""
    data = DataOptions(root="x", preprocess="scale_shorter_and_crop")
    with pytest.raises(UserError, match="too large"):
        resize(np.zeros((1, 100000, 3), np.uint8), data)
    before = Image.MAX_IMAGE_PIXELS
    try:
        set_max_pixels(100)
        with pytest.raises(UserError, match=r"x.png: too large"):
            open_image(write_image(tmp_path / "x.png", 11, 10))
        set_max_pixels(110)
        open_image(tmp_path / "x.png")
        with pytest.raises(UserError, match="--max-pixels 0"):
            set_max_pixels(0)
    finally:
        Image.MAX_IMAGE_PIXELS = before
