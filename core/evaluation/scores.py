"""The result of an evaluation: numbers with their meaning, as a table, as a log line, as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Better = Literal["higher", "lower", ""]

OF_SETS: dict[str, Better] = {
    "fid": "lower",
    "kid": "lower",
    "kid_std": "",
    "precision": "higher",
    "recall": "higher",
    "density": "higher",
    "coverage": "higher",
    "inception_score": "higher",
}
"""{measure in the features of a network: which way is better}; empty for a spread. In features
other than Inception's its name ends with theirs."""
_OF_PICTURES: dict[str, Better] = {
    "detail_distance": "lower",
    "psnr": "higher",
    "ssim": "higher",
    "ms_ssim": "higher",
    "l1": "lower",
    "lpips": "lower",
    "student_distance": "lower",
    "edge_correlation": "higher",
    "color_inversion": "higher",
    "structure_distance": "lower",
    "lpips_diversity": "higher",
    "diversity": "higher",
    "diversity_features": "higher",
    "pixel_accuracy": "higher",
    "class_accuracy": "higher",
    "mean_iou": "higher",
}


_KNOWN = OF_SETS | _OF_PICTURES


def _base(measure: str) -> str:
    """Return the measure's name without that of a network."""
    return measure if measure in _KNOWN else measure.rpartition("_")[0]


def is_measure(name: str) -> bool:
    """Return whether there is a measure of this name."""
    return _base(name) in _KNOWN


def better(measure: str) -> Better:
    """Return which way a measure is better; empty for a spread."""
    return _KNOWN[_base(measure)]


def is_better(measure: str, value: float, than: float) -> bool:
    """Whether a value of a measure is better than another one of the same."""
    return value < than if better(measure) == "lower" else value > than


@dataclass(frozen=True)
class Measure:
    """One number.

    Attributes:
        value: of the translations.
        input_copied: of the inputs themselves, where that says something.
        better: which way; empty for a spread.
        low: lower end of the 95 % interval, where one was asked for.
        high: upper end.
        bias: by how much so few images raise the value, where that was measured.
    """

    value: float
    input_copied: float | None = None
    better: Better = ""
    low: float | None = None
    high: float | None = None
    bias: float | None = None

    @classmethod
    def of(cls, name: str, value: float, copied: float | None = None) -> Measure:
        """Return a value of the measure of a name."""
        return cls(value, copied, better(name))

    def __str__(self) -> str:
        """Return what of it does not stand in a column of its own."""
        parts = []
        if self.low is not None and self.high is not None:
            parts.append(f"95 %: {self.low:.4f} to {self.high:.4f}")
        if self.bias is not None:
            parts.append(f"bias about {self.bias:+.4f}")
        return ", ".join(parts)


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
        protocol: what the numbers depend on besides the images: networks, files, rules, versions.
    """

    directions: Mapping[str, Scores]
    notes: Sequence[str]
    protocol: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return a table per direction, then the notes."""
        lines = []
        for direction, scores in self.directions.items():
            title = f"{direction}, {scores.num_images} images"
            made = {"samples": "drawn", "generated": "generated"}.get(direction, "translated")
            lines += ["", f"{title:<26}{made:>12}{'input copied':>14}   better"]
            for name, m in scores.measures.items():
                copied = "" if m.input_copied is None else f"{m.input_copied:.4f}"
                line = f"{name:<26}{m.value:>12.4f}{copied:>14}   {m.better:<6}  {m}"
                lines.append(line.rstrip())
        if self.notes or self.protocol:
            lines.append("")
        lines += [f"note: {note}" for note in self.notes]
        if self.protocol:
            lines.append(f"protocol: {', '.join(f'{k} {v}' for k, v in self.protocol.items())}")
        return "\n".join(lines).lstrip("\n")

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
