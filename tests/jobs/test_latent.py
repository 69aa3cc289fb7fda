"""What `scripts/latent.py` writes, with a generator too small to draw anything nice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from core.config import validate
from core.errors import UserError
from core.family import to_float
from core.inference.latent import read_noise
from core.inference.sampler import Sampler
from core.jobs import latent as tools
from core.procedural.faces import draw_face, render_face
from core.procedural.latent_attributes import write_attribute
from core.procedural.sets import make_faces
from core.text import Vocabulary
from wgan.family import WGAN

WORDS = {"hair": ("blue", "red"), "eyes": ("green", "pink")}
TEXT = "blue hair green eyes"


def sampler(**changes: Any) -> Sampler:
    torch.manual_seed(0)
    tree: dict[str, Any] = {
        "family": "wgan",
        "data": {"root": "nowhere", "load_size": 32, "crop_size": 32},
        "model": {"nz": 5, "ngf": 4, "ndf": 4},
    }
    for section, values in changes.items():
        tree[section] |= values
    return Sampler(WGAN.build(validate(WGAN.Config, tree)), torch.device("cpu"))


def talking() -> Sampler:
    return sampler(data={"tags": "tags.csv"}, model={"text": {"vocabulary": WORDS}})


def test_samples_come_with_the_noise_that_made_them(tmp_path: Path) -> None:
    draw = sampler()
    tools.write_samples(draw, tmp_path, 3, 7, ())
    noise = torch.stack([read_noise(tmp_path / f"000{i}.npy", 5) for i in range(3)])
    images = draw(noise)
    for index, image in enumerate(images):
        with Image.open(tmp_path / f"000{index}.png") as picture:
            saved = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)
        assert float((to_float(saved) - image).abs().max()) <= 1 / 255 + 1e-6
    with Image.open(tmp_path / "grid.png") as grid, Image.open(tmp_path / "0000.png") as one:
        assert grid.width == 2 * one.width + 3 * 2, "as square as can be"
        assert grid.height > 2 * (one.height + 10), "with a number under each"
    tools.write_samples(sampler(), tmp_path / "again", 3, 7, ())
    for file in ("0002.npy", "grid.png"):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / file).read_bytes()
    tools.write_samples(draw, tmp_path / "other", 3, 8, ())
    with pytest.raises(UserError, match=r"0000\.npy: noise of earlier samples"):
        tools.write_samples(draw, tmp_path / "other", 2, 9, ())
    assert (tmp_path / "other" / "0002.npy").read_bytes() != (tmp_path / "0002.npy").read_bytes()


def test_arithmetic_of_means(tmp_path: Path) -> None:
    draw = sampler()
    tools.write_samples(draw, tmp_path, 5, 0, ())
    z = [tmp_path / f"000{i}.npy" for i in range(5)]
    picture = tools.write_arithmetic(draw, tmp_path, (z[:2], z[2:3], z[3:]), ())
    a, b, c, d, e = (read_noise(file, 5) for file in z)
    torch.testing.assert_close(
        read_noise(tmp_path / "result.npy", 5), (a + b) / 2 - c + (d + e) / 2
    )
    with Image.open(picture) as image:
        assert image.width > 4 * 32


def test_strips_and_gifs(tmp_path: Path) -> None:
    draw = sampler()
    points = tools.read_points(draw, [], 3, 0)
    files = tools.write_path(draw, tmp_path, points, ["linear", "spherical"], (), frames=4)
    names = ["linear.png", "linear.gif", "spherical.png", "spherical.gif"]
    assert [file.name for file in files] == names
    with Image.open(tmp_path / "linear.gif") as gif:
        assert gif.n_frames == 7  # two legs of four that share a point
        assert gif.info["loop"] == 0
    assert (tmp_path / "linear.png").read_bytes() != (tmp_path / "spherical.png").read_bytes()


def drawn(draw: Sampler, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor | None]]:
    """What passes through the sampler from now on."""
    seen = []
    original = draw.draw

    def watched(noise: Tensor, conditions: Tensor | None = None) -> Tensor:
        seen.append((noise, conditions))
        return original(noise, conditions)

    monkeypatch.setattr(draw, "draw", watched)
    return seen


def test_a_walk_is_closed_and_repeats_no_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = sampler()
    seen = drawn(draw, monkeypatch)
    points = tools.read_points(draw, [], 3, 0)
    tools.write_path(draw, tmp_path, points, ["spherical"], (), frames=5, closed=True)
    ((tour, _),) = seen
    assert len(tour) == 12
    torch.testing.assert_close(tour[::4], points)
    steps = (tour - tour.roll(1, 0)).norm(dim=1)
    assert float(steps.min()) > 0.05
    assert float(steps[0]) < float((points[0] - points[2]).norm()) / 2


def test_along_a_path_conditions_change_evenly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = talking()
    seen = drawn(draw, monkeypatch)
    points = tools.read_points(draw, [], 2, 0)
    texts = [TEXT, "red hair green eyes"]
    tools.write_path(draw, tmp_path, points, ["linear"], texts, frames=3)
    first, last = Vocabulary(WORDS).encode(texts)
    assert seen[0][1] is not None
    torch.testing.assert_close(seen[0][1], torch.stack([first, (first + last) / 2, last]))


def test_captions_are_asked_for_and_refused(tmp_path: Path) -> None:
    points = tools.read_points(talking(), [], 3, 0)
    tools.write_samples(talking(), tmp_path, 2, 0, [TEXT])
    with pytest.raises(UserError, match="0 captions"):
        tools.write_samples(talking(), tmp_path, 2, 0, ())
    with pytest.raises(UserError, match="given 2 times"):
        tools.write_samples(talking(), tmp_path, 2, 0, [TEXT, TEXT])
    with pytest.raises(UserError, match=r"2 captions: .* once, or for each of 3;"):
        tools.write_path(talking(), tmp_path, points, ["linear"], [TEXT, TEXT], frames=3)
    with pytest.raises(UserError, match="trained without captions"):
        tools.write_samples(sampler(), tmp_path, 2, 0, [TEXT])
    with pytest.raises(UserError, match="unknown word"):
        tools.write_samples(talking(), tmp_path, 2, 0, ["green hair pink eyes"])


def test_numbers_that_make_no_sense(tmp_path: Path) -> None:
    draw = sampler()
    with pytest.raises(UserError, match="--num 0"):
        tools.write_samples(draw, tmp_path, 0, 0, ())
    with pytest.raises(UserError, match="two points, got 1"):
        tools.write_path(draw, tmp_path, torch.zeros(1, 5), ["linear"], (), frames=3)
    with pytest.raises(UserError, match="--frames 1"):
        tools.write_path(draw, tmp_path, torch.zeros(2, 5), ["linear"], (), frames=1)
    np.save(tmp_path / "z.npy", np.zeros(4))
    with pytest.raises(UserError, match=r"z.npy: shape \[4\].* \[5\]"):
        tools.read_points(draw, [tmp_path / "z.npy"], 1, 0)


def test_nearest_compares_with_every_training_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_faces(tmp_path / "faces", size=32, num_images=7)
    draw = sampler()
    copies = [render_face(draw_face((0, index)), 32) for index in (6, 0)]
    images = to_float(torch.from_numpy(np.stack(copies)).permute(0, 3, 1, 2))
    monkeypatch.setattr(draw, "draw", lambda *_: images)
    found = tools.write_nearest(draw, tmp_path, torch.zeros(2, 5), (), str(tmp_path / "faces"))
    assert [one.distance for one in found] == pytest.approx([0, 0], abs=1e-3)
    assert [Path(one.name).stem for one in found] == ["6", "0"]
    assert len(json.loads((tmp_path / "nearest.json").read_text())) == 2
    assert (tmp_path / "nearest.png").exists()


class FaceSampler:
    """Draws true faces: a mask where the first noise is high, else a bare face of its number."""

    def __init__(self) -> None:
        self.family = sampler().family

    def __call__(self, noise: Tensor, captions: Sequence[str] = ()) -> Tensor:
        pictures = []
        for vector in noise:
            wanted = bool(vector[0] > 0.67)
            seed = next(s for s in range(50) if draw_face(s).mask is wanted)
            pictures.append(render_face(draw_face(seed), 32))
        return to_float(torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2))


def test_an_attribute_is_found_added_and_counted(tmp_path: Path) -> None:
    faces: Any = FaceSampler()
    shown, num = write_attribute(faces, tmp_path, "mask", 20, 0, 1.0)
    assert num == 20
    assert 14 <= shown <= 20
    direction = read_noise(tmp_path / "direction.npy", 5)
    assert float(direction[0]) > 1.3
    assert float(direction[1:].abs().max()) < 0.5
    none, _ = write_attribute(faces, tmp_path, "mask", 20, 0, 0.0)
    assert none == 0


def test_an_attribute_of_a_model_with_captions(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give --text once"):
        write_attribute(talking(), tmp_path, "mask", 20, 0, 1.0)
    with pytest.raises(UserError, match="nothing to tell it by"):
        write_attribute(talking(), tmp_path, "mask", 20, 0, 1.0, ["blue hair pink eyes"])


def test_an_attribute_that_no_sample_shows(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to tell it by"):
        write_attribute(sampler(), tmp_path, "mask", 20, 0, 1.0)
