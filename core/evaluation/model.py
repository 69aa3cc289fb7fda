"""Measure translations by every metric that the data and the weights at hand allow.

Everything is measured on RGB images of 8 bits, as they would be written to files. Beside each value
stands, where that makes sense, the value of handing back the input unchanged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby, islice
from typing import Protocol

import torch
from torch import Tensor

from core.data.parallel import read_ahead
from core.errors import UserError
from core.evaluation.features import FeatureDistances, require_size
from core.evaluation.image_set import EvaluationSet
from core.evaluation.metrics import lpips
from core.evaluation.metrics.detail import band_energies, detail_distance
from core.evaluation.metrics.diversity import feature_distance, pixel_distance
from core.evaluation.pairs import PairMeasures
from core.evaluation.protocol import protocol
from core.evaluation.scores import Evaluation, Measure, Scores, average
from core.evaluation.statistics import SetFeatures
from core.family import to_float
from core.options import Direction, EvaluateOptions, other_way
from core.report.pictures import MODES, in_8_bits, to_rgb, to_uint8

_BATCH_SIZE = 8
"""Images that go through a network at once, where that changes nothing."""


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

    @property
    def together(self) -> bool:
        """Whether images [N, C, H, W] may be translated at once with the same results."""

    def translations(
        self, image: Tensor, direction: Direction, num: int, seed: int
    ) -> list[Tensor]:
        """Make `num` different ones, the same for a seed; one where there are no styles."""

    def in_style_of(self, image: Tensor, example: Tensor, direction: Direction) -> Tensor:
        """Translate in the style of an image of the target domain; needs styles."""


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
        self._features: dict[Direction, SetFeatures | None] = {}
        self._detail: dict[Direction, Tensor] = {}
        wanted = ["lpips"] if test_set.truths else []
        wanted += ["lpips_diversity"] if translator.has_styles else []
        with self._own_random_numbers():
            self._distances = FeatureDistances(options, translator.device)
            self._pairs = PairMeasures(options, translator.device, name=" and ".join(wanted))

    def names(self, direction: Direction) -> tuple[str, ...]:
        """Return what a call measures of a direction, of pictures that are large enough."""
        learnt = self._pairs.lpips is not None
        names = [*self._distances.names(), "detail_distance"]
        if direction in self._set.truths:
            names += ["psnr", "ssim", "ms_ssim", "l1", *(["lpips"] if learnt else [])]
            names += ["student_distance"]
        names += ["edge_correlation", "color_inversion", "structure_distance"]
        if self._translator.has_styles:
            names += [*(["lpips_diversity"] if learnt else []), "diversity", "diversity_features"]
        return tuple(names)

    def __call__(self) -> Evaluation:
        """Translate and measure every direction there is.

        Raises:
            UserError: an image that cannot be read, or is too small to be measured.
        """
        with self._own_random_numbers():
            scores: dict[str, Scores] = {d: self._measure(d) for d in self._translator.directions}
        notes = tuple(dict.fromkeys([*self._distances.notes, *self._pairs.notes]))
        return Evaluation(scores, notes, protocol(self._distances))

    @contextmanager
    def _own_random_numbers(self) -> Iterator[None]:
        device = self._translator.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            yield

    def _measure(self, direction: Direction) -> Scores:
        inputs, reals = self._set.inputs[direction], self._set.reals(direction)
        table: defaultdict[str, list[Measure]] = defaultdict(list)
        details: tuple[list[Tensor], ...] = ([], [])  # of inputs, of translations
        fakes = self._distances.collector()
        for i, (image, outputs) in enumerate(self._translated(direction)):
            if image.shape[0] not in MODES:
                looked_at = "three" if image.shape[0] > 3 else "one"
                self._pairs.notes.append(
                    f"{direction}: inputs have {image.shape[0]} channels, compared by the first "
                    f"{looked_at}"
                )
            # [1, 3, H, W], uint8
            x, y = (to_rgb(in_8_bits(each))[None] for each in (image, outputs[0]))
            if fakes:
                fakes.add(y[0])
            for bands, picture in zip(details, (x, y), strict=True):
                bands.append(band_energies(picture))
            measures = self._fidelity(direction, i, image, x, y)
            for name, value in self._pairs.with_source(x, y).items():
                measures[name] = Measure.of(name, value)
            if len(outputs) > 1:
                measures |= self._diversity(outputs)
            for name, measure in measures.items():
                table[name].append(measure)
        found: dict[str, Measure] = {}
        if fakes:
            to_reals = (self._input_features(other_way(direction)), self._input_features(direction))
            found = self._distances.measures(fakes.features(), *to_reals)
        reals_bands = self._bands(direction)
        copied, made = (detail_distance(torch.cat(bands), reals_bands) for bands in details)
        found["detail_distance"] = Measure.of("detail_distance", made, copied)
        means = {name: average(measures) for name, measures in table.items()}
        return Scores(len(inputs), len(reals), {**found, **means})

    def _translated(self, direction: Direction) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """Give each input and its translations; inputs of one size share a pass where they may."""
        inputs, translate = self._set.inputs[direction], self._translator.translations
        num, most = self._options.num_styles, _BATCH_SIZE if self._translator.together else 1
        images = read_ahead(inputs.read, len(inputs), f"evaluate {direction}")
        done = 0
        for _, alike in groupby(images, key=lambda image: image.shape):
            while batch := list(islice(alike, most)):
                for i, image in enumerate(batch, start=done):
                    require_size(image, inputs.name(i))
                given = [to_float(image) for image in batch]
                if most > 1:
                    (results,) = translate(torch.stack(given), direction, num, seed=done)
                    yield from zip(batch, ([result] for result in results), strict=True)
                else:
                    yield batch[0], translate(given[0], direction, num, seed=done)
                done += len(batch)

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
        copied = self._pairs.with_truth(x, truth)
        return {
            name: Measure.of(name, value, copied[name])
            for name, value in self._pairs.with_truth(y, truth).items()
        }

    def _diversity(self, outputs: list[Tensor]) -> dict[str, Measure]:
        images = torch.stack([to_float(to_rgb(to_uint8(output))) for output in outputs])
        values, metric = {}, self._pairs.lpips
        if metric is not None and min(images.shape[2:]) < lpips.MINIMUM:
            self._pairs.notes.append(f"lpips_diversity leaves out images below {lpips.MINIMUM} px")
        elif metric is not None:
            distance = lpips.lpips_diversity(metric, images.to(self._translator.device))
            values["lpips_diversity"] = float(distance)
        values["diversity"] = float(pixel_distance(images[:, None]))
        values["diversity_features"] = float(feature_distance(images[:, None]))
        return {name: Measure.of(name, value) for name, value in values.items()}

    def _input_features(self, direction: Direction) -> SetFeatures | None:
        """Return features of the real images of a source domain, extracted once."""
        if direction not in self._features:
            pictures = self._set.inputs[direction]
            title = f"features of {direction[0]}"
            self._features[direction] = self._distances.of_pictures(pictures, title)
        return self._features[direction]

    def _bands(self, direction: Direction) -> Tensor:
        """Return the band energies of the real images of a target domain, measured once."""
        if direction not in self._detail:
            reals = self._set.reals(direction)
            self._detail[direction] = self._distances.bands(reals, "detail of real images")
        return self._detail[direction]
