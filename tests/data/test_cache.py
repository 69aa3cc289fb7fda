from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.data import blocks, cache
from core.data.cache import CachedImages, cached
from core.data.folders import find_paired, find_unpaired
from core.data.readers.files import Source
from core.errors import UserError
from core.options import DataOptions
from tests.data.image_files import write_image

KINDS = ["ram", "disk"]


def options(root: Path, **values: object) -> DataOptions:
    sizes = {"load_size": 8, "crop_size": 6, "preprocess": "crop"}
    return DataOptions.model_validate({"root": str(root), **sizes, **values})


def source_of(root: Path, num: int = 5, **values: object) -> Source:
    for i in range(num):
        write_image(root / "trainA" / f"{i}.png", width=7 + i, height=9 - i, seed=i)
    write_image(root / "trainB" / "0.png")
    data = options(root, **values)
    return Source.of(find_unpaired(root, "train"), (3, 3), data)[0]


def assert_same(images: CachedImages, source: Source) -> None:
    assert len(images) == len(source)
    for item in range(len(source)):
        for ours, theirs in zip(images.read(item), source.read(item), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert images.name(item, 0) == source.name(item, 0)


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    reads: list[int] = []
    read = Source.read
    monkeypatch.setattr(Source, "read", lambda self, i: (reads.append(i), read(self, i))[1])
    return reads


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("preprocess", ["crop", "resize_and_crop", "none", "scale_width"])
def test_images_of_any_size_come_back_as_read(tmp_path: Path, kind: str, preprocess: str) -> None:
    source = source_of(tmp_path, preprocess=preprocess)
    assert_same(cached(source, kind), source)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side_by_side", [True, False])
def test_pairs_of_different_channels(tmp_path: Path, kind: str, side_by_side: bool) -> None:
    for i in range(3):
        for folder in ["train"] if side_by_side else ["trainA", "trainB"]:
            write_image(tmp_path / folder / f"{i}.png", width=9 + i, height=5 + i, seed=i)
    (source,) = Source.of(find_paired(tmp_path, "train"), (1, 4), options(tmp_path))
    images = cached(source, kind)
    assert_same(images, source)
    a, b = images.read(1)
    assert a.shape[0] == 1 and b.shape[0] == 4
    if side_by_side:
        assert (a.shape[2], b.shape[2]) == (5, 5)  # width 10
        assert [image.shape[2] for image in images.read(0)] == [4, 5]  # width 9


def fill(images: CachedImages) -> CachedImages:
    """Read everything once."""
    for item in range(len(images)):
        images.read(item)
    return images


def test_images_are_kept_when_they_are_first_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(tmp_path)
    reads = count_reads(monkeypatch)
    first = cached(source, "disk")
    assert reads == [], "a training starts at once"
    first.read(3)
    again = cached(source, "disk")
    for images in (first, again, cached(source, "ram")):
        images.read(3)
        assert not images.read(3)[0].flags.writeable
    assert reads == [3, 0, 3], "once on disk, and the first and third by the cache in memory"
    assert {path.suffix for path in (tmp_path / ".image_cache").iterdir()} == {".bin", ".lock"}


@pytest.mark.parametrize("kind", KINDS)
def test_any_depth_and_channels(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    for name, channels in (("trainA", 5), ("trainB", 2)):
        (tmp_path / name).mkdir()
        for i in range(3):
            values = rng.random((6, 7, channels), dtype=np.float32)
            np.save(tmp_path / name / f"{i}.npy", values if i else (values * 255).astype(np.uint8))
    data = options(tmp_path, white=1.0)
    for source in Source.of(find_unpaired(tmp_path, "train"), (5, 2), data):
        images = fill(cached(source, kind))
        assert_same(images, source)
        types = [images.read(item)[0].dtype for item in range(3)]
        assert types == [np.uint8, np.float32, np.float32]


def change_time(root: Path) -> None:
    os.utime(root / "trainA" / "1.png", (1, 1))


def change_pixels(root: Path) -> None:
    write_image(root / "trainA" / "1.png", seed=99)


@pytest.mark.parametrize("change", [change_time, change_pixels])
def test_a_change_makes_a_new_cache_and_removes_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    source = source_of(tmp_path)
    fill(cached(source, "disk"))
    change(tmp_path)
    (tmp_path / ".image_cache" / "unrelated.bin").touch()
    reads = count_reads(monkeypatch)
    assert_same(cached(source, "disk"), source)
    assert reads[:5] == sorted(reads[:5])
    assert len(list((tmp_path / ".image_cache").glob("train*.bin"))) == 1
    assert (tmp_path / ".image_cache" / "unrelated.bin").exists()


def test_other_options_have_caches_of_their_own(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    fill(cached(source, "disk"))
    for other in (
        replace(source, channels=(1,)),
        replace(source, options=options(tmp_path, preprocess="none")),
    ):
        assert_same(cached(other, "disk"), other)
    assert_same(cached(source, "disk"), source)
    assert len(list((tmp_path / ".image_cache").glob("*.bin"))) == 3


def test_a_shared_folder_tells_data_sets_apart(tmp_path: Path) -> None:
    sources = [source_of(tmp_path / name) for name in ("one", "two")]
    for source in sources:
        assert_same(cached(source, "disk", tmp_path / "shared"), source)
    assert len(list((tmp_path / "shared").glob("*.bin"))) == 2


def test_the_cache_moves_with_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(cached(source_of(tmp_path / "old"), "disk"))
    (tmp_path / "old").rename(tmp_path / "new")
    found = find_unpaired(tmp_path / "new", "train")
    moved = Source.of(found, (3, 3), options(tmp_path / "new"))[0]
    reads = count_reads(monkeypatch)
    fill(cached(moved, "disk"))
    assert reads == []


@pytest.mark.parametrize("kind", KINDS)
def test_an_unreadable_image_is_named_when_it_is_met(tmp_path: Path, kind: str) -> None:
    source = source_of(tmp_path)
    (tmp_path / "trainA" / "4.png").write_bytes(b"")
    for _ in range(2):
        images = cached(source, kind)
        assert images.read(0)[0].shape == (3, 9, 7)
        with pytest.raises(UserError, match=r"4\.png"):
            images.read(4)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/sub: the image cache cannot .*data\.cache_dir"):
        cached(source, "disk", tmp_path / "file" / "sub")


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_is_said_once_and_reading_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    source = source_of(tmp_path)
    images = cached(source, kind)
    images.read(0)

    def full(file: object, data: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(blocks, "_write", full)
    assert_same(images, source)
    assert_same(images, source)
    assert caplog.text.count("takes no more images (No space left on device)") == 1
    monkeypatch.undo()
    assert_same(cached(source, "disk"), source)


def test_more_than_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_installed_memory", lambda: 100)
    with pytest.raises(
        UserError, match=r"data\.cache = ram: 5 images like trainA/0\.png take .*: disk"
    ):
        cached(source_of(tmp_path), "ram")


def test_a_pickled_cache_carries_no_pixels(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    pixels = source.read(0)[0].tobytes()
    for kind in KINDS:
        stored = pickle.dumps(fill(cached(source, kind)))
        assert pixels not in stored
        assert_same(pickle.loads(stored), source)


def read_in_child(images: CachedImages, order: list[int], seen: list[int]) -> None:
    read = Source.read
    Source.read = lambda self, i: (seen.append(i), read(self, i))[1]  # type: ignore[assignment]
    for item in order:
        images.read(item)
    Source.read = read  # type: ignore[method-assign]


@pytest.mark.parametrize("kind", KINDS)
def test_forked_processes_fill_it_together(tmp_path: Path, kind: str) -> None:
    source = source_of(tmp_path, num=9)
    images = cached(source, kind)
    context = multiprocessing.get_context("fork")
    with context.Manager() as manager:
        seen = manager.list()
        orders = [list(range(7)), list(range(8, 2, -1)), [5] * 30]
        processes = [
            context.Process(target=read_in_child, args=(images, order, seen)) for order in orders
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(30)
        assert [process.exitcode for process in processes] == [0] * 3
        assert set(seen) | {0} == set(range(9))
    read_again: list[int] = []
    read_in_child(images, list(range(9)), read_again)
    assert read_again == [], "what children have read is here too"
    assert_same(images, source)


def flip_a_pixel(content: bytearray, start: int) -> None:
    content[start + 70] ^= 1


def flip_a_shape(content: bytearray, start: int) -> None:
    content[start + 9] ^= 1


def flip_a_place(content: bytearray, start: int) -> None:
    content[24 + 24 + 2] ^= 1


def cut_the_end(content: bytearray, start: int) -> None:
    del content[start + 90 :]


def cut_the_table(content: bytearray, start: int) -> None:
    del content[30:]


def empty_it(content: bytearray, start: int) -> None:
    content.clear()


def other_format(content: bytearray, start: int) -> None:
    content[0] ^= 1


DAMAGES = [flip_a_pixel, flip_a_shape, flip_a_place, cut_the_end, cut_the_table, empty_it]


@pytest.mark.parametrize("damage", [*DAMAGES, other_format])
def test_damaged_blocks_are_never_given_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytearray, int], None]
) -> None:
    source = source_of(tmp_path)
    path = fill(cached(source, "disk")).blocks.path
    assert path is not None
    content = bytearray(path.read_bytes())
    second = content.index(source.read(1)[0].tobytes()) - 64
    damage(content, second)
    path.write_bytes(content)
    expected = [source.read(item)[0] for item in range(5)]
    reads = count_reads(monkeypatch)
    images = cached(source, "disk")
    for _ in range(2):
        for item, pixels in enumerate(expected):
            np.testing.assert_array_equal(images.read(item)[0], pixels)
    assert 1 in reads and len(reads) <= 5, "what is damaged is read once, and kept anew"
    fill(cached(source, "disk"))
    assert len(reads) <= 5
