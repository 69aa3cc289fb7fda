"""Make pages from the templates of this room: static, without a server or the network.

A page opens from the disk (file://), travels with its folder, and shows its pictures without
JavaScript too. The HTML templates escape whatever stems from users: file names, labels, messages.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from PIL import Image

from core.runtime.files import write_file

if TYPE_CHECKING:
    import jinja2


@dataclass(frozen=True)
class Picture:
    """A picture on a page, by its path relative to the page, with forward slashes.

    Width and height are in pixels, 0 if unknown; the page reserves the room before it is loaded.
    """

    path: str
    width: int = 0
    height: int = 0


def find_picture(folder: Path, path: str | None) -> Picture | None:
    """Look up the size of a picture at `path` below `folder`; an unreadable file keeps size 0."""
    if path is None:
        return None
    try:
        with Image.open(folder / path) as image:
            return Picture(path, *image.size)
    except OSError:  # the page shows the gap
        return Picture(path)


@dataclass(frozen=True)
class Row:
    """The pictures of one input side by side, as the lightbox steps through them."""

    name: str
    """Heading."""
    pictures: Mapping[str, Picture | None]
    """{label: picture}, None where there should be one and is not."""
    anchor: str = ""
    """The row's own address on the page, if any."""
    group: str = ""
    """The lightbox steps from row to row within a group."""
    note: str = ""
    """Small text beside the heading."""


def duration(seconds: float | None) -> str:
    """Write a time as `1 h 02 min`, `3 min 20 s`, `12.3 s` or `45 ms`; nothing for None."""
    if seconds is None:
        return ""
    if seconds >= 3600:
        return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"
    if seconds >= 60:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


@cache
def _environment() -> jinja2.Environment:
    import jinja2  # noqa: PLC0415 - most commands never write a page

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=jinja2.StrictUndefined,
        autoescape=jinja2.select_autoescape(("html",)),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Back to the bytes on the disk, which is what a browser looks for.
    environment.filters["url"] = lambda path: quote(os.fsencode(path))
    environment.filters["duration"] = duration
    return environment


def write_page(path: Path, template: str, title: str, **values: Any) -> None:
    """Fill a template of `templates/` in with `values` and write the page as a whole.

    The title is the heading and the browser's tab.
    """
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    page = _environment().get_template(template).render(title=title, now=now, **values)
    # A file name that is no valid Unicode shows a question mark.
    write_file(path, lambda file: file.write(page.encode("utf-8", "replace")))
