"""Score a model on a procedural set, where the truth of each image is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from core.data.folders import find_paired, find_unpaired
from core.data.images import read_image, read_picture, rgb_of
from core.errors import UserError
from core.evaluation.metrics.diversity import feature_distance, pixel_distance
from core.evaluation.metrics.psnr import psnr
from core.evaluation.metrics.ssim import ssim
from core.family import to_float
from core.inference.sampler import Sampler
from core.inference.translator import Translator
from core.options import Direction
from core.procedural.faces import VisibleAttributes, read_faces
from core.procedural.label_agreement import label_agreement
from core.procedural.sets import Picture
from core.text import split_caption

NUM_STYLES = 4
"""Random styles of each input for diversity: six pairs."""
NUM_PER_CAPTION = 8
"""Faces of each caption that is scored; all captions get the same noise."""


@dataclass(frozen=True)
class TranslationScores:
    """Mean scores of translations, each beside that of handing back the input unchanged.

    Attributes:
        psnr: Decibels; higher is better.
        ssim: At most 1; higher is better.
        agreement: Label agreement, share of pixels in [0, 1].
        agreement_ceiling: The same of the truths themselves: what a perfect translation reaches.
    """

    num_images: int
    psnr: float
    psnr_copy: float
    ssim: float
    ssim_copy: float
    agreement: float
    agreement_copy: float
    agreement_ceiling: float

    def __str__(self) -> str:
        """Format a table with one row for each metric."""
        rows = [
            ("psnr [dB]", self.psnr, self.psnr_copy, math.inf),
            ("ssim", self.ssim, self.ssim_copy, 1.0),
            ("label agreement", self.agreement, self.agreement_copy, self.agreement_ceiling),
        ]
        title = f"{self.num_images} images"
        lines = [f"{title:<18}{'translated':>12}{'input copied':>14}{'truth itself':>14}"]
        lines += [f"{name:<18}{a:>12.3f}{b:>14.3f}{c:>14.3f}" for name, a, b, c in rows]
        return "\n".join(lines)


def score_translations(
    translated: Sequence[Picture],
    inputs: Sequence[Picture],
    truths: Sequence[Picture],
    labels: Sequence[Picture],
) -> TranslationScores:
    """Score translations of scenes whose truth is known.

    Args:
        translated: translations, each [H, W, 3] uint8; sizes may differ between scenes.
        inputs: what was translated: the baseline of doing nothing.
        truths: the same scenes in the target domain.
        labels: their label maps, each [H, W] uint8.

    Raises:
        UserError: no images, or numbers or sizes differ.
    """
    counts = [len(images) for images in (translated, inputs, truths, labels)]
    if len(set(counts)) > 1 or counts[0] == 0:
        raise UserError(
            f"scores need equal numbers of images, at least one: got {counts[0]} translated, "
            f"{counts[1]} inputs, {counts[2]} truths, {counts[3]} label maps"
        )
    rows = []
    for index, pictures in enumerate(zip(translated, inputs, truths, labels, strict=True)):
        shapes = [picture.shape for picture in pictures]
        if shapes[:3] != [shapes[2]] * 3 or shapes[3] != shapes[2][:2]:
            raise UserError(
                f"image {index}: translated {shapes[0]}, input {shapes[1]}, truth {shapes[2]} and "
                f"labels {shapes[3]} do not fit; all must be of one height and width"
            )
        output, source, truth = (_to_batch(picture) for picture in pictures[:3])
        label = torch.from_numpy(pictures[3].astype(np.int64))[None]
        of_output, of_source = (label_agreement(x, truth, label) for x in (output, source))
        row = [metric(x, truth) for metric in (psnr, ssim) for x in (output, source)]
        rows.append(torch.cat([*row, of_output.image, of_source.image, of_output.ceiling]))
    return TranslationScores(len(rows), *torch.stack(rows).mean(dim=0).tolist())


def _to_batch(picture: Picture) -> torch.Tensor:
    """Convert [H, W, 3] uint8 to [1, 3, H, W] float64 in [0, 1]."""
    return torch.from_numpy(picture.astype(np.float64) / 255.0).permute(2, 0, 1)[None]


def diversity(translator: Translator, root: Path) -> dict[Direction, tuple[float, float]]:
    """Measure mean pixel and feature distance between random styles, for each direction.

    Empty for a family without styles. See `core.evaluation.metrics.diversity` for the units.
    """
    if translator.styles is None:
        return {}
    found = find_unpaired(root, "test")
    result: dict[Direction, tuple[float, float]] = {}
    for direction in translator.directions:
        distances = []
        for i, file in enumerate(found.a if direction == "AtoB" else found.b):
            image = torch.from_numpy(read_image(file, 3)).permute(2, 0, 1)[None]
            styles = translator.random_styles(NUM_STYLES, seed=i)
            outputs = torch.stack(translator.in_styles(to_float(image), styles, direction))
            distances.append([float(pixel_distance(outputs)), float(feature_distance(outputs))])
        pixels, features = np.mean(distances, axis=0).tolist()
        result[direction] = pixels, features
    return result


def _score(
    translator: Translator,
    direction: Direction,
    inputs: Sequence[Picture],
    truths: Sequence[Picture],
    labels: Sequence[Picture],
) -> TranslationScores:
    """Translate the inputs, where there are styles in those of the truths, and score them."""
    fakes = []
    for picture, truth in zip(tqdm(inputs, f"score {direction}"), truths, strict=True):
        image = Image.fromarray(picture)
        if translator.styles is None:
            fake = translator(image, direction)
        else:
            style = translator.encode_style(Image.fromarray(truth), direction)
            (fake,) = translator.in_styles(image, style, direction)
        fakes.append(np.asarray(fake.convert("RGB")))
    return score_translations(fakes, inputs, truths, labels)


def score_unpaired(translator: Translator, root: Path) -> dict[Direction, TranslationScores]:
    """Score every direction on a set made by `make_seasons(layout="unpaired")`.

    A family with styles translates guided by the truth: its content is the input's, its style that
    of the true picture, which is what example guidance promises.

    Raises:
        UserError: the set, or its `truthA/`, `truthB/`, `labelsA/`, `labelsB/`, is not there.
    """
    found = find_unpaired(root, "test")
    scores: dict[Direction, TranslationScores] = {}
    for direction in translator.directions:
        domain, other = ("A", "B") if direction == "AtoB" else ("B", "A")
        files = found.a if direction == "AtoB" else found.b
        inputs = [read_image(file, 3) for file in files]
        truths = [read_image(root / f"truth{other}" / file.name, 3) for file in files]
        labels = [read_image(root / f"labels{domain}" / file.name, 1)[..., 0] for file in files]
        scores[direction] = _score(translator, direction, inputs, truths, labels)
    return scores


def score_paired(translator: Translator, root: Path) -> dict[Direction, TranslationScores]:
    """Score a set made by `make_seasons(layout="paired")`: photograph left, labels right."""
    found = find_paired(root, "test")
    (direction,) = translator.directions
    halves = [read_picture(file).halves() for file in found.a]
    photos, drawings = ([rgb_of(pair[side].to_pil()) for pair in halves] for side in (0, 1))
    inputs, truths = (photos, drawings) if direction == "AtoB" else (drawings, photos)
    labels = [read_image(root / "labels" / file.name, 1)[..., 0] for file in found.a]
    return {direction: _score(translator, direction, inputs, truths, labels)}


@dataclass(frozen=True)
class CaptionAgreement:
    """Shares of pictures with the hair colour, the eye colour and both asked for, in [0, 1]."""

    hair: float
    eyes: float
    both: float

    def __str__(self) -> str:
        return f"as asked: hair {self.hair:.1%}, eyes {self.eyes:.1%}, both {self.both:.1%}"


def caption_agreement(
    faces: Sequence[VisibleAttributes], captions: Sequence[str]
) -> CaptionAgreement:
    """Compare what is seen in faces with what their captions ask for, `hair` and `eyes`.

    Real text-to-image data needs a trained judge; procedural faces are read from their pixels, of
    generated faces too. Chance is 1 in 12 for hair and 1 in 10 for eyes; true faces reach 1.
    """
    asked = [split_caption(caption) for caption in captions]
    pairs = list(zip(faces, asked, strict=True))
    right = np.array([[getattr(f, k) == words[k] for k in ("hair", "eyes")] for f, words in pairs])
    hair, eyes = right.mean(axis=0).tolist()
    return CaptionAgreement(hair, eyes, float(right.all(axis=1).mean()))


def score_captions(sampler: Sampler) -> CaptionAgreement:
    """Count how often faces have the colours asked for, over every pair of colours alike.

    Raises:
        UserError: the model takes no captions, or captions of other things.
    """
    vocabulary = sampler.family.vocabulary
    words = {} if vocabulary is None else vocabulary.words
    if set(words) != {"hair", "eyes"}:
        raise UserError("a score of hair and eyes needs a model whose captions name just these")
    asked = [f"{hair} hair {eyes} eyes" for hair in words["hair"] for eyes in words["eyes"]]
    captions = [caption for caption in asked for _ in range(NUM_PER_CAPTION)]
    generator = torch.Generator().manual_seed(0)
    noise = sampler.family.random_noise(NUM_PER_CAPTION, generator).repeat(len(asked), 1)
    return caption_agreement(read_faces(sampler(noise, captions)), captions)
