"""What CUT draws at random, as a case names it, and what its contrastive loss was of each layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from cyclegan.cut import family as cut
from cyclegan.cut.losses import patch_nce
from tests.reference.cases import Case


def positions(case: Case, name: str, num_patches: int) -> Tensor:
    """The positions that a case's noise `patch_order_<name>` stands for."""
    order = case.input(f"patch_order_{name}", torch.float32).argsort(stable=True)
    chosen = order[:num_patches]
    assert torch.equal(chosen, case.arrays[f"patch_ids_{name}"])
    return chosen


class Draws:
    """Stands in for the draws of one iteration after another."""

    def __init__(self, case: Case, family: Any) -> None:
        self.case, self.family = case, family
        self.per_layer: dict[str, list[float]] = defaultdict(list)
        self._names: Iterator[str] = iter(())
        self._iteration, self._suffix, self._losses = 0, "", 0

    def begin_iteration(self, number: int) -> None:
        self._iteration, self._suffix, self._losses = number, "" if number == 1 else f"_{number}", 0
        layers = range(len(self.family.config.model.nce_layers))
        self._names = iter([f"{pair}_{layer}{self._suffix}" for pair in "XY" for layer in layers])
        self.per_layer.clear()

    def _positions(self, number: int, num_patches: int, device: torch.device) -> Tensor:
        name = next(self._names)
        assert self.case.data["inputs"][f"patch_order_{name}"]["shape"] == [number]
        return positions(self.case, name, num_patches)

    def _mirrored(self) -> bool:
        return self.case.hyper["flipped"][self._iteration - 1]

    def _patch_nce(self, *args: Any) -> Tensor:
        values = patch_nce(*args)
        model = self.family.config.model
        name = ("NCE", "NCE_Y")[self._losses // len(model.nce_layers)]
        self.per_layer[name].append(model.lambda_NCE * values.mean().item())
        self._losses += 1
        return values

    @contextmanager
    def given(self) -> Iterator[None]:
        """Within, CUT draws what the case names."""
        replaced = {
            "draw_positions": self._positions,
            "draw_mirrored": self._mirrored,
            "patch_nce": self._patch_nce,
        }
        with patch.multiple(cut, **replaced):
            yield
