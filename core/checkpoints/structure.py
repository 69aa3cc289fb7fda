"""What a checkpoint holds, as types: checked once, where a file is read.

The content of the parts that belong to other modules (an optimizer's moments, a pool's images) is
theirs to check; they do it under `core.errors.reading`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from core.errors import UserError

_Count = Annotated[int, Field(ge=0, lt=2**63)]


def _plain(value: Tensor) -> Tensor:
    odd = value.is_complex() or value.is_quantized or value.layout is not torch.strided
    if odd or value.device.type != "cpu":
        raise ValueError("expected a plain tensor of real numbers")
    return value


def _json(value: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise ValueError("expected options of texts, numbers, lists and sections") from None
    return value


Weights = dict[str, dict[str, Annotated[Tensor, AfterValidator(_plain)]]]
"""{network: {key: tensor}}."""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, arbitrary_types_allowed=True)


class Saved(_Part):
    """A checkpoint for testing."""

    family: str
    config: Annotated[dict[str, Any], AfterValidator(_json)]
    step: _Count
    version: str = "0.1.0"
    networks: Weights
    ema: Weights = {}


class _Optimizer(_Part):
    state: dict[int, dict[str, Any]]
    param_groups: list[dict[str, Any]]


class _Schedule(_Part):
    position: _Count
    initial: list[list[float]]
    plateaus: list[dict[str, Any]]


class _Loader(_Part):
    epoch: _Count
    batch: _Count
    num_items: list[_Count]
    global_batch_size: _Count
    seed: _Count


class _Local(_Part):
    rng: dict[str, Any]
    ways: dict[str, str] = {}  # older ones have none
    state: dict[str, dict[str, Any]]


class SavedTraining(Saved):
    """A checkpoint to go on from."""

    elapsed_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    optimizers: dict[str, _Optimizer]
    schedule: _Schedule
    scaler: dict[str, Any]
    loader: _Loader
    objective: Annotated[list[list[float]], Field(min_length=1)]
    nonfinite_in_a_row: _Count
    local: list[_Local]


def check(state: Any, source: object) -> None:
    """Refuse what has not the structure of a checkpoint.

    Args:
        state: what was read. One with `optimizers` is to go on from, one without for testing.
        source: file, for errors.

    Raises:
        UserError: one line that names the first key that is missing or of another type.
    """
    resumable = isinstance(state, dict) and "optimizers" in state
    try:
        (SavedTraining if resumable else Saved).model_validate(state)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"]) or "the whole"
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(
            f"{source}: not a checkpoint of this project: {name}: {message[0].lower()}{message[1:]}"
        ) from None
