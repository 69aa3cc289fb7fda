"""CUT and FastCUT: contrastive unpaired translation (Park, Efros, Zhang, Zhu, ECCV 2020).

One generator and one direction. G translates A to B; what keeps the content is that a patch of the
translation must be told, by its features in G's own encoder, from other patches of the source: F
projects features at drawn positions, the same in both. D judges images of B. Names as in the
official code; idt_B = G(real_B).

Deviations from the official code: the features of the source are those of the forward that
translated it, where that is the same function (`core.nn.joint`) and its input was not mirrored. F
has its MLPs from the beginning, so no batch is spent on making them, and one Adam holds G and F,
whose rates and betas are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from core.family import ImageBatch, Layout, Update
from core.losses import augmented, dis_loss, gen_loss, gradient_penalty
from core.nn.joint import forward_each, is_independent
from core.options import Direction
from core.training.optimizers import Optimizers, adam
from core.training.update import frozen
from cyclegan.cut.config import Config as CUTConfig
from cyclegan.cut.losses import patch_nce
from cyclegan.cut.networks import (
    Generator,
    draw_mirrored,
    draw_positions,
    make_dis,
    make_generator,
    make_sampler,
)


class CUT:
    """A generator, a discriminator, and the sampler of patches; see the module's text."""

    name: ClassVar[str] = "cut"
    Config: ClassVar[type[CUTConfig]] = CUTConfig
    layout: ClassVar[Layout] = "unpaired"
    ema_networks: ClassVar[tuple[str, ...]] = ("G",)
    objective: ClassVar[str] = "G"

    def __init__(self, config: CUTConfig, networks: dict[str, nn.Module]) -> None:
        self.config, self.networks = config, networks
        self.optimizers: Mapping[str, Optimizer] = Optimizers(
            {
                "G": partial(adam, [networks["G"], networks["F"]], config.optim),
                "D": partial(adam, [networks["D"]], config.optim),
            }
        )
        self.state: dict[str, Any] = {}

    @classmethod
    def build(cls, config: CUTConfig) -> Self:
        """Make the networks with initial weights, and their optimizers.

        Raises:
            UserError: a layer of `nce_layers` that the generator does not have.
        """
        model = config.model
        G = make_generator(model, gradient_checkpointing=config.train.gradient_checkpointing)
        return cls(config, {"G": G, "F": make_sampler(model, G), "D": make_dis(model)})

    @property
    def multiple(self) -> int:
        """Image sides must be multiples of this."""
        return Generator.multiple

    @property
    def minimum(self) -> int:
        """Smallest image side for translating."""
        return Generator.minimum

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The one it is trained for."""
        return (self.config.data.direction,)

    # -- training ---------------------------------------------------------------------------

    def generate(self, *images: Tensor) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Translate batches, in one pass if they are of one size; also return their features."""
        G, layers = self.networks["G"], self.config.model.nce_layers
        if len({each.shape[1:] for each in images}) > 1:
            passes = [G(each, layers) for each in images]
            return [image for image, _ in passes], [features for _, features in passes]
        together, features = G(torch.cat(images), layers)
        numbers = [len(each) for each in images]
        parts = [feature.split(numbers) for feature in features]
        return [*together.split(numbers)], [list(each) for each in zip(*parts, strict=True)]

    def nce_loss(
        self, source: Tensor, seen: list[Tensor], translated: Tensor, mirrored: bool
    ) -> Tensor:
        """Return the contrastive loss of a translation, the weighted mean over layers (eq. 4).

        Args:
            source: [N, C, H, W], not mirrored.
            seen: features of what was translated.
            translated: [N, C, H, W].
            mirrored: whether the source was mirrored before it was translated.
        """
        G, F, model = self.networks["G"], self.networks["F"], self.config.model
        features = G(translated, model.nce_layers, encode_only=True)
        if mirrored:
            features = [feature.flip(3) for feature in features]
        with torch.no_grad():
            if mirrored or not is_independent(G):
                seen = G(source, model.nce_layers, encode_only=True)
            positions = [
                draw_positions(f.shape[2] * f.shape[3], model.num_patches, f.device) for f in seen
            ]
            keys = F(seen, positions)
        queries = F(features, positions)
        groups = 1 if model.nce_includes_all_negatives_from_minibatch else len(source)
        losses = [
            patch_nce(query, key, groups, model.nce_T).mean()
            for query, key in zip(queries, keys, strict=True)
        ]
        return model.lambda_NCE * torch.stack(losses).mean()

    def training_step(self, batch: ImageBatch, step: int, update: Update) -> dict[str, Tensor]:
        """Update the discriminator, then G and F against the updated discriminator."""
        real_A, real_B, model, D = batch.a, batch.b, self.config.model, self.networks["D"]
        sources = (real_A, real_B) if model.nce_idt else (real_A,)
        mirrored = model.flip_equivariance and draw_mirrored()
        fakes, seen = self.generate(*(x.flip(3) if mirrored else x for x in sources))
        fake_B = fakes[0]

        fake, real = (augmented(x, model.diffaug) for x in (fake_B.detach(), real_B))
        on_fake, on_real = forward_each(D, fake, real)
        dis = {
            "D_fake": dis_loss(on_fake, model.gan_mode, real=False),
            "D_real": dis_loss(on_real, model.gan_mode, real=True),
        }
        if model.gan_mode == "wgangp":
            dis["gradient_penalty"] = gradient_penalty(D, real, fake, weight=model.lambda_gp)
        update(self.optimizers["D"], *(0.5 * loss for loss in dis.values()))

        with frozen(D):
            on_fake = D(augmented(fake_B, model.diffaug))
            gen = {"G_GAN": model.lambda_GAN * gen_loss(on_fake, model.gan_mode)}
            names = ("NCE", "NCE_Y")[: len(sources)]
            nce = {
                name: self.nce_loss(source, features, fake, mirrored)
                for name, source, features, fake in zip(names, sources, seen, fakes, strict=True)
            }
            weighted = [gen["G_GAN"], *(loss / len(nce) for loss in nce.values())]  # eq. 5
            update(self.optimizers["G"], *weighted)

        losses = gen | nce | {"G": torch.stack(weighted).sum()} | dis
        return {name: loss.detach() for name, loss in losses.items()}

    # -- use --------------------------------------------------------------------------------

    def preview(self, batch: ImageBatch) -> Mapping[str, Tensor]:
        """Show input and translation, and the identity where it is trained."""
        G = self.networks["G"]
        columns = {"real_A": batch.a, "fake_B": G(batch.a), "real_B": batch.b}
        return columns | ({"idt_B": G(batch.b)} if self.config.model.nce_idt else {})

    def translate(self, images: Tensor, direction: Direction) -> Tensor:
        """Translate images [N, C, H, W] in [-1, 1] of the source domain to the other."""
        assert direction in self.directions
        translated: Tensor = self.networks["G"](images)
        return translated
