"""Compute LPIPS, a perceptual distance learnt from what people find similar.

Zhang, Isola, Efros, Shechtman and Wang 2018, "The Unreasonable Effectiveness of Deep Features as a
Perceptual Metric"; the network `alex`, version 0.1, by which MUNIT and DRIT report diversity.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import Self

import torch
from torch import Tensor, nn

from core.errors import UserError

_WIDTHS = (64, 192, 384, 256, 256)
_EPSILON = 1e-10

MINIMUM = 31
"""Pixels; smallest side that AlexNet takes."""


def _alexnet() -> nn.Sequential:
    """Build the convolutions of AlexNet under torchvision's names (its `features`, to ReLU 5)."""
    layers: list[nn.Module] = []
    channels = 3
    for width, kernel, stride, padding, pooled in (
        (64, 11, 4, 2, True),
        (192, 5, 1, 2, True),
        (384, 3, 1, 1, False),
        (256, 3, 1, 1, False),
        (256, 3, 1, 1, False),
    ):
        layers += [nn.Conv2d(channels, width, kernel, stride, padding), nn.ReLU()]
        layers += [nn.MaxPool2d(3, 2)] if pooled else []
        channels = width
    return nn.Sequential(*layers)


class LPIPS(nn.Module):
    """Distances in the features of AlexNet, each channel weighted as learnt.

    `trunk` is torchvision's AlexNet, or its `features` alone, `linear` the published `alex.pth`:
    `lin0.model.1.weight` [1, 64, 1, 1], ... Others are refused.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, trunk: Mapping[str, Tensor], linear: Mapping[str, Tensor]) -> None:
        super().__init__()
        with torch.device("meta"):  # initial weights would be drawn for nothing
            self.layers = _alexnet()
        own = self.layers.state_dict()
        try:
            state = {key: trunk[f"features.{key}"] for key in own}
            self.layers.load_state_dict(state, assign=True)
            weights = [linear[f"lin{i}.model.1.weight"].flatten() for i in range(len(_WIDTHS))]
        except (KeyError, RuntimeError) as error:
            raise UserError(f"not the weights of LPIPS with AlexNet: {error}") from None
        if tuple(len(weight) for weight in weights) != _WIDTHS:
            raise UserError(f"not the weights of LPIPS with AlexNet: {[len(w) for w in weights]}")
        self.weights = nn.ParameterList(weights)
        # ImageNet's mean and standard deviation, for images in [-1, 1].
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[:, None, None])
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[:, None, None])
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode."""
        return super().train(False)

    def features(self, images: Tensor) -> list[Tensor]:
        """Map images [N, 3, H, W] in [-1, 1] to features of five levels, [N, C, H', W'], of norm 1.

        Sides are of at least 31 pixels.
        """
        x = (images - self.shift) / self.scale
        levels = []
        for layer in self.layers:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                levels.append(x / (x.norm(dim=1, keepdim=True) + _EPSILON))
        return levels

    def compare(self, x: list[Tensor], y: list[Tensor]) -> Tensor:
        """Return distances [N] of two batches by their `features` (equation 1 of the paper)."""
        terms = [
            torch.einsum("nchw,c->nhw", (a - b).square(), weight).mean(dim=(1, 2))
            for a, b, weight in zip(x, y, self.weights, strict=True)
        ]
        return torch.stack(terms).sum(dim=0)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return distances [N] of images [N, 3, H, W] in [-1, 1]; 0 for equal ones."""
        return self.compare(self.features(x), self.features(y))


def lpips_diversity(metric: LPIPS, outputs: Tensor) -> Tensor:
    """Average the distance of an image's styles over all pairs, as MUNIT and DRIT report diversity.

    `outputs` is the image in K >= 2 styles, [K, 3, H, W], float in [-1, 1].
    """
    levels = metric.features(outputs)
    # Pair by pair: K(K-1)/2 at once would need K times the memory of the features.
    distances = [
        metric.compare([f[i : i + 1] for f in levels], [f[j : j + 1] for f in levels])
        for i, j in combinations(range(len(outputs)), 2)
    ]
    return torch.cat(distances).mean()
