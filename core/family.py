"""The contract between the trainer and a family, and the batch types that travel between them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from core.options import Direction
from core.text import Vocabulary

Layout = Literal["unpaired", "paired", "single"]
"""What training data a family takes: two domains, pairs of the same scene, or one domain."""


def to_float(images: Tensor) -> Tensor:
    """Map uint8 0..255 to float32 [-1, 1] (v / 255 * 2 - 1); float images pass unchanged."""
    return images.float().div_(127.5).sub_(1.0) if images.dtype == torch.uint8 else images


class Place(NamedTuple):
    """A batch's number within its epoch, from 0, and how many batches the epoch has."""

    number: int
    total: int


@dataclass(frozen=True)
class Batch:
    """What the loader hands to a training step: `ImageBatch`, or one of a single domain."""

    def columns(self) -> Mapping[str, tuple[Tensor, tuple[str, ...]]]:
        """Return {field: (images [N, C, H, W], N file names)}, for checks and reports."""
        raise NotImplementedError

    def to(self, device: torch.device, *, channels_last: bool = False) -> Self:
        """Move to `device` (asynchronously from pinned memory) and convert to float there.

        uint8 crosses the bus: a quarter of the bytes.
        """
        layout = torch.channels_last if channels_last else torch.contiguous_format

        def move(images: Tensor) -> Tensor:
            return to_float(images.to(device, non_blocking=True)).contiguous(memory_format=layout)

        return self.changed(move)

    def pin_memory(self) -> Self:
        """Pin the images' memory; called by the DataLoader where a GPU is used."""
        return self.changed(Tensor.pin_memory)

    def split(self, parts: int) -> list[Self]:
        """Cut into parts of equal size, in order; each has the place of the whole."""
        number = len(next(iter(self.columns().values()))[0])
        size, rest = divmod(number, parts)
        assert not rest, f"{number} images make no {parts} equal parts"
        cut = [field.name for field in fields(self) if field.name != "place"]
        return [
            replace(self, **{name: getattr(self, name)[start : start + size] for name in cut})
            for start in range(0, number, size)
        ]

    def changed(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Return the same with other images: `change` gets those of each domain."""
        return replace(self, **{key: change(images) for key, (images, _) in self.columns().items()})


@dataclass(frozen=True)
class ImageBatch(Batch):
    """Images of the two domains, paired or not."""

    a: Tensor
    """[N, C_A, H, W], uint8 as the loader gives it, float in [-1, 1] after `to`."""
    b: Tensor
    """[N, C_B, H, W], likewise."""
    names_a: tuple[str, ...]
    """N file names, for error reports and galleries, as `names_b`."""
    names_b: tuple[str, ...]
    place: Place | None = None
    """Where the batch stands in its epoch, if it comes from a loader."""

    def columns(self) -> Mapping[str, tuple[Tensor, tuple[str, ...]]]:
        """Return both domains; see `Batch.columns`."""
        return {"a": (self.a, self.names_a), "b": (self.b, self.names_b)}

    def swapped(self) -> Self:
        """Exchange A and B (direction BtoA)."""
        return replace(self, a=self.b, b=self.a, names_a=self.names_b, names_b=self.names_a)


@dataclass(frozen=True)
class SampleBatch(Batch):
    """Images of one domain, with what is said of them."""

    images: Tensor
    """[N, C, H, W], uint8 as the loader gives it, float in [-1, 1] after `to`."""
    names: tuple[str, ...]
    captions: tuple[str, ...]
    """One of each, e.g. "blue hair red eyes"; empty where the data set has no tags."""
    place: Place | None = None
    """As in `ImageBatch`."""

    def columns(self) -> Mapping[str, tuple[Tensor, tuple[str, ...]]]:
        """Return the one domain; see `Batch.columns`."""
        return {"images": (self.images, self.names)}


class Update(Protocol):
    """One optimizer step: the only way to change weights (`core.training.update`)."""

    def __call__(
        self, optimizer: Optimizer, *losses: Tensor, clip_grad_norm: float | None = None
    ) -> None:
        """Backpropagate the sum of `losses` and step, guarded, averaged and scaled."""

    def step_together(self, *turns: tuple[Sequence[Optimizer], Iterable[Tensor]]) -> None:
        """Step for each (optimizers, losses), all gradients taken at the present weights."""


class Family(Protocol):
    """What every family gives the core to be trained. Everything else is the core's."""

    name: ClassVar[str]
    Config: ClassVar[type[Any]]
    """Its options: a subclass of `core.options.RunConfig`."""
    layout: ClassVar[Layout]
    """The training data it takes; its `Config` has one entry in `channels` per domain."""
    ema_networks: ClassVar[tuple[str, ...]]
    """Names of the networks of which a moving average is kept if asked for."""
    objective: ClassVar[str]
    """Loss term that should fall, for the plateau schedule."""

    config: Any
    networks: dict[str, nn.Module]
    """A network may state its smallest image side in pixels as `minimum`."""
    optimizers: Mapping[str, Optimizer]
    """Perhaps made when they are first looked up: only training needs them."""
    state: dict[str, Any]
    """Further objects with `state_dict` / `load_state_dict`, e.g. image pools."""

    @property
    def multiple(self) -> int:
        """Image sides must be multiples of this many pixels."""

    @property
    def minimum(self) -> int:
        """Smallest image side in pixels."""

    @classmethod
    def build(cls, config: Any) -> Self:
        """Make networks with initial weights, on the CPU, and their optimizers."""

    def training_step(self, batch: Any, step: int, update: Update) -> dict[str, Tensor]:
        """Run one full iteration; return {loss term: detached scalar}."""


class PreviewedFamily(Family, Protocol):
    """A family whose sample grids show what it makes of a batch."""

    def preview(self, batch: Any) -> Mapping[str, Tensor]:
        """Return {column label: images [N, C, H, W] in [-1, 1]} for the sample grid."""


@runtime_checkable
class TranslationFamily(PreviewedFamily, Protocol):
    """A family that translates images of one domain to another."""

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Directions, in the data set's terms, for which there are networks."""

    def translate(self, images: Tensor, direction: Direction) -> Tensor:
        """Translate images [N, C, H, W] in [-1, 1] of one domain of the data set to the other."""


@runtime_checkable
class StyleFamily(TranslationFamily, Protocol):
    """A family that gives one image many translations, one for each style code.

    Encoding the content once and decoding it with many styles is what makes them cheap.
    """

    @property
    def style_dim(self) -> int:
        """Length of a style code."""

    def random_styles(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw [num, style_dim], float32, from the prior N(0, 1)."""

    def encode_style(self, images: Tensor, direction: Direction) -> Tensor:
        """Encode images [N, C, H, W] of the direction's TARGET domain as styles [N, style_dim]."""

    def encode_content(self, images: Tensor, direction: Direction) -> Tensor:
        """Encode the content of images [N, C, H, W] of the direction's source domain."""

    def decode(self, content: Tensor, styles: Tensor, direction: Direction) -> Tensor:
        """Decode contents of N images and styles [N, style_dim] to images of the target domain.

        The content of one image goes with every style.
        """

    def translate(
        self, images: Tensor, direction: Direction, styles: Tensor | None = None
    ) -> Tensor:
        """Translate with the given styles [N, style_dim], or one fixed code per image."""


@runtime_checkable
class GenerativeFamily(Family, Protocol):
    """A family that makes images of one domain out of noise, and perhaps of words."""

    @property
    def noise_dim(self) -> int:
        """Length of a noise vector."""

    @property
    def vocabulary(self) -> Vocabulary | None:
        """What the words of a caption mean to the networks; None for unconditional models."""

    def random_noise(self, num: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw [num, noise_dim], float32, from N(0, 1)."""

    def sample(self, noise: Tensor, conditions: Tensor | None = None) -> Tensor:
        """Draw images [N, C, H, W] in [-1, 1] from noise [N, noise_dim] on the networks' device.

        `conditions` are [N, vocabulary.size]: needed where there is a vocabulary, else refused.
        """


FamilyTable = Mapping[str, type[Family]]
"""{name: family}; `families.FAMILIES` is the project's."""
