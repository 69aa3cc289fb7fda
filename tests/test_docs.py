"""README and docs/ stay true: their commands parse, and what they name is there."""

from __future__ import annotations

import argparse
import pkgutil
import re
import runpy
import shlex
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

import core
from core.compare.config import Comparison
from core.config import RETIRED, load_config
from families import FAMILIES, STYLIZERS
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
TABLE: dict[str, Any] = {**FAMILIES, **STYLIZERS, "compare": Comparison}
SECTIONS = "data|train|optim|log|checkpoint|evaluate|model|image|loss|run|show|inference"
PACKAGES = "core|families|cyclegan|pix2pix|munit|drit|dcgan|wgan|style"

COMMAND = re.compile(r"(?:python|torchrun [^`\n]*?) scripts/(\w+)\.py([^`\n]*)")
VARIABLE = re.compile(r'^(\w+)="([^"\n]*)"', re.MULTILINE)
"""A shell variable that a page sets to shorten its commands."""
OPTION = re.compile(rf"(?:^|\s)((?:{SECTIONS})(?:\.[a-zA-Z]\w*)+)(?=$|[:=,\s])")
SUFFIXES = (".py", ".pt", ".txt", ".json", ".jsonl", ".yaml", ".safetensors")
FILE = re.compile(r"([\w*-]+)/(?:[\w.*-]+/)*(?:[\w.*-]+\.(?:py|md|yaml|jpg))?")
OBJECT = re.compile(rf"((?:{PACKAGES})(?:\.[a-zA-Z]\w*)+)(?:\(.*)?")


class Parsed(BaseException):
    """Carries the arguments of a command out of a script that would go on to run it."""


@cache
def entry(script: str) -> Callable[[list[str]], int]:
    """`main` of a script."""
    return runpy.run_path(str(ROOT / "scripts" / f"{script}.py"))["main"]


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """(script, arguments) of every command on a page, its shell variables filled in."""
    variables = dict(VARIABLE.findall(text))
    text = VARIABLE.sub("", text.replace("\\\n", " "))
    text = re.sub(r"\$(\w+)", lambda found: variables.get(found[1], found[0]), text)
    for script, rest in COMMAND.findall(text):
        yield script, shlex.split(rest.split(" && ")[0], comments=True)


def words() -> Iterator[tuple[str, str]]:
    """(page, what stands between backticks), outside of blocks."""
    for page, text in TEXTS.items():
        prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
        yield from ((page.name, word) for word in re.findall(r"`([^`\n]+)`", prose))


def test_every_command_parses(monkeypatch: pytest.MonkeyPatch) -> None:
    """With options that exist; a config that it names exists and takes what `--set` says."""
    parse = argparse.ArgumentParser.parse_args

    def stop(self: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> None:
        raise Parsed(parse(self, *args, **kwargs))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.chdir(ROOT)
    number = 0
    for page, text in TEXTS.items():
        for script, arguments in commands(text):
            number += 1
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
    assert number > 100  # the pattern still finds them


def test_every_link_leads_somewhere() -> None:
    for page, text in TEXTS.items():
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if target.startswith(("http://", "https://")):
                continue
            name, _, anchor = target.partition("#")
            file = page.parent / name if name else page
            assert file.exists(), f"{page.name}: {target}"
            if anchor:
                titles = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
                slugs = {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}
                assert anchor in slugs, f"{page.name}: {target}"


def test_every_file_they_name_exists() -> None:
    """Of the project's own folders."""
    ours = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"runs", "datasets"}
    named = [(page, word, FILE.fullmatch(word)) for page, word in words()]
    missing = [
        f"{page}: {word}"
        for page, word, found in named
        if found and found[1] in ours and not any(ROOT.glob(word))
    ]
    assert not missing, missing


def test_every_function_they_name_exists() -> None:
    for page, word in words():
        if (found := OBJECT.fullmatch(word)) and not word.endswith(SUFFIXES):
            assert pkgutil.resolve_name(found[1]) is not None, f"{page}: {word}"


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


def test_every_option_they_name_exists() -> None:
    """In prose and in blocks of YAML, in one of the families; or it is retired."""
    known = {path for kind in TABLE.values() for path in keys(kind.Config)}
    known |= {f"{section}.{key}" for section, gone in RETIRED.items() for key in gone}
    named = [(page, option) for page, word in words() for option in OPTION.findall(word)]
    for page, text in TEXTS.items():
        for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
            named += [(page.name, option) for option in flat(yaml.safe_load(block))]
    unknown = [item for item in named if item[1] not in known and not item[1].endswith(SUFFIXES)]
    assert not unknown, unknown


def test_one_version() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    newest = re.search(r"^## (\d\S+)", TEXTS[ROOT / "CHANGELOG.md"], re.MULTILINE)
    assert newest is not None
    assert newest[1] == citation["version"] == settings["project"]["version"] == core.__version__
