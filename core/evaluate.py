"""How good is a translator? Every metric that its data and the weights at hand allow, in a table.

Everything is measured on RGB images of 8 bits, as they would be written to files. Beside each value
stands, where that makes sense, the value of handing back the input unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from core.errors import UserError
from core.evaluation_set import EvaluationSet, Pictures, Preprocess, find_evaluation_set
from core.family import to_float
from core.inference import Translator
from core.metrics import edge_correlation as edges
from core.metrics import lpips, weights
from core.metrics.color_inversion import color_inversion
from core.metrics.diversity import feature_distance, pixel_distance
from core.metrics.fid import frechet_distance
from core.metrics.inception import FeatureCollector, Inception
from core.metrics.kid import kernel_distance
from core.metrics.psnr import psnr
from core.metrics.ssim import ssim
from core.options import Direction, EvaluateOptions
from core.pictures import to_uint8
from core.scores import Evaluation, Measure, Scores, ScoreTable

T = TypeVar("T")


def _rgb(image: Tensor) -> Tensor:
    """Uint8 [C, H, W] to [3, H, W]: gray repeated, transparency left out."""
    return image.expand(3, -1, -1) if len(image) == 1 else image[:3]


def _add_fidelity(table: ScoreTable, x: Tensor, y: Tensor, truth: Tensor, name: str) -> None:
    """Of input, translation and truth, uint8 [1, 3, H, W]."""
    if truth.shape != y.shape:
        raise UserError(
            f"{name}: its translation has {y.shape[3]}x{y.shape[2]} px, its truth "
            f"{truth.shape[3]}x{truth.shape[2]} px; both must be of one size"
        )
    table.add("psnr", "higher", psnr(y, truth, 255), psnr(x, truth, 255))
    table.add("ssim", "higher", ssim(y, truth, 255), ssim(x, truth, 255))


def _lpips(folder: Path | None) -> lpips.LPIPS:
    trunk, linear = (weights.locate(x, folder) for x in (weights.ALEXNET, weights.LPIPS_ALEXNET))
    return lpips.LPIPS(weights.read_weights(trunk), weights.read_weights(linear))


class Evaluator:
    """Measures a translator on the test images of a data set, as often as it is called.

    What does not depend on the translator (features of the real images) is kept between calls. The
    random numbers drawn here (styles, dropout in pix2pix) are the same at every call and leave
    those of the caller as they were.

    Args:
        translator: whose networks are used as they are at the time of a call.
        root: the data set's folder; see `core.evaluation_set` for what is found there.
        options: `every` does not count here.
        preprocess: see `find_evaluation_set`.

    Raises:
        UserError: no test images, or damaged weights. Weights that are not there only lead to a
            note in the result.
    """

    def __init__(
        self,
        translator: Translator,
        root: Path,
        options: EvaluateOptions,
        preprocess: Preprocess = "official",
    ) -> None:
        self._translator, self._options = translator, options
        self._set: EvaluationSet = find_evaluation_set(
            root, translator, preprocess, options.max_images
        )
        self._notes: list[str] = []
        self._real_features: dict[str, Tensor] = {}
        folder = Path(options.weights).expanduser() if options.weights else None
        if folder is not None and not folder.is_dir():
            raise UserError(f"evaluate.weights: {folder}: no such folder")
        device = translator.device
        with self._own_random_numbers():
            self._inception = self._if_there(
                "fid and kid", lambda: Inception(weights.locate(weights.INCEPTION, folder), device)
            )
            self._lpips = (
                self._if_there("lpips_diversity", lambda: _lpips(folder).to(device))
                if translator.styles is not None
                else None
            )

    def __call__(self) -> Evaluation:
        """Translate and measure every direction there is.

        Raises:
            UserError: an image that cannot be read, or is too small to be measured.
        """
        with self._own_random_numbers():
            scores = {d: self._measure(d) for d in self._translator.directions}
        return Evaluation(scores, tuple(dict.fromkeys(self._notes)))

    @contextmanager
    def _own_random_numbers(self) -> Iterator[None]:
        device = self._translator.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(0)
            yield

    def _if_there(self, metric: str, build: Callable[[], T]) -> T | None:
        try:
            return build()
        except weights.MissingError as error:
            self._notes.append(f"{metric} not measured: {error}")
            return None

    def _measure(self, direction: Direction) -> Scores:
        """Of one direction."""
        inputs, truths = self._set.inputs(direction), self._set.truths(direction)
        reals = self._set.reals(direction)
        table = ScoreTable()
        fakes = FeatureCollector(self._inception) if self._inception else None
        for i in tqdm(range(len(inputs)), f"evaluate {direction}", leave=False, disable=None):
            image = inputs.read(i)
            if min(image.shape[1:]) < edges.MINIMUM:
                raise UserError(
                    f"{inputs.name(i)}: {image.shape[2]}x{image.shape[1]} px; measured are images "
                    f"of at least {edges.MINIMUM} px"
                )
            outputs = self._translate(image, direction, i)
            fake = _rgb(to_uint8(outputs[0]))
            if fakes:
                fakes.add(fake)
            x = _rgb(image)[None]
            if truths is not None:
                truth = truths.read(i)
                guided = self._guided(image, truth, direction) if len(outputs) > 1 else fake
                _add_fidelity(table, x, guided[None], _rgb(truth)[None], inputs.name(i))
            table.add("edge_correlation", "higher", edges.edge_correlation(x, fake[None]))
            table.add("color_inversion", "higher", color_inversion(x, fake[None]))
            if len(outputs) > 1:
                self._add_diversity(table, outputs)
        found = self._distances(direction, fakes.features()) if fakes else ()
        return Scores(len(inputs), len(reals), (*found, *table.measures()))

    def _translate(self, image: Tensor, direction: Direction, i: int) -> list[Tensor]:
        """Translations [C, H, W] of an image: several in a family with styles, else one."""
        x = to_float(image)
        if self._translator.styles is None:
            return [self._translator(x, direction)]
        styles = self._translator.random_styles(self._options.num_styles, seed=i)
        return self._translator.in_styles(x, styles, direction)

    def _guided(self, image: Tensor, truth: Tensor, direction: Direction) -> Tensor:
        """The translation in the truth's style, as content comes from the input; [3, H, W]."""
        style = self._translator.encode_style(to_float(truth), direction)
        return _rgb(to_uint8(self._translator.in_styles(to_float(image), style, direction)[0]))

    def _add_diversity(self, table: ScoreTable, outputs: list[Tensor]) -> None:
        images = torch.stack([to_float(_rgb(to_uint8(output))) for output in outputs])
        if self._lpips is not None and min(images.shape[2:]) < lpips.MINIMUM:
            self._notes.append(f"lpips_diversity leaves out images below {lpips.MINIMUM} px")
        elif self._lpips is not None:
            distance = lpips.lpips_diversity(self._lpips, images.to(self._translator.device))
            table.add("lpips_diversity", "higher", distance)
        table.add("diversity", "higher", pixel_distance(images[:, None]))
        table.add("diversity_features", "higher", feature_distance(images[:, None]))

    def _distances(self, direction: Direction, fakes: Tensor) -> tuple[Measure, ...]:
        """FID and KID of the translations, and of the inputs, to the target domain."""
        reals = self._features("b" if direction == "AtoB" else "a")
        inputs = self._features("a" if direction == "AtoB" else "b")
        number = min(len(reals), len(fakes))
        if number < 2:
            self._notes.append("fid and kid not measured: they need two images of each domain")
            return ()
        size = min(self._options.kid_subset_size, number)
        if size < self._options.kid_subset_size:
            self._notes.append(
                f"kid takes subsets of {size} images, for there are no more; fid of so few "
                "compares only with fid of equally many"
            )
        kid, copied = (kernel_distance(features, reals, size) for features in (fakes, inputs))
        return (
            Measure(
                "fid", frechet_distance(fakes, reals), frechet_distance(inputs, reals), "lower"
            ),
            Measure("kid", kid.mean, copied.mean, "lower"),
            Measure("kid_std", kid.std, copied.std, ""),
        )

    def _features(self, domain: Literal["a", "b"]) -> Tensor:
        """Inception features of the real images of a domain, extracted once."""
        assert self._inception is not None, "asked for only where there is the network"
        if domain not in self._real_features:
            pictures: Pictures = getattr(self._set, domain)
            collector = FeatureCollector(self._inception)
            title = f"features of {domain.upper()}"
            for i in tqdm(range(len(pictures)), title, leave=False, disable=None):
                collector.add(_rgb(pictures.read(i)))
            self._real_features[domain] = collector.features()
        return self._real_features[domain]
