"""Measure how close pictures made from noise are to real ones: FID and KID of samples."""

from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from core.data.addresses import has_part
from core.data.inputs import open_inputs
from core.data.readers.interface import Images
from core.data.single import domain_source, find_domain
from core.data.transforms import CropFlip, crop_side, for_testing
from core.errors import UserError
from core.evaluation.features import FeatureDistances
from core.evaluation.protocol import protocol
from core.evaluation.scores import Evaluation, Measures, Scores
from core.evaluation.statistics import SetFeatures
from core.inference.sampler import Sampler
from core.options import EvaluateOptions
from core.report.pictures import in_8_bits, to_rgb, to_uint8

_CHUNK = 256
"""Samples drawn between two hand-overs, so that they need not all be held."""


def evaluate_samples(
    sampler: Sampler, root: Path, options: EvaluateOptions, seed: int = 0
) -> Evaluation:
    """Compare as many samples as there are test images with these.

    The test split below `root` is taken, or all images where it is not divided. With captions the
    samples are drawn from those of the test images, one of each. `every` and `num_styles` of the
    options do not count here; `seed` is that of the noise.

    Raises:
        UserError: no images, tags that do not fit, an image that cannot be read, or damaged
            weights. Weights that are not there only lead to a note.
    """
    config = sampler.family.config
    data = for_testing(config.data).model_copy(update={"max_images": options.max_images})
    source, captions, origin = _images(root, config.channels[0], data)
    distances = FeatureDistances(options, sampler.device)
    reals, fakes = distances.collector(), distances.collector()
    measures: Measures = {}
    notes = []
    if reals is not None and fakes is not None:
        for i in tqdm(range(len(source)), "features of real images", leave=False, disable=None):
            (pixels,) = source.read(i)
            _, height, width = pixels.shape
            crop = CropFlip.centred(height, width, crop_side(data))
            reals.add(to_rgb(in_8_bits(torch.from_numpy(crop.apply(pixels).copy()))))
        generator = torch.Generator().manual_seed(seed)
        noise = sampler.family.random_noise(len(source), generator)
        if sampler.family.vocabulary is not None and not captions:
            raise UserError(
                f"{root}: this model draws what it is told, and these images have no captions; "
                "give the data set it was trained on, with its tags (data.tags)"
            )
        for start in range(0, len(noise), _CHUNK):
            part = slice(start, start + _CHUNK)
            for image in to_uint8(sampler(noise[part], captions[part])):
                fakes.add(to_rgb(image))
        known = SetFeatures.of(reals.features(), distances.protocol)
        measures = distances.measures(fakes.features(), known)
    if origin:
        notes.append(f"there is no test split: compared with {origin}")
    scores = Scores(len(source), len(source), measures)
    notes = list(dict.fromkeys([*distances.notes, *notes]))
    return Evaluation({"samples": scores}, notes, protocol(distances))


def _images(root: Path, channels: int, data: Any) -> tuple[Images, tuple[str, ...], str]:
    """Open the test images, or what stands in for them, with their captions.

    The last says what stands in; empty where there is a test split.
    """
    if data.a:
        here = data if root == Path(data.root) else data.model_copy(update={"root": str(root)})
        (images,) = open_inputs(here, "single", "test", (channels,))
        there = data.val_fraction or has_part(here.root, data.a[0].path, "test")
        return images, (), "" if there else data.a[0].path
    found = find_domain(root, "test", data.tags, data.val_fraction)
    source = domain_source(found, channels, data)
    origin = "" if found.split == "test" else found.origin
    return source, found.captions[: len(source)], origin
