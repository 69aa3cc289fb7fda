"""Weights and options as a safetensors file, and as a folder in the form of Hugging Face.

The tensors of a file are called `<network>.<key>`; what else a checkpoint for testing says (family,
options, step, version) is JSON in the file's metadata, and in a folder's `config.json` as well,
since some tools that rewrite safetensors files drop metadata.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from core.checkpoints import structure
from core.errors import UserError
from core.runtime.files import write_file

WEIGHTS = "model.safetensors"
OPTIONS = "config.json"
_KEY = "image_translation"
"""Entry of a file's metadata that holds the JSON."""
_ADDRESS = re.compile(r"hf:/{1,2}(?P<name>[^/@]+/[^/@]+?)(@(?P<revision>[^@]+))?/?")


def about(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a checkpoint for testing says beside its weights."""
    return {key: state[key] for key in ("family", "config", "step", "version")}


def save_safetensors(state: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint for testing as one safetensors file.

    Raises:
        UserError: the disk is full or not writable.
    """
    tensors = {
        f"{network}.{key}": value.detach().cpu().contiguous()
        for network, weights in state["networks"].items()
        for key, value in weights.items()
    }
    content = save(tensors, {"format": "pt", _KEY: json.dumps(about(state))})
    write_file(path, lambda file: file.write(content))


def load_safetensors(path: Path) -> dict[str, Any]:
    """Read a checkpoint for testing from a safetensors file, with a `config.json` beside it or not.

    Returns:
        As `core.checkpoints.store.load`.

    Raises:
        UserError: unreadable, without options, or with two that differ.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from None
    except SafetensorError as error:
        raise UserError(f"{path}: a damaged safetensors file ({error})") from None
    beside = path.with_name(OPTIONS)
    told = [_options(metadata[_KEY], path)] if _KEY in metadata else []
    if path.name == WEIGHTS and beside.is_file():
        told.append(_options(beside.read_bytes(), beside))
    if not told:
        raise UserError(
            f"{path}: says nothing of family and options; if another code wrote it, convert it with"
            " scripts/convert.py --input"
        )
    if told[0] != told[-1]:
        raise UserError(f"{beside}: says otherwise than {path.name} itself; get both again")
    networks: dict[str, dict[str, Any]] = {}
    for name, value in tensors.items():
        network, _, key = name.partition(".")
        networks.setdefault(network, {})[key] = value
    state = {**told[0], "networks": networks}
    structure.check(state, path)
    return state


def is_address(path: str | Path) -> bool:
    """Tell `hf://owner/name` from a file or folder."""
    return _ADDRESS.fullmatch(str(path)) is not None


def is_ours(path: Path) -> bool:
    """Tell a file or folder of this form, or the address of one, from files of others."""
    if is_address(path) or (path / WEIGHTS).is_file():
        return True
    if path.suffix != ".safetensors":
        return False
    try:
        with safe_open(path, "pt") as file:
            return _KEY in (file.metadata() or {})
    except (OSError, SafetensorError):
        return False


def _options(text: str | bytes, source: Path) -> dict[str, Any]:
    try:
        options = json.loads(text)
    except ValueError:
        options = None
    if not isinstance(options, dict):
        raise UserError(f"{source}: family and options are not a JSON object")
    return options


def resolve(path: str | Path) -> Path:
    """Return a path as it is, or where the files of `hf://owner/name[@revision]` are now.

    Raises:
        UserError: no such address, huggingface_hub is not installed, or does not get them.
    """
    address = _ADDRESS.fullmatch(str(path))
    if address is None:
        if str(path).startswith("hf:"):
            raise UserError(f"{path}: expected hf://owner/name or hf://owner/name@revision")
        return Path(path)
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415
    except ImportError:
        raise UserError(f"{path}: needs huggingface_hub: pip install -e '.[hub]'") from None
    name, revision = address["name"], address["revision"]
    try:
        files = [WEIGHTS, OPTIONS]
        return Path(snapshot_download(name, revision=revision, allow_patterns=files))
    except (OSError, ValueError) as error:  # what all of its errors are
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"hf://{name}: cannot be fetched: {reason}") from None
