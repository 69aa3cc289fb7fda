"""A run's generator and critic from its options, with their published initial weights."""

from __future__ import annotations

from typing import cast

from torch import nn

from core.nn.dcgan import (
    DcganDiscriminator,
    DcganGenerator,
    dis_channels,
    gen_channels,
    init_dcgan,
)
from wgan.config import Model
from wgan.networks import (
    Cifar10Critic,
    Cifar10Generator,
    CriticNorm,
    MlpCritic,
    MlpGenerator,
    MnistCritic,
    MnistGenerator,
    ResidualCritic,
    ResidualGenerator,
    SmallResidualCritic,
)


def make_generator(model: Model, image_size: int, condition_dim: int = 0) -> nn.Module:
    """Noise [N, noise_dim] (and conditions) to images of `image_size` px."""
    nc, noise_dim = model.nc, model.nz
    if model.generator == "dcgan":
        network = DcganGenerator(
            noise_dim,
            gen_channels(model.ngf, image_size),
            nc,
            norm=model.norm_gen,
            condition_dim=condition_dim,
            projection_dim=model.text.projection_dim if model.text is not None else 0,
        )
        init_dcgan(network)
        return network
    dim = cast("int", model.ngf)
    if model.generator == "resnet":
        return ResidualGenerator(image_size, nc, noise_dim, dim)
    if model.generator == "cifar10":
        return Cifar10Generator(nc, noise_dim, dim)
    if model.generator == "mnist":
        return MnistGenerator(nc, noise_dim, dim)
    return MlpGenerator(image_size, nc, noise_dim, dim)


def make_critic(model: Model, image_size: int, condition_dim: int = 0) -> nn.Module:
    """Images of `image_size` px (and conditions) to values [N]."""
    nc = model.nc
    if model.critic == "dcgan":
        network = DcganDiscriminator(
            dis_channels(model.ndf, image_size),
            nc,
            norm=model.norm_critic,
            condition_dim=condition_dim,
            projection_dim=model.text.projection_dim if model.text is not None else 0,
        )
        init_dcgan(network)
        return network
    dim = cast("int", model.ndf)
    if model.critic == "resnet":
        norm = cast("CriticNorm", model.norm_critic)
        if image_size == 32:
            return SmallResidualCritic(nc, dim, norm)
        return ResidualCritic(image_size, nc, dim, norm)
    if model.critic == "cifar10":
        return Cifar10Critic(nc, dim)
    if model.critic == "mnist":
        return MnistCritic(nc, dim)
    return MlpCritic(image_size, nc, dim)
