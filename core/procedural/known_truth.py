"""Score a model on a procedural set, where the truth of each image is known.

Where the label map of a scene is known, no segmentation network is needed to tell whether every
thing stays in its place: the true picture says what each class looks like, and each pixel of the
translation is read as the class it looks most like.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from core.data.images import read_image
from core.errors import UserError
from core.evaluation.image_set import EvaluationSet, as_they_are, evaluation_set
from core.evaluation.metrics.diversity import feature_distance, pixel_distance
from core.evaluation.metrics.psnr import psnr
from core.evaluation.metrics.ssim import ssim
from core.family import to_float
from core.inference.sampler import Sampler
from core.inference.translator import Translator
from core.nn.student import VGGStudent, perceptual_distance
from core.options import DataOptions, Direction
from core.procedural.faces import VisibleAttributes, read_faces
from core.procedural.seasons import Picture
from core.report.pictures import to_pil
from core.text import split_caption

NUM_STYLES = 4
"""Random styles of each input for diversity: six pairs."""
NUM_PER_CAPTION = 8
"""Faces of each caption that is scored; all captions get the same noise."""


# IEC 61966-2-1 (sRGB, D65) to CIE XYZ, each row divided by the white point.
_XYZ_FROM_RGB = (
    (0.412453 / 0.95047, 0.357580 / 0.95047, 0.180423 / 0.95047),
    (0.212671, 0.715160, 0.072169),
    (0.019334 / 1.08883, 0.119193 / 1.08883, 0.950227 / 1.08883),
)


@dataclass(frozen=True)
class LabelAgreement:
    """Shares of pixels whose colour reads as their true class, each [N], float64 in [0, 1].

    `ceiling` is of the true images themselves: texture and shading let even the truth miss some
    pixels, so this is what a perfect translation reaches.
    """

    image: Tensor
    ceiling: Tensor


def rgb_to_lab(images: Tensor) -> Tensor:
    """Convert sRGB [N, 3, H, W] in [0, 1] to CIE L*a*b* under D65, of the same shape in float64.

    L* is in [0, 100], a* and b* within about +-110.
    """
    rgb = images.double()
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = torch.einsum("ij,njhw->nihw", linear.new_tensor(_XYZ_FROM_RGB), linear)
    f = torch.where(xyz > 0.008856, xyz.clamp_min(0) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = f.unbind(dim=1)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), dim=1)


def _share_right(pixels: Tensor, means: Tensor, labels: Tensor) -> Tensor:
    """Return the share of `pixels` [P, 3] whose nearest row of `means` [K, 3] is their label."""
    # Squared distance less |pixel|^2, which is the same for every class.
    distance = means.square().sum(dim=1) - 2 * pixels @ means.T  # [P, K]
    return (distance.argmin(dim=1) == labels).double().mean()


def label_agreement(images: Tensor, truths: Tensor, labels: Tensor) -> LabelAgreement:
    """Measure the share of pixels that look like what is truly there.

    For each image: the mean L*a*b* colour of each class in the truth under the true labels; each
    pixel of the scored image goes to the class of the nearest mean colour; the share of pixels
    assigned to their true class. Only classes that occur in the image take part. An image copied
    from the other domain is the baseline to compare with.

    Translations and the true pictures of the same scenes are [N, 3, H, W], float in [0, 1], true
    classes [N, H, W], integer.
    """
    expected = (images.shape[0], *images.shape[2:])
    if images.shape != truths.shape or images.shape[1:2] != (3,) or labels.shape != expected:
        raise ValueError(
            "label_agreement: two [N, 3, H, W] and one [N, H, W] needed, "
            f"got {images.shape}, {truths.shape} and {labels.shape}"
        )
    shares = []
    for image, truth, label in zip(rgb_to_lab(images), rgb_to_lab(truths), labels, strict=True):
        # Absent classes drop out, so that they cannot attract pixels.
        classes, index = label.flatten().unique(return_inverse=True)
        pixels = [picture.flatten(1).T for picture in (image, truth)]  # each [P, 3]
        sums = pixels[1].new_zeros(len(classes), 3).index_add_(0, index, pixels[1])
        means = sums / index.bincount(minlength=len(classes)).unsqueeze(1)
        shares.append(torch.stack([_share_right(x, means, index) for x in pixels]))
    return LabelAgreement(*torch.stack(shares, dim=1))


@dataclass(frozen=True)
class TranslationScores:
    """Mean scores of translations, each beside that of handing back the input unchanged.

    PSNR is in decibels, SSIM at most 1, `student` the distance to the truth as the project's
    student of VGG-16 sees it (`core.nn.student`), agreement (of labels) a share of pixels; its
    ceiling is that of the truths themselves: what a perfect translation reaches.
    """

    num_images: int
    psnr: float
    psnr_copy: float
    ssim: float
    ssim_copy: float
    student: float
    student_copy: float
    agreement: float
    agreement_copy: float
    agreement_ceiling: float

    def __str__(self) -> str:
        """Format a table with one row for each metric."""
        rows = [
            ("psnr [dB]", self.psnr, self.psnr_copy, math.inf),
            ("ssim", self.ssim, self.ssim_copy, 1.0),
            ("student distance", self.student, self.student_copy, 0.0),
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
    """Score translations of scenes whose truth is known, beside doing nothing.

    Images are [H, W, 3] uint8, label maps [H, W] uint8; sizes may differ between scenes. Other
    numbers or sizes, and no images, are refused.
    """
    counts = [len(images) for images in (translated, inputs, truths, labels)]
    if len(set(counts)) > 1 or counts[0] == 0:
        raise UserError(
            f"scores need equal numbers of images, at least one: got {counts[0]} translated, "
            f"{counts[1]} inputs, {counts[2]} truths, {counts[3]} label maps"
        )
    student, rows = VGGStudent.load(), []

    def distance(x: Tensor, y: Tensor) -> Tensor:
        return perceptual_distance(student, *(2 * image.float() - 1 for image in (x, y))).double()

    for index, pictures in enumerate(zip(translated, inputs, truths, labels, strict=True)):
        shapes = [picture.shape for picture in pictures]
        if shapes[:3] != [shapes[2]] * 3 or shapes[3] != shapes[2][:2]:
            raise UserError(
                f"image {index}: translated {shapes[0]}, input {shapes[1]}, truth {shapes[2]} and "
                f"labels {shapes[3]} do not fit; all must be of one height and width"
            )
        output, source, truth = (  # [1, 3, H, W], float64 in [0, 1]
            torch.from_numpy(picture.astype(np.float64) / 255.0).permute(2, 0, 1)[None]
            for picture in pictures[:3]
        )
        label = torch.from_numpy(pictures[3].astype(np.int64))[None]
        of_output, of_source = (label_agreement(x, truth, label) for x in (output, source))
        row = [
            metric(x, truth).double() for metric in (psnr, ssim, distance) for x in (output, source)
        ]
        rows.append(torch.cat([*row, of_output.image, of_source.image, of_output.ceiling]))
    return TranslationScores(len(rows), *torch.stack(rows).mean(dim=0).tolist())


def _test_set(translator: Translator, root: Path) -> EvaluationSet:
    """Find the test images of a set that `make_seasons` wrote."""
    paired = translator.family.layout == "paired"
    return evaluation_set(root, (3, 3), as_they_are(DataOptions(root=str(root))), paired=paired)


def diversity(translator: Translator, root: Path) -> dict[Direction, tuple[float, float]]:
    """Measure mean pixel and feature distance between random styles, for each direction.

    Empty for a family without styles. See `core.evaluation.metrics.diversity` for the units.
    """
    if translator.styles is None:
        return {}
    result: dict[Direction, tuple[float, float]] = {}
    for direction in translator.directions:
        inputs, distances = _test_set(translator, root).inputs[direction], []
        for i in range(len(inputs)):
            styles = translator.random_styles(NUM_STYLES, seed=i)
            image = to_float(inputs.read(i)[None])
            outputs = torch.stack(translator.in_styles(image, styles, direction))
            distances.append([float(pixel_distance(outputs)), float(feature_distance(outputs))])
        pixels, features = np.mean(distances, axis=0).tolist()
        result[direction] = pixels, features
    return result


def score(translator: Translator, root: Path) -> dict[Direction, TranslationScores]:
    """Score every direction on a set that `make_seasons` wrote, with its truths and label maps.

    A family with styles translates guided by the truth: its content is the input's, its style that
    of the true picture, which is what example guidance promises.
    """
    found, scores = _test_set(translator, root), {}
    for direction in translator.directions:
        if direction not in found.truths:
            raise UserError(f"{root}: no truths for {direction}; make the set again")
        folder = "labels" if translator.family.layout == "paired" else f"labels{direction[0]}"
        inputs, truths, labels, fakes = [], [], [], []
        for i in tqdm(range(len(found.inputs[direction])), f"score {direction}"):
            image, truth = (
                to_pil(pictures[direction].read(i)) for pictures in (found.inputs, found.truths)
            )
            if translator.styles is None:
                fake = translator(image, direction)
            else:
                style = translator.encode_style(truth, direction)
                (fake,) = translator.in_styles(image, style, direction)
            name = Path(found.inputs[direction].name(i)).name
            labels.append(read_image(root / folder / name, 1)[..., 0])
            inputs.append(np.asarray(image))
            truths.append(np.asarray(truth))
            fakes.append(np.asarray(fake.convert("RGB")))
        scores[direction] = score_translations(fakes, inputs, truths, labels)
    return scores


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

    A model without captions, or with captions of other things, is refused.
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
