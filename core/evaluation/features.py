"""Measure FID and KID of sets of images that come one by one, and note what limits them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from core.data.listing import expanded
from core.errors import UserError
from core.evaluation.metrics import weights
from core.evaluation.metrics.fid import frechet_distance
from core.evaluation.metrics.inception import FeatureCollector, Inception
from core.evaluation.metrics.kid import kernel_distance
from core.evaluation.scores import Measure, Measures
from core.options import EvaluateOptions


def weights_folder(options: EvaluateOptions) -> Path | None:
    """Return the folder of weights that is asked for; None for the default one.

    Raises:
        UserError: it is not there.
    """
    folder = expanded(options.weights) if options.weights else None
    if folder is not None and not folder.is_dir():
        raise UserError(f"evaluate.weights: {folder}: no such folder")
    return folder


class FeatureDistances:
    """Distances between sets of images, in the features of the Inception network.

    Attributes:
        notes: what was not measured and why, and what limits the rest.

    Raises:
        UserError: damaged weights. Weights that are not there only lead to a note.
    """

    def __init__(self, options: EvaluateOptions, device: torch.device) -> None:
        self.notes: list[str] = []
        self._options = options
        self._inception: Inception | None = None
        try:
            path = weights.locate(weights.INCEPTION, weights_folder(options))
            self._inception = Inception(path, device)
        except weights.MissingError as error:
            self.notes.append(f"fid and kid not measured: {error}")

    def collector(self) -> FeatureCollector | None:
        """Make what takes images and gives their features; None where the weights are missing."""
        return FeatureCollector(self._inception) if self._inception is not None else None

    def measures(self, fakes: Tensor, reals: Tensor, inputs: Tensor | None = None) -> Measures:
        """Measure FID and KID of the fakes to the reals, beside those of the inputs if given.

        Features are [N, D], N of any number in each set; `inputs` are those of the images that the
        fakes were made from.
        """
        number = min(len(reals), len(fakes))
        if number < 2:
            self.notes.append("fid and kid not measured: they need two images of each domain")
            return {}
        size = min(self._options.kid_subset_size, number)
        if size < self._options.kid_subset_size:
            self.notes.append(
                f"kid takes subsets of {size} images, for there are no more; fid of so few "
                "compares only with fid of equally many"
            )
        kid = kernel_distance(fakes, reals, size)
        copied = None if inputs is None else kernel_distance(inputs, reals, size)
        of_inputs = None if inputs is None else frechet_distance(inputs, reals)
        return {
            "fid": Measure(frechet_distance(fakes, reals), of_inputs, "lower"),
            "kid": Measure(kid.mean, copied.mean if copied else None, "lower"),
            "kid_std": Measure(kid.std, copied.std if copied else None),
        }
