"""Official DRIT files: written, found, read, refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from core.errors import UserError
from core.training.update import Updater
from drit.official import from_official, read, to_files
from tests.drit.test_family import VARIANTS, wide
from tests.small import family

TOLD = (
    "concat", "dim", "dim_dis", "dis_scale", "dis_spectral_norm",
    "input_dim_a", "input_dim_b", "num_layers_content", "nz",
)  # fmt: skip


@pytest.mark.parametrize("model", VARIANTS.values(), ids=VARIANTS)
def test_written_family_reads_back(model: dict[str, Any], tmp_path: Path) -> None:
    built = family("drit", model | {"nz": 5, "input_dim_b": 1, "num_layers_content": 2})
    for name, content in to_files(built).items():
        torch.save(content, tmp_path / name)
    back = from_official(read(tmp_path), source=tmp_path)
    for option in TOLD:
        assert getattr(back.config.model, option) == getattr(built.config.model, option)
    for name, network in built.networks.items():
        theirs = back.networks[name].state_dict()
        for key, value in network.state_dict().items():
            assert torch.equal(value, theirs[key]), (name, key)


def test_generator_side_alone_translates(tmp_path: Path) -> None:
    built = family("drit")
    (content,) = to_files(built).values()
    states = {
        name: {f"module.{key}": value for key, value in content[name].items()}
        for name in ("enc_c", "enc_a", "gen")
    }
    torch.save(states, tmp_path / "model.pth")
    back = from_official(read(tmp_path / "model.pth"))
    assert list(back.networks) == ["enc_c", "enc_a", "gen"]
    images = wide().a
    with torch.no_grad():
        expected = built.translate(images, "AtoB")
        assert torch.equal(back.translate(images, "AtoB"), expected)
        turned = from_official(states, "BtoA")
        assert torch.equal(turned.translate(images, "BtoA"), expected)


def test_optimizers_are_taken_over() -> None:
    """Trained, written with addresses for numbers, read, trained: as if never interrupted."""
    built, update, images = family("drit"), Updater(), wide()
    built.training_step(images, 0, update)
    (content,) = to_files(built).values()
    states: dict[str, Any] = {
        name: {key: value.clone() for key, value in state.items()}
        for name, state in content.items()
        if isinstance(state, dict)
    }
    for name, optimizer in built.optimizers.items():
        own = optimizer.state_dict()
        numbers = own["param_groups"][0]["params"]
        address = {number: 140_000_000_000_000 - 72 * number for number in numbers}
        states[f"{name}_opt"] = {
            "state": {
                address[number]: {key: value.clone() for key, value in entry.items()}
                | {"step": int(entry["step"])}
                for number, entry in own["state"].items()
            },
            "param_groups": [{"lr": 1e-9, "params": [address[number] for number in numbers]}],
        }
    back = from_official(states)
    results = []
    for each in (built, back):
        for network in each.networks.values():
            network.train()
        torch.manual_seed(1)
        each.training_step(images, 2, update)  # full, whatever `d_iter`, which no file tells
        results.append({n: dict(net.state_dict()) for n, net in each.networks.items()})
    for name, weights in results[0].items():
        for key, value in weights.items():
            assert torch.equal(value, results[1][name][key]), (name, key)


def test_other_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no official"):
        read(tmp_path)
    torch.save({"x": torch.zeros(1)}, tmp_path / "00009.pth")
    with pytest.raises(UserError, match=r"00009.pth: not an official DRIT file"):
        read(tmp_path)
    (content,) = to_files(family("drit")).values()
    del content["gen"]["decA4.0.bias"]
    with pytest.raises(UserError, match=r"some.pth.*decA4.0.bias"):
        from_official(content, source="some.pth")
    with pytest.raises(UserError, match=r"some.pth: holds none of disA"):
        from_official({}, source="some.pth")
