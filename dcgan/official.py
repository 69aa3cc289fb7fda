"""Read checkpoints of pytorch/examples `dcgan/main.py` into a family, and write them from one.

Its script leaves `netG_epoch_<n>.pth` and `netD_epoch_<n>.pth`, each a plain state dict with the
keys of `core.nn.dcgan`. Nobody released trained ones.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from core.checkpoints.official_files import find_files, plain, read_states
from core.checkpoints.official_layout import build_official, keep_and_load, to_official
from core.errors import UserError
from core.options import Direction
from core.text import Words
from dcgan.family import DCGAN

NAMES = r"(?P<net>net[GD])(_epoch_(?P<epoch>\d+)\.pth$)?"
EXPECTED = "netG_epoch_<n>.pth or netD_epoch_<n>.pth"
files = partial(find_files, pattern=NAMES, default="netG", expected=EXPECTED)
"""path -> {`netG`, `netD`: file}: the newest epoch of a folder, or one file."""


def read(path: Path) -> dict[str, dict[str, Tensor]]:
    """Read {official network name: state dict} at a path."""
    return read_states(files(path))


def from_official(
    states: Mapping[str, Mapping[str, Tensor]],
    direction: Direction = "AtoB",
    source: object = "",
    *,
    vocabulary: Words | None = None,
    **model: Any,
) -> DCGAN:
    """Build a family with the given networks only; sizes are read off the keys and shapes.

    `states` has `netG` and perhaps `netD`; `direction` means nothing for one domain. A conditional
    model needs its `vocabulary`, {attribute: values}, which its files do not hold. `model` is what
    else they do not tell, e.g. `slope_gen` or `objective`.

    Raises:
        UserError: no generator, other keys, or a conditional model without its vocabulary.
    """
    states = plain(states)
    if "netG" not in states:
        raise UserError(f"{source}: holds no generator (netG)")
    generator = states["netG"]
    convolutions = _convolutions(generator, "main.", source)
    image_size = 4 << (len(convolutions) - 1)
    nz, first = convolutions[0].shape[:2]
    widths = [weight.shape[1] for weight in convolutions[1:-1]]
    if not widths or first != 2 * widths[0]:
        raise UserError(
            f"{source}: {first} channels at 4x4 and {widths} after it; supported are twice as many "
            "at 4x4 as at 8x8"
        )
    model |= {"nc": convolutions[-1].shape[1], "ngf": widths}
    if "text.0.weight" in generator:
        projection_dim, condition_dim = generator["text.0.weight"].shape
        if sum(len(values) for values in (vocabulary or {}).values()) != condition_dim:
            raise UserError(
                f"{source}: a conditional model with conditions of length {condition_dim}; give "
                "the vocabulary of that size which it was trained with"
            )
        nz -= projection_dim
        text = {"projection_dim": projection_dim, "vocabulary": dict(vocabulary or {})}
        model["text"] = text | model.get("text", {})
    if "netD" in states:
        prefix = "image." if "text.0.weight" in states["netD"] else "main."
        of_dis = _convolutions(states["netD"], prefix, source)
        model["ndf"] = [w.shape[0] for w in (of_dis if prefix == "image." else of_dis[:-1])]
    data: dict[str, Any] = {"load_size": image_size, "crop_size": image_size}
    data |= {"tags": "tags.csv"} if "text" in model else {}
    family = build_official(DCGAN, model | {"nz": nz}, source, data)
    keep_and_load(family.networks, {name[-1]: state for name, state in states.items()}, source)
    return family


def _convolutions(state: Mapping[str, Tensor], prefix: str, source: object) -> list[Tensor]:
    """Return the weights of the convolutions of a container, in order."""
    positions = {
        int(key.removeprefix(prefix).partition(".")[0]): value
        for key, value in state.items()
        if key.startswith(prefix) and key.endswith(".weight") and value.dim() == 4
    }
    if len(positions) < 2:
        raise UserError(f"{source}: not the keys of a DCGAN ({prefix}0.weight, ...)")
    return [positions[position] for position in sorted(positions)]


def to_files(family: DCGAN) -> dict[str, dict[str, Tensor]]:
    """Return {file name: official state dict} for every network there is, as of the last epoch."""
    epoch = max(family.config.train.num_epochs - 1, 0)
    return {f"net{n}_epoch_{epoch}.pth": to_official(net) for n, net in family.networks.items()}
