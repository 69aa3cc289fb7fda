"""Score a translator on a procedural set, where the truth of each test image is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from core.data.demo import Picture, TranslationScores, score_translations
from core.data.folders import find_paired, find_unpaired
from core.data.images import open_image, read_image
from core.data.source import split_pair
from core.inference import Translator
from core.options import Direction


def _translated(translator: Translator, picture: Picture, direction: Direction) -> Picture:
    return np.asarray(translator(Image.fromarray(picture), direction).convert("RGB"))


def score_unpaired(
    translator: Translator, root: Path, max_images: int | None = None
) -> dict[Direction, TranslationScores]:
    """Scores of every direction there is on a set made by `make_seasons(layout="unpaired")`.

    Raises:
        UserError: the set, or its `truthA/`, `truthB/`, `labelsA/`, `labelsB/`, is not there.
    """
    found = find_unpaired(root, "test", max_images)
    scores: dict[Direction, TranslationScores] = {}
    for direction in translator.directions:
        domain, other = ("A", "B") if direction == "AtoB" else ("B", "A")
        files = found.a if direction == "AtoB" else found.b
        inputs = [read_image(file, 3) for file in files]
        truths = [read_image(root / f"truth{other}" / file.name, 3) for file in files]
        labels = [read_image(root / f"labels{domain}" / file.name, 1)[..., 0] for file in files]
        fakes = [_translated(translator, x, direction) for x in tqdm(inputs, f"score {direction}")]
        scores[direction] = score_translations(fakes, inputs, truths, labels)
    return scores


def score_paired(
    translator: Translator, root: Path, max_images: int | None = None
) -> dict[Direction, TranslationScores]:
    """The same on a set made by `make_seasons(layout="paired")`: photo left, labels right."""
    found = find_paired(root, "test", max_images)
    (direction,) = translator.directions
    halves = [split_pair(open_image(file), file) for file in found.a]
    photos, drawings = (
        [np.asarray(pair[side].convert("RGB")) for pair in halves] for side in (0, 1)
    )
    inputs, truths = (photos, drawings) if direction == "AtoB" else (drawings, photos)
    labels = [read_image(root / "labels" / file.name, 1)[..., 0] for file in found.a]
    fakes = [_translated(translator, x, direction) for x in tqdm(inputs, f"score {direction}")]
    return {direction: score_translations(fakes, inputs, truths, labels)}
