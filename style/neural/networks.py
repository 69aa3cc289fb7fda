"""The networks that look at the images: VGG-19, and multi-scale random filters.

All take images in Caffe's space (`style.neural.images`) and give features by layer name. Their
parameters are frozen and they are the same function in train and eval mode.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.errors import UserError
from core.nn.vgg import VGG, VGGInput, load_vgg
from style.neural.config import Model
from style.neural.images import MEAN_BGR


class Encoder(Protocol):
    """What neural style needs of a network."""

    minimum: int
    """Smallest image side in pixels."""

    def __call__(self, image: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """{layer: features [1, C, H, W]} of an image [1, 3, H, W] in Caffe's space."""


class VGGEncoder(nn.Module):
    """VGG-19 behind the conversion to the input that its weights expect.

    Args:
        vgg: up to the deepest layer that is needed.
        expected: `caffe`: as the images are; `torchvision`: RGB in [0, 1], normalised.
    """

    def __init__(self, vgg: VGG, expected: VGGInput) -> None:
        super().__init__()
        self.vgg, self.expected = vgg, expected
        self.minimum = 2 ** sum(
            isinstance(layer, nn.MaxPool2d | nn.AvgPool2d) for layer in vgg.features
        )

    def forward(self, image: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """See `Encoder`."""
        if self.expected == "torchvision":
            unit = (image + image.new_tensor(MEAN_BGR)[:, None, None]).flip(1) / 255
            mean, std = image.new_tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
            image = (unit - mean[:, None, None]) / std[:, None, None]
        features: dict[str, Tensor] = self.vgg(image, layers)
        return features


class RandomFilters(nn.Module):
    """Filters drawn at random at every level of an averaged pyramid: texture without a training.

    Ustyuzhaninov, Brendel, Gatys, Bethge (ICLR 2017) show that Gram matrices of one layer of random
    filters of many sizes (3 to 55 px) carry natural textures as well as VGG's. Here the sizes come
    from one size of filter on a pyramid of average poolings, which costs a fraction: layer
    `scale{k}` sees the image reduced by 2^(k-1).

    Args:
        num_filters: per level.
        size: of the filters in pixels of their level.
    """

    num_levels = 6

    def __init__(self, num_filters: int = 128, size: int = 7) -> None:
        super().__init__()
        # On the CPU, so that they are the same on every machine.
        generator = torch.Generator().manual_seed(0)
        weights = torch.randn(
            self.num_levels, num_filters, 3, size, size, generator=generator, dtype=torch.float64
        )
        norms = weights.flatten(2).norm(dim=2)[:, :, None, None, None]
        self.register_buffer("weights", (weights / norms).float(), persistent=False)
        self.minimum = 2 ** (self.num_levels - 1)

    @classmethod
    def names(cls) -> list[str]:
        """Names of the layers, fine to coarse."""
        return [f"scale{level}" for level in range(1, cls.num_levels + 1)]

    def forward(self, image: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """See `Encoder`."""
        x, features = image, {}
        weights = self.get_buffer("weights").to(image.dtype)
        for level, name in enumerate(self.names()):
            if level:
                x = F.avg_pool2d(x, 2)
            if name in layers:
                pad = weights.shape[-1] // 2
                padded = F.pad(x, (pad, pad, pad, pad), mode="replicate")
                features[name] = F.relu(F.conv2d(padded, weights[level]))
        return features


def make_encoder(model: Model) -> VGGEncoder | RandomFilters:
    """The encoder that the options name, with its weights.

    Raises:
        UserError: no such layer, or no weights.
    """
    wanted = (*model.content_layers, *model.style_layers)
    if model.encoder == "random_filters":
        names = RandomFilters.names()
    else:
        names = list(VGG(19, "relu1_1").layers)
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise UserError(
            f"model: {model.encoder} has no layer {unknown[0]!r}; it has {', '.join(names)}"
        )
    if model.encoder == "random_filters":
        return RandomFilters()
    vgg = VGG(19, max(wanted, key=names.index, default="relu1_1"), pooling=model.pooling)
    expected: VGGInput = "caffe" if model.encoder == "vgg19_caffe" else "torchvision"
    load_vgg(vgg, model.weights, expected)
    return VGGEncoder(vgg, expected)
