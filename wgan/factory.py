"""A run's generator and critic from its options, with their published initial weights."""

from __future__ import annotations

from typing import cast

from torch import nn

from core.nn.dcgan import DcganDiscriminator, DcganGenerator, dis_channels, gen_channels
from core.nn.init import init_weights
from wgan.config import Config
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
