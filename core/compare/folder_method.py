"""Pictures that another program has made, as a map between the domains of a set."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from core.data.listing import expanded
from core.evaluation.folders import Partners, pictures_of
from core.evaluation.image_set import EvaluationSet
from core.family import to_float
from core.options import Direction
from core.report.pictures import in_8_bits, to_rgb


class FolderMethod:
    """Look translations up by the names of their inputs, endings apart.

    Args:
        folders: {direction: folder or list with a picture for each input}.
        test_set: the inputs, by whose rule the pictures are resized.

    Raises:
        UserError: a folder is missing, or has no picture for an input.
    """

    device = torch.device("cpu")
    has_styles = False
    together = False
    reconstruction = ""

    def __init__(self, folders: Mapping[Direction, str], test_set: EvaluationSet) -> None:
        self._inputs = {direction: test_set.inputs[direction] for direction in folders}
        self._made = {}
        for direction, folder in folders.items():
            rule = self._inputs[direction].source.options
            made = pictures_of(expanded(folder), options=rule)
            self._made[direction] = Partners(made, "translation")
        for direction, inputs in self._inputs.items():
            for i in range(len(inputs)):
                self._made[direction].place(inputs, i)

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Those there are folders for."""
        return tuple(self._made)

    def in_style_of(self, image: Tensor, example: Tensor, direction: Direction) -> Tensor:
        """Refuse: see `core.evaluation.model.ImageMap`."""
        raise NotImplementedError("pictures that are there have no other styles")

    def translations(
        self, image: Tensor, direction: Direction, num: int, seed: int
    ) -> list[Tensor]:
        """Return the picture that was made of input number `seed`, float [3, H, W] in [-1, 1]."""
        made = self._made[direction].read(self._inputs[direction], seed)
        return [to_float(to_rgb(in_8_bits(made)))]
