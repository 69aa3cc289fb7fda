"""Between official checkpoint files and ours; what is in them is the family's `official.py`."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from shutil import copyfileobj
from typing import Any, Protocol

import torch
from safetensors.torch import save

from core import __version__
from core.checkpoints import store
from core.convert.foreign import read_generators
from core.convert.structure import NOTHING_TOLD, Told
from core.errors import UserError, reading
from core.family import Family, FamilyTable
from core.inference.loading import from_state, load_state
from core.inference.safe_files import save_safetensors
from core.nn.factory import NetworkOptions, NetworksConfig
from core.options import Direction
from core.runtime.files import write_file


class OfficialModule(Protocol):
    """What a family's `official.py` offers."""

    def read(self, path: Path) -> Mapping[str, Any]:
        """Read {official network name: state dict} from the file or files at a path."""

    def from_official(self, states: Mapping[str, Any], direction: Direction, source: object) -> Any:
        """Make a family with these networks."""

    def to_files(self, family: Any) -> Mapping[str, Mapping[str, Any]]:
        """Return {file name: content}."""


def read_official(
    source: Path,
    kind: type[Family],
    module: OfficialModule,
    direction: Direction,
    told: Told,
    names: Sequence[str] = (),
) -> tuple[Family, list[str]]:
    """Read a family off official files, or off a single file with generators of another code.

    Args:
        source: file, or folder of official files.
        kind: the family.
        module: its `official.py`.
        direction: of a single generator; of two, that of the first.
        told: what a single file may not show of its generator.
        names: which of its generators to take.

    Returns:
        The family, and a line for each generator that was recognised in a single file.

    Raises:
        UserError: unreadable, or not what the family takes.
    """
    if source.is_dir() or not issubclass(kind.Config, NetworksConfig):
        if names or told != NOTHING_TOLD:
            raise UserError(
                f"{source}: --network, --norm and --padding are of a single file with generators "
                "of cyclegan or pix2pix"
            )
        with reading(f"{source}: as files of {kind.name} it"):
            return module.from_official(module.read(source), direction, source), []
    states, lines = read_generators(source, told, names)
    generators = kind.ema_networks
    if len(states) == 1:
        found = [name for name in generators if source.name.endswith(f"_net_{name}.pth")]
        named = {[*found, "G"][0]: states[0]}
        return module.from_official(named, direction, source), lines
    if len(states) != len(generators):
        raise UserError(f"--network: {len(states)} names; {kind.name} has {len(generators)}")
    ordered = states if direction == "AtoB" else states[::-1]
    named = dict(zip(generators, ordered, strict=True))
    return module.from_official(named, direction, source), lines


def import_official(
    source: Path,
    output: Path,
    kind: type[Family],
    module: OfficialModule,
    direction: Direction,
    told: Told = NOTHING_TOLD,
    names: Sequence[str] = (),
    *,
    safetensors: bool = False,
) -> tuple[Path, list[str]]:
    """Write a checkpoint for `scripts/test.py`; arguments as for `read_official`.

    Returns:
        The file, and what was recognised.
    """
    family, lines = read_official(source, kind, module, direction, told, names)
    return _write(family, 0, output, "official", safetensors=safetensors), lines


def export_safetensors(source: Path, output: Path, families: FamilyTable) -> Path:
    """Write a checkpoint's options and (averaged) weights as a safetensors file; returns it."""
    state, file = load_state(source)
    family = from_state(state, families, file)
    return _write(family, state["step"], output, "model", safetensors=True)


def inference_state(family: Family, step: int) -> dict[str, Any]:
    """Return what a checkpoint for testing holds: options and weights."""
    return {
        "version": __version__,
        "family": family.name,
        "config": family.config.model_dump(mode="json"),
        "step": step,
        "networks": {name: network.state_dict() for name, network in family.networks.items()},
    }


def _refuse_suffix(output: Path, other: str) -> None:
    """Refuse an output named like a file of another form than is written."""
    if output.suffix == other:
        hint = "say --format safetensors" if other == ".safetensors" else "leave --format out"
        raise UserError(f"--output {output}: to write such a file, {hint}")


def _write(family: Family, step: int, output: Path, name: str, *, safetensors: bool) -> Path:
    """Write to `output`, or to a file of this name in the folder `output`."""
    suffix, write = (".safetensors", save_safetensors) if safetensors else (".pt", store.save)
    _refuse_suffix(output, ".pt" if safetensors else ".safetensors")
    path = output if output.suffix == suffix else output / f"{name}{suffix}"
    write(inference_state(family, step), path)
    return path


def export_official(
    source: Path, folder: Path, families: FamilyTable, modules: Mapping[str, OfficialModule]
) -> list[Path]:
    """Write a checkpoint's networks in the official layout; returns the files."""
    _refuse_suffix(folder, ".safetensors")
    state, file = load_state(source)
    family = from_state(state, families, file)
    if family.name not in modules:
        raise UserError(f"{file}: {family.name} has no official files; use --format safetensors")
    model = family.config.model
    if isinstance(model, NetworkOptions) and model.upsample != "transposed":
        raise UserError(
            f"{file}: model.upsample: {model.upsample} has no official files; use --format "
            "safetensors"
        )
    files = modules[family.name].to_files(family)
    for name, weights in files.items():
        content = io.BytesIO()  # torch.save itself does not say why a disk refuses
        if name.endswith(".safetensors"):
            content.write(save(dict(weights)))
        else:
            torch.save(weights, content)
        content.seek(0)
        write_file(folder / name, partial(copyfileobj, content))
    return [folder / name for name in files]
