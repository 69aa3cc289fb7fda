"""Endless batches of a data set, resumable at any batch."""

from __future__ import annotations

import atexit
import itertools
import logging
import signal
import sys
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from core.data.augment import require_colours
from core.data.batches import (
    BatchReader,
    Delivery,
    DomainsReader,
    Picked,
    SampleReader,
    read_item,
    stack,
)
from core.data.cache import cached
from core.data.folders import find_paired, find_unpaired, has_split
from core.data.inputs import has_test, open_inputs
from core.data.picture import Pixels
from core.data.readers.files import Source
from core.data.readers.interface import Images, OpensImages
from core.data.readers.storage import is_remote
from core.data.sampler import EpochSampler
from core.data.single import DomainFiles, domain_source, find_domain
from core.data.transforms import CropFlip, crop_side, for_testing
from core.errors import UserError
from core.family import Batch, ImageBatch, Layout, SampleBatch
from core.options import DataOptions

log = logging.getLogger(__name__)


class Loader:
    """An endless iterator of batches that knows how many batches it has DELIVERED.

    Batches are made ahead by worker processes, but only what `next` returned counts, so a
    checkpoint written after any step resumes with exactly the batch that would have followed.
    """

    def __init__(self, reader: BatchReader, num_workers: int, pin_memory: bool) -> None:
        """Wrap a reader; `num_workers` processes, which start with the first batch, read ahead.

        With 0 this process reads. `pin_memory` delivers in page-locked memory, for asynchronous
        copies to a GPU.
        """
        self._reader = reader
        self._num_workers = num_workers
        self._pin_memory = pin_memory
        self._next_number = 0
        self._deliveries: Any = None  # the running iterator of a DataLoader
        self._named: set[str] = set()
        _open_loaders.add(self)

    @property
    def batches_per_epoch(self) -> int:
        """Batches that this process gets from an epoch, the last one filled up."""
        return self._reader.sampler.batches_per_epoch

    @property
    def epoch(self) -> int:
        """Epoch of the next batch, from 0."""
        return self._next_number // self.batches_per_epoch

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        """Return the next batch: uint8 [N, C, H, W] images of both domains, or of the one there is.

        Raises:
            UserError: An image cannot be read, or sizes differ within a batch.
        """
        if self._deliveries is None:
            self._deliveries = self._start()
        delivery = next(self._deliveries)
        for message in delivery.skipped:
            if message not in self._named:
                self._named.add(message)
                log.warning("%s; the next image takes its place", message)
        if delivery.batch is None:
            self.close()  # what was read ahead belongs to later batches
            raise UserError(delivery.error)
        self._next_number += 1
        return delivery.batch

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands; plain numbers only."""
        sampler = self._reader.sampler
        epoch, batch = divmod(self._next_number, sampler.batches_per_epoch)
        return {
            "epoch": epoch,
            "batch": batch,
            "num_items": self._reader.num_items,
            "global_batch_size": sampler.global_batch_size,
            "seed": sampler.seed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with the batch after the last one delivered before `state_dict`.

        The number of workers may differ; so may the number of processes, if they share out the
        same global batch.

        Raises:
            UserError: The data set or the global batch has another size than then.
        """
        if list(state["num_items"]) != self._reader.num_items:
            raise UserError(
                f"data.root: the data set had {state['num_items']} images per domain when the "
                f"checkpoint was written and has {self._reader.num_items} now; restore it, "
                "or start a new run from the checkpoint's weights"
            )
        sampler = self._reader.sampler
        if state["global_batch_size"] != sampler.global_batch_size:
            raise UserError(
                "train.batch_size and train.accumulate: the checkpoint was written with "
                f"{state['global_batch_size']} images per step over all processes, this run has "
                f"{sampler.global_batch_size} ({sampler.batch_size} in each of "
                f"{sampler.world_size}); make the product equal"
            )
        self.close()
        self._reader = replace(self._reader, sampler=replace(sampler, seed=state["seed"]))
        self._next_number = state["epoch"] * self.batches_per_epoch + state["batch"]

    def close(self) -> None:
        """Stop the workers; a further `next` starts new ones at the same place."""
        if self._deliveries is not None and self._num_workers:
            # Dropping the iterator would do, were it not for the trace of an exception that has
            # passed through it: that keeps it, and its processes, alive. PyTorch has no public way.
            self._deliveries._shutdown_workers()
        self._deliveries = None

    def _start(self) -> Iterator[Delivery]:
        workers: dict[str, Any] = {}
        if self._num_workers:
            # A RAM cache is shared with forked workers; other start methods would copy it.
            context = "fork" if sys.platform == "linux" else None
            workers = {"worker_init_fn": _ignore_signals, "multiprocessing_context": context}
        loader: DataLoader[Delivery] = DataLoader(
            self._reader,
            sampler=itertools.count(self._next_number),
            batch_size=None,
            collate_fn=_unchanged,
            num_workers=self._num_workers,
            pin_memory=self._pin_memory,
            # Its own generator: otherwise starting workers would advance torch's global one, and a
            # resumed run would draw other dropout masks than an uninterrupted one.
            generator=torch.Generator(),
            **workers,
        )
        with _signals_held():
            return iter(loader)


_open_loaders: weakref.WeakSet[Loader] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    # Runs before multiprocessing's own exit function (registered earlier), which would send
    # SIGTERM to workers that ignore it and wait for them for ever.
    for loader in list(_open_loaders):
        loader.close()


@contextmanager
def _signals_held() -> Iterator[None]:
    """Within, Ctrl-C and SIGTERM wait; processes started here are born with them blocked.

    Otherwise a signal could end a worker before it has come to ignoring signals.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows, whose workers get no signals
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ignore_signals(worker_id: int) -> None:
    """Leave stopping to the training process.

    Ctrl-C in a terminal, and SIGTERM from a batch system, reach the whole process group; a worker
    that died of it would take the training process down before its last checkpoint is written.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _unchanged(delivery: Any) -> Any:
    return delivery


def build_loader(
    data: DataOptions,
    *,
    layout: Layout,
    split: str,
    channels: tuple[int, ...],
    batch_size: int,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
    shuffle: bool = True,
    augment: bool = True,
) -> Loader:
    """Find, and if asked cache, a split and serve it in batches.

    An epoch of unpaired data is max(len A, len B) items: A by the item's number modulo its size, B
    at random (in order with `data.serial` or without `shuffle`).

    Args:
        data: Where the images are and how they are read.
        layout: One domain, or two that show the same scenes or not.
        split: "train", "val" or "test"; the last two stand in for each other.
        channels: Channels (1, 3 or 4) of `ImageBatch.a`, which is the data set's B with direction
            BtoA, and of `ImageBatch.b`; or of the one domain.
        batch_size: Images per process.
        seed: Order, crops, flips and the choice of B follow from it.
        rank: Of this process, below `world_size`.
        world_size: Number of processes.
        pin_memory: See `Loader`.
        shuffle: Random order; `data.serial` switches it off as well.
        augment: Random crops, flips and `data.augment`. Otherwise the test-time rule: resized to
            the crop's size, cropped from the centre, not mirrored.

    Raises:
        UserError: The data set is missing, incomplete or unreadable.
    """
    options = data if augment else for_testing(data)
    _require_room_to_crop(options)
    require_colours(options, channels[::-1] if options.direction == "BtoA" else channels)
    shuffle = shuffle and not data.serial

    def sampler(num_items: int) -> EpochSampler:
        return EpochSampler(num_items, batch_size, seed, rank, world_size, shuffle)

    reader: BatchReader
    if layout == "single":
        images, captions = _domain(options, split, channels)
        reader = SampleReader(sampler(len(images)), options, augment, images, captions)
    else:
        domains = _images(options, split, layout, channels)
        num_items = max(map(len, domains))
        reader = DomainsReader(sampler(num_items), options, augment, domains)
    return Loader(reader, data.num_workers, pin_memory)


def fixed_batch(
    data: DataOptions, *, layout: Layout, channels: tuple[int, ...], num_images: int
) -> Batch:
    """Return images for sample grids, the same at every call.

    They are spread evenly over the test split (over train, where there is no other), preprocessed
    as for testing. Where sizes differ, all are cut to the smallest height and width of their
    domain, from the centre.

    Arguments and errors are those of `build_loader`; a domain of fewer than `num_images` gives all.

    Returns:
        uint8 images; with pairs, of the same scenes.
    """
    options = for_testing(data).model_copy(update={"cache": "none"})
    if layout == "single":
        # Training images: what a generator draws is compared with those.
        domain, captions = _domain(options, "train", channels)
        pixels, names, items = _fixed_column(domain, 0, min(num_images, len(domain)), options)
        return SampleBatch(pixels, names, tuple(captions[i] if captions else "" for i in items))
    split = "test" if _has_test(data, layout) else "train"
    images = _images(options, split, layout, channels)
    columns = [(images[0], 0), (images[-1], 2 - len(images))]  # B is a pair's second image
    num_images = min(num_images, *map(len, images))
    (a, names_a, _), (b, names_b, _) = (
        _fixed_column(*column, num_images, options) for column in columns
    )
    batch = ImageBatch(a, b, names_a, names_b)
    return batch.swapped() if options.direction == "BtoA" else batch


def _has_test(data: DataOptions, layout: Layout) -> bool:
    """Tell whether a test split, or what stands for it, can be opened."""
    if isinstance(data, OpensImages) or data.val_fraction:
        return True
    if data.a:
        return has_test(data)
    return has_split(data.root, "test", paired=layout == "paired")


def _fixed_column(
    images: Images, image: int, num_images: int, options: DataOptions
) -> tuple[Tensor, tuple[str, ...], tuple[int, ...]]:
    """Return pixels, file names and numbers of images spread evenly over a domain."""
    picked, items = [], []
    for i in range(num_images):
        skipped: list[str] = []
        item = i * len(images) // num_images
        found, pixels = read_item(images, item, skipped, on_error=options.on_error)
        for message in skipped:
            log.warning("%s; the next image takes its place", message)
        _, height, width = pixels[image].shape
        centred = CropFlip.centred(height, width, crop_side(options)).apply(pixels[image])
        picked.append(Picked(centred, images.name(found, image)))
        items.append(found)
    height = min(one.image.shape[1] for one in picked)
    width = min(one.image.shape[2] for one in picked)
    cut = tuple(one._replace(image=_centre(one.image, height, width)) for one in picked)
    return stack(cut, options), tuple(one.name for one in picked), tuple(items)


def _centre(image: Pixels, height: int, width: int) -> Pixels:
    top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
    return image[:, top : top + height, left : left + width]


def _images(
    options: DataOptions, split: str, layout: Layout, channels: tuple[int, ...]
) -> Sequence[Images]:
    """Open the images of a split: [pairs] or [A, B], in files or in a cache."""
    if options.direction == "BtoA":
        channels = channels[::-1]  # the model's A is the data set's B
    if isinstance(options, OpensImages):
        return _opened(options, split, channels)
    if options.a:
        opened = open_inputs(options, layout, split, channels)
        return [_cached(images, options) for images in opened]
    find = find_paired if layout == "paired" else find_unpaired
    found = find(options.root, split, options.max_images, options.val_fraction)
    if found.split != split:
        log.info("%s: split %r stands in for %r", options.root, found.split, split)
    return [_cached(source, options) for source in Source.of(found, channels, options)]


def _domain(
    options: DataOptions, split: str, channels: tuple[int, ...]
) -> tuple[Images, tuple[str, ...]]:
    """Open the images of one domain's split; return them and their captions if there are tags."""
    if isinstance(options, OpensImages):
        return _opened(options, split, channels)[0], ()
    if options.a:
        return _cached(open_inputs(options, "single", split, channels)[0], options), ()
    (count,) = channels
    tags = getattr(options, "tags", None)
    found: DomainFiles = find_domain(options.root, split, tags, options.val_fraction)
    if found.split != split:
        log.info("%s: %s serves split %r", options.root, found.origin, split)
    images = _cached(domain_source(found, count, options), options)
    return images, found.captions[: options.max_images]


def _opened(options: Any, split: str, channels: tuple[int, ...]) -> Sequence[Images]:
    """Open the images of data options that bring a reader of their own."""
    return [_cached(images, options) for images in options.open_images(split, channels)]


def _cached(images: Images, options: DataOptions) -> Images:
    if options.cache == "none":
        return images
    folder = Path(options.cache_dir) if options.cache_dir else None
    if options.cache == "disk" and folder is None and is_remote(options.root):
        raise UserError(f"data.cache: disk, and {options.root} is remote; set data.cache_dir")
    return cached(images, options.cache, folder)


def _require_room_to_crop(data: DataOptions) -> None:
    cropping = crop_side(data) is not None and data.preprocess != "crop"
    if cropping and data.load_size < data.crop_size:
        raise UserError(
            f"data.load_size = {data.load_size} is smaller than data.crop_size = "
            f"{data.crop_size}, so there is nothing to crop from; raise load_size "
            f"(usually {round(data.crop_size * 286 / 256)}) or lower crop_size"
        )
