"""Comparisons as config files: what is refused, and that the ones given can be run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from core.compare.config import slug
from core.config import load_config
from core.errors import UserError
from families import FAMILIES, STYLIZERS
from tests.compare.conftest import load, write_config
from tests.conftest import ROOT

CONFIGS = sorted((ROOT / "configs" / "compare").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_comparison_loads_with_the_configs_it_names(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    config = load(path)
    assert config.name == f"compare/{path.stem}"
    for entry in config.entries:
        if entry.config is not None:
            load_config(entry.config, {**FAMILIES, **STYLIZERS}, entry.set)
    stated = yaml.safe_load(path.read_text())
    plain = type(config)(data={"root": "x"}, entries=config.entries).model_dump(mode="json")  # type: ignore[arg-type]
    for section in ("data", "show", "evaluate", "inference"):
        for key, value in stated.get(section, {}).items():
            assert key == "root" or plain[section][key] != value, f"{section}.{key} is the default"


ONE = {"name": "one", "checkpoint": "runs/one"}


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"entries": []}, ["entries", "at least 1"]),
        ({"entries": [{"name": "x"}]}, ["entries.0", "either checkpoint, config, folder"]),
        ({"entries": [ONE | {"config": "y"}]}, ["entries.0", "either checkpoint, config, folder"]),
        ({"entries": [ONE | {"set": ["a=1"]}]}, ["entries.0", "set and run go with config"]),
        ({"entries": [ONE | {"name": "Truth"}]}, ["entries.0", "input, example, truth"]),
        ({"entries": [ONE | {"name": "?!"}]}, ["entries.0", "a letter or a digit"]),
        ({"entries": [ONE, ONE | {"name": "One."}]}, ["'one' and 'One.'", "same files"]),
        ({"entries": [ONE | {"chekpoint": "y"}]}, ["entries.0.chekpoint", "`checkpoint`", "run"]),
        ({"data": {"root": "x", "size": None, "seasons": {}}}, ["data", "give it in pixels"]),
        ({"data": {"root": "x", "sise": 64}}, ["data.sise", "did you mean `size`"]),
        ({"evaluate": {"num_styles": 1}}, ["evaluate.num_styles", "2"]),
    ],
)
def test_mistakes(tmp_path: Path, change: dict[str, Any], parts: list[str]) -> None:
    tree = {"family": "compare", "data": {"root": "x"}, "entries": [ONE]} | change
    with pytest.raises(UserError) as caught:
        load(write_config(tmp_path, tree))
    message = str(caught.value)
    assert "small.yaml" in message and "\n" not in message
    assert all(part in message for part in parts), message


def test_slugs() -> None:
    assert slug("Neural style (64 px)") == "neural_style_64_px"
    assert slug("../Ä/") == ""
