"""DRIT (Lee, Tseng, Huang, Singh, Yang, ECCV 2018) and the two-domain DRIT++ (IJCV 2020).

Diverse unpaired translation by disentangled representations; DRIT++ adds mode seeking (Mao et al.,
CVPR 2019), which the official code has switched on since April 2019.

Names as in the official code: enc_c gives the content code of an image, enc_a its attribute, gen
makes an image of a domain from both. disA and disB judge translations with encoded attributes,
disA2 and disB2 those with random ones, disContent tells from a content code its domain.

The official generator update takes a step, then backpropagates its second loss through the graph of
the old weights: the gradient mixes old activations with new weights, and PyTorch refuses it since
1.5. Here the gradients of both losses are taken at the weights of the forward; then come the two
Adam steps in the published order ("same_weights" in the reference cases).

Other deviations from the official code: discriminators are frozen in the generator's update, and
enc_a in the latent regression, whose gradient to it was thrown away. With `joint_forward` what does
not depend on the attribute is worked out once per content (`Generator`), images that only the
second loss uses are not dragged through the first one's backward, and a discriminator sees its real
and fake images together (not with spectral norm, which advances with every call). The numbers are
the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from core.family import ImageBatch, Layout, Update
from core.losses import l1
from core.options import Direction
from core.training.optimizers import adam
from core.training.update import frozen
from drit.config import Config as DRITConfig
from drit.layers import gaussian_init
from drit.losses import (
    Logits,
    attribute_prior,
    content_prior,
    fooled,
    judged,
    mode_seeking,
    undecided,
)
from drit.networks import (
    AttributeEncoder,
    ConcatAttributeEncoder,
    ConcatGenerator,
    ContentDiscriminator,
    ContentEncoder,
    Discriminator,
    Domain,
    FeatureGenerator,
    MultiScaleDiscriminator,
)
from drit.translations import Noise, Side, content_noise, draw, forward

IMAGE_DIS = ("disA", "disA2", "disB", "disB2")
NETWORKS = (*IMAGE_DIS, "disContent", "enc_c", "enc_a", "gen")


class DRIT:
    """Two encoders, a generator and five discriminators; see the module's text for their names."""

    name: ClassVar[str] = "drit"
    Config: ClassVar[type[DRITConfig]] = DRITConfig
    layout: ClassVar[Layout] = "unpaired"
    ema_networks: ClassVar[tuple[str, ...]] = ("enc_c", "enc_a", "gen")
    objective: ClassVar[str] = "G_loss"

    def __init__(self, config: DRITConfig, networks: dict[str, nn.Module]) -> None:
        self.config = config
        self.networks = networks
        slow = config.optim.model_copy(update={"lr": config.optim.lr * config.optim.rate_content})
        self.optimizers: dict[str, Optimizer] = {
            name: adam([network], slow if name == "disContent" else config.optim)
            for name, network in networks.items()
        }
        self.state: dict[str, object] = {}
        self.joint = config.train.joint_forward

    @classmethod
    def build(cls, config: DRITConfig) -> Self:
        """Networks with initial weights, and their optimizers."""
        model, recompute = config.model, config.train.gradient_checkpointing
        a, b, dim, nz = model.input_dim_a, model.input_dim_b, model.dim, model.nz

        def dis(channels: int) -> nn.Module:
            if model.dis_scale == 1:
                return Discriminator(channels, model.dim_dis, model.dis_spectral_norm)
            return MultiScaleDiscriminator(
                channels, model.dim_dis, model.dis_scale, model.dis_spectral_norm
            )

        networks: dict[str, nn.Module] = {
            "disA": dis(a),
            "disA2": dis(a),
            "disB": dis(b),
            "disB2": dis(b),
            "disContent": ContentDiscriminator(4 * dim, model.num_layers_content),
            "enc_c": ContentEncoder(a, b, dim, recompute),
            "enc_a": (ConcatAttributeEncoder if model.concat else AttributeEncoder)(a, b, dim, nz),
            "gen": (ConcatGenerator if model.concat else FeatureGenerator)(
                a, b, dim, nz, recompute
            ),
        }
        for network in networks.values():
            gaussian_init(network)
        return cls(config, networks)

    multiple = ContentEncoder.multiple
    """Image sides must be multiples of this."""
    minimum = ContentEncoder.minimum
    """Smallest image side for translating."""
    directions: ClassVar[tuple[Direction, ...]] = ("AtoB", "BtoA")

    # -- one iteration ----------------------------------------------------------------------

    def training_step(self, batch: ImageBatch, step: int, update: Update) -> dict[str, Tensor]:
        """A full iteration, or one of the content discriminator alone (`model.d_iter`)."""
        (a, random_A), (b, random_B) = self.split(batch.a), self.split(batch.b)
        if not self.is_full(batch, step):
            noises = content_noise(a, self.config.model), content_noise(b, self.config.model)
            return self.content_iteration(a, b, *noises, update)
        noise = draw(a, b, self.config.model)
        return self.full_iteration(a, b, random_A, random_B, noise, update)

    def split(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The images to translate, and the real ones for the second discriminators."""
        return (images, images) if self.config.model.encode_all else (images[:1], images[1:])

    def is_full(self, batch: ImageBatch, step: int) -> bool:
        """Whether it is an iteration's turn: every d_iter-th, and the last two of an epoch."""
        number, total = batch.place or (step, None)
        last_two = total is not None and number >= total - 2
        return last_two or (number + 1) % self.config.model.d_iter == 0

    def content_iteration(
        self, real_A: Tensor, real_B: Tensor, noise_A: Tensor, noise_B: Tensor, update: Update
    ) -> dict[str, Tensor]:
        """Update disContent only; the noise is added to the content codes."""
        enc_c = self.networks["enc_c"]
        with torch.no_grad():
            content_A = enc_c(real_A, "A") + noise_A
            content_B = enc_c(real_B, "B") + noise_B
        return {"disContent_loss": self.update_content(content_A, content_B, update)}

    def full_iteration(
        self,
        real_A: Tensor,
        real_B: Tensor,
        random_A: Tensor,
        random_B: Tensor,
        noise: Noise,
        update: Update,
    ) -> dict[str, Tensor]:
        """Discriminators first; then encoders and generator against the updated discriminators.

        Args:
            real_A: images to translate, [N, C_A, H, W].
            real_B: images to translate, [N, C_B, H, W].
            random_A: real images for disA2.
            random_B: real images for disB2.
            noise: everything random.
            update: changes the weights.
        """
        A, B = forward(self.networks, real_A, real_B, noise, joint=self.joint)
        dis = {
            "disA_loss": self.discriminator_loss("disA", real_A, [A.fakes.encoded]),
            "disA2_loss": self.discriminator_loss("disA2", random_A, A.fakes.random),
            "disB_loss": self.discriminator_loss("disB", real_B, [B.fakes.encoded]),
            "disB2_loss": self.discriminator_loss("disB2", random_B, B.fakes.random),
        }
        update.in_turn((self.steps(*IMAGE_DIS), dis.values()))
        terms = {name: loss.detach() for name, loss in dis.items()}
        terms["disContent_loss"] = self.update_content(A.codes.content, B.codes.content, update)

        with frozen(*(self.networks[name] for name in (*IMAGE_DIS, "disContent"))):
            first = self.encoded_losses(A, B)
            second = self.random_losses(A, B, noise)
            update.in_turn(
                (self.steps("enc_c", "enc_a", "gen"), first.values()),
                (self.steps("enc_c", "gen"), second.values()),
            )
        terms |= {name: loss.detach() for name, loss in (first | second).items()}
        terms["G_loss"] = torch.stack([terms[name] for name in first]).sum()
        return terms

    def steps(self, *names: str) -> list[Optimizer]:
        """The optimizers of these networks."""
        return [self.optimizers[name] for name in names]

    # -- losses -----------------------------------------------------------------------------

    def _judge(self, name: str, images: Sequence[Tensor]) -> list[Logits]:
        """A discriminator's answer to each batch, all in one forward where that is the same."""
        dis, spectral = self.networks[name], self.config.model.dis_spectral_norm
        alike = len({each.shape[1:] for each in images}) == 1
        if not (self.joint and alike) or (spectral and name != "disContent"):
            return [dis(each) for each in images]
        scales = [logits.split([len(x) for x in images]) for logits in dis(torch.cat(list(images)))]
        return list(zip(*scales, strict=True))

    def discriminator_loss(self, name: str, real: Tensor, fakes: Sequence[Tensor]) -> Tensor:
        """Real against each batch of fakes; with several the real term counts as often."""
        fakes = [fake.detach() for fake in fakes]
        if self.joint and not self.config.model.dis_spectral_norm:
            *on_fakes, on_real = self._judge(name, [*fakes, real])
            on_reals = [on_real] * len(fakes)
        else:
            answers = self._judge(name, [image for fake in fakes for image in (fake, real)])
            on_fakes, on_reals = answers[::2], answers[1::2]
        pairs = zip(on_reals, on_fakes, strict=True)
        return torch.stack([judged(r, real=True) + judged(f, real=False) for r, f in pairs]).sum()

    def update_content(self, content_A: Tensor, content_B: Tensor, update: Update) -> Tensor:
        """Update disContent, for which B is the real class; returns the detached loss."""
        on_A, on_B = self._judge("disContent", [content_A.detach(), content_B.detach()])
        loss = judged(on_B, real=True) + judged(on_A, real=False)
        limit = self.config.model.clip_content
        update(self.optimizers["disContent"], loss, clip_grad_norm=limit)
        return loss.detach()

    def encoded_losses(self, A: Side, B: Side) -> dict[str, Tensor]:
        """First objective, of enc_c, enc_a and gen; its sum is G_loss."""
        model = self.config.model
        (on_A,), (on_B,) = (
            self._judge("disA", [A.fakes.encoded]),
            self._judge("disB", [B.fakes.encoded]),
        )
        content_A, content_B = self._judge("disContent", [A.codes.content, B.codes.content])
        losses = {
            "gan_loss_a": model.lambda_gan * fooled(on_A),
            "gan_loss_b": model.lambda_gan * fooled(on_B),
            "gan_loss_acontent": model.lambda_content * undecided(content_A),
            "gan_loss_bcontent": model.lambda_content * undecided(content_B),
        }
        for side, small, large in ((A, "a", "A"), (B, "b", "B")):
            mean, logvar = side.codes.mean, side.codes.logvar
            losses |= {
                f"kl_loss_za_{small}": attribute_prior(mean, logvar, model.lambda_kl),
                f"kl_loss_zc_{small}": content_prior(side.codes.content, model.lambda_l2),
                f"l1_recon_{large}_loss": model.lambda_cycle * l1(side.recon, side.real),
                f"l1_recon_{large * 2}_loss": model.lambda_self * l1(side.fakes.same, side.real),
            }
        return losses

    def random_losses(self, A: Side, B: Side, noise: Noise) -> dict[str, Tensor]:
        """Second objective, of enc_c and gen: everything with random attributes."""
        model, losses = self.config.model, {}
        for side, small, name in ((A, "a", "disA2"), (B, "b", "disB2")):
            answers = [fooled(on) for on in self._judge(name, side.fakes.random)]
            losses[f"l1_recon_z_loss_{small}"] = model.lambda_latent * l1(
                side.regressed, noise.random[0]
            )
            losses[f"gan2_loss_{small}"] = model.lambda_gan * torch.stack(answers).sum()
        if model.lambda_ms:
            losses["lz_AB"] = model.lambda_ms * mode_seeking(B.fakes.random, noise.random)
            losses["lz_BA"] = model.lambda_ms * mode_seeking(A.fakes.random, noise.random)
        return losses

    # -- using it ---------------------------------------------------------------------------

    @property
    def style_dim(self) -> int:
        """Length of an attribute."""
        return self.config.model.nz

    def _domains(self, direction: Direction) -> tuple[Domain, Domain]:
        """The model's source and target; with data.direction BtoA its A is the data set's B."""
        return ("A", "B") if direction == self.config.data.direction else ("B", "A")

    def random_styles(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """Attributes [num, nz] from the prior N(0, 1), float32 on the generator's device."""
        device = generator.device if generator is not None else None
        return torch.randn(num, self.style_dim, generator=generator, device=device)

    def encode_style(self, images: Tensor, direction: Direction) -> Tensor:
        """Images [N, C, H, W] of the direction's target domain to attributes [N, nz].

        The mean, where the official `test_transfer.py` samples with fresh noise.
        """
        _, target = self._domains(direction)
        mean, _ = self.networks["enc_a"](images, target)
        return mean

    def encode_content(self, images: Tensor, direction: Direction) -> Tensor:
        """Images [N, C, H, W] of the source domain to content [N, 4 * dim, H / 4, W / 4]."""
        source, _ = self._domains(direction)
        return self.networks["enc_c"](images, source)

    def decode(self, content: Tensor, styles: Tensor, direction: Direction) -> Tensor:
        """Content of N images and attributes [N, nz] to images [N, C, H, W] of the target."""
        _, target = self._domains(direction)
        weight = next(self.networks["gen"].parameters())
        return self.networks["gen"](content, styles.to(weight), target)

    def translate(
        self, images: Tensor, direction: Direction, styles: Tensor | None = None
    ) -> Tensor:
        """Images [N, C, H, W] in [-1, 1] to the other domain, each with its attribute.

        Args:
            images: of the source domain.
            direction: in the data set's terms.
            styles: [N, nz]; None takes the same random ones at every call.
        """
        if styles is None:
            styles = self.random_styles(images.shape[0], torch.Generator().manual_seed(0))
        return self.decode(self.encode_content(images, direction), styles, direction)

    def preview(self, batch: ImageBatch) -> Mapping[str, Tensor]:
        """Both domains: input, reconstruction, three fixed attributes, the other image's, cycle."""
        columns: dict[str, Tensor] = {}
        here: Direction = self.config.data.direction
        there: Direction = "BtoA" if here == "AtoB" else "AtoB"
        generator = torch.Generator().manual_seed(0)
        fixed = self.random_styles(3, generator)
        for source, target, real, guide, way, back in (
            ("A", "B", batch.a, batch.b, here, there),
            ("B", "A", batch.b, batch.a, there, here),
        ):
            content, own = self.encode_content(real, way), self.encode_style(real, back)
            columns[f"real_{source}"] = real
            columns[f"recon_{source}"] = self.decode(content, own, back)
            for n, style in enumerate(fixed, 1):
                columns[f"fake_{target}_{n}"] = self.decode(
                    content, style.expand(len(real), -1), way
                )
            guided = self.decode(content, self.encode_style(guide, way), way)
            columns[f"guided_{target}"] = guided
            columns[f"cycle_{source}"] = self.decode(self.encode_content(guided, back), own, back)
        return columns
