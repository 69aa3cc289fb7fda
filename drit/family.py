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

Deviations from the official code that change no number: what does not depend on the attribute is
worked out once per content (`Generator`); images that only the second loss uses are not dragged
through the first one's backward; a discriminator sees its real and fake images together where that
is the same function (`core.nn.joint`). Discriminators are frozen in the generator's update, and
enc_a in the latent regression, whose gradient to it was thrown away.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Self, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from core.family import ImageBatch, Layout, Update
from core.losses import augmented, l1
from core.nn.joint import forward_each, is_independent
from core.noise import normal
from core.options import Direction, other_way
from core.training.optimizers import Optimizers, adam
from core.training.update import frozen
from drit.config import Config as DRITConfig
from drit.losses import attribute_prior, content_prior, fooled, judged, mode_seeking, undecided
from drit.networks import ContentEncoder, Domain, Generator, make_networks, sample

IMAGE_DIS = ("disA", "disA2", "disB", "disB2")
NETWORKS = (*IMAGE_DIS, "disContent", "enc_c", "enc_a", "gen")


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
class Side:
    """All that an iteration makes in one domain; images are [N, C, H, W] in [-1, 1]."""

    real: Tensor
    codes: Codes
    fake: Tensor
    """Content of the other domain, attribute of this one."""
    same: Tensor
    """Content and attribute of one image of this domain."""
    random: tuple[Tensor, ...]
    """Content of the other domain, random attributes."""
    again: Codes
    """Of `fake`: its content is that of the other domain's image."""
    recon: Tensor
    """The image after translating there and back."""
    regressed: Tensor
    """Attribute seen in the first of `random`."""


class DRIT:
    """Two encoders, a generator and five discriminators; see the module's text for their names."""

    name: ClassVar[str] = "drit"
    Config: ClassVar[type[DRITConfig]] = DRITConfig
    layout: ClassVar[Layout] = "unpaired"
    ema_networks: ClassVar[tuple[str, ...]] = ("enc_c", "enc_a", "gen")
    objective: ClassVar[str] = "G_loss"
    shares_graphs: ClassVar[bool] = True
    """Two updates go backward through one graph."""

    def __init__(self, config: DRITConfig, networks: dict[str, nn.Module]) -> None:
        self.config = config
        self.networks = networks
        slow = config.optim.model_copy(update={"lr": config.optim.lr * config.optim.rate_content})
        self.optimizers: Mapping[str, Optimizer] = Optimizers(
            {
                name: partial(adam, [network], slow if name == "disContent" else config.optim)
                for name, network in networks.items()
            }
        )
        self.state: dict[str, object] = {}

    @classmethod
    def build(cls, config: DRITConfig) -> Self:
        """Make the networks with initial weights, and their optimizers."""
        return cls(config, make_networks(config.model, config.train.gradient_checkpointing))

    multiple = ContentEncoder.multiple
    """Image sides must be multiples of this."""
    minimum = ContentEncoder.minimum
    """Smallest image side for translating."""
    directions: ClassVar[tuple[Direction, ...]] = ("AtoB", "BtoA")

    def training_step(self, batch: ImageBatch, step: int, update: Update) -> dict[str, Tensor]:
        """Run a full iteration, or one of the content discriminator alone (`model.d_iter`)."""
        (real_A, random_A), (real_B, random_B) = self.split(batch.a), self.split(batch.b)
        if self.is_full(batch, step):
            return self.full_iteration(real_A, real_B, random_A, random_B, update)
        return self.content_iteration(real_A, real_B, update)

    def split(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images to translate, and the real ones for the second discriminators."""
        return (images, images) if self.config.model.encode_all else (images[:1], images[1:])

    def is_full(self, batch: ImageBatch, step: int) -> bool:
        """Tell whether it is a full iteration's turn: every d_iter-th, and an epoch's last two."""
        number, total = batch.place or (step, None)
        last_two = total is not None and number >= total - 2
        return last_two or (number + 1) % self.config.model.d_iter == 0

    def content_iteration(
        self, real_A: Tensor, real_B: Tensor, update: Update
    ) -> dict[str, Tensor]:
        """Update disContent only."""
        with torch.no_grad():
            contents = self.encode_contents(real_A, real_B)
        return {"disContent_loss": self.update_content(*contents, update).detach()}

    def full_iteration(
        self, real_A: Tensor, real_B: Tensor, random_A: Tensor, random_B: Tensor, update: Update
    ) -> dict[str, Tensor]:
        """Update the discriminators; then encoders and generator against them.

        The images, [N, C, H, W], are those to translate and, random_A and random_B, the real ones
        that are shown to disA2 and disB2.
        """
        A, B, attributes = self.forward(real_A, real_B)
        dis = {
            "disA_loss": self.discriminator_loss("disA", real_A, [A.fake]),
            "disA2_loss": self.discriminator_loss("disA2", random_A, A.random),
            "disB_loss": self.discriminator_loss("disB", real_B, [B.fake]),
            "disB2_loss": self.discriminator_loss("disB2", random_B, B.random),
        }
        update.step_together((self.steps(*IMAGE_DIS), dis.values()))
        dis["disContent_loss"] = self.update_content(A.codes.content, B.codes.content, update)

        with frozen(*(self.networks[name] for name in (*IMAGE_DIS, "disContent"))):
            first = self.encoded_losses(A, B)
            second = self.random_losses(A, B, attributes)
            update.step_together(
                (self.steps("enc_c", "enc_a", "gen"), first.values()),
                (self.steps("enc_c", "gen"), second.values()),
            )
        losses = dis | first | second | {"G_loss": torch.stack([*first.values()]).sum()}
        return {name: loss.detach() for name, loss in losses.items()}

    def steps(self, *names: str) -> list[Optimizer]:
        """Return the optimizers of these networks."""
        return [self.optimizers[name] for name in names]

    def forward(self, real_A: Tensor, real_B: Tensor) -> tuple[Side, Side, tuple[Tensor, ...]]:
        """Encode, swap contents, translate with encoded and with random attributes, and cycle.

        Returns both domains, and the random attributes [N, nz]: one, or two for mode seeking.
        """
        gen, enc_a = cast("Generator", self.networks["gen"]), self.networks["enc_a"]
        a, b = self.encode(real_A, real_B)
        number = 2 if self.config.model.lambda_ms else 1
        attributes = tuple(normal(real_A, len(real_A), self.style_dim) for _ in range(number))

        content_A, content_B = gen.share(a.content), gen.share(b.content)  # [N, 4 * dim, h, w]
        fake_A, same_A, random_A = self.paint(content_B, content_A, a.attribute, attributes, "A")
        fake_B, same_B, random_B = self.paint(content_A, content_B, b.attribute, attributes, "B")

        again_A, again_B = self.encode(fake_A, fake_B)
        recon_A = gen(again_B.content, again_A.attribute, "A")
        recon_B = gen(again_A.content, again_B.attribute, "B")
        with frozen(enc_a):  # the latent regression does not train it
            regressed_A, _ = enc_a(random_A[0], "A")
            regressed_B, _ = enc_a(random_B[0], "B")
        return (
            Side(real_A, a, fake_A, same_A, random_A, again_A, recon_A, regressed_A),
            Side(real_B, b, fake_B, same_B, random_B, again_B, recon_B, regressed_B),
            attributes,
        )

    def encode_contents(self, x_A: Tensor, x_B: Tensor) -> tuple[Tensor, Tensor]:
        """Encode the content of an image of each domain, and add standard normal noise."""
        enc_c = self.networks["enc_c"]
        content_A, content_B = enc_c(x_A, "A"), enc_c(x_B, "B")
        noise_A = normal(x_A, *content_A.shape)
        return content_A + noise_A, content_B + normal(x_B, *content_B.shape)

    def encode(self, x_A: Tensor, x_B: Tensor) -> tuple[Codes, Codes]:
        """Encode an image of each domain: its content, and a sample of its attribute."""
        codes, enc_a = [], self.networks["enc_a"]
        contents = self.encode_contents(x_A, x_B)
        for x, content, domain in zip((x_A, x_B), contents, "AB", strict=True):
            mean, logvar = enc_a(x, domain)
            eps = None if logvar is None else normal(x, *mean.shape)
            codes.append(Codes(content, mean, logvar, sample(mean, logvar, eps)))
        return codes[0], codes[1]

    def paint(
        self, other: Tensor, own: Tensor, attribute: Tensor, random: Sequence[Tensor], to: Domain
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Make a domain's images: translations, reconstructions, and those of random attributes.

        The last ones are painted apart, as they are no part of the first objective. `other` and
        `own` are what `Generator.share` gives for contents of the other domain and of the domain
        `to` itself; attributes are [N, nz], encoded, and the same for each of `random`.
        """
        gen = cast("Generator", self.networks["gen"])
        other, own = gen.features(other, to), gen.features(own, to)
        twice = torch.cat([attribute, attribute])
        fake, same = gen.paint(torch.cat([other, own]), twice, to).chunk(2)
        drawn = gen.paint(torch.cat([other] * len(random)), torch.cat([*random]), to)
        return fake, same, drawn.chunk(len(random))

    def discriminator_loss(self, name: str, real: Tensor, fakes: Sequence[Tensor]) -> Tensor:
        """Return the real and the fake term of each batch of fakes, added up."""
        dis, real = self.networks[name], self.seen(real)
        fakes = [self.seen(fake.detach()) for fake in fakes]
        if is_independent(dis):  # judges real images once and for all
            *on_fakes, on_real = forward_each(dis, *fakes, real)
            pairs = [(on_fake, on_real) for on_fake in on_fakes]
        else:
            pairs = [(dis(fake), dis(real)) for fake in fakes]
        return torch.stack([judged(r, real=True) + judged(f, real=False) for f, r in pairs]).sum()

    def seen(self, images: Tensor) -> Tensor:
        """Return what an image discriminator sees of images [N, C, H, W], real or not."""
        return augmented(images, self.config.model.diffaug)

    def update_content(self, content_A: Tensor, content_B: Tensor, update: Update) -> Tensor:
        """Update disContent, for which B is the real class; returns the loss."""
        dis, limit = self.networks["disContent"], self.config.model.clip_content
        on_A, on_B = forward_each(dis, content_A.detach(), content_B.detach())
        loss = judged(on_B, real=True) + judged(on_A, real=False)
        update(self.optimizers["disContent"], loss, clip_grad_norm=limit)
        return loss

    def encoded_losses(self, A: Side, B: Side) -> dict[str, Tensor]:
        """Return the first objective, of enc_c, enc_a and gen, weighted; its sum is G_loss."""
        model, a, b = self.config.model, A.codes, B.codes
        disA, disB = self.networks["disA"], self.networks["disB"]
        on_a, on_b = forward_each(self.networks["disContent"], a.content, b.content)
        return {
            "gan_loss_acontent": model.lambda_content * undecided(on_a),
            "gan_loss_bcontent": model.lambda_content * undecided(on_b),
            "l1_recon_A_loss": model.lambda_cycle * l1(A.recon, A.real),
            "l1_recon_B_loss": model.lambda_cycle * l1(B.recon, B.real),
            "gan_loss_a": model.lambda_gan * fooled(disA(self.seen(A.fake))),
            "gan_loss_b": model.lambda_gan * fooled(disB(self.seen(B.fake))),
            "l1_recon_AA_loss": model.lambda_self * l1(A.same, A.real),
            "l1_recon_BB_loss": model.lambda_self * l1(B.same, B.real),
            "kl_loss_za_a": model.lambda_kl * attribute_prior(a.mean, a.logvar),
            "kl_loss_za_b": model.lambda_kl * attribute_prior(b.mean, b.logvar),
            "kl_loss_zc_a": model.lambda_l2 * content_prior(a.content),
            "kl_loss_zc_b": model.lambda_l2 * content_prior(b.content),
        }

    def random_losses(self, A: Side, B: Side, attributes: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """Return the second objective, of enc_c and gen, weighted: all with random attributes."""
        model, disA2, disB2 = self.config.model, self.networks["disA2"], self.networks["disB2"]
        on_a = forward_each(disA2, *map(self.seen, A.random))
        on_b = forward_each(disB2, *map(self.seen, B.random))
        losses = {
            "gan2_loss_a": model.lambda_gan * torch.stack([*map(fooled, on_a)]).sum(),
            "gan2_loss_b": model.lambda_gan * torch.stack([*map(fooled, on_b)]).sum(),
            "l1_recon_z_loss_a": model.lambda_latent * l1(A.regressed, attributes[0]),
            "l1_recon_z_loss_b": model.lambda_latent * l1(B.regressed, attributes[0]),
        }
        if model.lambda_ms:
            losses["lz_AB"] = model.lambda_ms * mode_seeking(B.random, attributes)
            losses["lz_BA"] = model.lambda_ms * mode_seeking(A.random, attributes)
        return losses

    @property
    def style_dim(self) -> int:
        """Length of an attribute."""
        return self.config.model.nz

    def _domains(self, direction: Direction) -> tuple[Domain, Domain]:
        """Return source and target; data.direction BtoA makes the data set's B the model's A."""
        return ("A", "B") if direction == self.config.data.direction else ("B", "A")

    def random_styles(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw attributes [num, nz] from N(0, 1), float32, on the generator's device."""
        device = generator.device if generator is not None else None
        return torch.randn(num, self.style_dim, generator=generator, device=device)

    def encode_style(self, images: Tensor, direction: Direction) -> Tensor:
        """Encode images [N, C, H, W] of the direction's target domain as attributes [N, nz].

        The mean, where the official `test_transfer.py` samples with fresh noise.
        """
        _, target = self._domains(direction)
        mean, _ = self.networks["enc_a"](images, target)
        return mean

    def encode_content(self, images: Tensor, direction: Direction) -> Tensor:
        """Encode images [N, C, H, W] of the source domain as content [N, 4 * dim, H / 4, W / 4]."""
        source, _ = self._domains(direction)
        return self.networks["enc_c"](images, source)

    def decode(self, content: Tensor, styles: Tensor, direction: Direction) -> Tensor:
        """Decode content and attributes [N, nz] to images [N, C, H, W] of the target domain.

        The content of one image goes with every attribute; what does not depend on the attribute
        is then worked out once.
        """
        _, target = self._domains(direction)
        gen = cast("Generator", self.networks["gen"])
        features = gen.features(gen.share(content), target)
        if features.shape[0] != styles.shape[0]:
            features = features.expand(styles.shape[0], -1, -1, -1)
        return gen.paint(features, styles.to(next(gen.parameters())), target)

    def translate(
        self, images: Tensor, direction: Direction, styles: Tensor | None = None
    ) -> Tensor:
        """Translate images [N, C, H, W] in [-1, 1], each with its attribute, styles [N, nz].

        None takes the same random ones at every call.
        """
        if styles is None:
            styles = self.random_styles(images.shape[0], torch.Generator().manual_seed(0))
        return self.decode(self.encode_content(images, direction), styles, direction)

    def preview(self, batch: ImageBatch) -> Mapping[str, Tensor]:
        """Show both ways: input, reconstruction, three fixed attributes, the other's, cycle."""
        columns: dict[str, Tensor] = {}
        here: Direction = self.config.data.direction
        there = other_way(here)
        fixed = self.random_styles(3, torch.Generator().manual_seed(0))
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
