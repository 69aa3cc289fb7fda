"""Looking a data set over before training: what is there, what is broken, what to write."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median_low
from typing import Any

import yaml

from core.data import folders
from core.data.check_addresses import is_address, open_described, stack_of
from core.data.folders import SPLITS, TwoDomains
from core.data.images import Description, describe_image
from core.data.listing import expanded
from core.data.parallel import in_threads
from core.data.readers.idx import idx_splits, read_idx
from core.data.tags import match_tags
from core.errors import UserError
from core.options import Span
from core.text import Vocabulary

_CROP_SIZES = (512, 256, 128, 64)
_GENERATED_SIZES = (128, 64, 32)
_TAGS = "tags.csv"
_RAM_BYTES = 4 * 2**30


@dataclass(frozen=True)
class Part:
    """The images of one folder or list, all of them decoded.

    Attributes:
        name: E.g. "trainA".
        sizes: (width, height) of each readable image, after EXIF rotation.
        modes: Pillow's mode of each readable image, as stored.
        span: Smallest and largest value of the images of more than 8 bits; None if there are none.
        bands: Numbers of channels that occur, without alpha.
        histogram: Mean over the images of their shares of values, from black to white.
        files: The readable images, where they are files.
    """

    name: str
    sizes: tuple[tuple[int, int], ...]
    modes: tuple[str, ...]
    span: Span | None = None
    bands: frozenset[int] = frozenset()
    histogram: tuple[float, ...] = ()
    files: tuple[Path, ...] = ()

    def lines(self) -> list[str]:
        """Describe number, sizes and modes in two lines for a person."""
        if not self.sizes:
            return [f"{self.name}: no readable image"]
        widths, heights = zip(*self.sizes, strict=True)
        size, count = Counter(self.sizes).most_common(1)[0]
        share = "all" if count == len(self.sizes) else f"{count} of {len(self.sizes)}"
        modes = ", ".join(f"{mode} {n}" for mode, n in Counter(self.modes).most_common())
        lines = [
            f"{self.name}: {len(self.sizes)} images, modes: {modes}",
            f"  width {_range(widths)}, height {_range(heights)}, "
            f"most common {size[0]} x {size[1]} ({share})",
        ]
        if self.histogram:
            lines.append(f"  black {_bars(self.histogram)} white")
        if self.span:
            lines.append(f"  values {self.span[0]:g} to {self.span[1]:g} in more than 8 bits")
        return lines


@dataclass
class Report:
    """The findings of `check_folder`.

    Attributes:
        layouts: What kind of data set it is, one line per split.
        problems: What keeps it from being used, each with what to do.
        hints: What to think about; the data set can be used as it is.
        paired: Whether it holds pairs; None for a single domain.
        tags: Name of the tags file of a single domain.
        num_unreadable: Files among the problems that could not be decoded.
        num_unstated: Problems that `data.white` mends.
        white: What `data.white` should be.
        address: What was looked over, where that is no folder.
        stack: What `data.a` and `data.b` could be, where there are folders of equal names.
    """

    root: Path
    layouts: list[str] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    paired: bool | None = None
    tags: str | None = None
    num_unreadable: int = 0
    num_unstated: int = 0
    white: str | None = None
    address: str | None = None
    stack: tuple[list[Any], str] | None = None

    @property
    def usable(self) -> bool:
        """Tell whether nothing has to be mended first."""
        return not self.problems

    def lines(self) -> list[str]:
        """Lay out the report for a person; the config only where one would run."""
        lines = [self.address or f"{self.root}", *(f"  {layout}" for layout in self.layouts)]
        lines += [line for part in self.parts for line in part.lines()]
        lines += [f"to fix: {problem}" for problem in self.problems]
        lines += [f"note: {hint}" for hint in self.hints]
        some_readable = any(part.sizes for part in self.parts)
        # What the config mends is no obstacle: `on_error: skip` passes over unreadable files.
        if some_readable and len(self.problems) == self.num_unreadable + self.num_unstated:
            lines += ["config:", *(f"  {line}" for line in self.config_lines())]
        lines.append("usable" if self.usable else f"{len(self.problems)} problems")
        return lines

    def config_lines(self) -> list[str]:
        """Lay out a config that suits the images, as YAML."""
        single = self.paired is None and not self.stack
        halves = self.paired and all("side by side" in layout for layout in self.layouts)
        sizes = [(w // 2 if halves else w, h) for part in self.parts for w, h in part.sizes]
        typical = median_low([min(size) for size in sizes])
        sides = _GENERATED_SIZES if single else _CROP_SIZES
        crop = next((side for side in sides if side <= typical), sides[-1])
        load = crop if single else round(crop * 286 / 256)
        deep = any(part.span for part in self.parts)
        num_bytes = len(sizes) * (2 if halves else 1) * 3 * load**2 * (4 if deep else 1)
        data: dict[str, Any] = {"root": str(self.root)}
        if self.address:
            data["a"] = self.address
        if self.stack:
            data["a"], data["b"] = self.stack
        if crop != (64 if single else 256):
            data |= {"load_size": load, "crop_size": crop}
        model: dict[str, Any] = {}
        gray = all(mode in ("1", "L", "uint8 x 1") for part in self.parts for mode in part.modes)
        if single and gray:
            model["nc"] = 1
        if self.white and "a" not in data:
            data["white"] = self.white
        if self.tags:
            data["tags"], model["text"] = self.tags, {}
        data["cache"] = "ram" if single or num_bytes <= _RAM_BYTES else "disk"
        bands = (3, 3) if self.stack else self._input_bands()
        if (self.paired and bands != (3, 3)) or (not single and bands[0] == bands[1] != 3):
            model |= {"input_nc": bands[0], "output_nc": bands[1]}
        if self.num_unreadable:
            data["on_error"] = "skip"
        family = "dcgan" if single else "pix2pix" if self.paired or self.stack else "cyclegan"
        tree = {"family": family, "data": data} | ({"model": model} if model else {})
        return yaml.safe_dump(tree, sort_keys=False, width=1000).splitlines()

    def _input_bands(self) -> tuple[int, int]:
        """Return the channels of A and of B; 3 where images differ."""
        first, last = (
            next(iter(part.bands)) if len(part.bands) == 1 else 3
            for part in (self.parts[0], self.parts[min(1, len(self.parts) - 1)])
        )
        return first, last


def check_folder(root: str | Path) -> Report:
    """Find the layout of a data set and decode every image of it.

    Args:
        root: The data set's folder, or a plain folder of images.

    Raises:
        UserError: `root` is no folder, or holds neither a data set nor images.
    """
    if is_address(str(root)):
        return _check_address(str(root))
    folder = expanded(root)
    found, problems = _find_all(folder)
    report = Report(folder, problems=problems)
    if not found and not problems:
        _add_single(report)
        return report
    report.paired = any(data.paired for data in found)
    for data in found:
        kind = "paired" if data.paired else "unpaired"
        report.layouts.append(f"{data.split}: {kind}, {data.origin}")
        _add_data(report, data)
    if found and all(data.split != "train" for data in found):
        report.problems.append(
            f"{folder}: there is no train split; add trainA/ and trainB/ (unpaired) or train/"
        )
    return report


def _check_address(address: str) -> Report:
    """Look over pictures that `data.a` names."""
    pictures, described = open_described(address)
    report = Report(Path(), layouts=[f"{len(pictures)} pictures, for data.a or data.b"])
    report.address = address
    _add_part(report, address, [Path(pictures.name(i)) for i in range(len(pictures))], described)
    return report


def _add_single(report: Report) -> None:
    """Add one domain: MNIST's files, or a folder of images, perhaps with tags."""
    folder = report.root
    for split, path in idx_splits(folder).items():
        pixels = read_idx(path)
        number, height, width = pixels.shape
        report.layouts.append(f"{split}: one domain, {path.name}")
        report.parts.append(Part(split, ((width, height),) * number, ("L",) * number))
    if report.parts:
        return
    files = folders.find_single(folder)
    report.layouts.append("a folder of images: one domain to draw from noise, or to be translated")
    report.stack = stack_of(folder)
    if report.stack is None:
        report.hints.append(_what_training_needs(folder))
    else:
        report.layouts = ["folders of equal names: pairs of several inputs"]
    _add_part(report, folder.name, files)
    if (folder / _TAGS).is_file():
        report.tags = _TAGS
        try:
            captions = match_tags(folder / _TAGS, files)
            report.hints.append(f"{_TAGS}: captions know {Vocabulary.learn(captions)}")
        except UserError as error:
            report.problems.append(str(error))


def _what_training_needs(folder: Path) -> str:
    try:
        folders.find_unpaired(folder, "train")
    except UserError as error:
        return f"for a translator: {error}; pairs go side by side into train/"
    raise AssertionError("called only where no split is there")


def _find_all(root: Path) -> tuple[list[TwoDomains], list[str]]:
    """Find every split in its layout, and the errors met while looking."""
    found: list[TwoDomains] = []
    problems: list[str] = []
    unpaired, paired = (folders.splits_present(root, paired=paired) for paired in (False, True))
    for split in SPLITS:
        layouts = set(folders.paired_layouts(root, split)) if split in paired else set()
        if split in unpaired:
            layouts.discard(f"{split}A/ and {split}B/")  # _add_unpaired compares the names
        if split != "train":
            layouts.discard("A/ and B/")  # the same files for every split
        try:
            if split in unpaired:
                found.append(folders.find_unpaired(root, split))
            if layouts:
                found.append(folders.find_paired(root, split))
        except UserError as error:
            problems.append(str(error))
    return found, problems


def _add_data(report: Report, data: TwoDomains) -> None:
    if not data.paired:
        sizes_a = _add_part(report, f"{data.split}A", data.a)
        sizes_b = _add_part(report, f"{data.split}B", data.b)
        stems_a, stems_b = ({path.stem for path in files} for files in (data.a, data.b))
        shared = len(stems_a & stems_b)
        if stems_a == stems_b:
            report.hints.append(f"{data.origin}: the names match, so it can serve as pairs too")
        elif shared:
            report.hints.append(
                f"{data.origin}: {shared} names are in both and {len(stems_a ^ stems_b)} in one "
                "only; as pairs it can be used once every image has a partner of equal name"
            )
    elif data.side_by_side:
        sizes = _add_part(report, data.split, data.a)
        narrow = [path for path, (width, height) in sizes.items() if width < 1.2 * height]
        if narrow:
            report.hints.append(
                f"{data.origin}: {len(narrow)} images, e.g. {narrow[0].name}, are too narrow to "
                "hold two pictures beside each other; are these pairs, or one domain for dcgan?"
            )
    else:
        sizes_a = _add_part(report, f"{data.split} A", data.a)
        sizes_b = _add_part(report, f"{data.split} B", data.b)
        unequal = [
            path_a.name
            for path_a, path_b in zip(data.a, data.b, strict=True)
            if path_a in sizes_a and path_b in sizes_b and sizes_a[path_a] != sizes_b[path_b]
        ]
        if unequal:
            report.hints.append(
                f"{data.origin}: the sizes of {len(unequal)} pairs differ, e.g. {unequal[0]}; "
                "only data.preprocess: resize_and_crop makes them equal"
            )


def _add_part(
    report: Report,
    name: str,
    files: Sequence[Path],
    describe: Callable[[int], Description] | None = None,
) -> dict[Path, tuple[int, int]]:
    """Decode `files`, note what is unreadable, and return the sizes of the others."""
    found: dict[Path, Description] = {}
    one = describe or (lambda i: describe_image(files[i]))
    with contextlib.closing(in_threads(one, len(files), f"checking {name}")) as outcomes:
        for path, outcome in zip(files, outcomes, strict=True):
            if isinstance(outcome, UserError):
                report.problems.append(str(outcome))
                report.num_unreadable += 1
            else:
                found[path] = outcome
    deep = [one for one in found.values() if one.deep]
    span = (min(x.span[0] for x in deep), max(x.span[1] for x in deep)) if deep else None
    sizes = {path: one.size for path, one in found.items()}
    modes = tuple(one.mode for one in found.values())
    bands = frozenset(one.bands for one in found.values())
    shares = zip(*(one.histogram for one in found.values()), strict=True)
    histogram = tuple(sum(share) / len(found) for share in shares)
    part = Part(name, tuple(sizes.values()), modes, span, bands, histogram, tuple(found))
    report.parts.append(part)
    if span is not None:
        _note_depth(report, name, deep, span)
    return sizes


def _note_depth(report: Report, name: str, deep: Sequence[Description], span: Span) -> None:
    """Warn where nobody knows what is white, or where images would become nearly black."""
    unknown = sum(one.levels is None for one in deep)
    dim = sum(one.levels is not None and one.span[1] <= one.levels.white / 2 for one in deep)
    values = f"values from {span[0]:g} to {span[1]:g}"
    if unknown:
        report.num_unstated += 1
        report.problems.append(
            f"{name}: {unknown} images have no agreed black and white ({deep[0].mode}, {values}); "
            f"set data.white to the value that is white ({span[1]:g}?), or to auto"
        )
    elif dim * 2 > len(deep):
        report.hints.append(
            f"{name}: {dim} images use less than half of their depth ({values}) and would be dark; "
            f"set data.white to the value that is white ({span[1]:g}?), or to auto"
        )
    else:
        return
    report.white = "auto"


def _bars(shares: Sequence[float]) -> str:
    """Draw shares as bars of one character each; only an empty one has no height."""
    top = max(shares) or 1.0
    return "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * share / top))] if share else " " for share in shares)


def _range(lengths: Sequence[int]) -> str:
    smallest, largest = min(lengths), max(lengths)
    if smallest == largest:
        return str(smallest)
    return f"{smallest} to {largest} (median {median_low(lengths)})"
