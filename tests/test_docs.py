"""README and docs/ stay true: their commands parse, and what they name is there."""

from __future__ import annotations

import argparse
import re
import runpy
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from core.compare.config import Comparison
from core.config import load_config
from families import FAMILIES, STYLIZERS
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
TABLE: dict[str, Any] = {**FAMILIES, **STYLIZERS, "compare": Comparison}
SECTIONS = "data|train|optim|log|checkpoint|evaluate|model|image|loss|run|show|inference"
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)

COMMAND = re.compile(r"(?:python|torchrun [^`\n]*?) scripts/(\w+)\.py([^`\n]*)")
VARIABLE = re.compile(r'^(\w+)="([^"\n]*)"', re.MULTILINE)
"""A shell variable that a page sets to shorten its commands."""
OPTION = re.compile(rf"(?:^|\s)((?:{SECTIONS})(?:\.[a-zA-Z]\w*)+)(?=$|[:=,\s])")
SUFFIXES = (".py", ".pt", ".txt", ".json", ".jsonl", ".yaml")
FILE = re.compile(r"([\w*-]+)/(?:[\w.*-]+/)*(?:[\w.*-]+\.(?:py|md|yaml|jpg))?")
"""A file or folder; only those in the project's own folders are looked for."""


class Parsed(BaseException):
    """Carries the arguments of a command out of a script that would go on to run it."""


@cache
def entry(script: str) -> Callable[[list[str]], int]:
    """`main` of a script."""
    return runpy.run_path(str(ROOT / "scripts" / f"{script}.py"))["main"]


def commands(page: Path) -> Iterator[tuple[str, list[str]]]:
    """(script, arguments) of every command on a page, its shell variables filled in."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    variables = dict(VARIABLE.findall(text))
    text = re.sub(VARIABLE, "", text)
    text = re.sub(r"\$(\w+)", lambda found: variables.get(found[1], found[0]), text)
    for script, rest in COMMAND.findall(text):
        yield script, shlex.split(rest.split(" && ")[0], comments=True)


def words(page: Path) -> Iterator[str]:
    """What stands between backticks, outside of blocks."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    yield from re.findall(r"`([^`\n]+)`", text)


@each_page
def test_every_command_parses(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With options that exist; a config that it names exists and takes what `--set` says."""
    parse = argparse.ArgumentParser.parse_args

    def stop(self: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> None:
        raise Parsed(parse(self, *args, **kwargs))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.chdir(ROOT)
    for script, arguments in commands(page):
        options = None
        try:
            entry(script)(arguments)
        except Parsed as parsed:
            (options,) = parsed.args
        except SystemExit:
            pytest.fail(f"{page.name}: {script}.py {shlex.join(arguments)}")
        config = getattr(options, "config", None)
        if config is not None and config.parts[0] == "configs":
            load_config(config, TABLE, options.set)


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}
            assert anchor in slugs, f"{page.name}: {target}"


@each_page
def test_every_file_it_names_exists(page: Path) -> None:
    ours = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"runs", "datasets"}
    for word in words(page):
        found = FILE.fullmatch(word)
        if found and found[1] in ours:
            assert any(ROOT.glob(word)), f"{page.name}: {word}"


@cache
def keys(model: type[BaseModel]) -> frozenset[str]:
    """Every key path of an option model, sections of sections included."""
    paths = set()
    for name, field in model.model_fields.items():
        paths.add(name)
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                paths |= {f"{name}.{inner}" for inner in keys(kind)}
    return frozenset(paths)


def flat(tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Key paths of a tree."""
    for key, value in tree.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")


@each_page
def test_every_option_it_names_exists(page: Path) -> None:
    """In prose and in blocks of YAML, in one of the families."""
    known = {path for kind in TABLE.values() for path in keys(kind.Config)}
    named = [option for word in words(page) for option in OPTION.findall(word)]
    for block in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        named += flat(yaml.safe_load(block))
    unknown = [name for name in named if name not in known and not name.endswith(SUFFIXES)]
    assert not unknown, f"{page.name}: {unknown}"
