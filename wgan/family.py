"""WGAN (Arjovsky, Chintala, Bottou, ICML 2017) and WGAN-GP (Gulrajani et al., NeurIPS 2017).

The generator G makes images from noise; the critic D, which is no classifier, gives each image a
value, high for real ones. D is kept Lipschitz by clipping its weights, or by a penalty on the norm
of its gradient.

A training step is one batch from the loader: one critic update, and after every `num_critic`-th of
them (later during the warm-up, see `wgan.critic_schedule`) one generator update. The schedule, the
log and the checkpoints count these steps.

The penalty stays exact whatever the options: `core.losses.gradient_penalty` computes it outside
autocast, and on the eager critic.

With captions the critic is matching-aware, as GAN-CLS (Reed et al. 2016) is: it rates the real
image with its own caption above both a fake with that caption and the real image with a wrong one.

Deviations from the official code: the generator is frozen, not merely left out of the update, while
the critic is trained; both updates of a step see the noise of a batch of the loader's size; images
of the mnist networks are in [0, 1] inside, as published, and in [-1, 1] at the borders; values are
logged with the papers' sign, also of a critic that rates real images low as the official one does.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from core.data.single import with_vocabulary
from core.family import SampleBatch, Update
from core.generative import GenerativeBase
from core.losses import dis_loss, gradient_penalty
from core.nn.joint import forward_each
from core.text import interpolate
from core.training.optimizers import Optimizers, adam, rmsprop
from core.training.update import clip_weights, frozen
from wgan.config import Config as WGANConfig
from wgan.critic_schedule import trains_generator
from wgan.networks import make_critic, make_generator


class WGAN(GenerativeBase):
    """A generator G and a critic D."""

    name: ClassVar[str] = "wgan"
    Config: ClassVar[type[WGANConfig]] = WGANConfig
    objective: ClassVar[str] = "negative_critic_loss"

    def __init__(self, config: WGANConfig, networks: dict[str, nn.Module]) -> None:
        self.config: WGANConfig = config
        self.networks = networks
        optim = config.optim
        self.optimizers: Mapping[str, Optimizer] = Optimizers(
            {
                name: partial(adam, [network], optim)
                if optim.optimizer == "adam"
                else partial(rmsprop, [network], optim, optim.smoothing)
                for name, network in networks.items()
            }
        )
        self.state: dict[str, Any] = {}
        self.unit_range = config.model.generator == "mnist"

    @classmethod
    def build(cls, config: WGANConfig) -> Self:
        """Make networks with initial weights; learn the vocabulary, if not given, from the tags."""
        config = with_vocabulary(config)
        return cls(config, {"G": make_generator(config), "D": make_critic(config)})

    @property
    def steps_per_round(self) -> int:
        """Number of steps of which the last one also updates the generator, for benchmarks."""
        return self.config.model.num_critic

    def training_step(self, batch: SampleBatch, step: int, update: Update) -> dict[str, Tensor]:
        """Update the critic; then, where the schedule says so, the generator (Algorithm 1)."""
        model, G, D = self.config.model, self.networks["G"], self.networks["D"]
        real = self.real_images(batch)  # [N, C, H, W]
        right, wrong = self.conditions(batch)

        # Not under no_grad: older torch would keep autocast's casts without gradients for later.
        with frozen(G):
            fake = G(self.draw_noise(len(real), real), *right)
        real, fake = self.augmented(real), self.augmented(fake)
        rated = {"critic_real": (real, *right), "critic_fake": (fake, *right)}
        if model.text is not None:
            rated["critic_wrong"] = (real, *wrong)
        with self.clipped(D):
            values = self.rate(**rated)
            low = values["critic_fake"]
            if model.text is not None:
                low = torch.lerp(low, values["critic_wrong"], model.text.cls_weight)
            losses = {"critic_adversarial": low - values["critic_real"]}
            if model.constraint == "penalty":
                losses["gradient_penalty"] = gradient_penalty(
                    lambda x: D.forward(x, *right), real, fake, weight=model.lambda_gp
                )
            update(self.optimizers["D"], *losses.values())

        loss = torch.stack([*losses.values()]).sum()
        terms = values | losses | {"critic": loss, "negative_critic_loss": -loss}
        if trains_generator(model, step):
            with frozen(D):
                terms["G"] = self.generator_loss(real, right)
                update(self.optimizers["G"], terms["G"])
        return {name: term.detach() for name, term in terms.items()}

    def generator_loss(self, real: Tensor, right: tuple[Tensor, ...]) -> Tensor:
        """Return what the generator minimises; GAN-INT adds fakes of interpolated captions."""
        model, G = self.config.model, self.networks["G"]
        given = tuple(c.repeat(model.gen_batch_factor, 1) for c in right)
        fake = G(self.draw_noise(model.gen_batch_factor * len(real), real), *given)
        loss = -self.rate(fake=(self.augmented(fake), *given))["fake"]
        if model.text is not None and model.text.interpolation:
            mixed = interpolate(right[0], model.text.beta)
            fake = G(self.draw_noise(len(mixed), mixed), mixed)
            value = self.rate(fake=(self.augmented(fake), mixed))["fake"]
            loss = loss - model.text.interpolation * value
        return loss

    def rate(self, **inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Return the critic's mean value of each (images, conditions), high for real images.

        The official code trains its critic to rate real images low: the values of such a critic
        are negated here, and nothing else knows of it.
        """
        model = self.config.model
        values = forward_each(self.networks["D"], *inputs.values())
        official = model.constraint == "clip" and model.clip_convention == "official"
        sign = -1.0 if official else 1.0
        means = [sign * dis_loss(value, "wgangp", real=False) for value in values]
        return dict(zip(inputs, means, strict=True))

    @contextmanager
    def clipped(self, D: nn.Module) -> Iterator[None]:
        """Clip D's weights after the update within, as Algorithm 1, or before as the official code.

        The official generator therefore meets weights slightly outside the bound.
        """
        model = self.config.model
        clips, before = model.constraint == "clip", model.clip_convention == "official"
        if clips and before:
            clip_weights(D, model.clip)
        yield
        if clips and not before:
            clip_weights(D, model.clip)
