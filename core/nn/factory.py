"""The networks of the official CycleGAN / pix2pix repository by their published names."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from core.errors import UserError
from core.losses import GanMode
from core.nn.discriminators import PatchDiscriminator, PixelDiscriminator
from core.nn.init import InitName, init_weights
from core.nn.norms import NormName
from core.nn.resnet import ResnetGenerator
from core.nn.unet import UnetGenerator
from core.options import Options, PositiveFloat, PositiveInt, RunConfig, Weight

Channels = Literal[1, 3, 4]
Generator = ResnetGenerator | UnetGenerator
Discriminator = PatchDiscriminator | PixelDiscriminator


class NetworkOptions(Options):
    """Generator and discriminator, with the official option's meaning and name where it has one."""

    generator: Literal["resnet_9blocks", "resnet_6blocks", "unet_256", "unet_128"]
    discriminator: Literal["basic", "n_layers", "pixel"] = "basic"
    """`basic` is the 70x70 PatchGAN; `n_layers` takes `num_layers_dis`; `pixel` judges pixels."""
    input_nc: Channels = 3
    """Channels of the model's A."""
    output_nc: Channels = 3
    """Channels of the model's B."""
    ngf: PositiveInt = 64
    ndf: PositiveInt = 64
    num_layers_dis: PositiveInt = 3
    norm: NormName
    dropout: bool
    init: InitName = "normal"
    init_gain: PositiveFloat = 0.02
    gan_mode: GanMode = "lsgan"
    lambda_gp: Weight = 10.0
    """`gan_mode: wgangp` only: weight of the critics' gradient penalty (Gulrajani et al. 2017)."""

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
    if options.generator in ("resnet_9blocks", "resnet_6blocks"):
        num_blocks = 9 if options.generator == "resnet_9blocks" else 6
        network = ResnetGenerator(*channels, num_blocks, norm, dropout, gradient_checkpointing)
    elif gradient_checkpointing:
        raise UserError(
            f"train.gradient_checkpointing: true, but model.generator {options.generator} has no "
            "residual blocks to recompute; set it to false, or choose a resnet generator"
        )
    else:
        num_downs = 8 if options.generator == "unet_256" else 7
        network = UnetGenerator(*channels, num_downs, norm, dropout)
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
