"""Single networks: the published function, in float64, for every described variant."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import cyclegan.cut.official
from core.checkpoints import official_layout
from core.checkpoints.official_layout import to_official
from tests.reference.cases import Case, DropoutMasks, agree, each, loaded
from tests.reference.training import numbers_agree, summary

PUBLISHED_SIZES = {"resnet": ("n_blocks", (6, 9)), "unet": ("num_downs", (7, 8))}


def forward(case: Case, name: str, mode: str) -> tuple[Tensor, nn.Module]:
    """The network's output in `mode`, and the network after that one forward."""
    network = loaded(case, name).train(mode == "train")
    with torch.no_grad(), DropoutMasks(case).of(network):
        return network(case.input(case.describe(name)["input"])), network


def features(case: Case, name: str, mode: str) -> dict[str, Tensor]:
    """What a generator's described layers hand on, from a whole forward and from its beginning."""
    described = case.data["architecture"].get(name, {}).get("features", ())
    places = {feature["layer"]: feature["array"] for feature in described}
    if not places:
        return {}
    network, image = (
        loaded(case, name).train(mode == "train"),
        case.input(case.describe(name)["input"]),
    )
    layers = [*places]
    with torch.no_grad():
        (_, found), begun = network(image, layers), network(image, layers, encode_only=True)
    assert network.channels(layers) == [feature["channels"] for feature in described]
    torch.testing.assert_close(found, begun, rtol=0, atol=0)
    return dict(zip(places.values(), found, strict=True))


@each("cut_generator", "forward")
def test_outputs_and_running_statistics(case: Case) -> None:
    golden = case.arrays
    statistics = case.data.get("running_statistics_after_one_train_forward", {})
    outputs: dict[str, Tensor] = {}
    for name, modes in case.data["mode"].items():
        for mode in modes:
            output, network = forward(case, name, mode)
            # A case that runs one mode only may leave it out of the name.
            outputs[f"{name}_{mode}" if f"{name}_{mode}" in golden else name] = output
            outputs |= features(case, name, mode)
            if mode == "train" and name in statistics:
                found = {key: summary(value) for key, value in to_official(network).items()}
                numbers_agree(found, statistics[name], rel=1e-9, abs=1e-9, at=name)
    agree(outputs, golden)


@each("cut_generator", "forward")
def test_options_are_read_off_the_keys(case: Case) -> None:
    for name in case.data["mode"]:
        d = case.describe(name)
        official = cyclegan.cut.official if "antialias" in d else official_layout
        if d["kind"] in ("patch", "pixel"):
            found = official.infer_discriminator(case.weights(name), case.folder)
            expected: dict[str, Any] = {"ndf": d["ndf"]}
            if d["kind"] == "pixel":
                expected["discriminator"] = "pixel"
            else:
                expected["num_layers_dis"] = d["n_layers"]
        else:
            option, sizes = PUBLISHED_SIZES[d["kind"]]
            if d[option] not in sizes:  # has no published name, so no option either
                continue
            found = official.infer_generator(case.weights(name), case.folder)
            expected = {key: d[key] for key in ("input_nc", "output_nc", "ngf", "norm")}
            if d["kind"] == "resnet":
                expected |= {"generator": f"resnet_{d['n_blocks']}blocks", "dropout": d["dropout"]}
                expected |= {key: d[key] for key in ("antialias", "antialias_up") if key in d}
            else:
                expected["generator"] = f"unet_{2 ** d['num_downs']}"
        assert found | expected == found
