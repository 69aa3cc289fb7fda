"""The photo stylizer as a user meets it: any images, any masks, clear errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from core.config import load_config
from core.errors import UserError
from core.stylizer import Look
from families import FAMILIES, STYLIZERS
from style.labels import LabelMap, read_labels
from style.photo import official
from style.photo.cascade import PhotoWCT
from style.photo.config import PhotoConfig
from style.photo.labels import Regions
from style.photo.stylizer import PhotoStylizer
from tests.conftest import ROOT, SHARED

CPU = torch.device("cpu")
CONFIGS = sorted((ROOT / "configs" / "style").glob("photo*.yaml"))
CONFIGS.remove(ROOT / "configs" / "style" / "photowct_decoders.yaml")


def stylizer(**options: object) -> PhotoStylizer:
    defaults = {"encoder": "wavelet", "crop_border": False, "post": False, "smoothing": "none"}
    return PhotoStylizer.build(PhotoConfig.model_validate(defaults | options), CPU)


def photo(width: int = 40, height: int = 32, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """Blurred noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image.convert(mode)


def label_map(width: int = 40, height: int = 32) -> Image.Image:
    labels = np.zeros((height, width), np.uint8)
    labels[:, width // 2 :] = 1
    return Image.fromarray(labels)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configs_load_and_state_no_default(path: Path) -> None:
    config = load_config(path, {**FAMILIES, **STYLIZERS})
    assert config.name == f"style/{path.stem}"
    for name, stated in yaml.safe_load(path.read_text()).items():
        if isinstance(stated, dict):
            plain = type(getattr(config, name))()
            assert not [key for key in stated if stated[key] == getattr(plain, key)], name
        elif name != "family":
            assert stated != type(config).model_fields[name].default, f"{name} repeats its default"


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("style_size", [(21, 90), (200, 120)])
@pytest.mark.parametrize("size", [(40, 32), (41, 35), (16, 77)])
def test_any_size_and_mode(size: tuple[int, int], style_size: tuple[int, int], mode: str) -> None:
    run = stylizer(smoothing="guided")
    result = run.stylize(photo(*size, mode=mode), [photo(*style_size, seed=1, mode=mode)])
    assert result.size == size
    assert result.mode == "RGB"


def test_every_smoothing_and_the_published_border() -> None:
    content, style = photo(), photo(50, 30, seed=1)
    for options, size in (
        ({"smoothing": "matting", "post": True}, (40, 32)),
        ({"smoothing": "matting", "post": True, "crop_border": True}, (36, 28)),
        ({"smoothing": "guided", "post": True, "crop_border": True}, (40, 32)),
    ):
        assert stylizer(**options).stylize(content, [style]).size == size


def test_matting_keeps_a_flat_picture_flat() -> None:
    """As published the border darkens; with the size kept, nothing changes but by truncation."""
    flat = Image.new("RGB", (40, 32), (200, 120, 90))
    run = stylizer(smoothing="matting", matting={"tolerance": 1e-5})
    assert np.abs(np.asarray(run.matting(flat, photo())).astype(int) - [200, 120, 90]).max() <= 1
    published = stylizer(smoothing="matting", crop_border=True).matting(flat, photo())
    assert np.ptp(np.asarray(published)[..., 0]) > 10


def test_the_style_s_colours_come_over() -> None:
    style = photo(64, 48, seed=3)
    result = stylizer().stylize(photo(), [style])
    for statistic in (np.mean, np.std):
        ours = statistic(np.asarray(result).reshape(-1, 3), axis=0)
        theirs = statistic(np.asarray(style).reshape(-1, 3), axis=0)
        assert np.abs(ours - theirs).max() < 12


def test_masks_of_their_own_size() -> None:
    """Class by class, whatever the maps' resolution."""
    run = stylizer()
    content, style = photo(), photo(48, 64, seed=1)
    small = run.stylize(content, [style], content_mask=label_map(), style_masks=[label_map(48, 64)])
    large = run.stylize(
        content, [style], content_mask=label_map(80, 64), style_masks=[label_map(24, 32)]
    )
    assert np.array_equal(np.asarray(small), np.asarray(large))
    assert not np.array_equal(np.asarray(small), np.asarray(run.stylize(content, [style])))


def test_what_has_no_counterpart_keeps_its_colours() -> None:
    content = photo(40, 32)
    only = np.zeros((32, 40), np.uint8)
    only[:, 24:] = 7
    result = stylizer().stylize(
        content, [photo(seed=1)], content_mask=Image.fromarray(only),
        style_masks=[Image.new("L", (40, 32), 0)],
    )  # fmt: skip
    change = np.abs(np.asarray(result).astype(int) - np.asarray(content).astype(int))
    assert change[:, 32:].max() <= 2  # the deepest packets reach 8 px beyond their class
    assert change[:, :24].mean() > 10


@pytest.mark.parametrize("encoder", ["wavelet", "photo_wct", "distilled"])
def test_classes_of_few_pixels(encoder: str, tmp_path: Path) -> None:
    """One pixel is no class and keeps its colour; twelve vanish among the deep features."""
    options: dict[str, object] = {"encoder": encoder}
    if encoder == "photo_wct":
        torch.manual_seed(0)
        torch.save(PhotoWCT().state_dict(), tmp_path / official.FILE)
        options["weights"] = str(tmp_path / official.FILE)
    elif encoder == "distilled":
        if not (SHARED / "weights").is_dir():
            pytest.skip(f"no weights at {SHARED / 'weights'}")
        options["weights"] = str(SHARED / "weights" / "pcakd_vgg.npz")
    maps = []
    for side in (0, 1):
        labels = np.zeros((32, 40), np.uint8)
        labels[20 + side, 30] = 5
        labels[3:6, 4:8] = 6
        maps.append(Image.fromarray(labels))
    content, style = photo(), Image.new("RGB", (40, 32), (250, 10, 10))
    result = stylizer(**options).stylize(
        content, [style], content_mask=maps[0], style_masks=maps[1:]
    )
    assert result.size == content.size
    if encoder == "wavelet":  # whose decoding is exact
        moved = np.asarray(result).astype(int)
        assert np.abs(moved[4, 5] - [250, 10, 10]).max() < 40
        # In its own style a picture stays, whatever its classes.
        kept = stylizer(**options).stylize(
            content, [content], content_mask=maps[0], style_masks=maps[:1]
        )
        assert np.abs(np.asarray(kept).astype(int) - np.asarray(content)).max() <= 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: run.stylize(photo(), [photo(), photo()]), "one style image, not 2"),
        (lambda run: run.stylize(photo(12, 30), [photo()]), "content: 12x30"),
        (lambda run: run.stylize(photo(), [photo(30, 9)]), "style: 30x9"),
        (
            lambda run: run.stylize(photo(), [photo()], content_mask=label_map()),
            "1 of 1 content and 0 of 1 style images",
        ),
        (
            lambda run: run.stylize(photo(), [photo()], style_masks=[label_map()]),
            "0 of 1 content and 1 of 1 style images",
        ),
        (
            lambda run: run.stylize(
                photo(), [photo()], content_mask=label_map(40, 40), style_masks=[label_map()]
            ),
            "content mask: 40x40 pixels is another shape than its image's 40x32",
        ),
    ],
)
def test_bad_input_is_one_clear_error(
    call: Callable[[PhotoStylizer], Image.Image], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        call(stylizer())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "x.pth"}, "wavelet has none"),
        ({"encoder": "distilled"}, "distilled needs a file"),
    ],
)
def test_weights_go_with_their_encoder(options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stylizer(**options)


def test_missing_and_other_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.npz"
    with pytest.raises(UserError, match=r"there is no such file.*photo_wavelet"):
        stylizer(encoder="distilled", weights=str(path))
    path.write_bytes(b"x")
    with pytest.raises(UserError, match=r"SHA-256 is .* instead of 00"):
        stylizer(encoder="distilled", weights=str(path), weights_sha256="00")

    asked = []

    def refuse(url: str, path: Path, *, advice: str) -> None:
        asked.append(path)
        raise UserError(f"{url}: no route; {advice}")

    monkeypatch.setattr("style.photo.stylizer.fetch", refuse)
    missing = tmp_path / "photo_wct.pth"
    with pytest.raises(UserError, match=f"put photo_wct.pth at {missing} yourself"):
        stylizer(encoder="photo_wct", weights=str(missing))
    assert asked == [missing]


def test_released_networks_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(PhotoWCT().state_dict(), tmp_path / official.FILE)
    run = stylizer(encoder="photo_wct", weights=str(tmp_path / official.FILE))
    assert run.stylize(photo(37, 29), [photo(31, 44)]).size == (37, 29)


def test_related_classes(tmp_path: Path) -> None:
    np.save(tmp_path / "rel.npy", np.array([[0, 1, 2], [1, 2, 1], [2, 0, 0]]))
    run = stylizer(relations=str(tmp_path / "rel.npy"))
    ours = LabelMap(read_labels(label_map()))
    theirs = LabelMap(2 * ours.ids)
    regions = run.regions(ours, theirs)
    assert regions.classes == (0, 2), "1 became 2, which the style has"
    assert Regions.of(ours, theirs).classes == (0,)
    with pytest.raises(UserError, match=r"has 3 classes, far.png has id 9"):
        run.regions(LabelMap(9 * ours.ids, "far.png"), theirs)


class Follower:
    """Notes every stage; can say that some are done."""

    def __init__(self, state: tuple[int, Image.Image] | None = None) -> None:
        self.state, self.looks = state, list[tuple[int, int, Look]]()

    def resumed(self) -> tuple[int, Image.Image] | None:
        return self.state

    def advance(self, done: int, total: int, look: Callable[[], Look]) -> None:
        self.looks.append((done, total, look()))


def test_an_interrupted_call_goes_on_after_the_last_stage() -> None:
    run = stylizer(smoothing="guided", post=True)
    content, style = photo(), photo(seed=1)
    whole = Follower()
    expected = run.stylize(content, [style], progress=whole)
    assert [(done, total) for done, total, _ in whole.looks] == [(1, 3), (2, 3), (3, 3)]
    rest = Follower((2, whole.looks[1][2].state))
    assert np.array_equal(run.stylize(content, [style], progress=rest), expected)
    assert [done for done, _, _ in rest.looks] == [3]


def test_large_photos_are_shrunk_as_published() -> None:
    run = stylizer(max_side=48)
    assert run.stylize(photo(120, 60), [photo()]).size == (48, 24)
    assert run.stylize(photo(120, 40), [photo()]).size == (120, 40)
