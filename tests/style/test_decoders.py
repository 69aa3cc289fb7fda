"""Training PhotoWCT's decoders, and the files it reads and writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from core.checkpoints.store import load_network
from core.config import validate
from core.convert.official import export_official, import_official
from core.errors import UserError
from core.family import SampleBatch
from core.inference.loading import from_state
from core.nn.vgg import VGG, vgg_input
from core.training.update import Updater
from families import FAMILIES, OFFICIAL
from style.config import Config
from style.family import PhotoWCTDecoders
from style.photo import official
from style.photo.cascade import PhotoWCT
from style.photo.official_encoder import load_encoder


def family(model: dict[str, Any] | None = None, **train: Any) -> PhotoWCTDecoders:
    torch.manual_seed(0)
    tree = {"family": "style", "data": {"root": ""}, "model": model or {}, "train": train}
    return PhotoWCTDecoders.build(validate(Config, tree))


def batch(height: int = 24, width: int = 20) -> SampleBatch:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 4, 4, generator=generator) * 2 - 1
    images = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    return SampleBatch(images, ("a", "b"), ("", ""))


def test_decoders_learn_and_the_encoder_stays() -> None:
    built = family()
    before = {k: v.clone() for k, v in built.networks["enc"].state_dict().items()}
    start = built.networks["dec2"].state_dict()["conv1_1.weight"].clone()
    update, images = Updater("cpu", list(built.networks.values())), batch()
    terms = []
    for step in range(12):
        update.begin()
        terms.append(built.training_step(images, step, update))
        update.finish()
    assert set(terms[0]) == {
        *(f"{term}_{level}" for term in ("reconstruction", "feature") for level in (1, 2, 3, 4)),
        "total",
    }
    first, last = terms[0], terms[-1]
    assert all(value.isfinite() and not value.requires_grad for value in last.values())
    torch.testing.assert_close(
        last["total"], torch.stack([v for k, v in last.items() if k != "total"]).sum()
    )
    assert last["total"] < 0.8 * first["total"]
    assert all(torch.equal(v, before[k]) for k, v in built.networks["enc"].state_dict().items())
    assert not torch.equal(built.networks["dec2"].state_dict()["conv1_1.weight"], start)


@pytest.mark.parametrize("term", ["reconstruction", "feature"])
def test_each_term_trains_alone(term: str) -> None:
    other = {"reconstruction": "lambda_feature", "feature": "lambda_reconstruction"}[term]
    built = family({other: 0.0})
    terms = built.training_step(batch(), 0, Updater())
    zero = {"reconstruction": "feature", "feature": "reconstruction"}[term]
    for level in (1, 2, 3, 4):
        assert terms[f"{zero}_{level}"] == 0
        assert terms[f"{term}_{level}"] > 0
    with pytest.raises(UserError, match="are both 0"):
        family({"lambda_feature": 0.0, "lambda_reconstruction": 0.0})


def test_half_precision_and_channels_last() -> None:
    built = family()
    for network in built.networks.values():
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.autocast("cpu", torch.bfloat16):
        terms = built.training_step(batch(), 0, Updater())
    assert all(value.isfinite() for value in terms.values())


def test_preview_shows_every_decoder_at_odd_sizes() -> None:
    images = batch(27, 21)
    columns = family().preview(images)
    assert list(columns) == ["image", "relu1_1", "relu2_1", "relu3_1", "relu4_1"]
    assert all(column.shape == images.images.shape for column in columns.values())


def vgg_state() -> dict[str, Tensor]:
    """torchvision's layout, as far as relu4_1."""
    torch.manual_seed(1)
    shapes = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128)}
    shapes |= {12: (256, 256), 14: (256, 256), 16: (256, 256), 19: (512, 256)}
    state = {}
    for number, (outer, inner) in shapes.items():
        state[f"features.{number}.weight"] = torch.randn(outer, inner, 3, 3) / (9 * inner) ** 0.5
        state[f"features.{number}.bias"] = torch.randn(outer)
    return state | {"classifier.0.weight": torch.zeros(1)}


def _scaled(features: Tensor, like: Tensor) -> Tensor:
    """Scale features to another's sum: an encoder's layers are VGG's but for their scale."""
    return features * (like.sum() / features.sum())


def test_a_torchvision_vgg_becomes_the_encoder(tmp_path: Path) -> None:
    torch.save(vgg_state(), tmp_path / "vgg19.pth")
    built = family({"encoder": str(tmp_path / "vgg19.pth")})
    images = torch.rand(1, 3, 18, 22)
    found, _ = built.networks["enc"](images)
    mean, std = (
        torch.tensor(x)[:, None, None] for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    x = torch.nn.functional.pad((images - mean) / std, (1, 1, 1, 1), mode="reflect")
    state = vgg_state()
    wanted = torch.nn.functional.conv2d(x, state["features.0.weight"], state["features.0.bias"])
    torch.testing.assert_close(found[1], _scaled(wanted.relu(), found[1]), rtol=1e-4, atol=1e-4)


def test_vgg16_becomes_the_encoder_and_its_decoders_a_file(tmp_path: Path) -> None:
    """Inside, where padding does not reach, its features are those of `core.nn.vgg`."""
    torch.manual_seed(2)
    vgg = VGG(16, "relu4_1")
    torch.save(vgg.state_dict(), tmp_path / "vgg16.pth")
    options = {"vgg": 16, "encoder": str(tmp_path / "vgg16.pth"), "vgg_input": "caffe"}
    built, images = family(options), torch.rand(1, 3, 112, 112)
    found, poolings = built.networks["enc"](images)
    wanted = vgg(vgg_input(2 * images - 1, "caffe"), ["relu2_1", "relu4_1"])
    for level, margin in ((2, 3), (4, 6)):
        inside = (..., slice(margin, -margin), slice(margin, -margin))
        here = found[level][inside]
        expected = _scaled(wanted[f"relu{level}_1"][inside], here)
        torch.testing.assert_close(here, expected, rtol=1e-4, atol=1e-3)
        assert 0.3 < here.square().mean().sqrt() < 3
    assert built.networks["dec4"](found[4], poolings).shape == images.shape

    state = official.to_files(built)[official.FILE]
    assert "e4.conv3_4.weight" not in state
    again = official.from_official({"PhotoWCT": state})
    assert again.config.model.vgg == 16
    style = torch.rand(1, 3, 48, 40)
    assert PhotoWCT.load(state, "")(images[..., :40, :40], style).isfinite().all()


def test_files_that_are_no_encoder(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "file.pth")
    with pytest.raises(UserError, match=r"file\.pth: neither photo_wct\.pth"):
        load_encoder(family().networks["enc"], tmp_path / "file.pth")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="No such file"):
        load_encoder(family().networks["enc"], tmp_path / "absent.pth")  # type: ignore[arg-type]


def test_official_round_trip(tmp_path: Path) -> None:
    """Training checkpoint -> photo_wct.pth -> stylizer, and back."""
    built = family()
    state = official.to_files(built)[official.FILE]
    torch.save(state, tmp_path / official.FILE)
    kind, module = FAMILIES["style"], OFFICIAL["style"]
    checkpoint, _ = import_official(tmp_path, tmp_path / "run", kind, module, "AtoB")
    (written,) = export_official(checkpoint, tmp_path / "out", FAMILIES, OFFICIAL)
    assert written.name == official.FILE
    again = torch.load(written, weights_only=True)
    assert list(again) == list(PhotoWCT().state_dict())
    for key, value in state.items():
        assert torch.equal(again[key], value), key
    run = PhotoWCT()
    load_network(run, again, "PhotoWCT", written)
    images = batch().images
    features, poolings = run["e3"](images)
    _, decoded = built.reconstruct(images)
    torch.testing.assert_close(run["d3"](features[3], poolings), decoded[3])


def test_encoders_that_are_no_truncations_are_refused() -> None:
    state = PhotoWCT().state_dict()
    with pytest.raises(UserError, match="differs from e4's"):
        official.from_official({"PhotoWCT": state}, source="photo_wct.pth")
    assert official.files(Path(__file__)) == {"PhotoWCT": Path(__file__)}
    with pytest.raises(UserError, match="no such file"):
        official.files(Path("absent"))


def test_from_state_needs_no_encoder_file() -> None:
    built = family()
    state = {
        "family": "style",
        "config": built.config.model_dump(mode="json"),
        "networks": {name: net.state_dict() for name, net in built.networks.items()},
    }
    again = from_state(state, FAMILIES)
    images = batch().images
    torch.testing.assert_close(again.reconstruct(images)[1][4], built.reconstruct(images)[1][4])
