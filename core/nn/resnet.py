"""The ResNet generator of CycleGAN (Zhu et al. 2017, after Johnson et al. 2016).

Module names are those of the official `models/networks.py`, so a state dict is interchangeable
with the released files.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from core.nn.modes import recomputing
from core.nn.norms import NormName, conv_bias, make_norm
from core.nn.padding import ReflectionPad2d
from core.nn.upsampling import ResizeConv2d, Upsample


def _stage(conv: nn.Conv2d | nn.ConvTranspose2d, norm: NormName) -> list[nn.Module]:
    return [conv, make_norm(norm)(conv.out_channels), nn.ReLU(inplace=True)]


def _doubling(
    channels: int, out: int, bias: bool, upsample: Upsample
) -> nn.Conv2d | nn.ConvTranspose2d:
    if upsample == "resize":
        return ResizeConv2d(channels, out, "reflect", bias=bias)
    return nn.ConvTranspose2d(channels, out, 3, 2, padding=1, output_padding=1, bias=bias)


class ResnetBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), reflection padded, no activation after the sum."""

    def __init__(self, channels: int, norm: NormName, dropout: bool) -> None:
        super().__init__()
        first, second = (nn.Conv2d(channels, channels, 3, bias=conv_bias(norm)) for _ in range(2))
        layers = [ReflectionPad2d(1), *_stage(first, norm)]
        if dropout:
            layers.append(nn.Dropout(0.5))
        layers += [ReflectionPad2d(1), second, make_norm(norm)(channels)]
        self.conv_block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to the same shape."""
        return x + self.conv_block(x)


class ResnetGenerator(nn.Module):
    """7x7 convolution, two halvings, residual blocks, two doublings, 7x7 convolution, tanh.

    Args:
        ngf: channels after the first convolution; the residual blocks have 4 * ngf.
        num_blocks: 9 for 256 px and larger, 6 for 128 px in the paper.
        norm: `instance` (CycleGAN), `batch` or `none`.
        dropout: dropout 0.5 inside the residual blocks; it shifts their later keys by one.
        gradient_checkpointing: recompute the residual blocks in the backward pass.
        upsample: double by transposed convolutions, as published, or by resizing.

    Height and width must be multiples of `multiple`, and at least `minimum`.
    """

    multiple = 4
    minimum = 8

    def __init__(
        self,
        input_nc: int = 3,
        output_nc: int = 3,
        ngf: int = 64,
        num_blocks: int = 9,
        norm: NormName = "instance",
        dropout: bool = False,
        gradient_checkpointing: bool = False,
        upsample: Upsample = "transposed",
    ) -> None:
        super().__init__()
        self.gradient_checkpointing = gradient_checkpointing
        bias = conv_bias(norm)
        layers = [ReflectionPad2d(3), *_stage(nn.Conv2d(input_nc, ngf, 7, bias=bias), norm)]
        for width in (ngf, 2 * ngf):
            layers += _stage(nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=bias), norm)
        layers += [ResnetBlock(4 * ngf, norm, dropout) for _ in range(num_blocks)]
        for width in (2 * ngf, ngf):
            layers += _stage(_doubling(2 * width, width, bias, upsample), norm)
        layers += [ReflectionPad2d(3), nn.Conv2d(ngf, output_nc, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, input_nc, H, W] in [-1, 1] to [N, output_nc, H, W] in [-1, 1]."""
        for layer in self.model:
            x = self.run_layer(layer, x)
        return x

    def run_layer(self, layer: nn.Module, x: Tensor) -> Tensor:
        """Run one of the model's layers; a residual block recomputed if that was asked for."""
        recompute = self.gradient_checkpointing and x.requires_grad | self.training
        if recompute and isinstance(layer, ResnetBlock):
            return _recomputed(layer, x)
        y: Tensor = layer(x)
        return y


def _recomputed(block: ResnetBlock, x: Tensor) -> Tensor:
    """Return the block's output without keeping what its backward pass needs."""
    if torch.compiler.is_compiling():
        return checkpoint(block, x, use_reentrant=False)  # which repeats no side effects there
    modes = (nullcontext(), recomputing(block))  # of the forward, and of its repetition
    return checkpoint(block, x, use_reentrant=False, context_fn=lambda: modes)
