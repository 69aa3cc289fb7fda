"""Write procedural data sets with known truth.

Real unpaired sets have no right answer to compare a translation with. Here every scene exists in
both domains, so a translation can be scored, and a tutorial runs without a download. The pictures
of a seed are the same to the byte under the same versions of numpy and Pillow.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from core.errors import UserError
from core.procedural.faces import draw_face, render_face
from core.procedural.materials import LABELS, Season
from core.procedural.scene import Scene, draw_scene
from core.procedural.seasons import colour_labels, depth_map, label_map, render

VERSION = 1
"""Raised whenever the same seed gives other pictures."""

_LEAST = {"size": 32, "num_train": 1, "num_test": 1, "num_images": 1, "seed": 0}
_META = "meta.json"
_SPLITS = ("trainA", "trainB", "testA", "testB")


def make_seasons(
    root: Path | str,
    *,
    layout: Literal["unpaired", "paired", "inputs"],
    size: int,
    num_train: int,
    num_test: int,
    seed: int = 0,
) -> None:
    """Write landscapes in summer (A) and winter (B), or photographs with their label maps.

    Unpaired: `trainA/ trainB/ testA/ testB/`, no scene in two of them; `truthB/` is testA in winter
    and `truthA/` testB in summer, under the same names; `labelsA/ labelsB/` are the label maps of
    testA and testB, single-channel PNGs of indices into `LABELS`. Paired: `train/ val/` of
    side-by-side images, left (A) the summer picture, right (B) the coloured label map, and
    `labels/`, the index maps of val. Inputs: `rgb/` (summer), `depth/` (16 bits, millimetres) and
    `mask/` (indices into `LABELS`), each with `train/ test/`, of equal names. `meta.json` states
    the request, the labels and, but for inputs, the style of each test scene.

    There are `num_train` and `num_test` images per domain, or pairs, with sides of `size` pixels,
    at least 32; everything follows from `seed`, which is not negative. A folder that already holds
    exactly this data set is left as it is. An interrupted call leaves nothing behind under `root`.

    Raises:
        UserError: an argument is out of range, or `root` holds anything else.
    """
    writers = {"unpaired": _write_unpaired, "paired": _write_paired, "inputs": _write_inputs}
    if layout not in writers:
        raise UserError(f"layout: {layout!r} is unknown, choose {', '.join(writers)}")
    counts = {"num_train": num_train, "num_test": num_test}
    request = {"kind": "seasons", "layout": layout, "size": size, **counts, "seed": seed}
    _make(Path(root), request, writers[layout])


def make_faces(root: Path | str, *, size: int, num_images: int, seed: int = 0) -> None:
    """Write cartoon faces with tags; arguments and errors are those of `make_seasons`.

    `images/<id>.png`; `tags.csv`, without header, one line `<id>,<hair> hair <eye> eyes` each;
    `attributes.json`, {id: all that the face was drawn from}; `meta.json`, the request. A folder
    that already holds exactly this data set is left as it is.
    """
    request = {"kind": "faces", "size": size, "num_images": num_images, "seed": seed}
    _make(Path(root), request, _write_faces)


def _make(
    root: Path, request: dict[str, Any], write: Callable[[Path, dict[str, Any]], dict[str, Any]]
) -> None:
    """Write beside `root` and move at the end: a data set is there as a whole or not at all."""
    for key, minimum in _LEAST.items():
        if request.get(key, minimum) < minimum:
            raise UserError(f"{key}: {request[key]} is too small, give at least {minimum}")
    request = {"version": VERSION, **request}
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        if _request_of(root) == request:
            return
        raise UserError(
            f"{root}: exists and is not the data set asked for ({json.dumps(request)}); "
            "delete it or name another folder"
        )
    root = root.resolve()
    root.parent.mkdir(parents=True, exist_ok=True)
    partial = root.with_name(f".{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a call that was killed
    partial.mkdir()
    try:
        details = write(partial, request)
        meta = json.dumps({"request": request, **details}, indent=1)
        (partial / _META).write_text(meta + "\n", encoding="utf-8")
        if root.exists():
            root.rmdir()  # empty, as checked above; not every system moves onto a folder
        partial.rename(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _request_of(root: Path) -> Any:
    """Read the request that made a folder; None if it is not one of ours."""
    try:
        meta = json.loads((root / _META).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return meta.get("request") if isinstance(meta, dict) else None


def _scenes(request: dict[str, Any], *splits: str) -> Iterator[tuple[str, int, Scene]]:
    """Draw the scenes of some of `_SPLITS`, of different seeds, with a progress bar."""
    todo = [(split, index) for split in splits for index in range(request[f"num_{split[:-1]}"])]
    for split, index in tqdm(todo, desc="seasons", unit="scene"):
        yield split, index, draw_scene((request["seed"], _SPLITS.index(split), index))


def _save(picture: npt.NDArray[Any], folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(folder / name, compress_level=3)


def _write_unpaired(root: Path, request: dict[str, Any]) -> dict[str, Any]:
    size = request["size"]
    styles: dict[str, dict[str, Any]] = {"testA": {}, "testB": {}}
    seasons: dict[str, Season] = {"A": "summer", "B": "winter"}
    for split, index, scene in _scenes(request, "trainA", "testA", "trainB", "testB"):
        own, other = ("A", "B") if split.endswith("A") else ("B", "A")
        name = f"{own.lower()}{index:05d}.png"  # equal names would look like pairs
        _save(render(scene, seasons[own], size), root / split, name)
        if split in styles:
            _save(render(scene, seasons[other], size), root / f"truth{other}", name)
            _save(label_map(scene, size), root / f"labels{own}", name)
            styles[split][name] = asdict(scene.style)
    return {"labels": list(LABELS), "styles": styles}


def _write_paired(root: Path, request: dict[str, Any]) -> dict[str, Any]:
    size = request["size"]
    styles: dict[str, Any] = {}
    for split, index, scene in _scenes(request, "trainA", "testA"):
        name = f"{index:05d}.png"
        labels = label_map(scene, size)
        pair = np.concatenate([render(scene, "summer", size), colour_labels(labels)], axis=1)
        _save(pair, root / ("train" if split == "trainA" else "val"), name)
        if split == "testA":
            _save(labels, root / "labels", name)
            styles[name] = asdict(scene.style)
    return {"labels": list(LABELS), "styles": {"val": styles}}


def _write_inputs(root: Path, request: dict[str, Any]) -> dict[str, Any]:
    size = request["size"]
    for split, index, scene in _scenes(request, "trainA", "testA"):
        for kind, picture in (
            ("rgb", render(scene, "summer", size)),
            ("depth", depth_map(scene, size)),
            ("mask", label_map(scene, size)),
        ):
            _save(picture, root / kind / split.removesuffix("A"), f"{index:05d}.png")
    return {"labels": list(LABELS)}


def _write_faces(root: Path, request: dict[str, Any]) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    lines = []
    for index in tqdm(range(request["num_images"]), desc="faces", unit="face"):
        face = draw_face((request["seed"], index))
        _save(render_face(face, request["size"]), root / "images", f"{index}.png")
        lines.append(f"{index},{face.tags}\n")
        attributes[str(index)] = asdict(face)
    (root / "tags.csv").write_text("".join(lines), encoding="utf-8")
    (root / "attributes.json").write_text(json.dumps(attributes, indent=1), encoding="utf-8")
    return {}
