"""What `scripts/translate.py` does, after its command line."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from core.config import dump_config
from core.errors import UserError
from core.inference.styles import given
from core.inference.translator import Translator
from core.jobs.bulk.cluster import ClusterPipeline
from core.jobs.bulk.engines import Engine, StylizerEngine, TranslatorEngine
from core.jobs.bulk.gallery import Gallery
from core.jobs.bulk.manifest import Manifest
from core.jobs.bulk.outputs import FolderOutput, find_output
from core.jobs.bulk.pipeline import Pipeline, share
from core.jobs.bulk.progress import Progress
from core.jobs.bulk.results import Encoding
from core.jobs.bulk.sources import find_source
from core.jobs.bulk.workers import Workers
from core.runtime.distributed import World, pick_device
from core.runtime.signals import stop_requests
from core.stylizer import Stylizer

_MOST_WORKERS = 16


class Task(NamedTuple):
    """What is to be made of pictures.

    Attributes:
        engine: what makes it.
        settings: {option: value} of all that results depend on.
        make_again: makes the engine in another process; it can be pickled.
    """

    engine: Engine
    settings: dict[str, Any]
    make_again: Callable[[], Engine]


def run(task: Task, args: Namespace, world: World) -> int:
    """Make the results of one process's share of the input, or on a cluster of all.

    Returns:
        The exit code: 0, 1 if an image was left out, 2 if all were.

    Raises:
        UserError: nothing to read, or an output that cannot be written.
        KeyboardInterrupt: a stop was asked for; what was begun is done.
    """
    engine = task.engine
    if args.engine == "ray":
        _check_cluster(args, world)
    source = find_source(args.input, args.output)
    encoding = Encoding(args.format, args.quality, engine.labels)
    inputs = [part for part in source.parts() if part]
    output = find_output(args.output, encoding, inputs)
    if args.gallery and not isinstance(output, FolderOutput):
        raise UserError(f"--gallery: shows files, and {args.output} is no folder")
    manifest = Manifest(
        output.folder,
        {**task.settings, "format": args.format, "quality": args.quality},
        world.rank,
        world.size,
        overwrite=args.overwrite,
        check=args.check,
    )
    gallery = Gallery(args.gallery)
    with manifest, Workers(_num_workers(args.workers)) as workers, stop_requests() as stop:
        if args.overwrite:
            output.forget(world.rank, world.size)
        progress = Progress(shown=world.is_main, count=source.count)
        if args.engine == "ray":
            ends = output, manifest, progress, stop
            ClusterPipeline(task.make_again, engine.span, *ends, args.address).run(source)
        else:
            pipeline = Pipeline(engine, output, manifest, workers, progress, stop)
            pipeline.run(gallery.watch(share(source, output, world.rank, world.size)))
        if stop:
            progress.close()
            raise KeyboardInterrupt
        output.finish()
    print(f"{args.output}: {progress.close()}")
    if isinstance(output, FolderOutput) and args.gallery and world.is_main:
        print(gallery.write(output.folder, encoding, engine.span))
    if manifest.num_failed:
        print(f"{manifest.num_failed:,} left out, see {manifest.failures}")
    return (1 if manifest.num_done else 2) if manifest.num_failed else 0


def _check_cluster(args: Namespace, world: World) -> None:
    """Refuse what does not go with a cluster, and say where files are from anywhere.

    Raises:
        UserError: an option that has no meaning there.
    """
    asked = {"--workers": args.workers, "--gallery": args.gallery, "torchrun": world.size > 1}
    for option, value in asked.items():
        if value:
            raise UserError(f"{option}: not with --engine ray")
    for option in ("input", "output"):
        if isinstance(path := getattr(args, option), Path):
            setattr(args, option, path.absolute())


def _num_workers(asked: int | None) -> int:
    """Return the number asked for, or one for each core of this process but its own."""
    if asked is not None:
        return asked
    cores = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(max(1, cores - 1), _MOST_WORKERS)


def of_checkpoint(translator: Translator, args: Namespace) -> Task:
    """Choose direction and styles of a checkpoint.

    Raises:
        UserError: options that do not fit the checkpoint or each other.
    """
    if args.white is not None:
        translator.set_white(args.white)
    direction = translator.check_direction(args.direction)
    if asked := "--style" if args.style else "--num-styles" if args.num_styles else "":
        translator.require_styles(f"{asked}: ")
    if args.style and args.num_styles:
        raise UserError("give one of --num-styles and --style")
    styles = given(translator, args.style, direction) if args.style else None
    num_styles = args.num_styles or 1
    engine = TranslatorEngine(
        translator,
        direction,
        styles=styles,
        num_styles=num_styles,
        seed=args.seed,
        batch_size=args.batch_size,
    )
    settings = {
        "checkpoint": translator.origin,
        "direction": direction,
        "precision": args.precision,
        "speed": args.speed,
        "test mode": args.test_mode,
        "white": args.white,
        "styles": list(map(str, args.style)) if args.style else num_styles,
        "seed": args.seed,
    }
    return Task(
        engine, settings, partial(_checkpoint_again, translator.load_again, _anywhere(args))
    )


def _checkpoint_again(load_again: Callable[[], Translator] | None, args: Namespace) -> Engine:
    assert load_again is not None, "a translator that was loaded"
    return of_checkpoint(load_again(), args).engine


def _anywhere(args: Namespace) -> Namespace:
    """Return options of which the styles are found from other working folders."""
    styles = [path.absolute() for path in args.style] if args.style else None
    return Namespace(**vars(args) | {"style": styles})


def of_stylizer(kind: type[Stylizer], config: Any, args: Namespace, device: torch.device) -> Task:
    """Give a method without training its styles.

    Raises:
        UserError: no style, or one that cannot be read.
    """
    if not args.style:
        raise UserError("--style: with --config, say whose style the images get")
    settings = {"config": dump_config(config), "styles": list(map(str, args.style))}
    engine = StylizerEngine(kind.build(config, device), args.style)
    return Task(engine, settings, partial(_stylizer_again, kind, config, _anywhere(args)))


def _stylizer_again(kind: type[Stylizer], config: Any, args: Namespace) -> Engine:
    return of_stylizer(kind, config, args, pick_device(args.device)).engine
