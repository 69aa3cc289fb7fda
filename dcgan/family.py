"""DCGAN (Radford, Metz, Chintala, ICLR 2016) and LSGAN (Mao et al., ICCV 2017).

G draws images from noise, D judges them. With captions it is GAN-CLS, a discriminator that also
judges whether image and text match, and GAN-INT (Reed et al., ICML 2016).

Deviations from the official code: samples are drawn in evaluation mode, with running statistics,
so that an image depends on its noise alone; the published script leaves G in train mode. With
captions the networks are the paper's on DCGAN's layers, and a mismatched pair is a real image with
a wrong text as in the paper's Algorithm 1 (the published code takes a wrong image).
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from core.data.single import with_vocabulary
from core.family import SampleBatch, Update
from core.generative import GenerativeBase
from core.nn.dcgan import DcganDiscriminator, DcganGenerator, dis_channels, gen_channels
from core.nn.init import init_weights
from core.noise import uniform
from core.text import interpolate
from core.training.optimizers import Optimizers, adam
from core.training.update import frozen
from dcgan.config import Config as DCGANConfig
from dcgan.losses import adversarial_loss, mean_score


class DCGAN(GenerativeBase):
    """A generator G and a discriminator D, both conditional where there are captions."""

    name: ClassVar[str] = "dcgan"
    Config: ClassVar[type[DCGANConfig]] = DCGANConfig
    objective: ClassVar[str] = "G"

    def __init__(self, config: DCGANConfig, networks: dict[str, nn.Module]) -> None:
        self.config: DCGANConfig = config
        self.networks = networks
        self.optimizers: Mapping[str, Optimizer] = Optimizers(
            {name: partial(adam, [networks[name]], config.optim) for name in ("G", "D")}
        )
        self.state: dict[str, Any] = {}
        self.unit_range = config.model.output == "sigmoid"

    @classmethod
    def build(cls, config: DCGANConfig) -> Self:
        """Make networks with initial weights; learn the vocabulary, if not given, from the tags."""
        config = with_vocabulary(config)
        model, size = config.model, config.data.crop_size
        G = DcganGenerator(
            model.nz,
            gen_channels(model.ngf, size),
            model.nc,
            slope=model.slope_gen,
            output=model.output,
            **config.text_dims,
        )
        widths = dis_channels(model.ndf, size)
        D = DcganDiscriminator(widths, model.nc, slope=model.slope_dis, **config.text_dims)
        for network in (G, D):
            init_weights(network)
        return cls(config, {"G": G, "D": D})

    def training_step(self, batch: SampleBatch, step: int, update: Update) -> dict[str, Tensor]:
        """Update D on real images and on fakes, then G by what the new D says of the same fakes."""
        model, G, D = self.config.model, self.networks["G"], self.networks["D"]
        if model.text is not None:
            return self.matching_aware_step(batch, update)
        real = self.real_images(batch)  # [N, C, H, W]
        fake = G(self.draw_noise(len(real), real))

        # One after the other: each batch has its own statistics in D's batch norms.
        on_real = D(self.augmented(real))  # logits [N]
        on_fake = D(self.augmented(fake.detach()))
        D_real = self.loss(on_real, model.real_label)
        D_fake = self.loss(on_fake, model.fake_label)
        update(self.optimizers["D"], D_real, D_fake)

        with frozen(D):
            G_loss = self.loss(D(self.augmented(fake)), (model.gen_label, model.gen_label))
            update(self.optimizers["G"], G_loss)

        return self._terms(on_real, on_fake, D_real=D_real, D_fake=D_fake, G=G_loss)

    def matching_aware_step(self, batch: SampleBatch, update: Update) -> dict[str, Tensor]:
        """Train D also to tell texts that do not match real images (Reed et al., Algorithm 1)."""
        model, G, D = self.config.model, self.networks["G"], self.networks["D"]
        text = model.text
        assert text is not None
        real = self.real_images(batch)  # [N, C, H, W]
        (right,), (wrong,) = self.conditions(batch)  # [N, vocabulary.size] each
        with frozen(G):
            fake = G(self.draw_noise(len(real), real), right)

        seen = self.augmented(real)
        on_real, on_wrong = D(seen, right), D(seen, wrong)  # logits [N]
        on_fake = D(self.augmented(fake), right)
        D_real = self.loss(on_real, model.real_label)
        D_wrong = text.cls_weight * self.loss(on_wrong, model.fake_label)
        D_fake = (1 - text.cls_weight) * self.loss(on_fake, model.fake_label)
        update(self.optimizers["D"], D_real, D_wrong, D_fake)

        conditions, weights = right, None
        if text.interpolation:  # GAN-INT
            conditions = torch.cat([right, interpolate(right, text.beta)])  # [N + N // 2, size]
            weights = torch.ones_like(conditions[:, 0])
            weights[len(right) :] = text.interpolation
        fake = G(self.draw_noise(len(conditions), real), conditions)
        with frozen(D):
            labels = (model.gen_label, model.gen_label)
            G_loss = self.loss(D(self.augmented(fake), conditions), labels, weights)
            update(self.optimizers["G"], G_loss)

        losses = {"D_real": D_real, "D_wrong": D_wrong, "D_fake": D_fake, "G": G_loss}
        return self._terms(on_real, on_fake, **losses)

    def loss(
        self, logits: Tensor, labels: tuple[float, float], weights: Tensor | None = None
    ) -> Tensor:
        """Compare logits [N] with labels drawn between two bounds; `weights` [N] of the samples."""
        drawn = self.draw_labels(labels, logits)
        return adversarial_loss(logits, drawn, self.config.model.objective, weights)

    def draw_labels(self, bounds: tuple[float, float], logits: Tensor) -> Tensor:
        """Draw a label for each logit, evenly between the bounds, in float32 at least."""
        low, high = bounds
        full = torch.full_like(logits, low, dtype=torch.promote_types(logits.dtype, torch.float32))
        return full if low == high else full + (high - low) * uniform(full, *full.shape)

    def _terms(self, on_real: Tensor, on_fake: Tensor, **losses: Tensor) -> dict[str, Tensor]:
        """Return losses, their sum for D, and what D said: the published log's D(x) and D(G(z))."""
        terms = {name: loss.detach() for name, loss in losses.items()}
        parts = [loss for name, loss in terms.items() if name.startswith("D_")]
        objective = self.config.model.objective
        return terms | {
            "D": torch.stack(parts).sum(),
            "score_real": mean_score(on_real.detach(), objective),
            "score_fake": mean_score(on_fake.detach(), objective),
        }
