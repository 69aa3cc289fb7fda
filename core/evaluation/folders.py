"""Measure folders of pictures, whoever made them: against real ones, truths, sources and labels."""

from __future__ import annotations

import pkgutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from core.data.folders import find_single
from core.data.names import same
from core.data.parallel import read_ahead
from core.data.readers.files import Source, relative_name
from core.data.readers.shards import ShardSource, is_shard
from core.errors import UserError
from core.evaluation.features import FeatureDistances, require_size
from core.evaluation.image_set import Pictures, as_they_are
from core.evaluation.metrics.detail import band_energies, detail_distance
from core.evaluation.metrics.segmentation import Confusion, Segmenter, nearest_colour
from core.evaluation.pairs import PairMeasures
from core.evaluation.protocol import protocol
from core.evaluation.scores import Evaluation, Measure, Scores, average
from core.evaluation.statistics import read_statistics, write_statistics
from core.options import DataOptions, EvaluateOptions
from core.report.pictures import in_8_bits, to_rgb


@dataclass(frozen=True)
class Labels:
    """How label maps are scored.

    Attributes:
        truth: folder with the true label maps in colours, under the names of the generated.
        colours: uint8 [classes, 3].
        segmenter: names the classes of generated pictures; None takes them as label maps.
    """

    truth: Path
    colours: Tensor
    segmenter: Segmenter | None = None


def read_colours(path: Path) -> Tensor:
    """Read a palette, YAML with a list of colours `[r, g, b]` or a mapping {class: colour}.

    Returns:
        uint8 [classes, 3].

    Raises:
        UserError: unreadable, or not such a list.
    """
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        colours = list(content.values()) if isinstance(content, dict) else content
        found = torch.tensor(colours, dtype=torch.int64)
        fits = (
            found.ndim == 2 and found.shape[1] == 3 and bool(((found >= 0) & (found < 256)).all())
        )
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read as a palette: {' '.join(str(error).split())}"
        ) from None
    if not fits:
        raise UserError(f"{path}: a palette is a list of colours [r, g, b], each from 0 to 255")
    return found.to(torch.uint8)


def load_segmenter(name: str) -> Segmenter:
    """Import a user's segmenter, `package.module:function`.

    Raises:
        UserError: there is none, or it cannot be called.
    """
    try:
        found = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"--segmenter {name}: {error}; give package.module:function") from None
    if not callable(found):
        raise UserError(f"--segmenter {name}: cannot be called")
    return found


def pictures_of(
    path: Path, max_images: int | None = None, options: DataOptions | None = None
) -> Pictures:
    """Find the pictures of a folder (with those inside), a list `.txt` or tar shards, as RGB.

    They come in their own size, or by the rule of the resize of `options`.

    Raises:
        UserError: none there.
    """
    if is_shard(path):
        options = options or as_they_are(DataOptions(root=str(path.parent)))
        return Pictures(ShardSource.open(path, 3, options, max_images))
    files = find_single(path, max_images)
    root = path if path.is_dir() else path.parent
    options = options or as_they_are(DataOptions(root=str(root)))
    return Pictures(Source(root.name, root, tuple((file,) for file in files), (3,), False, options))


class Partners:
    """Pictures found by the names of others, whatever their endings.

    Args:
        pictures: the ones to be found.
        what: they are called in messages.

    Raises:
        UserError: two have the same name.
    """

    def __init__(self, pictures: Pictures, what: str) -> None:
        self._pictures, self._what = pictures, what
        self._places = {_stem(pictures, i): i for i in range(len(pictures))}
        if len(self._places) != len(pictures):
            root = pictures.source.root
            raise UserError(f"{root}: two pictures of one name with different endings; keep one")

    def place(self, others: Pictures, i: int) -> int:
        """Return the number of the partner of picture `i` of others.

        Raises:
            UserError: there is none.
        """
        place = self._places.get(_stem(others, i))
        if place is None:
            raise UserError(
                f"{self._pictures.source.root}: no {self._what} for {others.name(i)}; partners "
                "have equal names"
            )
        return place

    def read(self, others: Pictures, i: int) -> Tensor:
        """Return the partner of picture `i` of others, [C, H, W]."""
        return self._pictures.read(self.place(others, i))

    def of(self, others: Pictures, i: int, picture: Tensor) -> Tensor:
        """Return the partner of a picture, uint8 [1, 3, H, W], of the same size.

        Raises:
            UserError: there is none, or it has another size.
        """
        found = to_rgb(in_8_bits(self.read(others, i)))[None]
        if found.shape != picture.shape:
            raise UserError(
                f"{others.name(i)}: {picture.shape[3]}x{picture.shape[2]} px, its {self._what} "
                f"{found.shape[3]}x{found.shape[2]} px; both must be of one size"
            )
        return found


def _stem(pictures: Pictures, i: int) -> str:
    """Return a picture's name without its ending, below the folder of its domain."""
    source = pictures.source
    if isinstance(source, ShardSource):
        return same(source.member(i))
    assert isinstance(source, Source)
    path, domain = Path(source.files[i][0]), source.root / source.label
    root = domain if path.is_relative_to(domain) else source.root
    return same(relative_name(path.with_suffix(""), root))


def evaluate_folders(
    generated: Path,
    options: EvaluateOptions,
    device: torch.device,
    *,
    real: Path | None = None,
    paired: bool = False,
    source: Path | None = None,
    labels: Labels | None = None,
    save_statistics: Path | None = None,
) -> Evaluation:
    """Measure pictures of a folder.

    Args:
        generated: the pictures, a folder or a list.
        options: what is measured; `every` and `num_styles` do not count.
        device: where to compute.
        real: real pictures, or a file of statistics `.npz`, for the distances between sets.
        paired: the real ones are truths, by equal names (endings apart).
        source: what the pictures were made from, by equal names: how much of it is kept.
        labels: score them as label maps, or by what a segmenter sees in them.
        save_statistics: `.npz` file for the statistics of the real pictures.

    Raises:
        UserError: unreadable pictures, or partners that are missing or of another size.
    """
    made = pictures_of(generated, options.max_images)
    partners = _Partnered(made, real if paired else None, source, labels, options, device)
    distances = FeatureDistances(options, device)
    fakes = distances.collector() if real is not None else None
    bands = []
    for i, picture in _each(made, "generated"):
        if fakes is not None:
            fakes.add(picture[0])
        bands.append(band_energies(picture))
        partners.add(i, picture)
    measures: dict[str, Measure] = {}
    number, notes = 0, partners.notes
    if real is not None:
        reals = None if real.suffix == ".npz" else pictures_of(real, options.max_images)
        known = read_statistics(real) if reals is None else distances.of_pictures(reals, "features")
        measures |= distances.measures(fakes.features(), known) if fakes is not None else {}
        if reals is not None:
            apart = detail_distance(torch.cat(bands), distances.bands(reals, "detail"))
            measures["detail_distance"] = Measure.of("detail_distance", apart)
        if save_statistics is not None and known is not None:
            write_statistics(save_statistics, known)
        number = len(reals) if reals is not None else (known.count if known else 0) or 0
        notes = list(dict.fromkeys([*distances.notes, *notes]))
    scores = Scores(len(made), number, measures | partners.measures())
    return Evaluation({"generated": scores}, notes, protocol(distances))


def _each(pictures: Pictures, title: str) -> Iterator[tuple[int, Tensor]]:
    """Read pictures, uint8 [1, 3, H, W].

    Raises:
        UserError: unreadable, or too small to be measured.
    """
    for i, image in enumerate(read_ahead(pictures.read, len(pictures), title)):
        picture = to_rgb(in_8_bits(image))[None]
        require_size(picture, pictures.name(i))
        yield i, picture


class _Partnered:
    """What is measured of each generated picture beside its truth, its source or its label map."""

    def __init__(
        self,
        made: Pictures,
        truth: Path | None,
        source: Path | None,
        labels: Labels | None,
        options: EvaluateOptions,
        device: torch.device,
    ) -> None:
        self._made, self._labels = made, labels
        self._truths = Partners(pictures_of(truth), "truth") if truth is not None else None
        self._sources = Partners(pictures_of(source), "source") if source is not None else None
        self._pairs = PairMeasures(options, device, name="lpips" if truth is not None else "")
        self._table: defaultdict[str, list[Measure]] = defaultdict(list)
        if labels is not None:
            self._maps = Partners(pictures_of(labels.truth), "label map")
            self._by_colour = nearest_colour(labels.colours)
            self._confusion = Confusion(len(labels.colours))

    @property
    def notes(self) -> list[str]:
        """What was not measured and why."""
        return self._pairs.notes

    def add(self, i: int, picture: Tensor) -> None:
        """Measure a picture, uint8 [1, 3, H, W]."""
        found: dict[str, float] = {}
        if self._truths is not None:
            found |= self._pairs.with_truth(picture, self._truths.of(self._made, i, picture))
        if self._sources is not None:
            found |= self._pairs.with_source(self._sources.of(self._made, i, picture), picture)
        for name, value in found.items():
            self._table[name].append(Measure.of(name, value))
        if self._labels is not None:
            truth = self._by_colour(self._maps.of(self._made, i, picture))
            try:
                classes = (self._labels.segmenter or self._by_colour)(picture)
            except Exception as error:  # of code that is not ours
                raise UserError(f"the segmenter failed: {type(error).__name__}: {error}") from error
            if classes.shape != truth.shape:
                raise UserError(
                    f"the segmenter gives {tuple(classes.shape)} for a picture of "
                    f"{tuple(picture.shape)}; it has to give {tuple(truth.shape)}"
                )
            self._confusion.add(classes, truth)

    def measures(self) -> dict[str, Measure]:
        """Return the means over the pictures, and the scores of the label maps."""
        means = {name: average(each) for name, each in self._table.items()}
        scores = vars(self._confusion.scores()) if self._labels is not None else {}
        return means | {name: Measure.of(name, value) for name, value in scores.items()}
