"""How good are translations? Every metric that the data and the weights at hand allow, in a table.

Everything is measured on RGB images of 8 bits, as they would be written to files. Beside each value
stands, where that makes sense, the value of handing back the input unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from core.checkpoints.official_files import read_state
from core.errors import UserError
from core.evaluation.features import FeatureDistances, weights_folder
from core.evaluation.image_set import EvaluationSet, Pictures
from core.evaluation.metrics import edge_correlation as edges
from core.evaluation.metrics import lpips, weights
from core.evaluation.metrics.color_inversion import color_inversion
from core.evaluation.metrics.diversity import feature_distance, pixel_distance
from core.evaluation.metrics.psnr import psnr
from core.evaluation.metrics.ssim import ssim
from core.evaluation.scores import Evaluation, Measure, Scores, ScoreTable
from core.family import to_float
from core.options import Direction, EvaluateOptions
from core.report.pictures import to_rgb, to_uint8


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
        """`num` different ones, the same for a seed; one where there are no styles."""

    def in_style_of(self, image: Tensor, example: Tensor, direction: Direction) -> Tensor:
        """In the style of an image of the target domain; asked only where there are styles."""


def _add_fidelity(table: ScoreTable, x: Tensor, y: Tensor, truth: Tensor, name: str) -> None:
    """Of input, translation and truth, uint8 [1, 3, H, W]."""
    if truth.shape != y.shape:
        raise UserError(
            f"{name}: its translation has {y.shape[3]}x{y.shape[2]} px, its truth "
            f"{truth.shape[3]}x{truth.shape[2]} px; both must be of one size"
        )
    table.add("psnr", psnr(y, truth, 255), psnr(x, truth, 255))
    table.add("ssim", ssim(y, truth, 255), ssim(x, truth, 255))


def _lpips(folder: Path | None) -> lpips.LPIPS:
    trunk, linear = (weights.locate(x, folder) for x in (weights.ALEXNET, weights.LPIPS_ALEXNET))
    return lpips.LPIPS(read_state(trunk), read_state(linear))


class Evaluator:
    """Measures translations of test images, as often as it is called.

    What does not depend on who translates (features of the real images) is kept between calls. The
    random numbers drawn here (styles, dropout in pix2pix) are the same at every call and leave
    those of the caller as they were.

    Args:
        translator: used as it is at the time of a call.
        test_set: what it is measured on.
        options: `every` and `max_images` do not count here.

    Raises:
        UserError: damaged weights. Weights that are not there only lead to a note in the result.
    """

    def __init__(
        self, translator: ImageMap, test_set: EvaluationSet, options: EvaluateOptions
    ) -> None:
        self._translator, self._options, self._set = translator, options, test_set
        self._notes: list[str] = []
        self._real_features: dict[str, Tensor] = {}
        self._lpips: lpips.LPIPS | None = None
        with self._own_random_numbers():
            self._distances = FeatureDistances(options, translator.device)
            if translator.has_styles:
                try:
                    self._lpips = _lpips(weights_folder(options)).to(translator.device)
                except weights.MissingError as error:
                    self._notes.append(f"lpips_diversity not measured: {error}")

    def names(self, direction: Direction) -> tuple[str, ...]:
        """Return what a call measures of a direction."""
        features = ("fid", "kid") if self._distances.collector() else ()
        fidelity = ("psnr", "ssim") if self._set.truths(direction) is not None else ()
        styles: tuple[str, ...] = ()
        if self._translator.has_styles:
            lpips_diversity = ("lpips_diversity",) if self._lpips else ()
            styles = (*lpips_diversity, "diversity", "diversity_features")
        return (*features, *fidelity, "edge_correlation", "color_inversion", *styles)

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
        """Of one direction."""
        inputs, truths = self._set.inputs(direction), self._set.truths(direction)
        reals = self._set.reals(direction)
        table = ScoreTable()
        fakes = self._distances.collector()
        for i in tqdm(range(len(inputs)), f"evaluate {direction}", leave=False, disable=None):
            image = inputs.read(i)
            if min(image.shape[1:]) < edges.MINIMUM:
                raise UserError(
                    f"{inputs.name(i)}: {image.shape[2]}x{image.shape[1]} px; measured are images "
                    f"of at least {edges.MINIMUM} px"
                )
            x, num = to_float(image), self._options.num_styles
            outputs = self._translator.translations(x, direction, num, seed=i)
            fake = to_rgb(to_uint8(outputs[0]))
            if fakes:
                fakes.add(fake)
            given = to_rgb(image)[None]
            if truths is not None:
                truth, guided = truths.read(i), fake
                if self._translator.has_styles:
                    # In the truth's style, as content comes from the input.
                    result = self._translator.in_style_of(x, to_float(truth), direction)
                    guided = to_rgb(to_uint8(result))
                _add_fidelity(table, given, guided[None], to_rgb(truth)[None], inputs.name(i))
            table.add("edge_correlation", edges.edge_correlation(given, fake[None]))
            table.add("color_inversion", color_inversion(given, fake[None]))
            if len(outputs) > 1:
                self._add_diversity(table, outputs)
        found = self._to_the_reals(direction, fakes.features()) if fakes else ()
        return Scores(len(inputs), len(reals), (*found, *table.measures()))

    def _add_diversity(self, table: ScoreTable, outputs: list[Tensor]) -> None:
        images = torch.stack([to_float(to_rgb(to_uint8(output))) for output in outputs])
        if self._lpips is not None and min(images.shape[2:]) < lpips.MINIMUM:
            self._notes.append(f"lpips_diversity leaves out images below {lpips.MINIMUM} px")
        elif self._lpips is not None:
            distance = lpips.lpips_diversity(self._lpips, images.to(self._translator.device))
            table.add("lpips_diversity", distance)
        table.add("diversity", pixel_distance(images[:, None]))
        table.add("diversity_features", feature_distance(images[:, None]))

    def _to_the_reals(self, direction: Direction, fakes: Tensor) -> tuple[Measure, ...]:
        """FID and KID of the translations, and of the inputs, to the target domain."""
        reals = self._features("b" if direction == "AtoB" else "a")
        inputs = self._features("a" if direction == "AtoB" else "b")
        return self._distances.measures(fakes, reals, inputs)

    def _features(self, domain: Literal["a", "b"]) -> Tensor:
        """Inception features of the real images of a domain, extracted once."""
        if domain not in self._real_features:
            pictures: Pictures = getattr(self._set, domain)
            collector = self._distances.collector()
            assert collector is not None, "asked for only where there is the network"
            title = f"features of {domain.upper()}"
            for i in tqdm(range(len(pictures)), title, leave=False, disable=None):
                collector.add(to_rgb(pictures.read(i)))
            self._real_features[domain] = collector.features()
        return self._real_features[domain]
