"""A method that takes the style of an example picture, as a map between the domains of a set."""

from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from core.evaluation.image_set import EvaluationSet
from core.family import to_float
from core.options import Direction
from core.report.pictures import to_pil, to_rgb
from core.stylizer import Stylizer


class StyleMethod:
    """Give an image of one domain the style of real images of the other.

    A result of another size than its content (neural style works at its own scales, the published
    matting cuts a border off) is resized to it, so that it can be held against input and truth.

    The examples are images of `test_set`.
    """

    directions: tuple[Direction, ...] = ("AtoB", "BtoA")
    has_styles = True
    together = False
    reconstruction = ""

    def __init__(self, stylizer: Stylizer, device: torch.device, test_set: EvaluationSet) -> None:
        self.stylizer, self.device, self._set = stylizer, device, test_set

    @classmethod
    def build(
        cls, kind: type[Stylizer], config: Any, device: torch.device, test_set: EvaluationSet
    ) -> Self:
        """Load the weights of a stylizer."""
        return cls(kind.build(config, device), device, test_set)

    @property
    def num_parameters(self) -> int:
        """Parameters of the networks that look at the pictures; none of them is trained here."""
        parts = (part for part in vars(self.stylizer).values() if isinstance(part, nn.Module))
        return sum(p.numel() for part in parts for p in part.parameters())

    def __call__(self, content: Image.Image, example: Image.Image) -> Image.Image:
        """Stylize a picture, in the size that the method gives."""
        return self.stylizer.stylize(content, [example])

    def in_style_of(self, image: Tensor, example: Tensor, direction: Direction) -> Tensor:
        """See `core.evaluation.model.ImageMap`."""
        content = to_pil(to_rgb(image))
        result = self(content, to_pil(to_rgb(example)))
        if result.size != content.size:
            result = result.resize(content.size, Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(result.convert("RGB")))
        return to_float(pixels.permute(2, 0, 1))

    def translations(
        self, image: Tensor, direction: Direction, num: int, seed: int
    ) -> list[Tensor]:
        """Translate in the styles of `num` examples, or of all, if there are fewer."""
        examples = self._set.reals(direction)
        # From the one after: of pairs, the example of the same number is the truth itself.
        first = seed + 1
        return [
            self.in_style_of(image, to_float(examples.read((first + k) % len(examples))), direction)
            for k in range(min(num, len(examples)))
        ]
