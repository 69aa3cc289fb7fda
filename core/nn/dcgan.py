"""The convolutional stacks of DCGAN, which WGAN takes over (Radford, Metz, Chintala, ICLR 2016).

Module names are those of pytorch/examples `dcgan/main.py`, continued to other sizes as in
martinarjovsky/WassersteinGAN `models/dcgan.py`; with conditions the generator has a `text` branch,
and the discriminator is `image`, `text` and `joint` (Reed et al. 2016, section 4.1).

Deviations from the official code: the discriminator ends in logits, the sigmoid being part of the
loss.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from core.errors import UserError
from core.options import PositiveInt

DcganNorm = Literal["batch", "layer", "none"]
Output = Literal["tanh", "sigmoid"]
Widths = PositiveInt | Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
"""Channels of the widest images' layer, from which the others double; or the layers' own list."""


def _num_stages(image_size: int) -> int:
    """Count the doublings from 4x4 to the image: 3 for 32, 4 for 64, 5 for 128 px."""
    stages = image_size.bit_length() - 3
    if image_size < 16 or image_size != 4 << stages:
        raise UserError(
            f"images of {image_size} px: these networks double from 4x4, so data.crop_size must be "
            "16, 32, 64, 128, ..."
        )
    return stages


def gen_channels(ngf: int | tuple[int, ...], image_size: int) -> tuple[int, ...]:
    """Return the channels of the generator at 4x4, 8x8, ... up to half the image size in pixels.

    `ngf` is the last of them, doubling towards 4x4 (512-256-128-64 for 64 at 64 px); or those from
    8x8 on, e.g. 512-256-128 at 64 px, in front of which 4x4 has twice the first.

    Raises:
        UserError: a list of the wrong length; a size below 16 or not 4 times a power of two.
    """
    if isinstance(ngf, int):
        return dis_channels(ngf, image_size)[::-1]
    _require_length("ngf", ngf, _num_stages(image_size) - 1, image_size)
    return (2 * ngf[0], *ngf)


def dis_channels(ndf: int | tuple[int, ...], image_size: int) -> tuple[int, ...]:
    """Return the channels of the discriminator from half the image size in pixels down to 4x4.

    `ndf` is the first of them, doubling towards 4x4; or all, e.g. 128-256-512-1024 at 64 px.

    Raises:
        UserError: as `gen_channels`.
    """
    stages = _num_stages(image_size)
    if isinstance(ndf, int):
        return tuple(ndf << stage for stage in range(stages))
    _require_length("ndf", ndf, stages, image_size)
    return ndf


def _require_length(name: str, widths: tuple[int, ...], expected: int, image_size: int) -> None:
    if len(widths) != expected:
        raise UserError(
            f"model.{name} = {list(widths)}: {len(widths)} widths, but images of {image_size} px "
            f"take {expected}; give {expected} widths, or one number"
        )


def _activation(slope: float) -> nn.Module:
    return nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)


def _norm(name: DcganNorm, channels: int) -> list[nn.Module]:
    """Make a norm; nothing at all for "none": positions in official containers move up then."""
    if name == "batch":
        return [nn.BatchNorm2d(channels)]
    # The WGAN-GP authors' layer norm: over channels and places, one scale a channel.
    return [nn.GroupNorm(1, channels)] if name == "layer" else []


def _text_branch(condition_dim: int, projection_dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(condition_dim, projection_dim), nn.LeakyReLU(0.2))


class DcganGenerator(nn.Module):
    """Noise, and a condition if there is one, to images of 4 * 2**len(channels) px.

    Args:
        noise_dim: length of the noise (official nz).
        channels: at 4x4, 8x8, ...; see `gen_channels`.
        image_channels: channels out (official nc).
        slope: of LeakyReLU; 0 is ReLU, as published.
        norm: none after the last convolution in any case.
        output: last activation; tanh images are in [-1, 1], sigmoid ones in [0, 1].
        condition_dim: length of a condition; 0: unconditional.
        projection_dim: what a condition is projected to before it joins the noise.
    """

    def __init__(
        self,
        noise_dim: int,
        channels: tuple[int, ...],
        image_channels: int = 3,
        *,
        slope: float = 0.0,
        norm: DcganNorm = "batch",
        output: Output = "tanh",
        condition_dim: int = 0,
        projection_dim: int = 128,
    ) -> None:
        super().__init__()
        self.condition_dim = condition_dim
        if condition_dim:
            self.text = _text_branch(condition_dim, projection_dim)
        inner = noise_dim + (projection_dim if condition_dim else 0)
        layers: list[nn.Module] = [nn.ConvTranspose2d(inner, channels[0], 4, bias=False)]
        for before, after in zip(channels, (*channels[1:], image_channels), strict=True):
            layers += [*_norm(norm, before), _activation(slope)]
            layers.append(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False))
        layers.append(nn.Tanh() if output == "tanh" else nn.Sigmoid())
        self.main = nn.Sequential(*layers)

    def forward(self, noise: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Map [N, noise_dim] and [N, condition_dim] to [N, image_channels, H, H]."""
        if conditions is not None:
            noise = torch.cat([noise, self.text(conditions)], dim=1)  # noise first
        return self.main(noise[:, :, None, None])


class DcganDiscriminator(nn.Module):
    """Images of 4 * 2**len(channels) px, and a condition if there is one, to logits.

    Arguments are as of `DcganGenerator`, but `channels` go from half the image size down to 4x4
    (`dis_channels`), no norm follows the first and the last convolution in any case, and a
    projected condition joins the features at 4x4.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        image_channels: int = 3,
        *,
        slope: float = 0.2,
        norm: DcganNorm = "batch",
        condition_dim: int = 0,
        projection_dim: int = 128,
    ) -> None:
        super().__init__()
        self.condition_dim = condition_dim
        layers: list[nn.Module] = []
        for before, after in zip((image_channels, *channels), channels, strict=False):
            layers.append(nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False))
            layers += _norm(norm, after) if len(layers) > 1 else []
            layers.append(_activation(slope))
        top = channels[-1]
        last = nn.Conv2d(top, 1, 4, bias=False)
        if not condition_dim:
            self.main = nn.Sequential(*layers, last)
            return
        self.image = nn.Sequential(*layers)
        self.text = _text_branch(condition_dim, projection_dim)
        mix = nn.Conv2d(top + projection_dim, top, 1, bias=False)
        self.joint = nn.Sequential(mix, *_norm(norm, top), _activation(slope), last)

    def forward(self, images: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Map [N, image_channels, H, H] and [N, condition_dim] to logits [N]."""
        if conditions is None:
            return self.main(images).flatten()
        features = self.image(images)  # [N, top, 4, 4]
        text = self.text(conditions)[:, :, None, None].expand(-1, -1, *features.shape[2:])
        return self.joint(torch.cat([features, text.to(features.dtype)], dim=1)).flatten()
