"""Finding the images of one domain, with their captions; the layouts are in docs/data.md."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from core.data.folders import (
    SPLITS,
    names_to_try,
    part_of_train,
    require_folder,
    splits_present,
)
from core.data.listing import list_images
from core.data.readers.files import Source
from core.data.readers.idx import IdxSource, idx_splits, read_idx
from core.data.tags import match_tags
from core.errors import UserError
from core.generative import GenerativeConfig
from core.options import DataOptions
from core.text import Vocabulary

C = TypeVar("C", bound=GenerativeConfig)


@dataclass(frozen=True)
class DomainFiles:
    """Images of one domain.

    Attributes:
        split: The split found; "train" where the folder is not divided.
        files: The images; a single idx file where `idx`.
        captions: One for each image, empty where there are no tags.
        idx: The one file is MNIST's.
        origin: What was found, for messages.
    """

    root: Path
    split: str
    files: tuple[Path, ...]
    captions: tuple[str, ...]
    idx: bool
    origin: str


def find_domain(
    root: str | Path, split: str, tags: str | None = None, val_fraction: float = 0.0
) -> DomainFiles:
    """Find the images of a split.

    Looked for in this order: MNIST's idx files; folders `train/`, `val/`, `test/`; all images of
    the folder, which then serve every split.

    Args:
        root: The data set's folder.
        split: "val" and "test" stand in for each other, and MNIST's one file for the other.
        tags: Tags file relative to `root`, for the images of all splits.
        val_fraction: Where there is neither `val/` nor `test/`, keep this share for them.

    Raises:
        UserError: No images, two domains, or tags that do not fit the images.
    """
    folder = require_folder(root)
    idx = idx_splits(folder)
    if idx:
        if tags is not None:
            raise UserError(f"data.tags = {tags}: {folder} holds idx files, which take no tags")
        found = split if split in idx else next(iter(idx))
        return DomainFiles(folder, found, (idx[found],), (), True, idx[found].name)
    if splits_present(folder, paired=False):
        raise UserError(
            f"data.root = {folder}: holds two domains, and this family takes one; give the folder "
            f"of one of them, e.g. {folder / 'trainA'}"
        )
    there = [name for name in SPLITS if (folder / name).is_dir()]
    found = next((name for name in names_to_try(split) if name in there), "")
    share = val_fraction if there in ([], ["train"]) else 0.0
    if share and there:
        found = "train"
    if there and not found:
        raise UserError(
            f"{folder}: no images for split {split!r}; there is {', '.join(there)}/, so "
            f"{split}/ is needed too"
        )
    files = part_of_train(list_images(folder / found), split, share)
    captions: tuple[str, ...] = ()
    if tags is not None:
        parts = [list_images(folder / name) for name in there or [""]]
        everywhere = tuple(itertools.chain.from_iterable(parts))
        by_file = dict(zip(everywhere, match_tags(folder / tags, everywhere), strict=True))
        captions = tuple(by_file[file] for file in files)
    origin = f"{found}/" if found else "one folder for every split"
    return DomainFiles(folder, split if share else found or "train", files, captions, False, origin)


def domain_source(found: DomainFiles, channels: int, options: DataOptions) -> Source:
    """Return the images as numbered items, at most `options.max_images` of them."""
    limit = options.max_images
    label = found.split if limit is None else f"{found.split}-{limit}"
    if found.idx:
        pixels = read_idx(found.files[0])[:limit]
        files: tuple[tuple[Path, ...], ...] = (found.files,)
        return IdxSource(label, found.root, files, (channels,), False, options, pixels=pixels)
    files = tuple((file,) for file in found.files[:limit])
    return Source(label, found.root, files, (channels,), False, options, options.spans)


def with_vocabulary(config: C) -> C:
    """Return options whose vocabulary, where a model with captions has none yet, is the data's.

    Raises:
        UserError: as `find_domain` and `Vocabulary.learn`.
    """
    model, data = config.model, config.data
    if model.text is None or model.text.vocabulary is not None:
        return config
    learnt = Vocabulary.learn(find_domain(data.root, "train", data.tags).captions)
    text = model.text.model_copy(update={"vocabulary": dict(learnt.words)})
    return config.model_copy(update={"model": model.model_copy(update={"text": text})})
