from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import Resize

from core.data.transforms import CropFlip, crop_side, for_testing, resize, resized_size
from core.options import DataOptions


def options(preprocess: str, load_size: int = 286, crop_size: int = 256) -> DataOptions:
    return DataOptions.model_validate(
        {"root": "x", "preprocess": preprocess, "load_size": load_size, "crop_size": crop_size}
    )


@pytest.mark.parametrize(
    ("data", "size", "expected"),
    [
        (options("resize_and_crop", 72, 64), (110, 90), (72, 72)),
        (options("resize_and_crop"), (1, 1), (286, 286)),
        (options("crop", 72, 40), (110, 90), (110, 90)),
        (options("scale_width", 50, 48), (110, 90), (50, 48)),
        (options("scale_width", 50, 20), (110, 91), (50, 41)),  # 41.36 is cut
        (options("scale_width", 110, 90), (110, 90), (110, 90)),
        (options("scale_width", 110, 95), (110, 90), (110, 95)),
        (options("scale_width_and_crop", 55, 20), (110, 90), (55, 45)),
        (options("scale_shorter_and_crop", 50, 48), (110, 91), (60, 50)),  # 60.4 is cut
        (options("scale_shorter_and_crop", 50, 48), (91, 110), (50, 60)),
        (options("scale_shorter_and_crop", 50, 48), (50, 77), (50, 77)),
        (options("none"), (110, 90), (112, 88)),  # 27.5 and 22.5: halves go to even
        (options("none"), (1, 2), (4, 4)),
    ],
)
def test_sizes_follow_the_published_rules(
    data: DataOptions, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert resized_size(*size, data) == expected


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_resize_is_pillows_bicubic(channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 11, channels), dtype=np.uint8)
    if channels == 4:
        image[..., 3] = 255  # else Pillow weighs colours by their alpha
    resized = resize(image, options("resize_and_crop", 16, 16))
    for channel in range(channels):
        plane = Image.fromarray(image[..., channel]).resize((16, 16), Image.Resampling.BICUBIC)
        np.testing.assert_array_equal(resized[..., channel], np.asarray(plane))


@pytest.mark.parametrize("size", [(40, 31), (31, 40), (16, 29), (7, 5), (30, 30)])
def test_scaling_the_shorter_side_is_torchvisions(size: tuple[int, int]) -> None:
    width, height = size
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    published = np.asarray(Resize(16)(Image.fromarray(image)))
    np.testing.assert_array_equal(
        resize(image, options("scale_shorter_and_crop", 16, 16)), published
    )


def test_an_image_of_the_right_size_is_passed_through() -> None:
    image = np.zeros((8, 8, 3), dtype=np.uint8)
    assert resize(image, options("resize_and_crop", 8, 8)) is image


def test_only_cropping_modes_crop() -> None:
    assert crop_side(options("scale_width")) is None
    assert crop_side(options("none")) is None
    assert crop_side(options("scale_width_and_crop", 300, 200)) == 200


def test_testing_loads_at_the_crop_size_without_mirroring() -> None:
    data = for_testing(options("resize_and_crop"))
    assert (data.load_size, data.crop_size, data.flip) == (256, 256, False)


def test_crop_positions_include_both_ends_and_flips_are_fair() -> None:
    rng = np.random.default_rng(0)
    drawn = [CropFlip.draw(rng, 10, 12, 8, flip=True) for _ in range(2000)]
    counts_x = np.bincount([one.x for one in drawn])
    counts_y = np.bincount([one.y for one in drawn])
    assert len(counts_x) == 5 and len(counts_y) == 3
    assert counts_x.min() > 2000 / 5 * 0.8 and counts_y.min() > 2000 / 3 * 0.8
    assert np.mean([one.flip for one in drawn]) == pytest.approx(0.5, abs=0.05)


@given(
    seed=st.integers(0, 1000),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    side=st.integers(1, 50),
    flip=st.booleans(),
)
def test_crops_are_the_published_ones(
    seed: int, height: int, width: int, side: int, flip: bool
) -> None:
    image = np.arange(height * width, dtype=np.int64).astype(np.uint8).reshape(1, height, width)
    for chosen in (
        CropFlip.draw(np.random.default_rng(seed), height, width, side, flip=flip),
        CropFlip.centred(height, width, side),
    ):
        assert 0 <= chosen.x <= max(0, width - side) and 0 <= chosen.y <= max(0, height - side)
        view = chosen.apply(image)
        if min(height, width) < side < max(height, width):  # Pillow's crop pads with black
            picture = Image.fromarray(image[0])
            published = picture.crop((chosen.x, chosen.y, chosen.x + side, chosen.y + side))
            assert np.array_equal(view[0, :, :: -1 if chosen.flip else 1], np.asarray(published))
        else:
            assert view.shape == (1, min(side, height), min(side, width))
            assert np.shares_memory(view, image)
        assert not chosen.flip or flip


def test_the_number_of_draws_does_not_depend_on_the_options() -> None:
    after = []
    for side, flip in ((None, False), (8, True), (12, False)):
        rng = np.random.default_rng(5)
        CropFlip.draw(rng, 12, 12, side, flip=flip)
        after.append(rng.random())
    assert after[0] == after[1] == after[2]
