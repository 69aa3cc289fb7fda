"""Checkpoints of networks that take a few milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.checkpoints import store
from tests.small import family


def write_checkpoint(path: Path, name: str, model: dict[str, Any] | None = None) -> Path:
    """A checkpoint of `tests.small.family`, untrained."""
    built = family(name, model)
    networks = {key: network.state_dict() for key, network in built.networks.items()}
    config = built.config.model_dump(mode="json")
    store.save({"family": name, "config": config, "networks": networks, "step": 0}, path)
    return path
