"""The contract between the trainer and a family, and the batch types that travel between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from core.options import Direction


def to_float(images: Tensor) -> Tensor:
    """Map uint8 0..255 to float32 [-1, 1] (v / 255 * 2 - 1); float images pass unchanged."""
    return images.float().div_(127.5).sub_(1.0) if images.dtype == torch.uint8 else images


class Place(NamedTuple):
    """A batch's number within its epoch, from 0, and how many batches the epoch has."""

    number: int
    total: int


@dataclass(frozen=True)
class ImageBatch:
    """Images of the two domains, paired or not.

    Attributes:
        a: [N, C_A, H, W], uint8 as the loader gives it, float in [-1, 1] after `to`.
        b: [N, C_B, H, W], likewise.
        names_a: N file names, for error reports and galleries.
        names_b: N file names.
        place: where the batch stands in its epoch, if it comes from a loader.
    """

    a: Tensor
    b: Tensor
    names_a: tuple[str, ...]
    names_b: tuple[str, ...]
    place: Place | None = None

    def to(self, device: torch.device, *, channels_last: bool = False) -> Self:
        """Move to `device` (asynchronously from pinned memory) and convert to float there.

        uint8 crosses the bus: a quarter of the bytes.
        """
        layout = torch.channels_last if channels_last else torch.contiguous_format

        def move(images: Tensor) -> Tensor:
            return to_float(images.to(device, non_blocking=True)).contiguous(memory_format=layout)

        return replace(self, a=move(self.a), b=move(self.b))

    def pin_memory(self) -> Self:
        """Called by the DataLoader where a GPU is used."""
        return replace(self, a=self.a.pin_memory(), b=self.b.pin_memory())

    def swapped(self) -> Self:
        """A and B exchanged (direction BtoA)."""
        return replace(self, a=self.b, b=self.a, names_a=self.names_b, names_b=self.names_a)


class Update(Protocol):
    """One optimizer step; the only way in which a family changes weights (`core.optim`)."""

    def __call__(
        self, optimizer: Optimizer, *losses: Tensor, clip_grad_norm: float | None = None
    ) -> None:
        """Backpropagate the sum of `losses` and step, guarded, averaged and scaled."""

    def in_turn(self, *turns: tuple[Sequence[Optimizer], Iterable[Tensor]]) -> None:
        """A step for each (optimizers, losses), all gradients taken at the present weights."""


class Family(Protocol):
    """What a family gives the core. See DESIGN: everything else is the core's."""

    name: ClassVar[str]
    Config: ClassVar[type[Any]]
    """Its options: a subclass of `core.options.RunConfig`."""
    paired: ClassVar[bool]
    """Whether training needs A and B of the same scene."""
    ema_networks: ClassVar[tuple[str, ...]]
    """Names of the networks of which a moving average is kept if asked for."""
    objective: ClassVar[str]
    """Loss term that should fall, for the plateau schedule."""

    config: Any
    networks: dict[str, nn.Module]
    """A network may state its smallest image side in pixels as `minimum`."""
    optimizers: dict[str, Optimizer]
    state: dict[str, Any]
    """Further objects with `state_dict` / `load_state_dict`, e.g. image pools."""

    @property
    def multiple(self) -> int:
        """Image sides must be multiples of this many pixels."""

    @property
    def minimum(self) -> int:
        """Smallest image side in pixels."""

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Directions, in the data set's terms, for which there are networks."""

    @classmethod
    def build(cls, config: Any) -> Self:
        """Networks with initial weights, on the CPU, and their optimizers."""

    def training_step(self, batch: ImageBatch, step: int, update: Update) -> dict[str, Tensor]:
        """One full iteration; returns {loss term: detached scalar}."""

    def preview(self, batch: ImageBatch) -> Mapping[str, Tensor]:
        """{column label: images [N, C, H, W] in [-1, 1]} for the sample grid."""

    def translate(self, images: Tensor, direction: Direction) -> Tensor:
        """Images [N, C, H, W] in [-1, 1] of one domain of the data set to the other."""
