"""What one iteration of DRIT makes of two batches of images: there, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.training.update import frozen
from drit.config import Model
from drit.networks import Domain, Generator, sample

Networks = Mapping[str, nn.Module]


@dataclass(frozen=True)
class Noise:
    """Everything random in a full iteration, in the order in which it is drawn."""

    content_A: Tensor
    content_B: Tensor
    eps_A: Tensor | None
    eps_B: Tensor | None
    random: tuple[Tensor, ...]
    """Attributes from the prior, shared by both directions; two with mode seeking."""
    content_fake_A: Tensor
    content_fake_B: Tensor
    eps_recon_A: Tensor | None
    eps_recon_B: Tensor | None


@dataclass(frozen=True)
class Codes:
    """What the encoders see in an image."""

    content: Tensor
    """[N, 4 * dim, h, w], with noise."""
    mean: Tensor
    logvar: Tensor | None
    attribute: Tensor
    """[N, nz], sampled."""


@dataclass(frozen=True)
class Fakes:
    """Images of one domain, [N, C, H, W] in [-1, 1]."""

    encoded: Tensor
    """Content of the other domain, attribute of this one."""
    same: Tensor
    """Content and attribute of one image of this domain."""
    random: tuple[Tensor, ...]
    """Content of the other domain, random attributes."""


@dataclass(frozen=True)
class Side:
    """All that an iteration makes in one domain."""

    real: Tensor
    codes: Codes
    fakes: Fakes
    again: Codes
    """Of `fakes.encoded`: its content is that of the other domain's image."""
    recon: Tensor
    """The image after translating there and back."""
    regressed: Tensor
    """Attribute seen in the first of `fakes.random`."""


def content_noise(images: Tensor, model: Model) -> Tensor:
    """Standard normal noise of the shape of the images' content code."""
    num, _, height, width = images.shape
    shape = num, 4 * model.dim, -(-height // 4), -(-width // 4)
    return torch.randn(shape, device=images.device, dtype=images.dtype)


def draw(real_A: Tensor, real_B: Tensor, model: Model) -> Noise:
    """What a full iteration draws, from torch's global generator."""

    def normal() -> Tensor:
        return torch.randn(len(real_A), model.nz, device=real_A.device, dtype=real_A.dtype)

    def eps() -> Tensor | None:
        return normal() if model.concat else None

    return Noise(
        content_A=content_noise(real_A, model),
        content_B=content_noise(real_B, model),
        eps_A=eps(),
        eps_B=eps(),
        random=tuple(normal() for _ in range(2 if model.lambda_ms else 1)),
        content_fake_A=content_noise(real_A, model),
        content_fake_B=content_noise(real_B, model),
        eps_recon_A=eps(),
        eps_recon_B=eps(),
    )


def encode(
    networks: Networks, images: Tensor, domain: Domain, noise: Tensor, eps: Tensor | None
) -> Codes:
    """Content with noise, and a sampled attribute."""
    mean, logvar = networks["enc_a"](images, domain)
    content = networks["enc_c"](images, domain) + noise
    return Codes(content, mean, logvar, sample(mean, logvar, eps))


def fakes_at_once(
    gen: nn.Module, own: Codes, other: Codes, random: tuple[Tensor, ...], domain: Domain
) -> Fakes:
    """What a domain's decoder makes of both contents, in one batch as published."""
    contents = [other.content, own.content, *[other.content] * len(random)]
    attributes = [own.attribute, own.attribute, *random]
    images = gen(torch.cat(contents), torch.cat(attributes), domain)
    encoded, same, *drawn = images.split(len(own.content))
    return Fakes(encoded, same, tuple(drawn))


def fakes_in_stages(
    gen: Generator,
    own: Tensor,
    other: Tensor,
    codes: Codes,
    random: tuple[Tensor, ...],
    domain: Domain,
) -> Fakes:
    """The same from shared contents: what no attribute reaches is worked out once per content.

    Images with random attributes are painted apart, as they are no part of the first objective.
    """
    own, other = gen.features(own, domain), gen.features(other, domain)
    attributes = torch.cat([codes.attribute, codes.attribute])
    encoded, same = gen.paint(torch.cat([other, own]), attributes, domain).chunk(2)
    drawn = gen.paint(torch.cat([other] * len(random)), torch.cat(random), domain)
    return Fakes(encoded, same, drawn.chunk(len(random)))


def forward(
    networks: Networks, real_A: Tensor, real_B: Tensor, noise: Noise, *, joint: bool
) -> tuple[Side, Side]:
    """There with encoded and with random attributes, and back.

    Args:
        networks: enc_c, enc_a, gen.
        real_A: [N, C_A, H, W] in [-1, 1].
        real_B: [N, C_B, H, W] in [-1, 1].
        noise: everything random.
        joint: work out once what several images have in common; the numbers are the same.
    """
    enc_a, gen = networks["enc_a"], networks["gen"]
    a = encode(networks, real_A, "A", noise.content_A, noise.eps_A)
    b = encode(networks, real_B, "B", noise.content_B, noise.eps_B)
    if joint:
        assert isinstance(gen, Generator)
        in_a, in_b = gen.share(a.content), gen.share(b.content)
        fakes_A = fakes_in_stages(gen, in_a, in_b, a, noise.random, "A")
        fakes_B = fakes_in_stages(gen, in_b, in_a, b, noise.random, "B")
    else:
        fakes_A = fakes_at_once(gen, a, b, noise.random, "A")
        fakes_B = fakes_at_once(gen, b, a, noise.random, "B")

    again_A = encode(networks, fakes_A.encoded, "A", noise.content_fake_A, noise.eps_recon_A)
    again_B = encode(networks, fakes_B.encoded, "B", noise.content_fake_B, noise.eps_recon_B)
    recon_A = gen(again_B.content, again_A.attribute, "A")
    recon_B = gen(again_A.content, again_B.attribute, "B")
    with frozen(enc_a):  # the latent regression does not train it
        regressed_A, _ = enc_a(fakes_A.random[0], "A")
        regressed_B, _ = enc_a(fakes_B.random[0], "B")
    return (
        Side(real_A, a, fakes_A, again_A, recon_A, regressed_A),
        Side(real_B, b, fakes_B, again_B, recon_B, regressed_B),
    )
