"""Measure translations by every metric that the data and the weights at hand allow.

Everything is measured on RGB images of 8 bits, as they would be written to files. Beside each value
stands, where that makes sense, the value of handing back the input unchanged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from core.checkpoints.official_files import read_state
from core.errors import UserError
from core.evaluation.features import FeatureDistances, weights_folder
from core.evaluation.image_set import EvaluationSet
from core.evaluation.metrics import edge_correlation as edges
from core.evaluation.metrics import lpips, weights
from core.evaluation.metrics.color_inversion import color_inversion
from core.evaluation.metrics.diversity import feature_distance, pixel_distance
from core.evaluation.metrics.psnr import psnr
from core.evaluation.metrics.ssim import ssim
from core.evaluation.scores import Evaluation, Measure, Measures, Scores, average
from core.family import to_float
from core.options import Direction, EvaluateOptions, other_way
from core.report.pictures import MODES, in_8_bits, to_rgb, to_uint8


class ImageMap(Protocol):
    """Whatever makes images of one domain out of images of the other, and can so be measured.

    `core.inference.translator.Translator` is one. Images are [C, H, W], float in [-1, 1].
    """

    device: torch.device

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Those there are, in the data set's terms."""

    @property
    def has_styles(self) -> bool:
        """Whether one image has many translations."""

    def translations(
        self, image: Tensor, direction: Direction, num: int, seed: int
    ) -> list[Tensor]:
        """Make `num` different ones, the same for a seed; one where there are no styles."""

    def in_style_of(self, image: Tensor, example: Tensor, direction: Direction) -> Tensor:
        """Translate in the style of an image of the target domain; needs styles."""


def _higher(value: Tensor, copied: Tensor | None = None) -> Measure:
    """Return the measure of one image, of which higher is better."""
    return Measure(float(value), None if copied is None else float(copied), "higher")


def _lpips(folder: Path | None) -> lpips.LPIPS:
    trunk, linear = (weights.locate(x, folder) for x in (weights.ALEXNET, weights.LPIPS_ALEXNET))
    return lpips.LPIPS(read_state(trunk), read_state(linear))


class Evaluator:
    """Measures translations of test images, as often as it is called.

    What does not depend on who translates (features of the real images) is kept between calls. The
    random numbers drawn here (styles, dropout in pix2pix) are the same at every call and leave
    those of the caller as they were. `every` and `max_images` of the options do not count here.

    Raises:
        UserError: damaged weights. Weights that are not there only lead to a note in the result.
    """

    def __init__(
        self, translator: ImageMap, test_set: EvaluationSet, options: EvaluateOptions
    ) -> None:
        self._translator, self._options, self._set = translator, options, test_set
        self._notes: list[str] = []
        self._features: dict[Direction, Tensor] = {}
        self._lpips: lpips.LPIPS | None = None
        with self._own_random_numbers():
            self._distances = FeatureDistances(options, translator.device)
            if translator.has_styles:
                try:
                    self._lpips = _lpips(weights_folder(options)).to(translator.device)
                except weights.MissingError as error:
                    self._notes.append(f"lpips_diversity not measured: {error}")

    def __call__(self) -> Evaluation:
        """Translate and measure every direction there is.

        Raises:
            UserError: an image that cannot be read, or is too small to be measured.
        """
        with self._own_random_numbers():
            scores: dict[str, Scores] = {d: self._measure(d) for d in self._translator.directions}
        return Evaluation(scores, tuple(dict.fromkeys([*self._distances.notes, *self._notes])))

    @contextmanager
    def _own_random_numbers(self) -> Iterator[None]:
        device = self._translator.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            yield

    def _measure(self, direction: Direction) -> Scores:
        inputs, reals = self._set.inputs[direction], self._set.reals(direction)
        table: defaultdict[str, list[Measure]] = defaultdict(list)
        fakes = self._distances.collector()
        for i in tqdm(range(len(inputs)), f"evaluate {direction}", leave=False, disable=None):
            image = inputs.read(i)
            if min(image.shape[1:]) < edges.MINIMUM:
                raise UserError(
                    f"{inputs.name(i)}: {image.shape[2]}x{image.shape[1]} px; measured are images "
                    f"of at least {edges.MINIMUM} px"
                )
            if image.shape[0] not in MODES:
                looked_at = "three" if image.shape[0] > 3 else "one"
                self._notes.append(
                    f"{direction}: inputs have {image.shape[0]} channels, compared by the first "
                    f"{looked_at}"
                )
            outputs = self._translator.translations(
                to_float(image), direction, self._options.num_styles, seed=i
            )
            # [1, 3, H, W], uint8
            x, y = (to_rgb(in_8_bits(each))[None] for each in (image, outputs[0]))
            if fakes:
                fakes.add(y[0])
            measures = self._fidelity(direction, i, image, x, y)
            measures["edge_correlation"] = _higher(edges.edge_correlation(x, y))
            measures["color_inversion"] = _higher(color_inversion(x, y))
            if len(outputs) > 1:
                measures |= self._diversity(outputs)
            for name, measure in measures.items():
                table[name].append(measure)
        found: Measures = {}
        if fakes:
            to_reals = (self._input_features(other_way(direction)), self._input_features(direction))
            found = self._distances.measures(fakes.features(), *to_reals)
        means = {name: average(measures) for name, measures in table.items()}
        return Scores(len(inputs), len(reals), {**found, **means})

    def _fidelity(
        self, direction: Direction, i: int, image: Tensor, x: Tensor, y: Tensor
    ) -> dict[str, Measure]:
        """Compare input x and translation y, uint8 [1, 3, H, W], with the truth where known."""
        if direction not in self._set.truths:
            return {}
        truth = self._set.truths[direction].read(i)
        if self._translator.has_styles:
            # In the truth's style, as content comes from the input.
            guided = self._translator.in_style_of(to_float(image), to_float(truth), direction)
            y = to_rgb(to_uint8(guided))[None]
        truth = to_rgb(in_8_bits(truth))[None]
        if truth.shape != y.shape:
            raise UserError(
                f"{self._set.inputs[direction].name(i)}: its translation has {y.shape[3]}x"
                f"{y.shape[2]} px, its truth {truth.shape[3]}x{truth.shape[2]} px; both must be of "
                "one size"
            )
        return {
            "psnr": _higher(psnr(y, truth, 255), psnr(x, truth, 255)),
            "ssim": _higher(ssim(y, truth, 255), ssim(x, truth, 255)),
        }

    def _diversity(self, outputs: list[Tensor]) -> dict[str, Measure]:
        images = torch.stack([to_float(to_rgb(to_uint8(output))) for output in outputs])
        measures = {}
        if self._lpips is not None and min(images.shape[2:]) < lpips.MINIMUM:
            self._notes.append(f"lpips_diversity leaves out images below {lpips.MINIMUM} px")
        elif self._lpips is not None:
            distance = lpips.lpips_diversity(self._lpips, images.to(self._translator.device))
            measures["lpips_diversity"] = _higher(distance)
        measures["diversity"] = _higher(pixel_distance(images[:, None]))
        measures["diversity_features"] = _higher(feature_distance(images[:, None]))
        return measures

    def _input_features(self, direction: Direction) -> Tensor:
        """Return Inception features of the real images of a source domain, extracted once."""
        if direction not in self._features:
            pictures = self._set.inputs[direction]
            collector = self._distances.collector()
            assert collector is not None, "asked for only where there is the network"
            title = f"features of {direction[0]}"
            for i in tqdm(range(len(pictures)), title, leave=False, disable=None):
                collector.add(to_rgb(in_8_bits(pictures.read(i))))
            self._features[direction] = collector.features()
        return self._features[direction]
