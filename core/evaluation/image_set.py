"""What there is to measure a translator on: test images of two domains, and truths if known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from core.data.folders import TwoDomains, find_paired, find_unpaired, has_split
from core.data.source import Source
from core.data.transforms import for_testing
from core.errors import UserError
from core.inference.translator import Translator
from core.options import DataOptions, Direction

Preprocess = Literal["official", "none"]


@dataclass(frozen=True)
class Pictures:
    """Numbered images, decoded on demand; one side of the pairs where the source has pairs.

    Attributes:
        source: resizes as for testing.
        side: which of an item's images.
    """

    source: Source
    side: int = 0

    def __len__(self) -> int:
        """Number of images."""
        return len(self.source)

    def read(self, i: int) -> Tensor:
        """Uint8 [C, H, W]."""
        return torch.from_numpy(self.source.read(i)[self.side])

    def name(self, i: int) -> str:
        """File, relative to the data set's folder."""
        return self.source.name(i, self.side)


@dataclass(frozen=True)
class EvaluationSet:
    """The test split of a data set.

    Attributes:
        a: images of the data set's domain A.
        b: of domain B.
        truth_a: what `b[i]` looks like in A, where that is known.
        truth_b: what `a[i]` looks like in B, where that is known.
    """

    a: Pictures
    b: Pictures
    truth_a: Pictures | None
    truth_b: Pictures | None

    def inputs(self, direction: Direction) -> Pictures:
        """What is translated."""
        return self.a if direction == "AtoB" else self.b

    def reals(self, direction: Direction) -> Pictures:
        """Images of the target domain."""
        return self.b if direction == "AtoB" else self.a

    def truths(self, direction: Direction) -> Pictures | None:
        """True translations of the inputs."""
        return self.truth_b if direction == "AtoB" else self.truth_a


def find_evaluation_set(
    root: Path,
    translator: Translator,
    preprocess: Preprocess = "official",
    max_images: int | None = None,
) -> EvaluationSet:
    """The test split below `root`, for a translator.

    Truths are the partners of pairs (`test/` or `val/`; also for a family trained without pairs),
    or of unpaired sets the files of equal name in `truthA/` and `truthB/`.

    Args:
        root: the data set's folder.
        translator: its channels and data options count.
        preprocess: `official` resizes as the published test does (`core.data.transforms`), to the
            training's `crop_size`; `none` takes images as they are.
        max_images: at most so many per domain.

    Raises:
        UserError: no test split, or a truth folder that lacks a file.
    """
    options = for_testing(translator.family.config.data)
    if preprocess == "none":
        options = as_they_are(options)
    channels = translator.channels("AtoB")
    paired = translator.family.layout == "paired"
    return evaluation_set(root, channels, options, max_images, paired=paired)


def as_they_are(options: DataOptions) -> DataOptions:
    """Options that never resize; nothing is cropped where images are measured."""
    return options.model_copy(update={"preprocess": "crop"})


def evaluation_set(
    root: Path,
    channels: tuple[int, int],
    options: DataOptions,
    max_images: int | None = None,
    *,
    paired: bool = False,
) -> EvaluationSet:
    """The same for no translator in particular.

    Args:
        root: the data set's folder.
        channels: of A and B.
        options: rule of the resize.
        max_images: at most so many per domain.
        paired: look for pairs, also where there is an unpaired set.

    Raises:
        UserError: as `find_evaluation_set`.
    """
    unpaired = has_split(root, "test", paired=False)
    if paired or (not unpaired and has_split(root, "test", paired=True)):
        (pairs,) = Source.of(find_paired(root, "test", max_images), channels, options)
        a, b = Pictures(pairs, 0), Pictures(pairs, 1)
        return EvaluationSet(a, b, truth_a=a, truth_b=b)
    found = find_unpaired(root, "test", max_images)
    source_a, source_b = Source.of(found, channels, options)
    return EvaluationSet(
        Pictures(source_a),
        Pictures(source_b),
        truth_a=_truths(found, "A", channels[0], options),
        truth_b=_truths(found, "B", channels[1], options),
    )


def _truths(found: TwoDomains, domain: str, channels: int, options: DataOptions) -> Pictures | None:
    """True counterparts in `domain` of the other domain's images, by equal file names."""
    folder = found.root / f"truth{domain}"
    if not folder.is_dir():
        return None
    files = [folder / file.name for file in (found.b if domain == "A" else found.a)]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise UserError(
            f"{folder}: lacks {len(missing)} of {len(files)} truths, first {missing[0]}; complete "
            "the folder, or rename it to measure without truths"
        )
    paths = tuple((file,) for file in files)
    return Pictures(Source(f"truth{domain}", found.root, paths, (channels,), False, options))
