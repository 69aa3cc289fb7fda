"""The networks of DRIT (Lee, Tseng, Huang, Singh, Yang, ECCV 2018) and of two-domain DRIT++.

Module names, and the order of modules, are those of the official `src/networks.py` (HsinYingLee,
commit f19f50a), so that state dicts and optimizer states are interchangeable with the released
files. `dim` is 64 there.

Deviations from the official code, none of which changes the function: content noise is added by
the caller; in the concat generator the residual blocks see zeros for the attribute, which is added
afterwards (`ConcatGenerator.features` says why that is the same); in the feature-wise generator the
code's half of a 1x1 convolution is worked out once instead of at every position. `dis_norm` does
not exist here: the official layer builder ignores it.
"""

from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drit.config import Model
from drit.layers import (
    ConvBlock,
    DownBlock,
    FeatureBlock,
    ResidualBlock,
    SpectralConv2d,
    UpBlock,
    gaussian_init,
    pad,
    run,
)

Domain = Literal["A", "B"]


class ContentEncoder(nn.Module):
    """Image to content code; the last residual block is shared by both domains.

    `dim` is the number of channels after the first convolution; the code has 4 * dim. With
    `recompute` the residual blocks run again in the backward pass.
    """

    multiple = 4
    minimum = 8

    def __init__(
        self, input_dim_a: int, input_dim_b: int, dim: int, recompute: bool = False
    ) -> None:
        super().__init__()
        self.gradient_checkpointing = recompute
        # Official order: the optimizer's parameters are numbered by it.
        self.conv_share = nn.Sequential(ResidualBlock(4 * dim))
        self.convA = self._branch(input_dim_a, dim)
        self.convB = self._branch(input_dim_b, dim)

    @staticmethod
    def _branch(channels: int, dim: int) -> nn.Sequential:
        return nn.Sequential(
            ConvBlock((channels, dim), 7, 1, 3, nn.LeakyReLU(inplace=True)),
            ConvBlock((dim, 2 * dim), 3, 2, 1, nn.ReLU(inplace=True), norm=True),
            ConvBlock((2 * dim, 4 * dim), 3, 2, 1, nn.ReLU(inplace=True), norm=True),
            *[ResidualBlock(4 * dim) for _ in range(3)],
        )

    def forward(self, x: Tensor, domain: Domain) -> Tensor:
        """Map [N, C, H, W] in [-1, 1] of `domain` to [N, 4 * dim, ceil(H / 4), ceil(W / 4)]."""
        for layer in (*(self.convA if domain == "A" else self.convB), *self.conv_share):
            recompute = self.gradient_checkpointing and isinstance(layer, ResidualBlock)
            x = run(layer, x, recompute=recompute)
        return x


def sample(mean: Tensor, logvar: Tensor | None, eps: Tensor | None) -> Tensor:
    """Return mean + exp(logvar / 2) * eps; the mean itself where the encoder is deterministic."""
    if logvar is None:
        return mean
    assert eps is not None
    return mean + (0.5 * logvar).exp() * eps


class AttributeEncoder(nn.Module):
    """Image to attribute, deterministic: the one of the feature-wise variant (`concat: false`)."""

    minimum = 16

    def __init__(self, input_dim_a: int, input_dim_b: int, dim: int, nz: int) -> None:
        super().__init__()
        self.model_a = self._branch(input_dim_a, dim, nz)
        self.model_b = self._branch(input_dim_b, dim, nz)

    @staticmethod
    def _branch(channels: int, dim: int, nz: int) -> nn.Sequential:
        layers: list[nn.Module] = [pad(3), nn.Conv2d(channels, dim, 7), nn.ReLU(inplace=True)]
        for c_in, c_out in ((1, 2), (2, 4), (4, 4), (4, 4)):
            conv = nn.Conv2d(c_in * dim, c_out * dim, 4, stride=2)
            layers += [pad(1), conv, nn.ReLU(inplace=True)]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Conv2d(4 * dim, nz, 1))

    def forward(self, x: Tensor, domain: Domain) -> tuple[Tensor, None]:
        """Map [N, C, H, W] in [-1, 1] to the attribute [N, nz]; no variance."""
        branch = self.model_a if domain == "A" else self.model_b
        pooled, head = branch[:-1](x), branch[-1]
        assert isinstance(head, nn.Conv2d)
        with torch.autocast(x.device.type, enabled=False):  # codes are never half precision
            return head(pooled.to(head.weight.dtype)).flatten(1), None


class ConcatAttributeEncoder(nn.Module):
    """Image to mean and log-variance of the attribute: the one of `concat: true`."""

    minimum = 16

    def __init__(self, input_dim_a: int, input_dim_b: int, dim: int, nz: int) -> None:
        super().__init__()

        def head() -> nn.Sequential:
            return nn.Sequential(nn.Linear(4 * dim, nz))

        self.fc_A, self.fcVar_A = head(), head()
        self.conv_A = self._branch(input_dim_a, dim)
        self.fc_B, self.fcVar_B = head(), head()
        self.conv_B = self._branch(input_dim_b, dim)

    @staticmethod
    def _branch(channels: int, dim: int) -> nn.Sequential:
        return nn.Sequential(
            pad(1),
            nn.Conv2d(channels, dim, 4, stride=2),
            *[DownBlock(n * dim, (n + 1) * dim) for n in (1, 2, 3)],
            nn.LeakyReLU(0.2),
            nn.AdaptiveAvgPool2d(1),
        )

    def forward(self, x: Tensor, domain: Domain) -> tuple[Tensor, Tensor]:
        """Map [N, C, H, W] in [-1, 1] to mean and log-variance, each [N, nz]."""
        of_a = domain == "A"
        fc, fc_var = (self.fc_A, self.fcVar_A) if of_a else (self.fc_B, self.fcVar_B)
        pooled = (self.conv_A if of_a else self.conv_B)(x).flatten(1)
        with torch.autocast(x.device.type, enabled=False):  # codes are never half precision
            pooled = pooled.to(fc[0].weight.dtype)
            return fc(pooled), fc_var(pooled)


class Generator(nn.Module):
    """What both generators share: content and attribute to an image, in three stages.

    `paint(features(share(content), domain), attribute, domain)`: the first stage belongs to both
    domains, the second does not depend on the attribute. A caller that needs several images of one
    content can so work out the first two once; calling the network runs all three.
    """

    def __init__(self, recompute: bool) -> None:
        super().__init__()
        self.gradient_checkpointing = recompute

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the stages, which are called on their own, in place."""
        for name in ("share", "features", "paint"):
            setattr(self, name, torch.compile(getattr(self, name), *args, **kwargs))

    def share(self, content: Tensor) -> Tensor:
        """Work out [N, 4 * dim, h, w], what is the same for both domains."""
        return content

    def features(self, shared: Tensor, domain: Domain) -> Tensor:
        """Work out [N, C, h, w], what is the same for every attribute."""
        return shared

    def paint(self, features: Tensor, attribute: Tensor, domain: Domain) -> Tensor:
        """Map features and attribute [N, nz] to images [N, C, 4 * h, 4 * w] in [-1, 1]."""
        raise NotImplementedError

    def forward(self, content: Tensor, attribute: Tensor, domain: Domain) -> Tensor:
        """Map content [N, 4 * dim, h, w] and attribute [N, nz] to images of `domain` in [-1, 1]."""
        return self.paint(self.features(self.share(content), domain), attribute, domain)


class FeatureGenerator(Generator):
    """The generator of `concat: false`: a code from an MLP is mixed into every residual block."""

    def __init__(
        self, output_dim_a: int, output_dim_b: int, dim: int, nz: int, recompute: bool = False
    ) -> None:
        super().__init__(recompute)
        for domain, channels in (("A", output_dim_a), ("B", output_dim_b)):
            for n in range(1, 5):
                self.add_module(f"dec{domain}{n}", FeatureBlock(4 * dim))
            self.add_module(f"dec{domain}5", self._up(dim, channels))
        self.mlpA, self.mlpB = self._mlp(dim, nz), self._mlp(dim, nz)

    @staticmethod
    def _up(dim: int, channels: int) -> nn.Sequential:
        return nn.Sequential(
            UpBlock(4 * dim, 2 * dim),
            UpBlock(2 * dim, dim),
            nn.ConvTranspose2d(dim, channels, 1),
            nn.Tanh(),
        )

    @staticmethod
    def _mlp(dim: int, nz: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Linear(nz, 4 * dim),
            nn.ReLU(inplace=True),
            nn.Linear(4 * dim, 4 * dim),
            nn.ReLU(inplace=True),
            nn.Linear(4 * dim, 16 * dim),
        )

    def paint(self, features: Tensor, attribute: Tensor, domain: Domain) -> Tensor:
        """See `Generator.paint`."""
        codes = self.get_submodule(f"mlp{domain}")(attribute).chunk(4, dim=1)  # one per block
        x = features
        for n, code in enumerate(codes, 1):
            block = self.get_submodule(f"dec{domain}{n}")
            x = run(block, x, code, recompute=self.gradient_checkpointing)
        return self.get_submodule(f"dec{domain}5")(x)


class ConcatGenerator(Generator):
    """The generator of `concat: true`: the attribute is appended to the features four times."""

    def __init__(
        self, output_dim_a: int, output_dim_b: int, dim: int, nz: int, recompute: bool = False
    ) -> None:
        super().__init__(recompute)
        self.dec_share = nn.Sequential(ResidualBlock(4 * dim))
        wide = 4 * dim + nz
        half = (wide + nz) // 2
        quarter = (half + nz) // 2
        for domain, channels in (("A", output_dim_a), ("B", output_dim_b)):
            blocks = nn.Sequential(*[ResidualBlock(wide) for _ in range(3)])
            last = nn.Sequential(nn.ConvTranspose2d(quarter + nz, channels, 1), nn.Tanh())
            self.add_module(f"dec{domain}1", blocks)
            self.add_module(f"dec{domain}2", nn.Sequential(UpBlock(wide + nz, half)))
            self.add_module(f"dec{domain}3", nn.Sequential(UpBlock(half + nz, quarter)))
            self.add_module(f"dec{domain}4", last)
        self.nz = nz

    def share(self, content: Tensor) -> Tensor:
        """See `Generator.share`."""
        return run(self.dec_share[0], content, recompute=self.gradient_checkpointing)

    def features(self, shared: Tensor, domain: Domain) -> Tensor:
        """Map [N, 4 * dim, h, w] to [N, 4 * dim + nz, h, w], with zeros appended for the attribute.

        The published blocks see the attribute itself. It is the same at every position, so behind
        a reflection-padded convolution it is a constant per channel, which instance norm takes
        away: it passes through the blocks by their skip connections only, and may as well be added
        after the last one. That is exact, and spares three residual blocks per further attribute.
        """
        zeros = torch.zeros(shared.shape[0], self.nz, dtype=shared.dtype, device=shared.device)
        x = _appended(shared, zeros)
        for block in self.get_submodule(f"dec{domain}1").children():
            x = run(block, x, recompute=self.gradient_checkpointing)
        return x

    def paint(self, features: Tensor, attribute: Tensor, domain: Domain) -> Tensor:
        """See `Generator.paint`."""
        z = attribute.to(features.dtype)
        x = features + F.pad(z, (features.shape[1] - self.nz, 0))[:, :, None, None]
        for n in (2, 3):
            x = self.get_submodule(f"dec{domain}{n}")(_appended(x, z))
        last, tanh = self.get_submodule(f"dec{domain}4").children()
        assert isinstance(last, nn.ConvTranspose2d)
        # A 1x1 convolution, in which the attribute adds a constant to each channel.
        of_x, of_z = last.weight.split([x.shape[1], self.nz])
        constant = F.linear(z, of_z.flatten(1).T, last.bias)
        return tanh(F.conv_transpose2d(x, of_x) + constant[:, :, None, None])


def _appended(x: Tensor, code: Tensor) -> Tensor:
    """Append a code [N, nz] to [N, C, H, W] at every position: [N, C + nz, H, W]."""
    everywhere = code[:, :, None, None].expand(-1, -1, *x.shape[2:])
    if x.is_contiguous(memory_format=torch.channels_last):
        # Of an expanded tensor one cannot see its layout, and the result would be contiguous.
        everywhere = everywhere.contiguous(memory_format=torch.channels_last)
    return torch.cat([x, everywhere], 1)


def _judge(
    channels: int, dim: int, num_layers: int, kernel: int, conv: type[nn.Conv2d]
) -> nn.Sequential:
    """Make stride-2 convolutions that double the channels, and a 1x1 one to a logit."""
    widths = [channels, *[dim * 2**n for n in range(num_layers)]]
    blocks = [
        ConvBlock((c_in, c_out), kernel, 2, 1, nn.LeakyReLU(inplace=True), conv=conv)
        for c_in, c_out in pairwise(widths)
    ]
    return nn.Sequential(*blocks, conv(widths[-1], 1, 1))


class Discriminator(nn.Module):
    """Judges patches at one scale (`dis_scale: 1`): six 3x3 convolutions, each halving the side."""

    def __init__(self, channels: int, dim: int, spectral_norm: bool = False) -> None:
        super().__init__()
        self.model = _judge(channels, dim, 6, 3, SpectralConv2d if spectral_norm else nn.Conv2d)
        self.minimum = 33
        """Five rounded-up halvings leave the last reflection padding two pixels."""

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map [N, C, H, W] to one map of logits [N, 1, H', W']."""
        return [self.model(x)]


class MultiScaleDiscriminator(nn.Module):
    """Judges the image and its halvings, each by four 4x4 convolutions of its own.

    The first has `dim` channels, and they double up to 8 * dim; `num_scales` is the official
    `dis_scale`, `spectral_norm` is on every convolution.
    """

    def __init__(
        self, channels: int, dim: int, num_scales: int, spectral_norm: bool = False
    ) -> None:
        super().__init__()
        conv = SpectralConv2d if spectral_norm else nn.Conv2d
        self.Diss = nn.ModuleList(_judge(channels, dim, 4, 4, conv) for _ in range(num_scales))
        self.minimum = 15 * 2 ** (num_scales - 1) + 1
        """At least 16 pixels for the smallest scale; the halvings between scales round up."""

    def forward(self, x: Tensor) -> list[Tensor]:
        """Map [N, C, H, W] to a map of logits [N, 1, H', W'] per scale, largest first."""
        logits = []
        for scale, dis in enumerate(self.Diss):
            if scale:
                x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
            logits.append(dis(x))
        return logits


class ContentDiscriminator(nn.Module):
    """Tells from a content code which domain it comes from; published with three 7x7 layers.

    `channels` are those of the code and of every layer; fewer 7x7 layers suit smaller images.
    """

    def __init__(self, channels: int, num_layers: int = 3) -> None:
        super().__init__()

        def block(kernel: int, stride: int, padding: int) -> ConvBlock:
            activation = nn.LeakyReLU(inplace=True)
            return ConvBlock((channels, channels), kernel, stride, padding, activation)

        self.model = nn.Sequential(
            *[block(7, 2, 1) for _ in range(num_layers)], block(4, 1, 0), nn.Conv2d(channels, 1, 1)
        )
        code = 4
        for _ in range(num_layers):
            code = 2 * code + 3
        self.minimum = 4 * (code - 1) + 1
        """Smallest image side: 209 px for three layers, 97 for two, 41 for one."""

    def forward(self, content: Tensor) -> list[Tensor]:
        """Map [N, C, h, w] to one map of logits [N, 1, h', w']."""
        return [self.model(content)]


def make_networks(model: Model, recompute: bool) -> dict[str, nn.Module]:
    """Make DRIT's networks with their initial weights, in the order of the official files."""
    a, b, dim, nz = model.input_dim_a, model.input_dim_b, model.dim, model.nz

    def dis(channels: int) -> nn.Module:
        if model.dis_scale == 1:
            return Discriminator(channels, model.dim_dis, model.dis_spectral_norm)
        scales, spectral = model.dis_scale, model.dis_spectral_norm
        return MultiScaleDiscriminator(channels, model.dim_dis, scales, spectral)

    networks = {
        "disA": dis(a),
        "disA2": dis(a),
        "disB": dis(b),
        "disB2": dis(b),
        "disContent": ContentDiscriminator(4 * dim, model.num_layers_content),
        "enc_c": ContentEncoder(a, b, dim, recompute),
        "enc_a": (ConcatAttributeEncoder if model.concat else AttributeEncoder)(a, b, dim, nz),
        "gen": (ConcatGenerator if model.concat else FeatureGenerator)(a, b, dim, nz, recompute),
    }
    for network in networks.values():
        gaussian_init(network)
    return networks
