"""The convolution blocks that MUNIT's networks are built from (official `networks.py`)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.losses import full_precision
from core.nn.norms import Normalise
from core.nn.padding import ReflectionPad2d, ReplicationPad2d
from core.nn.spectral import power_step
from core.nn.upsampling import DoubledConv2d
from munit.config import Activation, DisNorm, PadType


def make_activation(name: Activation) -> nn.Module:
    """Make a published activation; in place where the layer before does not need its output."""
    makers: dict[Activation, Any] = {
        "relu": lambda: nn.ReLU(inplace=True),
        "lrelu": lambda: nn.LeakyReLU(0.2, inplace=True),
        "prelu": nn.PReLU,
        "selu": lambda: nn.SELU(inplace=True),
        "tanh": nn.Tanh,
    }
    return makers[name]()


def make_padding(name: PadType, pixels: int) -> nn.Module:
    """Make padding by `pixels` on all sides."""
    if pixels == 0:
        return nn.Identity()
    if name == "zero":
        return nn.ZeroPad2d(pixels)
    return ReflectionPad2d(pixels) if name == "reflect" else ReplicationPad2d(pixels)


class InstanceNorm(nn.Module):
    """(x - mean) / sqrt(var + 1e-5) per sample and channel; a constant channel gives exact zeros.

    A channel that varies by rounding only passes no gradient either: sqrt(1e5) is 316, and
    behind the twenty norms that a cycle goes through, the rounding noise of a white image would be
    beyond float32.
    """

    def __init__(self) -> None:
        super().__init__()
        self.normalise = Normalise((2, 3))

    def forward(self, x: Tensor, gain: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        """Map [N, C, H, W] to the same shape, times gain, plus shift, both [N, C, 1, 1].

        Statistics are in float32 at least.
        """
        smallest = max(1e-6, torch.finfo(x.dtype).eps)

        def scale(var: Tensor, mean: Tensor) -> Tensor:
            varies = var > (smallest * mean).square() + 1e-12
            return torch.where(varies, (var + 1e-5).rsqrt(), torch.zeros_like(var))

        return self.normalise(full_precision(x), scale, gain, shift).to(x.dtype)


class LayerNorm(nn.Module):
    """(x - mean) / (std + eps) over channels and space of each sample, then a scale and shift.

    Unlike PyTorch's, the standard deviation is the unbiased one and eps is added to it.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.rand(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.normalise = Normalise((1, 2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to the same shape; statistics in float32 at least."""
        count = x.shape[1] * x.shape[2] * x.shape[3]

        def scale(var: Tensor, _: Tensor) -> Tensor:
            # The root's slope at 0 is infinite, and infinity times 0 is not a number: held above a
            # value that vanishes beside eps.
            std = (var * (count / (count - 1))).clamp_min(1e-24).sqrt()
            return 1 / (std + self.eps)

        gain, shift = self.gamma[:, None, None], self.beta[:, None, None]
        return self.normalise(full_precision(x), scale, gain, shift).to(x.dtype)


class SpectralConv2d(nn.Module):
    """A convolution whose weight is divided by an estimate of its largest singular value.

    Miyato et al. 2018, as in the official code: one power iteration per forward, in train and in
    eval mode alike. Initialised as PyTorch does; the published initialisation does not reach it.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        plain = nn.Conv2d(in_channels, out_channels, kernel_size)
        self.weight_bar, self.bias = nn.Parameter(plain.weight.detach()), plain.bias
        height, width = plain.weight.flatten(1).shape
        self.register_buffer("weight_u", F.normalize(torch.randn(height), dim=0))
        self.register_buffer("weight_v", F.normalize(torch.randn(width), dim=0))
        self.weight_u: Tensor
        self.weight_v: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, in, H, W] to [N, out, H', W']; advance the power iteration."""
        sigma, u, v = power_step(self.weight_bar, self.weight_u)
        with torch.no_grad():
            self.weight_u.copy_(u)
            self.weight_v.copy_(v)
        return F.conv2d(x, self.weight_bar / sigma, self.bias, self.stride)


def make_norm(name: DisNorm, channels: int) -> nn.Module:
    """Make a published norm behind a convolution; `sn` lies in the convolution itself."""
    if name == "bn":
        return nn.BatchNorm2d(channels)
    if name == "in":
        return InstanceNorm()
    return LayerNorm(channels) if name == "ln" else nn.Identity()


class ConvBlock(nn.Module):
    """Padding, convolution, norm and activation, or None (official `Conv2dBlock`)."""

    def __init__(
        self,
        channels: tuple[int, int],
        kernel: int,
        stride: int = 1,
        pad: int = 0,
        *,
        norm: DisNorm = "none",
        activ: Activation | None,
        pad_type: PadType,
    ) -> None:
        super().__init__()
        # The norm first, as in the published state dict, whose order an optimizer's state has too.
        self.norm = make_norm(norm, channels[1])
        self.activation = make_activation(activ) if activ else nn.Identity()
        make_conv: Any = SpectralConv2d if norm == "sn" else nn.Conv2d
        self.conv = make_conv(*channels, kernel, stride=stride)
        self.pad = make_padding(pad_type, pad)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels[0], H, W] to [N, channels[1], H', W']."""
        return self.activation(self.norm(self.conv(self.pad(x))))


class DoubledConvBlock(nn.Module):
    """Nearest-neighbour doubling, 5x5 convolution, layer norm and activation."""

    def __init__(self, channels: tuple[int, int], activ: Activation, pad_type: PadType) -> None:
        super().__init__()
        self.norm = LayerNorm(channels[1])
        self.activation = make_activation(activ)
        self.conv = DoubledConv2d(*channels, "zeros" if pad_type == "zero" else pad_type)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels[0], H, W] to [N, channels[1], 2 * H, 2 * W]."""
        return self.activation(self.norm(self.conv(x)))


class AdaINConvBlock(ConvBlock):
    """3x3 convolution, adaptive instance norm (Huang and Belongie 2017), activation."""

    def __init__(self, channels: int, *, activ: Activation | None, pad_type: PadType) -> None:
        super().__init__((channels, channels), 3, pad=1, norm="in", activ=activ, pad_type=pad_type)

    def forward(self, x: Tensor, adain: Tensor | None = None) -> Tensor:
        """Map [N, C, H, W] to the same shape with shift and scale `adain`, [N, 2, C].

        None is plain instance norm.
        """
        if adain is None:
            return super().forward(x)
        shift, gain = adain[..., None, None].unbind(1)
        return self.activation(self.norm(self.conv(self.pad(x)), gain, shift))
