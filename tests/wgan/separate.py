"""The published order of a WGAN step, which `wgan.family` shortens: an oracle for tests."""

from __future__ import annotations

from torch import Tensor

from wgan.family import WGAN


class SeparateWGAN(WGAN):
    """Its critic sees one batch after the other, whatever its norms."""

    def rate(self, **inputs: tuple[Tensor, ...]) -> dict[str, Tensor]:
        values: dict[str, Tensor] = {}
        for name, given in inputs.items():
            values |= super().rate(**{name: given})
        return values
