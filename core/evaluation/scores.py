"""The result of an evaluation: numbers with their meaning, as a table, as a log line, as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

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
        name: of the metric.
        value: of the translations.
        copied: of the inputs themselves, where that says something.
        better: which way; empty for a spread.
    """

    name: str
    value: float
    copied: float | None
    better: Better


@dataclass(frozen=True)
class Scores:
    """Of one direction.

    Attributes:
        num_images: inputs that were translated.
        num_real: images of the target domain that they were compared with by FID and KID.
        measures: in the order of the table.
    """

    num_images: int
    num_real: int
    measures: tuple[Measure, ...]


@dataclass(frozen=True)
class Evaluation:
    """The result.

    Attributes:
        directions: scores of each direction there is, or of `samples`.
        notes: what was not measured and why, and what limits the rest.
    """

    directions: Mapping[str, Scores]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        """A table per direction, then the notes."""
        lines = []
        for direction, scores in self.directions.items():
            title = f"{direction}, {scores.num_images} images"
            made = "drawn" if direction == "samples" else "translated"
            lines += ["", f"{title:<26}{made:>12}{'input copied':>14}   better"]
            for m in scores.measures:
                copied = "" if m.copied is None else f"{m.copied:.4f}"
                lines.append(f"{m.name:<26}{m.value:>12.4f}{copied:>14}   {m.better}")
        if self.notes:
            lines.append("")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)]).lstrip("\n")

    def flat(self) -> dict[str, float]:
        """{test_<metric>_<direction>: value} of the finite values, for the log."""
        return {
            f"test_{m.name}_{direction}": m.value
            for direction, scores in self.directions.items()
            for m in scores.measures
            if math.isfinite(m.value)
        }

    def tree(self) -> dict[str, Any]:
        """Plain containers for JSON; a value that is not finite (the PSNR of equals) is None."""

        def number(value: float | None) -> float | None:
            return value if value is not None and math.isfinite(value) else None

        return {
            "directions": {
                direction: {
                    "num_images": scores.num_images,
                    "num_real": scores.num_real,
                    "measures": {
                        m.name: {
                            "value": number(m.value),
                            "input_copied": number(m.copied),
                            "better": m.better,
                        }
                        for m in scores.measures
                    },
                }
                for direction, scores in self.directions.items()
            },
            "notes": list(self.notes),
        }


class ScoreTable:
    """Values image by image, averaged at the end."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[list[float], list[float]]] = {}

    def add(self, name: str, value: Tensor | float, copied: Tensor | float | None = None) -> None:
        """The value of one image."""
        values, copies = self._values.setdefault(name, ([], []))
        values.append(float(value))
        if copied is not None:
            copies.append(float(copied))

    def measures(self) -> tuple[Measure, ...]:
        """Means over the images, in the order in which names first came."""
        return tuple(
            Measure(
                name,
                sum(values) / len(values),
                sum(copies) / len(copies) if copies else None,
                BETTER[name],
            )
            for name, (values, copies) in self._values.items()
        )
