"""What one process has measured of the pictures, in a form that travels between processes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from core.evaluation.networks import Features
from core.evaluation.scores import Measure, average


@dataclass(frozen=True)
class Share:
    """Measures of consecutive pictures of one direction.

    Attributes:
        table: {measure: (value, of the input itself or None) of each picture that has it}.
        inputs: band energies of the inputs, [N, 3].
        outputs: those of the translations, [N, 3].
        features: of the translations, [N, D]; None where they are not measured.
        logits: likewise, [N, classes].
        counts: pixels of each true and each found class, where label maps are made.
    """

    table: dict[str, list[tuple[float, float | None]]]
    inputs: Tensor
    outputs: Tensor
    features: Tensor | None = None
    logits: Tensor | None = None
    counts: Tensor | None = None

    def with_features(self, features: Features) -> Share:
        """Return the same with what a network saw in the translations."""
        return replace(self, features=features.values, logits=features.logits)

    @property
    def seen(self) -> Features | None:
        """What a network saw in the translations."""
        return None if self.features is None else Features(self.features, self.logits)

    def state(self) -> dict[str, Any]:
        """Return plain containers and tensors, from which `Share(**state)` makes it again."""
        return asdict(self)

    def means(self) -> dict[str, Measure]:
        """Average each measure over the pictures."""
        return {
            name: average([Measure.of(name, *pair) for pair in pairs])
            for name, pairs in self.table.items()
        }


def joined(shares: Sequence[Share]) -> Share:
    """Return shares of consecutive pictures as one."""
    table: defaultdict[str, list[tuple[float, float | None]]] = defaultdict(list)
    for share in shares:
        for name, pairs in share.table.items():
            table[name] += pairs

    def together(tensors: list[Tensor | None]) -> Tensor | None:
        there = [tensor for tensor in tensors if tensor is not None]
        return torch.cat(there) if there else None

    counts = [share.counts for share in shares if share.counts is not None]
    return Share(
        dict(table),
        torch.cat([share.inputs for share in shares]),
        torch.cat([share.outputs for share in shares]),
        together([share.features for share in shares]),
        together([share.logits for share in shares]),
        torch.stack(counts).sum(0) if counts else None,
    )
