"""ONNX files: dynamic sizes, parity, styles as an input, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import core.convert.onnx
from core.convert.onnx import TOLERANCE, export_onnx
from core.errors import UserError
from core.inference.translator import Translator
from core.nn.modes import evaluating
from tests.small import family
from tests.toy_styles import Tint

REASON = "pip install -e '.[export]'"
onnx = pytest.importorskip("onnx", reason=REASON)
onnxruntime = pytest.importorskip("onnxruntime", reason=REASON)
pytest.importorskip("onnxscript", reason=REASON)

CPU = torch.device("cpu")


def run(path: Path, *inputs: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    (result,) = session.run(None, {n: x.numpy() for n, x in zip(names, inputs, strict=True)})
    return torch.from_numpy(result)


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3)) * 2 - 1


GRAY_TO_ALPHA: dict[str, Any] = {"input_nc": 1, "output_nc": 4, "lambda_identity": 0.0}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("cut", {}),
    ("cyclegan", {}),
    ("cyclegan", GRAY_TO_ALPHA | {"norm": "batch", "upsample": "resize"}),
    ("pix2pix", {"generator": "unet_128", "norm": "batch", "dropout": False}),
    ("unit", {}),
]


@pytest.mark.parametrize(("name", "model"), VARIANTS)
def test_equals_ours_at_sizes_it_was_not_exported_with(
    name: str, model: dict[str, Any], tmp_path: Path
) -> None:
    translator = Translator(family(name, model), CPU)
    done = export_onnx(translator, "AtoB", tmp_path / "deep" / "x.onnx")
    assert done.path.is_file() and done.difference <= TOLERANCE
    multiple = translator.family.multiple
    x = noise(4, translator.channels("AtoB")[0], 128, multiple * (11 if multiple < 16 else 1))
    torch.testing.assert_close(run(done.path, x), translator(x, "AtoB"), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["tint", "munit", "drit"])
def test_styles_are_an_input(name: str, tmp_path: Path) -> None:
    translator = Translator(Tint() if name == "tint" else family(name), CPU)  # type: ignore[arg-type]
    done = export_onnx(translator, "BtoA", tmp_path / "x.onnx")
    x, styles = noise(3, 3, 20, 44), translator.random_styles(3, seed=5) * 0.1
    with evaluating(*translator.family.networks.values()):
        ours = translator.family.translate(x, "BtoA", styles)  # type: ignore[call-arg]
    torch.testing.assert_close(run(done.path, x, styles), ours, rtol=0, atol=TOLERANCE)
    assert not torch.equal(run(done.path, x, styles), run(done.path, x, styles + 0.1))


def test_the_file_describes_itself_and_nothing_else(tmp_path: Path) -> None:
    built = family("cyclegan")
    export_onnx(Translator(built, CPU), "BtoA", tmp_path / "x.onnx")
    model = onnx.load(tmp_path / "x.onnx")
    props = {item.key: item.value for item in model.metadata_props}
    assert props["direction"] == "BtoA" and props["multiple"] == "4"
    (image,) = model.graph.input
    axes = [axis.dim_param or axis.dim_value for axis in image.type.tensor_type.shape.dim]
    assert axes == ["batch", 3, "height", "width"]
    assert not any(node.metadata_props for node in model.graph.node)
    # The weights of the one generator, and not those of the other networks.
    floats = [x for x in model.graph.initializer if x.data_type == onnx.TensorProto.FLOAT]
    number = sum(onnx.numpy_helper.to_array(x).size for x in floats)
    assert number == pytest.approx(sum(p.numel() for p in built.networks["G_B"].parameters()), 0.02)
    assert str(Path.cwd()) not in str(model)


def test_dropout_is_refused_and_eval_is_the_way_out(tmp_path: Path) -> None:
    built = family("pix2pix", {"norm": "batch", "dropout": True})
    with pytest.raises(UserError, match="--eval"):
        export_onnx(Translator(built, CPU), "AtoB", tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())
    quiet = Translator(built, CPU, test_mode="eval")
    done = export_onnx(quiet, "AtoB", tmp_path / "x.onnx")
    x = noise(1, 3, 64, 32)
    torch.testing.assert_close(run(done.path, x), quiet(x), rtol=0, atol=TOLERANCE)
    assert all(m.training for m in built.networks["G"].modules()), "modes are put back"


def test_a_difference_is_no_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core.convert.onnx, "TOLERANCE", -1.0)
    with pytest.raises(UserError, match="not written"):
        export_onnx(Translator(Tint(), CPU), "AtoB", tmp_path / "x.onnx")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


class Branching(Tint):
    """A network that looks at its values, which no graph can follow."""

    def translate(self, images: Any, direction: Any, styles: Any = None) -> torch.Tensor:
        return images if float(images.mean()) > 0 else -images


def test_what_cannot_be_exported_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tint AtoB: .* cannot export it"):
        export_onnx(Translator(Branching(), CPU), "AtoB", tmp_path / "x.onnx")  # type: ignore[arg-type]


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core.convert.onnx, "_PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(UserError, match=r"no_such_package: pip install -e '.\[export\]'"):
        export_onnx(Translator(family("cyclegan"), CPU), "AtoB", tmp_path / "x.onnx")
