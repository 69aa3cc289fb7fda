"""The state-dict layout of the official CycleGAN / pix2pix files, both ways.

The networks here have the official names except the U-Net, whose nesting is undone. Released files
carry running statistics of instance norms that must be dropped, never used; batch norm entries of
the same names belong to the network. Which is which is told by the kind of layer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from core.checkpoints.store import load_network
from core.errors import UserError

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@runtime_checkable
class HasOfficialKeys(Protocol):
    """A network whose modules are named otherwise than in the official files."""

    def official_keys(self) -> dict[str, str]:
        """Return {our prefix: official prefix}."""


def official_names(network: nn.Module) -> dict[str, str]:
    """{official key: ours} for every key of the network."""
    prefixes = network.official_keys() if isinstance(network, HasOfficialKeys) else {}
    names = {}
    for key in network.state_dict():
        prefix, _, leaf = key.rpartition(".")
        names[f"{prefixes.get(prefix, prefix)}.{leaf}"] = key
    return names


def _instance_norms(network: nn.Module) -> set[str]:
    """Official prefixes of the instance norms."""
    prefixes = network.official_keys() if isinstance(network, HasOfficialKeys) else {}
    return {
        prefixes.get(name, name)
        for name, module in network.named_modules()
        if isinstance(module, nn.InstanceNorm2d)
    }


def load_official(
    network: nn.Module, state: Mapping[str, Tensor], name: str, source: object
) -> None:
    """Load an official state dict into `network`, strictly.

    Instance-norm statistics of old files are dropped, a `module.` prefix is removed, and a batch
    norm's `num_batches_tracked` may be missing (files before PyTorch 0.4.1).

    Args:
        network: a generator or discriminator of `core.nn`.
        state: {official key: tensor}.
        name: the network's name, for errors.
        source: the file, for errors.

    Raises:
        UserError: keys or shapes disagree.
    """
    names, dropped = official_names(network), _instance_norms(network)
    own = network.state_dict()
    loaded: dict[str, Tensor] = {}
    for raw, value in state.items():
        key = raw.removeprefix("module.")
        prefix, _, leaf = key.rpartition(".")
        if leaf in _STATISTICS and prefix in dropped:
            continue
        loaded[names.get(key, key)] = value
    for key in own:
        if key.endswith("num_batches_tracked"):
            loaded.setdefault(key, own[key])
    load_network(network, loaded, name, source)


def to_official(network: nn.Module) -> dict[str, Tensor]:
    """The network's state dict under the official keys, contiguous, on the CPU."""
    own = network.state_dict()
    return {
        official: own[ours].detach().cpu().contiguous()
        for official, ours in official_names(network).items()
    }


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


def official_files(networks: Mapping[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    """{official file name: official state dict} for every network."""
    return {f"latest_net_{name}.pth": to_official(net) for name, net in networks.items()}


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix("module."): value for key, value in state.items()}


def infer_generator(state: Mapping[str, Tensor], source: object) -> dict[str, Any]:
    """The options that a generator's official state dict was built with.

    Returns:
        `generator`, `input_nc`, `output_nc`, `ngf`, `norm`, and `dropout` where the keys tell it
        (a U-Net's do not).
    """
    state = _plain(state)
    if "model.model.0.weight" in state:
        depth = max(key.count(".model.") for key in state)
        if depth not in (7, 8):
            raise UserError(f"{source}: a U-Net of {depth} levels; supported are 7 and 8")
        first, last = state["model.model.0.weight"], state.get("model.model.3.weight")
        if last is None:
            raise UserError(f"{source}: a U-Net without its last convolution; not official")
        batch = "model.model.1.model.2.weight" in state
        biased = "model.model.0.bias" in state
        return {
            "generator": "unet_256" if depth == 8 else "unet_128",
            "input_nc": first.shape[1],
            "output_nc": last.shape[1],
            "ngf": first.shape[0],
            "norm": "batch" if batch else "instance" if biased else "none",
        }
    if "model.1.weight" not in state:
        raise UserError(f"{source}: neither an official ResNet nor U-Net generator's keys")
    found = (re.match(r"model\.(\d+)\.conv_block\.", key) for key in state)
    blocks = {int(match[1]) for match in found if match}
    if len(blocks) not in (6, 9):
        raise UserError(f"{source}: {len(blocks)} residual blocks; supported are 6 and 9")
    last = state.get(f"model.{10 + len(blocks) + 7}.weight")
    if last is None:
        raise UserError(f"{source}: a ResNet generator without its last convolution; not official")
    batch, biased = "model.2.weight" in state, "model.1.bias" in state
    return {
        "generator": f"resnet_{len(blocks)}blocks",
        "input_nc": state["model.1.weight"].shape[1],
        "output_nc": last.shape[0],
        "ngf": state["model.1.weight"].shape[0],
        "norm": "batch" if batch else "instance" if biased else "none",
        # Dropout shifts the second convolution from conv_block.5 to .6, where a norm stands else.
        "dropout": "model.10.conv_block.5.weight" not in state,
    }


def infer_discriminator(state: Mapping[str, Tensor], source: object) -> dict[str, Any]:
    """`discriminator`, `num_layers_dis` and `ndf` of an official state dict."""
    state = _plain(state)
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


def find_files(path: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """{network: file} of an official set.

    `path` is a folder with `<epoch>_net_<NET>.pth` (the newest epoch; `latest` wins), or one file
    of that form, which stands for itself. A bare `*_net_G.pth` or any other name is `G`.
    """
    pattern = re.compile(r"(?P<epoch>.+)_net_(?P<net>[A-Za-z_]+)\.pth$")
    if path.is_file():
        match = pattern.match(path.name)
        return {match["net"] if match and match["net"] in names else "G": path}
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder")
    sets: dict[str, dict[str, Any]] = {}
    for file in sorted(path.glob("*_net_*.pth")):
        match = pattern.match(file.name)
        if match and match["net"] in names:
            sets.setdefault(match["epoch"], {})[match["net"]] = file
    if not sets:
        raise UserError(f"{path}: no `<epoch>_net_<NET>.pth` with NET in {', '.join(names)}")

    def age(epoch: str) -> tuple[bool, int]:
        return epoch == "latest", int(re.sub(r"\D", "", epoch) or 0)

    return sets[max(sets, key=age)]
