"""The network that paints in one pass, in several styles (Dumoulin, Shlens, Kudlur, ICLR 2017)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nn.norms import instance_norm
from core.nn.padding import ReflectionPad2d


class DoublingConv(nn.Module):
    """A bilinear enlargement to twice the size, and a 3x3 convolution, in one step.

    Both together are a transposed convolution, and cost as much as the 3x3 convolution alone. What
    is flat stays flat: free weights of a transposed convolution, or repeated pixels, would give
    every second pixel a pattern of its own.

    Args:
        inner: channels in.
        outer: channels out.
        bias: add one.
    """

    def __init__(self, inner: int, outer: int, *, bias: bool) -> None:
        super().__init__()
        self.pad = ReflectionPad2d(1)
        like = nn.Conv2d(inner, outer, 3, bias=bias)  # for its initial weights
        self.weight = nn.Parameter(like.weight.detach().transpose(0, 1).contiguous())
        self.bias = like.bias

    def kernel(self) -> Tensor:
        """Return the transposed convolution's [inner, outer, 6, 6]."""
        line = self.weight.new_tensor([0.25, 0.75, 0.75, 0.25])  # shares of bilinear neighbours
        weight = self.weight.flatten(0, 1)[:, None]  # [inner * outer, 1, 3, 3]
        spread = F.conv2d(weight, torch.outer(line, line)[None, None], padding=3)
        return spread.reshape(*self.weight.shape[:2], 6, 6)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inner, H, W] to [N, outer, 2 * H, 2 * W]."""
        # The padding takes off again what reflection adds.
        return F.conv_transpose2d(self.pad(x), self.kernel(), self.bias, stride=2, padding=4)


def _reduction(inner: int, outer: int, side: int, stride: int) -> nn.Sequential:
    """Make a convolution behind reflection, which keeps or, with an even side, halves the size."""
    # A bias would be normalised away.
    conv = nn.Conv2d(inner, outer, side, stride, bias=False)
    return nn.Sequential(ReflectionPad2d((side - 1) // 2), conv)


class Conditional(nn.Module):
    """A convolution and an instance norm that has a gain and a shift for each style.

    Args:
        conv: maps to `width` channels.
        width: its channels out.
        num_styles: rows of gains and shifts, which are mixed by the weights of the styles.
    """

    def __init__(self, conv: nn.Module, width: int, num_styles: int) -> None:
        super().__init__()
        self.conv = conv
        self.gain = nn.Linear(num_styles, width, bias=False)
        self.shift = nn.Linear(num_styles, width, bias=False)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        """Map [N, C, H, W] under weights of the styles [N, S]; no activation."""
        y = instance_norm(self.conv(x))
        return y * self.gain(styles)[:, :, None, None] + self.shift(styles)[:, :, None, None]


class ResidualBlock(nn.Module):
    """Two such convolutions, ReLU between them, added to what they are given."""

    def __init__(self, width: int, num_styles: int) -> None:
        super().__init__()
        self.first = Conditional(_reduction(width, width, 3, 1), width, num_styles)
        self.second = Conditional(_reduction(width, width, 3, 1), width, num_styles)

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        """Map [N, C, H, W] under weights of the styles [N, S] to the same shape."""
        inner: Tensor = self.second(F.relu(self.first(x, styles)), styles)
        return x + inner


class StyleNet(nn.Module):
    """Two halvings, residual blocks, two doublings; conditional instance norm throughout.

    Johnson, Alahi, Fei-Fei (ECCV 2016) in structure. Deviations: no layers at full resolution but
    the last, and narrower, for speed on CPUs; doublings that leave no grid.

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
                Conditional(_reduction(3, outer, 6, 2), outer, num_styles),
                Conditional(_reduction(outer, width, 4, 2), width, num_styles),
            ]
        )
        self.blocks = nn.ModuleList(ResidualBlock(width, num_styles) for _ in range(num_blocks))
        self.up = Conditional(DoublingConv(width, outer, bias=False), outer, num_styles)
        self.out = DoublingConv(outer, 3, bias=True)

    def forward(self, images: Tensor, styles: Tensor) -> Tensor:
        """Paint images [N, 3, H, W] in [-1, 1] in styles [N, S]: weights, of sum 1."""
        x = images
        for down in self.down:
            x = F.relu(down(x, styles))  # [N, width / 2, H / 2, W / 2], [N, width, H / 4, W / 4]
        for block in self.blocks:
            x = block(x, styles)
        x = F.relu(self.up(x, styles))  # [N, width / 2, H / 2, W / 2]
        painted: Tensor = self.out(x)
        return painted.tanh()  # [N, 3, H, W]
