"""One domain: folders, MNIST's idx files, tags, and the batches made of them."""

from __future__ import annotations

import gzip
import itertools
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from core.data.loader import Loader, build_loader, fixed_batch
from core.data.single import find_domain
from core.errors import UserError
from core.family import SampleBatch, to_float
from core.options import SingleDataOptions
from tests.data.image_files import write_idx, write_image, write_plain, write_unpaired


def options(root: Path, **values: Any) -> SingleDataOptions:
    defaults: dict[str, Any] = {"load_size": 8, "crop_size": 8, "num_workers": 0}
    return SingleDataOptions.model_validate({"root": str(root), **defaults, **values})


def loader_of(root: Path, channels: int = 3, augment: bool = True, **values: Any) -> Loader:
    return build_loader(
        options(root, **values),
        layout="single",
        split="train",
        channels=(channels,),
        batch_size=2,
        seed=1,
        augment=augment,
    )


def take(loader: Loader, count: int) -> list[SampleBatch]:
    batches = list(itertools.islice(loader, count))
    assert all(isinstance(batch, SampleBatch) for batch in batches)
    return batches  # type: ignore[return-value]


def write_tagged(root: Path, tags: str) -> Path:
    for number in range(3):
        write_plain(root / "images" / f"{number}.png", 50 * number, 8, 8)
    (root / "tags.csv").write_text(tags)
    return root


GOOD_TAGS = "0,blue hair red eyes\n\n1,red hair blue eyes\n2, green hair blue eyes \n"


def test_one_folder_serves_every_split(tmp_path: Path) -> None:
    write_image(tmp_path / "deep" / "a.png")
    write_image(tmp_path / "b.jpg")
    for split in ("train", "test"):
        found = find_domain(tmp_path, split)
        assert [path.name for path in found.files] == ["b.jpg", "a.png"]


def test_split_folders(tmp_path: Path) -> None:
    write_image(tmp_path / "train" / "a.png")
    write_image(tmp_path / "val" / "b.png")
    assert [p.name for p in find_domain(tmp_path, "train").files] == ["a.png"]
    found = find_domain(tmp_path, "test")
    assert ([p.name for p in found.files], found.split) == (["b.png"], "val")
    (tmp_path / "train" / "a.png").unlink()
    (tmp_path / "train").rmdir()
    with pytest.raises(UserError, match=r"no images for split 'train'; there is val/"):
        find_domain(tmp_path, "train")


def test_two_domains_are_refused(tmp_path: Path) -> None:
    write_unpaired(tmp_path, 2, 2)
    with pytest.raises(UserError, match=r"holds two domains.*trainA"):
        find_domain(tmp_path, "train")


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_mnist(tmp_path: Path, ending: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
    write_idx(tmp_path / f"t10k-images-idx3-ubyte{ending}", pixels)
    loader = loader_of(tmp_path, channels=1, serial=True, load_size=32, crop_size=32)
    (batch,) = take(loader, 1)
    assert batch.images.shape == (2, 1, 32, 32)
    assert batch.names == tuple(f"t10k-images-idx3-ubyte{ending}#{i}" for i in range(2))
    assert batch.captions == ("", "")
    expected = Image.fromarray(pixels[1]).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.array_equal(batch.images[1, 0].numpy(), np.asarray(expected))
    (colour,) = take(loader_of(tmp_path, serial=True, load_size=32, crop_size=32), 1)
    assert torch.equal(colour.images, batch.images.expand(-1, 3, -1, -1))
    write_idx(tmp_path / "train-images-idx3-ubyte", pixels[:3])
    assert loader_of(tmp_path, channels=1).state_dict()["num_items"] == [3]


@pytest.mark.parametrize("cache", ["ram", "disk"])
def test_cached_mnist_is_the_same_and_knows_its_length(tmp_path: Path, cache: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
    write_idx(tmp_path / "train-images-idx3-ubyte", pixels)
    for limit in (None, 4):
        plain = take(loader_of(tmp_path, 1, max_images=limit), 3)
        cached = take(loader_of(tmp_path, 1, max_images=limit, cache=cache), 3)
        for one, other in zip(plain, cached, strict=True):
            assert torch.equal(one.images, other.images) and one.names == other.names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an idx file of images"),
        (np.array([0x801, 3, 1, 1], dtype=">u4").tobytes(), "not an idx file of images"),
        (np.array([0x803, 3, 28, 28], dtype=">u4").tobytes() + b"cut", "take 2368"),
    ],
)
def test_damaged_mnist(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(UserError, match=message):
        loader_of(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").unlink()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8b" + content)
    with pytest.raises(UserError, match="cannot be read"):
        loader_of(tmp_path)


def test_no_more_is_unpacked_than_the_header_promises(tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    write_idx(path, np.zeros((2, 4, 4), np.uint8))
    path.write_bytes(path.read_bytes() + gzip.compress(bytes(1 << 26)))
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match="more bytes, but 2 images of 4 x 4 pixels take 48"):
            loader_of(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


def test_captions_go_with_their_images(tmp_path: Path) -> None:
    root = write_tagged(tmp_path, GOOD_TAGS)
    loader = loader_of(root, tags="tags.csv")
    said = {0: "blue hair red eyes", 50: "red hair blue eyes", 100: "green hair blue eyes"}
    for batch in take(loader, 6):
        assert batch.captions == tuple(said[int(image[0, 0, 0])] for image in batch.images)
    assert take(loader_of(root), 1)[0].captions == ("", "")


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ("0,blue hair\n1,red hair\n", r"1 images have no line in it \(2\)"),
        (GOOD_TAGS + "7,red hair blue eyes\n", r"1 of its ids have no image \(7\)"),
        (GOOD_TAGS + "2,red hair blue eyes\n", r"line 5: id 2 stands there twice"),
        ("0;blue hair\n", r"line 1: '0;blue hair' is not `id,caption`"),
        ("0,\n", "line 1"),
        ("\n", "names no images"),
    ],
)
def test_tags_that_do_not_fit(tmp_path: Path, tags: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        loader_of(write_tagged(tmp_path, tags), tags="tags.csv")


def test_tags_that_cannot_be(tmp_path: Path) -> None:
    root = write_tagged(tmp_path, GOOD_TAGS)
    with pytest.raises(UserError, match=r"data\.tags: .*tagz\.csv: there is no such file"):
        loader_of(root, tags="tagz.csv")
    write_plain(root / "more" / "2.jpg", 0)
    with pytest.raises(UserError, match="both have the id 2"):
        loader_of(root, tags="tags.csv")
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((1, 28, 28), dtype=np.uint8))
    with pytest.raises(UserError, match="holds idx files, which take no tags"):
        loader_of(root, tags="tags.csv")


def test_mixed_sizes(tmp_path: Path) -> None:
    """The published preprocessing takes any size; as they are, they make no batch."""
    write_image(tmp_path / "a.png", 21, 10)
    write_image(tmp_path / "b.png", 9, 30)
    (batch,) = take(loader_of(tmp_path, serial=True), 1)
    assert batch.images.shape == (2, 3, 8, 8)
    with pytest.raises(UserError, match=r"a\.png is .* and b\.png .* must be of one size"):
        take(loader_of(tmp_path, preprocess="none"), 1)


def test_published_preprocessing(tmp_path: Path) -> None:
    """Shorter side to the image size, bilinear, then the middle; torchvision's own numbers."""
    transforms = pytest.importorskip("torchvision.transforms.v2")
    path = write_image(tmp_path / "a.png", 23, 13)
    for augment in (True, False):
        (batch,) = take(loader_of(tmp_path, augment=augment), 1)
        published = transforms.Compose([transforms.Resize(8), transforms.CenterCrop(8)])
        expected = np.asarray(published(Image.open(path))).transpose(2, 0, 1)
        assert np.array_equal(batch.images[0].numpy(), expected)


def test_flips_are_drawn_where_asked_for(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 8, 8)
    plain = take(loader_of(tmp_path, preprocess="crop"), 1)[0].images[0]
    seen = torch.cat([batch.images for batch in take(loader_of(tmp_path, flip=True), 20)])
    mirrored = [torch.equal(image, plain.flip(2)) for image in seen]
    assert 8 <= sum(mirrored) <= 32
    assert all(torch.equal(image, plain) for image, m in zip(seen, mirrored, strict=True) if not m)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resuming_gives_the_batches_that_would_have_followed(
    tmp_path: Path, num_workers: int
) -> None:
    for number in range(5):
        write_image(tmp_path / f"{number}.png", 8, 8, seed=number)
    whole = take(loader_of(tmp_path, flip=True), 7)
    first = loader_of(tmp_path, flip=True)
    take(first, 4)
    second = loader_of(tmp_path, flip=True, num_workers=num_workers)
    second.load_state_dict(first.state_dict())
    for one, other in zip(whole[4:], take(second, 3), strict=True):
        assert one.names == other.names and torch.equal(one.images, other.images)
    second.close()


def test_unreadable_images(tmp_path: Path) -> None:
    root = write_tagged(tmp_path, GOOD_TAGS)
    (root / "images" / "1.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"1\.png: not an image"):
        take(loader_of(root), 2)
    for batch in take(loader_of(root, tags="tags.csv", on_error="skip"), 6):
        said = {0: "blue hair red eyes", 100: "green hair blue eyes"}
        assert batch.captions == tuple(said[int(image[0, 0, 0])] for image in batch.images)


def test_fixed_samples_are_spread_over_the_training_images(tmp_path: Path) -> None:
    root = write_tagged(tmp_path, GOOD_TAGS)
    batch = fixed_batch(
        options(root, tags="tags.csv"), layout="single", channels=(3,), num_images=2
    )
    assert isinstance(batch, SampleBatch)
    assert [Path(name).stem for name in batch.names] == ["0", "1"]
    assert batch.captions == ("blue hair red eyes", "red hair blue eyes")
    moved = batch.to(torch.device("cpu"), channels_last=True)
    assert torch.equal(moved.images, to_float(batch.images))
    assert moved.images.is_contiguous(memory_format=torch.channels_last)
    assert moved.columns()["images"][1] == batch.names
