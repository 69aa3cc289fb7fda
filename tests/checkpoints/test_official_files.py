"""Official files on the disk: which are found, what they are read as, and that they come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import cyclegan.official
import pix2pix.official
from core.checkpoints import store
from core.checkpoints.official_layout import to_official
from core.convert.official import export_official, inference_state
from core.errors import UserError
from families import FAMILIES
from tests.small import batch, family

OFFICIAL: dict[str, Any] = {"cyclegan": cyclegan.official, "pix2pix": pix2pix.official}


def write(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).write_bytes(b"")


def found(name: str, path: Path) -> dict[str, str]:
    return {network: file.name for network, file in OFFICIAL[name].files(path).items()}


def test_latest_wins_then_the_highest_epoch(tmp_path: Path) -> None:
    write(tmp_path, [f"{epoch}_net_{net}.pth" for epoch in ("5", "100") for net in ("G_A", "D_B")])
    assert found("cyclegan", tmp_path) == {"G_A": "100_net_G_A.pth", "D_B": "100_net_D_B.pth"}
    write(tmp_path, ["latest_net_G_A.pth", "latest_net_G_B.pth", "latest_net_other.pth"])
    assert found("cyclegan", tmp_path) == {"G_A": "latest_net_G_A.pth", "G_B": "latest_net_G_B.pth"}


def test_single_files(tmp_path: Path) -> None:
    write(tmp_path, ["latest_net_G.pth", "latest_net_G_B.pth", "horse2zebra.pth"])
    assert found("cyclegan", tmp_path / "latest_net_G_B.pth") == {"G_B": "latest_net_G_B.pth"}
    assert found("cyclegan", tmp_path / "horse2zebra.pth") == {"G": "horse2zebra.pth"}
    assert found("pix2pix", tmp_path / "latest_net_G.pth") == {"G": "latest_net_G.pth"}


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        OFFICIAL["cyclegan"].files(tmp_path / "absent")
    with pytest.raises(UserError, match="G_A, G_B, D_A, D_B, G"):
        OFFICIAL["cyclegan"].files(tmp_path)


@pytest.mark.parametrize("norm", ["instance", "instance_affine", "batch", "none"])
@pytest.mark.parametrize("generator", ["resnet_6blocks", "resnet_11blocks", "unet_64"])
@pytest.mark.parametrize("name", ["cyclegan", "pix2pix"])
def test_written_family_reads_back(tmp_path: Path, name: str, generator: str, norm: str) -> None:
    model = {"generator": generator, "norm": norm, "ngf": 2, "input_nc": 1, "output_nc": 3}
    identity = {"lambda_identity": 0.0} if name == "cyclegan" else {}
    built = family(name, model | identity | {"dropout": True, "num_layers_dis": 2})
    for file, state in OFFICIAL[name].to_files(built).items():
        torch.save(state, tmp_path / file)
    files = OFFICIAL[name].files(tmp_path)
    states = {net: torch.load(file, weights_only=True) for net, file in files.items()}
    read = OFFICIAL[name].from_official(states, source=tmp_path)
    options = ("generator", "norm", "ngf", "ndf", "input_nc", "output_nc", "num_layers_dis")
    for option in options:
        assert getattr(read.config.model, option) == getattr(built.config.model, option)
    for net, network in built.networks.items():
        for key, value in network.state_dict().items():
            assert torch.equal(value, read.networks[net].state_dict()[key])


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_single_generator_translates_its_direction(direction: str) -> None:
    state = to_official(family("cyclegan").networks["G_A"])
    read = OFFICIAL["cyclegan"].from_official({"G": state}, direction)
    assert read.directions == (direction,)
    assert read.translate(batch().a, direction).shape == (2, 3, 16, 16)


def test_dropout_of_a_resnet_is_read_off_the_keys() -> None:
    for dropout in (False, True):
        for norm in ("instance", "batch", "none"):
            built = family("cyclegan", {"dropout": dropout, "norm": norm})
            read = OFFICIAL["cyclegan"].from_official({"G": to_official(built.networks["G_A"])})
            assert read.config.model.dropout == dropout
            assert read.config.model.norm == norm


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ({"x": torch.zeros(1)}, "neither an official ResNet nor U-Net"),
        ({"model.1.weight": torch.zeros(4, 3, 7, 7)}, "without residual blocks"),
        ({"model.model.0.weight": torch.zeros(4, 3, 4, 4)}, "U-Net of 1 levels"),
    ],
)
@pytest.mark.parametrize("name", ["cyclegan", "pix2pix"])
def test_other_files_are_named(name: str, state: dict[str, torch.Tensor], problem: str) -> None:
    with pytest.raises(UserError, match=problem) as caught:
        OFFICIAL[name].from_official({"G": state}, source="some.pth")
    assert str(caught.value).startswith("some.pth: ")
    with pytest.raises(UserError, match="holds no generator"):
        OFFICIAL[name].from_official({}, source="some.pth")


def test_a_generator_that_resizes_has_no_official_files(tmp_path: Path) -> None:
    store.save(inference_state(family("cyclegan", {"upsample": "resize"}), 0), tmp_path / "x.pt")
    with pytest.raises(UserError, match=r"x\.pt: .* resize has no official files"):
        export_official(tmp_path / "x.pt", tmp_path / "out", FAMILIES, OFFICIAL)
