"""The contract of methods that give one image the style of others, without a training.

They share config, images and pictures with the families that train; `scripts/stylize.py` drives
them over files (`core.jobs.stylize`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, Self

import torch
from PIL import Image

from core.options import NamedConfig


class StylizerConfig(NamedConfig):
    """The root of a stylizer's config file; all stand together in `configs/style/`."""

    folder: ClassVar[str] = "style"


@dataclass(frozen=True)
class Look:
    """How things stand in the middle of the work."""

    picture: Image.Image
    """The result, if the work stopped now; RGB."""
    state: Image.Image
    """The picture to go on from; RGB."""
    terms: Mapping[str, float] = field(default_factory=dict)
    """{loss term: value}, for the progress bar; empty where nothing is minimised."""


class Progress(Protocol):
    """Who follows the work on one image: a progress bar, a folder of pictures."""

    def resumed(self) -> tuple[int, Image.Image] | None:
        """Return steps done and `Look.state` then, to go on from; None: begin anew."""

    def advance(self, done: int, total: int, look: Callable[[], Look]) -> None:
        """Take note of a step.

        `done` counts from 1, `total` includes the steps before a resumption; `look` computes what
        could be shown, which costs time: call it only to show something.
        """


class Stylizer(Protocol):
    """A method with its networks on a device."""

    name: ClassVar[str]
    Config: ClassVar[type[Any]]
    """Its options: a subclass of `StylizerConfig`."""

    @classmethod
    def build(cls, config: Any, device: torch.device) -> Self:
        """Make networks with their weights, on `device`; missing or other weights are refused."""

    def stylize(
        self,
        content: Image.Image,
        styles: Sequence[Image.Image],
        *,
        content_mask: Image.Image | None = None,
        style_masks: Sequence[Image.Image | None] = (),
        progress: Progress | None = None,
    ) -> Image.Image:
        """Give `content` the style of `styles`, and return an RGB picture.

        Args:
            content: as `core.data.images.open_image` gives it. What is transparent is white, gives
                no style and takes none.
            styles: at least one, likewise, of any sizes.
            content_mask: label map of the content, if transfer is to go class by class
                (`core.data.images.open_label_map`).
            style_masks: one per style, or none at all.
            progress: who follows the work.

        Raises:
            UserError: sizes, masks or number of styles that the method cannot use.
        """
