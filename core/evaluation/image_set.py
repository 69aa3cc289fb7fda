"""Find what to measure a translator on: test images of two domains, and truths if known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from core.data.folders import find_paired, find_unpaired, has_split
from core.data.inputs import Sides, open_inputs
from core.data.listing import list_images
from core.data.names import same
from core.data.readers.files import Source
from core.data.transforms import for_testing
from core.errors import UserError
from core.inference.translator import Translator
from core.options import DataOptions, Direction, Span, other_way
from core.report.looks import Look
from core.report.pictures import in_8_bits, to_rgb

Preprocess = Literal["official", "none"]


@dataclass(frozen=True)
class Pictures:
    """Numbered images, decoded on demand; `side` is which of an item's, where these are pairs."""

    source: Source | Sides
    side: int = 0
    look: Look = field(default_factory=Look)

    def __len__(self) -> int:
        return len(self.source)

    def read(self, i: int) -> Tensor:
        """Decode an image, resized as for testing.

        Returns:
            [C, H, W], uint8, or float32 in [-1, 1] where there are more than 8 bits.
        """
        return torch.from_numpy(np.array(self.source.read(i)[self.side]))

    def seen(self, image: Tensor) -> Tensor:
        """Return what is measured of an image, uint8 [3, H, W]; of a stack the first picture."""
        return to_rgb(in_8_bits(self.look.first(image)))

    @property
    def rule(self) -> str:
        """What the pixels depend on besides the files."""
        options = self.source.options
        sizes = f"load_size {options.load_size}, crop_size {options.crop_size}"
        channels = self.source.channels[self.side]
        return f"{options.preprocess}, {sizes}, {channels} channels, side {self.side}"

    def name(self, i: int) -> str:
        """Return its file, relative to the data set's folder."""
        return self.source.name(i, self.side)


@dataclass(frozen=True)
class EvaluationSet:
    """The test split of a data set."""

    inputs: Mapping[Direction, Pictures]
    """{direction: what is translated}."""
    truths: Mapping[Direction, Pictures]
    """{direction: true translations of the inputs}, where these are known."""

    def reals(self, direction: Direction) -> Pictures:
        """Return the images of the target domain."""
        return self.inputs[other_way(direction)]


def find_evaluation_set(
    root: Path,
    translator: Translator,
    preprocess: Preprocess = "official",
    max_images: int | None = None,
) -> EvaluationSet:
    """Find the test split below `root`, for a translator, whose channels and data options count.

    Truths are the partners of pairs (`test/` or `val/`; also for a family trained without pairs),
    or of unpaired sets the files of equal name in `truthA/` and `truthB/`. `preprocess: official`
    resizes as the published test does (`core.data.transforms`), to the training's `crop_size`;
    `none` takes images as they are.

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
    """Return options that never resize; nothing is cropped where images are measured."""
    return options.model_copy(update={"preprocess": "crop"})


def evaluation_set(
    root: Path,
    channels: tuple[int, int],
    options: DataOptions,
    max_images: int | None = None,
    *,
    paired: bool = False,
) -> EvaluationSet:
    """Find the test split for no translator in particular; see `find_evaluation_set`.

    `channels` are those of A and B, `options` the rule of the resize, `max_images` the most per
    domain. `paired` looks for pairs, also where there is an unpaired set.
    """
    if options.a:
        return _of_inputs(root, channels, options, max_images, paired=paired)
    share = options.val_fraction
    unpaired = has_split(root, "test", paired=False)
    if paired or (not unpaired and has_split(root, "test", paired=True)):
        (pairs,) = Source.of(find_paired(root, "test", max_images, share), channels, options)
        a, b = Pictures(pairs, 0), Pictures(pairs, 1)
        return EvaluationSet({"AtoB": a, "BtoA": b}, {"AtoB": b, "BtoA": a})
    found = find_unpaired(root, "test", max_images, share)
    a, b = map(Pictures, Source.of(found, channels, options))
    truths: dict[Direction, Pictures | None] = {
        "AtoB": _truths(found.root / "truthB", found.a, channels[1], options, options.spans[1]),
        "BtoA": _truths(found.root / "truthA", found.b, channels[0], options, options.spans[0]),
    }
    known = {direction: pictures for direction, pictures in truths.items() if pictures}
    return EvaluationSet({"AtoB": a, "BtoA": b}, known)


def _of_inputs(
    root: Path,
    channels: tuple[int, int],
    options: DataOptions,
    max_images: int | None,
    *,
    paired: bool,
) -> EvaluationSet:
    """Open what `data.a` and `data.b` name, below another root perhaps."""
    same = root == Path(options.root)  # which may be an address, and no path
    own = options.root if same else str(root)
    here = options.model_copy(update={"root": own, "max_images": max_images})
    opened = open_inputs(here, "paired" if paired else "unpaired", "test", channels)
    looks = Look(options.a), Look(options.b)
    a = Pictures(opened[0], 0, looks[0])
    b = Pictures(opened[-1], 2 - len(opened), looks[1])
    return EvaluationSet({"AtoB": a, "BtoA": b}, {"AtoB": b, "BtoA": a} if paired else {})


def _truths(
    folder: Path, inputs: Sequence[Path], channels: int, options: DataOptions, span: Span | None
) -> Pictures | None:
    """Return the true counterparts of the other domain's images, by equal file names."""
    if not folder.is_dir():
        return None
    there = {same(file.name): file for file in list_images(folder)}
    missing = [file.name for file in inputs if same(file.name) not in there]
    if missing:
        raise UserError(
            f"{folder}: lacks {len(missing)} of {len(inputs)} truths, first {missing[0]}; complete "
            "the folder, or rename it to measure without truths"
        )
    paths = tuple((there[same(file.name)],) for file in inputs)
    root, number = folder.parent, (channels,)
    return Pictures(Source(folder.name, root, paths, number, False, options, (span,)))
