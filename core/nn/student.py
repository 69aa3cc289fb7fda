"""A small network that sees pictures as VGG-16 does, whose weights the project carries.

Its features are estimates of VGG-16's in few coordinates: at each layer those along the principal
axes of VGG's features over photographs (as in Chiu and Gurari, "PCA-based Knowledge Distillation",
CVPR 2022), so that distances between features, and between Gram matrices, estimate VGG's.
`style.distil` trains it; `weights/README.md` says on what.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from core.checkpoints.official_files import read_state
from core.checkpoints.store import load_network
from core.nn.vgg import VGG, vgg_input

WEIGHTS = Path(__file__).with_name("weights") / "vgg16_student.safetensors"


WIDTHS = (24, 56, 104, 128, 128)
"""Channels of the five blocks; VGG-16's are 64, 128, 256, 512, 512."""


class Layer(NamedTuple):
    """A layer of VGG-16 that the student estimates.

    Attributes:
        name: VGG's name of it.
        channels: VGG's channels.
        axes: coordinates in which they are estimated.
    """

    name: str
    channels: int
    axes: int


LAYERS = (
    Layer("relu1_1", 64, 16),
    Layer("relu2_1", 128, 32),
    Layer("relu3_1", 256, 64),
    Layer("relu4_1", 512, 96),
    Layer("relu4_2", 512, 96),
    Layer("relu5_1", 512, 96),
)


class VGGStudent(nn.Module):
    """VGG-16 with few channels, and at each of `LAYERS` a linear map to its coordinates.

    Args:
        last: the deepest layer that is needed; what follows is left out.
    """

    minimum = 16
    """Smallest side of an image in pixels."""

    def __init__(self, last: str = LAYERS[-1].name) -> None:
        super().__init__()
        self.vgg = VGG(16, last, widths=WIDTHS)
        self.heads = nn.ModuleDict()
        for layer in LAYERS:
            width = WIDTHS[int(layer.name[4]) - 1]
            self.heads[layer.name] = nn.Conv2d(width, layer.axes, 1)
            # Set before the training, so that heads give about unit size in each coordinate.
            self.register_buffer(f"scale_{layer.name}", torch.ones(layer.axes, 1, 1))
            if layer.name == last:
                break

    @classmethod
    def load(cls, last: str = LAYERS[-1].name) -> Self:
        """Make the student with the project's weights, frozen."""
        student = cls(last)
        own = student.state_dict()
        state = {k: v.float() for k, v in read_state(WEIGHTS).items() if k in own}
        load_network(student, state, "VGGStudent", WEIGHTS)
        return student.requires_grad_(False).eval()

    def forward(self, images: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """Return {layer: estimate [N, axes, h, w]} for images [N, 3, H, W] in [-1, 1].

        `relu{b}_{i}` is at 1 / 2^(b-1) of the images' size, rounded down, as VGG's is. Features are
        scaled so that mean squared differences of Gram matrices (over C and places) estimate those
        of the original Caffe weights; at relu4_2 mean squared differences of features do, of which
        the axes hold about half.
        """
        prepared = vgg_input(images, "caffe") / 128
        return {
            name: self.heads[name](x) * self.get_buffer(f"scale_{name}")
            for name, x in self.vgg(prepared, layers).items()
        }


def perceptual_distance(student: VGGStudent, images: Tensor, others: Tensor) -> Tensor:
    """Return how far images [N, 3, H, W] in [-1, 1] are from others, [N], as the student sees them.

    The mean over all layers of |F - F'|^2 / ((|F|^2 + |F'|^2) / 2): 0 for the same picture, about 1
    for unrelated ones. It is no LPIPS, and not calibrated on anybody's judgement.
    """
    names = tuple(student.heads)
    found, wanted = student(images, names), student(others, names)
    distances = []
    for name in names:
        a, b = found[name].flatten(1), wanted[name].flatten(1)
        size = (a.square().sum(1) + b.square().sum(1)) / 2
        distances.append((a - b).square().sum(1) / size.clamp_min(1e-12))
    return torch.stack(distances).mean(0)
