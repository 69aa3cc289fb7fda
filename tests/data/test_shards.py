"""Tar shards as webdataset writes them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.data.readers.shards import ShardSource, expand
from core.errors import UserError
from core.evaluation.image_set import as_they_are
from core.options import DataOptions

OPTIONS = as_they_are(DataOptions(root="."))


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def png(value: int, mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (16, 12), value if mode == "L" else (value, 0, 255)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two shards with two pictures each, labels between them, and a link that is none."""
    for shard in range(2):
        with tarfile.open(tmp_path / f"data-00{shard}.tar", "w") as archive:
            for number in range(2):
                add(archive, f"sub/{shard}{number}.v1.cls", b"3")
                add(archive, f"sub/{shard}{number}.v1.png", png(10 * shard + number))
            link = tarfile.TarInfo("sub/link.png")
            link.type, link.linkname = tarfile.SYMTYPE, "00.v1.png"
            archive.addfile(link)
    return tmp_path / "data-{000..001}.tar"


def test_pictures_are_read_where_they_lie(shards: Path) -> None:
    source = ShardSource.open(shards, 3, OPTIONS)
    assert len(source) == 4
    assert [source.name(i, 0) for i in (0, 3)] == [
        "data-000.tar/sub/00.v1.png",
        "data-001.tar/sub/11.v1.png",
    ]
    assert source.member(3) == "sub/11.v1"
    for i in (3, 0, 2, 1):
        (pixels,) = source.read(i)
        assert pixels.shape == (3, 12, 16)
        assert np.array(pixels)[:, 0, 0].tolist() == [10 * (i // 2) + i % 2, 0, 255]
    assert len(ShardSource.open(shards, 3, OPTIONS, max_images=3)) == 3


def test_ranges(tmp_path: Path) -> None:
    found = expand(tmp_path / "x-{08..11}.tar")
    assert [path.name for path in found] == ["x-08.tar", "x-09.tar", "x-10.tar", "x-11.tar"]
    assert expand(tmp_path / "x.tar") == [tmp_path / "x.tar"]
    with pytest.raises(UserError, match="holds no number"):
        expand(tmp_path / "x-{3..2}.tar")


def test_what_is_wrong_is_one_line(shards: Path) -> None:
    folder = shards.parent
    with pytest.raises(UserError, match=r"data-002\.tar: there is no such file"):
        ShardSource.open(folder / "data-{000..002}.tar", 3, OPTIONS)
    whole = (folder / "data-000.tar").read_bytes()
    (folder / "text.tar").write_text("no tar file, but long enough to look like a header" * 30)
    with pytest.raises(UserError, match="no shard"):
        ShardSource.open(folder / "text.tar", 3, OPTIONS)
    with tarfile.open(folder / "empty.tar", "w"):
        pass
    with pytest.raises(UserError, match="no pictures"):
        ShardSource.open(folder / "empty.tar", 3, OPTIONS)
    start = whole.index(b"\x89PNG")
    (folder / "bad.tar").write_bytes(whole[:start] + b"x" * 20 + whole[start + 20 :])
    with pytest.raises(UserError, match=r"bad\.tar/sub/00\.v1\.png"):
        ShardSource.open(folder / "bad.tar", 3, OPTIONS).read(0)
