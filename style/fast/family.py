"""A network that paints photos in one pass (Johnson et al., ECCV 2016) in several styles.

Conditional instance norm (Dumoulin, Shlens, Kudlur, ICLR 2017) gives each style a gain and a shift
of its own; what is between two styles mixes theirs. A style code holds the weights of the styles,
[S], of sum 1.

Deviations from both papers: each layer's terms are relative to their targets (`style.losses`), so
that encoders of any scale need no weights of their own, and sizes vary from step to step.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from core.data.images import open_image
from core.family import Layout, SampleBatch, Update
from core.nn.student import LAYERS, VGGStudent
from core.nn.vgg import vgg_input
from core.options import Direction
from core.training.optimizers import Optimizers, adam
from style.fast.config import Config as FastConfig
from style.fast.networks import StyleNet
from style.losses import gram_matrices, relative_distance
from style.neural.images import resize, scaled_size, to_tensor
from style.neural.networks import Encoder, make_encoder, to_unit

WEIGHTS = Path(__file__).with_name("weights") / "paintings.safetensors"
"""A checkpoint in four procedural styles, which the project carries."""
NAMES = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
"""The student's layers that a style is known by."""


@cache
def student(device: torch.device) -> VGGStudent:
    """Return the project's student of VGG-16 on a device."""
    return VGGStudent.load(NAMES[-1]).to(device)


class StyleGrams(nn.Module):
    """Gram matrices of the styles, [S, C, C], as the project's student sees them."""

    def __init__(self, num_styles: int) -> None:
        super().__init__()
        for layer in LAYERS:
            if layer.name in NAMES:
                shape = num_styles, layer.axes, layer.axes
                self.register_buffer(layer.name, torch.zeros(shape))

    def learn(self, place: int, image: Tensor) -> None:
        """Note the Gram matrices of a painting [1, 3, H, W] in [-1, 1]."""
        for name, gram in gram_matrices(student(image.device)(image, NAMES)).items():
            self.get_buffer(name)[place] = gram[0]


class FastStyle:
    """`gen` paints, `styles` knows a style again; the judge is neither trained nor saved."""

    name: ClassVar[str] = "fast_style"
    Config: ClassVar[type[FastConfig]] = FastConfig
    layout: ClassVar[Layout] = "single"
    ema_networks: ClassVar[tuple[str, ...]] = ("gen",)
    objective: ClassVar[str] = "total"
    multiple, minimum = StyleNet.multiple, StyleNet.minimum

    def __init__(self, config: FastConfig) -> None:
        self.config = config
        model = config.model
        self.gen = StyleNet(self.style_dim, model.width, model.num_blocks)
        self.styles = StyleGrams(self.style_dim)
        self.networks: dict[str, nn.Module] = {"gen": self.gen, "styles": self.styles}
        self.optimizers: Mapping[str, Optimizer] = Optimizers(
            {"gen": partial(adam, [self.gen], config.optim)}
        )
        self.state: dict[str, Any] = {}
        self._judge: tuple[Encoder, dict[str, Tensor]] | None = None

    @classmethod
    def build(cls, config: FastConfig) -> Self:
        """Make the network with initial weights; encoder and paintings are for training only."""
        return cls(config)

    def judge(self, device: torch.device) -> tuple[Encoder, dict[str, Tensor]]:
        """Return the encoder and {style layer: Gram matrices [S, C, C]}; loaded at the first call.

        Raises:
            UserError: no weights of the encoder, or a painting that cannot be read.
        """
        if self._judge is None:
            encoder, layers = make_encoder(self.config.model), self.config.model.style_layers
            encoder.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            targets: dict[str, list[Tensor]] = {name: [] for name in layers}
            for place, file in enumerate(self.config.style.images):
                picture = open_image(Path(file))
                size = scaled_size(*picture.size, self.config.style.size)
                image = to_tensor(resize(picture, size)).to(device)
                for name, gram in gram_matrices(encoder(image, layers)).items():
                    targets[name].append(gram)
                self.styles.learn(place, to_unit(image))
            self._judge = encoder, {name: torch.cat(grams) for name, grams in targets.items()}
        return self._judge

    def training_step(self, batch: SampleBatch, step: int, update: Update) -> dict[str, Tensor]:
        """Paint each image in a style of its own, all at a size drawn for this step."""
        model, gen = self.config.model, self.gen
        generator = torch.Generator().manual_seed(self.config.train.seed + step)
        images = _resized(batch.images, model.smallest, generator)
        chosen = torch.randint(self.style_dim, (len(images),), generator=generator)
        encoder, targets = self.judge(images.device)
        painted = gen(images, F.one_hot(chosen, self.style_dim).to(images))

        features = encoder(
            vgg_input(painted, "caffe"), (*model.content_layers, *model.style_layers)
        )
        with torch.no_grad():
            content = encoder(vgg_input(images, "caffe"), model.content_layers)
        losses = {}
        for name in model.content_layers:
            distance = relative_distance(features[name], content[name]).mean()
            losses[f"content_{name}"] = model.lambda_content * distance
        grams = gram_matrices({name: features[name] for name in model.style_layers})
        for name, gram in grams.items():
            distance = relative_distance(gram, targets[name][chosen]).mean()
            losses[f"style_{name}"] = model.lambda_style * distance
        variation = painted.diff(dim=2).abs().mean() + painted.diff(dim=3).abs().mean()
        losses["tv"] = model.lambda_tv * variation
        update(self.optimizers["gen"], *losses.values())

        terms = {name: loss.detach() for name, loss in losses.items()}
        return terms | {"total": torch.stack(list(terms.values())).sum()}

    def preview(self, batch: SampleBatch) -> Mapping[str, Tensor]:
        """Return photos, and each in every style."""
        columns = {"image": batch.images}
        for place, code in enumerate(torch.eye(self.style_dim).to(batch.images), start=1):
            codes = code.expand(len(batch.images), -1)
            columns[f"style {place}"] = self.decode(batch.images, codes, "AtoB")
        return columns

    @property
    def directions(self) -> tuple[Direction, ...]:
        """From a photo to a painting."""
        return ("AtoB",)

    @property
    def style_dim(self) -> int:
        """Number of styles."""
        return len(self.config.style.images)

    def random_styles(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """Return every style once, pure, and then random mixtures of all."""
        pure = torch.eye(self.style_dim)[:num]
        rest = torch.rand(num - len(pure), self.style_dim, generator=generator)
        mixtures = -rest.clamp_min(1e-9).log()
        return torch.cat([pure, mixtures / mixtures.sum(1, keepdim=True)])

    def encode_style(self, images: Tensor, direction: Direction) -> Tensor:
        """Return the learnt style that is nearest to each image's, as a code [N, S].

        Near is as the project's student sees it (`core.nn.student`), by its Gram matrices.
        """
        found = gram_matrices(student(images.device)(images, NAMES))
        distances = torch.zeros(len(images), self.style_dim).to(images.device)
        for name, gram in found.items():
            targets = self.styles.get_buffer(name)  # [S, C, C]
            distances += torch.stack(
                [relative_distance(gram, target.expand_as(gram)) for target in targets], 1
            )
        return F.one_hot(distances.argmin(1), self.style_dim).float()

    def encode_content(self, images: Tensor, direction: Direction) -> Tensor:
        """Return the images: the network's first norm knows the style already."""
        return images

    def decode(self, content: Tensor, styles: Tensor, direction: Direction) -> Tensor:
        """Paint images [N, 3, H, W] in [-1, 1] in styles [N, S]; one image goes with them all."""
        if len(content) != len(styles):
            content = torch.cat([content] * len(styles))
        painted: Tensor = self.gen(content, styles)
        return painted

    def translate(
        self, images: Tensor, direction: Direction, styles: Tensor | None = None
    ) -> Tensor:
        """Paint images in the given styles, or in the first one."""
        if styles is None:
            styles = torch.eye(self.style_dim)[:1].to(images).expand(len(images), -1)
        return self.decode(images, styles, direction)


def _resized(images: Tensor, smallest: int, generator: torch.Generator) -> Tensor:
    """Scale images [N, 3, H, W] to a random size that the network takes."""
    largest, unit = min(images.shape[2:]), StyleNet.multiple
    share = float(torch.rand((), generator=generator))
    side = int(smallest + share * (largest - smallest)) // unit * unit
    return F.interpolate(images, (side, side), mode="bilinear", antialias=True)
