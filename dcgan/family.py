"""DCGAN (Radford, Metz, Chintala, ICLR 2016) and LSGAN (Mao et al., ICCV 2017).

G draws images from noise, D judges them. With captions it is GAN-CLS, a discriminator that also
judges whether image and text match, and GAN-INT (Reed et al., ICML 2016).

Deviations from the official code: samples are drawn in evaluation mode, with running statistics,
so that an image depends on its noise alone; the published script leaves G in train mode. With
captions the networks are the paper's on DCGAN's layers, and a mismatched pair is a real image with
a wrong text as in the paper's Algorithm 1 (the published code takes a wrong image).
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from core.data.single import find_domain
from core.family import Layout, SampleBatch, Update
from core.nn.dcgan import (
    DcganDiscriminator,
    DcganGenerator,
    dis_channels,
    gen_channels,
    init_dcgan,
)
from core.text import Vocabulary, interpolate, with_vocabulary
from core.training.optimizers import adam
from core.training.update import frozen
from dcgan.config import Config as DCGANConfig
from dcgan.losses import adversarial_loss, mean_score


class DCGAN:
    """A generator G and a discriminator D, both conditional where there are captions."""

    name: ClassVar[str] = "dcgan"
    Config: ClassVar[type[DCGANConfig]] = DCGANConfig
    layout: ClassVar[Layout] = "single"
    ema_networks: ClassVar[tuple[str, ...]] = ("G",)
    objective: ClassVar[str] = "G"
    multiple = minimum = 1

    def __init__(self, config: DCGANConfig, networks: dict[str, nn.Module]) -> None:
        self.config = config
        self.networks = networks
        self.optimizers: dict[str, Optimizer] = {
            name: adam([networks[name]], config.optim) for name in ("G", "D")
        }
        self.state: dict[str, Any] = {}

    @classmethod
    def build(cls, config: DCGANConfig) -> Self:
        """Networks with initial weights; a vocabulary not given is learnt from the tags file."""
        model, data = config.model, config.data
        if model.text is not None and model.text.vocabulary is None:
            config = with_vocabulary(config, find_domain(data.root, "train", data.tags).captions)
        text = config.model.text
        conditional: dict[str, Any] = {}
        if text is not None:
            size = Vocabulary(text.vocabulary or {}).size
            conditional = {"condition_dim": size, "projection_dim": text.projection_dim}
        G = DcganGenerator(
            model.nz,
            gen_channels(model.ngf, data.crop_size),
            model.nc,
            slope=model.slope_gen,
            output=model.output,
            **conditional,
        )
        channels = dis_channels(model.ndf, data.crop_size)
        D = DcganDiscriminator(channels, model.nc, slope=model.slope_dis, **conditional)
        for network in (G, D):
            init_dcgan(network)
        return cls(config, {"G": G, "D": D})

    @property
    def noise_dim(self) -> int:
        """Length of a noise vector."""
        return self.config.model.nz

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The words it draws; None without captions."""
        text = self.config.model.text
        return None if text is None else Vocabulary(text.vocabulary or {})

    # -- what is drawn at random ------------------------------------------------------------

    def random_noise(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """[num, noise_dim], float32, from N(0, 1)."""
        return torch.randn(num, self.noise_dim, generator=generator)

    def draw_noise(self, num: int, like: Tensor) -> Tensor:
        """Noise [num, noise_dim] of the type and on the device of `like`."""
        return torch.randn(num, self.noise_dim, device=like.device, dtype=like.dtype)

    def draw_labels(self, bounds: tuple[float, float], logits: Tensor) -> Tensor:
        """A label for each logit, evenly between the bounds."""
        low, high = bounds
        full = torch.full_like(logits, low, dtype=torch.promote_types(logits.dtype, torch.float32))
        return full if low == high else full + (high - low) * torch.rand_like(full)

    # -- training ---------------------------------------------------------------------------

    def training_step(self, batch: SampleBatch, step: int, update: Update) -> dict[str, Tensor]:
        """D on real and on fake; then G on the same fakes against the updated D."""
        if self.vocabulary is not None:
            conditions = self.vocabulary.encode(batch.captions).to(batch.images)
            return self.matching_aware_step(batch.images, conditions, update)
        G, D = self.networks["G"], self.networks["D"]
        real = self._to_networks(batch.images)
        fake = G(self.draw_noise(len(real), real))

        # One after the other: each batch has its own statistics in D's batch norms.
        on_real, on_fake = D(real), D(fake.detach())
        D_real, D_fake = self._dis_loss(on_real, real=True), self._dis_loss(on_fake, real=False)
        update(self.optimizers["D"], D_real, D_fake)

        with frozen(D):
            G_loss = self._gen_loss(D(fake))
            update(self.optimizers["G"], G_loss)

        return self._terms(on_real, on_fake, D_real=D_real, D_fake=D_fake, G=G_loss)

    def matching_aware_step(
        self, images: Tensor, right: Tensor, update: Update
    ) -> dict[str, Tensor]:
        """Algorithm 1 of Reed et al.: D also learns which texts do not match real images."""
        G, D, text = self.networks["G"], self.networks["D"], self.config.model.text
        assert text is not None
        real = self._to_networks(images)
        wrong = self.draw_wrong(right)
        with torch.no_grad():
            fake = G(self.draw_noise(len(real), real), right)

        on_real, on_wrong, on_fake = D(real, right), D(real, wrong), D(fake, right)
        D_real = self._dis_loss(on_real, real=True)
        D_wrong = text.cls_weight * self._dis_loss(on_wrong, real=False)
        D_fake = (1 - text.cls_weight) * self._dis_loss(on_fake, real=False)
        update(self.optimizers["D"], D_real, D_wrong, D_fake)

        conditions, weights = right, None
        if text.interpolation:
            between = interpolate(right, text.beta)
            conditions = torch.cat([right, between])
            weights = torch.ones_like(conditions[:, 0])
            weights[len(right) :] = text.interpolation
        fake = G(self.draw_noise(len(conditions), real), conditions)
        with frozen(D):
            G_loss = self._gen_loss(D(fake, conditions), weights)
            update(self.optimizers["G"], G_loss)

        losses = {"D_real": D_real, "D_wrong": D_wrong, "D_fake": D_fake, "G": G_loss}
        return self._terms(on_real, on_fake, **losses)

    def draw_wrong(self, right: Tensor) -> Tensor:
        """A caption that does not match, for each that does."""
        assert self.vocabulary is not None
        return self.vocabulary.mismatched(right)

    def _dis_loss(self, logits: Tensor, *, real: bool) -> Tensor:
        model = self.config.model
        labels = self.draw_labels(model.real_label if real else model.fake_label, logits)
        return adversarial_loss(logits, labels, model.objective)

    def _gen_loss(self, logits: Tensor, weights: Tensor | None = None) -> Tensor:
        model = self.config.model
        labels = torch.full_like(logits, model.gen_label)
        return adversarial_loss(logits, labels, model.objective, weights)

    def _terms(self, on_real: Tensor, on_fake: Tensor, **losses: Tensor) -> dict[str, Tensor]:
        """Losses, D's sum, and what D said: D(x) and D(G(z)) of the published log."""
        terms = {name: loss.detach() for name, loss in losses.items()}
        parts = [loss for name, loss in terms.items() if name.startswith("D_")]
        objective = self.config.model.objective
        return terms | {
            "D": torch.stack(parts).sum(),
            "score_real": mean_score(on_real.detach(), objective),
            "score_fake": mean_score(on_fake.detach(), objective),
        }

    # -- sampling ---------------------------------------------------------------------------

    def _to_networks(self, images: Tensor) -> Tensor:
        """[-1, 1] to the range of the generator's last activation."""
        return images if self.config.model.output == "tanh" else (images + 1) / 2

    def sample(self, noise: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Images [N, nc, H, H] in [-1, 1] of noise [N, nz] and, with captions, conditions."""
        images = self.networks["G"](noise, conditions)
        return images if self.config.model.output == "tanh" else images * 2 - 1
