"""The student of VGG-16 that the project carries: sizes, order of pictures, distances, release."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import spearmanr
from torch import Tensor

from core.nn.student import LAYERS, WEIGHTS, VGGStudent, perceptual_distance
from core.nn.vgg import VGG
from core.procedural.paintings import KINDS, draw_painting
from core.procedural.scene import draw_scene
from core.procedural.seasons import render
from style.losses import gram_matrices

STYLE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
RECORDED = Path(__file__).with_name("vgg16_distances.json")
"""Distances of `pictures()` by the original Caffe VGG-16: style summed over `STYLE`, and content at
relu4_2, as neural style has them; of pairs in the order of `torch.triu_indices`."""


def pictures() -> Tensor:
    """Procedural pictures [10, 3, 128, 128] in [-1, 1], with seeds that it was not trained on."""
    drawn = [draw_painting(kind, 128, seed=7) for kind in KINDS]
    for seed in (901, 902, 903):
        scene = draw_scene(seed)
        drawn += [render(scene, "summer", 128), render(scene, "winter", 128)]
    stacked = torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2)
    return stacked.float() / 127.5 - 1


def distances(features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Mean squared differences of Gram matrices, summed over layers, and of content, by pair."""
    num = len(features["relu4_2"])
    pairs = torch.triu_indices(num, num, 1).unbind()
    grams = gram_matrices({name: features[name] for name in STYLE})

    def differences(x: Tensor) -> Tensor:
        a, b = (x[rows].flatten(1) for rows in pairs)
        return (a - b).square().mean(1)

    return sum((differences(gram) for gram in grams.values()), torch.zeros(())), differences(
        features["relu4_2"]
    )


def test_orders_pictures_as_vgg_does() -> None:
    recorded = json.loads(RECORDED.read_text())
    names = [layer.name for layer in LAYERS]
    style, content = distances(VGGStudent.load()(pictures(), names))
    assert spearmanr(style, recorded["style"])[0] > 0.95
    assert spearmanr(content, recorded["content"])[0] > 0.9
    # On VGG's scale, so that loss weights carry over; of content the axes hold a part.
    assert 0.7 < style.sum() / sum(recorded["style"]) < 1.2
    assert 0.3 < content.sum() / sum(recorded["content"]) < 1


@pytest.mark.parametrize("size", [(16, 16), (37, 58)])
def test_sizes_are_those_of_vgg(size: tuple[int, int]) -> None:
    x, names = torch.rand(1, 3, *size), [layer.name for layer in LAYERS]
    theirs = VGG(16, names[-1], widths=(1, 1, 1, 1, 1))(x, names)
    student = VGGStudent.load().train()
    ours = student(x, names)
    for layer in LAYERS:
        assert ours[layer.name].shape == (1, layer.axes, *theirs[layer.name].shape[2:])
    assert not any(parameter.requires_grad for parameter in student.parameters())
    shallow = VGGStudent.load("relu3_1")
    torch.testing.assert_close(shallow(x, ["relu2_1"])["relu2_1"], ours["relu2_1"])


def test_distance_of_the_same_of_noise_and_of_another() -> None:
    student, images = VGGStudent.load(), pictures()
    noise = 0.1 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    same, noisy, other = (
        perceptual_distance(student, images, others)
        for others in (images, images + noise, images.roll(1, 0))
    )
    assert same.abs().max() < 1e-6
    assert (noisy > 0).all() and (noisy < other).all()


def test_file_is_small_and_half() -> None:
    assert WEIGHTS.stat().st_size <= 2_000_000
    assert {value.dtype for value in load_file(WEIGHTS).values()} == {torch.float16}
