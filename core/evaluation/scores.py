"""The result of an evaluation: numbers with their meaning, as a table, as a log line, as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Better = Literal["higher", "lower", ""]

BETTER: dict[str, Better] = {
    "fid": "lower",
    "kid": "lower",
    "kid_std": "",
    "psnr": "higher",
    "ssim": "higher",
    "edge_correlation": "higher",
    "color_inversion": "higher",
    "lpips_diversity": "higher",
    "diversity": "higher",
    "diversity_features": "higher",
}
"""{measure: which way is better}; empty for a spread."""


def is_better(measure: str, value: float, than: float) -> bool:
    """Whether a value of a measure is better than another one of the same."""
    return value < than if BETTER[measure] == "lower" else value > than


@dataclass(frozen=True)
class Measure:
    """One number.

    Attributes:
        value: of the translations.
        input_copied: of the inputs themselves, where that says something.
        better: which way; empty for a spread.
    """

    value: float
    input_copied: float | None = None
    better: Better = ""


Measures = Mapping[str, Measure]
"""{metric: its value}, in the order of the table."""


@dataclass(frozen=True)
class Scores:
    """What was measured in one direction.

    Attributes:
        num_images: inputs that were translated.
        num_real: images of the target domain that they were compared with by FID and KID.
    """

    num_images: int
    num_real: int
    measures: Measures


@dataclass(frozen=True)
class Evaluation:
    """The result.

    Attributes:
        directions: scores of each direction there is, or of `samples`.
        notes: what was not measured and why, and what limits the rest.
    """

    directions: Mapping[str, Scores]
    notes: Sequence[str]

    def __str__(self) -> str:
        """Return a table per direction, then the notes."""
        lines = []
        for direction, scores in self.directions.items():
            title = f"{direction}, {scores.num_images} images"
            made = "drawn" if direction == "samples" else "translated"
            lines += ["", f"{title:<26}{made:>12}{'input copied':>14}   better"]
            for name, m in scores.measures.items():
                copied = "" if m.input_copied is None else f"{m.input_copied:.4f}"
                lines.append(f"{name:<26}{m.value:>12.4f}{copied:>14}   {m.better}")
        if self.notes:
            lines.append("")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)]).lstrip("\n")

    def flat(self) -> dict[str, float]:
        """Return {test_<metric>_<direction>: value} of the finite values, for the log."""
        return {
            f"test_{name}_{direction}": m.value
            for direction, scores in self.directions.items()
            for name, m in scores.measures.items()
            if math.isfinite(m.value)
        }

    def tree(self) -> dict[str, Any]:
        """Return plain containers for JSON; what is not finite (the PSNR of equals) is None."""

        def plain(fields: list[tuple[str, Any]]) -> dict[str, Any]:
            infinite = [k for k, v in fields if isinstance(v, float) and not math.isfinite(v)]
            return dict(fields) | dict.fromkeys(infinite)

        return asdict(self, dict_factory=plain)


def average(measures: Sequence[Measure]) -> Measure:
    """Average one metric over images, of which those without `input_copied` have none at all."""
    copied = [m.input_copied for m in measures if m.input_copied is not None]
    return Measure(
        sum(m.value for m in measures) / len(measures),
        sum(copied) / len(copied) if copied else None,
        measures[0].better,
    )
