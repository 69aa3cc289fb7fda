"""WGAN (Arjovsky, Chintala, Bottou, ICML 2017) and WGAN-GP (Gulrajani et al., NeurIPS 2017).

The generator G makes images from noise; the critic D, which is no classifier, gives each image a
value. D is kept Lipschitz by clipping its weights, or by a penalty on the norm of its gradient.

A training step is one batch from the loader: one critic update, and after every `num_critic`-th of
them (later during the warm-up, see `wgan.turns`) one generator update. The schedule, the log and
the checkpoints count these steps.

The penalty stays exact whatever the options: it is computed outside autocast in the weights' own
float32, and on the eager critic, because torch.compile has no double backward
(`core.losses.gradient_penalty`).

With captions the critic is matching-aware, as GAN-CLS (Reed et al. 2016) is: it rates the real
image with its own caption above both a fake with that caption and the real image with a wrong one.

Deviations from the official code: the generator is frozen, not merely left out of the update, while
the critic is trained; both updates of a step see the noise of a batch of the loader's size; images
of the mnist networks are in [0, 1] inside, as published, and in [-1, 1] at the borders.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from core.data.single import find_domain
from core.errors import UserError
from core.family import Layout, SampleBatch, Update
from core.losses import gradient_penalty
from core.text import Vocabulary, interpolate, with_vocabulary
from core.training.optimizers import adam, rmsprop
from core.training.update import clip_weights, frozen
from wgan.config import Config as WGANConfig
from wgan.factory import make_critic, make_generator
from wgan.losses import critic_loss, critic_value, generator_loss
from wgan.turns import Turns


class WGAN:
    """A generator G and a critic D."""

    name: ClassVar[str] = "wgan"
    Config: ClassVar[type[WGANConfig]] = WGANConfig
    layout: ClassVar[Layout] = "single"
    ema_networks: ClassVar[tuple[str, ...]] = ("G",)
    objective: ClassVar[str] = "negative_critic_loss"
    multiple = minimum = 1

    def __init__(self, config: WGANConfig, networks: dict[str, nn.Module]) -> None:
        self.config = config
        self.networks = networks
        self.optimizers: dict[str, Optimizer] = {
            name: self._optimizer(network) for name, network in networks.items()
        }
        self.state: dict[str, Any] = {}
        model = config.model
        clips, official = model.constraint == "clip", model.clip_convention == "official"
        self.clips_before, self.clips_after = clips and official, clips and not official
        self.sign = -1.0 if self.clips_before else 1.0
        self.value_range = (0.0, 1.0) if model.generator == "mnist" else (-1.0, 1.0)
        self.joint = model.norm_critic != "batch"
        self.turns = Turns(
            model.num_critic, model.num_critic_warm_up, model.num_warm_up, model.warm_up_every
        )

    def _optimizer(self, network: nn.Module) -> Optimizer:
        optim = self.config.optim
        if optim.optimizer == "rmsprop":
            return rmsprop([network], optim, optim.smoothing)
        return adam([network], optim)

    @classmethod
    def build(cls, config: WGANConfig) -> Self:
        """Networks with initial weights; a vocabulary not given is learnt from the tags file."""
        text, data = config.model.text, config.data
        if text is not None and text.vocabulary is None:
            config = with_vocabulary(config, find_domain(data.root, "train", data.tags).captions)
            text = config.model.text
        size = Vocabulary(text.vocabulary or {}).size if text is not None else 0
        return cls(
            config,
            {
                "G": make_generator(config.model, data.crop_size, size),
                "D": make_critic(config.model, data.crop_size, size),
            },
        )

    @property
    def steps_per_round(self) -> int:
        """Steps of which the last one also updates the generator, for benchmarks."""
        return self.config.model.num_critic

    @property
    def noise_dim(self) -> int:
        """Length of a noise vector."""
        return self.config.model.nz

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The words it draws; None without captions."""
        text = self.config.model.text
        return None if text is None else Vocabulary(text.vocabulary or {})

    def training_step(self, batch: SampleBatch, step: int, update: Update) -> dict[str, Tensor]:
        """One critic update; then, where it is the generator's turn, one of its."""
        model, G, D = self.config.model, self.networks["G"], self.networks["D"]
        self.check_size(batch.images)
        real = self.to_native(batch.images)
        right, wrong = self.conditions(batch, real)

        # Not under no_grad: older torch would keep autocast's casts without gradients for later.
        with frozen(G):
            fake = G(self.noise_like(real), *right)
        if self.clips_before:
            clip_weights(D, model.clip)
        values = self.critic_values(real, fake, right, wrong)
        losses = {"critic_adversarial": self.critic_loss(values)}
        if model.constraint == "penalty":
            losses["gradient_penalty"] = gradient_penalty(
                lambda x: D.forward(x, *right), real, fake, weight=model.lambda_gp
            )
        update(self.optimizers["D"], *losses.values())
        if self.clips_after:
            clip_weights(D, model.clip)

        loss = torch.stack([*losses.values()]).sum()
        terms = values | losses | {"critic": loss, "negative_critic_loss": -loss}
        if self.turns.is_generators(step):
            with frozen(D):
                terms["G"] = self.generator_loss(real, right)
                update(self.optimizers["G"], terms["G"])
        return {name: term.detach() for name, term in terms.items()}

    def critic_values(
        self, real: Tensor, fake: Tensor, right: tuple[Tensor, ...], wrong: tuple[Tensor, ...]
    ) -> dict[str, Tensor]:
        """Mean values of real images, fakes and, with captions, real images with wrong ones."""
        D = self.networks["D"]
        inputs = {"critic_real": (real, *right), "critic_fake": (fake, *right)}
        if wrong:
            inputs["critic_wrong"] = (real, *wrong)
        if not self.joint:
            return {name: critic_value(D(*given)) for name, given in inputs.items()}
        together = D(*(torch.cat(column) for column in zip(*inputs.values(), strict=True)))
        parts = together.split([len(given[0]) for given in inputs.values()])
        return {name: critic_value(part) for name, part in zip(inputs, parts, strict=True)}

    def critic_loss(self, values: dict[str, Tensor]) -> Tensor:
        """The critic's objective without the penalty; GAN-CLS splits the fakes' part."""
        low = values["critic_fake"]
        if self.config.model.text is not None:
            low = torch.lerp(low, values["critic_wrong"], self.config.model.text.cls_weight)
        return critic_loss(values["critic_real"], low, self.sign)

    def generator_loss(self, real: Tensor, right: tuple[Tensor, ...]) -> Tensor:
        """The generator's objective; GAN-INT adds fakes of interpolated captions."""
        model, G, D = self.config.model, self.networks["G"], self.networks["D"]
        given = tuple(c.repeat(model.gen_batch_factor, 1) for c in right)
        on_fake = D(G(self.noise_like(real, model.gen_batch_factor), *given), *given)
        loss = generator_loss(critic_value(on_fake), self.sign)
        if model.text is None or not model.text.interpolation:
            return loss
        mixed = interpolate(right[0], model.text.beta)
        on_mixed = D(G(self.noise_like(mixed), mixed), mixed)
        weight = model.text.interpolation
        return loss + weight * generator_loss(critic_value(on_mixed), self.sign)

    def conditions(
        self, batch: SampleBatch, like: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Right and wrong conditions ([N, size],) of a batch; empty without captions."""
        if self.vocabulary is None:
            return (), ()
        right = self.vocabulary.encode(batch.captions).to(like)
        return (right,), (self.vocabulary.mismatched(right),)

    def check_size(self, images: Tensor) -> None:
        """Refuse images [N, C, H, W] that are not of the networks' size."""
        size, (height, width) = self.config.data.crop_size, images.shape[-2:]
        if (height, width) != (size, size):
            raise UserError(
                f"images of {width}x{height} px after preprocessing, but this critic takes "
                f"{size}x{size}; set data.preprocess to scale_and_center_crop or resize_and_crop"
            )

    def noise_like(self, images: Tensor, factor: int = 1) -> Tensor:
        """[factor * N, noise_dim] from N(0, 1), of the images' device and type."""
        shape = (factor * len(images), self.noise_dim)
        return torch.randn(shape, device=images.device, dtype=images.dtype)

    def random_noise(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """[num, noise_dim], float32, from N(0, 1), on the CPU."""
        return torch.randn(num, self.noise_dim, generator=generator)

    def sample(self, noise: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Images [N, C, H, W] in [-1, 1] of noise [N, noise_dim]."""
        if noise.dim() != 2 or noise.shape[1] != self.noise_dim:
            raise UserError(
                f"noise of shape {list(noise.shape)}: this model takes [N, {self.noise_dim}]"
            )
        if conditions is not None and self.vocabulary is None:
            raise UserError("this model was trained without captions and takes no conditions")
        if conditions is None and self.vocabulary is not None:
            raise UserError("this model draws what it is told; give it a caption")
        given = () if conditions is None else (conditions,)
        return self.from_native(self.networks["G"](noise, *given))

    def to_native(self, images: Tensor) -> Tensor:
        """[-1, 1] to the range that the networks work in."""
        low, high = self.value_range
        return images if (low, high) == (-1, 1) else (images + 1) / 2 * (high - low) + low

    def from_native(self, images: Tensor) -> Tensor:
        """Inverse of `to_native`."""
        low, high = self.value_range
        return images if (low, high) == (-1, 1) else (images - low) / (high - low) * 2 - 1
