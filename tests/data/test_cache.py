from __future__ import annotations

import json
import logging
import multiprocessing
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.data import cache
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


def test_a_second_run_maps_the_file_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(tmp_path)
    cached(source, "disk")
    reads = count_reads(monkeypatch)
    again = cached(source, "disk")
    assert reads == []
    assert not again.read(0)[0].flags.writeable
    assert {path.suffix for path in (tmp_path / ".image_cache").iterdir()} == {
        ".bin",
        ".json",
        ".lock",
    }


def change_time(root: Path) -> None:
    os.utime(root / "trainA" / "1.png", (1, 1))


def change_pixels(root: Path) -> None:
    write_image(root / "trainA" / "1.png", seed=99)


def cut_pixels(root: Path) -> None:
    (file,) = root.glob(".image_cache/*.bin")
    file.write_bytes(file.read_bytes()[:-1])


def spoil_table(root: Path) -> None:
    (file,) = root.glob(".image_cache/*.json")
    file.write_text('{"shapes": [')


@pytest.mark.parametrize("change", [change_time, change_pixels, cut_pixels, spoil_table])
def test_a_change_makes_a_new_cache_and_removes_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    source = source_of(tmp_path)
    cached(source, "disk")
    change(tmp_path)
    (tmp_path / ".image_cache" / "unrelated.bin").touch()
    reads = count_reads(monkeypatch)
    assert_same(cached(source, "disk"), source)
    assert reads[:5] == sorted(reads[:5])
    assert len(list((tmp_path / ".image_cache").glob("train*.bin"))) == 1
    assert (tmp_path / ".image_cache" / "unrelated.bin").exists()


def test_other_options_have_caches_of_their_own(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    cached(source, "disk")
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
    cached(source_of(tmp_path / "old"), "disk")
    (tmp_path / "old").rename(tmp_path / "new")
    found = find_unpaired(tmp_path / "new", "train")
    moved = Source.of(found, (3, 3), options(tmp_path / "new"))[0]
    reads = count_reads(monkeypatch)
    cached(moved, "disk")
    assert reads == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff", None])
def test_unreadable_images_are_refused_or_remembered(
    tmp_path: Path, kind: str, content: bytes | None
) -> None:
    source = source_of(tmp_path)
    broken = tmp_path / "trainA" / "4.png"  # the last: its bytes are never written
    broken.write_bytes(broken.read_bytes()[:60] if content is None else content)
    with pytest.raises(UserError, match=r"4\.png"):
        cached(source, kind)
    skipping = replace(source, options=options(tmp_path, on_error="skip"))
    for _ in range(2):
        images = cached(skipping, kind)
        assert images.read(0)[0].shape == (3, 9, 7)
        with pytest.raises(UserError, match=r"4\.png"):
            images.read(4)
    with pytest.raises(UserError, match=r"4\.png"):
        cached(source, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_only_unreadable_images_are_refused(tmp_path: Path, kind: str) -> None:
    source = source_of(tmp_path, num=2, on_error="skip")
    for path in (tmp_path / "trainA").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"none of the images of trainA can be read.*0\.png"):
        cached(source, kind)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/sub: the image cache cannot .*data\.cache_dir"):
        cached(source, "disk", tmp_path / "file" / "sub")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_named_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(tmp_path)
    opened = Path.open

    def onto_full_disk(path: Path, mode: str = "r", **rest: object) -> object:
        return opened(Path("/dev/full") if path.suffix == ".tmp" else path, mode, **rest)

    monkeypatch.setattr(Path, "open", onto_full_disk)
    with pytest.raises(UserError, match=r"No space left on device.*free space"):
        cached(source, "disk")
    assert not list((tmp_path / ".image_cache").glob("*.[btj]*"))


def test_more_than_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_installed_memory", lambda: 100)
    with pytest.raises(UserError, match=r"data\.cache = ram: trainA takes .*cache: disk"):
        cached(source_of(tmp_path), "ram")


def test_a_pickled_disk_cache_carries_no_pixels(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    pixels = source.read(0)[0].tobytes()
    for kind, carried in (("disk", False), ("ram", True)):
        stored = pickle.dumps(cached(source, kind))
        assert (pixels in stored) == carried
        assert_same(pickle.loads(stored), source)


def build_and_count(source: Source, folder: Path, built: list[int]) -> None:
    log = logging.getLogger("core.data.cache")
    build = cache._build
    cache._build = lambda *args: (built.append(os.getpid()), build(*args))[1]
    log.setLevel(logging.ERROR)
    assert_same(cached(source, "disk", folder), source)


def test_of_several_processes_one_builds(tmp_path: Path) -> None:
    source = source_of(tmp_path)
    context = multiprocessing.get_context("fork")
    with context.Manager() as manager:
        built = manager.list()
        processes = [
            context.Process(target=build_and_count, args=(source, tmp_path / "c", built))
            for _ in range(4)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(30)
        assert [process.exitcode for process in processes] == [0] * 4
        assert len(built) == 1


def test_damaged_pixels_are_never_given_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    source = source_of(tmp_path)
    path = cached(source, "disk").path
    assert path is not None
    content = bytearray(path.read_bytes())
    content[7 * 9 * 3 + 5] ^= 1  # in the second of the five images
    path.write_bytes(content)
    reads = count_reads(monkeypatch)
    images = cached(source, "disk")
    assert_same(pickle.loads(pickle.dumps(images)), source)
    assert reads.count(1) == 2 and len(reads) == 6, "only the damaged one is read again"
    assert "damaged" in caplog.text and not path.with_suffix(".json").exists()
    assert_same(cached(source, "disk"), source)
    assert path.read_bytes() != bytes(content) and path.with_suffix(".json").exists()


@pytest.mark.parametrize(
    "change",
    [
        *("", "[]", "{}", '"x"', "[[1]]"),
        *('{"shapes": 3}', '{"shapes": [[[3, 9]]]}', '{"errors": []}', '{"errors": {"x": 1}}'),
        *('{"offsets": [5, 4, 3, 2, 1]}', '{"checksums": [1]}', '{"num_bytes": null}'),
        *('{"num_bytes": 1e400}', '{"shapes": [[]]}'),
    ],
)
def test_a_table_that_is_none_is_made_anew(tmp_path: Path, change: str) -> None:
    source = source_of(tmp_path)
    path = cached(source, "disk").path
    assert path is not None
    index = path.with_suffix(".json")
    good = index.read_text()
    with_change = change
    if change.startswith('{"'):
        with_change = json.dumps(json.loads(good) | json.loads(change))
    index.write_text(with_change)
    assert_same(cached(source, "disk"), source)
    assert index.read_text() == good
