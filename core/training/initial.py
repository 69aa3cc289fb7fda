"""Weights of another training that a new run begins with, in place of random ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from core.checkpoints import store
from core.config import differing
from core.convert.official import OfficialModule, read_official
from core.convert.structure import NOTHING_TOLD
from core.errors import UserError
from core.family import Family
from core.inference import safe_files
from core.inference.loading import load_state


@dataclass(frozen=True)
class Initial:
    """Networks of a checkpoint, to be taken whole where they fit.

    Attributes:
        source: where they come from, for a person.
        networks: {network: state dict}.
        only: the ones that are wanted, all of which must fit; empty: whatever fits.
        model: the `model` options that they were made with; empty if not known.
    """

    source: str
    networks: Mapping[str, Mapping[str, Tensor]]
    only: tuple[str, ...] = ()
    model: Mapping[str, Any] | None = None

    def give(self, family: Family) -> list[str]:
        """Load the networks that fit into a family that was just built.

        Returns:
            A table for a person: the source, a line for each network of the family that says
            whether it was taken and otherwise why not, and the model options that differ.

        Raises:
            UserError: a network that is wanted is unknown or does not fit, or none fits.
        """
        if unknown := [name for name in self.only if name not in family.networks]:
            raise UserError(
                f"--init-only {','.join(unknown)}: no such network; {family.name} has "
                f"{', '.join(family.networks)}"
            )
        why = {name: self._obstacle(name, family) for name in family.networks}
        if missing := [name for name in self.only if why[name]]:
            raise UserError(f"{self.source}: network {missing[0]}: {why[missing[0]]}")
        if all(why.values()):
            reasons = "; ".join(f"{name}: {reason}" for name, reason in why.items())
            raise UserError(f"{self.source}: no network fits {family.name}: {reasons}")
        for name, reason in why.items():
            if not reason:
                store.load_network(family.networks[name], self.networks[name], name, self.source)
        width = max(map(len, why))
        lines = [f"weights of {self.source}:"]
        lines += [f"  {name:{width}}  {f'new: {r}' if r else 'taken'}" for name, r in why.items()]
        here = family.config.model_dump(mode="json").get("model", {})
        apart = differing(here, self.model or {})
        lines += [f"  model.{key} was {then!r}, is {now!r}" for key, now, then in apart]
        return lines

    def _obstacle(self, name: str, family: Family) -> str:
        """Why a network is not taken; empty if it is."""
        if self.only and name not in self.only:
            return "not asked for"
        if name not in self.networks:
            return "not in the checkpoint"
        return store.misfit(family.networks[name], self.networks[name])


def read_initial(
    path: Path,
    kind: type[Family],
    config: Any,
    official: Mapping[str, OfficialModule],
    only: tuple[str, ...] = (),
) -> Initial:
    """Read the networks of a checkpoint of ours, or of files that `scripts/convert.py` reads.

    Args:
        path: as of `core.inference.loading.load_state`; or official files, or a single file with
            generators of another code, as of `core.convert.official.read_official`.
        kind: the family of the run to begin.
        config: its options.
        official: {family: reader of its released files}.
        only: as in `Initial`.

    Raises:
        UserError: nothing readable there.
    """
    if store.is_ours(path) or safe_files.is_ours(path):
        state, file = load_state(path)
        return Initial(str(file), state["networks"], only, state["config"].get("model"))
    if config.family not in official:
        raise UserError(f"{path}: not a checkpoint of this project")
    module, direction = official[config.family], config.data.direction
    try:
        family, _ = read_official(path, kind, module, direction, NOTHING_TOLD)
    except UserError as error:
        if "--norm" not in str(error) and "--padding" not in str(error):
            raise
        raise UserError(
            f"{error} to scripts/convert.py, and begin with the checkpoint that it writes"
        ) from None
    networks = {name: network.state_dict() for name, network in family.networks.items()}
    return Initial(str(path), networks, only)
