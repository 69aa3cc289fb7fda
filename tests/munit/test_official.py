"""Official MUNIT and UNIT files on the disk, both ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from core.checkpoints import store
from core.checkpoints.official_layout import to_official
from core.convert.official import export_official, import_official
from core.errors import UserError
from families import FAMILIES, OFFICIAL, load
from munit import official
from tests.small import SMALL, batch, family


def written(built: Any, folder: Path) -> Path:
    for name, content in official.to_files(built).items():
        torch.save(content, folder / name)
    return folder


def read(folder: Path) -> Any:
    return official.from_official(official.read(folder), source=folder)


@pytest.mark.parametrize("norm", ["none", "bn", "ln", "sn"])
@pytest.mark.parametrize("activ", ["relu", "prelu"])
@pytest.mark.parametrize("name", ["munit", "unit"])
def test_written_family_reads_back(name: str, activ: str, norm: str, tmp_path: Path) -> None:
    gen = SMALL[name]["gen"] | {"n_downsample": 1, "n_res": 2, "activ": activ}
    dis = {"dim": 2, "n_layer": 3, "num_scales": 1, "norm": norm}
    model = {"gen": gen, "dis": dis, "input_dim_a": 1}
    built = family(name, model | {"dis": dis | {"activ": activ if activ == "prelu" else "lrelu"}})
    again = read(written(built, tmp_path))
    assert again.name == name
    assert again.config.model.gen == built.config.model.gen
    assert again.config.model.dis == built.config.model.dis
    assert again.config.channels == (1, 3)
    for net, network in built.networks.items():
        for key, value in network.state_dict().items():
            assert torch.equal(value, again.networks[net].state_dict()[key]), (net, key)


def test_unused_buffers_are_written_as_published() -> None:
    state = to_official(family("munit").networks["gen_a"])
    prefix = "dec.model.0.model.0.model.1.norm"
    assert torch.equal(state[f"{prefix}.running_mean"], torch.zeros(16))
    assert torch.equal(state[f"{prefix}.running_var"], torch.ones(16))
    assert not any("running" in k for k in to_official(family("unit").networks["gen_a"]))


def test_spectral_norm_is_nested_as_published() -> None:
    built = family("munit", {"dis": {"dim": 2, "n_layer": 2, "norm": "sn", "num_scales": 1}})
    assert set(to_official(built.networks["dis_a"])) == {
        *(f"cnns.0.{at}.{leaf}" for at in ("0.conv", "2") for leaf in ("weight", "bias")),
        *(
            f"cnns.0.1.conv.module.{leaf}"
            for leaf in ("bias", "weight_u", "weight_v", "weight_bar")
        ),
    }


def test_newest_files_of_a_run(tmp_path: Path) -> None:
    for name in ("gen_00000010.pt", "gen_00000200.pt", "dis_00000010.pt", "optimizer.pt"):
        (tmp_path / name).touch()
    assert official.files(tmp_path) == {"gen": tmp_path / "gen_00000200.pt"}
    (tmp_path / "dis_00000200.pt").touch()
    assert official.files(tmp_path)["dis"].name == "dis_00000200.pt"
    (tmp_path / "edges2shoes.pt").touch()
    assert official.files(tmp_path / "edges2shoes.pt") == {"gen": tmp_path / "edges2shoes.pt"}
    with pytest.raises(UserError, match="no such file"):
        official.files(tmp_path / "absent")


@pytest.mark.parametrize("name", ["munit", "unit"])
def test_released_file_to_checkpoint_and_back(name: str, tmp_path: Path) -> None:
    built = family(name)
    released = tmp_path / "released.pt"
    torch.save(official.to_files(built)["gen_00000000.pt"], released)
    kind, module = FAMILIES[name], OFFICIAL[name]
    ours, _ = import_official(released, tmp_path / "ours.pt", kind, module, "AtoB")
    assert "optimizers" not in store.load(ours)
    translator = load(ours, "cpu")
    x = batch().a
    for network in built.networks.values():
        network.eval()
    with torch.no_grad():
        torch.testing.assert_close(translator(x, "BtoA"), built.translate(x, "BtoA"))
    (file,) = export_official(ours, tmp_path / "official", FAMILIES, OFFICIAL)
    again, before = (torch.load(path, weights_only=True) for path in (file, released))
    for domain in "ab":
        assert before[domain].keys() == again[domain].keys()
        assert all(torch.equal(v, again[domain][k]) for k, v in before[domain].items())


@pytest.mark.parametrize(
    ("state", "problem"),
    [
        ({"gen_a": {}}, "holds no generator 'b'"),
        ({"gen_a": {}, "gen_b": {}}, "lacks `enc.model.0.conv.weight`"),
        ({"gen": {}}, "holds no generator 'a'"),
    ],
)
def test_other_files_are_named(state: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem) as caught:
        official.from_official(state, source="some.pt")
    assert str(caught.value).startswith("some.pt: ")
