"""DRIT's schedules, and going on from an official file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.family import ImageBatch, Place
from core.options import OptimOptions
from core.training.schedule import Schedule
from core.training.update import Updater
from drit.config import Optim
from drit.official import from_official, read
from tests.reference.cases import Case, each, no_initial_weights
from tests.reference.drit_cases import Steps, losses_agree, outputs_agree, stage_agrees
from tests.reference.training import every_dtype
from tests.small import family


def rates(options: OptimOptions, table: dict[str, Any], epochs: int) -> list[float]:
    """Our rate in each epoch of a table; e is counted from 1 here."""
    optimizer = torch.optim.Adam(nn.Linear(1, 1).parameters(), lr=options.lr)
    decay = table["n_ep"] - table["n_ep_decay"]
    schedule = Schedule([optimizer], options, table["n_ep_decay"], decay)
    found = []
    for epoch in range(table["first_epoch"], table["first_epoch"] + epochs):
        schedule.advance(epoch + 1)
        found.append(optimizer.param_groups[0]["lr"])
    return found


@each("drit/schedule")
def test_learning_rates(case: Case) -> None:
    hyper, rel = case.hyper, case.data["tolerance"]["rtol"]
    with np.load(case.folder / "golden.npz") as file:  # float64, unlike other cases
        golden = {name: file[name] for name in file.files}
    ratio = hyper["base_lr_content_discriminator"] / hyper["base_lr"]
    assert Optim().rate_content == pytest.approx(ratio, rel=rel)
    for name, table in hyper["tables"].items():
        policy = {"lambda": Optim().policy, "step": "step"}[table["lr_policy"]]
        options = Optim(lr=hyper["base_lr"], policy=policy)
        if policy == "step":
            options = options.model_copy(update={"decay_every": table["n_ep_decay"]})
        for suffix, share in (("", 1.0), ("_content_discriminator", ratio)):
            expected = golden[f"{name}_current_lr{suffix}"]
            scaled = options.model_copy(update={"lr": options.lr * share})
            if table["n_ep_decay"] < 0:  # never stepped: a constant rate, a little below the full
                constant = scaled.lr * (1 - 1 / (table["n_ep"] + 2))
                scaled = scaled.model_copy(update={"lr": constant, "policy": "constant"})
            ours = rates(scaled, table, len(expected))
            assert ours == pytest.approx(expected.tolist(), rel=rel, abs=0), table


@each("drit/schedule")
def test_which_iterations_are_full(case: Case) -> None:
    """Our loader fills up an incomplete last batch, which the official loop skips."""
    images = torch.zeros(2, 3, 8, 8)
    for row in case.data["d_iter_table"]:
        built = family("drit", {"d_iter": row["d_iter"]})
        length = row["loader_length"]
        for number, action in enumerate(row["actions"]):
            batch = ImageBatch(images, images, (), (), Place(number, length))
            if action != "skipped":
                assert built.is_full(batch, step=1000 + number) == (action == "full"), row


def official_file(case: Case) -> dict[str, Any]:
    """A checkpoint by the case's rule."""
    hyper, (network,) = case.hyper, case.data["spec"]
    spec, seed = case.data["spec"][network], case.data["seed"]

    def moment(key: str, name: str, shape: list[int]) -> Tensor:
        return torch.from_numpy(case.rule.noise(f"{key}/{name}", shape, seed))

    first, step = hyper["parameter_id_first"], hyper["parameter_id_step"]
    ids = [first + i * step for i in range(len(spec))]
    state = {
        address: {
            "step": hyper["checkpoint_step"],
            "exp_avg": 0.001 * moment(key, "exp_avg", shape),
            "exp_avg_sq": 0.00001 * moment(key, "exp_avg_sq", shape).square(),
        }
        for address, (key, shape) in zip(ids, spec.items(), strict=True)
    }
    group = {"lr": hyper["checkpoint_lr"], "initial_lr": hyper["initial_lr"], "amsgrad": False}
    group |= {"betas": tuple(hyper["betas"]), "eps": hyper["eps"], "params": ids}
    group["weight_decay"] = hyper["weight_decay"]
    return {
        network: case.weights(network),
        f"{network}_opt": {"state": state, "param_groups": [group]},
        "ep": hyper["checkpoint_ep"],
        "total_it": 1,
    }


@each("drit/resume")
@every_dtype
def test_resumed_step(case: Case, dtype: torch.dtype, tmp_path: Path) -> None:
    hyper, (name,) = case.hyper, case.data["spec"]
    path = tmp_path / "00699.pth"
    torch.save(official_file(case), path)
    states = torch.load(path, weights_only=True)
    with no_initial_weights():
        built = from_official(states, source=path)
    network, optimizer = built.networks[name].to(dtype), built.optimizers[name]
    optimizer.load_state_dict(optimizer.state_dict())  # moments follow the network's type
    schedule = Schedule(
        [optimizer], built.config.optim, hyper["n_ep_decay"], hyper["n_ep"] - hyper["n_ep_decay"]
    )
    schedule.advance(hyper["checkpoint_ep"] + 2)  # the next epoch, counted from 1
    values = case.data["values"]
    assert schedule.rate == pytest.approx(values["lr_of_first_epoch_after_resuming"], rel=1e-12)

    terms, ours = [], {}
    for domain, small in (("A", "a"), ("B", "b")):
        pair = network(case.input(f"image_{small}", dtype), domain)
        outputs = dict(zip(("mu", "logvar"), pair, strict=True))
        ours |= {f"{label}_{small}": x for label, x in outputs.items()}
        terms += [
            (x * case.input(f"weight_{label}_{small}", dtype)).mean()
            for label, x in outputs.items()
        ]
    outputs_agree(case, ours, dtype)
    steps = Steps(built)
    Updater()(optimizer, *terms)
    counts = {float(entry["step"]) for entry in optimizer.state.values()}
    assert counts == {values["adam_step_count_after"]}
    losses_agree(case, {"projection": torch.stack(terms).sum().item()}, dtype)
    stage_agrees(case, "first_step_after_resuming", {name: steps[name][0]}, dtype)


@each("drit/resume")
def test_a_file_for_testing_needs_all_three(case: Case, tmp_path: Path) -> None:
    torch.save(official_file(case), tmp_path / "00699.pth")
    with pytest.raises(ValueError, match="enc_c, enc_a and gen"):
        read(tmp_path)
