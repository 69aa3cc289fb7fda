"""Building blocks of DRIT's networks; module names follow the official `src/networks.py`."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from core.nn.norms import InstanceNorm2d
from core.nn.padding import ReflectionPad2d
from core.nn.spectral import power_step


def pad(pixels: int) -> nn.Module:
    """Make reflection padding; nothing for 0 pixels."""
    return ReflectionPad2d(pixels) if pixels else nn.Identity()


class SpectralConv2d(nn.Conv2d):
    """A convolution with spectral normalisation (Miyato et al. 2018), as the official code has it.

    In training mode every forward takes one step of the power method and divides the weight by the
    singular value. The buffer `weight` keeps that quotient, and in evaluation mode it is what
    convolves.
    """

    weight: Tensor

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__(c_in, c_out, kernel, stride)
        weight = self.weight.detach()
        del self.weight
        self.weight_orig = nn.Parameter(weight)
        self.register_buffer("weight", weight.clone())
        self.weight_u: Tensor
        self.register_buffer("weight_u", F.normalize(torch.randn(len(weight)), dim=0, eps=1e-12))

    def _normalised(self) -> Tensor:
        sigma, u, _ = power_step(self.weight_orig, self.weight_u)
        weight = self.weight_orig / sigma
        with torch.no_grad():
            self.weight_u.copy_(u)
            self.weight.copy_(weight)
        return weight

    def forward(self, input: Tensor) -> Tensor:
        """Map [N, C, H, W] as `nn.Conv2d`."""
        weight = self._normalised() if self.training else self.weight
        return self._conv_forward(input, weight, self.bias)


class ConvBlock(nn.Module):
    """Reflection padding, convolution, instance norm where asked for, activation."""

    def __init__(
        self,
        channels: tuple[int, int],
        kernel: int,
        stride: int,
        padding: int,
        activation: nn.Module,
        *,
        norm: bool = False,
        conv: type[nn.Conv2d] = nn.Conv2d,
    ) -> None:
        super().__init__()
        norms = [InstanceNorm2d(channels[1])] if norm else []
        self.model = nn.Sequential(
            pad(padding), conv(*channels, kernel, stride=stride), *norms, activation
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C_in, H, W] to [N, C_out, H', W']."""
        return self.model(x)


class ResidualBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), reflection padded, no activation after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.model = nn.Sequential(
            pad(1),
            nn.Conv2d(channels, channels, 3),
            InstanceNorm2d(channels),
            nn.ReLU(inplace=True),
            pad(1),
            nn.Conv2d(channels, channels, 3),
            InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to the same shape."""
        return x + self.model(x)


class DownBlock(nn.Module):
    """Pre-activated residual block that halves the side by average pooling, without norms."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        # Not in place: the shortcut sees the input before the activation.
        self.conv = nn.Sequential(
            nn.LeakyReLU(0.2),
            pad(1),
            nn.Conv2d(c_in, c_in, 3),
            nn.LeakyReLU(0.2),
            nn.Sequential(pad(1), nn.Conv2d(c_in, c_out, 3), nn.AvgPool2d(2)),
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(c_in, c_out, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, c_in, H, W] to [N, c_out, H // 2, W // 2]."""
        return self.conv(x) + self.shortcut(x)


class LayerNorm(nn.Module):
    """One mean and biased variance per sample over channels and space, then scale and shift.

    Group norm with a single group; only the parameters' official shape [C, 1, 1] differs.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to the same shape."""
        return F.group_norm(x, 1, self.weight.flatten(), self.bias.flatten(), eps=1e-5)


class UpBlock(nn.Module):
    """Transposed convolution that doubles the side, layer norm, ReLU."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.ConvTranspose2d(c_in, c_out, 3, stride=2, padding=1, output_padding=1),
            LayerNorm(c_out),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, c_in, H, W] to [N, c_out, 2 * H, 2 * W]."""
        return self.model(x)


class FeatureBlock(nn.Module):
    """Residual block in which 1x1 convolutions mix a code into the features, twice."""

    def __init__(self, channels: int) -> None:
        super().__init__()

        def conv() -> nn.Sequential:
            padded = nn.Sequential(pad(1), nn.Conv2d(channels, channels, 3))
            return nn.Sequential(padded, InstanceNorm2d(channels))

        def mix() -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(2 * channels, 2 * channels, 1),
                nn.ReLU(inplace=True),
                nn.Conv2d(2 * channels, channels, 1),
                nn.ReLU(inplace=True),
            )

        self.conv1, self.conv2 = conv(), conv()
        self.blk1, self.blk2 = mix(), mix()

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Map [N, C, H, W] and code [N, C] to [N, C, H, W]."""
        y = _mixed(self.blk1, self.conv1(x), code)
        return x + _mixed(self.blk2, self.conv2(y), code)


def _mixed(mix: nn.Sequential, x: Tensor, code: Tensor) -> Tensor:
    """Apply `mix` to x [N, C, H, W] with the code [N, C] appended at every position.

    The code's half of the first 1x1 convolution is the same everywhere, so it is worked out once.
    """
    first, channels = mix[0], x.shape[1]
    assert isinstance(first, nn.Conv2d)
    own, appended = first.weight[:, :channels], first.weight[:, channels:, 0, 0]
    constant = F.linear(code, appended, first.bias)
    return mix[1:](F.conv2d(x, own) + constant[:, :, None, None])


def run(block: nn.Module, *inputs: Tensor, recompute: bool) -> Tensor:
    """Run a block; with `recompute` it keeps nothing for its backward pass."""
    if recompute and torch.is_grad_enabled():
        return checkpoint(block, *inputs, use_reentrant=False)
    return block(*inputs)


def gaussian_init(network: nn.Module) -> None:
    """Draw every convolution's weight from N(0, 0.02); biases and linear layers keep PyTorch's own.

    Where a spectral norm stands the official draw reaches all but a discriminator's last, 1x1
    convolution, which keeps PyTorch's own as well.
    """
    for module in network.modules():
        if isinstance(module, SpectralConv2d):
            if module.kernel_size != (1, 1):
                nn.init.normal_(module.weight_orig, 0.0, 0.02)
                module.weight.copy_(module.weight_orig.detach())
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
