"""From a checkpoint to its family, translator or sampler, given a table of families.

`families.load` and `families.load_sampler` are these with the project's own table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from core.checkpoints import store
from core.config import change
from core.errors import UserError, reading
from core.family import Family, FamilyTable, GenerativeFamily, TranslationFamily
from core.inference import safe_files
from core.inference.sampler import Sampler
from core.inference.speed import arrange
from core.inference.translator import Translator
from core.options import Speed
from core.runtime.distributed import pick_device


def kind_and_config(
    state: Mapping[str, Any],
    table: FamilyTable,
    source: object = "",
    overrides: Sequence[str] = (),
) -> tuple[type[Family], Any]:
    """Return the family that a checkpoint is of, and the options inside it.

    `state` is from `core.checkpoints.store.load`, `source` names the file in errors, and overrides
    are `section.key=value` texts that change options.

    Raises:
        UserError: the family is unknown, or the options are not ones that it takes.
    """
    name = state["family"]
    if name not in table:
        raise UserError(f"{source}: a checkpoint of family {name!r}; known: {', '.join(table)}")
    kind = table[name]
    writer = f"{source} (written by version {state.get('version', '0.1.0')})"
    return kind, change(kind.Config, state["config"], overrides, writer)


class _Undrawn(TorchFunctionMode):
    """Parameters that are made within are not drawn: they hold what memory held."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Leave a parameter that is to be drawn as it is."""
        kwargs = kwargs or {}
        target = args[0] if args else kwargs.get("tensor")
        if isinstance(target, nn.Parameter) and func.__name__ in _DRAWS:
            return target
        return func(*args, **kwargs)


_DRAWS = frozenset(
    {"kaiming_normal_", "kaiming_uniform_", "normal_", "orthogonal_", "uniform_", "xavier_normal_"}
)


def from_state(state: Mapping[str, Any], table: FamilyTable, source: object = "") -> Family:
    """Build the family that a checkpoint describes, with its (averaged) weights.

    Arguments are as for `kind_and_config`.

    Raises:
        UserError: the family is unknown, or the weights do not fit its options.
    """
    family = _undrawn(state, table, source)
    weights = {**state["networks"], **state.get("ema", {})}
    _load(family, weights, source)
    return family


def _undrawn(state: Mapping[str, Any], table: FamilyTable, source: object) -> Family:
    kind, config = kind_and_config(state, table, source)
    with reading(f"{source}: the options ask for networks that cannot be made, so it"), _Undrawn():
        return kind.build(config)


def _load(family: Family, weights: Mapping[str, Any], source: object) -> None:
    """Load weights; networks without any are left out."""
    family.networks = {key: net for key, net in family.networks.items() if key in weights}
    for key, network in family.networks.items():
        store.load_network(network, weights[key], key, source)


def load_state(path: str | Path) -> tuple[dict[str, Any], Path]:
    """Read what a path or address stands for, and return the state with its file.

    That is a checkpoint file or the newest intact one of a run folder; a safetensors file, or a
    folder with `model.safetensors` and `config.json`; or such a folder at `hf://owner/name`.

    Raises:
        UserError: missing, damaged, or not to be fetched.
    """
    path = safe_files.resolve(path)
    inside = path / safe_files.WEIGHTS
    file = inside if inside.is_file() else path
    if file.suffix == ".safetensors" and file.is_file():
        return safe_files.load_safetensors(file), file
    file, _ = store.find(path)
    return store.load(file, verified=path.is_dir()), file


class Loaded(NamedTuple):
    """A family out of a checkpoint, to make pictures and not to be trained."""

    family: Family
    """With the networks that make pictures, and no optimizers."""
    file: Path
    origin: str
    """The file with its training step, to say where things come from."""
    num_parameters: int
    """Of all the checkpoint's networks, those included that only trained the others."""


def load_family(path: str | Path, table: FamilyTable) -> Loaded:
    """Load the family that a path or address, as of `load_state`, stands for.

    Raises:
        UserError: missing, damaged, or of an unknown family.
    """
    state, file = load_state(path)
    family = _undrawn(state, table, file)
    networks = [net for key, net in family.networks.items() if key in state["networks"]]
    number = sum(p.numel() for network in networks for p in network.parameters())
    weights = {**state["networks"], **state.get("ema", {})}
    _load(family, {k: weights[k] for k in family.ema_networks if k in weights} or weights, file)
    family.optimizers = {}
    step = int(state["step"])  # 0 if converted
    return Loaded(family, file, f"{file}, step {step:,}" if step else str(file), number)


def load_translator(
    path: str | Path,
    table: FamilyTable,
    device: str | torch.device = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    test_mode: Literal["published", "eval"] = "published",
    tile: int | None = None,
    speed: Speed = "auto",
) -> Translator:
    """Load a translator from a path or address as of `load_state`.

    The device `auto` is a GPU where there is one; for what follows see `Translator`, and for
    `speed` `core.inference.speed`.

    Raises:
        UserError: missing, damaged, of an unknown family, or of one that does not translate.
    """
    family, file, origin, number = load_family(path, table)
    if not isinstance(family, TranslationFamily):
        raise UserError(f"{file}: {family.name} makes pictures from noise and translates none")
    translator = Translator(family, pick_device(device), precision, test_mode, tile, origin)
    translator.speed = arrange(family.networks.values(), speed)
    translator.num_parameters = number
    # Another machine reads the same weights, not those that a training has written since.
    where = path if safe_files.is_address(path) else file.resolve()
    again = partial(load_translator, where, table, device, precision, test_mode, tile, speed)
    translator.load_again = again
    return translator


def load_sampler(
    path: str | Path,
    table: FamilyTable,
    device: str | torch.device = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    speed: Speed = "auto",
) -> Sampler:
    """Load a sampler; arguments as for `load_translator`.

    Raises:
        UserError: missing, damaged, or of a family that translates.
    """
    family, file, origin, _ = load_family(path, table)
    if not isinstance(family, GenerativeFamily):
        raise UserError(f"{file}: {family.name} translates images; give them with --input")
    sampler = Sampler(family, pick_device(device), precision, origin)
    sampler.speed = arrange(family.networks.values(), speed)
    return sampler
