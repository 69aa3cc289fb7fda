"""What the tests of HTML pages share: a strict parser, and headless Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

VOID = {"meta", "img", "input", "link", "br", "hr", "wbr", "path"}


class Page(HTMLParser):
    """Links, texts and elements of a page; complains about tags that do not match."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.elements.append((tag, values))
        self.links += [values[key] for key in ("href", "src") if values.get(key)]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [values for name, values in self.elements if name == tag]

    @property
    def words(self) -> str:
        return " ".join(self.text.split())

    @property
    def images(self) -> list[dict[str, str]]:
        """All but that of the lightbox, which has no source yet."""
        return [values for values in self.all("img") if "src" in values]


@contextmanager
def chromium(**options: Any) -> Iterator[Any]:
    """A page of headless Chromium; skips where it or its driver is not there."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install -e '.[dev]'")
    names = ("chromium", "chromium-browser", "google-chrome")
    executable = next(filter(None, map(shutil.which, names)), None)
    if executable is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = driver.chromium.launch(executable_path=executable, args=sandbox)
        page = browser.new_page(**options)
        page.set_default_timeout(60_000)
        yield page
        browser.close()
