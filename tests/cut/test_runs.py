"""A CUT run from training to every use of its checkpoint, and official files both ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from core.checkpoints import store
from core.checkpoints.official_layout import to_official
from core.errors import UserError
from core.training.initial import read_initial
from cyclegan.cut import official
from families import OFFICIAL, load
from tests.processes import Script
from tests.runs import changed, small_tree
from tests.small import family


def test_from_training_to_every_use(unpaired: Path, tmp_path: Path, script: Script) -> None:
    tree = changed(
        small_tree("cut", unpaired),
        data={"direction": "BtoA"},
        train={"ema_decay": 0.5, "winograd": True, "channels_last": True},
        log={"every": 1, "samples_every": 2},
        evaluate={"every": 2, "max_images": 2},
    )
    config, run = tmp_path / "run.yaml", tmp_path / "run"
    config.write_text(yaml.safe_dump(tree))
    assert script("train", "--config", config, "--run-dir", run).returncode == 0
    page = (run / "index.html").read_text()
    assert all(term in page for term in ("G_GAN", "NCE_Y", "D_real"))
    assert [*run.glob("samples/*.png")]

    photo, tiled, whole = tmp_path / "photo.png", tmp_path / "tiled", tmp_path / "whole"
    noise = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(noise).save(photo)
    for out, more in ((tiled, ("--tile", 32)), (whole, ())):
        done = script("test", "--checkpoint", run, "--input", photo, "--output", out, *more)
        assert done.returncode == 0, done.stderr
    a, b = (
        np.asarray(Image.open(next(out.rglob("*_fake_B.png"))), dtype=int) for out in (tiled, whole)
    )
    assert a.shape == noise.shape and abs(a - b).max() <= 1
    done = script("evaluate", "--checkpoint", run)
    assert done.returncode == 0 and "BtoA" in done.stdout and "AtoB" not in done.stdout, done
    translate = load(run)
    assert translate.directions == ("BtoA",)
    with pytest.raises(UserError, match="AtoB"):
        translate(Image.open(photo), "AtoB")

    theirs = tmp_path / "theirs"
    assert script("convert", "--export", run, "--output", theirs).returncode == 0
    alone = ("--input", theirs / "latest_net_G.pth", "--output", tmp_path / "alone.pt")
    assert script("convert", "--family", "cut", *alone).returncode == 0
    assert [*store.load(tmp_path / "alone.pt")["networks"]] == ["G"]
    assert {path.name for path in theirs.iterdir()} == {
        f"latest_net_{name}.pth" for name in ("G", "F", "D")
    }
    ours = tmp_path / "ours.pt"
    back = ("--input", theirs, "--output", ours, "--direction", "BtoA")
    done = script("convert", "--family", "cut", *back)
    assert done.returncode == 0, done.stderr
    for name, state in store.load(store.find(run)[0])["networks"].items():
        for key, value in store.load(ours)["networks"][name].items():
            averaged = name == "G"  # what is exported is what tests take
            assert averaged or torch.equal(value, state[key]), (name, key)


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"antialias": False},
        {"antialias_up": False, "norm": "batch", "dropout": True},
        {"discriminator": "pixel", "netF": "sample", "input_nc": 1, "output_nc": 1},
        {"discriminator": "n_layers", "num_layers_dis": 4, "netF_nc": 5},
    ],
)
def test_official_files_tell_their_options(model: dict[str, object], tmp_path: Path) -> None:
    built = family("cut", model)
    for name, state in official.to_files(built).items():
        torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / name)
    again = official.from_official(official.read(tmp_path), "BtoA", tmp_path)
    options = ("generator", "ngf", "input_nc", "norm", "dropout", "antialias", "antialias_up")
    options += ("ndf", "discriminator", "netF", *model)
    for name in options:
        assert getattr(again.config.model, name) == getattr(built.config.model, name), name
    assert again.directions == ("BtoA",)
    for name, network in built.networks.items():
        theirs = again.networks[name].state_dict()
        assert all(torch.equal(theirs[key], value) for key, value in network.state_dict().items())


def test_a_cyclegan_generator_as_the_beginning(tmp_path: Path) -> None:
    theirs = family("cyclegan").networks["G_A"]
    torch.save(to_official(theirs), tmp_path / "latest_net_G_A.pth")
    for blurs in (False, True):
        built = family("cut", {"antialias": blurs, "antialias_up": blurs})
        file = tmp_path / "latest_net_G_A.pth"
        found = read_initial(file, type(built), built.config, OFFICIAL)
        if blurs:
            with pytest.raises(UserError, match="no network fits cut: G: "):
                found.give(built)
        else:
            found.give(built)
            ours = built.networks["G"].state_dict()
            assert all(torch.equal(ours[k], v) for k, v in theirs.state_dict().items())


def test_files_that_do_not_fit_are_named() -> None:
    states = {n: to_official(net) for n, net in family("cut").networks.items()}
    with pytest.raises(UserError, match=r"some\.pth: holds no generator"):
        official.from_official({"F": states["F"]}, source="some.pth")
    states["G"]["model.7.filt"] = states["G"]["model.7.filt"] * 2
    with pytest.raises(UserError, match=r"some\.pth: G: `model\.7\.filt` is not the constant"):
        official.from_official(states, source="some.pth")
    shallow = family("cut", {"nce_layers": [0, 4]}).networks["F"]
    states = {"G": to_official(family("cut").networks["G"]), "F": to_official(shallow)}
    with pytest.raises(UserError, match=r"some\.pth: .*2 maps.*0, 4, 8, 12, 16"):
        official.from_official(states, source="some.pth")
