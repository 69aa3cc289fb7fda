"""Official state dicts in and out of a family's networks.

The networks here have the official names except where they say otherwise (`HasOfficialKeys`).
Released files carry running statistics of instance norms that must be dropped, never used; batch
norm entries of the same names belong to the network, and are told by its having them.

Options of the official CycleGAN and pix2pix networks are read off their keys and shapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from core.checkpoints.store import load_network
from core.config import validate
from core.errors import UserError
from core.family import Family

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")

F = TypeVar("F", bound=Family)


@runtime_checkable
class HasOfficialKeys(Protocol):
    """A network whose modules are named otherwise than in the official files."""

    def official_keys(self) -> dict[str, str]:
        """Return {our prefix: official prefix} where they differ."""


@runtime_checkable
class HasOfficialConstants(Protocol):
    """A network whose official files hold what is no weight and never changes."""

    def official_constants(self) -> dict[str, Tensor]:
        """Return {official key: the value that it has in every file}."""


def official_constants(network: nn.Module) -> dict[str, Tensor]:
    """Return the entries of an official file that the network itself does not keep."""
    return network.official_constants() if isinstance(network, HasOfficialConstants) else {}


def official_names(network: nn.Module) -> dict[str, str]:
    """Return {official key: ours} for every key of the network."""
    prefixes = network.official_keys() if isinstance(network, HasOfficialKeys) else {}
    names = {}
    for key in network.state_dict():
        prefix, _, leaf = key.rpartition(".")
        names[f"{prefixes.get(prefix, prefix)}.{leaf}"] = key
    return names


def to_official(network: nn.Module) -> dict[str, Tensor]:
    """Return the network's state dict under the official keys, contiguous, on the CPU."""
    own = network.state_dict()
    state = {
        official: own[ours].detach().cpu().contiguous()
        for official, ours in official_names(network).items()
    }
    return state | official_constants(network)


def load_official(
    network: nn.Module, state: Mapping[str, Tensor], name: str, source: object
) -> None:
    """Load an official state dict into `network`, strictly but for running statistics.

    Those that the network does not keep are dropped (old instance norms, unused buffers), and a
    batch norm's `num_batches_tracked` may be missing (files before PyTorch 0.4.1). Other constants
    must be the published ones.

    Args:
        network: one with the official architecture.
        state: {official key: tensor}.
        name: the network's name, for errors.
        source: the file, for errors.

    Raises:
        UserError: keys, shapes or constants disagree.
    """
    names, constants = official_names(network), official_constants(network)
    own = network.state_dict()
    loaded = {key: value for key, value in own.items() if key.endswith("num_batches_tracked")}
    for key, value in state.items():
        if key not in names and key.endswith(STATISTICS):
            continue
        if key not in constants:
            loaded[names.get(key, key)] = value
        elif not torch.equal(value.float(), constants[key]):
            raise UserError(f"{source}: {name}: `{key}` is not the constant that it always is")
    load_network(network, loaded, name, source)


def keep_and_load(
    networks: dict[str, nn.Module], states: Mapping[str, Mapping[str, Tensor]], source: object
) -> None:
    """Load every network that has an official state dict, and drop the others from `networks`.

    Raises:
        UserError: as `load_official`.
    """
    for name in [name for name in networks if name not in states]:
        del networks[name]
    for name, network in networks.items():
        load_official(network, states[name], name, source)


def build_official(
    kind: type[F], model: Mapping[str, Any], source: object, data: Mapping[str, Any] | None = None
) -> F:
    """Build a family with options read off official files, and with initial weights.

    Args:
        kind: the family.
        model: its section `model`.
        source: file or folder, for errors.
        data: its section `data`, but for the root.
    """
    tree = {"family": kind.name, "name": "official", "model": model}
    tree["data"] = {"root": "", **(data or {})}
    return kind.build(validate(kind.Config, tree, source=str(source)))


def official_files(networks: Mapping[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    """Return {`latest_net_<NET>.pth`: official state dict} for every network."""
    return {f"latest_net_{name}.pth": to_official(net) for name, net in networks.items()}


def _norm(state: Mapping[str, Tensor], norm: str, conv: str) -> str:
    """Tell the kind of the norm that stands after a convolution."""
    if f"{norm}.weight" in state:
        return "batch" if f"{norm}.running_mean" in state else "instance_affine"
    return "instance" if f"{conv}.bias" in state else "none"


def infer_generator(state: Mapping[str, Tensor], source: object) -> dict[str, Any]:
    """Read the options that a generator's official state dict was built with off its keys.

    Returns:
        `generator`, `input_nc`, `output_nc`, `ngf`, `norm`, and `dropout` where the keys tell it
        (a U-Net's do not).
    """
    if "model.model.0.weight" in state:
        depth = max(key.count(".model.") for key in state)
        if not 5 <= depth <= 10:
            raise UserError(f"{source}: a U-Net of {depth} levels; supported are 5 to 10")
        first, last = state["model.model.0.weight"], state.get("model.model.3.weight")
        if last is None:
            raise UserError(f"{source}: a U-Net without its last convolution; not official")
        return {
            "generator": f"unet_{2**depth}",
            "input_nc": first.shape[1],
            "output_nc": last.shape[1],
            "ngf": first.shape[0],
            "norm": _norm(state, "model.model.1.model.2", "model.model.0"),
        }
    if "model.1.weight" not in state:
        raise UserError(f"{source}: neither an official ResNet nor U-Net generator's keys")
    found = (re.match(r"model\.(\d+)\.conv_block\.", key) for key in state)
    blocks = {int(match[1]) for match in found if match}
    if not blocks:
        raise UserError(f"{source}: a ResNet generator without residual blocks; not official")
    last = state.get(f"model.{10 + len(blocks) + 7}.weight")
    if last is None:
        raise UserError(f"{source}: a ResNet generator without its last convolution; not official")
    return {
        "generator": f"resnet_{len(blocks)}blocks",
        "input_nc": state["model.1.weight"].shape[1],
        "output_nc": last.shape[0],
        "ngf": state["model.1.weight"].shape[0],
        "norm": _norm(state, "model.2", "model.1"),
        # Dropout shifts the second convolution from conv_block.5 to .6, where a norm stands else.
        "dropout": "model.10.conv_block.5.weight" not in state,
    }


def infer_discriminator(state: Mapping[str, Tensor], source: object) -> dict[str, Any]:
    """Read `discriminator`, `num_layers_dis` and `ndf` off an official state dict."""
    if "net.0.weight" in state:
        return {"discriminator": "pixel", "ndf": state["net.0.weight"].shape[0]}
    if "model.0.weight" not in state:
        raise UserError(f"{source}: not an official discriminator's keys")
    last = max(int(match[1]) for key in state if (match := re.match(r"model\.(\d+)\.", key)))
    layers = (last - 2) // 3
    return {
        "discriminator": "basic" if layers == 3 else "n_layers",
        "num_layers_dis": layers,
        "ndf": state["model.0.weight"].shape[0],
    }
