"""The student before its training: VGG-16 with most of its channels pruned.

He, Zhang, Sun (ICCV 2017): of each layer a few channels are kept, and their filters fitted anew
to what is left of the layer before, by least squares. Here those are kept in whose span
the others lie best (pivoted Cholesky); each is brought to unit size, which ReLU lets pass.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nn.student import VGGStudent
from core.nn.vgg import VGG, vgg_input

_RIDGE = 1e-4
"""Relative to the mean square of the inputs."""
_LEAST = 1e-3
"""Size, relative to the largest, that a channel or coordinate is taken to have at least."""


@torch.no_grad()
def prune(student: VGGStudent, teacher: VGG, prepared: Tensor, images: Tensor) -> None:
    """Fit the student's convolutions to VGG's, layer by layer.

    Args:
        student: filled in place.
        teacher: VGG-16 up to the same layer.
        prepared: images as the teacher expects them, [N, 3, H, W].
        images: the same in [-1, 1].
    """
    x = vgg_input(images, "caffe") / 128
    y = prepared
    for own, theirs in zip(student.vgg.features, teacher.features, strict=True):
        if isinstance(own, nn.Conv2d):
            y = theirs(y)  # [N, C, h, w], before ReLU
            kept = leading_channels(mean_products(F.relu(y)), own.out_channels)
            wanted = y[:, kept]
            fit(own, x, wanted / sizes(F.relu(wanted)))
            x = own(x)
        else:
            x, y = own(x), theirs(y)


def fit(convolution: nn.Conv2d, inputs: Tensor, wanted: Tensor) -> None:
    """Fill a convolution so that its outputs of inputs [N, C, h, w] are nearest to `wanted`."""
    side, padding = convolution.kernel_size[0], convolution.padding[0]
    inner = convolution.in_channels * side**2 + 1
    left, right = torch.zeros(inner, inner), torch.zeros(inner, convolution.out_channels)
    for image, target in zip(inputs, wanted, strict=True):
        patches = F.unfold(image[None], side, padding=int(padding))[0]  # [C * side^2, h * w]
        patches = torch.cat([patches, torch.ones_like(patches[:1])])
        left += (patches @ patches.T).cpu() / patches.shape[1]
        right += (patches @ target.flatten(1).T).cpu() / patches.shape[1]
    left.diagonal().add_(_RIDGE * left.diagonal().mean())
    solution = torch.linalg.solve(left.double(), right.double()).float()
    convolution.weight.data.copy_(solution[:-1].T.reshape(convolution.weight.shape))
    assert convolution.bias is not None
    convolution.bias.data.copy_(solution[-1])


def mean_products(features: Tensor) -> Tensor:
    """Return the mean of f f^T over images and places, [C, C], of features [N, C, h, w]."""
    flat = features.float().transpose(0, 1).flatten(1)
    return flat @ flat.T / flat.shape[1]


def leading_channels(products: Tensor, number: int) -> Tensor:
    """Return the channels that a pivoted Cholesky decomposition of [C, C] takes first."""
    rest = products.double().clone()
    kept = []
    for _ in range(number):
        pivot = int(rest.diagonal().argmax())
        kept.append(pivot)
        column = rest[:, pivot] / rest[pivot, pivot].clamp_min(1e-12).sqrt()
        rest -= torch.outer(column, column)
        rest[pivot, pivot] = 0
    return torch.tensor(kept)


def sizes(features: Tensor) -> Tensor:
    """Return root mean squares of channels, [C, 1, 1], of [N, C, h, w]; none is all but 0."""
    size = features.square().mean((0, 2, 3)).sqrt()[:, None, None]
    return size.clamp_min(_LEAST * float(size.max()))
