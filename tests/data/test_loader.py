from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from core.data.loader import Loader, build_loader, fixed_batch
from core.errors import UserError
from core.family import ImageBatch
from core.options import DataOptions
from tests.data.image_files import write_image, write_plain, write_unpaired


def options(root: Path, **values: object) -> DataOptions:
    defaults: dict[str, object] = {"load_size": 8, "crop_size": 6, "num_workers": 0}
    return DataOptions.model_validate({"root": str(root), **defaults, **values})


def loader_of(root: Path, batch_size: int = 2, **values: Any) -> Loader:
    """A loader; names of DataOptions but `augment` go there, the rest to `build_loader`."""
    fields = DataOptions.model_fields.keys() - {"augment"}
    data = {key: values.pop(key) for key in list(values) if key in fields}
    call = {"layout": "unpaired", "split": "train", "channels": (3, 3), "seed": 1}
    return build_loader(options(root, **data), batch_size=batch_size, **{**call, **values})


def take(loader: Loader, count: int) -> list[ImageBatch]:
    return list(itertools.islice(loader, count))


def assert_equal(ours: list[ImageBatch], theirs: list[ImageBatch]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.names_a == other.names_a and one.names_b == other.names_b
        assert torch.equal(one.a, other.a) and torch.equal(one.b, other.b)


@pytest.fixture(scope="module")
def noise_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """5 noisy images of A and 7 of B; in `pairs/` 4 side-by-side pairs."""
    root = tmp_path_factory.mktemp("noise")
    for i in range(5):
        write_image(root / "trainA" / f"{i}.png", 12, 10, seed=i)
    for i in range(7):
        write_image(root / "trainB" / f"{i}.png", 9, 14, seed=10 + i)
    for i in range(4):
        write_image(root / "pairs" / "train" / f"{i}.png", 24, 10, seed=20 + i)
    return root


def test_batches_know_their_place(noise_root: Path) -> None:
    places = [batch.place for batch in take(loader_of(noise_root, batch_size=3), 4)]
    assert places == [(0, 3), (1, 3), (2, 3), (0, 3)]


def test_a_batch_is_uint8_nchw_with_names(noise_root: Path) -> None:
    batch = next(loader_of(noise_root, channels=(1, 4), batch_size=3))
    assert batch.a.shape == (3, 1, 6, 6) and batch.b.shape == (3, 4, 6, 6)
    assert batch.a.dtype == batch.b.dtype == torch.uint8
    assert batch.a.is_contiguous()
    assert all((noise_root / name).is_file() for name in batch.names_a + batch.names_b)


def test_an_unpaired_epoch_is_as_long_as_the_larger_domain(tmp_path: Path) -> None:
    loader = loader_of(write_unpaired(tmp_path, 3, 7), batch_size=1)
    assert loader.batches_per_epoch == 7
    epochs = [take(loader, 7) for _ in range(20)]
    for epoch in epochs:  # every number from 0 to 6 once, modulo 3
        assert sorted(batch.names_a[0] for batch in epoch) == [
            f"trainA/{i % 3:02d}.png" for i in sorted(range(7), key=lambda i: i % 3)
        ]
    names_b = {tuple(batch.names_b[0] for batch in epoch) for epoch in epochs}
    assert len(names_b) == 20
    assert len({name for epoch in names_b for name in epoch}) == 7


@pytest.mark.parametrize("values", [{"serial": True}, {"shuffle": False}])
def test_serial_takes_both_domains_in_order(tmp_path: Path, values: dict[str, bool]) -> None:
    loader = loader_of(write_unpaired(tmp_path, 2, 3), batch_size=1, **values)
    names = [batch.names_a + batch.names_b for batch in take(loader, 3)]
    assert names == [(f"trainA/{i % 2:02d}.png", f"trainB/{i:02d}.png") for i in range(3)]


def test_each_unpaired_image_draws_its_own_crop_but_pairs_share_it(tmp_path: Path) -> None:
    ramp = np.arange(64, dtype=np.uint8).reshape(8, 8)
    for name in ("A/0.png", "B/0.png", "trainA/0.png", "trainB/0.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(ramp).save(tmp_path / name)
    unpaired = loader_of(tmp_path, batch_size=1, channels=(1, 1))
    same = [torch.equal(batch.a, batch.b) for batch in take(unpaired, 40)]
    assert sum(same) < 15
    for name in ("trainA", "trainB"):
        (tmp_path / name / "0.png").unlink()
        (tmp_path / name).rmdir()
    paired = loader_of(tmp_path, batch_size=1, layout="paired", channels=(1, 1))
    batches = take(paired, 40)
    assert all(torch.equal(batch.a, batch.b) for batch in batches)
    assert len({batch.a.numpy().tobytes() for batch in batches}) > 9


def test_side_by_side_pairs_are_split(tmp_path: Path) -> None:
    write_plain(tmp_path / "train" / "x.png", 10, width=12)
    with Image.open(tmp_path / "train" / "x.png") as image:
        image.paste((200, 200, 200), (6, 0, 12, 10))
        image.save(tmp_path / "train" / "x.png")
    batch = next(loader_of(tmp_path, batch_size=1, layout="paired"))
    assert (batch.a == 10).all() and (batch.b == 200).all()
    batch = next(loader_of(tmp_path, batch_size=1, layout="paired", direction="BtoA"))
    assert (batch.a == 200).all() and (batch.b == 10).all()


def test_direction_swaps_and_the_channels_are_the_models(noise_root: Path) -> None:
    batch = next(loader_of(noise_root, direction="BtoA", channels=(1, 3)))
    assert batch.names_a[0].startswith("trainB/") and batch.names_b[0].startswith("trainA/")
    assert batch.a.shape[1] == 1 and batch.b.shape[1] == 3


def test_without_augmentation_images_are_only_resized(noise_root: Path) -> None:
    loader = loader_of(noise_root, augment=False, shuffle=False, batch_size=5)
    assert loader.batches_per_epoch == 2
    first = take(loader, 2)
    assert first[0].a.shape[-2:] == (6, 6)
    again = take(loader, 2)
    assert_equal(first, again)


@pytest.mark.parametrize("cache", ["none", "ram", "disk"])
@pytest.mark.parametrize("layout", ["unpaired", "paired"])
def test_caches_do_not_change_a_batch(
    noise_root: Path, tmp_path: Path, cache: str, layout: str
) -> None:
    root = noise_root / "pairs" if layout == "paired" else noise_root
    plain = take(loader_of(root, layout=layout), 5)
    values = {"cache": cache, "cache_dir": str(tmp_path)}
    assert_equal(take(loader_of(root, layout=layout, **values), 5), plain)


@settings(max_examples=25, deadline=None)
@given(
    batch_size=st.integers(1, 4),
    stop=st.integers(0, 12),
    layout=st.sampled_from(["unpaired", "paired"]),
    seed=st.integers(0, 2**40),
)
def test_resuming_anywhere_gives_the_same_batches(
    noise_root: Path, batch_size: int, stop: int, layout: str, seed: int
) -> None:
    root = noise_root / "pairs" if layout == "paired" else noise_root
    values = {"batch_size": batch_size, "layout": layout}
    uninterrupted = loader_of(root, seed=seed, **values)
    take(uninterrupted, stop)
    resumed = loader_of(root, seed=0, **values)
    take(resumed, 1)
    resumed.load_state_dict(uninterrupted.state_dict())
    assert resumed.epoch == uninterrupted.epoch == stop // uninterrupted.batches_per_epoch
    assert_equal(take(resumed, 4), take(uninterrupted, 4))
    assert resumed.state_dict() == uninterrupted.state_dict()


def test_processes_see_the_batches_of_one_twice_as_large(noise_root: Path) -> None:
    one = take(loader_of(noise_root, batch_size=4), 5)
    parts = [
        take(loader_of(noise_root, batch_size=2, rank=rank, world_size=2), 5) for rank in (0, 1)
    ]
    for whole, *shares in zip(one, *parts, strict=True):
        assert torch.equal(whole.a, torch.cat([share.a for share in shares]))
        assert torch.equal(whole.b, torch.cat([share.b for share in shares]))


def test_delivered_batches_count_not_those_read_ahead(noise_root: Path) -> None:
    reference = loader_of(noise_root)
    take(reference, 3)
    expected = take(reference, 4)
    ahead = loader_of(noise_root, num_workers=2)
    take(ahead, 3)
    state = ahead.state_dict()
    assert (state["epoch"], state["batch"]) == (0, 3)
    assert_equal(take(ahead, 4), expected)
    ahead.load_state_dict(state)
    assert_equal(take(ahead, 4), expected)
    ahead.close()
    alone = loader_of(noise_root, num_workers=1, cache="ram")
    alone.load_state_dict(state)
    assert_equal(take(alone, 4), expected)
    alone.close()


def test_loading_leaves_the_global_random_numbers_alone(noise_root: Path) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    take(loader_of(noise_root), 2)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


def test_a_changed_data_set_or_batch_is_refused(tmp_path: Path) -> None:
    state = loader_of(write_unpaired(tmp_path, 3, 5)).state_dict()
    with pytest.raises(
        UserError,
        match=r"train\.batch_size and train\.accumulate: .* 2 images .* 8 \(4 in each of 2",
    ):
        loader_of(tmp_path, batch_size=4, world_size=2).load_state_dict(state)
    loader_of(tmp_path, batch_size=1, world_size=2).load_state_dict(state)
    write_plain(tmp_path / "trainA" / "new.png", 1)
    with pytest.raises(UserError, match=r"had \[3, 5\] images .* has \[4, 5\] now"):
        loader_of(tmp_path).load_state_dict(state)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_unreadable_file_is_one_line_from_any_process(tmp_path: Path, num_workers: int) -> None:
    write_unpaired(tmp_path, 3, 3)
    (tmp_path / "trainA" / "01.png").write_bytes(b"")
    loader = loader_of(tmp_path, batch_size=1, serial=True, num_workers=num_workers)
    next(loader)
    for _ in range(2):  # a second try meets the same file, not the batch after it
        with pytest.raises(UserError, match=r"^\S*01\.png: the file is empty \(0 bytes\)"):
            next(loader)
    assert loader.state_dict()["batch"] == 1


@pytest.mark.parametrize("values", [{"num_workers": 0}, {"num_workers": 2}, {"cache": "ram"}])
def test_skipping_takes_the_next_readable_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, values: dict[str, object]
) -> None:
    write_unpaired(tmp_path, 4, 4)
    for name in ("01", "02"):
        (tmp_path / "trainA" / f"{name}.png").write_bytes(b"")
    loader = loader_of(tmp_path, batch_size=1, serial=True, on_error="skip", **values)
    with caplog.at_level(logging.WARNING):
        names = [batch.names_a[0][-6:-4] for batch in take(loader, 8)]
    loader.close()
    assert names == ["00", "03", "03", "03"] * 2
    assert len(caplog.messages) == 2
    assert "01.png: the file is empty" in caplog.messages[0]


def test_skipping_everything_is_refused(tmp_path: Path) -> None:
    write_unpaired(tmp_path, 2, 1)
    for path in (tmp_path / "trainA").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"none of the 2 images can be read.*00\.png|01\.png"):
        next(loader_of(tmp_path, on_error="skip"))


def test_differing_sizes_in_a_batch_are_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "trainA" / "0.png", 12, 10)
    write_image(tmp_path / "trainA" / "1.png", 5, 4)
    write_image(tmp_path / "trainB" / "0.png", 12, 10)
    with pytest.raises(UserError, match=r"6 x 6 .*5 x 4 .*resize_and_crop or train\.batch_size: 1"):
        next(loader_of(tmp_path, preprocess="crop", serial=True))
    sizes = {tuple(b.a.shape[-2:]) for b in take(loader_of(tmp_path, 1, preprocess="crop"), 2)}
    assert sizes == {(6, 6), (4, 5)}


def test_a_pair_of_differing_sizes_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "train" / "0.png", 13, 4)  # 6 and 7 wide
    with pytest.raises(UserError, match=r"a pair have different sizes, 6 x 4 and 7 x 4"):
        next(loader_of(tmp_path, 1, layout="paired", preprocess="crop", crop_size=9))


def test_one_pixel_is_an_image(tmp_path: Path) -> None:
    for name in ("trainA", "trainB"):
        write_image(tmp_path / name / "0.png", 1, 1)
    assert next(loader_of(tmp_path)).a.shape == (2, 3, 6, 6)


def test_nothing_to_crop_from_is_refused(noise_root: Path) -> None:
    with pytest.raises(UserError, match=r"data\.load_size = 8 is smaller than data\.crop_size = 9"):
        loader_of(noise_root, crop_size=9)


def test_fixed_images_are_spread_over_the_test_split(tmp_path: Path) -> None:
    write_unpaired(tmp_path, 3, 3)
    data = options(tmp_path, num_workers=2, cache="disk")
    call = {"layout": "unpaired", "channels": (3, 1)}
    assert fixed_batch(data, num_images=5, **call).names_a == tuple(
        f"trainA/{i:02d}.png" for i in range(3)
    )
    write_unpaired(tmp_path, 8, 4, split="test")
    batch = fixed_batch(data, num_images=4, **call)
    assert batch.names_a == tuple(f"testA/{i:02d}.png" for i in (0, 2, 4, 6))
    assert batch.names_b == tuple(f"testB/{i:02d}.png" for i in range(4))
    assert batch.a.shape == (4, 3, 6, 6) and batch.b.shape == (4, 1, 6, 6)
    assert_equal([fixed_batch(data, num_images=4, **call)], [batch])
    swapped = fixed_batch(options(tmp_path, direction="BtoA"), num_images=4, **call)
    assert swapped.names_a == batch.names_b and swapped.a.shape[1] == 3
    assert not (tmp_path / ".image_cache").exists()


def test_fixed_images_of_differing_sizes_are_cut_to_the_smallest(tmp_path: Path) -> None:
    for i, (width, height) in enumerate([(12, 16), (20, 8)]):
        for name in ("A", "B"):
            write_image(tmp_path / name / f"{i}.png", width, height)
    batch = fixed_batch(
        options(tmp_path, preprocess="none"),
        layout="paired", channels=(3, 3), num_images=2,
    )  # fmt: skip
    assert batch.a.shape == batch.b.shape == (2, 3, 8, 12)


SURVIVES_SIGNALS = """
import os, signal, sys, time
from core.data.loader import build_loader
from core.options import DataOptions

data = DataOptions(root=sys.argv[1], load_size=8, crop_size=6, num_workers=2)
loader = build_loader(data, layout="unpaired", split="train", channels=(3, 3),
                      batch_size=1, seed=0)
next(loader)
signal.signal(signal.SIGINT, lambda *_: print("interrupted"))
signal.signal(signal.SIGTERM, lambda *_: print("terminated"))
for name in (signal.SIGINT, signal.SIGTERM):
    os.killpg(0, name)
    time.sleep(0.2)
for _ in range(20):
    next(loader)
kept = loader._deliveries  # as the trace of an uncaught exception would
print("alive", flush=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no process groups")
def test_workers_outlive_signals_and_let_the_process_end(noise_root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SURVIVES_SIGNALS, str(noise_root)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        start_new_session=True, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["interrupted", "terminated", "alive"], done.stderr
