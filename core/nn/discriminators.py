"""PatchGAN and pixel discriminators of pix2pix and CycleGAN; outputs are logits.

Module names are those of the official `models/networks.py`.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from core.nn.norms import NormName, conv_bias, make_norm


class PatchDiscriminator(nn.Module):
    """A judge of overlapping patches: 70x70 px with the default three layers (`basic`).

    Args:
        input_nc: channels in (pix2pix: condition and image together).
        ndf: channels of the first convolution; they double up to 8 * ndf.
        num_layers: stride-2 convolutions; patches of 16, 34, 70, 142, 286 px for 1 to 5.
        norm: none after the first and the last convolution in any case.
    """

    def __init__(
        self, input_nc: int = 3, ndf: int = 64, num_layers: int = 3, norm: NormName = "instance"
    ) -> None:
        super().__init__()
        widths = [input_nc, *(ndf * min(2**n, 8) for n in range(num_layers + 1))]
        layers: list[nn.Module] = []
        for n, (before, after) in enumerate(pairwise(widths)):
            stride, bias = 2 if n < num_layers else 1, n == 0 or conv_bias(norm)
            layers.append(nn.Conv2d(before, after, 4, stride=stride, padding=1, bias=bias))
            layers += [make_norm(norm)(after)] if n else []
            layers.append(nn.LeakyReLU(0.2, inplace=True))
        layers.append(nn.Conv2d(widths[-1], 1, 4, stride=1, padding=1))
        self.model = nn.Sequential(*layers)
        self.minimum = 3 * 2**num_layers
        """Smallest image side that leaves a patch to judge: s / 2**n - 2 >= 1."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, input_nc, H, W] to logits [N, 1, H / 2**n - 2, W / 2**n - 2]."""
        return self.model(x)


class PixelDiscriminator(nn.Module):
    """A judge of every pixel by itself: three 1x1 convolutions.

    With batch norm or none the last convolution has no bias, unlike the PatchGAN's; released
    files depend on it.
    """

    minimum = 0

    def __init__(self, input_nc: int = 3, ndf: int = 64, norm: NormName = "instance") -> None:
        super().__init__()
        bias = conv_bias(norm)
        self.net = nn.Sequential(
            nn.Conv2d(input_nc, ndf, 1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(ndf, 2 * ndf, 1, bias=bias),
            make_norm(norm)(2 * ndf),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(2 * ndf, 1, 1, bias=bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, input_nc, H, W] to logits [N, 1, H, W]."""
        return self.net(x)
