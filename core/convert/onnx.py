"""A translator as an ONNX file: any batch and image size in one graph, compared with ours.

The graph takes and gives images [N, C, H, W], float32 in [-1, 1]; H and W must be legal for the
network, that is multiples of `multiple` and at least `minimum` pixels (both are in the file's
metadata, and for other sizes `core.inference.translator.pad_to_multiple` says what our own scripts
do). In families with styles a second input takes the codes [N, style_dim].
"""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import UserError
from core.family import TranslationFamily
from core.inference.translator import Translator
from core.nn.modes import evaluating, published_test_mode
from core.options import Direction
from core.report.pictures import write_file

TOLERANCE = 1e-4
"""Largest difference between onnxruntime and ours: about 1/80 of a grey level. Kernels that sum in
another order are not more than a tenth of that apart (docs/evaluation.md)."""

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True)
class Exported:
    """A file that was written and compared.

    Attributes:
        path: the file.
        difference: largest absolute difference to our own translation, over all shapes.
        shapes: of the images compared.
    """

    path: Path
    difference: float
    shapes: tuple[tuple[int, ...], ...]


class _Direction(nn.Module):
    """One direction of a family as a module, so that its weights become the graph's."""

    def __init__(self, family: TranslationFamily, direction: Direction) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(family.networks)
        self._family, self._direction = family, direction

    def forward(self, image: Tensor, style: Tensor | None = None) -> Tensor:
        """[N, C, H, W], and [N, style_dim] in a family with styles, to [N, C', H, W]."""
        if style is None:
            return self._family.translate(image, self._direction)
        return self._family.translate(image, self._direction, style)  # type: ignore[call-arg]


def export_onnx(translator: Translator, direction: Direction, path: Path) -> Exported:
    """Write one direction of a translator as ONNX, once it has been found equal to ours.

    Args:
        translator: on the CPU, in fp32; its `test_mode` is what the graph computes.
        direction: one that it has.
        path: the file; replaced if it exists.

    Raises:
        UserError: the packages of the extra `export` are missing; dropout is active; the exporter
            or the comparison fails; the file cannot be written.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"export needs {' and '.join(missing)}: pip install -e '.[export]'")
    translator.check_direction(direction)
    with _as_tested(translator):
        _refuse_dropout(translator)
        model = _Direction(translator.family, direction)
        graph = _export(model, translator, direction)
        difference, shapes = _compare(graph, model, translator, direction)
    if not difference <= TOLERANCE:
        raise UserError(
            f"{path}: not written: onnxruntime's results differ from ours by {difference:.2g}, "
            f"allowed is {TOLERANCE:g}; please report this with the checkpoint's config"
        )
    write_file(path, lambda file: file.write(graph))
    return Exported(path, difference, shapes)


@contextmanager
def _as_tested(translator: Translator) -> Iterator[None]:
    networks = translator.family.networks.values()
    with ExitStack() as modes:
        modes.enter_context(evaluating(*networks))
        if translator.test_mode == "published":
            modes.enter_context(published_test_mode(*networks))
        yield


def _refuse_dropout(translator: Translator) -> None:
    modules = (m for net in translator.family.networks.values() for m in net.modules())
    if any(isinstance(m, nn.Dropout) and m.training for m in modules):
        raise UserError(
            "the published test keeps dropout active, which a graph that repeats cannot; use --eval"
        )


def _example(
    translator: Translator, direction: Direction, number: int, rows: int, columns: int
) -> tuple[Tensor, ...]:
    """Inputs of `number` images of `rows` and `columns` units of a legal size."""
    family = translator.family
    generator = torch.Generator().manual_seed(0)
    # Not so small that a difference in the norms of the deepest maps would say nothing.
    unit = -(-max(family.minimum, 64) // family.multiple) * family.multiple
    channels = translator.channels(direction)[0]
    shape = (number, channels, rows * unit, columns * unit)
    image = torch.rand(shape, generator=generator) * 2 - 1
    if translator.styles is None:
        return (image,)
    return image, translator.random_styles(number, seed=0)


def _export(model: _Direction, translator: Translator, direction: Direction) -> bytes:
    """The graph as the content of a file."""
    family = translator.family
    number, height, width = (torch.export.Dim(name) for name in ("batch", "rows", "columns"))
    if family.multiple > 1:
        height, width = family.multiple * height, family.multiple * width
    shapes: list[dict[int, Any]] = [{0: number, 2: height, 3: width}]
    names = ["image"]
    if translator.styles is not None:
        shapes.append({0: number})
        names.append("style")
    # Sizes 0 and 1 would be taken for constants.
    arguments = _example(translator, direction, 2, 2, 3)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # of torch's own deprecations, not ours to mend
            program = torch.onnx.export(
                model,
                arguments,
                dynamo=True,
                dynamic_shapes=tuple(shapes),
                input_names=names,
                output_names=["translation"],
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise UserError(
            f"{family.name} {direction}: torch.onnx cannot export it: {reason}"
        ) from error
    assert program is not None, "torch.onnx.export gives a program where it writes no file"
    return _finished(program, translator, direction)


def _finished(program: Any, translator: Translator, direction: Direction) -> bytes:
    """Name the sizes, describe the graph in its metadata, and leave out where it was made."""
    family, ir_model = translator.family, program.model
    graph = ir_model.graph
    for value in (graph.inputs[0], graph.outputs[0]):
        for axis, name in ((0, "batch"), (2, "height"), (3, "width")):
            value.shape[axis] = name
    if translator.styles is not None:
        graph.inputs[1].shape[0] = "batch"
    # The exporter notes source lines with the paths of this machine.
    for node in graph.all_nodes():
        node.metadata_props.clear()
    channels = translator.channels(direction)
    ir_model.metadata_props.update(
        {
            "family": family.name,
            "name": family.config.name,
            "direction": direction,
            "multiple": str(family.multiple),
            "minimum": str(family.minimum),
            "range": "[-1, 1]",
            "channels": f"{channels[0]} to {channels[1]}",
        }
    )
    content: bytes = program.model_proto.SerializeToString()
    return content


def _compare(
    graph: bytes, model: _Direction, translator: Translator, direction: Direction
) -> tuple[float, tuple[tuple[int, ...], ...]]:
    """Largest difference between onnxruntime and ours, at other sizes than exported with too."""
    import onnx  # noqa: PLC0415
    import onnxruntime  # noqa: PLC0415

    onnx.checker.check_model(graph, full_check=True)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    difference, shapes = 0.0, []
    for sizes in ((1, 1, 2), (3, 2, 1)):
        inputs = _example(translator, direction, *sizes)
        ours = model(*inputs)
        fed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        (theirs,) = session.run(None, fed)
        difference = max(difference, float((torch.from_numpy(theirs) - ours).abs().max()))
        shapes.append(tuple(inputs[0].shape))
    return difference, tuple(shapes)
