"""Measure translations by every metric that the data and the weights at hand allow.

Everything is measured on RGB images of 8 bits, as they would be written to files. Beside each value
stands, where that makes sense, the value of handing back the input unchanged.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
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
from core.evaluation.metrics.segmentation import Confusion
from core.evaluation.pairs import PairMeasures
from core.evaluation.protocol import protocol
from core.evaluation.scores import Evaluation, Measure, Scores
from core.evaluation.share import Share, joined
from core.evaluation.statistics import SetFeatures
from core.family import to_float
from core.options import Direction, EvaluateOptions, other_way
from core.report.looks import class_numbers
from core.report.pictures import MODES, to_rgb, to_uint8

Shares = Mapping[Direction, Share]
"""{direction: what one process has measured}."""
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

    Attributes:
        notes: what was not measured of the pictures seen here, and why.

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
        self.notes = self._pairs.notes

    def names(self, direction: Direction) -> tuple[str, ...]:
        """Return what a call measures of a direction, of pictures that are large enough."""
        learnt = self._pairs.lpips is not None
        names = [*self._distances.names(), "detail_distance"]
        if direction in self._set.truths:
            names += ["psnr", "ssim", "ms_ssim", "l1", *(["lpips"] if learnt else [])]
            names += ["student_distance"]
            if self._set.reals(direction).look.classes:
                names += ["pixel_accuracy", "class_accuracy", "mean_iou"]
        names += ["edge_correlation", "color_inversion", "structure_distance"]
        if self._translator.has_styles:
            names += [*(["lpips_diversity"] if learnt else []), "diversity", "diversity_features"]
        return tuple(names)

    def __call__(self) -> Evaluation:
        """Translate and measure every direction there is.

        Raises:
            UserError: an image that cannot be read, or is too small to be measured.
        """
        return self.summary([self.share()])

    def share(self, part: int = 0, parts: int = 1) -> Shares:
        """Translate and measure one of `parts` parts of every direction's pictures.

        Raises:
            UserError: as for a call.
        """
        with self._own_random_numbers():
            return {d: self._measure(d, part, parts) for d in self._translator.directions}

    def summary(self, shares: Sequence[Shares]) -> Evaluation:
        """Put all the parts together, and compare the translations with the real pictures.

        Raises:
            UserError: a real image that cannot be read, or is too small to be measured.
        """
        scores: dict[str, Scores] = {
            d: self._scores(d, joined([share[d] for share in shares]))
            for d in self._translator.directions
        }
        notes = tuple(dict.fromkeys([*self._distances.notes, *self.notes]))
        return Evaluation(scores, notes, protocol(self._distances))

    @contextmanager
    def _own_random_numbers(self) -> Iterator[None]:
        device = self._translator.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            yield

    def _measure(self, direction: Direction, part: int, parts: int) -> Share:
        number = len(self._set.inputs[direction])
        numbers = range(number * part // parts, number * (part + 1) // parts)
        table: defaultdict[str, list[tuple[float, float | None]]] = defaultdict(list)
        details = [torch.empty(0, 3)], [torch.empty(0, 3)]  # of inputs, of translations
        fakes = self._distances.collector() if numbers else None
        reals = self._set.reals(direction)
        confusion = self._confusion(direction)
        for i, (image, outputs) in zip(numbers, self._translated(direction, numbers), strict=True):
            if image.shape[0] not in MODES and not self._set.inputs[direction].look.inputs:
                looked_at = "three" if image.shape[0] > 3 else "one"
                self.notes.append(
                    f"{direction}: inputs have {image.shape[0]} channels, compared by the first "
                    f"{looked_at}"
                )
            # [1, 3, H, W], uint8
            x = self._set.inputs[direction].seen(image)[None]
            y = reals.seen(outputs[0])[None]
            if fakes:
                fakes.add(y[0])
            for bands, picture in zip(details, (x, y), strict=True):
                bands.append(band_energies(picture))
            if confusion is not None:
                truth = self._set.truths[direction].read(i)
                confusion.add(class_numbers(outputs[0]).cpu(), class_numbers(truth))
            measures = self._fidelity(direction, i, image, x, y)
            measures |= {name: (v, None) for name, v in self._pairs.with_source(x, y).items()}
            if len(outputs) > 1:
                measures |= {name: (v, None) for name, v in self._diversity(outputs).items()}
            for name, pair in measures.items():
                table[name].append(pair)
        inputs, made = (torch.cat(bands) for bands in details)
        counts = None if confusion is None else confusion.counts
        share = Share(dict(table), inputs, made, counts=counts)
        return share if fakes is None else share.with_features(fakes.features())

    def _scores(self, direction: Direction, share: Share) -> Scores:
        inputs, reals = self._set.inputs[direction], self._set.reals(direction)
        found: dict[str, Measure] = {}
        if share.seen is not None:
            to_reals = (self._input_features(other_way(direction)), self._input_features(direction))
            found = self._distances.measures(share.seen, *to_reals)
        bands = self._bands(direction)
        copied, made = (detail_distance(each, bands) for each in (share.inputs, share.outputs))
        found["detail_distance"] = Measure.of("detail_distance", made, copied)
        if share.counts is not None:
            for name, value in vars(Confusion.of(share.counts).scores()).items():
                found[name] = Measure.of(name, value)
        return Scores(len(inputs), len(reals), {**found, **share.means()})

    def _translated(
        self, direction: Direction, numbers: range
    ) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """Give each input and its translations; inputs of one size share a pass where they may."""
        inputs, translate = self._set.inputs[direction], self._translator.translations
        num, most = self._options.num_styles, _BATCH_SIZE if self._translator.together else 1
        done = numbers.start
        read = read_ahead(lambda i: inputs.read(numbers[i]), len(numbers), f"evaluate {direction}")
        for _, alike in groupby(read, key=lambda image: image.shape):
            while batch := list(islice(alike, most)):
                for i, image in enumerate(batch, start=done):
                    require_size(image, inputs.name(i))
                given = [to_float(image) for image in batch]
                torch.manual_seed(done)  # of dropout: each image has its own, whoever shares
                if most > 1:
                    (results,) = translate(torch.stack(given), direction, num, seed=done)
                    yield from zip(batch, ([result] for result in results), strict=True)
                else:
                    yield batch[0], translate(given[0], direction, num, seed=done)
                done += len(batch)

    def _fidelity(
        self, direction: Direction, i: int, image: Tensor, x: Tensor, y: Tensor
    ) -> dict[str, tuple[float, float | None]]:
        """Compare input x and translation y, uint8 [1, 3, H, W], with the truth where known."""
        if direction not in self._set.truths:
            return {}
        truth = self._set.truths[direction].read(i)
        if self._translator.has_styles:
            # In the truth's style, as content comes from the input.
            guided = self._translator.in_style_of(to_float(image), to_float(truth), direction)
            y = self._set.reals(direction).seen(guided)[None]
        truth = self._set.truths[direction].seen(truth)[None]
        if truth.shape != y.shape:
            raise UserError(
                f"{self._set.inputs[direction].name(i)}: its translation has {y.shape[3]}x"
                f"{y.shape[2]} px, its truth {truth.shape[3]}x{truth.shape[2]} px; both must be of "
                "one size"
            )
        copied = self._pairs.with_truth(x, truth)
        made = self._pairs.with_truth(y, truth)
        return {name: (value, copied[name]) for name, value in made.items()}

    def _confusion(self, direction: Direction) -> Confusion | None:
        """Begin to count classes, where label maps are made and the true ones are known."""
        classes = self._set.reals(direction).look.classes
        return Confusion(classes) if classes and direction in self._set.truths else None

    def _diversity(self, outputs: list[Tensor]) -> dict[str, float]:
        images = torch.stack([to_float(to_rgb(to_uint8(output))) for output in outputs])
        values, metric = {}, self._pairs.lpips
        if metric is not None and min(images.shape[2:]) < lpips.MINIMUM:
            self.notes.append(f"lpips_diversity leaves out images below {lpips.MINIMUM} px")
        elif metric is not None:
            distance = lpips.lpips_diversity(metric, images.to(self._translator.device))
            values["lpips_diversity"] = float(distance)
        values["diversity"] = float(pixel_distance(images[:, None]))
        values["diversity_features"] = float(feature_distance(images[:, None]))
        return values

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
