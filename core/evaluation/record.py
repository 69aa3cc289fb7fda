"""Measure a checkpoint and write what was found beside it, as `scripts/evaluate.py` asks."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch

from core.errors import UserError
from core.evaluation.image_set import Preprocess, find_evaluation_set
from core.evaluation.model import Evaluator
from core.evaluation.samples import evaluate_samples
from core.evaluation.scores import Evaluation
from core.family import FamilyTable, GenerativeFamily, TranslationFamily
from core.inference.loading import load_family
from core.inference.sampler import Sampler
from core.inference.speed import arrange
from core.inference.translator import Translator
from core.options import EvaluateOptions, Speed
from core.runtime.files import write_file


def evaluate(
    checkpoint: Path,
    families: FamilyTable,
    options: EvaluateOptions,
    device: torch.device,
    *,
    data: Path | None = None,
    preprocess: Preprocess = "official",
    precision: Literal["fp32", "bf16"] = "fp32",
    test_mode: Literal["published", "eval"] = "published",
    speed: Speed = "auto",
    output: Path | None = None,
) -> tuple[Evaluation, Path]:
    """Measure a checkpoint (file or run folder); return what was found, and the JSON file written.

    `data` is the data set, by default the one trained on, resized by `preprocess` (see
    `find_evaluation_set`); `precision` and `test_mode` are those of `Translator`, `speed` that of
    `core.inference.speed`; `output` is by default `<checkpoint>.evaluation.json`. What cannot be
    used or written is refused.
    """
    family, file, *_ = load_family(checkpoint, families)
    if data is None and family.config.data.root in ("", "."):
        raise UserError(f"{file}: was converted and knows no data set; give --data")
    root = data or Path(family.config.data.root)
    if isinstance(family, GenerativeFamily):
        sampler = Sampler(family, device, precision)
        arrange(family.networks.values(), speed)
        found = evaluate_samples(sampler, root, options)
    elif isinstance(family, TranslationFamily):
        translator = Translator(family, device, precision, test_mode)
        arrange(family.networks.values(), speed)
        test_set = find_evaluation_set(root, translator, preprocess, options.max_images)
        found = Evaluator(translator, test_set, options)()
    else:
        raise UserError(f"{file}: {family.name} neither translates nor draws from noise")
    about = {
        "checkpoint": str(file),
        "name": family.config.name,
        "data": str(root),
        "preprocess": preprocess,
        "test_mode": test_mode,
    }
    output = output or file.with_suffix(".evaluation.json")
    write_record(output, about, options, found)
    return found, output


def write_record(
    path: Path, about: Mapping[str, str], options: EvaluateOptions, found: Evaluation
) -> None:
    """Write a result as JSON: what was measured, the options, the numbers.

    Raises:
        UserError: the file cannot be written.
    """
    settings = options.model_dump(mode="json", exclude={"every"})
    record = {**about, "options": settings, **found.tree()}
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_file(path, lambda stream: stream.write(text.encode()))
