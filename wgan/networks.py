"""Generators and critics of WGAN and WGAN-GP that no other family has; the DCGAN stacks are core's.

The residual networks are those of the WGAN-GP authors (igul222/improved_wgan_training,
`gan_cifar_resnet.py` for 32 px, `gan_64x64.py` for 64 px); for 128 px nothing was released, and the
64 px networks grow by one block of the widest kind. The networks for CIFAR-10 and MNIST are those
of the PyTorch port (caogang/wgan-gp), with its names; the multilayer perceptrons are those of the
official WGAN (martinarjovsky/WassersteinGAN, `models/mlp.py`; paper, figure 7).

Throughout, `image_size` is the side of the images in pixels, `image_nc` their channels, `noise_dim`
the length of the noise, and `dim` the unit of width; its defaults are the published ones.

A critic gives one value per image, and never a probability. No critic here has batch norm: the
gradient penalty is per sample, and batch statistics would couple samples.

Deviations from the published code: batch norms keep running statistics, so that at test time a
picture depends on its own noise only, where the authors' TensorFlow code uses those of the batch
it stands in; a residual block applies its 1x1 shortcut at the lower resolution, before upsampling
and after pooling, which is the same function at a quarter of the cost; the MNIST generator gives
[N, 1, 28, 28] where the port flattens.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nn.dcgan import DcganDiscriminator, DcganGenerator, dis_channels, gen_channels
from core.nn.init import init_weights
from core.nn.perceptron import perceptron
from wgan.config import Config

CriticNorm = Literal["layer", "none"]
Resample = Literal["up", "down", "none"]

_WIDTHS_GEN = {32: (1, 1, 1, 1), 64: (8, 8, 4, 2, 1), 128: (8, 8, 8, 4, 2, 1)}
"""Side -> channels at 4 px and after each doubling, in units of `dim`."""
_WIDTHS_CRITIC = {64: (1, 2, 4, 8, 8), 128: (1, 2, 4, 8, 8, 8)}
"""Side -> channels after the first convolution and after each halving, in units of `dim`."""
_CRITIC_NORMS: dict[CriticNorm, Callable[[int], nn.Module]] = {
    "layer": partial(nn.GroupNorm, 1),
    "none": nn.Identity,
}
"""Layer norm is over a whole sample with one scale and shift per channel, as group norm with one
group; torch's LayerNorm scales every element."""


class ResidualBlock(nn.Module):
    """Pre-activation: conv(relu(norm(conv(relu(norm(x)))))) + shortcut(x), no factor.

    `up` doubles the side before the first convolution, `down` halves it after the second by taking
    means; with `down` the first convolution keeps `channels_in`. The shortcut is a 1x1 convolution
    of the raw input, or the input itself where neither width nor side changes. `norm` makes a layer
    of so many channels; `bias` is the first convolution's (the others always have one). The `first`
    block sees an image, which is neither normed nor cut off at zero.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        resample: Resample,
        norm: Callable[[int], nn.Module],
        *,
        bias: bool,
        first: bool = False,
    ) -> None:
        super().__init__()
        self.resample, self.first = resample, first
        hidden = channels_in if resample == "down" and not first else channels_out
        self.norm1 = nn.Identity() if first else norm(channels_in)
        self.conv1 = nn.Conv2d(channels_in, hidden, 3, padding=1, bias=bias)
        self.norm2 = norm(hidden)
        self.conv2 = nn.Conv2d(hidden, channels_out, 3, padding=1)
        same = channels_in == channels_out and resample == "none"
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels_in, H, W] to [N, channels_out, H', W'], H' = 2H, H / 2 or H."""
        shortcut = self.shortcut(F.avg_pool2d(x, 2) if self.resample == "down" else x)
        y = x if self.first else F.relu(self.norm1(x))
        if self.resample == "up":
            shortcut, y = _doubled(shortcut), _doubled(y)
        y = self.conv2(F.relu(self.norm2(self.conv1(y))))
        return shortcut + (F.avg_pool2d(y, 2) if self.resample == "down" else y)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


class _Residual(nn.Module):
    """A network of residual blocks, whose official files name modules by TensorFlow scopes."""

    blocks: nn.Sequential

    def official_keys(self) -> dict[str, str]:
        """Return {our prefix: official prefix}."""
        scopes = {"input": "Input", "norm": "OutputN", "output": "Output"}
        parts = {"norm": "BN", "conv": "Conv"}
        for number in range(len(self.blocks)):
            block, scope = f"blocks.{number}", f"Res{number + 1}"
            scopes[f"{block}.shortcut"] = f"{scope}.Shortcut"
            for ours, theirs in parts.items():
                scopes |= {f"{block}.{ours}{n}": f"{scope}.{theirs}{n}" for n in (1, 2)}
        return scopes


class ResidualGenerator(_Residual):
    """Linear layer to 4 px, residual blocks that double, norm, ReLU, 3x3 convolution, tanh.

    For 32, 64 or 128 px; 32 is the published CIFAR-10 network of constant width (dim 128).
    """

    def __init__(
        self, image_size: int = 64, image_nc: int = 3, noise_dim: int = 128, dim: int = 64
    ) -> None:
        super().__init__()
        widths = [dim * w for w in _WIDTHS_GEN[image_size]]
        self.input = nn.Linear(noise_dim, 4 * 4 * widths[0])
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(a, b, "up", nn.BatchNorm2d, bias=image_size == 32)
                for a, b in pairwise(widths)
            )
        )
        self.norm = nn.BatchNorm2d(widths[-1])
        self.output = nn.Conv2d(widths[-1], image_nc, 3, padding=1)
        init_residual(self)
        if image_size == 32:
            nn.init.xavier_uniform_(self.output.weight)

    def forward(self, noise: Tensor) -> Tensor:
        """Map [N, noise_dim] to [N, image_nc, image_size, image_size] in [-1, 1]."""
        x = self.input(noise).unflatten(1, (-1, 4, 4))  # [N, widths[0], 4, 4]
        return torch.tanh(self.output(F.relu(self.norm(self.blocks(x)))))


class ResidualCritic(_Residual):
    """3x3 convolution, residual blocks that halve down to 4 px, linear layer; 64 or 128 px.

    Neither norm nor ReLU stands before the linear layer, as published.
    """

    def __init__(
        self, image_size: int = 64, image_nc: int = 3, dim: int = 64, norm: CriticNorm = "layer"
    ) -> None:
        super().__init__()
        widths = [dim * w for w in _WIDTHS_CRITIC[image_size]]
        make = _CRITIC_NORMS[norm]
        self.input = nn.Conv2d(image_nc, dim, 3, padding=1)
        self.blocks = nn.Sequential(
            *(ResidualBlock(a, b, "down", make, bias=False) for a, b in pairwise(widths))
        )
        self.output = nn.Linear(4 * 4 * widths[-1], 1)
        init_residual(self)
        nn.init.xavier_uniform_(self.input.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, image_nc, H, W] in [-1, 1] to values [N]."""
        features = self.blocks(self.input(x))  # [N, widths[-1], 4, 4]
        return self.output(features.flatten(1)).squeeze(1)


class SmallResidualCritic(_Residual):
    """The residual critic for 32 px: four blocks of constant width, ReLU, mean over space."""

    def __init__(self, image_nc: int = 3, dim: int = 128, norm: CriticNorm = "none") -> None:
        super().__init__()
        make = _CRITIC_NORMS[norm]
        self.blocks = nn.Sequential(
            ResidualBlock(image_nc, dim, "down", nn.Identity, bias=True, first=True),
            ResidualBlock(dim, dim, "down", make, bias=True),
            ResidualBlock(dim, dim, "none", make, bias=True),
            ResidualBlock(dim, dim, "none", make, bias=True),
        )
        self.output = nn.Linear(dim, 1)
        init_residual(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, image_nc, 32, 32] in [-1, 1] to values [N]."""
        features = F.relu(self.blocks(x))  # [N, dim, 8, 8]
        return self.output(features.mean(dim=(2, 3))).squeeze(1)


@torch.no_grad()
def init_residual(network: nn.Module) -> None:
    """Initialise as published: uniform weights, biases zero, norms as they are.

    Standard deviation sqrt(4 / (fan_in + fan_out)) for 3x3 convolutions, sqrt(2 / ...) for
    shortcuts and linear layers (tflib/ops/conv2d.py, tflib/ops/linear.py).
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            wide = isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3)
            nn.init.xavier_uniform_(module.weight, math.sqrt(2) if wide else 1.0)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _up_block(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(channels_in, channels_out, 2, stride=2),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


def _halvings(image_nc: int, dim: int, kernel: int, activation: nn.Module) -> nn.Sequential:
    """Make three convolutions of stride 2, to 4 * dim channels, an activation after each."""
    layers: list[nn.Module] = []
    for before, after in pairwise((image_nc, dim, 2 * dim, 4 * dim)):
        layers += [nn.Conv2d(before, after, kernel, stride=2, padding=kernel // 2), activation]
    return nn.Sequential(*layers)


class Cifar10Generator(nn.Module):
    """The port's 32 px generator: linear layer to 4 px and three 2x2 transposed convolutions."""

    def __init__(self, image_nc: int = 3, noise_dim: int = 128, dim: int = 128) -> None:
        super().__init__()
        self.preprocess = nn.Sequential(
            nn.Linear(noise_dim, 4 * 4 * 4 * dim),
            nn.BatchNorm1d(4 * 4 * 4 * dim),  # per feature: before the reshape, as published
            nn.ReLU(inplace=True),
        )
        self.block1 = _up_block(4 * dim, 2 * dim)
        self.block2 = _up_block(2 * dim, dim)
        self.deconv_out = nn.ConvTranspose2d(dim, image_nc, 2, stride=2)

    def forward(self, noise: Tensor) -> Tensor:
        """Map [N, noise_dim] to [N, image_nc, 32, 32] in [-1, 1]."""
        x = self.preprocess(noise).unflatten(1, (-1, 4, 4))  # [N, 4 * dim, 4, 4]
        return torch.tanh(self.deconv_out(self.block2(self.block1(x))))


class Cifar10Critic(nn.Module):
    """The port's 32 px critic: three 3x3 convolutions of stride 2, leaky ReLU, linear layer."""

    def __init__(self, image_nc: int = 3, dim: int = 128) -> None:
        super().__init__()
        self.main = _halvings(image_nc, dim, 3, nn.LeakyReLU(0.01))
        self.linear = nn.Linear(4 * 4 * 4 * dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, image_nc, 32, 32] in [-1, 1] to values [N]."""
        return self.linear(self.main(x).flatten(1)).squeeze(1)


class MnistGenerator(nn.Module):
    """The port's 28 px generator: no norms, sigmoid; images in [0, 1]."""

    def __init__(self, image_nc: int = 1, noise_dim: int = 128, dim: int = 64) -> None:
        super().__init__()
        self.preprocess = nn.Sequential(nn.Linear(noise_dim, 4 * 4 * 4 * dim), nn.ReLU())
        self.block1 = nn.Sequential(nn.ConvTranspose2d(4 * dim, 2 * dim, 5), nn.ReLU())
        self.block2 = nn.Sequential(nn.ConvTranspose2d(2 * dim, dim, 5), nn.ReLU())
        self.deconv_out = nn.ConvTranspose2d(dim, image_nc, 8, stride=2)

    def forward(self, noise: Tensor) -> Tensor:
        """Map [N, noise_dim] to [N, image_nc, 28, 28] in [0, 1]."""
        x = self.preprocess(noise).unflatten(1, (-1, 4, 4))  # [N, 4 * dim, 4, 4]
        x = self.block1(x)[:, :, :7, :7]  # 8 to 7 px, as published, so that 28 come out
        return torch.sigmoid(self.deconv_out(self.block2(x)))


class MnistCritic(nn.Module):
    """The port's 28 px critic: three 5x5 convolutions of stride 2, plain ReLU, linear layer."""

    def __init__(self, image_nc: int = 1, dim: int = 64) -> None:
        super().__init__()
        self.main = _halvings(image_nc, dim, 5, nn.ReLU())
        self.output = nn.Linear(4 * 4 * 4 * dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, image_nc, 28, 28] in [0, 1] to values [N]."""
        return self.output(self.main(x).flatten(1)).squeeze(1)


class MlpGenerator(nn.Module):
    """Four linear layers, `dim` wide (512 published), with ReLU between and nothing after them."""

    def __init__(self, image_size: int, image_nc: int, noise_dim: int, dim: int) -> None:
        super().__init__()
        self.shape = (image_nc, image_size, image_size)
        self.main = perceptron(noise_dim, dim, math.prod(self.shape))

    def forward(self, noise: Tensor) -> Tensor:
        """Map [N, noise_dim] to [N, image_nc, image_size, image_size], about [-1, 1]."""
        return self.main(noise).unflatten(1, self.shape)


class MlpCritic(nn.Module):
    """Four linear layers, `dim` wide, with ReLU between them."""

    def __init__(self, image_size: int, image_nc: int, dim: int) -> None:
        super().__init__()
        self.main = perceptron(image_nc * image_size * image_size, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, image_nc, image_size, image_size] to values [N]."""
        return self.main(x.flatten(1)).squeeze(1)


def make_generator(config: Config) -> nn.Module:
    """Make the network from noise [N, nz] to images [N, nc, crop_size, crop_size]."""
    model, size = config.model, config.data.crop_size
    nc, nz = model.nc, model.nz
    if model.generator == "dcgan":
        widths = gen_channels(model.ngf, size)
        network = DcganGenerator(nz, widths, nc, norm=model.norm_gen, **config.text_dims)
        init_weights(network)
        return network
    dim = cast("int", model.ngf)
    if model.generator == "resnet":
        return ResidualGenerator(size, nc, nz, dim)
    if model.generator == "cifar10":
        return Cifar10Generator(nc, nz, dim)
    if model.generator == "mnist":
        return MnistGenerator(nc, nz, dim)
    return MlpGenerator(size, nc, nz, dim)


def make_critic(config: Config) -> nn.Module:
    """Make the network from images [N, nc, crop_size, crop_size] to values [N]."""
    model, size = config.model, config.data.crop_size
    nc = model.nc
    if model.critic == "dcgan":
        widths = dis_channels(model.ndf, size)
        network = DcganDiscriminator(widths, nc, norm=model.norm_critic, **config.text_dims)
        init_weights(network)
        return network
    dim = cast("int", model.ndf)
    if model.critic == "resnet":
        norm = cast("CriticNorm", model.norm_critic)
        if size == 32:
            return SmallResidualCritic(nc, dim, norm)
        return ResidualCritic(size, nc, dim, norm)
    if model.critic == "cifar10":
        return Cifar10Critic(nc, dim)
    if model.critic == "mnist":
        return MnistCritic(nc, dim)
    return MlpCritic(size, nc, dim)
