"""The networks of the official CycleGAN / pix2pix repository by their published names."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, model_validator

from core.errors import UserError
from core.losses import DiffAug, GanMode
from core.nn.discriminators import PatchDiscriminator, PixelDiscriminator
from core.nn.init import InitName, init_weights
from core.nn.norms import NormName
from core.nn.resnet import ResnetGenerator
from core.nn.unet import UnetGenerator
from core.nn.upsampling import Upsample
from core.options import Options, PositiveFloat, PositiveInt, RunConfig, Weight

Generator = ResnetGenerator | UnetGenerator
_UNETS = {f"unet_{2**levels}": levels for levels in range(5, 11)}


def num_residual_blocks(generator: str) -> int | None:
    """Return the N of `resnet_<N>blocks`; None for any other name."""
    match = re.fullmatch(r"resnet_([1-9]\d?)blocks", generator)
    return int(match[1]) if match else None


def _known(generator: str) -> str:
    if generator not in _UNETS and num_residual_blocks(generator) is None:
        raise ValueError(f"not a generator; give resnet_<N>blocks or one of {', '.join(_UNETS)}")
    return generator


GeneratorName = Annotated[str, AfterValidator(_known)]
"""`resnet_<N>blocks` with N residual blocks (9 and 6 were published), or `unet_<side>`, whose
innermost map is one pixel for images of that side (256 and 128 were published)."""
Discriminator = PatchDiscriminator | PixelDiscriminator


class NetworkOptions(Options):
    """Generator and discriminator, with the official option's meaning and name where it has one."""

    generator: GeneratorName
    discriminator: Literal["basic", "n_layers", "pixel"] = "basic"
    """`basic` is the 70x70 PatchGAN; `n_layers` takes `num_layers_dis`; `pixel` judges pixels."""
    input_nc: PositiveInt = 3
    """Channels of the model's A: 1 is gray, 3 RGB, 4 RGB and alpha, others are bands."""
    output_nc: PositiveInt = 3
    """Channels of the model's B."""
    ngf: PositiveInt = 64
    ndf: PositiveInt = 64
    num_layers_dis: PositiveInt = 3
    norm: NormName
    dropout: bool
    upsample: Upsample = "transposed"
    """Of the generator: transposed convolutions, as published, or `resize`, nearest neighbours and
    a convolution, against checkerboards (Odena et al. 2016)."""
    init: InitName = "normal"
    init_gain: PositiveFloat = 0.02
    gan_mode: GanMode = "lsgan"
    lambda_gp: Weight = 10.0
    """`gan_mode: wgangp` only: weight of the critics' gradient penalty (Gulrajani et al. 2017)."""
    diffaug: DiffAug = ()
    """Random changes of what discriminators see, for small data sets (`core.losses.augmented`)."""

    @model_validator(mode="after")
    def _penalty_is_per_sample(self) -> Self:
        if self.gan_mode == "wgangp" and self.norm == "batch":
            raise ValueError(
                "gan_mode: wgangp, but the gradient penalty is per sample and norm: batch couples "
                "samples; set norm: instance or none"
            )
        return self


class NetworksConfig(RunConfig):
    """A run of a family whose networks are these."""

    model: NetworkOptions

    @property
    def channels(self) -> tuple[int, int]:
        """Channels of the model's A and B."""
        return self.model.input_nc, self.model.output_nc


def make_generator(
    options: NetworkOptions, input_nc: int, output_nc: int, *, gradient_checkpointing: bool = False
) -> Generator:
    """Make a generator with its initial weights.

    Raises:
        UserError: gradient checkpointing of a U-Net.
    """
    network: Generator
    channels, norm, dropout = (input_nc, output_nc, options.ngf), options.norm, options.dropout
    upsample = options.upsample
    num_blocks = num_residual_blocks(options.generator)
    if num_blocks is not None:
        network = ResnetGenerator(
            *channels, num_blocks, norm, dropout, gradient_checkpointing, upsample
        )
    elif gradient_checkpointing:
        raise UserError(
            f"train.gradient_checkpointing: true, but model.generator {options.generator} has no "
            "residual blocks to recompute; set it to false, or choose a resnet generator"
        )
    else:
        network = UnetGenerator(*channels, _UNETS[options.generator], norm, dropout, upsample)
    init_weights(network, options.init, options.init_gain)
    return network


def make_discriminator(options: NetworkOptions, input_nc: int) -> Discriminator:
    """Make a discriminator with its initial weights."""
    network: Discriminator
    if options.discriminator == "pixel":
        network = PixelDiscriminator(input_nc, options.ndf, options.norm)
    else:
        layers = 3 if options.discriminator == "basic" else options.num_layers_dis
        network = PatchDiscriminator(input_nc, options.ndf, layers, options.norm)
    init_weights(network, options.init, options.init_gain)
    return network
