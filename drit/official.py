"""Read released DRIT files into a family, and write them from one.

A run of the official code leaves `<epoch>.pth` every ten epochs: {network: state dict,
`<network>_opt`: Adam's state dict, `ep`: epoch just finished, from 0, `total_it`: full iterations
so far}.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from core.checkpoints.official_files import find_files, plain, read_file
from core.checkpoints.official_layout import build_official, keep_and_load, to_official
from core.errors import UserError
from core.options import Direction
from drit.family import DRIT, NETWORKS

NAMES = r"(?P<net>)(?P<epoch>\d+)\.pth$"
FOR_TESTING = ("enc_c", "enc_a", "gen")

_SIZES = (
    # network, layer, options that are the first two axes of its weight's shape
    ("enc_c", "convA.0.model.1", "dim", "input_dim_a"),
    ("enc_c", "convB.0.model.1", "dim", "input_dim_b"),
    ("enc_a", "conv_A.1", "dim", "input_dim_a"),
    ("enc_a", "conv_B.1", "dim", "input_dim_b"),
    ("enc_a", "model_a.1", "dim", "input_dim_a"),
    ("enc_a", "model_b.1", "dim", "input_dim_b"),
    ("enc_a", "fc_A.0", "nz", ""),
    ("enc_a", "model_a.16", "nz", ""),
    ("gen", "dec_share.0.model.1", "4 * dim", ""),
    ("gen", "mlpA.0", "4 * dim", "nz"),
    ("gen", "decA4.0", "", "input_dim_a"),
    ("gen", "decB4.0", "", "input_dim_b"),
    ("gen", "decA5.2", "", "input_dim_a"),
    ("gen", "decB5.2", "", "input_dim_b"),
    ("disContent", "model.0.model.1", "4 * dim", ""),
    ("disA", "Diss.0.0.model.1", "dim_dis", "input_dim_a"),
    ("disA", "model.0.model.1", "dim_dis", "input_dim_a"),
    ("disB", "Diss.0.0.model.1", "dim_dis", "input_dim_b"),
    ("disB", "model.0.model.1", "dim_dis", "input_dim_b"),
)


def read(path: Path) -> dict[str, Any]:
    """Read an official file, or the newest one in a folder; it must hold enc_c, enc_a and gen."""
    (path,) = find_files(path, NAMES, "", "official `<epoch>.pth`, e.g. 01199.pth").values()
    content = read_file(path)
    if not isinstance(content, Mapping) or not all(
        isinstance(content.get(name), Mapping) for name in FOR_TESTING
    ):
        raise UserError(f"{path}: not an official DRIT file, which holds enc_c, enc_a and gen")
    return dict(content)


def infer_model(states: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Any]:
    """Read the options that official networks were built with, as far as their keys tell."""
    model: dict[str, Any] = {}
    for network, layer, *options in _SIZES:
        weight = states.get(network, {}).get(f"{layer}.weight")
        for option, size in zip(options, () if weight is None else weight.shape, strict=False):
            factor, _, name = option.rpartition(" * ")
            if name:
                model.setdefault(name, size // int(factor or 1))
    if "enc_a" in states:
        model["concat"] = "fc_A.0.weight" in states["enc_a"]
    elif "gen" in states:
        model["concat"] = "mlpA.0.weight" not in states["gen"]
    gen = states.get("gen", {})
    if "decA2.0.model.0.weight" in gen:
        # 4 * dim + 2 * nz channels go in.
        model.setdefault("nz", (gen["decA2.0.model.0.weight"].shape[0] - 4 * model["dim"]) // 2)
    if "disA" in states:
        scales = {key.split(".")[1] for key in states["disA"] if key.startswith("Diss.")}
        model["dis_scale"] = len(scales) or 1
        model["dis_spectral_norm"] = any(key.endswith("weight_orig") for key in states["disA"])
    if "disContent" in states:
        kernels = [v.shape[-1] for k, v in states["disContent"].items() if k.endswith("weight")]
        model["num_layers_content"] = kernels.count(7)
    return model


def from_official(
    states: Mapping[str, Any], direction: Direction = "AtoB", source: object = ""
) -> DRIT:
    """Build a family with the given networks only; options are read off the keys and shapes.

    `states` is an official file's content, or a part of it: {network: official state dict}, and
    {`<network>_opt`: its Adam's state}. `direction` is what its A to B is in the data set's terms.
    """
    weights = plain({name: states[name] for name in NETWORKS if name in states})
    if not weights:
        raise UserError(f"{source}: holds none of {', '.join(NETWORKS)}")
    family = build_official(DRIT, infer_model(weights), source, {"direction": direction})
    keep_and_load(family.networks, weights, source)
    family.optimizers = {name: family.optimizers[name] for name in weights}
    for name, optimizer in family.optimizers.items():
        if f"{name}_opt" in states:
            load_optimizer(optimizer, states[f"{name}_opt"], f"{source}: {name}_opt")
    return family


def load_optimizer(optimizer: Optimizer, official: Mapping[str, Any], source: str) -> None:
    """Take over Adam's step counts and moments; rates and other options stay the optimizer's.

    Official ids are memory addresses; their order is that of the network's parameters.
    """
    ids = official["param_groups"][0]["params"]
    own = optimizer.state_dict()
    numbers = own["param_groups"][0]["params"]
    if len(ids) != len(numbers):
        raise UserError(f"{source}: {len(ids)} parameters, but the network has {len(numbers)}")
    state = {}
    for number, address in zip(numbers, ids, strict=True):
        if address in official["state"]:
            entry = official["state"][address]
            state[number] = {key: entry[key] for key in ("exp_avg", "exp_avg_sq")}
            state[number]["step"] = torch.tensor(float(entry["step"]))
    optimizer.load_state_dict({"state": state, "param_groups": own["param_groups"]})


def to_files(family: DRIT) -> dict[str, dict[str, Any]]:
    """Return {file name: content}; our checkpoints keep no official epoch, so it says 0."""
    networks = {name: to_official(network) for name, network in family.networks.items()}
    return {"00000.pth": {**networks, "ep": 0, "total_it": 0}}
