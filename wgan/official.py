"""Read files of the published WGAN codes into a family, and write them from one.

The official WGAN leaves `netG_epoch_<epoch>.pth` and `netD_epoch_<epoch>.pth`
(martinarjovsky/WassersteinGAN, `main.py`). Its keys name each layer by role and width,
`main.pyramid:512-256:convt.weight`; keys by position, `main.3.weight`, are read as well. Options
are read off the shapes, not off the `generator_config.json` beside them.

Nothing was released of the WGAN-GP networks. Those of the PyTorch port keep its module names; the
residual ones have the TensorFlow scopes as modules, `Res1.Conv1.weight`. The authors' code knows no
running statistics and always normalises by the batch at hand: ours are written, and may be missing
from what is read, but then the generator is to be run in train mode until it has been trained here.
"""

import math
import re
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from core.checkpoints.official_files import find_files, plain, read_states
from core.checkpoints.official_layout import STATISTICS, build_official, keep_and_load, to_official
from core.errors import UserError
from core.nn.dcgan import DcganDiscriminator, DcganGenerator
from core.options import Direction
from wgan.family import WGAN
from wgan.networks import ResidualGenerator

NAMES = r"(?P<net>net[GD])(_epoch_(?P<epoch>\d+)\.pth$)?"
EXPECTED = "`netG_epoch_<epoch>.pth` or `netD_epoch_<epoch>.pth`"
files = partial(find_files, pattern=NAMES, default="netG", expected=EXPECTED)
"""path -> {`netG`, `netD`: file}: the newest epoch of a folder, or one file."""


def read(path: Path) -> dict[str, dict[str, Tensor]]:
    """Read {official network name: state dict} at a path."""
    return read_states(files(path))


def role_names(network: nn.Module) -> dict[str, str]:
    """Return {key by position: key by role and width}; empty where the source has no roles."""
    if not isinstance(network, DcganGenerator | DcganDiscriminator) or network.condition_dim:
        return {}
    layers = list(network.main)
    if any(isinstance(layer, nn.GroupNorm) for layer in layers):
        return {}
    kind = "convt" if isinstance(network, DcganGenerator) else "conv"
    names, width = {}, 0
    for index, layer in enumerate(layers):
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            last = not any(True for later in layers[index + 1 :] if list(later.parameters()))
            role = "initial" if index == 0 else "final" if last else "pyramid"
            width = layer.out_channels
            names[index] = f"{role}:{layer.in_channels}-{width}:{kind}"
        else:
            names[index] = f"{'initial' if index == 1 else 'pyramid'}:{width}:batchnorm"
    keys = {}
    for key in network.state_dict():
        _, position, leaf = key.split(".")
        keys[key] = f"main.{names[int(position)]}.{leaf}"
    return keys


def _by_position(state: Mapping[str, Tensor], source: object) -> dict[str, Tensor]:
    """Return the state under keys by position, whichever it has."""
    if not any(":" in key for key in state):
        return dict(state)
    position, layer, result = -2, "", {}
    for key, value in state.items():
        match = re.fullmatch(r"main\.((?:initial|pyramid|final):.*:(convt?|batchnorm))\.(\w+)", key)
        if match is None:
            raise UserError(
                f"{source}: `{key}` is no layer of the official DCGAN networks without extra layers"
            )
        if match[1] != layer:
            # A norm follows its convolution; before the next convolution stands an activation.
            position += 1 if match[2] == "batchnorm" else 2
            layer = match[1]
        result[f"main.{position}.{match[3]}"] = value
    return result


def _need(state: Mapping[str, Tensor], key: str, source: object) -> Tensor:
    if key not in state:
        raise UserError(f"{source}: no `{key}`; not one of the published networks")
    return state[key]


def _width(channels: list[int]) -> int | list[int]:
    """Return one number where widths double from the first on, else the list."""
    doubling = all(b == 2 * a for a, b in pairwise(channels))
    return channels[0] if doubling else channels


def _dcgan_norm(state: Mapping[str, Tensor]) -> str:
    if any(key.endswith("running_mean") for key in state):
        return "batch"
    return "layer" if any(value.dim() == 1 for value in state.values()) else "none"


def _mlp_image(numbers: int) -> tuple[int, int]:
    """Return channels and side of the square image that so many numbers are."""
    sides = {channels: math.isqrt(numbers // channels) for channels in (3, 1, 4)}
    fitting = [(c, side) for c, side in sides.items() if c * side**2 == numbers]
    return fitting[0] if fitting else (3, sides[3])


def infer_generator(state: Mapping[str, Tensor], source: object) -> tuple[dict[str, Any], int]:
    """Read the options of `model` that a generator was built with, and the side of its images."""
    if "Input.weight" in state:
        out, first = _need(state, "Output.weight", source), state["Input.weight"]
        blocks = sum(key.endswith("Conv1.weight") for key in state)
        model = {"generator": "resnet", "ngf": out.shape[1], "nc": out.shape[0]}
        return model | {"nz": first.shape[1]}, 4 << blocks
    if "preprocess.0.weight" in state:
        out, first = _need(state, "deconv_out.weight", source), state["preprocess.0.weight"]
        name = "cifar10" if "preprocess.1.weight" in state else "mnist"
        model = {"generator": name, "ngf": out.shape[0], "nc": out.shape[1]}
        return model | {"nz": first.shape[1]}, 32 if name == "cifar10" else 28
    first = _need(state, "main.0.weight", source)
    if first.dim() == 2:
        nc, side = _mlp_image(_need(state, "main.6.weight", source).shape[0])
        model = {"generator": "mlp", "ngf": first.shape[0], "nc": nc}
        return model | {"nz": first.shape[1]}, side
    shapes = [value.shape for value in state.values() if value.dim() == 4]
    channels = [shape[0] for shape in shapes[1:]]  # at 4x4, 8x8, ...
    width = _width(channels[::-1])
    model = {
        "generator": "dcgan",
        "nz": first.shape[0],
        "ngf": width if isinstance(width, int) else channels[1:],
        "nc": shapes[-1][1],
        "norm_gen": _dcgan_norm(state),
    }
    return model, 4 << len(channels)


def infer_critic(state: Mapping[str, Tensor], source: object) -> tuple[dict[str, Any], int]:
    """Read the options of `model` that a critic was built with, and the side of its images."""
    if "Res1.Conv1.weight" in state:
        blocks = sum(key.endswith("Conv1.weight") for key in state)
        small = "Input.weight" not in state
        first = state["Res1.Conv1.weight" if small else "Input.weight"]
        norm = "layer" if "Res2.BN1.weight" in state else "none"
        model = {"critic": "resnet", "ndf": first.shape[0], "nc": first.shape[1]}
        return model | {"norm_critic": norm}, 32 if small else 4 << blocks
    first = _need(state, "main.0.weight", source)
    if "linear.weight" in state or "output.weight" in state:
        name = "cifar10" if "linear.weight" in state else "mnist"
        model = {"critic": name, "ndf": first.shape[0], "nc": first.shape[1]}
        return model | {"norm_critic": "none"}, 32 if name == "cifar10" else 28
    if first.dim() == 2:
        nc, side = _mlp_image(first.shape[1])
        return {"critic": "mlp", "ndf": first.shape[0], "nc": nc, "norm_critic": "none"}, side
    channels = [value.shape[0] for value in state.values() if value.dim() == 4][:-1]
    model = {
        "critic": "dcgan",
        "ndf": _width(channels),
        "nc": first.shape[1],
        "norm_critic": _dcgan_norm(state),
    }
    return model, 4 << len(channels)


def from_official(
    states: Mapping[str, Mapping[str, Tensor]], direction: Direction = "AtoB", source: object = ""
) -> WGAN:
    """Build a family with the given networks only; options are read off the keys and shapes.

    `states` has `netG`, `netD` or both; `direction` means nothing for one domain. How the critic
    was constrained cannot be read off; with batch norm it can only have been by clipping.

    Raises:
        UserError: networks that are not the published ones.
    """
    states = {name: _by_position(state, source) for name, state in plain(states).items()}
    model: dict[str, Any] = {}
    sizes = set()
    if "netG" in states:
        found, size = infer_generator(states["netG"], source)
        model |= {"critic": found["generator"], "norm_critic": "none"} | found
        sizes.add(size)
    if "netD" in states:
        found, size = infer_critic(states["netD"], source)
        model = {"generator": found["critic"]} | model | found
        sizes.add(size)
    if not sizes:
        raise UserError(f"{source}: holds neither netG nor netD")
    if len(sizes) != 1:
        raise UserError(
            f"{source}: generator and critic are of different sizes: {sorted(sizes)} px"
        )
    if model["norm_critic"] == "batch":
        model["constraint"] = "clip"
    size = sizes.pop()
    family = build_official(WGAN, model, source, {"load_size": size, "crop_size": size})
    own = {name.removeprefix("net"): state for name, state in states.items()}
    if "G" in own and isinstance(family.networks["G"], ResidualGenerator):
        # The authors' code keeps no statistics.
        initial = to_official(family.networks["G"])
        statistics = {k: v for k, v in initial.items() if k.endswith(STATISTICS)}
        own["G"] = {**statistics, **own["G"]}
    keep_and_load(family.networks, own, source)
    return family


def to_files(family: WGAN) -> dict[str, dict[str, Tensor]]:
    """Return {file name: official state dict}, with keys by role where the source has them."""
    states = {}
    for name, network in family.networks.items():
        roles = role_names(network)
        state = {roles.get(key, key): value for key, value in to_official(network).items()}
        states[f"net{name}_epoch_0.pth"] = state
    return states
