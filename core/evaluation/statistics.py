"""Features of a set of real images, computed once: in a cache, and as files of statistics."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from core.data.listing import expanded
from core.data.pages import split_page
from core.errors import UserError
from core.evaluation.metrics.fid import Gaussian
from core.evaluation.networks import Features
from core.runtime.files import write_file

_FORMAT = 1
"""Part of every key; to be raised when a file's content changes its meaning."""


@dataclass(frozen=True)
class SetFeatures:
    """What is known of a set of images.

    Attributes:
        gaussian: mean and covariance.
        features: of each image; None where only a file of statistics is there.
        count: number of images; None where a file does not say.
        protocol: what the file says of how it was made; empty for another program's.
    """

    gaussian: Gaussian
    features: Features | None = None
    count: int | None = None
    protocol: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, features: Features, protocol: Mapping[str, str]) -> SetFeatures:
        """Summarise features of at least two images."""
        values = features.values
        return cls(Gaussian.of(values), features, len(values), protocol)


def read_statistics(path: Path) -> SetFeatures:
    """Read a file `.npz` with `mu` [D] and `sigma` [D, D], as pytorch-fid and clean-fid write it.

    What `write_statistics` adds to these is read where it is there.

    Raises:
        UserError: unreadable, or other arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: torch.from_numpy(file[name]) for name in file.files if name != "about"}
            about = json.loads(str(file["about"])) if "about" in file.files else {}
    except (OSError, ValueError, EOFError, KeyError, BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: cannot be read as statistics .npz: {error}") from None
    mean, covariance = arrays.get("mu"), arrays.get("sigma")
    if mean is None or covariance is None or covariance.shape != (len(mean), len(mean)):
        found = ", ".join(f"{name} {tuple(array.shape)}" for name, array in arrays.items())
        raise UserError(
            f"{path}: statistics are mu [D] and sigma [D, D]; found {found or 'nothing'}"
        )
    features = None
    if "features" in arrays:
        features = Features(arrays["features"], arrays.get("logits"))
    gaussian = Gaussian.from_moments(mean, covariance)
    return SetFeatures(gaussian, features, about.get("count"), about.get("protocol", {}))


def write_statistics(path: Path, found: SetFeatures) -> None:
    """Write `mu` and `sigma`, and the features with what they depend on.

    Raises:
        UserError: the disk is full or not writable.
    """
    about = {"count": found.count, "protocol": dict(found.protocol)}
    arrays: dict[str, Any] = {
        "mu": found.gaussian.mean.numpy(),
        "sigma": found.gaussian.covariance.numpy(),
        "about": np.array(json.dumps(about)),
    }
    if found.features is not None:
        arrays["features"] = found.features.values.numpy()
    write_file(path, lambda stream: np.savez(stream, **arrays))


def default_cache() -> Path:
    """Return the user's folder of statistics: below `$XDG_CACHE_HOME`, or `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME") or expanded("~/.cache")
    return Path(base) / "image-translation" / "statistics"


def key_of(files: Iterable[Path], protocol: Mapping[str, str]) -> str:
    """Return a key of a set: of each file its name, size and time of change, and the protocol.

    Raises:
        UserError: a file is not there.
    """
    digest = hashlib.sha256(json.dumps([_FORMAT, *sorted(protocol.items())]).encode())
    for path in files:
        try:
            # A page, or a picture in a shard, stands for the file that holds it.
            file = split_page(path)[0]
            status = next((p for p in file.parents if p.is_file()), file).stat()
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from None
        line = f"{os.fspath(path.absolute())!r} {status.st_size} {status.st_mtime_ns}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


class StatisticsCache:
    """Keeps the features of sets of real images between runs; a damaged file is made anew.

    Args:
        folder: where to; None keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(
        self,
        files: Iterable[Path],
        protocol: Mapping[str, str],
        compute: Callable[[], Features],
    ) -> SetFeatures:
        """Return the features of a set, from the cache or by `compute`."""
        path = None if self._folder is None else self._folder / f"{key_of(files, protocol)}.npz"
        if path is not None and path.is_file():
            try:
                return read_statistics(path)
            except UserError:
                pass
        found = SetFeatures.of(compute(), protocol)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_statistics(path, found)
        return found
