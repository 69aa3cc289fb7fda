"""Score a model on a procedural set, where the truth of each image is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from core.data.demo import Picture, TranslationScores, score_translations
from core.data.folders import find_paired, find_unpaired
from core.data.images import open_image, read_image
from core.data.source import split_pair
from core.errors import UserError
from core.inference import Translator
from core.metrics.caption_agreement import CaptionAgreement, caption_agreement
from core.options import Direction
from core.pictures import to_uint8
from core.sample_folder import Sampler


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
