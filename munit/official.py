"""Read released MUNIT and UNIT files into a family, and write them from one.

A run of the official code leaves `gen_<n>.pt` and `dis_<n>.pt`, each {'a': state dict, 'b': state
dict}, after n iterations; a released model (`edges2shoes.pt`) is a generator file. Both families
have them, and their keys tell which one a file belongs to.

The AdaIN layers of the official decoder carry buffers, `running_mean` and `running_var`, that are
saved but never used: they are dropped on reading, and written as the official code makes them
(`official_constants`), so that it loads our files strictly. Files from PyTorch 0.3 also hold
running statistics of the content encoder's instance norms, which are dropped for good.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from core.checkpoints.official_files import find_files, plain, read_states
from core.checkpoints.official_layout import build_official, keep_and_load, to_official
from core.errors import UserError
from core.options import Direction
from munit.family import MUNIT
from munit.unit import UNIT

NAMES = r"(?P<net>gen|dis)_((?P<epoch>\d+)\.pt$)?"
EXPECTED = "`gen_<iterations>.pt`; name a released file itself"
files = partial(find_files, pattern=NAMES, default="gen", expected=EXPECTED)
"""path -> {`gen` or `dis`: file} at a path: one of either kind, or the newest of a folder."""


def read(path: Path) -> dict[str, dict[str, Tensor]]:
    """Read {official network name: state dict} at a path."""
    return read_states(files(path))


def from_official(
    states: Mapping[str, Mapping[str, Tensor]], direction: Direction = "AtoB", source: object = ""
) -> MUNIT | UNIT:
    """Build a family with the given networks only; options are read off the keys and shapes.

    Activations but `prelu`, padding types and the discriminators' instance norm leave no trace in a
    file: they are taken to be the published ones. `states` has `gen_a`, `gen_b`, and perhaps
    `dis_a`, `dis_b`; `direction` is what the model's a and b are in the data set's terms.

    Raises:
        UserError: a generator is missing, or keys and shapes are not those of MUNIT or UNIT.
    """
    states = plain(states)
    for name in ("gen_a", "gen_b"):
        if name not in states:
            raise UserError(f"{source}: holds no generator {name[-1]!r}; both are needed")
    styles = any(key.startswith("enc_style.") for key in states["gen_a"])
    model: dict[str, Any] = {"gen": infer_generator(states["gen_a"], source)}
    for domain in "ab":
        prefix = "enc_content" if styles else "enc"
        first = _entry(states[f"gen_{domain}"], f"{prefix}.model.0.conv.weight", source)
        model[f"input_dim_{domain}"] = first.shape[1]
    if "dis_a" in states:
        model["dis"] = infer_discriminator(states["dis_a"], source)
    kind: type[MUNIT] | type[UNIT] = MUNIT if styles else UNIT
    family = build_official(kind, model, source, {"direction": direction})
    keep_and_load(family.networks, states, source)
    return family


def to_files(family: MUNIT | UNIT) -> dict[str, dict[str, dict[str, Tensor]]]:
    """Return {file name: {'a' and 'b': official state dict}} for the networks there are.

    The published training script reads its iteration off the name; rename the files to go on
    from another one than 0.
    """
    written: dict[str, dict[str, dict[str, Tensor]]] = {}
    for name, network in family.networks.items():
        kind, _, domain = name.partition("_")
        written.setdefault(f"{kind}_00000000.pt", {})[domain] = to_official(network)
    return written


def _entry(state: Mapping[str, Tensor], key: str, source: object) -> Tensor:
    if key not in state:
        raise UserError(f"{source}: lacks `{key}`; not a generator or discriminator of MUNIT")
    return state[key]


def _places(state: Mapping[str, Tensor], pattern: str) -> int:
    """Count the different numbers that the keys have in the first group of the pattern."""
    return len({match[1] for key in state if (match := re.match(pattern, key))})


def infer_generator(state: Mapping[str, Tensor], source: object) -> dict[str, Any]:
    """Read `dim`, `n_downsample`, `n_res`, with styles also `style_dim` and `mlp_dim`."""
    enc = "enc_content" if "enc_content.model.0.conv.weight" in state else "enc"
    n_convs = _places(state, rf"{enc}\.model\.(\d+)\.conv\.weight")
    options: dict[str, Any] = {
        "dim": _entry(state, f"{enc}.model.0.conv.weight", source).shape[0],
        "n_downsample": n_convs - 1,
        "n_res": _places(state, rf"{enc}\.model\.{n_convs}\.model\.(\d+)\."),
    }
    if f"{enc}.model.0.activation.weight" in state:
        options["activ"] = "prelu"
    if enc == "enc_content":
        first = _entry(state, "mlp.model.0.fc.weight", source)
        options |= {"mlp_dim": first.shape[0], "style_dim": first.shape[1]}
    return options


def infer_discriminator(state: Mapping[str, Tensor], source: object) -> dict[str, Any]:
    """Read `dim`, `n_layer`, `num_scales` and `norm` (`in` looks like `none`)."""
    norms = {"norm.running_mean": "bn", "norm.gamma": "ln", "conv.module.weight_bar": "sn"}
    found = [norm for leaf, norm in norms.items() if f"cnns.0.1.{leaf}" in state]
    prelu = "cnns.0.0.activation.weight" in state
    return {
        "dim": _entry(state, "cnns.0.0.conv.weight", source).shape[0],
        # The last convolution stands by itself and not in a block.
        "n_layer": _places(state, r"cnns\.0\.(\d+)\.conv\."),
        "num_scales": _places(state, r"cnns\.(\d+)\."),
        "norm": found[0] if found else "none",
    } | ({"activ": "prelu"} if prelu else {})
