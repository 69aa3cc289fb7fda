"""Score a model on a procedural set, where the truth of each image is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from core.data.folders import find_paired, find_unpaired
from core.data.images import open_image, read_image
from core.data.source import split_pair
from core.errors import UserError
from core.evaluation.metrics.diversity import feature_distance, pixel_distance
from core.family import to_float
from core.inference.sampler import Sampler
from core.inference.translator import Translator
from core.options import Direction
from core.procedural.caption_agreement import CaptionAgreement, caption_agreement
from core.procedural.sets import Picture, TranslationScores, score_translations
from core.report.pictures import to_uint8

NUM_STYLES = 4
"""Random styles of each input for diversity: six pairs."""


def _translated(
    translator: Translator, picture: Picture, direction: Direction, truth: Picture
) -> Picture:
    """A translation; where there are styles, in that of the truth: content comes from the input."""
    image = Image.fromarray(picture)
    if translator.styles is None:
        return np.asarray(translator(image, direction).convert("RGB"))
    style = translator.encode_style(Image.fromarray(truth), direction)
    return np.asarray(translator.in_styles(image, style, direction)[0].convert("RGB"))


def diversity(
    translator: Translator, root: Path, max_images: int | None = None
) -> dict[Direction, tuple[float, float]]:
    """Mean pixel and feature distance between random styles of the test images, per direction.

    Empty for a family without styles. See `core.evaluation.metrics.diversity` for the units.
    """
    if translator.styles is None:
        return {}
    found = find_unpaired(root, "test", max_images)
    result: dict[Direction, tuple[float, float]] = {}
    for direction in translator.directions:
        files = found.a if direction == "AtoB" else found.b
        pixels, features = [], []
        for i, file in enumerate(files):
            image = torch.from_numpy(read_image(file, 3)).permute(2, 0, 1)[None]
            styles = translator.random_styles(NUM_STYLES, seed=i)
            outputs = torch.stack(translator.in_styles(to_float(image), styles, direction))
            pixels.append(float(pixel_distance(outputs)))
            features.append(float(feature_distance(outputs)))
        result[direction] = (float(np.mean(pixels)), float(np.mean(features)))
    return result


def score_unpaired(
    translator: Translator, root: Path, max_images: int | None = None
) -> dict[Direction, TranslationScores]:
    """Scores of every direction there is on a set made by `make_seasons(layout="unpaired")`.

    A family with styles translates guided by the truth: its content is the input's, its style that
    of the true picture, which is what example guidance promises.

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
        pairs = zip(tqdm(inputs, f"score {direction}"), truths, strict=True)
        fakes = [_translated(translator, x, direction, truth) for x, truth in pairs]
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
    pairs_of = zip(tqdm(inputs, f"score {direction}"), truths, strict=True)
    fakes = [_translated(translator, x, direction, truth) for x, truth in pairs_of]
    return {direction: score_translations(fakes, inputs, truths, labels)}


def score_captions(sampler: Sampler, num_per_caption: int = 8, seed: int = 0) -> CaptionAgreement:
    """How often faces have the colours asked for, over every pair of colours alike.

    Args:
        sampler: of a model trained on `make_faces`, with captions.
        num_per_caption: samples of each pair; all pairs get the same noise.
        seed: of the noise.

    Raises:
        UserError: the model knows no hair and eyes, or takes no captions.
    """
    vocabulary = sampler.family.vocabulary
    words = {} if vocabulary is None else vocabulary.words
    if set(words) != {"hair", "eyes"}:
        raise UserError("a score of hair and eyes needs a model whose captions name just these")
    asked = [f"{hair} hair {eyes} eyes" for hair in words["hair"] for eyes in words["eyes"]]
    captions = [caption for caption in asked for _ in range(num_per_caption)]
    generator = torch.Generator().manual_seed(seed)
    noise = sampler.family.random_noise(num_per_caption, generator).repeat(len(asked), 1)
    images = to_uint8(sampler(noise, captions)).permute(0, 2, 3, 1)
    return caption_agreement(images.numpy(), captions)
