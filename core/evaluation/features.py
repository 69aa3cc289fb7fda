"""Compare sets of images in the features of a network, and note what limits the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from core.data.inputs import Sides
from core.data.listing import expanded
from core.data.parallel import read_ahead
from core.errors import UserError
from core.evaluation.image_set import Pictures
from core.evaluation.metrics import weights
from core.evaluation.metrics.edge_correlation import MINIMUM
from core.evaluation.metrics.kid import NUM_SUBSETS, kernel_distance
from core.evaluation.metrics.prdc import manifolds
from core.evaluation.networks import (
    DetailBands,
    FeatureCollector,
    FeatureNetwork,
    Features,
    load_network,
)
from core.evaluation.scores import OF_SETS, Measure
from core.evaluation.statistics import SetFeatures, StatisticsCache, default_cache
from core.evaluation.uncertainty import Interval, frechet_bias, frechet_interval, kernel_interval
from core.options import EvaluateOptions

LEAST_FOR_BIAS = 4
"""Images of a set, so that its halves still have a covariance."""


def weights_folder(options: EvaluateOptions) -> Path | None:
    """Return the folder of weights that is asked for; None for the default one.

    Raises:
        UserError: it is not there.
    """
    folder = expanded(options.weights) if options.weights else None
    if folder is not None and not folder.is_dir():
        raise UserError(f"evaluate.weights: {folder}: no such folder")
    return folder


def require_size(picture: Tensor, name: str) -> None:
    """Refuse a picture [..., H, W] that is too small to be measured.

    Raises:
        UserError: names it.
    """
    height, width = picture.shape[-2:]
    if min(height, width) < MINIMUM:
        raise UserError(
            f"{name}: {width}x{height} px; measured are images of at least {MINIMUM} px"
        )


class FeatureDistances:
    """Distances between sets of images, in the features that the options name.

    Attributes:
        notes: what was not measured and why, and what limits the rest.

    Raises:
        UserError: damaged weights. Weights that are not there only lead to a note.
    """

    def __init__(self, options: EvaluateOptions, device: torch.device) -> None:
        self.notes: list[str] = []
        self._options = options
        self._network: FeatureNetwork | None = None
        self._suffix = "" if options.features == "inception" else f"_{options.features}"
        cache = default_cache() if options.cache is None else expanded(options.cache)
        self._cache = StatisticsCache(None if options.cache == "" else cache)
        try:
            self._network = load_network(options, weights_folder(options), device)
        except weights.MissingError as error:
            self.notes.append(f"fid{self._suffix} and kid{self._suffix} not measured: {error}")

    @property
    def protocol(self) -> dict[str, str]:
        """What the distances depend on besides the images; empty where none are measured."""
        return dict(self._network.protocol) if self._network is not None else {}

    def collector(self) -> FeatureCollector | None:
        """Make what takes images and gives their features; None where the weights are missing."""
        return FeatureCollector(self._network) if self._network is not None else None

    def of_pictures(self, pictures: Pictures, title: str) -> SetFeatures | None:
        """Return the features of real images, from the cache where they were seen before.

        None where the weights are missing, or where there are fewer than two images.
        """
        if self._network is None or len(pictures) < 2:
            return None
        return self._kept(self._network, pictures, title)

    def bands(self, pictures: Pictures, title: str) -> Tensor:
        """Return the band energies of real images, [N, 3], likewise."""
        if len(pictures) < 2:
            return _seen(DetailBands(), pictures, title).values
        found = self._kept(DetailBands(), pictures, title).features
        assert found is not None
        return found.values

    def _kept(self, network: FeatureNetwork, pictures: Pictures, title: str) -> SetFeatures:
        protocol = {**network.protocol, "read": pictures.rule}
        source = pictures.source
        if isinstance(source, Sides):
            return SetFeatures.of(_seen(network, pictures, title), protocol)
        files = [path for item in source.files for path in item]
        return self._cache.get(files, protocol, lambda: _seen(network, pictures, title))

    def measures(
        self, fakes: Features, reals: SetFeatures | None, inputs: SetFeatures | None = None
    ) -> dict[str, Measure]:
        """Compare the fakes with the reals, beside what the inputs they were made from would get.

        Of reals that are known by mean and covariance only FID is measured.
        """
        if reals is None or len(fakes.values) < 2:
            if self._network is not None:
                self.notes.append("fid and kid not measured: they need two images of each domain")
            return {}
        if fakes.values.shape[1] != len(reals.gaussian.mean):
            raise UserError(
                f"statistics of {len(reals.gaussian.mean)} features, and {self._options.features} "
                f"gives {fakes.values.shape[1]}; they are of another network"
            )
        of = SetFeatures.of(fakes, self.protocol)
        found = self._frechet(of, reals, inputs)
        if reals.features is not None:
            copied = inputs.features if inputs is not None else None
            found |= self._kernel(fakes, reals.features, copied)
            found |= self._manifolds(fakes, reals.features, copied)
        else:
            self.notes.append("of real images known by mean and covariance only FID is measured")
        if fakes.logits is not None:
            score = _inception_score(fakes)
            before = inputs.features if inputs is not None else None
            copied_score = None if before is None else _inception_score(before)
            found["inception_score"] = Measure.of("inception_score", score, copied_score)
        return {f"{name}{self._suffix}": measure for name, measure in found.items()}

    def _frechet(
        self, fakes: SetFeatures, reals: SetFeatures, inputs: SetFeatures | None
    ) -> dict[str, Measure]:
        value = fakes.gaussian.distance(reals.gaussian)
        copied = None if inputs is None else inputs.gaussian.distance(reals.gaussian)
        assert fakes.features is not None
        x, y = fakes.features.values, reals.features.values if reals.features else None
        bias = None
        if y is not None and min(len(x), len(y)) >= LEAST_FOR_BIAS:
            bias = frechet_bias(x, y)
            if copied is not None and abs(value - copied) < bias:
                self.notes.append(
                    f"fid{self._suffix}: so few images raise it by about {bias:.2f}, more than "
                    f"what parts it from the inputs' ({abs(value - copied):.2f}); read kid instead"
                )
        interval: Interval | None = None
        if self._options.bootstrap:
            others: Tensor | object = y if y is not None else reals.gaussian
            interval = frechet_interval(x, others, value, self._options.bootstrap)  # type: ignore[arg-type]
        return {"fid": _measure(value, copied, interval, bias)}

    def _kernel(
        self, fakes: Features, reals: Features, inputs: Features | None
    ) -> Mapping[str, Measure]:
        number = min(len(reals.values), len(fakes.values))
        size = min(self._options.kid_subset_size, number)
        if size < self._options.kid_subset_size:
            self.notes.append(
                f"kid takes subsets of {size} images, for there are no more; fid of so few "
                "compares only with fid of equally many"
            )
        kid = kernel_distance(fakes.values, reals.values, size)
        copied = None if inputs is None else kernel_distance(inputs.values, reals.values, size)
        interval: Interval | None = None
        if self._options.bootstrap:
            interval = kernel_interval(
                fakes.values, reals.values, kid.mean, self._options.bootstrap
            )
        return {
            "kid": _measure(kid.mean, copied.mean if copied else None, interval),
            "kid_std": Measure.of("kid_std", kid.std, copied.std if copied else None),
        }

    def _manifolds(
        self, fakes: Features, reals: Features, inputs: Features | None
    ) -> Mapping[str, Measure]:
        k = self._options.neighbours
        if min(len(fakes.values), len(reals.values)) <= k:
            self.notes.append(f"precision and recall not measured: more than {k} images needed")
            return {}
        found = manifolds(fakes.values, reals.values, k)
        copied = None
        if inputs is not None and len(inputs.values) > k:
            copied = manifolds(inputs.values, reals.values, k)
        return {
            name: Measure.of(name, value, getattr(copied, name) if copied else None)
            for name, value in vars(found).items()
        }

    def names(self) -> tuple[str, ...]:
        """Return what is measured of sets that are large enough."""
        if self._network is None:
            return ()
        return tuple(
            f"{name}{self._suffix}"
            for name in OF_SETS
            if name != "inception_score" or self._options.features == "inception"
        )

    def rules(self) -> dict[str, str]:
        """Return what the protocol says of the distances themselves."""
        if self._network is None:
            return {}
        return {
            "kid": f"{NUM_SUBSETS} subsets of {self._options.kid_subset_size} at most, seed 0",
            "k": str(self._options.neighbours),
        }


def _seen(network: FeatureNetwork, pictures: Pictures, title: str) -> Features:
    collector = FeatureCollector(network)
    for i, image in enumerate(read_ahead(pictures.read, len(pictures), title)):
        picture = pictures.seen(image)
        require_size(picture, pictures.name(i))
        collector.add(picture)
    return collector.features()


def _measure(
    value: float, copied: float | None, interval: Interval | None, bias: float | None = None
) -> Measure:
    low, high = (interval.low, interval.high) if interval else (None, None)
    return Measure(value, copied, "lower", low, high, bias)


def _inception_score(features: Features) -> float:
    """Return the Inception Score (Salimans et al. 2016) in ten splits, by torch-fidelity."""
    from torch_fidelity.metric_isc import (  # noqa: PLC0415
        KEY_METRIC_ISC_MEAN,
        isc_features_to_metric,
    )

    assert features.logits is not None
    splits = min(10, len(features.logits))
    return float(isc_features_to_metric(features.logits, splits)[KEY_METRIC_ISC_MEAN])
