"""Every storage behind `data.a` and `data.b` gives the batches that a folder of the files gives."""

from __future__ import annotations

import io
import itertools
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from core.data.loader import Loader, build_loader
from core.errors import UserError
from core.family import ImageBatch
from core.options import DataOptions
from tests.data.image_files import write_idx

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (7, 10, 9), dtype=np.uint8)
"""Seven gray pictures."""


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write_folder(root: Path) -> str:
    (root / "folder").mkdir()
    for i, pixels in enumerate(PIXELS):
        (root / "folder" / f"{i}.png").write_bytes(png(pixels))
    return "folder"


def write_list(root: Path) -> str:
    write_folder(root)
    (root / "list.txt").write_text("".join(f"folder/{i}.png\n" for i in range(len(PIXELS))))
    return "list.txt"


def write_shards(root: Path) -> str:
    for shard, numbers in enumerate((range(3), range(3, 7))):
        with tarfile.open(root / f"s-{shard:02d}.tar", "w") as archive:
            for i in numbers:
                for part, pixels in (("png", PIXELS[i]), ("b.png", 255 - PIXELS[i])):
                    entry = tarfile.TarInfo(f"{i}.{part}")
                    entry.size = len(png(pixels))
                    archive.addfile(entry, io.BytesIO(png(pixels)))
    return "s-{00..01}.tar#png"


def write_npy(root: Path) -> str:
    np.save(root / "x.npy", PIXELS)
    return "x.npy"


def write_mnist(root: Path) -> str:
    write_idx(root / "train-images-idx3-ubyte.gz", PIXELS)
    return "train-images-idx3-ubyte.gz"


def write_table(root: Path) -> str:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    rows = [{"image": Image.fromarray(pixels), "number": i} for i, pixels in enumerate(PIXELS)]
    datasets.Dataset.from_list(rows).save_to_disk(root / "table")
    return "table/#image"


def write_stream(root: Path) -> str:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    (root / "parquet").mkdir()
    rows = [{"image": Image.fromarray(pixels)} for pixels in PIXELS]
    datasets.Dataset.from_list(rows).to_parquet(root / "parquet" / "train-0.parquet")
    return f"datasets://{root}/parquet"


def remote(write: Callable[[Path], str]) -> Callable[[Path], str]:
    """The same in fsspec's memory."""

    def written(root: Path) -> str:
        import fsspec

        address, name = write(root), f"memory://{root.name}"
        fsspec.filesystem("memory").put(str(root), name, recursive=True)
        return f"{name}/{address}"

    written.__name__ = f"remote_{write.__name__}"
    return written


WRITERS = [write_list, write_shards, write_npy, write_mnist, write_table]
REMOTE = [remote(write) for write in (write_folder, write_shards, write_npy)]


def loader_of(root: Path, address: str, **values: Any) -> Loader:
    names = DataOptions.model_fields
    data = {key: values.pop(key) for key in list(values) if key in names}
    sizes = {"load_size": 8, "crop_size": 6, "num_workers": 0}
    options = DataOptions(root=str(root), a=address, b=address, **{**sizes, **data})
    call: Any = {"layout": "unpaired", "split": "train", "channels": (1, 3), "batch_size": 2}
    return build_loader(options, seed=1, **{**call, **values})


def take(loader: Loader, number: int) -> list[ImageBatch]:
    return list(itertools.islice(loader, number))


def assert_same(ours: list[ImageBatch], theirs: list[ImageBatch]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.a, other.a) and torch.equal(one.b, other.b)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Loader]:
    """Loaders of the folder."""
    root = tmp_path_factory.mktemp("reference")
    address = write_folder(root)
    return lambda **values: loader_of(root, address, **values)


@pytest.mark.parametrize("write", [*WRITERS, *REMOTE, write_stream], ids=lambda w: w.__name__)
def test_order_resume_shares_and_caches_are_those_of_a_folder(
    write: Callable[[Path], str], reference: Callable[..., Loader], tmp_path: Path
) -> None:
    address = write(tmp_path)
    serial = {"serial": True, "max_images": 7} if write is write_stream else {}
    expected = take(reference(**serial), 9)
    assert_same(take(loader_of(tmp_path, address, **serial), 9), expected)
    assert_same(take(loader_of(tmp_path, address, cache="ram", **serial), 9), expected)
    started = loader_of(tmp_path, address, **serial)
    take(started, 3)
    resumed = loader_of(tmp_path, address, **serial)
    resumed.load_state_dict(started.state_dict())
    assert_same(take(resumed, 6), expected[3:])
    shares = [
        take(loader_of(tmp_path, address, batch_size=1, rank=r, world_size=2, **serial), 9)
        for r in (0, 1)
    ]
    for whole, first, second in zip(expected, *shares, strict=True):
        assert torch.equal(whole.a, torch.cat([first.a, second.a]))
        assert torch.equal(whole.b, torch.cat([first.b, second.b]))


@pytest.mark.parametrize("write", [write_shards, REMOTE[2], write_stream], ids=lambda w: w.__name__)
def test_loader_processes_open_what_they_need(
    write: Callable[[Path], str], reference: Callable[..., Loader], tmp_path: Path
) -> None:
    address = write(tmp_path)
    serial = {"serial": True, "max_images": 7} if write is write_stream else {}
    loader = loader_of(tmp_path, address, num_workers=2, **serial)
    assert_same(take(loader, 9), take(reference(**serial), 9))
    loader.close()


@pytest.mark.parametrize("write", [write_shards, write_npy, write_table, REMOTE[0]])
def test_a_disk_cache_notices_a_change(write: Callable[[Path], str], tmp_path: Path) -> None:
    address = write(tmp_path)
    values = {"cache": "disk", "cache_dir": str(tmp_path / "cache"), "serial": True}
    first = take(loader_of(tmp_path, address, **values), 4)
    assert_same(take(loader_of(tmp_path, address, **values), 4), first)
    assert len(list((tmp_path / "cache").glob("*.bin"))) == 2
    for file in tmp_path.glob("*.tar"):
        file.touch()
    for file in (tmp_path / "x.npy", *(tmp_path / "table").glob("*.arrow")):
        if file.exists():
            file.touch()
    if address.startswith("memory"):
        import fsspec

        fsspec.filesystem("memory").pipe(f"{address}/0.png", png(255 - PIXELS[0]))
    changed = take(loader_of(tmp_path, address, **values), 4)
    assert len(list((tmp_path / "cache").glob("*.bin"))) == 2, "new ones in place of the old"
    assert torch.equal(changed[0].a, first[0].a) != address.startswith("memory")


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    address = write_shards(tmp_path)
    stream = write_stream(tmp_path)
    write_table(tmp_path)
    np.save(tmp_path / "flat.npy", PIXELS[0])
    (tmp_path / "cut.npy").write_bytes((tmp_path / "flat.npy").read_bytes()[:90])
    (tmp_path / "empty.txt").write_text("# nothing\n")
    wrong = {
        "s-{00..01}.tar": r"sample 0 has several pictures.*name the part that is meant",
        "s-{00..01}.tar#jpg": r"no pictures that end in \.jpg in these shards",
        "s-{00..02}.tar#png": r"s-02\.tar: there is no such file",
        "flat.npy": r"flat\.npy: holds uint8 of shape \(10, 9\); many pictures are \[N, H, W\]",
        "cut.npy": r"cut\.npy: no NumPy array",
        "empty.txt": r"empty\.txt: .*it is empty",
        "nothing": r"nothing/: there is no such folder",
        "table#number": r"number-00000.: shape \(\); a picture is",
        "table#x": r"has the columns image, number; name the one that is meant",
        "folder#x": r"only samples in shards and rows of data sets have parts",
        "memory://nowhere": r"memory://nowhere: no images found there",
        "unknown://x": r"unknown://x.*: cannot be read \(Protocol not known: unknown\)",
        stream: r"a stream has no order but its own; set data\.serial: true",
        "datasets:///nowhere": r"datasets:///nowhere: cannot be opened",
    }
    write_folder(tmp_path)
    for address, message in wrong.items():
        with pytest.raises(UserError, match=message):
            next(loader_of(tmp_path, address, max_images=7))
