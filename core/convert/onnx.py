"""A translator as an ONNX file: any batch and image size in one graph, compared with ours.

The graph takes and gives images [N, C, H, W], float32 in [-1, 1]; H and W must be legal for the
network, that is multiples of `multiple` and at least `minimum` pixels (both are in the file's
metadata, and for other sizes `core.nn.padding.pad_to_multiple` says what our own scripts
do). In families with styles a second input takes the codes [N, style_dim].
"""

from __future__ import annotations

import importlib.util
import io
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from core.errors import UserError
from core.inference.translator import Translator
from core.options import Direction
from core.runtime.files import write_file

TOLERANCE = 1e-4
"""Largest difference between onnxruntime and ours: about 1/80 of a grey level. Kernels that sum in
another order are not more than a tenth of that apart (docs/evaluation.md)."""

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


class Exported(NamedTuple):
    """A file that was written, with its largest absolute difference to ours over some shapes."""

    path: Path
    difference: float
    shapes: list[tuple[int, ...]]


class _Direction(nn.Module):
    """One direction of a translator as a module, so that its weights become the graph's."""

    def __init__(self, translator: Translator, direction: Direction) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(translator.family.networks)
        self.translator, self.family, self.direction = translator, translator.family, direction

    def forward(self, image: Tensor, style: Tensor | None = None) -> Tensor:
        """Map [N, C, H, W], and [N, style_dim] in a family with styles, to [N, C', H, W]."""
        if style is None:
            return self.family.translate(image, self.direction)
        return self.family.translate(image, self.direction, style)  # type: ignore[call-arg]


def export_onnx(translator: Translator, direction: Direction, path: Path) -> Exported:
    """Write one direction of a translator as ONNX, once it has been found equal to ours.

    The translator is on the CPU, in fp32; its `test_mode` is what the graph computes. A file that
    exists is replaced.

    Raises:
        UserError: the packages of the extra `export` are missing; dropout is active; the exporter
            or the comparison fails; the file cannot be written.
    """
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"export needs {' and '.join(missing)}: pip install -e '.[export]'")
    translator.check_direction(direction)
    with translator.test_modes():
        if translator.drops_out:
            raise UserError(
                "the published test keeps dropout active, which a graph that repeats cannot; "
                "use --eval"
            )
        model = _Direction(translator, direction)
        graph = _export(model)
        difference, shapes = _compare(graph, model)
    if not difference <= TOLERANCE:
        raise UserError(
            f"{path}: not written: onnxruntime's results differ from ours by {difference:.2g}, "
            f"allowed is {TOLERANCE:g}; please report this with the checkpoint's config"
        )
    write_file(path, lambda file: file.write(graph))
    return Exported(path, difference, shapes)


def _example(model: _Direction, number: int, rows: int, columns: int) -> tuple[Tensor, ...]:
    """Make inputs of `number` images of `rows` and `columns` units of a legal size."""
    family, translator = model.family, model.translator
    generator = torch.Generator().manual_seed(0)
    # Not so small that a difference in the norms of the deepest maps would say nothing.
    unit = -(-max(family.minimum, 64) // family.multiple) * family.multiple
    channels = translator.channels(model.direction)[0]
    shape = (number, channels, rows * unit, columns * unit)
    image = torch.rand(shape, generator=generator) * 2 - 1
    styles = (translator.random_styles(number, seed=0),) if translator.has_styles else ()
    return image, *styles


def _export(model: _Direction) -> bytes:
    """Return the graph as the content of a file."""
    family = model.family
    number, height, width = (torch.export.Dim(name) for name in ("batch", "rows", "columns"))
    if family.multiple > 1:
        height, width = family.multiple * height, family.multiple * width
    shapes: list[dict[int, Any]] = [{0: number, 2: height, 3: width}]
    if model.translator.has_styles:
        shapes.append({0: number})
    # Sizes 0 and 1 would be taken for constants.
    arguments = _example(model, 2, 2, 3)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # of torch's own deprecations, not ours to mend
            program = torch.onnx.export(
                model,
                arguments,
                dynamo=True,
                dynamic_shapes=tuple(shapes),
                input_names=["image", "style"][: len(arguments)],
                output_names=["translation"],
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise UserError(
            f"{family.name} {model.direction}: torch.onnx cannot export it: {reason}"
        ) from error
    assert program is not None, "torch.onnx.export gives a program where it writes no file"
    return _finished(program, model)


def _finished(program: Any, model: _Direction) -> bytes:
    """Name the sizes, describe the graph in its metadata, and leave out where it was made."""
    family, graph = model.family, program.model.graph
    for value in (graph.inputs[0], graph.outputs[0]):
        for axis, name in ((0, "batch"), (2, "height"), (3, "width")):
            value.shape[axis] = name
    for value in graph.inputs[1:]:
        value.shape[0] = "batch"
    # The exporter notes source lines with the paths of this machine.
    for node in graph.all_nodes():
        node.metadata_props.clear()
    channels = model.translator.channels(model.direction)
    program.model.metadata_props.update(
        family=family.name,
        name=family.config.name,
        direction=model.direction,
        multiple=str(family.multiple),
        minimum=str(family.minimum),
        range="[-1, 1]",
        channels=f"{channels[0]} to {channels[1]}",
    )
    content: bytes = program.model_proto.SerializeToString()
    return content


def _compare(graph: bytes, model: _Direction) -> tuple[float, list[tuple[int, ...]]]:
    """Measure the largest difference between onnxruntime and ours, at some shapes."""
    import onnx  # noqa: PLC0415
    import onnxruntime  # noqa: PLC0415

    onnx.checker.check_model(graph, full_check=True)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    difference, shapes = 0.0, []
    for sizes in ((1, 1, 2), (3, 2, 1)):
        inputs = _example(model, *sizes)
        ours = model(*inputs)
        fed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        (theirs,) = session.run(None, fed)
        difference = max(difference, float((torch.from_numpy(theirs) - ours).abs().max()))
        shapes.append(tuple(inputs[0].shape))
    return difference, shapes
