"""The network that paints in one pass, in several styles (Dumoulin, Shlens, Kudlur, ICLR 2017)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from core.nn.norms import instance_norm
from core.nn.padding import ReflectionPad2d


class ConditionalConv(nn.Module):
    """A convolution and an instance norm that has a gain and a shift for each style.

    Args:
        inner: channels in.
        outer: channels out.
        side: of the kernel; reflection pads it to keep the size, or to halve it.
        num_styles: rows of gains and shifts, which are mixed by the weights of the styles.
        stride: 2 halves, with an even `side`.
    """

    def __init__(self, inner: int, outer: int, side: int, num_styles: int, stride: int = 1) -> None:
        super().__init__()
        self.pad = ReflectionPad2d((side - 1) // 2)
        # A bias would be normalised away.
        self.conv = nn.Conv2d(inner, outer, side, stride, bias=False)
        self.gain = nn.Linear(num_styles, outer, bias=False)
        self.shift = nn.Linear(num_styles, outer, bias=False)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        """Map [N, C, H, W] under weights of the styles [N, S]; no activation."""
        y = instance_norm(self.conv(self.pad(x)))
        return y * self.gain(styles)[:, :, None, None] + self.shift(styles)[:, :, None, None]


class ResidualBlock(nn.Module):
    """Two such convolutions, ReLU between them, added to what they are given."""

    def __init__(self, width: int, num_styles: int) -> None:
        super().__init__()
        self.first = ConditionalConv(width, width, 3, num_styles)
        self.second = ConditionalConv(width, width, 3, num_styles)

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        """Map [N, C, H, W] under weights of the styles [N, S] to the same shape."""
        inner: Tensor = self.second(F.relu(self.first(x, styles)), styles)
        return x + inner


class StyleNet(nn.Module):
    """Two halvings, residual blocks, two doublings; conditional instance norm throughout.

    Johnson, Alahi, Fei-Fei (ECCV 2016) in structure. Deviations, for speed on CPUs: narrower, no
    layers at full resolution but the last, a transposed convolution.

    Args:
        num_styles: S.
        width: channels of the residual blocks; half as many outside.
        num_blocks: residual blocks.
    """

    multiple = 4
    minimum = 16

    def __init__(self, num_styles: int, width: int, num_blocks: int) -> None:
        super().__init__()
        outer = width // 2
        self.down = nn.ModuleList(
            [
                ConditionalConv(3, outer, 6, num_styles, stride=2),
                ConditionalConv(outer, width, 4, num_styles, stride=2),
            ]
        )
        self.blocks = nn.ModuleList(ResidualBlock(width, num_styles) for _ in range(num_blocks))
        self.up = ConditionalConv(width, outer, 3, num_styles)
        # 3x3 taps for each pixel; the padding takes off again what reflection adds.
        self.out = nn.Sequential(
            ReflectionPad2d(1), nn.ConvTranspose2d(outer, 3, 6, stride=2, padding=4)
        )

    def forward(self, images: Tensor, styles: Tensor) -> Tensor:
        """Paint images [N, 3, H, W] in [-1, 1] in styles [N, S]: weights, of sum 1."""
        x = images
        for down in self.down:
            x = F.relu(down(x, styles))  # [N, width / 2, H / 2, W / 2], [N, width, H / 4, W / 4]
        for block in self.blocks:
            x = block(x, styles)
        x = F.relu(self.up(F.interpolate(x, scale_factor=2.0), styles))  # [.., H / 2, W / 2]
        painted: Tensor = self.out(x)
        return painted.tanh()  # [N, 3, H, W]
