"""A model as a folder in the form of Hugging Face: weights, options, a page that introduces it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from shutil import copyfileobj
from typing import Any

from core.config import dump_config
from core.convert.official import inference_state
from core.errors import UserError
from core.family import FamilyTable, GenerativeFamily, TranslationFamily
from core.inference.loading import from_state, load_state
from core.inference.safe_files import OPTIONS, WEIGHTS, about, save_safetensors
from core.report.page import write_page
from core.runtime.files import write_file

SAMPLES = "samples.png"

_TRANSLATE = """from PIL import Image
from families import load

translate = load("hf://OWNER/NAME")
translate(Image.open("photo.jpg"), "{direction}").save("translated.png")"""

_SAMPLE = """import torch
from core.report.pictures import to_pil
from families import load_sampler

sampler = load_sampler("hf://OWNER/NAME")
noise = sampler.family.random_noise(1, torch.Generator().manual_seed(0))
to_pil(sampler(noise{captions})[0]).save("sample.png")"""


def write_folder(source: Path, folder: Path, families: FamilyTable) -> list[Path]:
    """Write `model.safetensors`, `config.json` and a model card `README.md`.

    Of absolute paths the options keep the last name, since folders of a machine are private. With
    a run folder the newest sample grid is shown on the card.

    Args:
        source: path or address, as of `core.inference.loading.load_state`.
        folder: where to; files of these names are replaced.
        families: the families to choose from.

    Returns:
        The files.

    Raises:
        UserError: the checkpoint cannot be loaded, or makes no pictures; the folder cannot be
            written.
    """
    state, file = load_state(source)
    family = from_state(state, families, file)
    if not isinstance(family, TranslationFamily | GenerativeFamily):
        raise UserError(f"{file}: {family.name} neither translates nor draws from noise")
    given = inference_state(family, state["step"])
    given["config"] = _without_folders(given["config"])
    save_safetensors(given, folder / WEIGHTS)
    text = json.dumps(about(given), indent=2, ensure_ascii=False) + "\n"
    write_file(folder / OPTIONS, lambda stream: stream.write(text.encode()))
    samples = _newest_samples(file)
    if samples is not None:
        with samples.open("rb") as picture:
            write_file(folder / SAMPLES, lambda stream: copyfileobj(picture, stream))
    card = folder / "README.md"
    if card.is_file():  # somebody may have filled in data and licences
        card = folder / "README.new.md"
    _write_card(card, family, given, SAMPLES if samples else "")
    names = [WEIGHTS, OPTIONS, *([SAMPLES] if samples else []), card.name]
    return [folder / name for name in names]


def _without_folders(options: Mapping[str, Any]) -> dict[str, Any]:
    """Copy options with the last name only of paths that begin at the root of a machine."""
    return {key: _without_folder(value) for key, value in options.items()}


def _without_folder(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _without_folders(value)
    if isinstance(value, list | tuple):
        return [_without_folder(each) for each in value]
    if isinstance(value, str) and Path(value).is_absolute():
        return Path(value).name
    return value


def _newest_samples(checkpoint: Path) -> Path | None:
    """Find the newest sample grid of the run that a checkpoint lies in."""
    found = sorted((checkpoint.parent.parent / "samples").glob("step_*.png"))
    return found[-1] if found and checkpoint.parent.name == "checkpoints" else None


def _write_card(
    path: Path, family: TranslationFamily | GenerativeFamily, state: Mapping[str, Any], samples: str
) -> None:
    config = type(family.config).model_validate(state["config"])
    module = inspect.getmodule(type(family))
    first_line = (module.__doc__ or "" if module else "").splitlines()[0]
    write_page(
        path,
        "card.md",
        config.name,
        about=first_line,
        config=config,
        data=config.data.root,
        family=family.name,
        images=f"{' and '.join(map(str, config.channels))} channels, trained at "
        f"{config.data.crop_size} px",
        options=OPTIONS,
        samples=samples,
        step=state["step"],
        version=state["version"],
        weights=WEIGHTS,
        yaml=dump_config(config).strip(),
        **_use(family),
    )


def _use(family: TranslationFamily | GenerativeFamily) -> dict[str, str]:
    """Return `task`, `does` and `code` of a card."""
    if isinstance(family, TranslationFamily):
        does = f"translates {' and '.join(family.directions)}, in pictures of any size"
        code = _TRANSLATE.format(direction=family.directions[0])
        return {"task": "image-to-image", "does": does, "code": code}
    if family.vocabulary is None:
        does, code = "draws pictures from noise", _SAMPLE.format(captions="")
        return {"task": "unconditional-image-generation", "does": does, "code": code}
    words = family.vocabulary.words
    caption = " ".join(f"{values[0]} {attribute}" for attribute, values in words.items())
    does, code = (
        f"draws what a caption says: {family.vocabulary}",
        _SAMPLE.format(captions=f', ["{caption}"]'),
    )
    return {"task": "text-to-image", "does": does, "code": code}
