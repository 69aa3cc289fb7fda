"""A page of some of the pictures of a job, chosen by their names alone."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from pathlib import Path

from core.data.images import open_image
from core.errors import UserError
from core.jobs.bulk.digests import digest
from core.jobs.bulk.results import Encoding
from core.jobs.bulk.sources import Item, stem_of
from core.options import Span
from core.report.gallery import write_test_gallery
from core.report.pictures import save_png, thumbnail

FOLDER = "gallery"
_SIDE = 512
"""Pixels of a picture's longer side, at most."""


class Gallery:
    """The `number` items with the smallest digests, whatever else there is and in which order."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._kept: list[tuple[int, str, Item]] = []

    def watch(self, items: Iterable[Item | UserError]) -> Iterator[Item | UserError]:
        """Give the items on, and remember some of them."""
        for item in items:
            if self._number and not isinstance(item, UserError):
                # Names break ties, so that items are never compared.
                entry = (-digest(item.name), item.name, item)
                if len(self._kept) < self._number:
                    heapq.heappush(self._kept, entry)
                else:
                    heapq.heappushpop(self._kept, entry)
            yield item

    def write(self, folder: Path, encoding: Encoding, span: Span | None) -> Path:
        """Draw inputs and results in `folder/gallery/` and return the page; errors are left out."""
        rows: list[tuple[str, dict[str, str | None]]] = []
        for _, name, item in sorted(self._kept, key=lambda entry: entry[1]):
            stem = stem_of(item)
            labels = ["input", *(label.lstrip("_") or "result" for label in encoding.labels)]
            paths = {label: f"images/{len(rows):05d}_{label}.png" for label in labels}
            try:
                pictures = [item.read(span).to_pil()]
                pictures += [open_image(folder / file) for file in encoding.names(stem)]
            except UserError:
                continue
            for picture, path in zip(pictures, paths.values(), strict=True):
                save_png(thumbnail(picture, _SIDE), folder / FOLDER / path)
            rows.append((name, dict(paths)))
        page = folder / FOLDER / "index.html"
        write_test_gallery(page, folder.name, rows)
        return page
